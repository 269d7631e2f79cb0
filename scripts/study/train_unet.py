"""Train the rival: a U-Net of like size, on the same images for the same seconds.

    python -m scripts.study.train_unet --like results/ablation-….json

The network is MONAI's residual U-Net, from scratch; it sees what an adapter's training
sees (the same images, the same kinds of views, the same held-out part for choosing) and
is measured on the same test parts with the same measures. What it draws is automatic:
it takes no prompts. Knows nothing of SAM.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from napari_promise.data import images as files
from napari_promise.data.pairs import Pair
from napari_promise.data.planes import to_rgb8
from napari_promise.proposing import iou
from napari_promise.training import views
from napari_promise.training.losses import mask_loss
from napari_promise.training.metrics import dice, measures
from napari_promise.training.scores import EvaluationReport, Score
from scripts.study import runs

#: Channels of the levels; with two residual units a level, 7.33 million parameters,
#: as many as the bundled model has.
CHANNELS = (34, 68, 136, 272, 544)
EMA = 0.99
CHECKS = 12  # times that the held-out part is looked at
MOST_CHECKED = 60  # held-out images
SHARE_HELD_OUT = 0.15  # of few labels, as the trainer of adapters does by default


@dataclass(frozen=True)
class Sample:
    """An image as the network sees it.

    Attributes
    ----------
    rgb : numpy.ndarray
        (h, w, 3) uint8, longest side that of the network's input.
    share : numpy.ndarray
        (h, w) float32, how much of each pixel is foreground.
    """

    rgb: np.ndarray
    share: np.ndarray


def build(channels: Sequence[int] = CHANNELS) -> nn.Module:
    """Return the network: (B, 3, s, s) in [-1, 1] to (B, 1, s, s) logits."""
    from monai.networks.nets.unet import UNet

    return UNet(
        spatial_dims=2,
        in_channels=3,
        out_channels=1,
        channels=tuple(channels),
        strides=(2,) * (len(channels) - 1),
        num_res_units=2,
    )


def load(pairs: Sequence[Pair], side: int) -> list[Sample]:
    """Read images and masks, scaled to the network's input."""
    samples = []
    for pair in pairs:
        rgb = files.read_image(pair.image).rgb8()
        mask = files.read_mask(pair.mask) != 0
        scale = side / max(rgb.shape[:2])
        height, width = (max(1, round(n * scale)) for n in rgb.shape[:2])
        samples.append(Sample(*views.fit(rgb, mask, (height, width))))
    return samples


