"""Objects that wait to be accepted: which they are, and their outlines on a plane."""

from __future__ import annotations

import functools
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_promise.document import BBox, Document, ObjectRecord, Plane, Region

#: What a pixel of an outline says, see `painted`.
TAKEN, LEFT = 2, 3


class Outline(NamedTuple):
    """The outline of a mask.

    Attributes
    ----------
    region : Region
    taken : bool
        Whether the score reaches the floor from which objects are accepted.
    """

    region: Region
    taken: bool


def drafts(
    document: Document, plane: Plane | None = None
) -> tuple[tuple[ObjectRecord, Region], ...]:
    """Return the objects that can be accepted, with their masks.

    Parameters
    ----------
    document : Document
    plane : Plane, optional
        Only those of this plane.

    Returns
    -------
    tuple of (ObjectRecord, Region)
        Those whose mask answers their prompts, that were never committed nor are
        about to be.
    """
    pending = document.pending
    records = document.objects if plane is None else document.on_plane(plane)
    return tuple(
        (record, record.region)
        for record in records
        if record.region is not None
        and record.written is None
        and not record.committed
        and record.is_answered
        and record.id not in pending
    )


def is_taken(record: ObjectRecord, floor: float) -> bool:
    """Whether an object is accepted from this score on; at 0 every one is."""
    return floor <= 0 or (record.score is not None and record.score >= floor)


def next_uncertain(document: Document) -> ObjectRecord | None:
    """Return the draft that comes after the active object, from the lowest score up.

    Parameters
    ----------
    document : Document

    Returns
    -------
    ObjectRecord or None
        After the surest, or where the active object is no draft, the least sure; None
        where nothing waits.
    """
    waiting = sorted((_certainty(r), r.id) for r, _ in drafts(document))
    if not waiting:
        return None
    active = document.active
    after = None if active is None else (_certainty(active), active.id)
    if after not in waiting:
        return document.get(waiting[0][1])
    return document.get(waiting[(waiting.index(after) + 1) % len(waiting)][1])


def _certainty(record: ObjectRecord) -> float:
    return -1.0 if record.score is None else record.score


def outlines(document: Document, plane: Plane, floor: float) -> tuple[Outline, ...]:
    """Return the outlines of a plane's drafts, without the active object's."""
    return tuple(
        Outline(region, is_taken(record, floor))
        for record, region in drafts(document, plane)
        if record.id != document.active_id
    )


def painted(shown: Iterable[Outline], bbox: BBox) -> NDArray[np.uint8]:
    """Draw outlines into a rectangle.

    Parameters
    ----------
    shown : iterable of Outline
    bbox : BBox

    Returns
    -------
    (r1 - r0, c1 - c0) uint8
        `TAKEN` or `LEFT` on outlines, else 0. One that is taken lies above one that
        is not.
    """
    top, left, bottom, right = bbox
    values = np.zeros((bottom - top, right - left), np.uint8)
    for outline in sorted(shown, key=lambda one: one.taken):
        r0, c0, r1, c1 = outline.region.bbox
        a0, b0, a1, b1 = max(r0, top), max(c0, left), min(r1, bottom), min(c1, right)
        if a0 < a1 and b0 < b1:
            edge = _edge(outline.region)[a0 - r0 : a1 - r0, b0 - c0 : b1 - c0]
            window = values[a0 - top : a1 - top, b0 - left : b1 - left]
            window[edge] = TAKEN if outline.taken else LEFT
    return values


@functools.lru_cache(maxsize=8192)
def _edge(region: Region) -> NDArray[np.bool_]:
    """Return the mask's own outermost pixels, in its bounding box."""
    edge: NDArray[np.bool_] = region.crop & ~ndimage.binary_erosion(region.crop)
    return edge
