"""Several processes train one adapter together: Lightning Fabric, strategy ddp.

Each process takes its share of every batch, and their gradients are added up before a
step. Images are looked at one by one, each with random numbers of its own, so that a
process draws the same for an image whoever else takes part: the loss is that of one
process with the whole batch, but for the order in which numbers are added.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from napari_promise.training.steps import Learner, entropy, repeatable, seeded

if TYPE_CHECKING:
    from lightning_fabric import Fabric

    from napari_promise.training.objectives import Objective

__all__ = ["Team", "form_team"]

#: The others wait while the first one encodes, which takes as long as it takes.
_PATIENCE = datetime.timedelta(days=7)


class Team:
    """The processes that train together, as one of them sees them.

    Parameters
    ----------
    fabric : lightning_fabric.Fabric
        Launched.
    """

    def __init__(self, fabric: Fabric) -> None:
        self._fabric = fabric

    @property
    def is_first(self) -> bool:
        """Whether this process encodes, and writes what all have learnt."""
        return bool(self._fabric.global_rank == 0)

    @property
    def device(self) -> torch.device:
        """Where this process computes."""
        return self._fabric.device

    def wait_for_first(self) -> None:
        """Wait until the first process has come here too."""
        self._fabric.barrier()

    def learn(
        self,
        learner: Learner,
        objective: Objective,
        chosen: NDArray[np.int64],
        step: int,
        seed: int,
        quick: Callable[[], AbstractContextManager[object]],
    ) -> float:
        """Take one step, all processes together; return the loss of the whole batch.

        Parameters
        ----------
        learner : Learner
        objective : Objective
        chosen : numpy.ndarray
            The whole batch, the same in each process.
        step : int
            Its number in the run.
        seed : int
            Of the run.
        quick : callable
            Makes the context in which losses are computed.
        """
        fabric, module = self._fabric, objective.module
        module.train()
        learner.optimizer.zero_grad()
        total = torch.zeros((), device=self.device)
        for at in range(fabric.global_rank, len(chosen), fabric.world_size):
            what = (objective.name, step, at)
            rng = np.random.default_rng(entropy(seed, *what))
            with seeded(seed, *what), repeatable(self.device):
                with quick():
                    loss = objective.loss(chosen[at : at + 1], rng) / len(chosen)
                learner.scaler.scale(loss).backward()
            total += loss.detach()
        self._add_up([p for p in module.parameters() if p.requires_grad])
        learner.descend(step)
        return float(self._summed(total))

    def _add_up(self, parameters: list[torch.nn.Parameter]) -> None:
        """Give every process the sum of all gradients, as one message."""
        flat = torch.cat(
            [
                (torch.zeros_like(p) if p.grad is None else p.grad).reshape(-1)
                for p in parameters
            ]
        )
        parts = self._summed(flat).split([p.numel() for p in parameters])
        for parameter, part in zip(parameters, parts, strict=True):
            parameter.grad = part.view_as(parameter).clone()

    def _summed(self, tensor: torch.Tensor) -> torch.Tensor:
        found: Any = self._fabric.all_reduce(tensor, reduce_op="sum")
        assert isinstance(found, torch.Tensor)
        return found


def form_team(processes: int, device: str = "auto") -> Team:
    """Start the other processes; each runs the program that was started once more.

    Parameters
    ----------
    processes : int
        How many, this one included.
    device : str
        "auto", "cpu" or "cuda"; on CUDA each has a GPU of its own.

    Returns
    -------
    Team
        Of the process that called: of each of them when it has come here.

    Raises
    ------
    ValueError
        If Lightning Fabric is not installed, or there are not so many GPUs.
    """
    try:
        from lightning_fabric import Fabric
        from lightning_fabric.strategies import DDPStrategy
    except ImportError as error:
        raise ValueError(
            "training in several processes needs Lightning Fabric: pip install "
            "'napari-promise[remote]'."
        ) from error
    kind = device.partition(":")[0]
    if kind == "auto":
        kind = "cuda" if torch.cuda.device_count() >= processes else "cpu"
    if kind not in ("cpu", "cuda"):
        raise ValueError(f"--processes cannot share {device}: use cpu or cuda.")
    if kind == "cuda" and torch.cuda.device_count() < processes:
        raise ValueError(
            f"--processes {processes}, and there are {torch.cuda.device_count()} GPUs: "
            "give no more than that, or --device cpu."
        )
    fabric = Fabric(
        accelerator=kind, devices=processes, strategy=DDPStrategy(timeout=_PATIENCE)
    )
    fabric.launch()
    return Team(fabric)
