"""Measure the finding of many objects on dsb2018, beside what else runs here.

    python -m scripts.study.instances table --images 50
    python -m scripts.study.instances few --labels 3 10 --draws 3 --images 24
    python -m scripts.study.instances effort --images 20
    python -m scripts.study.instances amg --images 10
    python -m scripts.study.instances speed
    python -m scripts.study.instances all

Each command, `all` one after the other, writes its part of
``results/instances.json``, which `make results` shows.
All images are of the test part of `scripts.study.datasets`, spread evenly over it;
thresholds were chosen on its val part, in training. Rivals: a watershed (scikit-image),
outlines flooded from the prompter's own maps, SAM's automatic mask generator on the
bundled base; and as bounds what the frozen decoder draws from true points and boxes.
"""

from __future__ import annotations

import argparse
import functools
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from napari_promise.data.pairs import Pair
from napari_promise.data.planes import to_rgb8
from napari_promise.document import BBox, Region
from napari_promise.files import whole_file
from napari_promise.many_tiles import drawing_tiles
from napari_promise.model.instance_prompter import InstanceAPM, maps_of, watershed
from napari_promise.model.sam import Embedding
from napari_promise.prompts import Prompts
from napari_promise.proposing import (
    ProposedObject,
    best_first,
    label_image,
    propose,
    proposed_closer,
)
from napari_promise.segmenter import Segmenter
from napari_promise.training.config import TrainConfig
from napari_promise.training.instance_metrics import (
    InstanceScore,
    mean_scores,
    score_instances,
)
from napari_promise.training.metrics import bootstrap
from napari_promise.training.recipe import recipe_for
from napari_promise.training.simulated_effort import clicks_needed
from napari_promise.training.trainer import train
from scripts.study import datasets, runs

RECORD = runs.RESULTS / "instances.json"
SET = "dsb2018"
PARTS = ("table", "effort", "speed", "amg", "few")
#: For SAM's automatic mask generator, which takes most of a minute an image.
_FEW_IMAGES = 10
#: Grey images darker than this, in the median, are fluorescence.
DARK = 90

Labels = NDArray[np.int32]


def is_fluorescence(rgb: NDArray[np.uint8]) -> bool:
    """Whether an image is grey and mostly dark."""
    grey = np.ptp(rgb.astype(int), axis=2).max() <= 4
    return bool(grey and np.median(rgb) < DARK)


def images(part: str, most: int) -> Iterator[tuple[str, NDArray[np.uint8], Labels]]:
    """Names, pixels and labels of a part, spread evenly over it."""
    pairs = datasets.load_parts(SET)[part]
    count = min(most, len(pairs))
    for at in np.linspace(0, len(pairs) - 1, count).round().astype(int):
        rgb = to_rgb8(datasets.read_image(pairs[at].image))
        yield pairs[at].image.stem, rgb, datasets.read_labels(pairs[at].target)


# Ways of finding objects --------------------------------------------------------------


def otsu_watershed(rgb: NDArray[np.uint8]) -> Labels:
    """Threshold by Otsu, part by a watershed of the distances; no learning at all."""
    from skimage.feature import peak_local_max
    from skimage.filters import gaussian, threshold_otsu
    from skimage.morphology import remove_small_objects
    from skimage.segmentation import watershed as flood

    grey = gaussian(rgb.mean(2), 1)
    mask = grey > threshold_otsu(grey)
    if mask.mean() > 0.5:  # objects are the fewer pixels
        mask = ~mask
    mask = ndimage.binary_fill_holes(remove_small_objects(mask, 20))
    depth = gaussian(ndimage.distance_transform_edt(mask), 1)
    peaks = peak_local_max(depth, min_distance=5, labels=mask.astype(int))
    markers = np.zeros(mask.shape, np.int32)
    markers[tuple(peaks.T)] = np.arange(1, len(peaks) + 1)
    return np.asarray(flood(-depth, markers, mask=mask), np.int32)


