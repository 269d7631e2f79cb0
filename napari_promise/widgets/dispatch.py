"""Runs calls from other threads in the window's thread."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import QObject, Qt, Signal


class GuiDispatcher(QObject):
    """Callable from any thread; what it is given runs in the thread it was made in.

    Examples
    --------
    >>> dispatch = GuiDispatcher()  # doctest: +SKIP
    >>> dispatch(lambda: print("in the window's thread"))  # doctest: +SKIP
    """

    _posted = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        super().__init__(parent)
        self._open = True
        self._posted.connect(self._run, Qt.ConnectionType.QueuedConnection)

    def __call__(self, call: Callable[[], Any]) -> None:
        """Post a call; it is dropped once the dispatcher is closed."""
        if self._open:
            self._posted.emit(call)

    def close(self) -> None:
        """Drop everything that is posted or comes later."""
        self._open = False

    def _run(self, call: Callable[[], Any]) -> None:
        if self._open:
            call()
