"""Draw the rooms of the package from the layers that the tests check.

    python -m scripts.draw_rooms

Writes `docs/images/rooms.svg`; `make docs` calls it.
"""

from __future__ import annotations

import ast
import html
from pathlib import Path

import tomllib

ROOT = Path(__file__).resolve().parents[1]
PICTURE = ROOT / "docs" / "images" / "rooms.svg"
_WIDTH, _HEIGHT, _GAP = 860, 46, 8
#: Rooms that may import napari and Qt, and rooms that may import torch.
_WINDOW, _TORCH = {"widgets", "demo"}, {"model", "segmenter", "training", "session"}


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


def draw() -> str:
    """Return the picture, SVG."""
    floors = layers()
    height = len(floors) * (_HEIGHT + _GAP) + _GAP
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}" '
        'font-family="sans-serif">'
    ]
    for row, rooms in enumerate(floors):
        width = (_WIDTH - _GAP * (len(rooms) + 1)) / len(rooms)
        for column, room in enumerate(rooms):
            x = _GAP + column * (width + _GAP)
            y = _GAP + row * (_HEIGHT + _GAP)
            colour = "#cfe8e5"
            if room in _WINDOW:
                colour = "#fde7c4"
            elif room in _TORCH:
                colour = "#dcd6f7"
            words = job(room)
            limit = int(width / 6.3)
            if len(words) > limit:
                words = words[: limit - 1].rsplit(" ", 1)[0] + " …"
            parts += [
                f'<rect x="{x:.0f}" y="{y}" width="{width:.0f}" height="{_HEIGHT}" '
                f'rx="6" fill="{colour}" stroke="#555"/>',
                f'<text x="{x + 10:.0f}" y="{y + 19}" font-size="14" '
                f'font-weight="bold">{room}</text>',
                f'<text x="{x + 10:.0f}" y="{y + 37}" font-size="12" fill="#333">'
                f"{html.escape(words)}</text>",
            ]
    return "\n".join([*parts, "</svg>"]) + "\n"


if __name__ == "__main__":
    PICTURE.write_text(draw(), encoding="utf-8")
    print(f"written: {PICTURE.relative_to(ROOT)}")
