"""The files of a training run: checkpoint, averaged weights, recipe; each whole."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import nn

from napari_promise.files import save_json, whole_file

__all__ = ["save_run"]


def save_run(
    folder: Path,
    name: str,
    sam: nn.Module,
    average: nn.Module,
    optimizer: Any,
    spent: float,
    step: int,
    summary: Mapping[str, Any],
) -> None:
    """Write what a run goes on from, and what it has reached, over earlier files.

    Parameters
    ----------
    folder : Path
        Made where missing.
    name : str
        Of the weights: `average` is written to ``NAME.safetensors`` in float16.
    sam, average : torch.nn.Module
        The model in training, and its moving average.
    optimizer : torch.optim.Optimizer
    spent : float
        Seconds so far.
    step : int
        Steps so far.
    summary : mapping
        For ``recipe.json``.
    """
    folder.mkdir(parents=True, exist_ok=True)
    state = {
        "model": sam.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "spent": spent,
        "step": step,
    }
    with whole_file(folder / "checkpoint.pt", overwrite=True) as part:
        torch.save(state, part)
    half = {k: v.half().contiguous() for k, v in average.state_dict().items()}
    with whole_file(folder / f"{name}.safetensors", overwrite=True) as part:
        save_file(half, part)
    save_json(folder / "recipe.json", dict(summary), overwrite=True)
