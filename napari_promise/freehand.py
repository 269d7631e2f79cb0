"""What a line drawn by hand says of an object: points along a scribble, a lasso's area.

Pure geometry on vertices; positions are (row, column) in a plane's own pixels, pixel
centres at the integers.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from skimage.draw import polygon2mask

__all__ = ["Freehand", "lasso_crop", "lasso_mask", "scribble_points"]

#: Points sent for a scribble at most: more of them say nothing new to a model, and
#: outvote the clicks that correct it.
MOST_POINTS = 5


@dataclass(frozen=True, eq=False)
class Freehand:
    """A line as it was drawn.

    Parameters
    ----------
    tool : "scribble" or "lasso"
    vertices : (N, 2) float64
        Along the line; a lasso is closed from the last to the first.
    """

    tool: Literal["scribble", "lasso"]
    vertices: NDArray[np.float64]


def scribble_points(
    vertices: ArrayLike, shape: tuple[int, int], *, most: int = MOST_POINTS
) -> NDArray[np.float64]:
    """Choose point prompts evenly along a scribble.

    Parameters
    ----------
    vertices : array_like, shape (N, 2)
    shape : (int, int)
        Rows and columns of the plane; what lies outside is left out.
    most : int
        The most points to return. A short scribble has fewer: they lie two pixels
        apart at least.

    Returns
    -------
    (M, 2) float64
        Whole pixels, in the order in which they were drawn, each once; the first lies
        a half step from the scribble's beginning. Empty where all of it lies outside.
    """
    line = np.asarray(vertices, np.float64).reshape(-1, 2)
    line = line[np.isfinite(line).all(axis=1)]
    if not len(line):
        return np.zeros((0, 2))
    steps = np.linalg.norm(np.diff(line, axis=0), axis=1)
    along = np.concatenate([[0.0], np.cumsum(steps)])
    # Dense enough that what leaves the image and comes back is cut where it does.
    dense = np.linspace(0, along[-1], max(2, int(np.ceil(along[-1] * 2)) + 1))
    path = np.stack([np.interp(dense, along, line[:, axis]) for axis in (0, 1)], axis=1)
    pixels = np.floor(path + 0.5)
    inside = ((pixels >= 0) & (pixels < np.array(shape))).all(axis=1)
    pixels = pixels[inside]
    if not len(pixels):
        return np.zeros((0, 2))
    count = int(np.clip(along[-1] * inside.mean() // 2, 1, most))
    at = ((np.arange(count) + 0.5) * len(pixels) / count).astype(int)
    _, first = np.unique(pixels[at], axis=0, return_index=True)
    chosen: NDArray[np.float64] = pixels[at][np.sort(first)]
    return chosen


def lasso_mask(vertices: ArrayLike, shape: tuple[int, int]) -> NDArray[np.bool_]:
    """Fill a lasso.

    Parameters
    ----------
    vertices : array_like, shape (N, 2)
        The last is joined to the first.
    shape : (int, int)
        Rows and columns of the plane; what lies outside is cut off.

    Returns
    -------
    (H, W) bool
        All False where the line encloses no pixel's centre.
    """
    mask = np.zeros(shape, bool)
    crop, (row, column) = lasso_crop(vertices, shape)
    mask[row : row + crop.shape[0], column : column + crop.shape[1]] = crop
    return mask


def lasso_crop(
    vertices: ArrayLike, shape: tuple[int, int]
) -> tuple[NDArray[np.bool_], tuple[int, int]]:
    """Fill a lasso, in the rectangle around it alone: planes may be huge.

    Parameters
    ----------
    vertices, shape
        See `lasso_mask`.

    Returns
    -------
    crop : (h, w) bool
    origin : (int, int)
        Row and column of its first pixel in the plane.
    """
    line = np.asarray(vertices, np.float64).reshape(-1, 2)
    line = line[np.isfinite(line).all(axis=1)]
    if len(line) < 3:
        return np.zeros((0, 0), bool), (0, 0)
    low = np.clip(np.floor(line.min(axis=0)), 0, shape).astype(int)
    high = np.clip(np.ceil(line.max(axis=0)) + 1, 0, shape).astype(int)
    rows, columns = (high - low).clip(min=0).tolist()
    origin = int(low[0]), int(low[1])
    if not rows or not columns:
        return np.zeros((0, 0), bool), (0, 0)
    crop: NDArray[np.bool_] = polygon2mask((rows, columns), line - low)
    return crop, origin
