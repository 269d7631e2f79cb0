"""What every training step needs: seeds, precision, a schedule, a moving average.

The module knows no models, data or losses.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

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
