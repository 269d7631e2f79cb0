"""Draw the rooms of the package from the layers that the tests check.

    python -m scripts.draw_rooms

Writes `docs/images/rooms.svg`; `make docs` calls it. What stands in a room is the first
line of its docstring, so it is true as long as that is.
"""

from __future__ import annotations

import ast
import html
import textwrap
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "rooms.svg"

#: Rooms that may import napari and Qt, and rooms that may import torch.
_WINDOW, _TORCH = {"widgets", "demo"}, {"model", "segmenter", "training", "session"}
_TORCH |= {"jobs", "cli", "remote"}
#: Of each kind of room: fill, line, and what the legend says.
_KINDS = {
    "window": ("#fff3dc", "#d9a441", "opens windows: napari and Qt"),
    "torch": ("#ece8fb", "#8f7fd6", "works with torch, opens no window"),
    "plain": ("#e4f3f1", "#5ba79d", "neither: NumPy and files"),
}
_WIDTH, _MARGIN, _GAP = 900, 44, 10
_PAD, _LINE, _TITLE = 12, 16, 20
#: Pixels that a letter of the description takes on average.
_LETTER = 6.2


def layers() -> list[list[str]]:
    """Return the rooms, top floor first; those of one floor together."""
    with open(ROOT / "pyproject.toml", "rb") as file:
        contracts = tomllib.load(file)["tool"]["importlinter"]["contracts"]
    floors = next(c["layers"] for c in contracts if c["type"] == "layers")
    return [
        [room.strip() for room in floor.replace("|", ":").split(":")]
        for floor in floors
    ]


def job(room: str) -> str:
    """Return the first sentence of a room's docstring."""
    package = ROOT / "napari_promise" / room
    path = package / "__init__.py" if package.is_dir() else package.with_suffix(".py")
    text = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return text.splitlines()[0].split(". ")[0].rstrip(".")


def _kind(room: str) -> str:
    if room in _WINDOW:
        return "window"
    return "torch" if room in _TORCH else "plain"


def _text(x: float, y: float, words: str, look: str) -> str:
    return f'<text x="{x:.0f}" y="{y:.0f}" class="{look}">{html.escape(words)}</text>'


def _room(room: str, x: float, y: float, width: float, height: float) -> list[str]:
    fill, line, _ = _KINDS[_kind(room)]
    name = f"{room}/" if (ROOT / "napari_promise" / room).is_dir() else f"{room}.py"
    parts = [
        f'<rect x="{x:.0f}" y="{y:.0f}" width="{width:.0f}" height="{height:.0f}" '
        f'rx="7" fill="{fill}" stroke="{line}"/>',
        _text(x + _PAD, y + _TITLE, name, "name"),
    ]
    for number, words in enumerate(_wrapped(room, width)):
        parts.append(
            _text(x + _PAD, y + _TITLE + 18 + number * _LINE, words, "job"),
        )
    return parts


def _wrapped(room: str, width: float) -> list[str]:
    return textwrap.wrap(job(room), int((width - 2 * _PAD) / _LETTER))


def draw() -> str:
    """Return the picture, SVG."""
    parts: list[str] = []
    y = float(_GAP)
    for rooms in layers():
        width = (_WIDTH - _MARGIN - _GAP * len(rooms)) / len(rooms)
        lines = max(len(_wrapped(room, width)) for room in rooms)
        height = _TITLE + lines * _LINE + _PAD
        for column, room in enumerate(rooms):
            parts += _room(room, _MARGIN + column * (width + _GAP), y, width, height)
        y += height + _GAP
    middle = _MARGIN / 2
    arrow = (
        f'<line x1="{middle:.0f}" y1="{_GAP}" x2="{middle:.0f}" y2="{y - 22:.0f}" '
        'stroke="#8a8a8a" stroke-width="1.5"/>'
        f'<path d="M{middle - 5:.0f} {y - 24:.0f} h10 l-5 12 z" fill="#8a8a8a"/>'
        f'<text transform="translate({middle - 7:.0f} {y / 2:.0f}) rotate(-90)" '
        'text-anchor="middle" class="job">imports go down only</text>'
    )
    x = float(_MARGIN)
    for fill, line, words in _KINDS.values():
        parts.append(
            f'<rect x="{x:.0f}" y="{y + 6:.0f}" width="14" height="14" rx="3" '
            f'fill="{fill}" stroke="{line}"/>'
        )
        parts.append(_text(x + 21, y + 18, words, "job"))
        x += 55 + len(words) * _LETTER
    height = y + 32
    head = (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:.0f}" '
        'font-family="Helvetica, Arial, DejaVu Sans, sans-serif">\n'
        "<style>.name { font-size: 14px; font-weight: bold; fill: #222 } "
        ".job { font-size: 12px; fill: #444 }</style>\n"
        f'<rect width="{_WIDTH}" height="{height:.0f}" rx="10" fill="#ffffff"/>'
    )
    return "\n".join([head, arrow, *parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(f"written: {PICTURE.relative_to(ROOT)}")
