"""How rows of layers become prompts of objects, and objects rows of layers.

Functions between `PointTable` and `Box` on one side and a `Document` on the other.
"""

from __future__ import annotations

import functools
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import ArrayLike

from napari_promise.depth import deepest
from napari_promise.document import (
    SOURCES,
    Document,
    ObjectRecord,
    Plane,
    Region,
    Source,
    union_bbox,
)
from napari_promise.freehand import Freehand, lasso_crop, scribble_points
from napari_promise.prompts import Prompts
from napari_promise.widgets.layers.boxes import Box
from napari_promise.widgets.layers.table import (
    CODES,
    UNASSIGNED,
    PointTable,
    changed_objects,
    changed_part,
)


def rows_of(records: Sequence[ObjectRecord], ndim: int) -> PointTable:
    """Points of objects as rows, (N, D) positions with the plane in front.

    Parameters
    ----------
    records : sequence of ObjectRecord
    ndim : int
        D, the number of axes of the image.

    Returns
    -------
    PointTable
        The objects one after the other.
    """
    records = [record for record in records if record.sources]
    if not records:
        return PointTable.empty(ndim)
    prompts = [record.prompts for record in records]
    counts = [len(record.sources) for record in records]
    data = np.empty((sum(counts), ndim))
    planes = np.array([record.plane for record in records], dtype=float)
    data[:, :-2] = np.repeat(planes.reshape(len(records), ndim - 2), counts, axis=0)
    data[:, -2:] = np.concatenate([some.points for some in prompts])
    scores = np.full(len(data), np.nan)
    scored = [some.scores is not None for some in prompts]
    if any(scored):
        scores[np.repeat(scored, counts)] = np.concatenate(
            [some.scores for some in prompts if some.scores is not None]
        )
    codes = b"".join([_code_bytes(record.sources) for record in records])
    return PointTable(
        data,
        np.repeat(np.array([r.id for r in records], dtype=np.int64), counts),
        np.concatenate([some.labels for some in prompts]).astype(bool),
        np.frombuffer(codes, dtype=np.uint8),
        scores,
    )


@functools.lru_cache(maxsize=1024)
def _code_bytes(sources: tuple[Source, ...]) -> bytes:
    return bytes(CODES[source] for source in sources)


