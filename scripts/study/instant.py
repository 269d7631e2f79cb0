"""Measure the instant adapter at 1, 2, 3, 5 and 10 labelled images, on several sets.

    python -m scripts.study.instant --sets kvasir-seg ph2 --json results/instant.json

Labelled images are drawn from the part ``train`` of a set, as often as asked; automatic
Dice is measured on images of the part ``test`` (``--part val`` to choose settings by).
Beside it stands the best constant mask: of the labelled images' mean mask, cut where it
fits them best. Intervals are of the mean over draws and images, by resampling draws and
images. Embeddings are kept in a folder, so that another run takes the decoder's time
alone.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_promise.files import save_json, user_folder
from scripts.study import datasets

COUNTS = (1, 2, 3, 5, 10)
POOL = 60  # images of `train` that draws are made from


@dataclass(frozen=True, eq=False)
class Labelled:
    """An encoded image with its mask."""

    stem: str
    group: str
    emb: Any
    mask: NDArray[np.bool_]


def _any(labels: NDArray[Any]) -> NDArray[np.bool_]:
    return labels > 0


def _lungs(labels: NDArray[Any]) -> NDArray[np.bool_]:
    return (labels == 1) | (labels == 2)


#: Sets beside those of `datasets`: their folders, and what of the labels is meant.
SMALL: dict[str, tuple[tuple[str, ...], Callable[..., NDArray[np.bool_]]]] = {
    "fundus": (("fundus_drishti", "fundus_smdg"), _any),
    "cxr": (("cxr_lungs_covid",), _lungs),
    "carotid": (("us_carotid",), _any),
}
SETS = ("kvasir-seg", "ph2", "busi", *SMALL)


def listed(name: str, part: str) -> list[datasets.Pair]:
    """Return the pairs of a part of a set.

    The small sets are divided here: by a hash of the file's name, of the subject's for
    carotid arteries, into three tenths val, three tenths test and the rest.
    """
    if name not in SMALL:
        return datasets.load_parts(name)[part]
    found = []
    for folder in SMALL[name][0]:
        root = datasets.data_root() / folder
        targets = root / ("labels" if (root / "labels").is_dir() else "masks")
        by_stem = {path.stem: path for path in sorted(targets.iterdir())}
        for image in sorted((root / "images").iterdir()):
            group = image.stem.partition("_")[0] if name == "carotid" else image.stem
            at = int(hashlib.sha256(group.encode()).hexdigest(), 16) % 10
            here = "val" if at < 3 else "test" if at < 6 else "train"
            if here == part and image.stem in by_stem:
                found.append(datasets.Pair(image, by_stem[image.stem], group))
    return found


def true_mask(name: str, pair: datasets.Pair) -> NDArray[np.bool_]:
    """Read what of an image's labels is meant."""
    labels = datasets.read_labels(pair.target)
    labels = labels[..., 0] if labels.ndim == 3 else labels
    mask: NDArray[np.bool_] = SMALL[name][1](labels) if name in SMALL else labels > 127
    return mask


def chosen(pairs: Sequence[Any], most: int) -> list[Any]:
    """Return so many pairs at random, always the same ones, in their order."""
    order = np.random.default_rng(1).permutation(len(pairs))[:most]
    return [pairs[i] for i in sorted(order)]


def encoded(
    segmenter: Any, name: str, pairs: Sequence[datasets.Pair], cache: Path
) -> list[Labelled]:
    """Encode images that show an object, or take them from the cache."""
    found = []
    for pair in pairs:
        mask = true_mask(name, pair)
        if not mask.any():
            continue
        path = cache / f"{name}__{pair.image.stem}.npz"
        if path.exists():
            with np.load(path) as kept:
                arrays = dict(kept)
        else:
            emb = segmenter.encode(datasets.read_image(pair.image))
            arrays = emb.to_arrays()
            path.parent.mkdir(parents=True, exist_ok=True)
            np.savez(path, **arrays)
        emb = segmenter.restore(arrays)
        found.append(Labelled(pair.image.stem, pair.group, emb, mask))
    return found


def constant(labelled: Sequence[Labelled], size: int = 64) -> NDArray[np.bool_]:
    """Return the one mask that fits labelled images best, on a small grid."""
    small = np.stack([_resized(one.mask, (size, size)) for one in labelled])
    mean = small.mean(0)
    cuts = np.linspace(0.05, 0.95, 19)
    fits = [np.mean([_dice(mean >= cut, one >= 0.5) for one in small]) for cut in cuts]
    best: NDArray[np.bool_] = mean >= cuts[int(np.argmax(fits))]
    return best


