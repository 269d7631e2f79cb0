"""How a model is loaded, and what the session offers to jobs, which work in steps."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Protocol

from napari_promise.document import Tile
from napari_promise.segmentation import EmbeddingLike, SegmenterLike
from napari_promise.session.sources import ImageSource

__all__ = ["Job", "JobContext", "Loader"]


#: Loads a model: (name or path, device=, progress=, cancel=, notify=).
Loader = Callable[..., SegmenterLike]


class JobContext(Protocol):
    """What a step of a long job may use; for the worker's thread only."""

    @property
    def segmenter(self) -> SegmenterLike:
        """The model in use, with the adapter in use."""

    def embedding(self, source: ImageSource, tile: Tile) -> tuple[EmbeddingLike, str]:
        """Return the embedding of a tile of any image, and the digest of its pixels.

        From memory, from disk, or computed and kept; given up, with an exception, when
        somebody waits (see `must_give_way`): the step is then taken again later.
        """

    def feed(self, views: Iterator[tuple[ImageSource, Tile]]) -> None:
        """Say what `embedding` will be asked for, in order, where others encode.

        Read lazily, and no further ahead than there are computers to encode it.
        """

    def must_give_way(self) -> bool:
        """Whether somebody waits for an answer: stop soon, the step comes again."""

    def deliver(self, call: Callable[[], None]) -> None:
        """Have something called in the window's thread, without waiting for it."""


class Job(Protocol):
    """Long work that is done in steps, whenever nobody waits for anything else.

    The shorter a step, the less a click can be held up by it.
    """

    def step(self, context: JobContext) -> bool:
        """Do a little more, on the worker; False when nothing is left to do."""

    def fail(self, context: JobContext, error: Exception) -> None:
        """End with an error: a step raised it, and nobody had asked it to give way."""

    def close(self) -> None:
        """Let go, on the worker: the job is done, cancelled, or the session ends."""
