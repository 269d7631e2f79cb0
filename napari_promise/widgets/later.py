"""One call, some time after it was last asked for."""

from __future__ import annotations

import weakref
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from qtpy.QtCore import QCoreApplication, QTimer

__all__ = ["Later"]


class Later:
    """Makes a call once, in the window's thread, when nobody asks any more.

    Qt alone destroys the timer behind it, in the window's thread. A timer of Python's
    goes with the garbage, in whichever thread that is collected; an object of Qt that
    is destroyed there while the window's thread handles events ends the program.

    Parameters
    ----------
    call : callable
        Without arguments.
    wait_ms : int, default=0
        Milliseconds from the last `start` to the call.
    """

    def __init__(self, call: Callable[[], Any], wait_ms: int = 0) -> None:
        self._call = call
        self._timer = QTimer(QCoreApplication.instance())
        self._timer.setSingleShot(True)
        self._timer.setInterval(wait_ms)
        # What the timer knew strongly would live as long as the application.
        me = weakref.ref(self)
        self._timer.timeout.connect(lambda: _ring(me))
        weakref.finalize(self, _let_go, self._timer).atexit = False

    def start(self, *_: object) -> None:
        """Begin to wait, anew where it waits already."""
        self._timer.start()

    def stop(self) -> None:
        """Make no call, unless somebody asks again."""
        with suppress(RuntimeError):  # gone with Qt, at the program's end
            self._timer.stop()

    @property
    def is_waiting(self) -> bool:
        """Whether the call is still to come."""
        return bool(self._timer.isActive())


def _ring(later: weakref.ref[Later]) -> None:
    found = later()
    if found is not None:
        found._call()


def _let_go(timer: QTimer) -> None:
    with suppress(RuntimeError):
        timer.deleteLater()  # may be asked for in any thread
