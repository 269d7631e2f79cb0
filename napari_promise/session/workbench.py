"""What a step of a long job gets in its hands.

Knows the model and its embeddings; not what the job does, nor who stops it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from napari_promise.document import Plane
from napari_promise.session.contracts import SegmenterLike
from napari_promise.session.embeddings import Embeddings
from napari_promise.session.model_in_use import ModelInUse
from napari_promise.session.sources import ImageSource

__all__ = ["Bench"]


class Bench:
    """The session as a step of a job sees it, see `JobContext`.

    Parameters
    ----------
    model : ModelInUse
    embeddings : Embeddings
    deliver : callable
        Has something called in the window's thread, without waiting for it.
    stop : threading.Event
        Set when the step must give way.
    """

    def __init__(
        self,
        model: ModelInUse,
        embeddings: Embeddings,
        deliver: Callable[[Callable[[], None]], None],
        stop: threading.Event,
    ) -> None:
        self._model = model
        self._embeddings = embeddings
        self._deliver = deliver
        self._stop = stop

    @property
    def segmenter(self) -> SegmenterLike:
        """The model in use, with the adapter in use."""
        segmenter = self._model.segmenter
        assert segmenter is not None
        return segmenter

    def embedding(self, source: ImageSource, plane: Plane) -> tuple[Any, str]:
        """Return the embedding of a plane, and the digest of its pixels."""
        found, digest, _cached = self._embeddings.embed(
            source, plane, cancel=self._stop.is_set
        )
        return found, digest

    def must_give_way(self) -> bool:
        """Whether somebody waits for an answer."""
        return self._stop.is_set()

    def deliver(self, call: Callable[[], None]) -> None:
        """Have something called in the window's thread."""
        self._deliver(call)
