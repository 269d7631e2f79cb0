"""How long a training run will take: an estimate that gets better as it goes.

The module knows no models or training.
"""

from __future__ import annotations

import time

#: Seconds an image takes in each phase, in units of encoding it: a guess, until the
#: phase has been measured.
COSTS = {"embed": 1.0, "apm": 0.1, "ips": 0.5, "score": 0.5}


class Outlook:
    """Seconds to the end of a run, from what its phases have taken so far.

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
