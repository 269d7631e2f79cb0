"""The works of one viewer, each listened to from its beginning to its end.

Labels of an image that is not worked on can be painted in, and masks arrive late: each
event has to reach the work it came from.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TYPE_CHECKING, Any

from napari_promise.widgets.connections import Connections
from napari_promise.widgets.layers.work import Work

if TYPE_CHECKING:
    from napari.layers import Image, Layer


class Works:
    """Works in the order they were begun.

    Parameters
    ----------
    handlers : callable
        Given a work, the pairs of a signal of it and a handler; a handler is called
        with the work and what was emitted.
    """

    def __init__(
        self, handlers: Callable[[Work], Iterable[tuple[Any, Callable[..., None]]]]
    ) -> None:
        self._handlers = handlers
        self._listening: dict[Work, Connections] = {}

    def __iter__(self) -> Iterator[Work]:
        return iter(tuple(self._listening))

    def add(self, work: Work) -> None:
        """Listen to a work, unless it is listened to already."""
        if work in self._listening:
            return
        heard = Connections()
        for signal, handler in self._handlers(work):
            heard.add(signal, _telling_of(work, handler))
        self._listening[work] = heard

    def adopt(self, layers: Iterable[Layer]) -> None:
        """Go on with the works that a dock left when it was closed."""
        for layer in layers:
            work = Work.of(layer)
            if work is not None and work not in self._listening:
                self.add(work)
                work.connect()

    def remove(self, work: Work) -> None:
        """Listen to a work no longer; its layers stay as they are."""
        heard = self._listening.pop(work, None)
        if heard is not None:
            work.disconnect()
            heard.release()

    def clear(self) -> None:
        """Listen to none any longer."""
        for work in self:
            self.remove(work)

    def on(self, image: Image, layers: Iterable[Layer]) -> Work | None:
        """Find the work begun on an image, or on a lost one that it can stand in for.

        Parameters
        ----------
        image : Image
        layers : iterable of Layer
            Layers of the viewer; an image that is not among them is lost.
        """
        held = {id(layer) for layer in layers}
        for work in self:
            if work.image is image:
                return work
        for work in self:
            lost = id(work.image) not in held
            if lost and len(work.document) and work.fits(image):
                work.move_to(image)
                return work
        return None


def _telling_of(work: Work, handler: Callable[..., None]) -> Callable[..., None]:
    def call(*details: Any) -> None:
        handler(work, *details)

    return call
