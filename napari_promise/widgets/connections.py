"""Connections to what lives longer than the widget that listens."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import Any


class Connections:
    """Connects, and takes all of it back at once.

    A dock listens to its desk, which other docks keep alive: a slot that is still
    connected once the dock's widgets are gone would reach for them.
    """

    def __init__(self) -> None:
        self._made: list[tuple[Any, Callable[..., Any]]] = []

    def add(self, signal: Any, slot: Callable[..., Any], **options: Any) -> None:
        """Connect a signal of psygnal or Qt.

        Parameters
        ----------
        signal : SignalInstance, SignalGroup or Qt signal
        slot : callable
        **options
            For the signal's own ``connect``.
        """
        signal.connect(slot, **options)
        self._made.append((signal, slot))

    def release(self) -> None:
        """Disconnect everything; harmless when done twice."""
        made, self._made = self._made, []
        for signal, slot in made:
            # A Qt object that is gone has let go already, and says so: PyQt6 with a
            # RuntimeError or TypeError, PySide6 with one inside a SystemError.
            with contextlib.suppress(RuntimeError, SystemError, TypeError):
                signal.disconnect(slot)