def _resized(mask: NDArray[Any], shape: tuple[int, ...]) -> NDArray[np.float64]:
    factors = [new / old for new, old in zip(shape, mask.shape, strict=True)]
    found = ndimage.zoom(
        mask.astype(float), factors, order=1, grid_mode=True, mode="nearest"
    )
    resized: NDArray[np.float64] = found
    return resized


def _dice(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    total = int(a.sum()) + int(b.sum())
    return 1.0 if total == 0 else 2 * int((a & b).sum()) / total


def measure(
    segmenter: Any,
    pool: Sequence[Labelled],
    test: Sequence[Labelled],
    count: int,
    draws: int,
) -> dict[str, Any]:
    """Return automatic Dice of each draw and image, and of a constant mask."""
    from napari_promise.model.instant_learner import (
        InstantLearner,
        info_for,
        lesson_of,
    )
    from napari_promise.proposing import propose

    scores, fixed, certain, seconds = [], [], [], []
    for draw in range(draws):
        order = np.random.default_rng(draw).permutation(len(pool))[:count]
        labelled = [pool[i] for i in order]
        learner = InstantLearner.like(labelled[0].emb)
        for one in labelled:
            began = time.perf_counter()
            learner.learn(one.stem, lesson_of(learner.apm, one.emb, one.mask))
            seconds.append(time.perf_counter() - began)
        adapter = learner.adapter(info_for(segmenter.sam, "instant"))
        knowing = segmenter.with_adapter(adapter)
        certain.append(learner.certainty())
        mean = constant(labelled)
        row, row_fixed = [], []
        for one in test:
            if any(one.group == other.group for other in labelled):
                continue
            found = np.zeros_like(one.mask)
            for each in propose(knowing, one.emb):
                if each.region is not None:
                    found |= each.region.mask
            row.append(_dice(found, one.mask))
            row_fixed.append(_dice(_resized(mean, one.mask.shape) >= 0.5, one.mask))
        scores.append(row)
        fixed.append(row_fixed)
    return {
        "count": count,
        "dice": float(np.mean([np.mean(row) for row in scores])),
        "interval": interval(scores),
        "draws": [round(float(np.mean(row)), 4) for row in scores],
        "certainty": certain,
        "constant": float(np.mean([np.mean(row) for row in fixed])),
        "lesson_seconds": float(np.median(seconds)),
        "images": len(test),
    }


def interval(rows: Sequence[Sequence[float]], times: int = 2000) -> tuple[float, float]:
    """Return the 95 % interval of a mean over draws and images, both resampled."""
    rng = np.random.default_rng(0)
    means = []
    for _ in range(times):
        drawn = rng.integers(0, len(rows), len(rows))
        means.append(
            np.mean([np.mean(rng.choice(rows[i], len(rows[i]))) for i in drawn])
        )
    low, high = np.percentile(means, (2.5, 97.5))
    return float(low), float(high)


def main(arguments: list[str] | None = None) -> None:
    """Measure, print a line for each set and number, and write the figures."""
    from napari_promise.segmenter import Segmenter

    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--sets", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--part", choices=("val", "test"), default="test")
    parser.add_argument("--images", type=int, default=30, help="tested of each set")
    parser.add_argument("--draws", type=int, default=5)
    parser.add_argument("--counts", nargs="+", type=int, default=COUNTS)
    parser.add_argument("--model", default="promise-tiny")
    parser.add_argument(
        "--cache", type=Path, default=user_folder("cache") / "study-instant"
    )
    parser.add_argument("--json", type=Path)
    asked = parser.parse_args(arguments)
    segmenter = Segmenter.load(asked.model, device="cpu")
    record: dict[str, Any] = {"model": asked.model, "part": asked.part, "sets": {}}
    for name in asked.sets:
        cache = asked.cache / asked.model
        pool = encoded(segmenter, name, chosen(listed(name, "train"), POOL), cache)
        pairs = chosen(listed(name, asked.part), 60)
        test = encoded(segmenter, name, pairs, cache)[: asked.images]
        rows = []
        for count in asked.counts:
            if count <= len(pool):
                rows.append(measure(segmenter, pool, test, count, asked.draws))
                last = rows[-1]
                low, high = last["interval"]
                print(
                    f"{name} {count}: {last['dice']:.3f} [{low:.3f}, {high:.3f}], "
                    f"constant {last['constant']:.3f}, "
                    f"lesson {1000 * last['lesson_seconds']:.0f} ms",
                    flush=True,
                )
        record["sets"][name] = rows
        if asked.json is not None:
            save_json(asked.json, record, overwrite=True)
    print(json.dumps(record)[:200])


if __name__ == "__main__":
    main()
