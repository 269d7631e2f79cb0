"""The grid that a stack's planes are looked at on, and one plane's features on it."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_promise.model.ridge import features

if TYPE_CHECKING:
    from napari_promise.model.sam import Embedding

__all__ = ["Grid", "PlaneFeatures", "Window"]

#: Row 0, column 0, row 1, column 1 of some cells; half open.
Window = tuple[int, int, int, int]


@dataclass(frozen=True)
class Grid:
    """Cells that cover a plane: its pixels, or fewer where it is large.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of the plane.
    cells : (int, int)
        Rows and columns of the grid.
    """

    shape: tuple[int, int]
    cells: tuple[int, int]

    @classmethod
    def of(cls, shape: tuple[int, int], longest: int) -> Grid:
        """Return the grid of a plane whose longest side has so many cells at most."""
        step = max(1.0, max(shape) / longest)
        rows, columns = (max(1, math.ceil(side / step)) for side in shape)
        return cls(shape, (rows, columns))

    @property
    def is_pixels(self) -> bool:
        """Whether each cell is a pixel."""
        return self.shape == self.cells

    @property
    def steps(self) -> tuple[float, float]:
        """Pixels of the plane a cell, along rows and columns."""
        return self.shape[0] / self.cells[0], self.shape[1] / self.cells[1]

    def reduced(self, plane: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return the mean over each cell of a plane of numbers, (h, w) float32."""
        if self.is_pixels:
            return np.asarray(plane, np.float32)
        found = np.asarray(plane, np.float64)
        for axis in (0, 1):
            edges = np.linspace(0, self.shape[axis], self.cells[axis] + 1)
            low = np.floor(edges).astype(np.int64).clip(0, self.shape[axis])
            total = np.concatenate(
                [np.zeros_like(found.take([0], axis)), np.cumsum(found, axis)], axis
            )
            upper = (low + 1).clip(0, self.shape[axis])
            part = edges - low
            part = part[:, None] if axis == 0 else part[None, :]
            at = total.take(low, axis) * (1 - part) + total.take(upper, axis) * part
            found = np.diff(at, axis=axis) / self.steps[axis]
        return found.astype(np.float32)

    def reduced_mask(self, mask: NDArray[np.bool_]) -> NDArray[np.bool_]:
        """Return the cells that a mask covers by half; if none, the fullest."""
        if self.is_pixels:
            return mask
        share = self.reduced(mask.astype(np.float32))
        found: NDArray[np.bool_] = share >= 0.5
        if mask.any() and not found.any():
            found = share == share.max()
        return found

    def enlarged(
        self, field: NDArray[np.float32], window: Window
    ) -> tuple[NDArray[np.float32], tuple[int, int]]:
        """Bring a part of the grid to the plane's pixels.

        Parameters
        ----------
        field : (h, w) float32
            Numbers of the cells of `window`.
        window : Window

        Returns
        -------
        pixels : (H, W) float32
            Of the pixels whose centres lie in the window, bilinear.
        origin : (int, int)
            Row and column of the first of them.
        """
        if self.is_pixels:
            return field, window[:2]
        found, origin = field, []
        for axis in (0, 1):
            step, start = self.steps[axis], window[axis]
            first = math.ceil(start * step - 0.5)
            last = min(self.shape[axis], math.ceil(window[axis + 2] * step - 0.5))
            at = (np.arange(first, last) + 0.5) / step - 0.5 - start
            at = at.clip(0, found.shape[axis] - 1)
            low = np.floor(at).astype(np.int64)
            high = np.minimum(low + 1, found.shape[axis] - 1)
            part = (at - low).astype(np.float32)
            part = part[:, None] if axis == 0 else part[None, :]
            found = found.take(low, axis) * (1 - part) + found.take(high, axis) * part
            origin.append(first)
        return found, (origin[0], origin[1])


class PlaneFeatures:
    """One plane's feature vectors, worked out where they are asked for.

    Parameters
    ----------
    grid : Grid
    embedding : Embedding
    pixels : (rows, columns) float32
        0 to 1.
    """

    def __init__(
        self, grid: Grid, embedding: Embedding, pixels: NDArray[np.float32]
    ) -> None:
        self.grid = grid
        self._embedding = embedding
        self.picture = grid.reduced(pixels)
        self._known: dict[Window, NDArray[np.float32]] = {}

    def within(self, window: Window) -> NDArray[np.float32]:
        """Return the feature vectors of some cells, (h, w, F) float32."""
        for (r0, c0, r1, c1), known in self._known.items():
            top, left = window[0] - r0, window[1] - c0
            bottom, right = window[2] - r0, window[3] - c0
            if top >= 0 and left >= 0 and bottom <= r1 - r0 and right <= c1 - c0:
                return known[top:bottom, left:right]
        self._known = {window: features(self._embedding, self.picture, window)}
        return self._known[window]


def around(mask: NDArray[np.bool_], margin: int) -> Window:
    """Return the cells of a mask's bounding box and so many around it."""
    rows, columns = (np.flatnonzero(mask.any(axis)) for axis in (1, 0))
    return (
        max(0, int(rows[0]) - margin),
        max(0, int(columns[0]) - margin),
        min(mask.shape[0], int(rows[-1]) + 1 + margin),
        min(mask.shape[1], int(columns[-1]) + 1 + margin),
    )


def cut(window: Window) -> tuple[slice, slice]:
    """Return a window as an index."""
    return slice(window[0], window[2]), slice(window[1], window[3])


def near(mask: NDArray[np.bool_], distance: float) -> NDArray[np.bool_]:
    """Return the cells of a mask and those within a distance of it."""
    found: NDArray[np.bool_] = ndimage.distance_transform_edt(~mask) <= distance
    return found
