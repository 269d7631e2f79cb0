r"""The part of the page of results that is of volumes, and a figure of each set.

    python benchmarks/volumes.py hippocampus-axial ct-organs mr-organs \
        --json results/volumes-promise-tiny.json
    python benchmarks/volumes.py ct-organs mr-organs --model promise-medical \
        --json results/volumes-promise-medical.json
    python -m scripts.volumes.annotate ct-organs mr-organs --model promise-medical \
        --json results/volumes-effort.json
    make results
    python -m scripts.study.volumes    # the figures, into docs/images

A record holds one row a question and object, as `benchmarks/volumes.py` asked it.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts.study import runs

__all__ = ["SECTIONS", "effort", "figure", "section"]

Record = dict[str, Any]
#: Of the questions, how they are said.
_SAID = {
    "1 true": "one true plane, ends known",
    "2 true": "two true planes",
    "3 true": "three true planes",
    "5 true": "five true planes",
    "clicked": "one plane of at most 5 clicks, own ends",
    "1 corrected": "after one corrected plane",
    "2 corrected": "after two",
    "3 corrected": "after three",
}
_NAMES = {
    "hippocampus-axial": "hippocampus",
    "ct-organs": "CT organs",
    "mr-organs": "MR organs",
}
#: Of models that have seen some of the volumes, what has to be said.
_SEEN = {
    "promise-medical": "Its decoder learned from the CT volume too, not from the MR: "
    "on CT organs what clicks gave is no held-out figure. What its encoder learned "
    "from is not listed by LiteMedSAM's authors, so that no volume here is certainly a "
    "stranger to it."
}
IMAGES = runs.RESULTS.parent / "docs" / "images"


def section(record: Record) -> str:
    """Return the tables of a record of `benchmarks/volumes.py`."""
    rows = record["rows"]
    lines = [
        f"## Volumes with {record['model']}",
        "",
        f"3-D Dice with {record['model']}, no adapter: `benchmarks/volumes.py`. From "
        "true planes beside interpolation of the same planes' shapes; from clicks "
        "beside copying the mask, prompting the next plane with its box, and with its "
        "logits and a point, which are all told where the object ends. Seconds are of "
        "the processor, for a plane that is encoded.",
        "",
    ]
    if record["model"] in _SEEN:
        lines += [_SEEN[record["model"]], ""]
    for name in dict.fromkeys(row["set"] for row in rows):
        here = [row for row in rows if row["set"] == name]
        lines += [f"### {_NAMES.get(name, name)}", "", *_questions(here), ""]
        lines += [*_objects(here), "", *_distances(here), ""]
    return "\n".join(lines).rstrip() + "\n"


def _questions(rows: Sequence[Record]) -> list[str]:
    """Return the table of the questions: ours beside simpler ways."""
    found = _table(
        "from",
        "n",
        "Dice",
        "interpolation",
        "copy",
        "box",
        "last logits",
        "clicks",
        "s a plane",
    )
    for question, said in _SAID.items():
        some = [row for row in rows if row["question"] == question]
        if some:
            cells = (
                _mean(some, key)
                for key in ("dice", "interpolation", "copy", "box", "logits")
            )
            clicks = _mean(some, "clicks", 1)
            took = _mean(some, "seconds_a_plane", 3)
            found.append(_line(said, len(some), *cells, clicks, took))
    clicked = [row for row in rows if row["question"] == "clicked"]
    ends = [end for row in clicked for end in row["ends_within_2"]]
    if ends:
        over = [n for row in clicked for n in row["overrun"]]
        under = [n for row in clicked for n in row["underrun"]]
        found += [
            "",
            f"Of {len(ends)} ends inside the volumes {np.mean(ends):.0%} were found "
            f"within two planes; {np.mean(over):.1f} planes too far, "
            f"{np.mean(under):.1f} too short, on average.",
        ]
    return found


def _objects(rows: Sequence[Record]) -> list[str]:
    """Return the table of the objects, a column a question."""
    asked = [q for q in _SAID if any(row["question"] == q for row in rows)]
    parts = dict.fromkeys(row["object"] for row in rows)
    stacks = dict.fromkeys(row["stack"] for row in rows)
    key = "object" if len(parts) > 1 else "stack"
    found = _table(key, *asked, "start")
    for name in parts if len(parts) > 1 else stacks:
        of = {row["question"]: row for row in rows if row[key] == name}
        start = of.get("clicked", {}).get("start_refined")
        cells = (f"{of[q]['dice']:.3f}" if q in of else "–" for q in asked)
        found.append(_line(name, *cells, "–" if start is None else f"{start:.3f}"))
    return found


def _distances(rows: Sequence[Record]) -> list[str]:
    """Return the table of Dice by distance from the nearest plane that was given."""
    found = _table("Dice of planes so far away", *map(str, _FAR))
    for question in ("1 true", "3 true", "clicked"):
        curve = by_distance(rows, question)
        if curve:
            cells = (f"{curve[far]:.2f}" if far in curve else "–" for far in _FAR)
            found.append(_line(_SAID[question], *cells))
    return found


_FAR = (0, 1, 2, 3, 5, 8, 12)


def by_distance(rows: Iterable[Record], question: str) -> dict[int, float]:
    """Return the mean Dice of planes by their distance."""
    collected: dict[int, list[float]] = {}
    for row in rows:
        if row["question"] == question:
            for far, value in row.get("by_distance", {}).items():
                collected.setdefault(int(far), []).append(value)
    return {far: float(np.mean(each)) for far, each in sorted(collected.items())}


def effort(record: Record) -> str:
    """Return the table of a record of `scripts/volumes/annotate.py`."""
    lines = [
        f"## Clicks to a volume of Dice {record['aim']:g}",
        "",
        f"A simulated annotator with {record['model']}: `scripts/volumes/annotate.py`. "
        f"A click counts {record['click']:g} s, a plane that is looked at "
        f"{record['plane']:g} s, and the processor's seconds are added. Median over "
        "the objects; those that did not get there count with what they took.",
        "",
        *_table("set", "way", "reached", "Dice", "clicks", "planes", "seconds"),
    ]
    for name in dict.fromkeys(row["set"] for row in record["rows"]):
        for way in dict.fromkeys(row["way"] for row in record["rows"]):
            some = [r for r in record["rows"] if (r["set"], r["way"]) == (name, way)]
            if some:
                reached = sum(row["reached"] for row in some)
                values = [
                    f"{np.median([row[key] for row in some]):.{digits}f}"
                    for key, digits in (
                        ("dice", 3),
                        ("clicks", 0),
                        ("planes", 0),
                        ("seconds", 0),
                    )
                ]
                said = way.replace("_", " ")
                of = f"{reached} of {len(some)}"
                lines.append(_line(_NAMES.get(name, name), said, of, *values))
    return "\n".join(lines) + "\n"


#: By the kind of a record, what sets it.
SECTIONS: dict[str, Callable[[Record], str]] = {
    "volumes": section,
    "volume-effort": effort,
}


def figure(record: Record, name: str) -> str:
    """Draw one set: Dice by distance, and 3-D Dice beside simpler ways.

    Parameters
    ----------
    record : dict
        Of `benchmarks/volumes.py`.
    name : str
        Of the set.

    Returns
    -------
    str
        An SVG.
    """
    rows = [row for row in record["rows"] if row["set"] == name]
    clicked = [row for row in rows if row["question"] == "clicked"]
    title = f"{_NAMES.get(name, name)}, {len(clicked)} objects"
    parts = [_text(_WIDTH / 2, 18, title, "middle", 14)]
    for number, question in enumerate(("1 true", "3 true", "clicked")):
        curve = by_distance(rows, question)
        points = [(_x(far), _y(v)) for far, v in curve.items() if far <= _FARTHEST]
        colour = _COLOURS[number]
        drawn = " ".join(f"{x:.1f},{y:.1f}" for x, y in points)
        parts.append(
            f'<polyline points="{drawn}" fill="none" stroke="{colour}" '
            'stroke-width="2"/>'
        )
        parts += [
            f'<circle cx="{x:.1f}" cy="{y:.1f}" r="2.5" fill="{colour}"/>'
            for x, y in points
        ]
        at = _BOTTOM - 12 - 15 * (2 - number)
        parts.append(_text(_LEFT + 8, at, _SAID[question], colour=colour))
    for value in (0, 0.25, 0.5, 0.75, 1):
        parts.append(_rule(_LEFT, _y(value), _MIDDLE, _y(value)))
        parts.append(_rule(_BARS, _y(value), _WIDTH - 10, _y(value)))
        parts.append(_text(_LEFT - 5, _y(value) + 4, f"{value:g}", "end"))
    for far in range(0, _FARTHEST + 1, 3):
        parts.append(_text(_x(far), _BOTTOM + 15, str(far), "middle"))
    middle = (_LEFT + _MIDDLE) / 2
    parts.append(
        _text(
            middle, _BOTTOM + 31, "Dice of planes, by planes to a given one", "middle"
        )
    )
    ways = {"copy": "copy", "box": "box", "logits": "logits", "dice": "propagate"}
    step = (_WIDTH - 10 - _BARS) / len(ways)
    for number, (key, said) in enumerate(ways.items()):
        height = float(np.mean([row[key] for row in clicked]))
        x, colour = (
            _BARS + step * (number + 0.5),
            _COLOURS[2] if key == "dice" else "#999",
        )
        parts.append(
            f'<rect x="{x - 0.35 * step:.1f}" y="{_y(height):.1f}" '
            f'width="{0.7 * step:.1f}" height="{_BOTTOM - _y(height):.1f}" '
            f'fill="{colour}"/>'
        )
        parts.append(_text(x, _y(height) - 4, f"{height:.2f}", "middle"))
        parts.append(_text(x, _BOTTOM + 15, said, "middle"))
    right = (_BARS + _WIDTH - 10) / 2
    parts.append(_text(right, _BOTTOM + 31, "3-D Dice from five clicks", "middle"))
    inside = "\n".join(parts)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" '
        'font-family="sans-serif">\n'
        f'<rect width="{_WIDTH}" height="{_HEIGHT}" fill="white"/>\n{inside}\n</svg>\n'
    )


_WIDTH, _HEIGHT, _LEFT, _MIDDLE, _BARS = 640, 300, 40, 370, 410
_TOP, _BOTTOM, _FARTHEST = 32, 258, 12
#: Okabe and Ito's orange, green and blue.
_COLOURS = ("#e69f00", "#009e73", "#0072b2")


def _x(far: float) -> float:
    return _LEFT + 8 + far / _FARTHEST * (_MIDDLE - _LEFT - 16)


def _y(value: float) -> float:
    return _BOTTOM - value * (_BOTTOM - _TOP)


def _rule(x0: float, y0: float, x1: float, y1: float) -> str:
    return f'<line x1="{x0}" y1="{y0}" x2="{x1}" y2="{y1}" stroke="#ddd"/>'


def _text(
    x: float,
    y: float,
    words: str,
    anchor: str = "start",
    size: int = 11,
    *,
    colour: str = "#222",
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" text-anchor="{anchor}" '
        f'fill="{colour}">{words}</text>'
    )


def _table(*header: str) -> list[str]:
    return [_line(*header), _line(*["---"] * len(header))]


def _line(*cells: object) -> str:
    return "| " + " | ".join(map(str, cells)) + " |"


def _mean(rows: Sequence[Record], key: str, digits: int = 3) -> str:
    known = [row[key] for row in rows if key in row]
    return f"{np.mean(known):.{digits}f}" if known else "–"


def main(arguments: list[str] | None = None) -> None:
    """Draw a figure of each set of a record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    default = runs.RESULTS / "volumes-promise-tiny.json"
    parser.add_argument("--record", type=Path, default=default)
    parser.add_argument("--images", type=Path, default=IMAGES)
    options = parser.parse_args(arguments)
    record = json.loads(options.record.read_text(encoding="utf-8"))
    for name in dict.fromkeys(row["set"] for row in record["rows"]):
        path = options.images / f"volumes-{name}.svg"
        path.write_text(figure(record, name), encoding="utf-8")
        print(path)


if __name__ == "__main__":
    main()
