from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_promise.data.pairs import Pair
from napari_promise.document import Document, Region
from napari_promise.prompts import Before, Prompts
from napari_promise.proposing import iou
from napari_promise.training.evaluate import evaluate, evaluate_all
from napari_promise.training.metrics import dice
from napari_promise.training.scores import EvaluationReport, Score
from napari_promise.training.simulated_prompts import (
    MOST_CLICKS,
    PromptPlan,
    clicks_needed,
    next_click,
    random_points,
)


@dataclass
class Answer:
    mask: np.ndarray
    logits: np.ndarray


class PaintsDiscs:
    """A segmenter that paints a disc at every point; frozen, a smaller one."""

    model_id = "fake"

    def __init__(self, proposal: Prompts | None = None) -> None:
        self.adapter_info = None
        if proposal is not None:
            self.adapter_info = SimpleNamespace(name="toy")
        self.proposal = proposal
        self.seen: list[Prompts] = []
        self.locally: list[bool] = []

    def encode(self, image: np.ndarray) -> tuple[int, ...]:
        return image.shape[:2]

    def segment(
        self,
        emb: tuple[int, ...],
        prompts: Prompts,
        *,
        ips: bool = True,
        local: bool = True,
    ) -> Answer:
        self.seen.append(prompts)
        self.locally.append(local)
        mask = np.zeros(emb, dtype=bool)
        rows, columns = np.mgrid[: emb[0], : emb[1]]
        for r0, c0, r1, c1 in prompts.boxes:
            mask |= (rows >= r0) & (rows <= r1) & (columns >= c0) & (columns <= c1)
        radius = 8 if ips else 4
        for label in (1, 0):
            for row, column in prompts.points[prompts.labels == label]:
                near = (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
                mask[near] = label == 1
        return Answer(mask, np.zeros((1, 4, 4), np.float32))

    def probabilities(self, emb: tuple[int, ...], logits: np.ndarray) -> np.ndarray:
        return np.full(emb, 0.25, np.float32)

    def propose(self, emb: Any) -> Prompts:
        if self.proposal is None:
            raise ValueError("auto-prompting needs an adapter")
        return self.proposal


def _pair(folder: Path, name: str, mask: np.ndarray) -> Pair:
    image, target = folder / f"{name}.png", folder / f"{name}-mask.png"
    Image.fromarray(np.zeros((*mask.shape, 3), np.uint8)).save(image)
    Image.fromarray(mask).save(target)
    return Pair(image, target)


@pytest.fixture
def two_discs(tmp_path: Path) -> Pair:
    rows, columns = np.mgrid[:60, :80]
    labels = np.zeros((60, 80), np.uint8)
    labels[(rows - 20) ** 2 + (columns - 20) ** 2 <= 64] = 1
    labels[(rows - 40) ** 2 + (columns - 60) ** 2 <= 64] = 2
    return _pair(tmp_path, "discs", labels)


@pytest.mark.parametrize(
    ("text", "column"),
    [
        ("auto", "automatic"),
        ("auto+click:1", "corrected"),
        ("click:3", "gt_prompted"),
        ("gt:16", "gt_prompted"),
        ("box", "gt_prompted"),
        ("noc", "gt_prompted"),
        ("auto+noc", "corrected"),
    ],
)
def test_automatic_and_prompted_scores_have_columns_of_their_own(
    text: str, column: str
) -> None:
    assert PromptPlan.parse(text).column == column


def test_how_clicks_fall_and_are_answered_is_said_after_them() -> None:
    plan = PromptPlan.parse("auto+noc+local+loose")
    assert (plan.automatic, plan.noc, plan.local, plan.loose) == (True,) * 4
    plan = PromptPlan.parse("click:3+loose")
    assert (plan.clicks, plan.local, plan.loose) == (3, False, True)


@pytest.mark.parametrize(
    "text",
    ["", "click", "click:0", "gt:-1", "automatic", "box:2", "noc:3", "auto+noc+noc"]
    + ["+local", "auto+local", "gt:3+local", "noc+local+local"]
    + ["+loose", "box+loose", "noc+loose+local"],
)
def test_unknown_prompts_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match="use auto, auto"):
        PromptPlan.parse(text)


