"""What two adapters find by themselves on one image, side by side.

Knows no window. Runs on the session's worker, on the embedding that is there.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import Plane
from napari_promise.session import ImageSource, Workbench

#: The longest side of the pictures that are shown.
_SIDE = 900


@dataclass(frozen=True, eq=False)
class Look:
    """What one adapter finds.

    Attributes
    ----------
    name : str
    mask : (h, w) bool
        In the pixels of the picture that is shown.
    points : (N, 2) float
        As (row, column), in the same pixels.
    labels : (N,) int
        1 include, 0 exclude.
    area : int
        Pixels of the mask at full resolution.
    note : str
        Why there is nothing to see, or empty.
    """

    name: str
    mask: NDArray[np.bool_]
    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    area: int = 0
    note: str = ""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two adapters on one image.

    Attributes
    ----------
    picture : (h, w, 3) uint8
    old, new : Look
    dice : float
        Between the two masks, at full resolution; 1 where both are empty.
    """

    picture: NDArray[np.uint8]
    old: Look
    new: Look
    dice: float


class CompareJob:
    """Ask two adapters about a plane, see `session.Job`.

    Parameters
    ----------
    source : ImageSource
    plane : tuple of int
    adapters : tuple
        The old and the new: an `Adapter`, a name, a folder, or None for stock SAM.
    names : tuple of str
    then : callable
        Told a `Comparison`, in the window's thread.
    failed : callable
        Told one line.
    """

    def __init__(
        self,
        source: ImageSource,
        plane: Plane,
        adapters: tuple[Any, Any],
        names: tuple[str, str],
        then: Callable[[Comparison], None],
        failed: Callable[[str], None],
    ) -> None:
        self._source, self._plane = source, plane
        self._adapters, self._names = adapters, names
        self._then, self._failed = then, failed

    def step(self, bench: Workbench) -> bool:
        """See `session.Job`."""
        from napari_promise.data.planes import to_rgb8

        source = self._source
        emb, _digest = bench.embedding(source, self._plane)
        pixels = source.plane_pixels(self._plane)
        rgb = to_rgb8(pixels, source.contrast_limits, source.rgb)
        found = [self._ask(bench, emb, adapter) for adapter in self._adapters]
        every = max(1, -(-max(rgb.shape[:2]) // _SIDE))
        empty = np.zeros(rgb.shape[:2], bool)
        looks, masks = [], []
        for name, (mask, prompts, note) in zip(self._names, found, strict=True):
            mask = empty if mask is None else mask
            masks.append(mask)
            looks.append(
                Look(
                    name,
                    mask[::every, ::every],
                    np.zeros((0, 2)) if prompts is None else prompts.points / every,
                    np.zeros(0, np.int64) if prompts is None else prompts.labels,
                    int(mask.sum()),
                    note,
                )
            )
        total = int(masks[0].sum() + masks[1].sum())
        both = int((masks[0] & masks[1]).sum())
        dice = 2 * both / total if total else 1.0
        picture = np.ascontiguousarray(rgb[::every, ::every])
        comparison = Comparison(picture, looks[0], looks[1], dice)
        bench.deliver(lambda: self._then(comparison))
        return False

    def fail(self, bench: Workbench, error: Exception) -> None:
        """See `session.Job`."""
        line = (str(error).splitlines() or [type(error).__name__])[0]
        bench.deliver(lambda: self._failed(line))

    def close(self) -> None:
        """See `session.Job`."""

    @staticmethod
    def _ask(bench: Workbench, emb: Any, adapter: Any) -> tuple[Any, Any, str]:
        if adapter is None:
            return None, None, "no adapter: stock SAM finds nothing by itself"
        # a copy: nobody else must see another adapter in use, not for a moment
        segmenter = copy.copy(bench.segmenter)
        segmenter.adapter = adapter
        try:
            prompts = segmenter.propose(emb)
        except ValueError as error:
            return None, None, str(error)
        if not (prompts.labels == 1).any():
            return None, prompts, "found nothing"
        region = segmenter.segment(emb, prompts).region
        return None if region is None else region.mask, prompts, ""