def keep_best(
    boxes: torch.Tensor,
    scores: torch.Tensor,
    groups: torch.Tensor,
    iou_threshold: float,
) -> torch.Tensor:
    """Leave out boxes that overlap with a better one: torchvision's ``batched_nms``.

    Not every build of torchvision brings its own, which is compiled.
    """
    kept: list[int] = []
    area = (boxes[:, 2:] - boxes[:, :2]).prod(dim=1)
    for at in scores.argsort(descending=True).tolist():
        others = torch.tensor(kept, dtype=torch.int64)
        others = others[groups[others] == groups[at]]
        low = torch.maximum(boxes[at, :2], boxes[others, :2])
        high = torch.minimum(boxes[at, 2:], boxes[others, 2:])
        shared = (high - low).clamp(min=0).prod(dim=1)
        union = area[at] + area[others] - shared
        if not (shared > iou_threshold * union).any():
            kept.append(at)
    return torch.tensor(kept, dtype=torch.int64)


def everything(segmenter: Segmenter, rgb: NDArray[np.uint8], side: int) -> Labels:
    """SAM's automatic mask generator, by a grid of so many points a side."""
    from segment_anything import SamAutomaticMaskGenerator, automatic_mask_generator

    automatic_mask_generator.batched_nms = keep_best
    generator = SamAutomaticMaskGenerator(
        segmenter.sam,
        points_per_side=side,
        points_per_batch=16,
        pred_iou_thresh=0.6,
        stability_score_thresh=0.8,
    )
    found = generator.generate(rgb)
    # the background is one of its masks
    found = [one for one in found if one["area"] < 0.25 * rgb[..., 0].size]
    found.sort(key=lambda one: -one["predicted_iou"])
    regions = [Region.from_mask(one["segmentation"]) for one in found]
    return label_image([regions[at] for at in best_first(regions)], rgb.shape[:2])


def tiles_of(
    segmenter: Segmenter, rgb: NDArray[np.uint8]
) -> Callable[[BBox], Embedding]:
    """Return what encodes tiles of an image, each once."""
    return functools.cache(lambda tile: segmenter.encode(rgb, region=tile))


def in_tiles(
    segmenter: Segmenter, emb: Embedding, embed: Callable[[BBox], Embedding]
) -> tuple[ProposedObject, ...]:
    """Propose as in the window: found in enlarged tiles, and drawn from such."""
    return proposed_closer(segmenter, emb, shape=emb.original_size, embed=embed)


def from_truth(
    segmenter: Segmenter, emb: Embedding, truth: Labels, kind: str
) -> Labels:
    """Draw every object from its true deepest point or its true box."""
    asked = []
    for number, window in enumerate(ndimage.find_objects(truth), start=1):
        if window is None:
            continue
        (r0, r1), (c0, c1) = ((side.start, side.stop) for side in window)
        if kind == "box":
            asked.append(Prompts(boxes=[(r0 - 0.5, c0 - 0.5, r1 - 0.5, c1 - 0.5)]))
        else:
            deep = ndimage.distance_transform_edt(np.pad(truth[window] == number, 1))
            row, column = np.unravel_index(deep.argmax(), deep.shape)
            asked.append(Prompts(points=[(row - 1 + r0, column - 1 + c0)]))
    answers = segmenter.segment_many(emb, asked)
    order = sorted(answers, key=lambda answer: -answer.score)
    regions = [answer.region for answer in order]
    return label_image([regions[at] for at in best_first(regions)], truth.shape)


# What is measured ---------------------------------------------------------------------


def measure_table(segmenter: Segmenter, most: int) -> dict[str, Any]:
    """Every way of finding objects that is quick enough, on the same images."""
    apm = _apm(segmenter)

    def adapter(emb: Embedding, rgb: NDArray[np.uint8], _: Labels, closer: bool) -> Any:
        if closer:
            found = in_tiles(segmenter, emb, tiles_of(segmenter, rgb))
        else:
            found = propose(segmenter, emb)
        return _drawn(found, rgb.shape[:2])

    def maps(emb: Embedding, *_: Any) -> Any:
        with torch.no_grad():
            drawn = apm(emb.levels, emb.image, emb.detail)[0]
        return watershed(maps_of(drawn, emb), emb, apm.threshold), None

    ways: dict[str, Callable[[Embedding, NDArray[np.uint8], Labels], Any]] = {
        "adapter, whole image": lambda e, x, t: adapter(e, x, t, False),
        "adapter, closer": lambda e, x, t: adapter(e, x, t, True),
        "the adapter's own maps": maps,
        "Otsu and watershed": lambda e, x, t: (otsu_watershed(x), None),
        "bound: true points": lambda e, x, t: (from_truth(segmenter, e, t, "p"), None),
        "bound: true boxes": lambda e, x, t: (from_truth(segmenter, e, t, "box"), None),
    }
    scores: dict[str, list[InstanceScore]] = {way: [] for way in ways}
    seconds: dict[str, float] = dict.fromkeys(ways, 0.0)
    dark = []
    for name, rgb, truth in images("test", most):
        dark.append(is_fluorescence(rgb))
        emb = segmenter.encode(rgb)
        for way, find in ways.items():
            started = time.perf_counter()
            labels, points = find(emb, rgb, truth)
            seconds[way] += time.perf_counter() - started
            scores[way].append(score_instances(truth, labels, points))
        print(name, {way: round(scores[way][-1].ap50, 2) for way in ways}, flush=True)
    return {
        way: _summed(scores[way], dark) | {"seconds": seconds[way] / len(dark)}
        for way in ways
    } | {"adapter, on the images of the generator": _on_few(segmenter, _FEW_IMAGES)}


