r"""Measure what a scribble and a lasso should send to the model, on parts for choosing.

    python -m scripts.base.freehand --model promise-tiny --json freehand.json

A simulated person draws a line through the middle of each object, or a loop around it
that wobbles some per cent of its size outside of the border. Every way to turn that
into prompts is decoded; mean Dice a set. Only the part ``val`` is read: the figures
choose how the window does it, see ``napari_promise.freehand``.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
from scipy import ndimage
from skimage.measure import find_contours

from napari_promise.depth import deepest
from napari_promise.files import write_whole
from napari_promise.freehand import lasso_mask, scribble_points
from napari_promise.prompts import Before, Prompts
from napari_promise.segmenter import Segmenter
from napari_promise.training.metrics import dice
from napari_promise.training.simulated_prompts import bounding_box, next_click
from scripts.base import sets
from scripts.base.evaluate_base import Embeddings, select, shown_planes, spread

SETS = (
    "kvasir-seg",
    "busi",
    "ph2",
    "dsb2018",
    "hippocampus",
    "ct_spleen_msd",
    "us_liver_lesion",
    "mr_spine_spider",
)

Mask = np.ndarray


def scribble(rng: np.random.Generator, truth: Mask) -> np.ndarray:
    """Draw from the deepest pixel to others well inside, (N, 2)."""
    depth = ndimage.distance_transform_edt(np.pad(truth, 1))[1:-1, 1:-1]
    places = np.argwhere(depth >= min(depth.max(), max(1.0, depth.max() / 3)))
    line = [np.array(deepest(truth))]
    line += [places[int(rng.integers(len(places)))] for _ in range(2)]
    return np.array(line, float)


def loop(rng: np.random.Generator, truth: Mask, margin: float) -> np.ndarray:
    """Draw round an object, `margin` of its size outside on average, (N, 2)."""
    side = np.sqrt(truth.sum())
    wide = int(np.ceil(margin * side * 2)) + 3
    padded = np.pad(truth, wide)
    away = ndimage.distance_transform_edt(~padded)
    wobble = ndimage.gaussian_filter(rng.standard_normal(padded.shape), side / 4)
    wobble /= wobble.std() or 1.0
    outline = away < np.maximum(1.0, margin * side * (1 + 0.5 * wobble))
    outline = ndimage.binary_fill_holes(outline | padded)
    return max(find_contours(outline.astype(float), 0.5), key=len) - wide


def ways(
    rng: np.random.Generator, segmenter: Segmenter, emb: object, truth: Mask
) -> Iterator[tuple[str, Mask]]:
    """Yield every way's name with its answer."""
    shape = truth.shape

    def answer(prompts: Prompts, *, clip: Mask | None = None) -> Mask:
        mask: Mask = segmenter.segment(emb, prompts).mask
        return mask if clip is None else mask & clip

    click = next_click(np.zeros_like(truth), truth)
    assert click is not None
    yield "click", answer(Prompts(points=[click[0]]))
    yield "true box", answer(Prompts(boxes=[bounding_box(truth)]))
    line = scribble(rng, truth)
    for most in (3, 5, 8):
        points = scribble_points(line, shape, most=most)
        yield f"scribble {most}", answer(Prompts(points=points))
    for margin in (0.05, 0.15):
        area = lasso_mask(loop(rng, truth, margin), shape)
        box = [bounding_box(area)]
        middle = [deepest(area)]
        reach = int(np.ceil(0.03 * np.sqrt(area.sum()))) + 1
        near = ndimage.binary_dilation(area, iterations=reach)
        name = f"lasso {margin:.0%}: "
        yield name + "itself", area
        yield name + "mask", answer(Prompts(mask=area))
        yield name + "box", answer(Prompts(boxes=box))
        yield name + "box, clipped", answer(Prompts(boxes=box), clip=near)
        yield name + "mask + box", answer(Prompts(mask=area, boxes=box))
        yield name + "mask + point", answer(Prompts(mask=area, points=middle))
        yield (
            name + "mask + box + point",
            answer(Prompts(mask=area, boxes=box, points=middle)),
        )
        first = segmenter.segment(emb, Prompts(boxes=box))
        again = Prompts(boxes=box, before=Before(first.logits))
        yield name + "box, twice", answer(again)


def main() -> None:
    """Parse arguments, measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="promise-tiny", help="name or checkpoint")
    parser.add_argument("--sets", nargs="+", default=list(SETS))
    parser.add_argument("--enough", type=int, default=12, help="objects a set")
    parser.add_argument("--embeddings", type=Path, help="folder to keep them in")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    segmenter = Segmenter.load(args.model, device="cpu")
    store = Embeddings(segmenter, args.embeddings)
    found: dict[str, dict[str, list[float]]] = {}
    for name in args.sets:
        rows = found.setdefault(name, {})
        count = 0
        for image, truths in shown_planes(name, spread(sets.parts(name)["val"])):
            emb = store.of(image)
            for truth in select(truths, 0, 2):
                rng = np.random.default_rng(count)
                for way, mask in ways(rng, segmenter, emb, truth):
                    rows.setdefault(way, []).append(dice(mask, truth))
                count += 1
            if count >= args.enough:
                break
        print(name, count, flush=True)
    means = {
        name: {way: float(np.mean(values)) for way, values in rows.items()}
        for name, rows in found.items()
    }
    for way in next(iter(means.values())):
        each = [means[name][way] for name in means]
        cells = "  ".join(f"{value:.3f}" for value in each)
        print(f"{way.ljust(32)} {np.mean(each):.3f}   {cells}")
    if args.json:
        report = {"model": segmenter.model_id, "dice": means}
        write_whole(args.json, (json.dumps(report, indent=2) + "\n").encode())


if __name__ == "__main__":
    main()
