r"""Measure how one click goes on from the mask that was found from farther away.

    python -m scripts.base.measure_closer --model promise-medical --enough 16
    python -m scripts.base.measure_closer --model promise-medical --mosaic --enough 16 \
        --sets dsb2018 mr_heart_hvsmr ct_heart_chd mr_spine_spider

On the val parts, and the train parts of sets that shipped weights may learn from: Dice
of the objects that a click is asked of again from a finer tile. ``whole``, the first
answer; ``anew``, the click alone from the finer tile; ``on top``, the same on top of
the first mask; ``chosen``, as `napari_promise.closer.answer_closer` does; ``window``,
all looks until the last. With ``--mosaic`` four images make one, so that objects are
half as large as a model has learnt to see them. The thresholds of `closer` were chosen
on these.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import torch

from napari_promise.closer import answer_closer, segment_closer
from napari_promise.document import BBox
from napari_promise.model.sam import Embedding
from napari_promise.prompts import Before, Prompts
from napari_promise.segmenter import Segmenter
from napari_promise.tiles import after_answer
from napari_promise.training.metrics import dice
from napari_promise.training.simulated_prompts import next_click
from scripts.base import sets
from scripts.base.evaluate_base import Embeddings, Mask, select, shown_planes, spread

WAYS = ("whole", "anew", "on top", "chosen", "window")
#: Objects of one picture of a mosaic, at most, before some are drawn.
MOST = 40


def pictures(name: str, mosaic: bool) -> Iterator[tuple[np.ndarray, list[Mask]]]:
    """Yield pictures and objects of a set, of those parts that may choose a rule."""
    parts = sets.parts(name)
    seen = parts["train"] if sets.SETS[name].trainable else []
    shown = shown_planes(name, spread([*parts["val"], *seen]))
    if not mosaic:
        yield from shown
        return
    while True:
        four = [each for each in (next(shown, None) for _ in range(4)) if each]
        if len(four) < 4:
            return
        yield put_together(four)


def put_together(
    four: Sequence[tuple[np.ndarray, list[Mask]]],
) -> tuple[np.ndarray, list[Mask]]:
    """Return one picture of four, two by two, and the objects of all."""
    rows = max(len(image) for image, _ in four)
    columns = max(image.shape[1] for image, _ in four)
    whole = np.zeros((2 * rows, 2 * columns, 3), np.uint8)
    masks = []
    for number, (image, truths) in enumerate(four):
        row, column = number // 2 * rows, number % 2 * columns
        place = slice(row, row + len(image)), slice(column, column + image.shape[1])
        whole[place] = image
        for truth in truths[:MOST]:
            masks.append(np.zeros(whole.shape[:2], bool))
            masks[-1][place] = truth
    return whole, masks


def ways_of(
    segmenter: Segmenter, embeddings: Embeddings, image: np.ndarray, truth: Mask
) -> dict[str, float] | None:
    """Dice of an object by every way; None where the first answer is the last."""
    click = next_click(np.zeros_like(truth), truth)
    assert click is not None
    prompts, shape = Prompts(points=[click[0]], labels=[1]), truth.shape

    def embed(tile: BBox | None) -> Embedding:
        return embeddings.of(image, tile)

    first = segmenter.segment(embed(None), prompts)
    verdict = after_answer(prompts, None, shape, found=first.bbox, tile=None)
    if not verdict.refine:
        return None
    closer = embed(verdict.tile)
    on_top = prompts.replace(before=Before(first.logits, tile=first.tile))
    drawn = {
        "whole": first,
        "anew": segmenter.segment(closer, prompts),
        "on top": segmenter.segment(closer, on_top),
        "chosen": answer_closer(segmenter, closer, prompts, first)[0],
        "window": segment_closer(segmenter, embed, prompts, shape)[0],
    }
    return {way: dice(mask.mask, truth) for way, mask in drawn.items()}


def main() -> None:
    """Measure, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="promise-medical")
    parser.add_argument("--sets", nargs="+", default=list(sets.SETS))
    parser.add_argument("--enough", type=int, default=16, help="objects of a set")
    parser.add_argument("--mosaic", action="store_true", help="four images as one")
    parser.add_argument("--embeddings", type=Path, help="folder to keep them in")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    segmenter = Segmenter.load(arguments.model, device="cpu")
    embeddings = Embeddings(segmenter, arguments.embeddings)
    found: list[dict[str, float]] = []
    print("set".ljust(21), "objects looked at", *(way.rjust(8) for way in WAYS))
    for name in arguments.sets:
        seen, rows = 0, []
        for number, (image, truths) in enumerate(pictures(name, arguments.mosaic)):
            for truth in select(truths, number, 4 if arguments.mosaic else 2):
                seen += 1
                rows.append(ways_of(segmenter, embeddings, image, truth))
            if seen >= arguments.enough:
                break
        looked = [row for row in rows if row is not None]
        found += looked
        if seen:
            _print(name, seen, looked)
    _print("all objects", len(found), found)


def _print(name: str, seen: int, looked: Sequence[dict[str, float]]) -> None:
    means = [
        f"{np.mean([row[way] for row in looked]) if looked else np.nan:8.3f}"
        for way in WAYS
    ]
    print(name.ljust(21), f"{seen:7d} {len(looked):9d}", *means, flush=True)


if __name__ == "__main__":
    main()