def test_the_first_click_is_the_centre_of_the_object() -> None:
    truth = np.zeros((50, 70), dtype=bool)
    truth[10:21, 30:41] = True
    assert next_click(np.zeros_like(truth), truth) == ((15, 35), 1)


def test_the_next_click_is_the_centre_of_the_largest_error() -> None:
    truth, mask = np.zeros((50, 70), dtype=bool), np.zeros((50, 70), dtype=bool)
    truth[10:21, 30:41] = True
    mask[10:21, 30:38] = True  # misses 3 columns
    mask[30:41, 5:16] = True  # and takes background
    assert next_click(mask, truth) == ((35, 10), 0)
    assert next_click(truth, truth) is None


def test_an_error_at_the_border_is_clicked_off_the_border() -> None:
    truth = np.zeros((50, 50), dtype=bool)
    truth[:, :21] = True
    click = next_click(np.zeros_like(truth), truth)
    assert click is not None
    assert click[0][1] == 10


def test_loose_clicks_fall_into_the_inner_half_of_the_error() -> None:
    truth = np.zeros((60, 60), dtype=bool)
    truth[10:51, 10:51] = True  # 21 cells deep in its centre
    rng = np.random.default_rng(0)
    found = [next_click(np.zeros_like(truth), truth, rng) for _ in range(200)]
    places = np.array([click[0] for click in found if click is not None])
    assert len(np.unique(places, axis=0)) > 100
    assert 20 <= places.min() < 24
    assert 36 < places.max() <= 40


def test_random_points_keep_their_slots_and_sides() -> None:
    truth = np.zeros((50, 50), dtype=bool)
    truth[10:20, 10:20] = True
    points, labels = random_points(truth, 5, np.random.default_rng(0))
    assert labels.tolist() == [1, 1, 0, 0, 0]
    assert truth[tuple(points.astype(int).T)].tolist() == [True] * 2 + [False] * 3
    _, labels = random_points(np.ones((5, 5), bool), 4, np.random.default_rng(0))
    assert labels.tolist() == [1, 1]


def test_dice_and_iou_of_empty_masks_are_one() -> None:
    empty, full = np.zeros((4, 4), bool), np.ones((4, 4), bool)
    assert dice(empty, empty) == iou(empty, empty) == 1
    assert dice(empty, full) == iou(empty, full) == 0


def test_every_instance_is_clicked_on_its_own(two_discs: Pair) -> None:
    report = evaluate([two_discs], PaintsDiscs(), "click:1")
    assert [score.instance for score in report.scores] == [1, 2]
    assert all(score.dice == 1 for score in report.scores)
    assert report.summary["gt_prompted_dice"] == 1
    assert not any("automatic" in key for key in report.summary)


def test_a_box_is_the_objects_own(two_discs: Pair) -> None:
    report = evaluate([two_discs], PaintsDiscs(), "box")
    assert report.summary["gt_prompted_iou"] == pytest.approx(197 / 289, abs=0.001)


def test_logits_are_fed_back_from_the_second_click_on(two_discs: Pair) -> None:
    segmenter = PaintsDiscs(Prompts(points=[(0, 0)]))
    evaluate([two_discs], segmenter, "click:3")
    first, second = segmenter.seen[:2]
    assert first.logits is None
    # the adapter's discs are perfect at once; frozen ones need more clicks
    assert second.logits is None
    assert segmenter.seen[2].logits is not None
    assert len(segmenter.seen[2].points) == 2


def test_automatic_prompts_are_scored_on_the_whole_foreground(two_discs: Pair) -> None:
    segmenter = PaintsDiscs(
        Prompts(points=[(20, 20), (5, 70), (59, 0)], labels=[1, 1, 0])
    )
    report = evaluate([two_discs], segmenter, "auto+click:1")
    (score,) = report.scores
    assert (score.positives, score.positives_on_object) == (2, 1)
    assert len(score.steps) == 2
    assert score.steps[0] < score.steps[1] == score.dice
    assert score.frozen_dice is not None
    assert score.frozen_dice < score.dice
    assert report.adapter == "toy"
    assert report.summary["positives_on_object"] == 0.5
    assert report.summary["frozen_corrected_dice"] < report.summary["corrected_dice"]


