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
TAKEN, LEFT, CHOSEN = 2, 3, 4


class Outline(NamedTuple):
    """The outline of a mask.

    Attributes
    ----------
    region : Region
    says : int
        `TAKEN` where the score reaches the floor from which objects are accepted, else
        `LEFT`; `CHOSEN` of one that was chosen with others.
    """

    region: Region
    says: int


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


def outlines(
    document: Document,
    plane: Plane,
    floor: float,
    chosen: frozenset[int] = frozenset(),
) -> tuple[Outline, ...]:
    """Return the outlines of a plane's drafts and of what was chosen.

    That of the active object is left out, unless it was chosen with others.
    """
    active, several = document.active_id, len(chosen) > 1
    found = [
        Outline(region, TAKEN if is_taken(record, floor) else LEFT)
        for record, region in drafts(document, plane)
        if record.id != active and not (several and record.id in chosen)
    ]
    if several:
        records = (document.get(i) for i in sorted(chosen) if i in document)
        found += [
            Outline(region, CHOSEN)
            for record in records
            if record.plane == plane
            and (region := record.region or record.written) is not None
        ]
    return tuple(found)


def painted(shown: Iterable[Outline], bbox: BBox) -> NDArray[np.uint8]:
    """Draw outlines into a rectangle.

    Parameters
    ----------
    shown : iterable of Outline
    bbox : BBox

    Returns
    -------
    (r1 - r0, c1 - c0) uint8
        `TAKEN`, `LEFT` or `CHOSEN` on outlines, else 0. What is taken lies above what
        is not, and what is chosen above both.
    """
    top, left, bottom, right = bbox
    values = np.zeros((bottom - top, right - left), np.uint8)
    order = (LEFT, TAKEN, CHOSEN)
    for outline in sorted(shown, key=lambda one: order.index(one.says)):
        r0, c0, r1, c1 = outline.region.bbox
        a0, b0, a1, b1 = max(r0, top), max(c0, left), min(r1, bottom), min(c1, right)
        if a0 < a1 and b0 < b1:
            edge = _edge(outline.region)[a0 - r0 : a1 - r0, b0 - c0 : b1 - c0]
            window = values[a0 - top : a1 - top, b0 - left : b1 - left]
            window[edge] = outline.says
    return values


@functools.lru_cache(maxsize=8192)
def _edge(region: Region) -> NDArray[np.bool_]:
    """Return the mask's own outermost pixels, in its bounding box."""
    edge: NDArray[np.bool_] = region.crop & ~ndimage.binary_erosion(region.crop)
    return edge
