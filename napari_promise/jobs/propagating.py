"""Carry one object from its prompted planes through a stack, in the background.

One step of the job is one plane, nearest planes first. What it finds is handed to the
window's thread plane by plane, so that ending it at any moment keeps what is there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import Plane, Region, Tile
from napari_promise.model.resampling import mask_to_logits
from napari_promise.prompts import round_logits
from napari_promise.propagation import PlaneResult, Propagator
from napari_promise.session import ImageSource, JobContext

__all__ = ["Propagate", "mask_prompt"]

#: Values between which a plane without contrast limits lies: it is shown as it is.
_FULL = (0.0, 255.0)


def mask_prompt(
    segmenter: Any, embedding: Any, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return a mask as the prompt that a click corrects, (1, h, w).

    Parameters
    ----------
    segmenter : SegmenterLike
    embedding : Embedding
        Of the mask's plane.
    mask : (H, W) bool
    """
    rows, columns = segmenter.sam.prompt_encoder.mask_input_size
    logits = mask_to_logits(mask, embedding, (rows, columns))[0]
    return round_logits(logits.float().cpu().numpy())


class Propagate:
    """A `Job` that finds an object on the planes that nobody drew.

    Parameters
    ----------
    source : ImageSource
        The stack, (..., planes, rows, columns).
    before : Plane
        The indices in front of the axis that is propagated along.
    label : int
        Of the object.
    drawn : mapping of int to Region
        The planes that were prompted or confirmed, with their masks.
    spacing : (float, float, float)
        Between planes, rows and columns, in one unit.
    z_range : (int, int)
        First and last plane that may be drawn on.
    found : callable
        Given each `PlaneResult` and its mask as the model takes it, (1, h, w), in the
        window's thread.
    ended : callable
        Given one line in the window's thread; an empty one where all went well.
    make : callable
        What finds the planes, called as `Propagator` is.
    as_prompt : callable
        Turns a mask into what the model takes, see `mask_prompt`.
    """

    def __init__(
        self,
        source: ImageSource,
        before: Plane,
        label: int,
        drawn: Mapping[int, Region],
        *,
        spacing: tuple[float, float, float],
        z_range: tuple[int, int],
        found: Callable[[PlaneResult, NDArray[np.float32] | None], None],
        ended: Callable[[str], None],
        make: Callable[..., Any] = Propagator,
        as_prompt: Callable[..., NDArray[np.float32]] = mask_prompt,
    ) -> None:
        self._source = source
        self._before = before
        self._label = label
        self._drawn = dict(drawn)
        self._spacing = spacing
        self._z_range = z_range
        self._found = found
        self._ended = ended
        self._make = make
        self._as_prompt = as_prompt
        self._context: JobContext | None = None
        self._run: Iterator[PlaneResult] | None = None
        self._told: set[int] = set()
        self._ends: set[int] = set()

    def step(self, context: JobContext) -> bool:
        """Find the object on one more plane; False when nothing is left to do."""
        if context.must_give_way():
            return True
        self._context = context
        if self._run is None:
            self._run = self._begin()
        # Outside of the iterator: giving way while a plane is encoded, as when somebody
        # scrolls, must not end it.
        upcoming = self._upcoming()
        if upcoming is not None:
            self._embed(upcoming)
        try:
            result = next(self._run, None)
            logits = None
            if result is not None and result.region is not None:
                embedding = self._embed(result.plane)
                mask = result.region.mask
                logits = self._as_prompt(context.segmenter, embedding, mask)
        except BaseException:
            # An iterator that was left by an exception is over. What is known already
            # is found again quickly: its planes are encoded.
            self._run = None
            raise
        if result is None:
            context.deliver(lambda: self._ended(""))
            return False
        self._told.add(result.plane)
        if result.stopped:
            self._ends.add(result.plane)
        context.deliver(lambda: self._found(result, logits))
        return True

    def fail(self, context: JobContext, error: Exception) -> None:
        """End with an error, and say it; what was found stays."""
        line = " ".join(str(error).split()) or type(error).__name__
        context.deliver(lambda: self._ended(line))

    def close(self) -> None:
        """Let go of the stack."""
        self._run = None
        self._drawn.clear()

    def _begin(self) -> Iterator[PlaneResult]:
        propagator = self._make(
            self._embed,
            self._pixels,
            self._source.shape[-3],
            spacing=self._spacing,
        )
        for plane, region in self._drawn.items():
            propagator.set_plane(plane, self._label, region)
        told = frozenset(self._told)
        every = propagator.run(z_range=self._z_range)
        return (result for result in every if result.plane not in told)

    def _upcoming(self) -> int | None:
        """Return the plane that is most likely next: the nearest to a drawn one."""
        reached = (self._drawn.keys() | self._told) - self._ends
        beside = {plane + step for plane in reached for step in (-1, 1)}
        first, last = self._z_range
        left = [
            plane
            for plane in beside - self._drawn.keys() - self._told
            if first <= plane <= last
        ]
        if not left:
            return None
        return min(left, key=lambda p: (min(abs(p - q) for q in self._drawn), p))

    def _embed(self, plane: int) -> Any:
        assert self._context is not None
        tile = Tile((*self._before, plane))
        embedding, _ = self._context.embedding(self._source, tile)
        return embedding

    def _pixels(self, plane: int) -> NDArray[np.float32]:
        pixels = np.asarray(self._source.plane_pixels((*self._before, plane)))
        if self._source.rgb:
            pixels = pixels[..., :3].mean(axis=-1)
        low, high = self._source.contrast_limits or _FULL
        scaled = (pixels.astype(np.float32) - low) / max(high - low, 1e-6)
        return np.clip(scaled, 0, 1)