def batch_of(
    samples: Sequence[Sample], side: int
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Stack samples, padded to the lower right as SAM pads.

    Returns
    -------
    tuple of torch.Tensor
        (B, 3, side, side) pixels in [-1, 1], (B, 1, side, side) target and the same
        with 1 where the image is.
    """
    pixels = torch.zeros(len(samples), 3, side, side)
    target, inside = torch.zeros(2, len(samples), 1, side, side)
    for at, sample in enumerate(samples):
        height, width = sample.share.shape
        rgb = torch.from_numpy(sample.rgb).permute(2, 0, 1)
        pixels[at, :, :height, :width] = rgb / 127.5 - 1
        target[at, 0, :height, :width] = torch.from_numpy(sample.share)
        inside[at, 0, :height, :width] = 1
    return pixels, target, inside


def fit(
    net: nn.Module,
    training: Sequence[Sample],
    held_out: Sequence[Sample],
    *,
    seconds: float,
    side: int,
    batch: int = 8,
    rate: float = 1e-3,
    seed: int = 0,
) -> Iterator[dict[str, Any]]:
    """Train until the time is over; `net` then holds the best averaged weights.

    Parameters
    ----------
    net : torch.nn.Module
        See `build`.
    training, held_out : sequence of Sample
    seconds : float
        For everything here, the held-out part included.
    side, batch : int
    rate : float
        Largest learning rate of a one-cycle schedule over the time.
    seed : int

    Yields
    ------
    dict
        Seconds, step, mean loss since the last, held-out Dice; at each of `CHECKS`.
    """
    started = time.monotonic()
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    quick = _bfloat16_is_faster(net, side, batch)
    optimizer = torch.optim.AdamW(net.parameters(), lr=rate, weight_decay=1e-2)
    average, best = copy.deepcopy(net), copy.deepcopy(net.state_dict())
    top, step, checked, losses, order = -1.0, 0, 0, [], []
    while True:
        spent = (time.monotonic() - started) / seconds
        if losses and (spent >= 1 or spent * CHECKS >= checked + 1):
            checked = int(spent * CHECKS)
            found = held_out_dice(average, held_out, side, quick)
            if found > top:
                top, best = found, copy.deepcopy(average.state_dict())
            yield {
                "seconds": round(time.monotonic() - started, 1),
                "step": step,
                "loss": round(float(np.mean(losses)), 4),
                "held_out_dice": round(found, 4),
                "bfloat16": quick,
            }
            losses = []
        if spent >= 1:
            break
        if len(order) < batch:
            order = [*order, *rng.permutation(len(training)).tolist()]
        chosen, order = order[:batch], order[batch:]
        seen = [
            Sample(*views.augment(training[at].rgb, training[at].share, rng))
            for at in chosen
        ]
        pixels, target, inside = batch_of(seen, side)
        for group in optimizer.param_groups:
            warm = min(1.0, spent / 0.1)
            group["lr"] = rate * warm * (0.5 + 0.5 * math.cos(math.pi * spent))
        net.train()
        with torch.autocast("cpu", torch.bfloat16, enabled=quick):
            logits = net(pixels)
        loss = mask_loss(logits.float(), target, inside)
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimizer.step()
        step += 1
        losses.append(float(loss.detach()))
        share = 1 - min(EMA, (1 + step) / (10 + step))
        with torch.no_grad():
            for kept, current in zip(
                average.parameters(), net.parameters(), strict=True
            ):
                kept.lerp_(current, share)
    net.load_state_dict(best)


@torch.no_grad()
def held_out_dice(
    net: nn.Module, samples: Sequence[Sample], side: int, quick: bool
) -> float:
    """Mean Dice at the network's own size."""
    net.eval()
    found = []
    for sample in samples:
        pixels, _, _ = batch_of([sample], side)
        with torch.autocast("cpu", torch.bfloat16, enabled=quick):
            logits = net(pixels)[0, 0]
        height, width = sample.share.shape
        mask = (logits[:height, :width] > 0).numpy()
        found.append(dice(mask, sample.share >= 0.5))
    return float(np.mean(found))


@torch.no_grad()
def predict(net: nn.Module, image: np.ndarray, side: int) -> np.ndarray:
    """Draw one image.

    Parameters
    ----------
    net : torch.nn.Module
    image : numpy.ndarray
        (H, W) or (H, W, 3), any real type.
    side : int

    Returns
    -------
    numpy.ndarray
        (H, W) float32 probabilities.
    """
    rgb = to_rgb8(image)
    scale = side / max(rgb.shape[:2])
    height, width = (max(1, round(n * scale)) for n in rgb.shape[:2])
    empty = np.zeros(rgb.shape[:2], bool)
    pixels, _, _ = batch_of([Sample(*views.fit(rgb, empty, (height, width)))], side)
    logits = net.eval()(pixels)[:, :, :height, :width]
    full = F.interpolate(logits, rgb.shape[:2], mode="bilinear", align_corners=False)
    return torch.sigmoid(full[0, 0]).numpy()


def measured(net: nn.Module, pairs: Sequence[Pair], side: int) -> EvaluationReport:
    """Measure as `evaluate` measures automatic prompts."""
    scores = []
    for pair in pairs:
        probability = predict(net, files.read_image(pair.image).rgb8(), side)
        truth, mask = files.read_mask(pair.mask) != 0, probability > 0.5
        scores.append(
            Score(
                image=str(pair.image),
                instance=None,
                dice=dice(mask, truth),
                iou=iou(mask, truth),
                frozen_dice=None,
                frozen_iou=None,
                positives=int(mask.any()),
                group=pair.group,
                area=int(truth.sum()),
                measures=measures(mask, probability, truth),
            )
        )
    return EvaluationReport("auto", "unet", None, tuple(scores))


def divide(pairs: Sequence[Pair], seed: int) -> tuple[list[Pair], list[Pair]]:
    """Hold out a share of few labelled images for choosing."""
    order = np.random.default_rng(seed).permutation(len(pairs))
    count = max(1, round(SHARE_HELD_OUT * len(pairs)))
    chosen = set(order[:count].tolist())
    parts: tuple[list[Pair], list[Pair]] = ([], [])
    for at, pair in enumerate(pairs):
        parts[at in chosen].append(pair)
    return parts


def _bfloat16_is_faster(net: nn.Module, side: int, batch: int) -> bool:
    """Time two steps of each kind, the first of each uncounted."""
    spent = {}
    pixels = torch.zeros(batch, 3, side, side)
    for quick in (False, True):
        for _ in range(2):
            started = time.monotonic()
            with torch.autocast("cpu", torch.bfloat16, enabled=quick):
                net(pixels).float().sum().backward()
            spent[quick] = time.monotonic() - started
    net.zero_grad()
    return spent[True] < spent[False]


def main(arguments: list[str] | None = None) -> None:
    """Read the arguments, train, measure, write the record."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    add = parser.add_argument
    add("--like", type=Path, help="record of an adapter's run: domain, labels, seconds")
    add("--domain", choices=list(runs.DOMAINS))
    add("--labels", help="number of images, or all")
    add("--seconds", type=float)
    add("--seed", type=int)
    add("--side", type=int, default=256, help="of the network's input, in pixels")
    add("--batch", type=int, default=8)
    add("--rate", type=float, default=1e-3)
    add("--most", type=int, help="test images of each set")
    add("--results", type=Path, default=runs.RESULTS)
    add("--save", type=Path, help="file for the weights")
    options = parser.parse_args(arguments)
    given: dict[str, Any] = {"domain": "polyp", "labels": "all", "seed": 0}
    if options.like is not None:
        given |= json.loads(options.like.read_text(encoding="utf-8"))
        if "seconds" in given:
            given["seconds"] = given["seconds"]["all"]
    for name in ("domain", "labels", "seconds", "seed"):
        if getattr(options, name) is not None:
            given[name] = getattr(options, name)
    if "seconds" not in given:
        parser.error("give --seconds, or --like with the record of an adapter's run")
    domain, seed, seconds = given["domain"], given["seed"], float(given["seconds"])
    labels = None if given["labels"] == "all" else int(given["labels"])

    watch = runs.Stopwatch()
    training, held_out = runs.labelled(domain, labels, seed)
    if not held_out:
        training, held_out = divide(training, seed)
    at = np.linspace(0, len(held_out) - 1, min(MOST_CHECKED, len(held_out)))
    checked = [held_out[i] for i in at.round().astype(int)]
    samples = load(training, options.side), load(checked, options.side)
    watch.lap("read")
    torch.manual_seed(seed)
    net = build()
    curve = []
    for line in fit(
        net,
        *samples,
        seconds=seconds - watch.elapsed,
        side=options.side,
        batch=options.batch,
        rate=options.rate,
        seed=seed,
    ):
        curve.append(line)
        print(line, flush=True)
    watch.lap("train")
    told = watch.told()
    if options.save is not None:
        torch.save(net.state_dict(), options.save)
    parameters = sum(p.numel() for p in net.parameters())
    test = {}
    for name, pairs in runs.pairs_of(domain, "test", options.most).items():
        found = runs.told(measured(net, pairs, options.side))
        found["summary"].pop("positives_on_object", None)  # it places no points
        test[name] = {"auto": found}
        print(name, found["summary"], flush=True)
    count = "all" if labels is None else labels
    record = runs.base_record(
        "unet",
        domain,
        labels=count,
        seed=seed,
        side=options.side,
        batch=options.batch,
        like=None if options.like is None else options.like.name,
        images={"training": len(training), "choosing": len(held_out)},
        parameters={"unet": parameters},
        megabytes=round(2 * parameters / 1e6, 2),
        seconds=told,
        curve=curve,
        test=test,
    )
    path = runs.path_of(options.results, "unet", domain, count, f"s{seed}")
    runs.write(path, record)


if __name__ == "__main__":
    main()
