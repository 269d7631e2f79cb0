"""Train the network that draws outlines in propagation.

It learns from its own mistakes: in each round objects are propagated through the
volumes of the ``learn-`` sets of `benchmarks/volume_sets.py` with the network as it is,
from planes that are true or roughly drawn, and every plane that comes by, with the
shape as it arrived there, is an example. Planes beyond the object's ends are examples
of nothing. Few volumes have large objects with labels, so that pieces of like grey
value are objects too. Only the crops are kept in memory.

    python scripts/volumes/train_outline.py --cache volumes-cache --rounds 4
"""

from __future__ import annotations

import argparse
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file, save_file
from scipy import ndimage

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "benchmarks"))

from volume_sets import Stack, stacks  # noqa: E402
from volumes import Case, Masks, click  # noqa: E402

from napari_promise.propagation import Propagator, Rules  # noqa: E402
from napari_promise.propagation.grid import Grid  # noqa: E402
from napari_promise.propagation.outline import (  # noqa: E402
    BUNDLED,
    Look,
    OutlineNet,
    prepared,
)
from napari_promise.segmenter import Segmenter  # noqa: E402

SIDE = 64  # of a crop that is learned from, in the network's cells
BEYOND = 4  # planes past an object's ends


def roughly(
    mask: NDArray[np.bool_], rng: np.random.Generator, most: float = 0.12
) -> NDArray[np.bool_]:
    """Return a mask whose outline wanders, as that of somebody in a hurry."""
    size = np.sqrt(mask.sum())
    bend = ndimage.gaussian_filter(rng.normal(size=mask.shape), 0.15 * size + 1)
    bend /= bend.std() + 1e-6
    distance = ndimage.distance_transform_edt(mask) - ndimage.distance_transform_edt(
        ~mask
    )
    bent: NDArray[np.bool_] = (
        distance + most * size * rng.uniform(0, 1) * (bend + rng.normal(0, 0.7)) > 0
    )
    return bent if bent.any() else mask


class Collector:
    """Draws as the network does, and keeps what it saw beside the truth."""

    def __init__(self, network: OutlineNet, forced: float) -> None:
        self.network = network
        self.forced = forced
        self.looks: list[torch.Tensor] = []
        self.truths: list[torch.Tensor] = []
        self.truth: NDArray[np.bool_] = np.zeros((0, 0, 0), bool)
        self.rng = np.random.default_rng(0)

    def __call__(self, look: Look) -> NDArray[np.float32]:
        """Draw a plane, now and then the true one."""
        r0, c0, r1, c1 = look.window
        here = self.truth[look.plane, r0:r1, c0:c1].astype(np.float32)
        taken = prepared(look)
        target = F.interpolate(
            torch.from_numpy(here)[None, None],
            taken.shape[-2:],
            mode="bilinear",
            antialias=True,
        )
        self._keep(taken[0], target[0], look.prior > 0)
        if self.rng.random() < self.forced and here.any():
            rough = roughly(here > 0.5, self.rng, 0.06)
            return np.where(rough, 4.0, -4.0).astype(np.float32)
        return self.network.draw(look)

    def _keep(
        self, look: torch.Tensor, target: torch.Tensor, prior: NDArray[np.bool_]
    ) -> None:
        """Cut or pad to one size; beyond the edge the target is -1: not known."""
        both = torch.cat([look, target])
        for axis in (1, 2):
            extra = both.shape[axis] - SIDE
            if extra > 0:
                start = int(self.rng.integers(extra + 1)) if extra > 8 else extra // 2
                both = both.narrow(axis, start, SIDE)
        pad = (0, SIDE - both.shape[2], 0, SIDE - both.shape[1])
        padded = F.pad(both[None], pad, mode="replicate")[0]
        known = F.pad(both[-1:], pad, value=-1.0)
        self.looks.append(padded[:-1].half())
        self.truths.append(known.half())


