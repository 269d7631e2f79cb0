"""The course of a training run as a table and as a picture.

``curves.csv`` has a row for each pass, ``curves.png`` draws it: losses on the left,
held-out Dice on the right, frozen SAM dashed. Both are written whole.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Callable, Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from napari_promise.files import whole_file

TABLE, PICTURE = "curves.csv", "curves.png"
#: Kinds of held-out Dice, and the colours in which they are drawn.
KINDS = {
    "map": (140, 86, 75),
    "automatic": (214, 39, 40),
    "corrected": (31, 119, 180),
    "refined": (23, 190, 207),
    "gt_prompted": (44, 160, 44),
}
COLUMNS = ("epoch", "phase", "loss", *KINDS, *(f"frozen_{k}" for k in (*KINDS,)[1:]))

Row = dict[str, float | str]

_SIZE, _MARGIN, _HEAD = (1000, 420), 50, 70
_LOSSES = {"apm": (148, 103, 189), "ips": (255, 127, 14)}
_GREY, _BLACK = (220, 220, 220), (30, 30, 30)


def write_curves(folder: Path, rows: Sequence[Row], *, picture: bool = True) -> None:
    """Write the table and, if wanted, the picture.

    Parameters
    ----------
    folder : pathlib.Path
        Made where missing.
    rows : sequence of dict
        Values of `COLUMNS`, any but ``epoch`` and ``phase`` may be missing.
    picture : bool
    """
    folder.mkdir(parents=True, exist_ok=True)
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n", extrasaction="ignore")
    writer.writeheader()
    for row in rows:
        writer.writerow(
            {k: f"{v:.4f}" if isinstance(v, float) else v for k, v in row.items()}
        )
    _write(folder / TABLE, text.getvalue().encode())
    if picture:
        image = io.BytesIO()
        draw_curves(rows).save(image, "PNG", optimize=True)
        _write(folder / PICTURE, image.getvalue())


def draw_curves(rows: Sequence[Row]) -> Image.Image:
    """Draw losses and held-out Dice over the passes.

    Parameters
    ----------
    rows : sequence of dict
        See `write_curves`.

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    picture = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(picture)
    middle = _SIZE[0] // 2
    losses = {
        f"loss, {phase}": (colour, _points(rows, "loss", phase))
        for phase, colour in _LOSSES.items()
    }
    largest = max((y for _, line in losses.values() for _, y in line), default=1.0)
    _axes(draw, 0, middle, len(rows), largest * 1.05, losses, "loss")
    scores = {
        kind.replace("_", " "): (colour, _points(rows, kind))
        for kind, colour in KINDS.items()
    }
    _axes(draw, middle, _SIZE[0], len(rows), 1.0, scores, "held-out Dice")
    for kind, colour in KINDS.items():
        for at, value in _points(rows, f"frozen_{kind}")[-1:]:
            level = _place(middle, _SIZE[0], len(rows), 1.0)((at, value))[1]
            for x in range(middle + _MARGIN, _SIZE[0] - _MARGIN // 2, 12):
                draw.line([(x, level), (x + 6, level)], fill=colour)
    return picture


Line = list[tuple[float, float]]
Place = Callable[[tuple[float, float]], tuple[float, float]]


def _points(rows: Sequence[Row], column: str, phase: str | None = None) -> Line:
    """(pass, value) wherever a row has the column."""
    return [
        (at, float(row[column]))
        for at, row in enumerate(rows, start=1)
        if row.get(column) not in (None, "") and phase in (None, row["phase"])
    ]


def _place(left: int, right: int, passes: int, top: float) -> Place:
    """Make the function from (pass, value) to pixels between two columns."""
    width = right - left - 1.5 * _MARGIN
    height = _SIZE[1] - _MARGIN - _HEAD

    def place(point: tuple[float, float]) -> tuple[float, float]:
        x = left + _MARGIN + width * (point[0] - 1) / max(1, passes - 1)
        return x, _SIZE[1] - _MARGIN - height * min(point[1] / top, 1.0)

    return place


def _axes(
    draw: ImageDraw.ImageDraw,
    left: int,
    right: int,
    passes: int,
    top: float,
    lines: dict[str, tuple[tuple[int, int, int], Line]],
    title: str,
) -> None:
    """Draw a frame with its scale, lines and legend."""
    font = ImageFont.load_default(13)
    place = _place(left, right, passes, top)
    for tick in range(5):
        value = top * tick / 4
        x0, y = place((1, value))
        draw.line([(x0, y), (right - _MARGIN / 2, y)], fill=_GREY)
        draw.text((x0 - 6, y), f"{value:.2f}", _BLACK, font, anchor="rm")
    draw.text((left + _MARGIN, 16), title, _BLACK, font, anchor="lm")
    bottom = _SIZE[1] - _MARGIN + 16
    for at in {1, max(1, passes)}:
        draw.text((place((at, 0))[0], bottom), f"{at}", _BLACK, font, anchor="mm")
    draw.text(((left + right) / 2, bottom), "pass", _BLACK, font, anchor="mm")
    x = float(left + _MARGIN)
    for name, (colour, line) in lines.items():
        if not line:
            continue
        draw.line([(x, 40), (x + 16, 40)], fill=colour, width=2)
        draw.text((x + 20, 40), name, _BLACK, font, anchor="lm")
        x += 34 + draw.textlength(name, font)
        found = [place(point) for point in line]
        draw.line(found, fill=colour, width=2)
        for px, py in found:
            draw.ellipse([px - 2, py - 2, px + 2, py + 2], fill=colour)


def _write(path: Path, content: bytes) -> None:
    with whole_file(path, overwrite=True) as part:
        part.write_bytes(content)
