"""Masks as signed distances: carried, moved, interpolated, and cleaned."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

__all__ = ["centroid", "cleaned", "interpolated", "moved", "ring", "signed_distance"]


def signed_distance(
    mask: NDArray[np.bool_], sampling: tuple[float, float] = (1.0, 1.0)
) -> NDArray[np.float32]:
    """Return the distance to the outline, positive inside.

    Parameters
    ----------
    mask : (h, w) bool
    sampling : (float, float)
        The size of a cell, in the unit that is wanted.

    Returns
    -------
    (h, w) float32
        Half a cell at the outline's own cells; far below zero for an empty mask.
    """
    if not mask.any():
        return np.full(mask.shape, -1e3, np.float32)
    half = min(sampling) / 2
    inside = ndimage.distance_transform_edt(np.pad(mask, 1, mode="edge"), sampling)
    outside = ndimage.distance_transform_edt(~mask, sampling)
    found = np.where(mask, inside[1:-1, 1:-1] - half, half - outside)
    return np.minimum(found, 1e3).astype(np.float32)


def centroid(mask: NDArray[np.bool_]) -> NDArray[np.float64]:
    """Return the mean (row, column) of a mask that is not empty."""
    return np.array([each.mean() for each in np.nonzero(mask)])


def moved(field: NDArray[np.float32], by: NDArray[np.float64]) -> NDArray[np.float32]:
    """Return a field of distances moved by (rows, columns), edges drawn out."""
    if not np.any(by):
        return field
    found: NDArray[np.float32] = ndimage.shift(field, by, order=1, mode="nearest")
    return found


def interpolated(
    before: NDArray[np.bool_],
    after: NDArray[np.bool_],
    share: float,
    sampling: tuple[float, float] = (1.0, 1.0),
) -> NDArray[np.float32]:
    """Return the signed distances of a shape between two, moved by their centroids.

    Parameters
    ----------
    before, after : (h, w) bool
        Neither is empty.
    share : float
        0 at `before`, 1 at `after`.
    sampling : (float, float)
        See `signed_distance`.

    Returns
    -------
    (h, w) float32

    References
    ----------
    .. [1] Raya and Udupa, "Shape-based interpolation of multidimensional objects",
       IEEE Transactions on Medical Imaging 9(1), 1990.
    """
    start, end = centroid(before), centroid(after)
    here = (1 - share) * start + share * end
    first = moved(signed_distance(before, sampling), here - start)
    second = moved(signed_distance(after, sampling), here - end)
    return (1 - share) * first + share * second


def ring(mask: NDArray[np.bool_], width: int = 3) -> NDArray[np.bool_]:
    """Return the cells up to so many around a mask."""
    found: NDArray[np.bool_] = ndimage.binary_dilation(mask, iterations=width) & ~mask
    return found


def cleaned(
    mask: NDArray[np.bool_], seed: NDArray[np.bool_] | None = None
) -> NDArray[np.bool_]:
    """Return a mask without flecks and holes.

    Parameters
    ----------
    mask : (h, w) bool
    seed : (h, w) bool, optional
        Pieces that do not touch it go.
    """
    smooth = ndimage.median_filter(mask.view(np.uint8), 3) > 0
    if not smooth.any():
        smooth = mask
    if seed is not None:
        pieces, _ = ndimage.label(smooth, np.ones((3, 3)))
        kept = np.unique(pieces[seed & smooth])
        smooth = np.isin(pieces, kept[kept > 0])
    filled: NDArray[np.bool_] = ndimage.binary_fill_holes(smooth)
    return filled