def measure_amg(segmenter: Segmenter, most: int, side: int = 16) -> dict[str, Any]:
    """SAM's automatic mask generator; it knows nothing of the adapter."""
    stock, scores, dark = segmenter.with_adapter(None), [], []
    started = time.perf_counter()
    for name, rgb, truth in images("test", most):
        dark.append(is_fluorescence(rgb))
        scores.append(score_instances(truth, everything(stock, rgb, side)))
        print(name, round(scores[-1].ap50, 2), flush=True)
    seconds = (time.perf_counter() - started) / len(dark)
    return {
        f"automatic mask generator, {side} x {side} points": _summed(scores, dark)
        | {"seconds": seconds},
    }


def _on_few(segmenter: Segmenter, most: int) -> dict[str, Any]:
    """Measure the adapter on the few images that the generator has the time for."""
    scores, dark = [], []
    for _, rgb, truth in images("test", most):
        dark.append(is_fluorescence(rgb))
        labels, _ = _drawn(propose(segmenter, segmenter.encode(rgb)), truth.shape)
        scores.append(score_instances(truth, labels))
    return _summed(scores, dark)


def measure_effort(segmenter: Segmenter, most: int) -> dict[str, Any]:
    """Clicks of a simulated person from scratch and from proposals.

    Both look closer, as the window does: an object is clicked in a tile in which such
    objects are seen larger, one that was proposed in the tile it was drawn from.
    """
    result: dict[str, list[dict[str, int]]] = {"scratch": [], "proposals": []}
    for name, rgb, truth in images("test", most):
        emb, embed = segmenter.encode(rgb), tiles_of(segmenter, rgb)
        looks = _Looks(emb, embed, truth)
        starts = {"scratch": (), "proposals": in_tiles(segmenter, emb, embed)}
        for start, proposed in starts.items():
            effort = clicks_needed(segmenter, emb, truth, proposed, closer=looks)
            result[start].append(asdict(effort) | {"clicks": effort.clicks})
        print(name, {k: v[-1]["clicks"] for k, v in result.items()}, flush=True)
    return {
        start: {key: float(np.mean([row[key] for row in rows])) for key in rows[0]}
        | {"images": len(rows)}
        for start, rows in result.items()
    }


class _Looks:
    """Says in which embedding an object is clicked."""

    def __init__(
        self, emb: Embedding, embed: Callable[[BBox], Embedding], truth: Labels
    ) -> None:
        self._emb, self._embed = emb, embed
        true = [
            (r.start - 0.5, c.start - 0.5, r.stop - 0.5, c.stop - 0.5)
            for r, c in (window for window in ndimage.find_objects(truth) if window)
        ]
        tiles = drawing_tiles([Prompts(boxes=[box]) for box in true], truth.shape)
        self._tiles = dict(zip(true, tiles, strict=True))

    def __call__(self, of: Region | ProposedObject) -> Embedding:
        if isinstance(of, ProposedObject):
            tile = of.tile
        else:
            r0, c0, r1, c1 = of.bbox
            tile = self._tiles[r0 - 0.5, c0 - 0.5, r1 - 0.5, c1 - 0.5]
        return self._emb if tile is None else self._embed(tile)


