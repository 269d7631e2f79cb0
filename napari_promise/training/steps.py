"""One training step: seeds, precision, optimizer and schedule, a moving average."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import torch
from torch import nn

EMA = 0.99


def half_type(device: torch.device) -> torch.dtype:
    """Name the half precision that the hardware computes natively, else float32."""
    if device.type == "cuda":
        native = torch.cuda.is_bf16_supported(including_emulation=False)
        return torch.bfloat16 if native else torch.float16
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    if device.type == "cpu" and supported is not None and supported():
        return torch.bfloat16
    return torch.float32


def half_where_quick(
    device: torch.device, devices: tuple[str, ...] = ("cpu", "cuda")
) -> torch.autocast:
    """Half precision where the hardware computes it: twice as fast, 1 % apart."""
    kind = half_type(device)
    return torch.autocast(
        device.type,
        torch.bfloat16 if kind == torch.float32 else kind,
        enabled=kind != torch.float32 and device.type in devices,
    )


def schedule_of(
    optimizer: torch.optim.Optimizer, rate: float, total: int, kind: str
) -> torch.optim.lr_scheduler.LRScheduler:
    """Warm-up and cosine, or a constant rate."""
    if kind == "constant":
        return torch.optim.lr_scheduler.ConstantLR(optimizer, 1.0, total_iters=0)
    return torch.optim.lr_scheduler.OneCycleLR(
        optimizer, rate, total_steps=total + 1, pct_start=0.15
    )


@contextlib.contextmanager
def seeded(seed: int, *what: object) -> Iterator[None]:
    """Draw fixed random numbers inside, whatever the caller draws between steps."""
    with torch.random.fork_rng():
        sequence = np.random.SeedSequence(entropy(seed, *what))
        torch.manual_seed(int(sequence.generate_state(1)[0]))
        yield


def entropy(seed: int, *what: object) -> list[int]:
    """Numbers to seed a generator for one purpose."""
    return [seed, *(ord(c) for c in "/".join(map(str, what)))]


def repeatable(device: torch.device) -> contextlib.AbstractContextManager[object]:
    """Have the GPU's libraries choose the same kernels in every run."""
    if device.type != "cuda":
        return contextlib.nullcontext()
    return torch.backends.cudnn.flags(enabled=True, benchmark=False, deterministic=True)


@torch.no_grad()
def follow(average: nn.Module, module: nn.Module, step: int) -> None:
    """Exponential moving average, quick at the start."""
    share = 1 - min(EMA, (1 + step) / (10 + step))
    for kept, current in zip(average.parameters(), module.parameters(), strict=True):
        kept.lerp_(current, share)
    for statistic, latest in zip(average.buffers(), module.buffers(), strict=True):
        statistic.copy_(latest)  # of batch normalisation: an average already


class Learner:
    """A module in training: one optimizer step at a time, and its moving average.

    Parameters
    ----------
    module : torch.nn.Module
    rate : float
        Largest learning rate.
    total : int
        Steps, at most.
    schedule : str
        See `schedule_of`.
    scaler : torch.amp.GradScaler

    Attributes
    ----------
    average : torch.nn.Module
        What is measured and kept.
    """

    def __init__(
        self,
        module: nn.Module,
        rate: float,
        total: int,
        schedule: str,
        scaler: torch.amp.GradScaler,
    ) -> None:
        self.module = module
        self.average = copy.deepcopy(module).eval()
        self.scaler = scaler
        self.optimizer = torch.optim.AdamW(
            module.parameters(), lr=rate, weight_decay=1e-2
        )
        self.schedule = schedule_of(self.optimizer, rate, total, schedule)

    def step(self, loss: torch.Tensor, number: int) -> None:
        """Go down the gradient of a loss, as the run's step of this number."""
        self.optimizer.zero_grad()
        self.scaler.scale(loss).backward()
        self.descend(number)

    def descend(self, number: int) -> None:
        """Go down the gradients that are there, scaled, as the step of this number."""
        self.scaler.unscale_(self.optimizer)
        nn.utils.clip_grad_norm_(self.module.parameters(), 1.0)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        self.schedule.step()
        follow(self.average, self.module, number)

    def state_dict(self) -> dict[str, Any]:
        """Everything that later steps depend on."""
        return {name: part.state_dict() for name, part in self._parts().items()}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from `state_dict`."""
        for name, part in self._parts().items():
            part.load_state_dict(state[name])

    def _parts(self) -> dict[str, Any]:
        names = ("module", "average", "optimizer", "schedule", "scaler")
        return {name: getattr(self, name) for name in names}
