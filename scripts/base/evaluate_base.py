"""Measure a promptable model on the five image sets, beside baselines without a model.

    python -m scripts.base.evaluate_base --part val --json scores.json

For every set: Dice after 1, 3, 5 and 10 simulated clicks (each at the centre of the
largest error) and with a tight box; the swap test (one click decoded on another
picture's embedding: a model that looks at the picture must get much worse); the best
fixed disc at the click and the ellipse in the box. Choose on ``val``; ``test`` is for
reporting.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from napari_promise.prompts import Before, Prompts
from napari_promise.segmenter import Segmenter
from napari_promise.training.metrics import dice
from napari_promise.training.simulated_prompts import bounding_box, next_click
from scripts.study import datasets

CLICKS = 10
REPORTED = (1, 3, 5, 10)
MOST_OBJECTS = 5  # of one picture, so that a crowded one does not outweigh the rest
LEAST_AREA = 30  # pixels; what is smaller is a fragment of an annotation
RADII = np.geomspace(0.005, 0.6, 40)  # of the disc, in longest sides

#: What the model promises: (box, five clicks) per set; the disc and the ellipse are
#: measured in the same run.
FIVE_CLICKS = {
    "kvasir-seg": 0.85,
    "cvc-clinicdb": 0.85,
    "ph2": 0.92,
    "busi": 0.88,
    "dsb2018": 0.82,
}
SWAP_MARGIN = 0.15

Mask = np.ndarray


def disc_dices(truth: Mask, click: tuple[int, int]) -> np.ndarray:
    """Dice of discs of every radius in `RADII` at the click, (R,)."""
    rows, columns = np.indices(truth.shape, sparse=True)
    distance = np.hypot(rows - click[0], columns - click[1]) / max(truth.shape)
    order = np.searchsorted(RADII, distance.ravel())
    covered = np.bincount(order, minlength=len(RADII) + 1)[: len(RADII)].cumsum()
    hit = np.bincount(order[truth.ravel()], minlength=len(RADII) + 1)
    return 2 * hit[: len(RADII)].cumsum() / (covered + truth.sum())


def ellipse(shape: tuple[int, ...], box: Sequence[float]) -> Mask:
    """Ellipse inscribed in a box (r0, c0, r1, c1) that lies on pixels' outer edges."""
    rows, columns = np.indices(shape, sparse=True)
    height, width = (box[2] - box[0]) / 2, (box[3] - box[1]) / 2
    y = (rows - (box[0] + box[2]) / 2) / height
    x = (columns - (box[1] + box[3]) / 2) / width
    return y**2 + x**2 <= 1


def select(truths: list[Mask], seed: int) -> list[Mask]:
    """At most `MOST_OBJECTS` masks that are large enough, drawn without bias."""
    truths = [t for t in truths if t.sum() >= LEAST_AREA]
    rng = np.random.default_rng(seed)
    return [truths[i] for i in rng.permutation(len(truths))[:MOST_OBJECTS]]


def click_through(segmenter: Segmenter, emb: object, truth: Mask) -> list[float]:
    """Dice after each of `CLICKS` corrective clicks; a perfect mask stays."""
    mask, prompts, dices = np.zeros_like(truth), Prompts(), []
    while len(dices) < CLICKS:
        click = next_click(mask, truth)
        if click is None:
            dices.append(dices[-1])
            continue
        prompts = Prompts(
            points=np.concatenate([prompts.points, [click[0]]]),
            labels=np.concatenate([prompts.labels, [click[1]]]),
            before=prompts.before,
        )
        drawn = segmenter.segment(emb, prompts)
        mask = drawn.mask
        prompts = replace(prompts, before=Before(drawn.logits))
        dices.append(dice(mask, truth))
    return dices