def pieces_of(stack: Stack, rng: np.random.Generator, most: int = 4) -> list[Masks]:
    """Return pieces of like grey value that span many planes, as objects to follow."""
    smooth = ndimage.gaussian_filter(stack.rgb8.astype(np.float32), (0.7, 1, 1))
    found = []
    for _ in range(12):
        low, high = np.sort(rng.uniform(0.02, 0.98, 2))
        below, above = np.quantile(smooth, [low, high])
        within = (smooth >= below) & (smooth <= above)
        if high - low > 0.6:
            within = smooth > above
        opened = ndimage.binary_opening(within, iterations=int(rng.integers(1, 4)))
        pieces, count = ndimage.label(opened)
        if not count:
            continue
        sizes = np.bincount(pieces.ravel())
        sizes[0] = 0
        chosen = int(rng.choice(np.argsort(-sizes)[:3]))
        piece = pieces == chosen
        planes = piece.any((1, 2))
        share = piece[planes].mean() if planes.any() else 1.0
        if chosen and planes.sum() >= 8 and 0.01 < share < 0.4:
            found.append(ndimage.binary_closing(piece) | piece)
        if len(found) == most:
            break
    return found


def started(
    stack: Stack, name: str | None, truth: Masks, plane: int, rng: np.random.Generator
) -> NDArray[np.bool_]:
    """Return the mask of a plane: true, rough, or answered to five clicks."""
    how = rng.random()
    if name is not None and how < 0.4:
        key = (stack.name, name, plane)
        if key not in _CLICKED:
            _CLICKED[key] = click(Case(stack, name, truth, Rules()), plane)[2]
        if _CLICKED[key].any():
            return _CLICKED[key]
    return roughly(truth[plane], rng, 0.15) if how < 0.8 else truth[plane]


_CLICKED: dict[tuple[str, str, int], NDArray[np.bool_]] = {}


def collect(
    loaded: list[Stack], collector: Collector, rng: np.random.Generator, runs: int
) -> None:
    """Propagate every object a few times, from other planes each time."""
    rules = replace(Rules(), stop=-np.inf)
    for stack in loaded:
        shape = (stack.rgb8.shape[1], stack.rgb8.shape[2])
        assert Grid.of(shape, rules.cells).is_pixels, "learn where pixels are cells"
        objects: list[tuple[str | None, Masks]] = list(stack.truth.items())
        objects += [(None, piece) for piece in pieces_of(stack, rng)]
        for name, truth in objects:
            for _ in range(runs if name else 1):
                collector.truth = truth
                on = np.flatnonzero(truth.any((1, 2)))
                propagator = Propagator(
                    stack.embed,
                    stack.pixels,
                    len(truth),
                    spacing=stack.spacing,
                    rules=rules,
                    outline=collector,
                )
                count = int(rng.choice([1, 1, 1, 2, 3]))
                first, last = int(0.15 * len(on)), int(0.85 * len(on)) + 1
                for plane in np.unique(rng.choice(on[first:last], count)).tolist():
                    mask = started(stack, name, truth, plane, rng)
                    anew = propagator.refined(plane, 1, mask)
                    mask = anew if rng.random() < 0.5 else mask
                    propagator.set_plane(plane, 1, mask)
                for _ in propagator.run((on[0] - BEYOND, on[-1] + BEYOND)):
                    pass


