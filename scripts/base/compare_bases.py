"""Set reports of `evaluate_base` side by side, as a table in Markdown.

    python -m scripts.base.compare_bases old.json new.json --figures click_1 box

A row a set, with what it is, whether the newest model was trained on it, and counts;
the last row is the mean over the sets that every report holds.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from scripts.base.sets import SETS

FIGURES = ("click_1", "click_3", "click_5", "box")


def role(name: str) -> str:
    """Say in a word what a set is to `promise-medical`."""
    return "held-out part" if SETS[name].trainable else "stranger"


def table(
    reports: Sequence[dict[str, Any]],
    figures: Sequence[str] = FIGURES,
    *,
    intervals: bool = False,
    least_objects: int = 1,
) -> str:
    """Return the table.

    Parameters
    ----------
    reports : sequence of dict
        What `scripts.base.evaluate_base` wrote, one a model.
    figures : sequence of str
        Columns; each holds the models' values in the reports' order, with slashes.
    intervals : bool
        Of the last report, behind its value.
    least_objects : int
        Sets with fewer objects stand in the table but not in its mean.
    """
    names = [n for n in SETS if any(_has(r, n) for r in reports)]
    head = ["set", "", *figures, "images / objects"]
    lines = ["| " + " | ".join(head) + " |", "|" + "---|" * len(head)]
    for name in names:
        counts = next(r["scores"][name] for r in reports if _has(r, name))
        cells = [
            _cell([r["scores"].get(name, {}) for r in reports], figure, intervals)
            for figure in figures
        ]
        count = f"{counts['images']} / {counts['objects']}"
        lines.append("| " + " | ".join([name, role(name), *cells, count]) + " |")
    for title, chosen in (
        ("mean, held-out parts", [n for n in names if SETS[n].trainable]),
        ("mean, strangers", [n for n in names if not SETS[n].trainable]),
        ("mean", names),
    ):
        counted = [
            n
            for n in chosen
            if all(_has(r, n) for r in reports)
            and reports[0]["scores"][n]["objects"] >= least_objects
        ]
        cells = [
            " / ".join(_short(_mean(r, counted, figure)) for r in reports)
            for figure in figures
        ]
        row = [f"**{title}**", f"{len(counted)} sets", *cells, ""]
        lines.append("| " + " | ".join(row) + " |")
    return "\n".join(lines)


def _has(report: dict[str, Any], name: str) -> bool:
    return bool(report["scores"].get(name, {}).get("objects"))


def _mean(report: dict[str, Any], names: Sequence[str], figure: str) -> float | None:
    values = [report["scores"][n].get(figure) for n in names]
    known = [v for v in values if v is not None]
    return float(np.mean(known)) if known else None


def _cell(scores: Sequence[dict[str, Any]], figure: str, intervals: bool) -> str:
    text = " / ".join(_short(s.get(figure)) for s in scores)
    span = scores[-1].get("intervals", {}).get(figure)
    if intervals and span:
        text += f" ({_short(span[0])}–{_short(span[1])})"
    return text


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}".replace("0.", ".", 1)


def main() -> None:
    """Parse arguments and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("reports", type=Path, nargs="+")
    parser.add_argument("--figures", nargs="+", default=list(FIGURES))
    parser.add_argument("--intervals", action="store_true", help="of the last report")
    parser.add_argument("--least-objects", type=int, default=1, help="in the mean")
    args = parser.parse_args()
    reports = [json.loads(path.read_text()) for path in args.reports]
    print(
        table(
            reports,
            args.figures,
            intervals=args.intervals,
            least_objects=args.least_objects,
        )
    )


if __name__ == "__main__":
    main()
