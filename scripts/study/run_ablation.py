"""Train variants of the method, measure them on the test parts, keep what came out.

    python -m scripts.study.run_ablation --domain polyp --variant frozen apm ips apm+ips

Several domains, variants, numbers of points and of labels are combined; each run
becomes one file in ``results/``, and a run whose file is there is not made again.
Checkpoints are chosen on the val parts (with few labels, on a share of these labels),
the test parts are only measured; few labels are trained on as the dock and the command
line would (`training.recipe`). ``frozen`` is stock SAM with each way of prompting from
the truth, and with the best of its four masks; ``bundled`` is the adapter of that name
in the package.
"""

from __future__ import annotations

import argparse
import contextlib
import dataclasses
import itertools
import json
import tempfile
from collections.abc import Generator, Sequence
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from PIL import Image

from napari_promise.data.images import read_mask
from napari_promise.document import Region
from napari_promise.model import promise
from napari_promise.model.adapters import Adapter, load_adapter
from napari_promise.model.resampling import upsample
from napari_promise.model.sam import Embedding, load_sam
from napari_promise.prompts import Prompts, round_logits
from napari_promise.segmentation import Segmentation
from napari_promise.training.config import TrainConfig
from napari_promise.training.evaluate import evaluate
from napari_promise.training.metrics import dice
from napari_promise.training.recipe import recipe_for
from napari_promise.training.trainer import train
from scripts.study import runs

VARIANTS = ("frozen", "apm", "ips", "apm+ips", "bundled")
MASKS = 4  # mask tokens of SAM: the single mask, and the three of an ambiguous click


class FixedMask(runs.CachedSegmenter):
    """Stock SAM that always answers points with the same one of its four masks."""

    token = 0

    @torch.no_grad()
    def segment(self, emb: Embedding, prompts: Prompts, **_: Any) -> Segmentation:
        """Return the mask of `token`, 0 the single one."""
        logits, iou = promise.decode(
            self.sam,
            emb,
            points_xy=torch.tensor(prompts.points_xy(), dtype=torch.float32)[None],
            labels=torch.tensor(prompts.labels)[None],
            multimask=self.token > 0,
        )
        index = max(0, self.token - 1)
        bbox, crop = upsample(logits[0, index], emb)
        shape = emb.original_size
        region = None if bbox is None else Region.from_crop(crop, bbox[:2], shape)
        low = round_logits(logits[0, index : index + 1].numpy())
        return Segmentation(shape, region, float(iou[0, index]), low, self.token)


def ways(variant: str, points: int, noc: bool) -> list[str]:
    """Prompts by which a variant is measured."""
    found = [f"gt:{points}", "click:1"]
    automatic = variant.startswith("apm") or variant == "bundled"
    if automatic:
        found = ["auto", "auto+click:1", *found]
    if variant == "frozen":
        found.append("box")
    if noc:
        found += ["noc", "noc+local"] if variant != "frozen" else ["noc"]
        found += ["auto+noc", "auto+noc+local"] if automatic else []
    return found


def best_mask(
    segmenter: FixedMask, domain: str, points: int, most: int | None
) -> dict[str, Any]:
    """Frozen SAM's best mask index with points from the truth, chosen on val."""
    prompts, result = f"gt:{points}", {}
    parts = {part: runs.pairs_of(domain, part, most) for part in ("val", "test")}
    for name, pairs in parts["val"].items():
        dices = []
        for segmenter.token in range(MASKS):
            report = evaluate(pairs, segmenter, prompts)
            dices.append(report.summary["gt_prompted_dice"])
        segmenter.token = max(range(MASKS), key=dices.__getitem__)
        found = evaluate(parts["test"][name], segmenter, prompts, metrics=True)
        result[name] = {
            "mask": segmenter.token,
            "val_dice": dices,
            **runs.told(found),
        }
    return result


def run_frozen(options: argparse.Namespace, domain: str, points: int) -> dict[str, Any]:
    """Measure stock SAM."""
    segmenter = FixedMask(load_sam(options.model))
    plain = runs.CachedSegmenter(segmenter.sam)
    return {
        "base": _base(plain),
        "test": runs.measured(
            plain, domain, ways("frozen", points, options.noc), options.most
        ),
        "best_mask": best_mask(segmenter, domain, points, options.most),
        "constant_mask": constant_mask(domain, options.most),
    }


