"""What the layers of a work show, as one value; and making them show it.

`what_to_show` reads the document and says what has to be seen; `apply` makes the
layers differ no longer from that. Whatever happened before, an edit, an undo, an answer
or another plane, leads through these two.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from napari_promise.document import Document, ObjectRecord, Plane, Region
from napari_promise.widgets.layers import edits
from napari_promise.widgets.layers.boxes import Box
from napari_promise.widgets.layers.drafts import Outline, outlines
from napari_promise.widgets.layers.table import (
    UNASSIGNED,
    PointTable,
    changed_objects,
    exchanged,
)

if TYPE_CHECKING:
    from napari_promise.widgets.layers.work import Work


#: With more prompts of other objects on a plane only those of the active object are
#: shown: they would hide the image, and napari draws all of them anew with every click.
MOST_PROMPTS = 1000


@dataclass(frozen=True)
class DragPreview:
    """A mask shown for an object whose points are being dragged, or were just dropped.

    Attributes
    ----------
    object_id, revision : int
        The object, as it is while this may be shown.
    region : Region or None
    dropped : bool
        Whether the points were dropped: then it is shown until the object's own mask
        is there.
    """

    object_id: int
    revision: int
    region: Region | None
    dropped: bool = False

    def holds(self, record: ObjectRecord) -> bool:
        """Whether this is to be shown instead of the object's own mask."""
        same = (record.id, record.revision) == (self.object_id, self.revision)
        return same and not (self.dropped and record.is_answered)


@dataclass(frozen=True, eq=False)
class Shown:
    """Everything that is seen of a document on one plane.

    Attributes
    ----------
    points : PointTable
        Rows of the points layer, in their order.
    boxes : tuple of Box
        Rectangles of the shapes layer.
    preview_plane : tuple of int
        Plane that the translucent mask lies on.
    preview : Region or None
        That mask; None for an empty one.
    outlines : tuple of Outline
        Of the other objects on that plane that wait to be accepted.
    foreground : int
        The active object, whose points are drawn in full; 0 for none.
    label : int
        Its label, which is selected in the labels layer; 0 for none.
    next_object : int
        Object that the next point or box belongs to; 0 where it begins one.
    next_include : bool
        What the next point says.
    made_of : tuple of ObjectRecord
        Objects that points and boxes are of.
    edited : frozenset of int or None
        Objects whose rows somebody edited in the layers since; None where nobody did.
    """

    points: PointTable
    boxes: tuple[Box, ...] = ()
    preview_plane: Plane = ()
    preview: Region | None = None
    outlines: tuple[Outline, ...] = ()
    foreground: int = UNASSIGNED
    label: int = UNASSIGNED
    next_object: int = UNASSIGNED
    next_include: bool = True
    made_of: tuple[ObjectRecord, ...] = field(default=(), repr=False)
    edited: frozenset[int] | None = None


def what_to_show(
    document: Document,
    plane: Plane,
    *,
    include: bool = True,
    drag_preview: DragPreview | None = None,
    floor: float = 0.0,
    chosen: frozenset[int] = frozenset(),
    held: Shown | None = None,
) -> Shown:
    """Say what has to be seen of a document.

    Parameters
    ----------
    document : Document
    plane : tuple of int
        Plane on display.
    include : bool
        What the next point says.
    drag_preview : DragPreview, optional
        Shown in place of the mask of the active object, as long as it `holds`.
    floor : float
        The score from which objects would be accepted.
    chosen : frozenset of int
        Objects that were chosen together.
    held : Shown, optional
        What the layers hold now: rows that are there keep their places.

    Returns
    -------
    Shown
        Prompts of the active object, and those of other objects on this plane that
        were never written to the labels, unless they are more than `MOST_PROMPTS`.
    """
    active = document.active
    records = open_records(document, plane)
    ndim = len(plane) + 2
    if held is None:
        points = edits.rows_of(records, ndim)
        boxes = edits.boxes_of(_framed(records, active))
    else:
        points, boxes = held.points, held.boxes
        changed = _differing(held.made_of, records) | (held.edited or set())
        if changed or held.edited is not None:
            fresh = edits.rows_of([r for r in records if r.id in changed], ndim)
            points = exchanged(held.points, changed, fresh)
            points = held.points if points.same(held.points) else points
        same_active = held.foreground == (UNASSIGNED if active is None else active.id)
        if changed or held.edited is not None or not same_active:
            boxes = edits.boxes_of(_framed(records, active))
            boxes = held.boxes if boxes == held.boxes else boxes
    preview = None if active is None else active.region
    if active is not None and drag_preview is not None and drag_preview.holds(active):
        preview = drag_preview.region
    preview_plane = plane if active is None else active.plane
    return Shown(
        points,
        boxes,
        preview_plane,
        preview,
        outlines(document, preview_plane, floor, chosen),
        UNASSIGNED if active is None else active.id,
        UNASSIGNED if active is None else active.label,
        edits.object_at(document, plane) or UNASSIGNED,
        include,
        records,
    )


