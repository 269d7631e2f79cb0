"""What an evaluation leaves behind: a table, a CSV of all objects, a page of examples.

What `evaluate_all` returned is written here. Every way of prompting has a column of its
own, so that automatic scores and scores prompted from the truth never share one, and
frozen SAM stands beside each.
"""

from __future__ import annotations

import base64
import csv
import html
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from skimage.measure import approximate_polygon, find_contours

from napari_promise.data.images import plane_name
from napari_promise.data.pairs import SampleReader
from napari_promise.files import PathLike, whole_file
from napari_promise.training.config import ImagePair
from napari_promise.training.metrics import Mask
from napari_promise.training.scores import EvaluationReport, Example, Score
from napari_promise.training.simulated_prompts import MOST_CLICKS, objects

#: The page of examples, in the folder given.
PAGE = "overlays.html"
#: Examples of each kind, worst, median and best.
EACH = 4
#: Longest side of an image on the page, in pixels.
SIDE = 420

_KINDS = {
    "automatic": "automatic",
    "corrected": "automatic, then clicks",
    "gt_prompted": "prompted from the truth",
}
_MEASURES = {
    "dice": "Dice",
    "iou": "IoU",
    "mae": "MAE",
    "s_measure": "S-measure",
    "e_mean": "E-measure, mean",
    "e_max": "E-measure, max",
    "e_adaptive": "E-measure, adaptive",
    "f_mean": "F-beta, mean",
    "f_max": "F-beta, max",
    "f_adaptive": "F-beta, adaptive",
    "hd95": "HD95, pixels",
    "noc85": "NoC@85",
    "noc90": "NoC@90",
}
_REST = {
    "dice_by_step": "Dice by click",
    "frozen_dice_by_step": "Dice by click, frozen SAM",
    "positives_on_object": "include points on the object",
    "images_without_object": "images without an object",
    "of_these_left_unprompted": "of these left unprompted",
    "objects": "objects",
    "images": "images",
    "skipped": "left out",
}


def table(
    reports: Sequence[EvaluationReport],
) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
    """Set evaluations side by side.

    Parameters
    ----------
    reports : sequence of EvaluationReport

    Returns
    -------
    header : tuple of str
        ``measure``, then the prompts of each.
    rows : list of tuple of str
        One a measure, frozen SAM's below its own; means with 95 % intervals, blank
        where a measure does not apply.
    """
    rows = [("prompts are", *(_KINDS[report.plan.column] for report in reports))]
    found = [(report, report.summary, report.intervals()) for report in reports]

    def add(label: str, cells: Iterable[str]) -> None:
        row = (label, *cells)
        if any(row[1:]):
            rows.append(row)

    for name, label in _MEASURES.items():
        for prefix, suffix in (("", ""), ("frozen_", ", frozen SAM")):
            keys = [report.plan.key(prefix + name) for report in reports]
            add(
                label + suffix,
                (
                    _with_interval(summary.get(key), ends.get(key))
                    for key, (_, summary, ends) in zip(keys, found, strict=True)
                ),
            )
            if name.startswith("noc"):
                add(
                    f"{label}{suffix}: never reached",
                    (
                        _plain(summary.get(f"{key}_failures"))
                        for key, (_, summary, _) in zip(keys, found, strict=True)
                    ),
                )
    for key, label in _REST.items():
        add(label, (_plain(summary.get(key)) for _, summary, _ in found))
    return ("measure", *(report.prompts for report in reports)), rows


def to_json(reports: Sequence[EvaluationReport]) -> dict[str, Any]:
    """Return what `EvaluationReport.to_json` does; several as a list in ``reports``."""
    if len(reports) == 1:
        return reports[0].to_json()
    return {
        "model": reports[0].model,
        "adapter": reports[0].adapter,
        "reports": [report.to_json() for report in reports],
    }


