"""The table, the CSV and the page of examples of an evaluation."""

from __future__ import annotations

import csv
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_promise.data.pairs import Pair
from napari_promise.document import Region
from napari_promise.training import report
from napari_promise.training.scores import EvaluationReport, Example, Score


def _score(name: str, quality: float, **more: object) -> Score:
    values = {
        "image": name,
        "instance": None,
        "dice": quality,
        "iou": quality / (2 - quality),
        "frozen_dice": quality / 2,
        "frozen_iou": quality / 4,
        "area": 100,
    }
    return Score(**(values | more))  # type: ignore[arg-type]


def _report(prompts: str, scores: list[Score]) -> EvaluationReport:
    return EvaluationReport(prompts, "fake", "toy", tuple(scores))


@pytest.fixture
def two_ways() -> list[EvaluationReport]:
    qualities = [0.5, 0.6, 0.7, 0.8]
    return [
        _report("auto", [_score(f"{q}.png", q) for q in qualities]),
        _report("gt:16", [_score(f"{q}.png", q + 0.1) for q in qualities]),
    ]


def test_every_way_of_prompting_has_a_column_and_frozen_sam_a_row(two_ways) -> None:
    header, rows = report.table(two_ways)
    assert header == ("measure", "auto", "gt:16")
    cells = {row[0]: row[1:] for row in rows}
    assert cells["prompts are"] == ("automatic", "prompted from the truth")
    automatic, prompted = cells["Dice"]
    assert re.fullmatch(r"0\.650 \[0\.\d{3}, 0\.\d{3}\]", automatic)
    assert prompted.startswith("0.750 [")
    assert cells["Dice, frozen SAM"][0].startswith("0.325 [")
    assert not any(label.startswith(("NoC", "HD95")) for label in cells)


def test_clicks_needed_and_objects_never_reached_stand_in_the_table() -> None:
    scores = [
        _score("a", 0.96, steps=(0.5, 0.93, 0.96), frozen_steps=(0.2,) * 20),
        _score("b", 0.94, steps=(0.93,) * 20, frozen_steps=(0.2,) * 20),
    ]
    _, rows = report.table([_report("noc", scores)])
    cells = {row[0]: row[1] for row in rows}
    assert cells["NoC@85"].startswith("1.500 [")
    assert cells["NoC@85: never reached"] == "0"
    assert cells["NoC@90"].startswith("11.500 [")
    assert cells["NoC@90: never reached"] == "1"
    assert cells["NoC@85, frozen SAM"].startswith("20.000 [")
    assert cells["NoC@85, frozen SAM: never reached"] == "2"
    assert "Dice" not in cells


def test_the_csv_has_a_row_for_each_object_and_a_column_for_each_figure(
    two_ways, tmp_path: Path
) -> None:
    noc = _report("noc", [_score("0.5.png", 0.5, steps=(0.5,) * 20)])
    path = report.save_csv(tmp_path / "objects.csv", [*two_ways, noc])
    rows = list(csv.DictReader(path.open()))
    assert [row["image"] for row in rows] == [
        "0.5.png",
        "0.6.png",
        "0.7.png",
        "0.8.png",
    ]
    assert float(rows[0]["auto dice"]) == 0.5
    assert float(rows[0]["gt:16 dice"]) == 0.6
    assert float(rows[0]["gt:16 frozen_dice"]) == 0.3
    assert rows[0]["noc noc85"] == ">20"
    assert rows[1]["noc noc85"] == ""
    with pytest.raises(FileExistsError, match="exists already"):
        report.save_csv(path, two_ways)


def test_worst_median_and_best_are_told_apart_and_never_the_same() -> None:
    shown = Example(None, np.zeros((0, 2)), np.zeros(0, int), np.zeros((0, 4)), 0)
    scores = [_score(str(i), i / 20, shown=shown) for i in range(20)]
    scores.append(_score("empty", 0.0, shown=shown, area=0))
    found = report.chosen(_report("auto", scores[::-1]), each=2)
    names = {kind: [s.image for s in each] for kind, each in found.items()}
    assert names == {
        "worst": ["0", "1"],
        "median": ["9", "10"],
        "best": ["18", "19"],
    }
    few = report.chosen(_report("auto", scores[:2]))
    assert [len(each) for each in few.values()] == [1, 1, 0]


def test_the_page_shows_image_truth_mask_and_points_and_needs_no_other_file(
    tmp_path: Path,
) -> None:
    truth = np.zeros((60, 80), np.uint8)
    truth[20:40, 20:50] = 255
    pairs, scores = [], []
    for name in ("a&b", "c", "d"):
        image, mask = tmp_path / f"{name}.png", tmp_path / f"{name}-mask.png"
        Image.fromarray(np.full((60, 80, 3), 90, np.uint8)).save(image)
        Image.fromarray(truth).save(mask)
        pairs.append(Pair(image, mask))
        shown = Example(
            Region.from_mask(truth > 0),
            np.array([[30.0, 35.0], [5.0, 70.0]]),
            np.array([1, 0]),
            np.zeros((0, 4)),
            1,
        )
        scores.append(_score(str(image), 0.9, shown=shown))
    page = report.save_overlays(
        tmp_path / "deep" / "page", [_report("auto+click:1", scores)], pairs
    )
    text = page.read_text()
    assert text.count("<svg") == 3
    assert text.count("data:image/jpeg;base64,") == 3
    assert "a&amp;b.png" in text
    assert 'class="auto in" cx="35.0" cy="30.0"' in text
    assert 'class="click out" cx="70.0" cy="5.0"' in text
    (truth_path,) = set(re.findall(r'class=truth d="([^"]*)"', text))
    corners = [tuple(map(float, p.split(","))) for p in truth_path[1:-1].split("L")]
    assert min(corners) == pytest.approx((19.5, 20), abs=1)
    assert max(corners) == pytest.approx((49.5, 39), abs=1)
    assert "http" not in text.replace("http-equiv", "")
    with pytest.raises(FileExistsError, match="exists already"):
        report.save_overlays(page.parent, [_report("auto+click:1", scores)], pairs)