def open_records(document: Document, plane: Plane) -> tuple[ObjectRecord, ...]:
    """Return the objects whose prompts belong on the canvas, ordered by id."""
    active, pending = document.active, document.pending
    others = [
        record
        for record in document.on_plane(plane)
        if record is not active
        and not record.committed
        and record.written is None
        and record.id not in pending
    ]
    if sum(len(r.sources) + len(r.prompts.boxes) for r in others) > MOST_PROMPTS:
        others = []
    if active is not None:
        others.append(active)
    return tuple(sorted(others, key=lambda record: record.id))


def _framed(
    records: tuple[ObjectRecord, ...], active: ObjectRecord | None
) -> list[ObjectRecord]:
    """Return the objects whose boxes are shown.

    The box that a module told beside its point is seen while the object is in work:
    hundreds of them would hide the image.
    """
    return [r for r in records if r is active or r.sources != ("auto",)]


def moves_rows(old: Shown, new: Shown) -> bool:
    """Whether rows have to be added, taken out or moved to get from one to another."""
    return old.boxes != new.boxes or not np.array_equal(
        old.points.data, new.points.data
    )


def apply(work: Work, old: Shown | None, new: Shown) -> None:
    """Make the layers of a work show something.

    Parameters
    ----------
    work : Work
    old : Shown or None
        What they hold; None where that is not known.
    new : Shown
        What they shall show. What is the same already is left alone.
    """
    if (
        old is None
        or old.edited is not None  # edited rows say something else than they look like
        or old.points is not new.points
        or old.foreground != new.foreground
    ):
        work.points.show(new.points, new.foreground)
    if old is None or old.boxes is not new.boxes:
        work.boxes.show(new.boxes)
    work.preview.show(new.preview_plane, new.preview, new.outlines)
    if old is not None and old.label != new.label != UNASSIGNED:
        work.result.select(new.label)
    work.points.set_next(new.next_object, new.next_include)
    work.boxes.set_next(new.next_object)


class Display:
    """What the layers of a work show, kept up with what there is to show.

    Parameters
    ----------
    work : Work

    Attributes
    ----------
    drag_preview : DragPreview or None
        Set while points are being dragged.
    """

    def __init__(self, work: Work) -> None:
        self.work = work
        self.drag_preview: DragPreview | None = None
        self._shown: Shown | None = None

    def show(
        self,
        plane: Plane,
        *,
        include: bool,
        floor: float = 0.0,
        chosen: frozenset[int] = frozenset(),
        in_place: bool = False,
    ) -> bool:
        """Bring the layers up to date.

        Parameters
        ----------
        plane : tuple of int
            Plane on display.
        include : bool
            What the next point says.
        floor : float
            The score from which objects would be accepted.
        chosen : frozenset of int
            Objects that were chosen together.
        in_place : bool
            Leave rows as they are where some have to be added, taken out or moved.

        Returns
        -------
        bool
            False where rows were left.
        """
        work, old = self.work, self._held()
        active, preview = work.document.active, self.drag_preview
        if active is not None and preview is not None and not preview.holds(active):
            self.drag_preview = preview = None
        new = what_to_show(
            work.document,
            plane,
            include=include,
            drag_preview=preview,
            floor=floor,
            chosen=chosen,
            held=old,
        )
        left = in_place and old is not None and moves_rows(old, new)
        if left and old is not None:
            new = replace(
                new,
                points=old.points,
                boxes=old.boxes,
                made_of=old.made_of,
                edited=old.edited or frozenset(),
            )
        apply(work, old, new)
        self._shown = new
        return not left

    def made(self, points: PointTable) -> bool:
        """Whether these rows are the ones shown, each of the object that it names."""
        shown = self._shown
        return shown is not None and points is shown.points and shown.edited is None

    def drop(self) -> None:
        """Keep the drag preview until the mask of the dropped points is there."""
        preview, document = self.drag_preview, self.work.document
        if preview is not None and preview.object_id in document:
            revision = document.get(preview.object_id).revision
            self.drag_preview = replace(preview, revision=revision, dropped=True)

    def _held(self) -> Shown | None:
        """Say what the layers hold: what was shown, and what was edited since."""
        shown, points = self._shown, self.work.points.agreed
        if shown is None:
            return None
        if points is shown.points and self.work.boxes.agreed is shown.boxes:
            return shown
        edited = set(shown.edited or ()) | set(changed_objects(shown.points, points))
        return replace(
            shown,
            points=points,
            boxes=self.work.boxes.agreed,
            edited=frozenset(edited),
        )


def _differing(
    before: tuple[ObjectRecord, ...], after: tuple[ObjectRecord, ...]
) -> set[int]:
    """Objects that came, went, or have other prompts than they had."""
    known = {record.id: record for record in before}
    differing = set()
    for record in after:
        earlier = known.pop(record.id, None)
        if earlier is not record and (
            earlier is None
            or earlier.prompts is not record.prompts
            or earlier.sources is not record.sources
            or earlier.plane != record.plane
        ):
            differing.add(record.id)
    return differing | known.keys()