def save_csv(
    path: PathLike, reports: Sequence[EvaluationReport], *, overwrite: bool = False
) -> Path:
    """Write every figure of every object: one row an object, one column a figure.

    Parameters
    ----------
    path : path
    reports : sequence of EvaluationReport
        Columns are named by prompts and figure: ``auto dice``, ``gt:16 frozen_dice``.
        Automatic prompts measure the whole foreground of an image, all others each
        instance: where there are several, these are different rows.
    overwrite : bool
        Whether a file already there may be replaced.

    Returns
    -------
    pathlib.Path
    """
    rows: dict[tuple[str, int | None], dict[str, Any]] = {}
    for report in reports:
        for score in report.scores:
            row = rows.setdefault(
                (score.image, score.instance),
                {
                    "image": score.image,
                    "group": score.group,
                    "instance": score.instance,
                    "area": score.area,
                },
            )
            for name, value in score.figures(report.plan).items():
                row[f"{report.prompts} {name}"] = (
                    f">{MOST_CLICKS}" if value is None and "noc" in name else value
                )
    names = dict.fromkeys(name for row in rows.values() for name in row)
    with whole_file(path, overwrite) as temporary:
        with open(temporary, "w", newline="", encoding="utf-8") as file:
            writer = csv.DictWriter(file, list(names))
            writer.writeheader()
            writer.writerows(rows.values())
    return Path(path)


def save_overlays(
    folder: PathLike,
    reports: Sequence[EvaluationReport],
    pairs: Iterable[ImagePair],
    *,
    overwrite: bool = False,
) -> Path:
    """Write a page with the worst, median and best objects of each evaluation.

    Parameters
    ----------
    folder : path
        Made where it is missing; the page is `PAGE` in it and needs no other file.
    reports : sequence of EvaluationReport
        With examples.
    pairs : iterable of ImagePair
        What was evaluated; images and truths are read again.
    overwrite : bool
        Whether a page already there may be replaced.

    Returns
    -------
    pathlib.Path
        The page.
    """
    by_image = {plane_name(str(pair.image), pair.plane): pair for pair in pairs}
    parts = []
    for report in reports:
        title = f"{report.prompts} ({_KINDS[report.plan.column]})"
        parts.append(f"<h2>{html.escape(title)}</h2>")
        for kind, scores in chosen(report).items():
            figures = "".join(
                _figure(score, report, by_image[score.image]) for score in scores
            )
            parts.append(f"<h3>{kind}</h3><div class=row>{figures}</div>")
    names = [str(n) for n in (reports[0].model, reports[0].adapter) if n]
    page = _PAGE.format(title=html.escape(" + ".join(names)), body="\n".join(parts))
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    with whole_file(folder / PAGE, overwrite) as temporary:
        temporary.write_text(page, encoding="utf-8")
    return folder / PAGE


