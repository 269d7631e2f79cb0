"""Connections to what lives longer than the widget that listens."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from qtpy.QtCore import SignalInstance


class Connections:
    """Connects, and takes all of it back at once.

    A dock listens to its desk, which other docks keep alive: a slot that is still
    connected once the dock's widgets are gone would reach for them.
    """

    def __init__(self) -> None:
        self._made: list[tuple[Any, Callable[..., Any]]] = []

    def add(self, signal: Any, slot: Callable[..., Any], **options: Any) -> None:
        """Connect a signal of psygnal, or an event of napari.

        Parameters
        ----------
        signal : psygnal.SignalInstance, psygnal.SignalGroup or EventEmitter
        slot : callable
        **options
            For the signal's own ``connect``.

        Raises
        ------
        TypeError
            For a signal of Qt. Its object may be gone when it is let go of, of which
            PyQt does not know: that ends the program, or breaks its memory unseen.
        """
        if isinstance(signal, SignalInstance):
            raise TypeError(f"{signal!r} is of Qt: its object may be gone before us")
        signal.connect(slot, **options)
        self._made.append((signal, slot))

    def release(self) -> None:
        """Disconnect everything; harmless when done twice."""
        made, self._made = self._made, []
        for signal, slot in made:
            signal.disconnect(slot)