def measure_speed(segmenter: Segmenter) -> dict[str, Any]:
    """Seconds from the embedding to masks of about 100 objects, at best of three."""
    counted = sorted(
        (abs(len(np.unique(truth)) - 101), at)
        for at, (_, _, truth) in enumerate(images("test", 100))
    )
    _, rgb, _ = list(images("test", 100))[counted[0][1]]
    emb = segmenter.encode(rgb)
    taken, found = [], 0
    for _ in range(3):
        started = time.perf_counter()
        found = len(propose(segmenter, emb))
        taken.append(time.perf_counter() - started)
    return {"objects": found, "seconds": min(taken), "threads": torch.get_num_threads()}


def measure_few(labels: int, draws: int, most: int) -> dict[str, Any]:
    """Train from few labelled images, as a user would, and measure each draw."""
    pairs = datasets.load_parts(SET)["train"]
    rows = []
    for seed in range(draws):
        chosen = np.random.default_rng(seed).choice(len(pairs), labels, replace=False)
        with tempfile.TemporaryDirectory() as folder:
            config = TrainConfig(
                pairs=tuple(Pair(pairs[i].image, pairs[i].target) for i in chosen),
                apm="instances",
                output=Path(folder) / "few",
                seed=seed,
                **recipe_for(labels, many=True),
            )
            started = time.perf_counter()
            for _ in train(config):
                pass
            minutes = (time.perf_counter() - started) / 60
            segmenter = Segmenter.load(adapter=Path(folder) / "few")
        scores, dark = [], []
        for _, rgb, truth in images("test", most):
            dark.append(is_fluorescence(rgb))
            emb = segmenter.encode(rgb)
            found = in_tiles(segmenter, emb, tiles_of(segmenter, rgb))
            scores.append(score_instances(truth, *_drawn(found, truth.shape)))
        rows.append(_summed(scores, dark) | {"minutes": minutes})
        print(labels, seed, rows[-1]["all"]["ap50"], flush=True)
    return {"draws": rows}


def _drawn(
    found: Sequence[ProposedObject], shape: tuple[int, ...]
) -> tuple[Labels, NDArray[np.float64]]:
    """Label image and points of what was proposed."""
    points = np.reshape([one.prompts.points[0] for one in found], (-1, 2))
    return label_image([one.region for one in found], shape), points


def _apm(segmenter: Segmenter) -> InstanceAPM:
    assert segmenter.adapter is not None
    assert isinstance(segmenter.adapter.apm, InstanceAPM)
    return segmenter.adapter.apm


def _summed(scores: Sequence[InstanceScore], dark: Sequence[bool]) -> dict[str, Any]:
    """Means of all images, of fluorescence and of the others, with intervals."""
    kinds = {
        "all": list(scores),
        "fluorescence": [s for s, d in zip(scores, dark, strict=True) if d],
        "others": [s for s, d in zip(scores, dark, strict=True) if not d],
    }
    result: dict[str, Any] = {}
    for kind, found in kinds.items():
        if not found:
            continue
        result[kind] = {"images": len(found), **mean_scores(found)}
        for key in ("ap50", "msa"):
            values = np.array([getattr(score, key) for score in found])
            ends = bootstrap(values, range(len(values)))
            result[kind][f"{key}_interval"] = None if ends is None else list(ends)
    return result


# The page -----------------------------------------------------------------------------


