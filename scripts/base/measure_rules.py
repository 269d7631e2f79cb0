r"""Measure how answers are chosen and kept, on views of the val parts: for the rules.

    python -m scripts.base.view_store --folder CACHE/held-out --held-out --capacity 80
    python -m scripts.base.measure_rules --views CACHE/held-out --model promise-medical

Dice of one click (with ``--boxes`` of a tight box) by the single mask, by the best of
three as the quality head says, by the best of all four, by the mean of the three
weighted by it, and by the best there is;
then Dice after 1, 3, 5 and 10 clicks of whole answers and of answers kept local, with
every value of `napari_promise.model.local_correction.ALIKE` that is asked for. To the
views come drawn trees, which stand for what is thin and branches.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from unittest import mock

import numpy as np
import torch

from napari_promise.files import write_whole
from napari_promise.model import local_correction, promise
from napari_promise.model.encoders import LiteMedSamEncoder
from napari_promise.model.sam import Embedding
from napari_promise.segmenter import Segmenter
from napari_promise.training.metrics import dice
from napari_promise.training.simulated_prompts import bounding_box, next_click
from scripts.base import crops, sets
from scripts.base.evaluate_base import REPORTED, click_through, select
from scripts.base.view_store import ViewStore, open_store

TREES = "drawn trees"
ALIKE = (0.8, 0.6, 0.4, 0.0)
#: Of the trees, which no training run draws.
SEED = 4_000_000


@dataclass
class Found:
    """Dice of every object by rule, and what each is of."""

    sources: list[str] = field(default_factory=list)
    rows: dict[str, list[float]] = field(default_factory=dict)

    def table(self) -> dict[str, dict[str, float]]:
        """Means of every source and of all, source -> rule -> Dice."""
        sources = np.array(self.sources)
        means = {}
        for name in [*dict.fromkeys(self.sources), "mean of sets"]:
            if name == "mean of sets":
                means[name] = {
                    rule: float(np.mean([m[rule] for m in means.values()]))
                    for rule in self.rows
                }
                continue
            means[name] = {
                rule: float(np.mean(np.array(values)[sources == name]))
                for rule, values in self.rows.items()
            }
            means[name]["objects"] = int((sources == name).sum())
        return means


def names_of_views() -> list[str]:
    """Return the sets of the views of a held-out store, in their order."""
    names = []
    for name in sets.SETS:
        for pair in sets.parts(name)["val"][: crops.FOLLOWED_PICTURES]:
            plane = next(iter(sets.measured_planes(name, pair, 1)))
            if sets.objects(name, plane.labels):
                names.append(name)
    return names


def viewed(
    store: ViewStore, segmenter: Segmenter, trees: int
) -> Iterator[tuple[str, Embedding, list[np.ndarray]]]:
    """Yield source, embedding and objects of every view, then of drawn trees."""
    kept = isinstance(segmenter.sam.image_encoder, LiteMedSamEncoder)
    names = names_of_views()
    for index in range(store.complete()):
        rows, columns = (int(edge) for edge in store.facts[index][:2])
        layers = store.layers[index][:rows, :columns]
        masks = [(layers >> bit) & 1 > 0 for bit in range(16)]
        if kept:
            image = torch.from_numpy(store.embeddings[index].astype(np.float32))[None]
            emb = Embedding(
                image, (), (rows, columns), (rows, columns), segmenter.model_id
            )
        else:
            emb = segmenter.encode(store.images[index][:rows, :columns])
        yield names[index], emb, [mask for mask in masks if mask.any()]
    for number in range(trees):
        picture, masks = crops.vessels(np.random.default_rng([SEED, number]))
        yield TREES, segmenter.encode(picture), masks


@torch.no_grad()
def first_answers(
    segmenter: Segmenter, emb: Embedding, truth: np.ndarray, *, boxed: bool = False
) -> dict[str, float]:
    """Dice of one click, or of a tight box, by every way to choose among the masks."""
    if boxed:
        r0, c0, r1, c1 = bounding_box(truth)
        asked = {"boxes_xy": torch.tensor([[c0, r0, c1, r1]], dtype=torch.float32)}
    else:
        click = next_click(np.zeros_like(truth), truth)
        assert click is not None
        point = torch.tensor([[click[0][1], click[0][0]]], dtype=torch.float64)[None]
        asked = {"points_xy": point, "labels": torch.ones(1, 1, dtype=torch.int64)}
    logits, quality = promise.decode_every_token(segmenter.sam, emb, **asked)
    drawn = [segmenter.probabilities(emb, m[None].numpy()) > 0.5 for m in logits[0]]
    dices = [dice(mask, truth) for mask in drawn]
    best = 1 + int(quality[0, 1:].argmax())
    weights = torch.softmax(quality[0, 1:] * 10, 0)
    mean = (logits[0, 1:].sigmoid() * weights[:, None, None]).sum(0).logit(1e-6)
    blended = segmenter.probabilities(emb, mean[None].numpy()) > 0.5
    return {
        "single": dices[0],
        "three": dices[best],
        "four": dices[int(quality[0].argmax())],
        "blended": dice(blended, truth),
        "oracle": max(dices),
    }


def measure(
    segmenter: Segmenter,
    views: Iterator[tuple[str, Embedding, list[np.ndarray]]],
    alike: list[float],
    most: int,
    *,
    boxed: bool = False,
) -> Iterator[Found]:
    """Measure each rule on at most `most` objects a view; yield what is known."""
    found = Found()
    for number, (source, emb, masks) in enumerate(views):
        for truth in select(masks, number, most):
            figures = first_answers(segmenter, emb, truth, boxed=boxed)
            ways = {"whole": click_through(segmenter, emb, truth)} if alike else {}
            for value in alike:
                with mock.patch.object(local_correction, "ALIKE", value):
                    ways[f"local {value}"] = click_through(
                        segmenter, emb, truth, local=True
                    )
            for way, dices in ways.items():
                figures |= {f"{way}, {k}": dices[k - 1] for k in REPORTED}
            found.sources.append(source)
            for name, dice_ in figures.items():
                found.rows.setdefault(name, []).append(dice_)
        print(number, source, flush=True)
        yield found


def main() -> None:
    """Parse arguments, measure, print means."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--views", type=Path, required=True)
    parser.add_argument("--model", default="promise-medical")
    parser.add_argument("--trees", type=int, default=6)
    parser.add_argument("--objects", type=int, default=2, help="of a view")
    parser.add_argument("--alike", type=float, nargs="*", default=list(ALIKE))
    parser.add_argument("--boxes", action="store_true", help="not clicks, tight boxes")
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(1)
    segmenter = Segmenter.load(args.model, device="cpu")
    views = viewed(open_store(args.views), segmenter, args.trees)
    table: dict[str, dict[str, float]] = {}
    for found in measure(segmenter, views, args.alike, args.objects, boxed=args.boxes):
        table = found.table()
        if args.json:
            write_whole(args.json, (json.dumps(table, indent=2) + "\n").encode())
    for source, rules in table.items():
        print(source)
        print("  " + "  ".join(f"{rule} {value:.3f}" for rule, value in rules.items()))


if __name__ == "__main__":
    main()
