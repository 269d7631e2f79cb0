"""How rows of layers become prompts of objects, and objects rows of layers.

Pure functions between `PointTable` and `Box` on one side and `Document` records on
the other; knows no layer.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import numpy as np

from napari_promise.document import Document, ObjectRecord, Plane, Source
from napari_promise.prompts import Prompts
from napari_promise.widgets.layers.boxes import Box
from napari_promise.widgets.layers.table import UNASSIGNED, PointTable


def is_open(record: ObjectRecord, active: int | None) -> bool:
    """Whether an object's prompts belong on the canvas: in work, or not yet written."""
    return record.id == active or not (record.committed or record.written is not None)


def rows_of(record: ObjectRecord) -> PointTable:
    """Points of one object as rows, (N, D) positions with the plane in front.

    Parameters
    ----------
    record : ObjectRecord

    Returns
    -------
    PointTable
    """
    prompts = record.prompts
    count = len(prompts.points)
    leading = np.empty((count, len(record.plane)))
    leading[:] = record.plane
    scores = np.full(count, np.nan) if prompts.scores is None else prompts.scores
    return PointTable(
        np.concatenate([leading, prompts.points], axis=1),
        np.full(count, record.id, dtype=np.int64),
        np.asarray(prompts.labels, dtype=bool),
        np.array([source == "auto" for source in record.sources], dtype=bool),
        np.asarray(scores, dtype=float),
    )


def boxes_of(record: ObjectRecord) -> tuple[Box, ...]:
    """Boxes of one object as the Shapes layer holds them."""
    return tuple(
        Box(record.id, record.plane, (r0, c0, r1, c1))
        for r0, c0, r1, c1 in record.prompts.boxes.tolist()
    )


def with_points(record: ObjectRecord, rows: PointTable) -> tuple[Prompts, list[Source]]:
    """Prompts of an object with these rows as its points, and their sources."""
    scores = np.asarray(rows.scores)
    prompts = record.prompts.replace(
        points=rows.data[:, -2:],
        labels=rows.include.astype(np.int64),
        scores=None if np.isnan(scores).all() else scores,
        before=None,
    )
    sources: list[Source] = ["auto" if auto else "user" for auto in rows.auto]
    return prompts, sources


def usable(rows: PointTable, shape: tuple[int, ...]) -> np.ndarray:
    """Tell rows on the image from rows beside it or without a position.

    Parameters
    ----------
    rows : PointTable
    shape : tuple of int
        ``(…, rows, columns)`` of the image.

    Returns
    -------
    array, shape (N,), bool
    """
    finite = np.isfinite(rows.data).all(axis=1)
    inside = (rows.data >= -0.5) & (rows.data <= np.array(shape) - 0.5)
    return finite & inside.all(axis=1)


def usable_boxes(boxes: Iterable[Box], shape: tuple[int, ...]) -> tuple[Box, ...]:
    """Cut boxes to the image, and leave out what is no box then.

    Parameters
    ----------
    boxes : iterable of Box
    shape : tuple of int
        ``(…, rows, columns)`` of the image.

    Returns
    -------
    tuple of Box
        Boxes at least a pixel wide and high, on planes of the image.
    """
    height, width = shape[-2:]
    kept = []
    for box in boxes:
        if not np.isfinite(box.corners).all() or not all(
            0 <= index < count for index, count in zip(box.plane, shape, strict=False)
        ):
            continue
        r0, c0, r1, c1 = box.corners
        r0, r1 = max(r0, -0.5), min(r1, height - 0.5)
        c0, c1 = max(c0, -0.5), min(c1, width - 0.5)
        if r1 - r0 >= 1 and c1 - c0 >= 1:
            kept.append(replace(box, corners=(r0, c0, r1, c1)))
    return tuple(kept)


def assign(
    document: Document, keys: Iterable[tuple[int, Plane]]
) -> dict[tuple[int, Plane], int]:
    """Find or make the object each prompt belongs to.

    A prompt of an object that lies on the prompt's plane stays with it. Any other
    goes to `object_at` its plane, where there is one, else a new object is begun;
    rows of one unknown object stay together.

    Parameters
    ----------
    document : Document
        Changed where an object has to be begun; call it inside a step.
    keys : iterable of (int, tuple of int)
        The object a row names, and the plane it lies on.

    Returns
    -------
    dict
        From each key to the id of an object in the document.
    """
    owners: dict[tuple[int, Plane], int] = {}
    for named, plane in keys:
        if (named, plane) in owners:
            continue
        if named in document and document.get(named).plane == plane:
            owners[named, plane] = named
            continue
        unknown = named != UNASSIGNED and named not in document
        owner = None if unknown else object_at(document, plane)
        if owner is None:
            if (active := document.active) is not None and active.is_blank and unknown:
                # A blank object would be handed out twice.
                document.active_id = None
            owner = document.new_object(plane).id
        owners[named, plane] = owner
    return owners


def draft_on(document: Document, plane: Plane) -> int | None:
    """Return the last object of a plane that was never written to the labels."""
    drafts = [
        record.id
        for record in document.on_plane(plane)
        if not record.committed and record.written is None
    ]
    return drafts[-1] if drafts else None


def object_at(document: Document, plane: Plane) -> int | None:
    """Object a prompt on a plane belongs to when nobody said.

    Parameters
    ----------
    document : Document
    plane : tuple of int

    Returns
    -------
    int or None
        The active object if it lies there. Where another plane is worked on, the
        draft of this one; where nothing is, None: the prompt begins an object.
    """
    active = document.active
    if active is None:
        return None
    return active.id if active.plane == plane else draft_on(document, plane)


def edit_name(before: PointTable, after: PointTable) -> str:
    """Say in words what an edit of points did, for the tooltip of Undo."""
    count = abs(len(after) - len(before)) or 1
    what = "point" if count == 1 else f"{count} points"
    if len(after) > len(before):
        return f"add {what}"
    if len(after) < len(before):
        return f"delete {what}"
    if np.array_equal(before.data, after.data):
        return "flip points"
    return "move points"
