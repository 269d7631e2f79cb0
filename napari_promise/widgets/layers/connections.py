"""Handlers that are connected together and let go of together."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Connections:
    """Pairs of an emitter, of napari or psygnal, and a handler."""

    def __init__(self) -> None:
        self._pairs: list[tuple[Any, Callable[..., Any]]] = []

    def add(self, emitter: Any, handler: Callable[..., Any]) -> None:
        """Connect a handler."""
        emitter.connect(handler)
        self._pairs.append((emitter, handler))

    def clear(self) -> None:
        """Disconnect every handler."""
        for emitter, handler in self._pairs:
            emitter.disconnect(handler)
        self._pairs.clear()


def ignoring_event(handler: Callable[[], Any]) -> Callable[[Any], None]:
    """Return a handler that calls another without what was emitted."""

    def call(_event: Any = None) -> None:
        handler()

    return call