def constant_mask(domain: str, most: int | None) -> dict[str, Any]:
    """Measure the mask that fits all training images best, without looking at any.

    The mean of all training masks, cut where that is best for them: what automatic
    scores have to be compared with.
    """
    result = {}
    train = [
        p for pairs in runs.pairs_of(domain, "train", most).values() for p in pairs
    ]
    masks = np.stack([_small(read_mask(p.mask) > 0) for p in train])
    mean = masks.mean(0)
    cuts = np.quantile(mean, np.linspace(0.5, 0.99, 50))
    drawn = max((mean >= cut for cut in cuts), key=lambda m: _mean_dice(m, masks))
    for name, pairs in runs.pairs_of(domain, "test", most).items():
        truths = [read_mask(pair.mask) > 0 for pair in pairs]
        dices = [dice(_fitted(drawn, t.shape), t) for t in truths if t.any()]
        result[name] = round(float(np.mean(dices)), 4)
    return result


def _small(mask: np.ndarray) -> np.ndarray:
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    return np.asarray(picture.resize((96, 96), Image.Resampling.BOX)) / 255.0


def _fitted(mask: np.ndarray, shape: tuple[int, ...]) -> np.ndarray:
    picture = Image.fromarray(mask.astype(np.uint8) * 255)
    resized = picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized) > 127


def _mean_dice(mask: np.ndarray, truths: np.ndarray) -> float:
    both = 2 * (mask * truths).sum((1, 2))
    return float((both / (mask.sum() + truths.sum((1, 2)))).mean())


def run_bundled(
    options: argparse.Namespace, domain: str, points: int
) -> dict[str, Any]:
    """Measure the adapter that is in the package."""
    sam = load_sam(options.model)
    segmenter = runs.CachedSegmenter(sam, load_adapter(domain, sam))
    prompts = ways("bundled", points, options.noc)
    return {
        "base": _base(segmenter),
        "test": runs.measured(segmenter, domain, prompts, options.most),
    }


def run_adapter(
    options: argparse.Namespace,
    domain: str,
    variant: str,
    apm: str,
    points: int,
    labels: int | None,
) -> dict[str, Any]:
    """Train one adapter and measure it.

    Raises
    ------
    ValueError
        If the minutes were over before anything was trained.
    """
    sam = load_sam(options.model)
    training, held_out = runs.labelled(domain, labels, options.seed)
    given = {} if labels is None else recipe_for(labels)
    given |= {
        name: getattr(options, name)
        for name in ("views", "apm_epochs", "ips_epochs", "ips_images", "cache")
        if getattr(options, name) is not None
    }
    with tempfile.TemporaryDirectory(prefix="promise-ablation-") as folder:
        output = Path(folder) / "adapter"
        if options.keep is not None:
            parts = (domain, variant, apm, f"p{points}", labels or "all")
            output = options.keep / "-".join(str(part) for part in parts if part)
        config = TrainConfig(
            pairs=tuple(training),
            held_out=tuple(held_out),
            name="ablation",
            output=output,
            model=options.model,
            apm=apm if variant.startswith("apm") else "none",
            ips=variant.endswith("ips"),
            points=points,
            seed=options.seed,
            class_name=runs.CLASSES[domain],
            trained_on=f"{len(training)} images of the train parts of {domain}",
            **(given | options.option),
        )
        watch, scores, messages = runs.Stopwatch(), {}, []
        limit = float("inf") if options.minutes is None else 60 * options.minutes
        steps = cast("Generator[Any, None, None]", train(config, sam))
        with contextlib.closing(steps) as running:
            for step in running:
                watch.lap(step.phase)
                scores = step.held_out or scores
                if step.message:
                    print(step.message, flush=True)
                    if step.phase != "embed":  # there they name folders and files
                        messages.append(step.message)
                if watch.elapsed > limit and step.phase != "done":
                    messages.append(f"stopped after {options.minutes} minutes")
                    break
        if not (output / "adapter.json").is_file():
            raise ValueError(
                f"nothing was trained in {options.minutes} minutes: give more, or "
                "fewer views"
            )
        seconds = watch.told()
        adapter = load_adapter(output, sam)
        size = (output / "adapter.safetensors").stat().st_size
    segmenter = runs.CachedSegmenter(sam, adapter)
    prompts = ways(variant, points, options.noc)
    return {
        "base": _base(segmenter),
        "images": {"training": len(training), "choosing": len(held_out)},
        "ips_kept": adapter.info.ips,
        "parameters": _parameters(adapter),
        "megabytes": round(size / 1e6, 2),
        "seconds": seconds,
        "held_out": scores,
        "messages": messages,
        "test": runs.measured(segmenter, domain, prompts, options.most),
    }