def test_a_click_after_automatic_prompts_is_answered_as_in_the_window(
    two_discs: Pair,
) -> None:
    found = Prompts(
        points=[(20, 20), (5, 70), (59, 0)],
        labels=[1, 1, 0],
        before=Before(np.full((1, 4, 4), 3)),
    )
    segmenter = PaintsDiscs(found)
    evaluate([two_discs], segmenter, "auto+click:2")
    start, *clicked = segmenter.seen[:3]
    assert start == found
    document = Document()
    object_id = document.new_object().id
    record = document.set_prompts(
        object_id, found, ["auto"] * 3, keep_logits=True, coarse=found.logits
    )
    for prompts in clicked:
        document.set_mask(
            object_id,
            Region.from_mask(np.ones((60, 80), bool)),
            score=0,
            logits=np.zeros((1, 4, 4), np.float32),
            revision=record.revision,
        )
        record = document.edit_prompts(
            object_id, points=prompts.points, labels=prompts.labels
        )
        assert record.prompts == prompts
        assert prompts.answered is not None


def test_nothing_proposed_on_an_empty_image_is_right(tmp_path: Path) -> None:
    pair = _pair(tmp_path, "empty", np.zeros((20, 20), np.uint8))
    report = evaluate([pair], PaintsDiscs(Prompts()), "auto")
    assert report.scores[0].dice == 1


def test_what_cannot_be_measured_is_named_and_the_rest_goes_on(
    tmp_path: Path, two_discs: Pair
) -> None:
    broken = _pair(tmp_path, "broken", np.ones((9, 9), np.uint8))
    broken.image.write_bytes(b"no image")
    other = _pair(tmp_path, "other", np.ones((9, 9), np.uint8))
    empty = _pair(tmp_path, "empty", np.zeros((9, 9), np.uint8))
    pairs = [broken, Pair(two_discs.image, other.mask), empty, two_discs]
    report = evaluate(pairs, PaintsDiscs(), "click:1")
    assert len(report.scores) == 2
    assert [("broken" in s, "its mask" in s) for s in report.skipped] == [
        (True, False),
        (False, True),
        (False, True),
    ]
    record = json.loads(json.dumps(report.to_json()))
    assert record["summary"]["skipped"] == 3
    assert len(record["scores"]) == 2


def test_several_ways_of_prompting_encode_every_image_once(two_discs: Pair) -> None:
    segmenter = PaintsDiscs(Prompts(points=[(20, 20)]))
    encoded = []
    encode = segmenter.encode
    segmenter.encode = lambda image: encoded.append(1) or encode(image)  # type: ignore[method-assign]
    reports = evaluate_all([two_discs], segmenter, ["auto", "click:1", "noc"])
    assert len(encoded) == 1
    assert [report.prompts for report in reports] == ["auto", "click:1", "noc"]
    assert [len(report.scores) for report in reports] == [1, 2, 2]
    alone = evaluate([two_discs], PaintsDiscs(Prompts(points=[(20, 20)])), "click:1")
    assert reports[1] == alone


def test_the_same_prompts_twice_are_refused(two_discs: Pair) -> None:
    with pytest.raises(ValueError, match="once"):
        evaluate_all([two_discs], PaintsDiscs(), ["box", "box"])


def test_clicks_are_counted_until_the_iou_is_reached_the_first_time() -> None:
    at_85 = 2 * 0.85 / 1.85
    assert clicks_needed([0.2, at_85, 0.9], 0.85) == 2
    assert clicks_needed([0.2, at_85 - 1e-6], 0.85) is None
    assert clicks_needed([at_85, 0.9], 0.85, automatic=True) == 0
    assert clicks_needed([0.2, at_85], 0.85, automatic=True) == 1
    assert clicks_needed([], 0.85) is None


def test_corrections_stay_local_where_the_plan_says_so(two_discs: Pair) -> None:
    segmenter = PaintsDiscs()
    evaluate_all([two_discs], segmenter, ["click:1", "click:1+local"])
    assert segmenter.locally == [False] * 2 + [True] * 2


