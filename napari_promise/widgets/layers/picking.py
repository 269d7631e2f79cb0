"""What a click means where an image holds many objects.

A click on an object looks at it, a click beside the object in work corrects it, and a
click anywhere else begins another.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import Document, ObjectRecord, Plane

__all__ = ["Pick", "meant_by", "within"]

#: A click counts as a correction of the object in work up to this share of its size
#: beside it, and at least so many pixels.
_NEAR, _NEAR_PIXELS = 0.35, 3


@dataclass(frozen=True)
class Pick:
    """What a click is for.

    Attributes
    ----------
    object_id : int or None
        The object that is clicked on; None where none is.
    begins : bool
        Whether another object is begun; otherwise, without an object, the one in work
        is corrected.
    """

    object_id: int | None = None
    begins: bool = False


def meant_by(
    document: Document, labels: Any, plane: Plane, position: tuple[float, float]
) -> Pick:
    """Say what a click to include is for.

    Parameters
    ----------
    document : Document
    labels : array-like, (H, W) integer
        The labels of the plane.
    plane : Plane
    position : (float, float)
        Row and column.

    Returns
    -------
    Pick
    """
    active = document.active
    here = active is not None and active.plane == plane
    if here and active is not None and active.is_blank:
        return Pick()  # it was begun for this click
    if here and active is not None and _covers(active, position):
        return Pick()
    found = _at(document, labels, plane, position)
    if found is not None:
        return Pick(found.id)
    if here and active is not None and _is_near(active, position):
        return Pick()
    return Pick(begins=True)


def within(
    document: Document, plane: Plane, outline: NDArray[np.float64]
) -> tuple[int, ...]:
    """Return the objects of a plane whose middle lies inside an outline.

    Parameters
    ----------
    document : Document
    plane : Plane
    outline : (N, 2) float64
        Rows and columns of its corners.

    Returns
    -------
    tuple of int
        Ordered by id.
    """
    middles = {
        record.id: middle
        for record in document.on_plane(plane)
        if (middle := _middle(record)) is not None
    }
    places = np.array(list(middles.values()), float).reshape(-1, 2)
    inside = _inside(places, outline)
    return tuple(i for i, is_in in zip(middles, inside, strict=True) if is_in)


def _at(
    document: Document, labels: Any, plane: Plane, position: tuple[float, float]
) -> ObjectRecord | None:
    """Return the smallest object that waits there, else the one in the labels."""
    hits = [
        record
        for record in document.on_plane(plane)
        if record.written is None and _covers(record, position)
    ]
    if hits:
        return min(hits, key=lambda r: (0 if r.region is None else r.region.area, r.id))
    rows, columns = labels.shape[-2:]
    row = min(max(round(position[0]), 0), rows - 1)
    column = min(max(round(position[1]), 0), columns - 1)
    label = int(np.asarray(labels[row : row + 1, column : column + 1])[0, 0])
    return document.get_at(label, plane) if label else None


def _covers(record: ObjectRecord, position: tuple[float, float]) -> bool:
    region = record.region
    if region is None:
        return False
    row, column = round(position[0]), round(position[1])
    r0, c0, r1, c1 = region.bbox
    if not (r0 <= row < r1 and c0 <= column < c1):
        return False
    return bool(region.crop[row - r0, column - c0])


def _is_near(record: ObjectRecord, position: tuple[float, float]) -> bool:
    region = record.region
    if region is None:
        return not record.prompts.is_empty  # its mask is being computed
    r0, c0, r1, c1 = region.bbox
    row, column = position
    apart = max(r0 - row, row - (r1 - 1), c0 - column, column - (c1 - 1))
    return apart <= max(_NEAR_PIXELS, _NEAR * max(r1 - r0, c1 - c0))


def _middle(record: ObjectRecord) -> tuple[float, float] | None:
    if record.region is not None:
        r0, c0, r1, c1 = record.region.bbox
        return (r0 + r1 - 1) / 2, (c0 + c1 - 1) / 2
    points = record.prompts.points[record.prompts.labels == 1]
    return (float(points[0][0]), float(points[0][1])) if len(points) else None


def _inside(
    places: NDArray[np.float64], outline: NDArray[np.float64]
) -> NDArray[np.bool_]:
    """Whether places lie inside a polygon: edges to the right are crossed oddly."""
    rows, columns = places.T[:, :, None]
    (r0, c0), (r1, c1) = outline.T, np.roll(outline, -1, axis=0).T
    spans = (r0 > rows) != (r1 > rows)
    with np.errstate(divide="ignore", invalid="ignore"):
        crossing = c0 + (rows - r0) / (r1 - r0) * (c1 - c0)
    odd: NDArray[np.bool_] = (spans & (columns < crossing)).sum(axis=1) % 2 == 1
    return odd