def boxes_of(records: Iterable[ObjectRecord]) -> tuple[Box, ...]:
    """Boxes of objects as the Shapes layer holds them."""
    return tuple(
        Box(record.id, record.plane, (r0, c0, r1, c1))
        for record in records
        if len(record.prompts.boxes)
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
    if _left_its_box(record, prompts):
        prompts = prompts.replace(boxes=())
    return prompts, [SOURCES[code] for code in rows.sources.tolist()]


def _left_its_box(record: ObjectRecord, prompts: Prompts) -> bool:
    """Whether the one point that a module placed in its box was taken out of it.

    The box, which nobody but the module drew, is of another object then.
    """
    boxes = record.prompts.boxes
    if len(boxes) != 1 or record.sources != ("auto",) or len(prompts.points) != 1:
        return False
    r0, c0, r1, c1 = boxes[0]
    row, column = prompts.points[0]
    return not (r0 <= row <= r1 and c0 <= column <= c1)


def take_points(
    document: Document,
    before: PointTable,
    after: PointTable,
    plane: Plane,
    *,
    settled: bool = False,
) -> list[int]:
    """Make the rows of a points layer the prompts of their objects.

    Parameters
    ----------
    document : Document
        Changed; call it inside a step.
    before, after : PointTable
        The rows as they were last agreed on, and as they are now; on the image.
    plane : tuple of int
        Plane on display; an object edited there becomes the active one.
    settled : bool
        Whether every row of ``before`` names the object it belongs to, as rows that
        came from the document do.

    Returns
    -------
    list of int
        Ids of the objects whose points are others now.
    """
    if settled:
        _, new = changed_part(before, after)
        objects = after.objects.copy()
        objects[new] = _assigned(document, after.take(new)).objects
        rows = replace(after, objects=objects)
    else:
        rows = _assigned(document, after)
        before = _assigned(document, before, begin=False)
    held = set(np.unique(before.objects).tolist())
    changed = []
    for object_id in changed_objects(before, rows):
        if object_id not in document:
            continue
        record = document.get(object_id)
        mine = rows.of(object_id)
        if object_id not in held:
            # Its points are not in the layer: what came is added to them.
            ndim = mine.data.shape[1]
            mine = PointTable.concatenate([rows_of([record], ndim), mine], ndim)
        prompts, sources = with_points(record, mine)
        document.set_prompts(object_id, prompts, sources)
        changed.append(object_id)
    _activate_edited(document, changed, plane)
    return changed


def take_boxes(
    document: Document,
    before: tuple[Box, ...],
    after: tuple[Box, ...],
    plane: Plane,
) -> list[int]:
    """Make the rectangles of a shapes layer the boxes of their objects.

    Parameters
    ----------
    document : Document
        Changed; call it inside a step.
    before, after : tuple of Box
        The boxes as they were last agreed on, and as they are now; on the image.
    plane : tuple of int
        Plane on display; an object edited there becomes the active one.

    Returns
    -------
    list of int
        Ids of the objects whose boxes are others now.
    """
    owners = assign(document, [(box.object_id, box.plane) for box in after])
    held = {box.object_id for box in before}
    corners: dict[int, list[tuple[float, ...]]] = {
        object_id: [] for object_id in held if object_id in document
    }
    for box in after:
        owner = owners[box.object_id, box.plane]
        if owner not in corners:
            # Its boxes may not be in the layer: what came is added to them.
            corners[owner] = [tuple(c) for c in document.get(owner).prompts.boxes]
        corners[owner].append(box.corners)
    changed = []
    for object_id, boxes in corners.items():
        record = document.get(object_id)
        prompts = record.prompts.replace(boxes=boxes)
        if prompts != record.prompts:
            document.set_prompts(object_id, prompts)
            changed.append(object_id)
    _activate_edited(document, changed, plane)
    return changed


def take_points_late(
    document: Document, before: PointTable, after: PointTable, plane: Plane
) -> list[int]:
    """Do an edit of points to a document that has changed since it was made.

    Parameters
    ----------
    document : Document
        Changed; call it inside a step.
    before, after : PointTable
        The rows around the edit. Only what differs is done: a point that moved or was
        flipped keeps its place, points that came are the active object's.
    plane : tuple of int
        As in `take_points`.

    Returns
    -------
    list of int
    """
    changed: list[int] = []
    ndim = before.data.shape[1]
    old_rows, new_rows = _differing_rows(before, after)
    in_place = len(old_rows) == len(new_rows) and np.array_equal(
        old_rows.objects, new_rows.objects
    )
    for object_id in dict.fromkeys(old_rows.objects.tolist()):
        if object_id not in document:
            continue
        record = document.get(object_id)
        mine = rows_of([record], ndim)
        gone, come = old_rows.of(object_id), new_rows.of(object_id)
        kept = np.ones(len(mine), dtype=bool)
        data, include = mine.data.copy(), mine.include.copy()
        codes, scores = mine.sources.copy(), np.array(mine.scores)
        for index in range(len(gone)):
            same = (mine.data == gone.data[index]).all(axis=1) & kept
            same &= mine.include == gone.include[index]
            found = np.flatnonzero(same)
            if not len(found):
                continue
            if in_place:
                at = found[0]
                data[at], include[at] = come.data[index], come.include[index]
                codes[at], scores[at] = come.sources[index], come.scores[index]
            else:
                kept[found[0]] = False
        rows = PointTable(data, mine.objects, include, codes, scores).take(kept)
        document.set_prompts(object_id, *with_points(record, rows))
        changed.append(object_id)
    if not in_place:
        for index in range(len(new_rows)):
            row = new_rows.take(np.arange(len(new_rows)) == index)
            row = replace(row, objects=np.full(1, UNASSIGNED, dtype=np.int64))
            empty = PointTable.empty(ndim)
            changed += take_points(document, empty, row, plane)
    _activate_edited(document, changed, plane)
    return list(dict.fromkeys(changed))


def _differing_rows(
    before: PointTable, after: PointTable
) -> tuple[PointTable, PointTable]:
    """Return the rows that an edit took away, and those it brought."""

    def keys(rows: PointTable) -> list[tuple[object, ...]]:
        return [
            (*position, int(owner), bool(include))
            for position, owner, include in zip(
                rows.data.tolist(), rows.objects, rows.include, strict=True
            )
        ]

    old, new = Counter(keys(before)), Counter(keys(after))

    def chosen(rows: PointTable, counts: Counter[tuple[object, ...]]) -> PointTable:
        left, found = counts.copy(), []
        for key in keys(rows):
            found.append(left[key] > 0)
            left[key] -= 1
        return rows.take(np.array(found, dtype=bool))

    return chosen(before, old - new), chosen(after, new - old)


def take_boxes_late(
    document: Document,
    before: tuple[Box, ...],
    after: tuple[Box, ...],
    plane: Plane,
) -> list[int]:
    """Do an edit of boxes to a document that has changed since; see above."""
    gone, come = Counter(before) - Counter(after), Counter(after) - Counter(before)
    here = list(boxes_of(document.objects))
    left = [box for box in here if not gone[box]]
    fresh = [
        replace(box, object_id=box.object_id if gone else UNASSIGNED) for box in come
    ]
    return take_boxes(document, tuple(here), (*left, *fresh), plane)


def take_mask(document: Document, plane: Plane, mask: np.ndarray) -> int:
    """Make a mask the prompt of the active object, or of a new one; one step.

    Parameters
    ----------
    document : Document
    plane : tuple of int
        Plane on display.
    mask : array, shape (H, W), bool
        In the pixels of that plane.

    Returns
    -------
    int
        Id of the object.
    """
    with document.step("take mask"):
        owner = object_at(document, plane)
        if owner is None:
            owner = document.new_object(plane).id
        document.active_id = owner
        prompts = document.get(owner).prompts
        document.set_prompts(owner, prompts.replace(mask=mask))
    return owner


def take_line(
    document: Document,
    plane: Plane,
    line: Freehand,
    include: bool,
    shape: tuple[int, int],
) -> int:
    """Make a scribble or a lasso prompts of the active object, or of a new one.

    A scribble becomes points along it. What a lasso includes is added to the mask there
    is, and what it excludes is taken from it; that is the mask prompt, with a point in
    the middle of what came or went (``scripts.base.freehand`` compares other ways).

    Parameters
    ----------
    document : Document
        Changed, in one step.
    plane : tuple of int
        Plane on which the line was drawn.
    line : Freehand
        In the pixels of that plane.
    include : bool
        Whether it belongs to the object.
    shape : (int, int)
        Rows and columns of the plane.

    Returns
    -------
    int
        Id of the object.

    Raises
    ------
    ValueError
        If the line lies beside the image or encloses nothing, or there is nothing that
        a lasso could take away; nothing is changed then.
    """
    owner = object_at(document, plane)
    prompts = Prompts() if owner is None else document.get(owner).prompts
    if line.tool == "scribble":
        prompts = _with_scribble(
            prompts, scribble_points(line.vertices, shape), include
        )
    else:
        region = None if owner is None else document.get(owner).region
        area = Region.from_crop(*lasso_crop(line.vertices, shape), shape)
        prompts = _with_lasso(prompts, region, area, include)
    with document.step(line.tool):
        if owner is None:
            owner = document.new_object(plane).id
        document.active_id = owner
        document.set_prompts(owner, prompts)
    return owner


def _with_scribble(prompts: Prompts, points: np.ndarray, include: bool) -> Prompts:
    if not len(points):
        raise ValueError("The scribble lies beside the image: draw it on the object.")
    return _with_more_points(prompts, points, include)


def _with_lasso(
    prompts: Prompts, region: Region | None, area: Region | None, include: bool
) -> Prompts:
    """Return prompts with a lasso's area; looks at no more than where masks are."""
    if area is None:
        raise ValueError(
            "The lasso encloses nothing of the image: draw it around the object."
        )
    if region is None and prompts.mask is not None:
        region = Region.from_mask(prompts.mask)
    seen = union_bbox(area.bbox, None if region is None else region.bbox)
    assert seen is not None
    drawn = area.window(seen)
    before = np.zeros_like(drawn) if region is None else region.window(seen)
    if include:
        changed, after = drawn & ~before, before | drawn
        if not changed.any():
            raise ValueError(
                "The lasso encloses only what is in the mask: switch to exclude to "
                "take that away."
            )
    else:
        changed, after = before & drawn, before & ~drawn
        if not changed.any():
            raise ValueError(
                "The lasso excludes, and nothing of the object lies in it: switch to "
                "include to draw around the object."
            )
        if not after.any():
            raise ValueError(
                "The lasso would take the whole object away: use Clear, or delete it."
            )
    row, column = deepest(changed)
    at = (row + seen[0], column + seen[1])
    mask = np.zeros(area.shape, bool)
    mask[seen[0] : seen[2], seen[1] : seen[3]] = after
    return _with_more_points(prompts, [at], include).replace(mask=mask)


def _with_more_points(prompts: Prompts, points: ArrayLike, include: bool) -> Prompts:
    points = np.asarray(points, np.float64)
    return prompts.replace(
        points=np.concatenate([prompts.points, points]),
        labels=np.concatenate([prompts.labels, np.full(len(points), int(include))]),
        scores=None,  # the document knows those of the points that were there
        before=None,
    )


def _activate_edited(document: Document, changed: list[int], plane: Plane) -> None:
    here = [i for i in changed if document.get(i).plane == plane]
    if here and document.active_id not in here:
        document.active_id = here[-1]


def _assigned(
    document: Document, rows: PointTable, *, begin: bool = True
) -> PointTable:
    """Rows with the object in the document that each belongs to."""
    if not len(rows):
        return rows
    keyed = np.column_stack([rows.objects, rows.planes()])
    order = np.lexsort(keyed.T[::-1])
    new = np.ones(len(rows), dtype=bool)
    new[1:] = (np.diff(keyed[order], axis=0) != 0).any(axis=1)
    first = order[new]  # The sort is stable: the first row of every key.
    kind = np.empty(len(rows), dtype=np.int64)
    kind[order] = np.cumsum(new) - 1
    names = [(int(k[0]), tuple(k[1:])) for k in keyed[first].tolist()]
    in_order = [names[i] for i in np.argsort(first).tolist()]
    owners = assign(document, in_order, begin=begin)
    objects = np.array([owners[name] for name in names], dtype=np.int64)
    return replace(rows, objects=objects[kind])


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
    document: Document, keys: Iterable[tuple[int, Plane]], *, begin: bool = True
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
    begin : bool
        Whether objects are begun; otherwise a row without one keeps what it names.

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
        if owner is None and not begin:
            owner = named
        elif owner is None:
            if (active := document.active) is not None and active.is_blank and unknown:
                # A blank object would be handed out twice.
                document.active_id = None
            owner = document.new_object(plane).id
        owners[named, plane] = owner
    return owners


def draft_on(document: Document, plane: Plane, label: int = 0) -> int | None:
    """Return the last object of a plane that was never written to the labels.

    Parameters
    ----------
    document : Document
    plane : tuple of int
    label : int
        An object that is taken before all others, where it lies on this plane.
    """
    pending = document.pending  # once: it goes through the history
    found = None
    for record in reversed(document.on_plane(plane)):
        if record.committed or record.written is not None or record.id in pending:
            continue
        if record.label == label:
            return record.id
        found = record.id if found is None else found
    return found


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
