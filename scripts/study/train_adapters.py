"""Train the bundled adapters on the bundled model, and measure them.

    python -m scripts.study.train_adapters polyp skin breast-us nuclei cells medical
    python -m scripts.study.train_adapters skin breast-us --model promise-medical

One command; run it again whenever the bundled model changes, because an adapter
belongs to one base. Each trains on the train parts of its sets, stops early on their
val parts and only measures their test parts (CVC-ClinicDB is divided by sequence, see
`scripts.study.datasets`). Ctrl+C keeps the best so far.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_promise.data.images import read_mask
from napari_promise.model.adapters import (
    BUNDLED,
    bundled_folder,
    check_base,
    load_adapter,
    read_info,
    save_adapter,
)
from napari_promise.model.sam import load_sam
from napari_promise.segmenter import Segmenter
from napari_promise.training.config import TrainConfig
from napari_promise.training.evaluate import evaluate
from napari_promise.training.evaluate_instances import evaluate_instances
from napari_promise.training.trainer import train
from scripts.study import datasets
from scripts.study.runs import CLASSES, pairs_of


@dataclass(frozen=True)
class Domain:
    """What is said of an adapter, beside its image sets (`scripts.study.runs`).

    Attributes
    ----------
    terms : str
        Under which it may be used: those of its sets.
    note : str
        What it was shown.
    recipe : mapping
        Fields of `TrainConfig` that it is trained with, where no option says otherwise.
    """

    terms: str
    note: str
    recipe: Mapping[str, Any] = field(default_factory=dict)


RESEARCH = "Research and educational use only, as the terms of"
DOMAINS = {
    "polyp": Domain(
        f"{RESEARCH} Kvasir-SEG and CVC-ClinicDB, on which it was trained.",
        "Colonoscopy frames, white light.",
        {"apm_blocks": 3, "apm_epochs": 14, "views": 4, "ips_epochs": 8},
    ),
    "skin": Domain(
        f"{RESEARCH} PH2, on which it was trained.",
        "Dermoscopy of single pigmented lesions.",
    ),
    "breast-us": Domain(
        "CC BY 4.0, as BUSI, on which it was trained; name its authors.",
        "Breast ultrasound, benign, malignant and normal.",
    ),
    "nuclei": Domain(
        "CC0, as BBBC038 (dsb2018), on which it was trained.",
        "Fluorescence, H&E and bright field; all nuclei of an image as one object. To "
        "click nuclei one by one, switch IPS off.",
    ),
    "cells": Domain(
        "CC0, as BBBC038 (dsb2018), on which it was trained.",
        "Fluorescence, H&E and bright field; each nucleus an object of its own.",
        {
            "apm": "instances",
            "apm_blocks": 2,
            "views": 6,
            "apm_epochs": 17,
            "apm_batch": 8,
            "patience": 10,
        },
    ),
    "medical": Domain(
        f"{RESEARCH} Kvasir-SEG, CVC-ClinicDB and PH2; BUSI is CC BY 4.0.",
        "Polyps, skin lesions and breast lesions in one adapter.",
    ),
}


def measure(segmenter: Segmenter, name: str, most: int | None = None) -> dict[str, Any]:
    """Scores on the test parts; automatic and GT-prompted apart, frozen SAM beside.

    Images on which there is nothing to find are counted by themselves: the share of
    them on which nothing was proposed.

    Parameters
    ----------
    segmenter : Segmenter
        With the adapter.
    name : str
        One of `DOMAINS`.
    most : int, optional
        Images of each set.

    Returns
    -------
    dict
        Set -> scores.
    """
    result: dict[str, Any] = {}
    if segmenter.finds_many:
        for set_name, pairs in pairs_of(name, "test", most).items():
            found = evaluate_instances(pairs, segmenter)
            rounded = {key: round(value, 4) for key, value in found.summary.items()}
            result[set_name] = {"images": len(found.images), "automatic": rounded}
            print(set_name, json.dumps(result[set_name]), flush=True)
        return result
    for set_name, pairs in pairs_of(name, "test", most).items():
        filled = {pair.image: bool(read_mask(pair.mask).any()) for pair in pairs}
        lesions = [pair for pair in pairs if filled[pair.image]]
        normal = [pair for pair in pairs if not filled[pair.image]]
        automatic = evaluate(lesions, segmenter, "auto+click:1").summary
        # single nuclei are prompted one by one, up to hundreds of them an image
        few = lesions[:: 1 if set_name in datasets.MASK_SETS else 20]
        prompted = evaluate(few, segmenter, "gt:16").summary
        steps, frozen = automatic["dice_by_step"], automatic["frozen_dice_by_step"]
        result[set_name] = {
            "images": automatic["images"],
            "automatic": {
                "dice": steps[0],
                "dice_after_one_corrective_click": steps[1],
                "frozen_dice_same_prompts": frozen[0],
                "frozen_dice_after_one_corrective_click": frozen[1],
                "positives_on_object": automatic["positives_on_object"],
            },
            "gt_prompted": {
                "prompts": "16 random points from the truth",
                "images": prompted["images"],
                "dice": prompted["gt_prompted_dice"],
                "frozen_dice_same_prompts": prompted["frozen_gt_prompted_dice"],
            },
        }
        if normal:
            scores = evaluate(normal, segmenter, "auto").scores
            silent = sum(score.positives == 0 for score in scores)
            result[set_name]["normal"] = {
                "images": len(scores),
                "without_prompt": round(silent / len(scores), 4),
            }
        print(set_name, json.dumps(result[set_name]), flush=True)
    return result


def take(name: str, kept: Path, sam: Any, folder: Path) -> None:
    """Write an adapter that `run_ablation --keep` kept under its own name."""
    domain, adapter = DOMAINS[name], load_adapter(kept, sam)
    counts = {set_: len(p) for set_, p in pairs_of(name, "train").items()}
    adapter.info = replace(
        adapter.info,
        name=name,
        class_name=CLASSES[name],
        trained_on="train parts: "
        + ", ".join(f"{count} {set_}" for set_, count in counts.items())
        + " images",
        licence=domain.terms,
        note=f"{domain.note} Not a medical device.",
    )
    save_adapter(adapter, folder)


def fit(name: str, options: argparse.Namespace, base_sha256: str, folder: Path) -> None:
    """Train the adapter `name` and write it into `folder`."""
    domain = DOMAINS[name]
    parts = {
        "train": pairs_of(name, "train", options.most),
        "val": pairs_of(name, "val", options.most_measured),
    }
    counts = ", ".join(f"{len(p)} {set_}" for set_, p in parts["train"].items())
    trained_on = f"train parts: {counts} images"
    if options.start is not None:
        earlier = read_info(options.start / name)
        if earlier.base_sha256 != base_sha256:
            known = earlier.trained_on.partition("; moved to")[0]
            trained_on = f"{known}; moved to this base with {counts} images"
    recipe: dict[str, Any] = {
        "views": _views(sum(map(len, parts["train"].values()))),
        "ips_epochs": 4,
    }
    recipe |= domain.recipe
    for option in ("views", "apm_blocks", "apm_epochs", "apm_rate", "ips_epochs"):
        if getattr(options, option) is not None:
            recipe[option] = getattr(options, option)
    config = TrainConfig(
        pairs=tuple(p for pairs in parts["train"].values() for p in pairs),
        held_out=tuple(p for pairs in parts["val"].values() for p in pairs),
        name=name,
        output=folder,
        model=options.model,
        start=None if options.start is None else options.start / name,
        seed=options.seed,
        cache=options.cache,
        class_name=CLASSES[name],
        trained_on=trained_on,
        licence=domain.terms,
        note=f"{domain.note} Not a medical device.",
        **recipe,
    )
    started = said = time.monotonic()
    for progress in train(config):
        if progress.message or time.monotonic() - said > 10:
            said = time.monotonic()
            loss = "" if progress.loss is None else f" loss {progress.loss:.3f}"
            eta = "" if progress.eta is None else f" {progress.eta:.0f} s left"
            print(
                f"{said - started:5.0f} s {name} {progress.phase} "
                f"{progress.step}/{progress.total}{loss}{eta} {progress.message}",
                progress.held_out or "",
                flush=True,
            )


def _views(images: int) -> int:
    """Choose how many views an image gets: few images are shown more often."""
    return int(np.clip(round(2000 / images), 2, 12))


def main() -> None:
    """Read the arguments, train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("names", nargs="+", choices=list(DOMAINS))
    parser.add_argument("--out", type=Path, default=BUNDLED, help="folder of adapters")
    parser.add_argument("--model", default="promise-tiny")
    parser.add_argument("--views", type=int, help="of each image")
    parser.add_argument("--apm-blocks", type=int)
    parser.add_argument("--apm-epochs", type=int)
    parser.add_argument(
        "--apm-rate",
        type=float,
        help="with --start and a base whose transformer is the same, 1e-6 for one pass "
        "keeps the prompter as it is",
    )
    parser.add_argument("--ips-epochs", type=int)
    parser.add_argument(
        "--start", type=Path, help="folder of earlier adapters to go on from, by name"
    )
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, help="training images of each set")
    parser.add_argument(
        "--most-measured", type=int, help="val, test images of each set"
    )
    parser.add_argument("--cache", type=Path, help="folder for embeddings")
    parser.add_argument("--measure-only", action="store_true")
    parser.add_argument(
        "--take",
        type=Path,
        help="instead of training, the folder of an adapter that run_ablation kept",
    )
    options = parser.parse_args()
    if options.take is not None and len(options.names) > 1:
        parser.error("--take gives one adapter: name one")
    sam = load_sam(options.model)
    for name in options.names:
        started = time.monotonic()
        folder = options.out / bundled_folder(name, options.model).name
        if options.take is not None:
            take(name, options.take, sam, folder)
        elif not options.measure_only:
            fit(name, options, sam.sha256, folder)
        adapter = load_adapter(folder, sam)
        check_base(adapter.info, sam)
        scores = measure(Segmenter(sam, adapter), name, options.most_measured)
        adapter.info = replace(adapter.info, scores={"test": scores})
        save_adapter(adapter, folder)
        print(f"{name}: {time.monotonic() - started:.0f} s in all", flush=True)


if __name__ == "__main__":
    main()
