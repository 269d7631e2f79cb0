"""Train the bundled adapter `polyp` on the bundled model, and measure it.

    python -m scripts.train_polyp

One command; run it again whenever the bundled model changes, because an adapter
belongs to one base. It trains on the train parts of Kvasir-SEG and CVC-ClinicDB,
stops early on their val parts and only measures their test parts (CVC-ClinicDB is
divided by sequence, see `scripts.datasets`). Ctrl+C keeps the best so far.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

from napari_promise.data.pairs import Pair
from napari_promise.model.adapters import (
    BUNDLED,
    check_base,
    load_adapter,
    save_adapter,
)
from napari_promise.model.sam import load_sam
from napari_promise.segmenter import Segmenter
from napari_promise.training.config import TrainConfig
from napari_promise.training.evaluate import evaluate
from napari_promise.training.trainer import train
from scripts import datasets

SETS = ("kvasir-seg", "cvc-clinicdb")
LICENCE = (
    "Research and educational use only, as the terms of Kvasir-SEG and CVC-ClinicDB, "
    "on which it was trained."
)
NOTE = "Colonoscopy frames, white light. Not a medical device."


def pairs_of(part: str, most: int | None = None) -> dict[str, list[Pair]]:
    """Pairs of one part of each set.

    Parameters
    ----------
    part : str
        ``train``, ``val`` or ``test``.
    most : int, optional
        Of each set, evenly spread.

    Returns
    -------
    dict of str to list of Pair
        Groups carry the set's name, so that sets never share one.
    """
    result = {}
    for name in SETS:
        found = datasets.load_parts(name)[part]
        if most is not None and most < len(found):
            chosen = np.linspace(0, len(found) - 1, most).round().astype(int)
            found = [found[at] for at in chosen]
        result[name] = [
            Pair(pair.image, pair.target, f"{name}/{pair.group}") for pair in found
        ]
    return result


def measure(segmenter: Segmenter, most: int | None = None) -> dict[str, Any]:
    """Scores on the test parts; automatic and GT-prompted apart, frozen SAM beside.

    Parameters
    ----------
    segmenter : Segmenter
        With the adapter.
    most : int, optional
        Images of each set.

    Returns
    -------
    dict
        Set -> scores.
    """
    result: dict[str, Any] = {}
    for name, pairs in pairs_of("test", most).items():
        automatic = evaluate(pairs, segmenter, "auto+click:1").summary
        prompted = evaluate(pairs, segmenter, "gt:16").summary
        steps, frozen = automatic["dice_by_step"], automatic["frozen_dice_by_step"]
        result[name] = {
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
                "dice": prompted["gt_prompted_dice"],
                "frozen_dice_same_prompts": prompted["frozen_gt_prompted_dice"],
            },
        }
        print(name, json.dumps(result[name]), flush=True)
    return result


def main() -> None:
    """Read the arguments, train, measure, write."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", type=Path, default=BUNDLED / "polyp")
    parser.add_argument("--model", default="promise-tiny")
    parser.add_argument("--views", type=int, default=2)
    parser.add_argument("--apm-epochs", type=int, default=6)
    parser.add_argument("--ips-epochs", type=int, default=4)
    parser.add_argument("--ips-images", type=int, default=300)
    parser.add_argument("--start", type=Path, help="earlier adapter to go on from")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--most", type=int, help="training images of each set")
    parser.add_argument(
        "--most-measured", type=int, help="val, test images of each set"
    )
    parser.add_argument("--cache", type=Path, help="folder for embeddings")
    parser.add_argument("--measure-only", action="store_true")
    options = parser.parse_args()

    started = time.monotonic()
    sam = load_sam(options.model)
    if not options.measure_only:
        parts = {
            "train": pairs_of("train", options.most),
            "val": pairs_of("val", options.most_measured),
        }
        counts = ", ".join(f"{len(p)} {name}" for name, p in parts["train"].items())
        config = TrainConfig(
            pairs=tuple(p for pairs in parts["train"].values() for p in pairs),
            held_out=tuple(p for pairs in parts["val"].values() for p in pairs),
            name="polyp",
            output=options.out,
            model=options.model,
            views=options.views,
            apm_epochs=options.apm_epochs,
            ips_epochs=options.ips_epochs,
            ips_images=options.ips_images,
            start=options.start,
            seed=options.seed,
            cache=options.cache,
            class_name="polyp",
            trained_on=f"train parts: {counts} images",
            licence=LICENCE,
            note=NOTE,
        )
        said = 0.0
        for progress in train(config, sam):
            if progress.message or time.monotonic() - said > 10:
                said = time.monotonic()
                loss = "" if progress.loss is None else f" loss {progress.loss:.3f}"
                eta = "" if progress.eta is None else f" {progress.eta:.0f} s left"
                print(
                    f"{said - started:5.0f} s {progress.phase} "
                    f"{progress.step}/{progress.total}{loss}{eta} {progress.message}",
                    progress.held_out or "",
                    flush=True,
                )
    adapter = load_adapter(options.out, sam)
    check_base(adapter.info, sam)
    test = measure(Segmenter(sam, adapter), options.most_measured)
    scores = {"test": test}
    adapter.info = replace(adapter.info, scores=scores)
    save_adapter(adapter, options.out)
    print(f"{time.monotonic() - started:.0f} s in all", flush=True)


if __name__ == "__main__":
    main()
