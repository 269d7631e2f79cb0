"""How large an object is through planes: its volume, and its longest diameter."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

from napari_promise.document.records import ObjectRecord

__all__ = ["farthest_apart", "longest_diameter", "outermost", "volume_ml"]


def volume_ml(
    records: tuple[ObjectRecord, ...], spacing: tuple[float, float, float]
) -> float:
    """Return the volume of an object in millilitres.

    Parameters
    ----------
    records : tuple of ObjectRecord
        The object's planes; each counts with its mask, else with its label pixels.
    spacing : (float, float, float)
        Between planes, rows and columns, in mm.
    """
    regions = (r.written if r.region is None else r.region for r in records)
    voxels = sum(region.area for region in regions if region is not None)
    return float(voxels * np.prod(spacing) / 1000)


def longest_diameter(
    records: Iterable[ObjectRecord], spacing: tuple[float, float, float]
) -> float:
    """Return the longest distance between the middles of two pixels of an object.

    Parameters
    ----------
    records : iterable of ObjectRecord
        The object's planes.
    spacing : (float, float, float)
        Between planes, rows and columns, in the unit that is wanted.

    Returns
    -------
    float
        0 for one pixel, or none.
    """
    found = [np.empty((0, 3))]
    for record in records:
        region = record.written if record.region is None else record.region
        if region is not None:
            at = outermost(region.crop) + np.array(region.bbox[:2])
            plane = record.plane[-1] if record.plane else 0
            found.append(np.insert(at, 0, plane, axis=1))
    return farthest_apart(np.concatenate(found) * np.array(spacing))


def outermost(mask: NDArray[np.bool_]) -> NDArray[np.int64]:
    """Return the first and the last pixel of each row of a mask, (N, 2)."""
    rows = np.flatnonzero(mask.any(axis=1))
    first = mask[rows].argmax(axis=1)
    last = mask.shape[1] - 1 - mask[rows, ::-1].argmax(axis=1)
    return np.column_stack([np.repeat(rows, 2), np.column_stack([first, last]).ravel()])


def farthest_apart(points: NDArray[np.float64]) -> float:
    """Return the longest distance between two of some points.

    Parameters
    ----------
    points : (N, 3) float64

    Returns
    -------
    float
        At most a thousandth too short where there are very many. 0 of none.
    """
    if len(points) > len(_DIRECTIONS):
        # The farthest two lie on the hull: each is the last one in some direction.
        turned = points @ _DIRECTIONS.T
        ends = np.concatenate([turned.argmax(axis=0), turned.argmin(axis=0)])
        points = points[np.unique(ends)]
    if not len(points):
        return 0.0
    return float(np.linalg.norm(points[:, None] - points[None], axis=-1).max())


def _spread(count: int) -> NDArray[np.float64]:
    """Return unit vectors spread evenly over half a sphere, (count, 3)."""
    at = np.arange(count) + 0.5
    height, angle = at / count, np.pi * (1 + 5**0.5) * at
    flat = np.sqrt(1 - height**2)
    return np.column_stack([height, flat * np.cos(angle), flat * np.sin(angle)])


_DIRECTIONS = _spread(600)