def test_nobody_clicks_on_once_both_ious_are_reached(two_discs: Pair) -> None:
    segmenter = PaintsDiscs()
    (report,) = evaluate_all([two_discs], segmenter, ["noc"])
    assert len(segmenter.seen) == 2  # one click an object
    assert report.summary["gt_prompted_noc85"] == 1
    assert report.summary["gt_prompted_noc90_failures"] == 0
    assert "gt_prompted_dice" not in report.summary


class PaintsTheSameAlways(PaintsDiscs):
    """Whatever is clicked."""

    def segment(
        self,
        emb: tuple[int, ...],
        prompts: Prompts,
        *,
        ips: bool = True,
        local: bool = True,
    ) -> Answer:
        self.seen.append(prompts)
        mask = np.zeros(emb, dtype=bool)
        mask[:5, :5] = True
        return Answer(mask, np.zeros((1, 4, 4), np.float32))


def test_an_object_that_is_never_reached_counts_twenty_clicks(two_discs: Pair) -> None:
    segmenter = PaintsTheSameAlways()
    (report,) = evaluate_all([two_discs], segmenter, ["noc"])
    assert len(segmenter.seen) == 2 * MOST_CLICKS
    assert report.summary["gt_prompted_noc85"] == MOST_CLICKS
    assert report.summary["gt_prompted_noc85_failures"] == 2


def test_good_automatic_prompts_need_no_click(two_discs: Pair) -> None:
    segmenter = PaintsDiscs(Prompts(points=[(20, 20), (40, 60)]))
    (report,) = evaluate_all([two_discs], segmenter, ["auto+noc"])
    assert report.summary["corrected_noc85"] == 0
    assert report.summary["frozen_corrected_noc85"] > 0


def test_measures_are_taken_of_the_probabilities_when_asked_for(
    two_discs: Pair,
) -> None:
    plain = evaluate([two_discs], PaintsDiscs(), "click:1")
    assert plain.scores[0].measures is None
    segmenter = PaintsDiscs(Prompts(points=[(20, 20)]))
    report = evaluate([two_discs], segmenter, "auto", metrics=True)
    share = (2 * 197) / (60 * 80)
    assert report.summary["automatic_mae"] == pytest.approx(
        0.25 * (1 - share) + 0.75 * share, abs=0.003
    )
    assert report.summary["automatic_e_max"] >= report.summary["automatic_e_mean"]
    assert "frozen_automatic_s_measure" in report.summary


def test_nothing_drawn_has_measures_too_but_no_distance(two_discs: Pair) -> None:
    segmenter = PaintsDiscs(Prompts())
    summary = evaluate([two_discs], segmenter, "auto", metrics=True).summary
    assert summary["automatic_dice"] == 0
    assert "automatic_hd95" not in summary
    assert "automatic_mae" in summary


def test_intervals_are_by_group_where_images_have_one() -> None:
    def report(groups: list[str | None]) -> EvaluationReport:
        scores = [
            Score(str(i), None, i / 39, i / 39, None, None, group=group)
            for i, group in enumerate(groups)
        ]
        return EvaluationReport("auto", None, None, tuple(scores))

    by_image = report([None] * 40).intervals()["automatic_dice"]
    by_group = report([str(i // 10) for i in range(40)]).intervals()["automatic_dice"]
    assert by_group[1] - by_group[0] > 1.3 * (by_image[1] - by_image[0])
    assert report(["a"] * 40).intervals() == {}
    assert report(["a"] * 40).to_json()["bootstrap"]["by"] == "group"


def test_images_without_an_object_are_told_apart(
    tmp_path: Path, two_discs: Pair
) -> None:
    empty = _pair(tmp_path, "empty", np.zeros((60, 80), np.uint8))
    segmenter = PaintsDiscs(Prompts(points=[(20, 20), (40, 60)]))
    summary = evaluate([empty, two_discs], segmenter, "auto").summary
    assert summary["images_without_object"] == 1
    assert summary["of_these_left_unprompted"] == 0
    assert summary["automatic_dice_where_object"] == 1
    assert summary["automatic_dice"] == 0.5
    (clicks,) = evaluate_all([empty, two_discs], segmenter, ["auto+noc"])
    assert len(clicks.scores) == 1
    assert "its mask is empty" in clicks.skipped[0]
