"""A window with a timer that beats: the longest time between two beats is a jerk."""

from __future__ import annotations

import time
from collections.abc import Callable

import numpy as np

BEAT_MS = 5


class Beating:
    """What benchmarks of a window's smoothness share.

    Parameters
    ----------
    patience : float
        Seconds that something may take.
    """

    def __init__(self, patience: float) -> None:
        from qtpy.QtCore import QTimer

        self._patience = patience
        self._beats: list[float] = []
        self._timer = QTimer()
        self._timer.setInterval(BEAT_MS)
        self._timer.timeout.connect(lambda: self._beats.append(time.perf_counter()))
        self._timer.start()

    def stop(self) -> None:
        """Beat no more."""
        self._timer.stop()

    def until(self, condition: Callable[[], bool]) -> None:
        """Let the window work until something is so."""
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + self._patience
        while not condition():
            QApplication.processEvents()
            if time.monotonic() > end:
                raise RuntimeError(f"nothing happened for {self._patience:.0f} s")
            time.sleep(0.0005)

    def rest(self, seconds: float) -> None:
        """Let the window finish what it began."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end)

    def begin(self) -> None:
        """Count beats from now on."""
        self._beats = [time.perf_counter()]

    def longest(self) -> float:
        """Milliseconds of the longest stall since `begin`."""
        return 1e3 * float(np.diff([*self._beats, time.perf_counter()]).max())

    def felt(self, act: Callable[[], object], seconds: float) -> float:
        """Milliseconds of the longest stall by `act` and what comes of it so soon."""
        self.begin()
        act()
        self.rest(seconds)
        return self.longest()
