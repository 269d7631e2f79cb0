"""Runs calls from other threads in the window's thread."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Any

from qtpy.QtCore import QCoreApplication, QObject, Qt, Signal


class GuiDispatcher(QObject):
    """Callable from any thread; what it is given runs in the thread it was made in.

    Examples
    --------
    >>> dispatch = GuiDispatcher()  # doctest: +SKIP
    >>> dispatch(lambda: print("in the window's thread"))  # doctest: +SKIP
    """

    _posted = Signal(object)

    def __init__(self, parent: QObject | None = None) -> None:
        # Left to Python it may go with the garbage of another thread, see `Later`.
        super().__init__(parent or QCoreApplication.instance())
        self._open = True
        self._posted.connect(self._run, Qt.ConnectionType.QueuedConnection)

    def __call__(self, call: Callable[[], Any]) -> None:
        """Post a call; it is dropped once the dispatcher is closed."""
        if self._open:
            with suppress(RuntimeError):  # closed in the meantime
                self._posted.emit(call)

    def close(self) -> None:
        """Drop everything that is posted or comes later, and end."""
        self._open = False
        with suppress(RuntimeError):  # gone with Qt, at the program's end
            self.deleteLater()

    def _run(self, call: Callable[[], Any]) -> None:
        if self._open:
            call()
