r"""Measure a promptable model on the image sets, beside baselines without a model.

    python -m scripts.base.evaluate_base --part val --json scores.json
    python -m scripts.base.evaluate_base --model promise-medical --sets all \
        --part test --enough 12 --objects 2 --json medical.json

For every set: Dice after 1, 3, 5 and 10 simulated clicks (each at the centre of the
largest error), the same as the window answers them (``local_3`` and so on: each click
changes the mask where it points) and with a tight box; the swap test (one click decoded
on another picture's embedding: a model that looks at the picture must get much worse);
the best fixed disc at the click and the ellipse in the box; 95 % intervals from a
bootstrap over pictures. Of a model that knows boxes only, the box. Choose on ``val``;
``test`` is for reporting. ``scripts.base.compare_bases`` sets several reports side by
side.

    python -m scripts.base.evaluate_base --closer --model promise-medical --sets all \
        --part test --enough 12 --objects 2 --json closer.json

asks the same boxes and first clicks the way the window does, which looks at a small
object from close by (``closer_box``, ``closer_1``, beside ``box`` and ``click_1`` of
the whole picture); nothing else is measured then.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from napari_promise.closer import segment_closer
from napari_promise.data.planes import digest
from napari_promise.document import BBox
from napari_promise.files import write_whole
from napari_promise.model.sam import Embedding
from napari_promise.prompts import Before, Prompts
from napari_promise.segmenter import Segmenter
from napari_promise.training.metrics import dice
from napari_promise.training.simulated_prompts import bounding_box, next_click
from scripts.base import sets
from scripts.study import datasets

CLICKS = 10
REPORTED = (1, 3, 5, 10)
MOST_OBJECTS = 5  # of one picture, so that a crowded one does not outweigh the rest
LEAST_AREA = 30  # pixels; what is smaller is a fragment of an annotation
RADII = np.geomspace(0.005, 0.6, 40)  # of the disc, in longest sides

#: Draws of the bootstrap.
DRAWS = 1000

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


def select(truths: list[Mask], seed: int, most: int = MOST_OBJECTS) -> list[Mask]:
    """At most `most` masks that are large enough, drawn without bias."""
    truths = [t for t in truths if t.sum() >= LEAST_AREA]
    rng = np.random.default_rng(seed)
    return [truths[i] for i in rng.permutation(len(truths))[:most]]


def shown_planes(
    name: str, pairs: Sequence[datasets.Pair]
) -> Iterator[tuple[np.ndarray, list[Mask]]]:
    """Yield what is shown of every pair, (H, W, 3) uint8, and its objects.

    Pictures come in their order, volumes one plane each in turn.
    """
    planes = [sets.measured_planes(name, pair) for pair in pairs]
    while planes:
        left = []
        for one in planes:
            plane = next(one, None)
            if plane is not None:
                yield sets.shown(name, plane), sets.objects(name, plane.labels)
                left.append(one)
        planes = left


def spread(pairs: Sequence[datasets.Pair]) -> list[datasets.Pair]:
    """Order pairs so that any first few are spread over the whole."""
    order = np.random.default_rng(0).permutation(len(pairs))
    return [pairs[i] for i in order]


def click_through(
    segmenter: Segmenter,
    emb: object,
    truth: Mask,
    clicks: int = CLICKS,
    *,
    local: bool = False,
) -> list[float]:
    """Dice after each of some corrective clicks; a perfect mask stays.

    With `local` a click is answered as the window does.
    """
    mask, prompts, dices = np.zeros_like(truth), Prompts(), []
    while len(dices) < clicks:
        click = next_click(mask, truth)
        if click is None:
            dices.append(dices[-1])
            continue
        before = prompts.before
        if before is not None:
            added = np.arange(len(prompts.points) + 1) == len(prompts.points)
            before = Before(before.logits, added=added)
        prompts = Prompts(
            points=np.concatenate([prompts.points, [click[0]]]),
            labels=np.concatenate([prompts.labels, [click[1]]]),
            before=before,
        )
        drawn = segmenter.segment(emb, prompts, local=local)
        mask = drawn.mask
        prompts = replace(prompts, before=Before(drawn.logits))
        dices.append(dice(mask, truth))
    return dices


class Embeddings:
    """Embeddings of a model's encoder, kept in a folder where one is given.

    Models that share an encoder share them: the name of a file is made of the encoder's
    parameters and the image. Without levels, which no measurement here reads.
    """

    def __init__(self, segmenter: Segmenter, folder: Path | None) -> None:
        self._segmenter = segmenter
        self._folder = folder
        self.seconds: list[float] = []
        if folder is not None:
            encoder = segmenter.sam.image_encoder
            values = hashlib.sha256(type(encoder).__name__.encode())
            for parameter in encoder.parameters():
                values.update(parameter.detach().contiguous().numpy().tobytes())
            self._encoder = values.hexdigest()[:16]

    def of(self, image: np.ndarray, region: BBox | None = None) -> Embedding:
        """Return the embedding of an image, or of a part of it."""
        if self._folder is None:
            started = time.perf_counter()
            emb = self._segmenter.encode(image, region=region)
            self.seconds.append(time.perf_counter() - started)
            return emb
        part = "" if region is None else "-" + "-".join(map(str, region))
        path = self._folder / f"{self._encoder}-{digest(image)}{part}.npz"
        if path.exists():
            with np.load(path) as arrays:
                emb = self._segmenter.restore(dict(arrays))
            return replace(emb, model_id=self._segmenter.model_id)
        started = time.perf_counter()
        emb = replace(self._segmenter.encode(image, region=region), levels=())
        self.seconds.append(time.perf_counter() - started)
        self._folder.mkdir(parents=True, exist_ok=True)
        begun = path.with_suffix(".part.npz")
        np.savez(begun, **emb.to_arrays())
        begun.replace(path)
        return emb


@dataclass
class Measured:
    """One row an object, of the figures that were measured.

    Attributes
    ----------
    pictures : list of int
        Number of the picture that each object lies in.
    rows : dict of str to list of float
        Figure -> one value an object; NaN where it was not measured.
    discs : list of numpy.ndarray
        Dice of discs of every radius of `RADII`.
    """

    pictures: list[int] = field(default_factory=list)
    rows: dict[str, list[float]] = field(default_factory=dict)
    discs: list[np.ndarray] = field(default_factory=list)

    def add(self, picture: int, figures: dict[str, float], discs: np.ndarray) -> None:
        """Add an object."""
        self.pictures.append(picture)
        self.discs.append(discs)
        for name, value in figures.items():
            self.rows.setdefault(name, []).append(value)


def measure(
    segmenter: Segmenter,
    name: str,
    pairs: Sequence[datasets.Pair],
    *,
    most_objects: int = MOST_OBJECTS,
    clicks: int = CLICKS,
    enough: int | None = None,
    embeddings: Embeddings | None = None,
    closer: bool = False,
) -> dict[str, Any]:
    """All figures of one set, means over objects, and intervals.

    With `enough` it ends after the picture that brings as many objects. The swap test
    decodes the first click on the embedding of the previous picture. With `closer` see
    `closer_figures`.
    """
    embeddings = embeddings or Embeddings(segmenter, None)
    clicked = "points" in segmenter.prompt_kinds
    found, previous = Measured(), None
    for index, (image, all_truths) in enumerate(shown_planes(name, pairs)):
        truths = select(all_truths, index, most_objects)
        if not truths:
            continue
        if enough is not None and len(found.pictures) >= enough:
            break
        emb = embeddings.of(image)
        for truth in truths:
            first = next_click(np.zeros_like(truth), truth)
            assert first is not None
            box = bounding_box(truth)
            boxed = segmenter.segment(emb, Prompts(boxes=[box]))
            figures = {
                "box": dice(boxed.mask, truth),
                "ellipse": dice(ellipse(truth.shape, box), truth),
            }
            if closer:

                def embed(region: BBox | None, image: np.ndarray = image) -> Embedding:
                    return embeddings.of(image, region)

                figures |= closer_figures(segmenter, embed, truth, box, first[0])
            elif clicked:
                dices = click_through(segmenter, emb, truth, clicks)
                kept = click_through(segmenter, emb, truth, clicks, local=True)
                reported = [k for k in REPORTED if k <= clicks]
                figures |= {f"click_{k}": dices[k - 1] for k in reported}
                figures |= {f"local_{k}": kept[k - 1] for k in reported[1:]}
                prompt = Prompts(points=[first[0]], labels=[1])
                lone = segmenter.segment(emb, prompt, multimask=False)
                figures["single_mask_click_1"] = dice(lone.mask, truth)
                figures |= {"swap_own": np.nan, "swap_shuffled": np.nan}
                if previous is not None:
                    other = replace(emb, image=previous.image)
                    strange = segmenter.segment(other, prompt)
                    figures["swap_own"] = dices[0]
                    figures["swap_shuffled"] = dice(strange.mask, truth)
            found.add(index, figures, disc_dices(truth, first[0]))
        previous = emb
    return summary(found, embeddings.seconds)


def closer_figures(
    segmenter: Segmenter,
    embed: Callable[[BBox | None], Embedding],
    truth: Mask,
    box: Sequence[float],
    click: tuple[int, int],
) -> dict[str, float]:
    """Dice of a box and of one click, of the whole picture and looked at from close by.

    Parameters
    ----------
    segmenter : Segmenter
    embed : callable
        Returns the embedding of a part of the picture, for None of all of it.
    truth : (H, W) bool
    box : (r0, c0, r1, c1)
    click : (row, column)
    """
    asked = {"box": Prompts(boxes=[box])}
    if "points" in segmenter.prompt_kinds:
        asked["1"] = Prompts(points=[click], labels=[1])
    found = {}
    for name, prompts in asked.items():
        drawn, _ = segment_closer(segmenter, embed, prompts, truth.shape)
        found[f"closer_{name}"] = dice(drawn.mask, truth)
        found[f"looked_closer_{name}"] = float(drawn.tile is not None)
    if "1" in asked:
        found["click_1"] = dice(segmenter.segment(embed(None), asked["1"]).mask, truth)
    return found


def summary(found: Measured, encode_seconds: Sequence[float]) -> dict[str, Any]:
    """Means, counts, and 95 % intervals from a bootstrap over pictures."""
    if not found.pictures:
        return {"objects": 0, "images": 0}
    rows = {name: np.array(values) for name, values in found.rows.items()}
    if "swap_own" in rows:
        rows["swap_margin"] = rows["swap_own"] - rows["swap_shuffled"]
        last = max((n for n in rows if n.startswith("click_")), key=_clicks_of)
        rows["gained_from_click_1"] = rows[last] - rows["click_1"]
        if last != "click_1":
            kept = rows[last.replace("click", "local")]
            rows["gained_locally"] = kept - rows["click_1"]
    radius = int(np.mean(found.discs, 0).argmax())
    rows["disc"] = np.array(found.discs)[:, radius]
    pictures = np.array(found.pictures)
    result: dict[str, Any] = {
        name: round(float(np.nanmean(values)), 4) if (~np.isnan(values)).any() else None
        for name, values in rows.items()
    }
    result |= {"objects": len(pictures), "images": len(np.unique(pictures))}
    if encode_seconds:
        result["encode_seconds"] = round(float(np.median(encode_seconds)), 4)
    result["intervals"] = {
        name: interval(values, pictures) for name, values in rows.items()
    }
    return result


def _clicks_of(figure: str) -> int:
    return int(figure.rpartition("_")[2])


def interval(values: np.ndarray, pictures: np.ndarray) -> list[float] | None:
    """95 % interval of a mean, from drawing whole pictures again; None for one picture.

    Parameters
    ----------
    values, pictures : numpy.ndarray
        (N,) a figure of each object, NaN where there is none, and its picture.
    """
    numbers = np.unique(pictures)
    if len(numbers) < 2:
        return None
    sums = np.array([np.nansum(values[pictures == n]) for n in numbers])
    counts = np.array([(~np.isnan(values[pictures == n])).sum() for n in numbers])
    drawn = np.random.default_rng(0).integers(0, len(numbers), (DRAWS, len(numbers)))
    totals = np.maximum(counts[drawn].sum(1), 1)
    low, high = np.percentile(sums[drawn].sum(1) / totals, [2.5, 97.5])
    return [round(float(low), 4), round(float(high), 4)]


def shortcomings(scores: dict[str, dict[str, Any]]) -> list[str]:
    """Every promise that the scores do not keep, one line each."""
    found = []
    measured = {name: s for name, s in scores.items() if s.get("click_1") is not None}
    for name, s in measured.items():
        if s["click_1"] <= s["disc"]:
            found.append(f"{name}: one click {s['click_1']} <= disc {s['disc']}")
        margin = s["swap_margin"]
        if margin is not None and margin < SWAP_MARGIN:
            found.append(f"{name}: swap margin {margin} < {SWAP_MARGIN}")
        if name in FIVE_CLICKS and s["click_5"] < FIVE_CLICKS[name]:
            found.append(f"{name}: 5 clicks {s['click_5']} < {FIVE_CLICKS[name]}")
        if s.get("gained_from_click_1", 0) < 0:
            last = max((f for f in s if f.startswith("click_")), key=_clicks_of)
            found.append(f"{name}: {last} {s[last]} is worse than one {s['click_1']}")
        if s.get("gained_locally", 0) < 0:
            found.append(f"{name}: corrected locally it ends below one click")
    worse = [n for n, s in scores.items() if s.get("box", 1) <= s.get("ellipse", 0)]
    if 5 * len(worse) > len(scores) and len(worse) > 1:
        found.append(f"box no better than the ellipse on {', '.join(worse)}")
    return found


def main() -> None:
    """Parse arguments, measure, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--model", default="promise-tiny", help="name or checkpoint")
    parser.add_argument("--part", choices=("val", "test"), default="val")
    parser.add_argument(
        "--sets",
        nargs="+",
        default=list(datasets.MEASURED_SETS),
        help="names, or 'all'; the five of the old card by default",
    )
    parser.add_argument("--limit", type=int, help="pairs per set, evenly spaced")
    parser.add_argument("--enough", type=int, help="objects per set, from spread pairs")
    parser.add_argument("--objects", type=int, default=MOST_OBJECTS, help="a picture")
    parser.add_argument("--clicks", type=int, default=CLICKS, help="an object")
    parser.add_argument(
        "--closer", action="store_true", help="boxes and first clicks as in the window"
    )
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    parser.add_argument("--embeddings", type=Path, help="folder to keep them in")
    parser.add_argument("--json", type=Path, help="written after every set")
    parser.add_argument(
        "--resume", action="store_true", help="keep the sets that --json holds"
    )
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    segmenter = Segmenter.load(args.model, device="cpu")
    scores: dict[str, dict[str, Any]] = {}
    if args.resume and args.json and args.json.exists():
        before = json.loads(args.json.read_text())
        if before["sha256"] == segmenter.sha256 and before["part"] == args.part:
            scores = before["scores"]
    columns = tuple(f"click_{k}" for k in REPORTED)
    columns += tuple(f"local_{k}" for k in REPORTED[1:])
    columns += ("single_mask_click_1", "box", "disc", "ellipse", "swap_margin")
    if args.closer:
        columns = ("box", "closer_box", "click_1", "closer_1", "ellipse")
        columns += ("looked_closer_box", "looked_closer_1")
    columns += ("objects",)
    print(
        "set".ljust(21),
        *(c.replace("_mask_click", "").rjust(11)[-11:] for c in columns),
    )
    for name in list(sets.SETS) if args.sets == ["all"] else args.sets:
        if name not in scores:
            pairs = sets.parts(name)[args.part]
            if args.limit and len(pairs) > args.limit:
                keep = np.linspace(0, len(pairs) - 1, args.limit).round().astype(int)
                pairs = [pairs[i] for i in keep]
            if not pairs:
                continue
            if args.enough:
                pairs = spread(pairs)
            scores[name] = measure(
                segmenter,
                name,
                pairs,
                most_objects=args.objects,
                clicks=args.clicks,
                enough=args.enough,
                embeddings=Embeddings(segmenter, args.embeddings),
                closer=args.closer,
            )
        row = (f"{scores[name].get(c) or float('nan'):11.3f}" for c in columns)
        print(name.ljust(21), *row, flush=True)
        if args.json:
            report = {
                "model": segmenter.model_id,
                "sha256": segmenter.sha256,
                "part": args.part,
                "limit": args.limit,
                "objects": args.objects,
                "enough": args.enough,
                "scores": scores,
                "shortcomings": [] if args.closer else shortcomings(scores),
            }
            text = json.dumps(report, indent=2) + "\n"
            write_whole(args.json, text.encode())
    if not args.closer:
        missed = shortcomings(scores)
        print("\n".join(missed) if missed else "all promises kept")


if __name__ == "__main__":
    main()