def section(record: dict[str, Any]) -> str:
    """Return the part of the page of results that shows a record."""
    lines = [
        "## Many objects in an image",
        "",
        f"Nuclei of the test part of {SET}; the adapter is `{record['adapter']}`. "
        "Thresholds were chosen on the val part. Bounds are prompted from the truth: "
        "what the frozen decoder could draw, not what was found. Published figures of "
        "micro-sam, Cellpose-SAM (about .65 mSA) and StarDist (.84 to .87 AP.5, "
        "fluorescence) come from other splits and are no ranking. Commands: "
        "`python -m scripts.study.instances`.",
        "",
        "| | images | AP.5 | AP.75 | mSA | AP.5 fluorescence | AP.5 others | points: "
        "recall / precision, fluorescence | others | s an image |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    ways = {**record.get("table", {}), **record.get("amg", {})}
    for labels, told in record.get("few", {}).items():
        draws = sorted(told["draws"], key=lambda row: row["all"]["ap50"])
        ways[f"{labels} labelled images, median of {len(draws)}"] = draws[
            len(draws) // 2
        ]
    lines += [_row(way, told) for way, told in ways.items()]
    if "effort" in record:
        lines += ["", *_effort_lines(record["effort"])]
    if "speed" in record:
        told = record["speed"]
        lines += [
            "",
            f"Embedding ready, {told['objects']} objects: {told['seconds']:.2f} s on "
            f"{told['threads']} thread{'s' * (told['threads'] > 1)}.",
        ]
    return "\n".join(lines) + "\n"


def _row(way: str, told: dict[str, Any]) -> str:
    def value(kind: str, key: str) -> str:
        found = told.get(kind, {}).get(key)
        return "–" if found is None else f"{found:.3f}"

    def ends(key: str) -> str:
        found = told["all"].get(f"{key}_interval")
        return "" if found is None else f" [{found[0]:.3f}, {found[1]:.3f}]"

    def points(kind: str) -> str:
        return f"{value(kind, 'recall')} / {value(kind, 'precision')}"

    bounded = "recall" in told["all"]
    cells = [
        way,
        str(told["all"]["images"]),
        value("all", "ap50") + ends("ap50"),
        value("all", "ap75"),
        value("all", "msa") + ends("msa"),
        value("fluorescence", "ap50"),
        value("others", "ap50"),
        points("fluorescence") if bounded else "–",
        points("others") if bounded else "–",
        f"{told['seconds']:.2f}" if "seconds" in told else "–",
    ]
    return "| " + " | ".join(cells) + " |"


def _effort_lines(told: dict[str, Any]) -> list[str]:
    rows = [
        f"Clicks of a simulated person until every object has IoU above .7 (at most 60 "
        f"an image, {told['scratch']['images']} images):",
        "",
        "| | clicks | rejected | added | corrected | objects good, of | good at once |",
        "|---|---|---|---|---|---|---|",
    ]
    for start in ("scratch", "proposals"):
        row = told[start]
        figures = [row[k] for k in ("clicks", "rejected", "added", "corrected")]
        cells = [f"{figure:.1f}" for figure in figures]
        cells += [f"{row['good']:.1f} of {row['objects']:.1f}", f"{row['at_once']:.1f}"]
        rows.append(f"| from {start} | " + " | ".join(cells) + " |")
    share = told["proposals"]["clicks"] / told["scratch"]["clicks"]
    return [*rows, "", f"Proposals take {share:.2f} of the clicks from scratch."]


def main(arguments: list[str] | None = None) -> None:
    """Measure a part, or all."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("part", choices=(*PARTS, "all"))
    parser.add_argument("--adapter", default="cells")
    parser.add_argument("--images", type=int, default=100)
    parser.add_argument("--labels", type=int, nargs="+", default=[3, 10])
    parser.add_argument("--draws", type=int, default=3)
    parser.add_argument("--record", type=Path, default=RECORD)
    options = parser.parse_args(arguments)
    for part in PARTS if options.part == "all" else (options.part,):
        measure(part, options)


def measure(part: str, options: argparse.Namespace) -> None:
    """Measure one part and write it into the record, beside the others."""
    record: dict[str, Any] = {"kind": "instances"}
    if options.record.exists():
        record = json.loads(options.record.read_text(encoding="utf-8"))
    if part == "few":
        few = record.setdefault("few", {})
        for labels in options.labels:
            few[str(labels)] = measure_few(
                labels, options.draws, min(40, options.images)
            )
    else:
        segmenter = Segmenter.load(adapter=options.adapter)
        info = segmenter.adapter_info
        assert info is not None
        record |= {"adapter": info.name, "base": {"sha256": segmenter.sha256}}
        if part == "speed":
            record["speed"] = measure_speed(segmenter)
        else:
            way, most = {
                "table": (measure_table, 100),
                "effort": (measure_effort, 20),
                "amg": (measure_amg, _FEW_IMAGES),
            }[part]
            record[part] = way(segmenter, min(most, options.images))
    with whole_file(options.record, overwrite=True) as temporary:
        temporary.write_text(json.dumps(record, indent=1) + "\n", encoding="utf-8")
    print(section(record) if "adapter" in record else json.dumps(record, indent=1))


if __name__ == "__main__":
    main()