def augmented(
    looks: torch.Tensor, truths: torch.Tensor, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Turn and mirror a batch, and change its grey values and its scores."""
    both = torch.cat([looks, truths], 1)

    def draw(low: float, high: float) -> torch.Tensor:
        shape = (len(both), 1, 1, 1)
        return torch.rand(shape, generator=generator) * (high - low) + low

    turn = int(torch.randint(4, (1,), generator=generator))
    both = torch.rot90(both, turn, (2, 3))
    if torch.rand(1, generator=generator) < 0.5:
        both = both.flip(2)
    looks, truths = both[:, :-1].clone(), both[:, -1:]
    sign = torch.where(draw(0, 1) < 0.3, -1.0, 1.0)
    looks[:, 2:4] = looks[:, 2:4] * draw(0.7, 1.4) * sign + draw(-0.3, 0.3)
    looks[:, 0:1] = looks[:, 0:1] * draw(0.8, 1.25) + draw(-0.1, 0.1)
    return looks, truths


def loss_of(logits: torch.Tensor, truths: torch.Tensor) -> torch.Tensor:
    """Cross-entropy and Dice, where the truth is known."""
    known = (truths >= 0).float()
    target = truths.clamp(0, 1)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    entropy = (entropy * known).sum((1, 2, 3)) / known.sum((1, 2, 3)).clamp(1)
    found = logits.sigmoid() * known
    overlap = 2 * (found * target).sum((1, 2, 3)) + 8
    total = found.sum((1, 2, 3)) + (target * known).sum((1, 2, 3)) + 8
    return (2 * entropy + 1 - overlap / total).mean()


def main() -> None:
    """Collect, learn, and begin again."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cache", type=Path, default=Path("volumes-cache"))
    parser.add_argument(
        "--sets", nargs="+", default=["learn-hippocampus", "learn-others"]
    )
    parser.add_argument("--rounds", type=int, default=4)
    parser.add_argument("--runs", type=int, default=2, help="an object and round")
    parser.add_argument("--seconds", type=float, default=300, help="of a round")
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--start", type=Path, help="weights to go on from")
    parser.add_argument("-o", "--output", type=Path, default=BUNDLED)
    arguments = parser.parse_args()
    torch.manual_seed(0)
    torch.set_num_threads(1)
    rng = np.random.default_rng(0)
    generator = torch.Generator().manual_seed(0)
    segmenter = Segmenter.load("promise-tiny", device="cpu")
    loaded = [
        stack
        for name in arguments.sets
        for stack in stacks(name, segmenter, arguments.cache)
    ]
    network = OutlineNet()
    if arguments.start:
        state = load_file(arguments.start)
        network.load_state_dict({k: v.float() for k, v in state.items()})
    weights = sum(p.numel() for p in network.parameters())
    print(f"{len(loaded)} stacks, {weights} weights", flush=True)
    optimiser = torch.optim.AdamW(network.parameters(), 2e-3, weight_decay=1e-2)
    averaged = torch.optim.swa_utils.AveragedModel(
        network, multi_avg_fn=torch.optim.swa_utils.get_ema_multi_avg_fn(0.995)
    )
    looks: list[torch.Tensor] = []
    truths: list[torch.Tensor] = []
    for number in range(arguments.rounds):
        begun = time.process_time()
        collector = Collector(averaged.module.eval(), 0.2 if number == 0 else 0.1)
        collector.rng = rng
        collect(loaded, collector, rng, arguments.runs)
        looks += collector.looks
        truths += collector.truths
        network.train()
        seconds = time.process_time() - begun
        print(f"round {number}: {len(looks)} planes, {seconds:.0f} s", flush=True)
        begun, losses, steps = time.process_time(), [], 0
        while (spent := time.process_time() - begun) < arguments.seconds:
            share = (number + spent / arguments.seconds) / arguments.rounds
            for group in optimiser.param_groups:
                group["lr"] = 2e-3 * (0.02 + 0.98 * (1 + np.cos(np.pi * share)) / 2)
            chosen = rng.integers(len(looks), size=arguments.batch)
            batch = torch.stack([looks[i] for i in chosen]).float()
            target = torch.stack([truths[i] for i in chosen]).float()
            batch, target = augmented(batch, target, generator)
            loss = loss_of(network(batch), target)
            optimiser.zero_grad()
            loss.backward()
            torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
            optimiser.step()
            averaged.update_parameters(network)
            losses.append(loss.item())
            steps += 1
        mean = float(np.mean(losses[-200:]))
        print(f"round {number}: {steps} steps, loss {mean:.4f}", flush=True)
        state = {k: v.half() for k, v in averaged.module.state_dict().items()}
        arguments.output.parent.mkdir(parents=True, exist_ok=True)
        save_file(state, arguments.output)


if __name__ == "__main__":
    main()
