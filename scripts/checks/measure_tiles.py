"""Measure what looking closer gains: one click or one box an object, whole and tiled.

    python -m scripts.checks.measure_tiles --sets dsb2018 kvasir-seg --part val
    python -m scripts.checks.measure_tiles --part test --around 4 --json tiles.json

Each object is prompted by the click that a person would begin with (the middle of it)
or by its box. "whole" answers from the embedding of the image, "tiles" as the window
does: from the image first where there is only a click, then from the tile that the
answer asks for. Objects are put into quarters by their share of the image's longer
side; a mean is of objects. Sizes of tiles are chosen on train and val; ``test`` is for
reporting.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_promise.closer import segment_closer
from napari_promise.document import BBox
from napari_promise.files import write_whole
from napari_promise.prompts import Prompts
from napari_promise.segmenter import Segmenter
from napari_promise.tiles import AROUND
from napari_promise.training.metrics import dice
from napari_promise.training.simulated_prompts import bounding_box, next_click
from scripts.base import sets
from scripts.base.evaluate_base import select, shown_planes, spread

DRAWS = 1000


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--sets", nargs="+", default=["dsb2018", "kvasir-seg"])
    parser.add_argument("--part", choices=["train", "val", "test"], default="val")
    parser.add_argument("--model", default="promise-tiny")
    parser.add_argument("--around", nargs="+", type=float, default=[AROUND])
    parser.add_argument("--images", type=int, default=30, help="of a set, at most")
    parser.add_argument("--objects", type=int, default=8, help="of an image, at most")
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    segmenter = Segmenter.load(arguments.model, device="cpu")
    report: dict[str, Any] = {"model": arguments.model, "part": arguments.part}
    for name in arguments.sets:
        rows = measure(segmenter, name, arguments)
        report[name] = summary(rows)
        print(f"{name} ({arguments.part}), {arguments.model}: Dice")
        print(table(report[name]), flush=True)
    if arguments.json is not None:
        text = json.dumps(report, indent=1)
        write_whole(arguments.json, text.encode())


def measure(
    segmenter: Segmenter, name: str, arguments: argparse.Namespace
) -> list[dict[str, float]]:
    """Return the Dice of every object with every way, and its relative size."""
    pairs = spread(sets.parts(name)[arguments.part])
    rows = []
    for number, (image, truths) in enumerate(shown_planes(name, pairs)):
        if number == arguments.images:
            break
        embed, shape = _remembering(segmenter, image), image.shape[:2]
        for truth in select(truths, number, arguments.objects):
            click = next_click(np.zeros_like(truth), truth)
            assert click is not None
            prompts = {
                "click": Prompts(points=[click[0]]),
                "box": Prompts(boxes=[bounding_box(truth)]),
            }
            r0, c0, r1, c1 = bounding_box(truth)
            row = {"size": max(r1 - r0, c1 - c0) / max(shape), "image": number}
            for kind, asked in prompts.items():
                whole = segmenter.segment(embed(None), asked)
                row[f"{kind} whole"] = dice(whole.mask, truth)
                for around in arguments.around:
                    closer, _ = segment_closer(
                        segmenter, embed, asked, shape, around=around
                    )
                    row[f"{kind} tiles {around:g}"] = dice(closer.mask, truth)
            rows.append(row)
    return rows


def _remembering(
    segmenter: Segmenter, image: np.ndarray
) -> Callable[[BBox | None], Any]:
    known: dict[BBox | None, Any] = {}

    def embed(tile: BBox | None) -> Any:
        if tile not in known:
            known[tile] = segmenter.encode(image, region=tile)
        return known[tile]

    return embed


def summary(rows: list[dict[str, float]]) -> dict[str, Any]:
    """Return means by quarter of size and in all, with 95 % intervals of the gain."""
    sizes = np.array([row["size"] for row in rows])
    images = np.array([row["image"] for row in rows])
    edges = np.quantile(sizes, [0.25, 0.5, 0.75])
    quarter = np.searchsorted(edges, sizes)
    found: dict[str, Any] = {"objects": len(rows), "edges": edges.tolist()}
    for way in rows[0]:
        if way in ("size", "image"):
            continue
        values = np.array([row[way] for row in rows])
        base = np.array([row[f"{way.split()[0]} whole"] for row in rows])
        found[way] = {
            "quarters": [float(values[quarter == q].mean()) for q in range(4)],
            "all": float(values.mean()),
            "gain": _interval(values - base, images),
        }
    return found


def _interval(gain: np.ndarray, images: np.ndarray) -> list[float]:
    """95 % interval of the mean, from a bootstrap over images."""
    rng = np.random.default_rng(0)
    groups = [gain[images == image] for image in np.unique(images)]
    means = []
    for _ in range(DRAWS):
        drawn = rng.integers(len(groups), size=len(groups))
        means.append(float(np.concatenate([groups[i] for i in drawn]).mean()))
    return np.percentile(means, [2.5, 97.5]).round(4).tolist()


def table(found: dict[str, Any]) -> str:
    """Return the means as lines of a Markdown table."""
    edges = [f"{100 * edge:.1f} %" for edge in found["edges"]]
    names = [f"up to {edges[0]}", f"to {edges[1]}", f"to {edges[2]}", "larger"]
    lines = [
        "| prompt | " + " | ".join(names) + " | all | gain, 95 % |",
        "|---|" + "---|" * 6,
    ]
    for way, means in found.items():
        if isinstance(means, dict):
            cells = [f"{value:.3f}" for value in (*means["quarters"], means["all"])]
            low, high = means["gain"]
            lines.append(
                f"| {way} | " + " | ".join(cells) + f" | {low:+.3f} to {high:+.3f} |"
            )
    return "\n".join([*lines, f"{found['objects']} objects"])


if __name__ == "__main__":
    main()
