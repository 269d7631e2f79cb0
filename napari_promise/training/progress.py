"""Where a training run stands, and how long it will take; imports no torch."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from napari_promise.training.curves import Row

if TYPE_CHECKING:
    from napari_promise.model.adapters import Adapter

#: Seconds an image takes in each phase, in units of encoding it: a guess, until the
#: phase has been measured.
COSTS = {"embed": 1.0, "apm": 0.1, "ips": 0.5, "score": 0.5}
#: What a prompter of many objects takes in "apm", of one that finds one object.
COST_OF_MANY = 3


@dataclass(frozen=True)
class Progress:
    """Where a training run stands.

    Attributes
    ----------
    phase : str
        ``embed``, ``apm``, ``ips``, ``score`` or ``done``.
    step, total : int
        Within the phase.
    loss : float or None
        Mean of the pass so far.
    held_out : dict
        Latest held-out Dice: ``map``, ``automatic``, ``corrected`` (one click more),
        ``refined`` (`validation.CLICKS` more), ``gt_prompted``, and each but the first
        again with ``frozen_`` before it. Clicks correct locally, as in the window.
    eta : float or None
        Seconds to the end of the run, if no phase stops early; None while nothing is
        known.
    message : str
        One line worth telling, or empty.
    adapter : Adapter or None
        The best so far, after a pass that made it; when done, the adapter.
    row : dict or None
        What the curves say of a pass, after it, see `curves.write_curves`.
    """

    phase: str
    step: int
    total: int
    loss: float | None = None
    held_out: dict[str, float] = field(default_factory=dict)
    eta: float | None = None
    message: str = ""
    adapter: Adapter | None = None
    row: Row | None = None


class Outlook:
    """Seconds to the end of a run: an estimate that gets better as it goes.

    Parameters
    ----------
    work : dict
        Phase -> images that it looks at, at most. Phases run in the order of `COSTS`.
    """

    def __init__(self, work: dict[str, float]) -> None:
        self.work = work
        self.unit: float | None = None  # seconds to encode an image
        self.begin(next(iter(work)))

    def begin(self, phase: str) -> None:
        """Start the clock of a phase; the first call counts what is left then."""
        self.phase = phase
        self.started = time.monotonic()
        self.first: float | None = None

    def left(self, images: float) -> float | None:
        """Seconds left, when so many images of this phase are."""
        if self.first is None:
            self.first = images
        elif images < self.first:
            done = (self.first - images) * COSTS[self.phase]
            self.unit = (time.monotonic() - self.started) / done
        if self.unit is None:
            return None
        order = list(COSTS)
        later = order[order.index(self.phase) + 1 :]
        rest = sum(COSTS[phase] * self.work.get(phase, 0.0) for phase in later)
        return (COSTS[self.phase] * images + rest) * self.unit