def measure(
    segmenter: Segmenter, name: str, pairs: Sequence[datasets.Pair]
) -> dict[str, float]:
    """All figures of one set, means over objects.

    The swap test decodes the first click on the embedding of the previous picture.
    """
    clicks, boxes, single, swapped, discs, ellipses = [], [], [], [], [], []
    encode_seconds, previous = [], None
    for index, pair in enumerate(pairs):
        truths = select(datasets.objects(name, pair), index)
        if not truths:
            continue
        started = time.perf_counter()
        emb = segmenter.encode(datasets.read_image(pair.image))
        encode_seconds.append(time.perf_counter() - started)
        for truth in truths:
            first = next_click(np.zeros_like(truth), truth)
            assert first is not None
            box = bounding_box(truth)
            discs.append(disc_dices(truth, first[0]))
            ellipses.append(dice(ellipse(truth.shape, box), truth))
            boxed = segmenter.segment(emb, Prompts(boxes=[box]))
            boxes.append(dice(boxed.mask, truth))
            clicks.append(click_through(segmenter, emb, truth))
            prompt = Prompts(points=[first[0]], labels=[1])
            lone = segmenter.segment(emb, prompt, multimask=False)
            single.append(dice(lone.mask, truth))
            if previous is not None:
                other = replace(emb, image=previous.image)
                strange = segmenter.segment(other, prompt)
                own = clicks[-1][0]
                swapped.append((own, dice(strange.mask, truth)))
        previous = emb
    by_click = np.mean(clicks, 0)
    own, shuffled = np.mean(swapped, 0)
    result = {f"click_{k}": by_click[k - 1] for k in REPORTED}
    result |= {
        "box": np.mean(boxes),
        "single_mask_click_1": np.mean(single),
        "swap_own": own,
        "swap_shuffled": shuffled,
        "swap_margin": own - shuffled,
        "disc": np.mean(discs, 0).max(),
        "ellipse": np.mean(ellipses),
        "objects": len(clicks),
        "images": len(encode_seconds),
        "encode_seconds": np.median(encode_seconds),
    }
    return {key: round(float(value), 4) for key, value in result.items()}


def shortcomings(scores: dict[str, dict[str, float]]) -> list[str]:
    """Every promise that the scores do not keep, one line each."""
    found = []
    for name, s in scores.items():
        if s["click_1"] <= s["disc"]:
            found.append(f"{name}: one click {s['click_1']} <= disc {s['disc']}")
        if s["swap_margin"] < SWAP_MARGIN:
            found.append(f"{name}: swap margin {s['swap_margin']} < {SWAP_MARGIN}")
        if s["click_5"] < FIVE_CLICKS[name]:
            found.append(f"{name}: 5 clicks {s['click_5']} < {FIVE_CLICKS[name]}")
    worse = [n for n, s in scores.items() if s["box"] <= s["ellipse"]]
    if len(worse) > 1:
        found.append(f"box no better than the ellipse on {', '.join(worse)}")
    return found


def main() -> None:
    """Parse arguments, measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="promise-tiny", help="name or checkpoint")
    parser.add_argument("--part", choices=("val", "test"), default="val")
    parser.add_argument("--sets", nargs="+", default=list(datasets.MEASURED_SETS))
    parser.add_argument("--limit", type=int, help="pictures per set, evenly spaced")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--json", type=Path)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    segmenter = Segmenter.load(args.model, device="cpu")
    scores = {}
    columns = ("click_1", "click_3", "click_5", "click_10", "single_mask_click_1")
    columns += ("box", "disc", "ellipse", "swap_margin", "objects")
    print("set".ljust(14), *(c.replace("_mask_click", "").rjust(11) for c in columns))
    for name in args.sets:
        pairs = datasets.load_parts(name)[args.part]
        if args.limit and len(pairs) > args.limit:
            keep = np.linspace(0, len(pairs) - 1, args.limit).round().astype(int)
            pairs = [pairs[i] for i in keep]
        scores[name] = measure(segmenter, name, pairs)
        row = (f"{scores[name][c]:11.3f}" for c in columns)
        print(name.ljust(14), *row, flush=True)
    missed = shortcomings(scores)
    print("\n".join(missed) if missed else "all promises kept")
    if args.json:
        report = {
            "model": segmenter.model_id,
            "sha256": segmenter.sha256,
            "part": args.part,
            "scores": scores,
            "shortcomings": missed,
        }
        part = args.json.with_suffix(args.json.suffix + ".part")
        part.write_text(json.dumps(report, indent=2) + "\n")
        part.replace(args.json)


if __name__ == "__main__":
    main()