def _base(segmenter: runs.CachedSegmenter) -> dict[str, Any]:
    return {
        "model": segmenter.model_id,
        "sha256": segmenter.sha256,
        "parameters": sum(p.numel() for p in segmenter.sam.parameters()),
    }


def _parameters(adapter: Adapter) -> dict[str, int]:
    return {
        name: sum(p.numel() for p in module.parameters())
        for name, module in (("apm", adapter.apm), ("ips", adapter.ips))
        if module is not None
    }


def parsed(texts: Sequence[str]) -> dict[str, Any]:
    """Read ``name=value`` pairs; values as JSON where they are, else as words.

    Raises
    ------
    ValueError
        If there is no such field of `TrainConfig`.
    """
    known = {f.name for f in dataclasses.fields(TrainConfig)}
    result: dict[str, Any] = {}
    for text in texts:
        name, _, value = text.partition("=")
        if name not in known or not value:
            raise ValueError(f"option {text!r}: write a field of TrainConfig=value")
        try:
            result[name] = json.loads(value)
        except ValueError:
            result[name] = value
    return result


def main(arguments: list[str] | None = None) -> None:
    """Read the arguments and make every run that is not there yet."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--domain", nargs="+", choices=list(runs.DOMAINS), default=["polyp"])
    add("--variant", nargs="+", choices=VARIANTS, default=list(VARIANTS[:4]))
    add("--apm", nargs="+", default=["heatmap"], help="heatmap, resnet, cross")
    add("--points", nargs="+", type=int, default=[16])
    add("--labels", nargs="+", default=["all"], help="numbers of images, or all")
    add("--seed", type=int, default=0)
    add("--minutes", type=float, help="of training at most, each run")
    add("--noc", action="store_true", help="count clicks as well (slow)")
    add(
        *("--option", "-o"),
        action="append",
        default=[],
        help="a further field of TrainConfig, such as auxiliary=0",
    )
    add("--views", type=int)
    add("--apm-epochs", type=int)
    add("--ips-epochs", type=int)
    add("--ips-images", type=int)
    add("--most", type=int, help="test images of each set")
    add("--model", default="promise-tiny")
    add("--cache", type=Path, help="folder for the trainer's embeddings")
    add("--keep", type=Path, help="folder for the adapters")
    add("--results", type=Path, default=runs.RESULTS)
    add("--force", action="store_true", help="make runs again that are there")
    options = parser.parse_args(arguments)
    options.option = parsed(options.option)
    extra = tuple(f"{key}={value}" for key, value in options.option.items())
    counts = [None if text == "all" else int(text) for text in options.labels]
    planned = []
    for domain, variant, points in itertools.product(
        options.domain, options.variant, options.points
    ):
        for apm in options.apm if variant.startswith("apm") else [""]:
            untrained = variant in ("frozen", "bundled")
            for labels in [None] if untrained else counts:
                planned.append((domain, variant, apm, points, labels))
    for at, (domain, variant, apm, points, labels) in enumerate(planned, start=1):
        name = variant.replace("apm", f"apm-{apm}")
        count = "all" if labels is None else labels
        path = runs.path_of(
            options.results,
            *(
                "ablation",
                domain,
                name,
                f"p{points}",
                count,
                f"s{options.seed}",
                *extra,
            ),
        )
        print(f"{at}/{len(planned)} {path.name}", flush=True)
        if path.exists() and not options.force:
            continue
        if variant == "frozen":
            found = run_frozen(options, domain, points)
        elif variant == "bundled":
            found = run_bundled(options, domain, points)
        else:
            found = run_adapter(options, domain, variant, apm, points, labels)
        record = runs.base_record(
            "ablation",
            domain,
            variant=variant,
            apm=apm,
            points=points,
            labels=count,
            seed=options.seed,
            options=options.option,
        )
        runs.write(path, record | found)


if __name__ == "__main__":
    main()
