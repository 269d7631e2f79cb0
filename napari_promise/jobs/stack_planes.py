"""The planes of a stack as a job sees them: one by one, encoded, or as shown."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import Plane, Tile
from napari_promise.session import ImageSource, JobContext

__all__ = ["StackPlanes"]

#: Values between which a plane without contrast limits lies: it is shown as it is.
_FULL = (0.0, 255.0)


class StackPlanes:
    """Planes of a stack, for what runs through them on the worker.

    Parameters
    ----------
    source : ImageSource
    before : Plane
        Where on the axes before the stack's.

    Attributes
    ----------
    context : JobContext or None
        To be set by each step of the job.
    """

    def __init__(self, source: ImageSource, before: Plane) -> None:
        self._source, self._before = source, before
        self.context: JobContext | None = None
        self._embedded: tuple[int, Any] | None = None

    def __len__(self) -> int:
        return int(self._source.shape[-3])

    def embed(self, plane: int) -> Any:
        """Return a plane's embedding; the last one is at hand."""
        assert self.context is not None
        if self._embedded is None or self._embedded[0] != plane:
            tile = Tile((*self._before, plane))
            embedding, _ = self.context.embedding(self._source, tile)
            self._embedded = (plane, embedding)
        return self._embedded[1]

    def pixels(self, plane: int) -> NDArray[np.float32]:
        """Return a plane as it is shown, (row, column), 0 to 1."""
        pixels = np.asarray(self._source.plane_pixels((*self._before, plane)))
        if self._source.rgb:
            pixels = pixels[..., :3].mean(axis=-1)
        low, high = self._source.contrast_limits or _FULL
        scaled = (pixels.astype(np.float32) - low) / max(high - low, 1e-6)
        return np.clip(scaled, 0, 1)

    def forget(self) -> None:
        """Let go of the last embedding."""
        self._embedded = None