def chosen(report: EvaluationReport, each: int = EACH) -> dict[str, list[Score]]:
    """Worst, median and best objects of an evaluation; none appears twice.

    Parameters
    ----------
    report : EvaluationReport
    each : int
        So many of each; fewer where there are not enough.

    Returns
    -------
    dict of str to list of Score
        By Dice, or by the clicks to an IoU of .90. Images without an object are left
        out. Worst first within each.
    """

    def quality(score: Score) -> tuple[float, float]:
        needed = score.figures(report.plan).get("noc90", 0)
        return -(MOST_CLICKS + 1 if needed is None else needed), score.dice

    order = sorted((s for s in report.scores if s.area and s.shown), key=quality)
    each = min(each, max(1, len(order) // 3))
    start = max(each, (len(order) - each) // 2)
    return {
        "worst": order[:each],
        "median": order[start : start + each],
        "best": order[max(len(order) - each, start + each) :],
    }


def _figure(score: Score, report: EvaluationReport, pair: ImagePair) -> str:
    sample = SampleReader().read(pair)
    rgb = sample.rgb8
    truths = dict(objects(sample.mask, together=report.plan.automatic))
    shown = score.shown
    assert shown is not None
    height, width = rgb.shape[:2]
    predicted = np.zeros((height, width), bool)
    if shown.region is not None:
        predicted = shown.region.mask
    figures = score.figures(report.plan)
    text = " · ".join(
        [
            Path(score.image).name
            + ("" if score.instance is None else f" #{score.instance}"),
            *(
                f"{_MEASURES[name]} {_plain(value) or f'>{MOST_CLICKS}'}"
                for name, value in figures.items()
                if name in ("dice", "noc85", "noc90")
            ),
            *(
                f"frozen {value:.3f}"
                for name, value in figures.items()
                if name == "frozen_dice" and value is not None
            ),
        ]
    )
    return (
        f'<figure><svg viewBox="-0.5 -0.5 {width} {height}">'
        f'<image x="-0.5" y="-0.5" width="{width}" height="{height}" '
        f'href="{_embedded(rgb)}"/>'
        f'<path class=truth d="{_outline(truths[score.instance])}"/>'
        f'<path class=drawn d="{_outline(predicted)}"/>{_marks(shown, width, height)}'
        f"</svg><figcaption>{html.escape(text)}</figcaption></figure>"
    )


def _embedded(rgb: NDArray[np.uint8]) -> str:
    picture = Image.fromarray(rgb)
    picture.thumbnail((SIDE, SIDE))
    buffer = io.BytesIO()
    picture.save(buffer, "JPEG", quality=85)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode()


def _outline(mask: Mask) -> str:
    """SVG path around a mask, in (x, y)."""
    slack = max(mask.shape) / SIDE / 2
    lines = []
    for contour in find_contours(np.pad(mask, 1).astype(float), 0.5):
        points = approximate_polygon(contour - 1, slack)
        lines.append("M" + "L".join(f"{x:.1f},{y:.1f}" for y, x in points) + "Z")
    return "".join(lines)


def _marks(shown: Example, width: int, height: int) -> str:
    radius = max(width, height) / 70
    marks = [
        f'<rect class=box x="{c0:.1f}" y="{r0:.1f}" width="{c1 - c0:.1f}" '
        f'height="{r1 - r0:.1f}"/>'
        for r0, c0, r1, c1 in shown.boxes
    ]
    for at, ((row, column), label) in enumerate(
        zip(shown.points, shown.labels, strict=True)
    ):
        kind = "auto" if at < shown.automatic else "click"
        marks.append(
            f'<circle class="{kind} {"in" if label else "out"}" cx="{column:.1f}" '
            f'cy="{row:.1f}" r="{radius:.1f}"/>'
        )
    return "".join(marks)


def _with_interval(mean: float | None, ends: tuple[float, float] | None) -> str:
    if mean is None or ends is None:
        return _plain(mean)
    return f"{mean:.3f} [{ends[0]:.3f}, {ends[1]:.3f}]"


def _plain(value: Any) -> str:
    if value is None:
        return ""
    if isinstance(value, float):
        return f"{value:.3f}"
    if isinstance(value, list):
        return " ".join(_plain(item) for item in value)
    return str(value)


_PAGE = """<!doctype html>
<html lang="en"><meta charset="utf-8"><title>{title}</title>
<style>
body {{ font: 14px/1.4 sans-serif; margin: 1.5rem; background: #1d1f21; color: #ddd }}
.row {{ display: flex; flex-wrap: wrap; gap: 12px }}
figure {{ margin: 0; width: 320px }}
svg {{ width: 100%; display: block }}
path, rect, circle {{ vector-effect: non-scaling-stroke; fill: none; stroke-width: 2 }}
.truth {{ stroke: #22d3ee }}
.drawn {{ stroke: #facc15; stroke-dasharray: 6 3 }}
.box {{ stroke: #fff; stroke-dasharray: 2 2 }}
.in {{ stroke: #22c55e }} .out {{ stroke: #ef4444 }}
.click.in {{ fill: #22c55e }} .click.out {{ fill: #ef4444 }}
figcaption {{ overflow-wrap: anywhere; padding: 4px 0 }}
</style>
<h1>{title}</h1>
<p><span style="color:#22d3ee">— truth</span> ·
<span style="color:#facc15">- - drawn</span> ·
green points include, red ones exclude; rings are the adapter's, discs were clicked or
drawn from the truth.</p>
{body}
</html>
"""
