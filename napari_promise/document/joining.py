"""Make one object of several, and several of one; each is one step of the history.

Pixels stay what they are: the new objects have the masks that were seen, and stand for
their points and boxes until these change. What was in the labels is there again, under
the new numbers.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_promise.document.document import Document
from napari_promise.document.records import ObjectRecord
from napari_promise.document.regions import Region, union_bbox
from napari_promise.prompts import Prompts

__all__ = ["merge", "parts_of", "split"]

#: A part has to be at least this share of the depth of the deepest, to be one.
_DEPTH = 0.5
#: What was painted onto an object is looked for so many pixels around it.
_PAINTED = 32


def merge(document: Document, object_ids: Sequence[int], labels: Any) -> int:
    """Make objects of one plane one object, which keeps the largest one's number.

    Parameters
    ----------
    document : Document
    object_ids : sequence of int
    labels : array-like, (..., H, W) integer
        The labels of all planes, written through ``document.events.labels_patched``
        while this runs.

    Returns
    -------
    int
        The object; it has the points and boxes of all, and is committed where one was.

    Raises
    ------
    ValueError
        If there are fewer than two, on several planes, or without a mask.
    """
    records = [document.get(object_id) for object_id in dict.fromkeys(object_ids)]
    if len(records) < 2:
        raise ValueError("Merging takes at least two objects: select them first.")
    if len({record.plane for record in records}) > 1:
        raise ValueError("Only objects of one plane can be merged.")
    _refuse_through_planes(document, records)
    masks = [_mask(record, labels) for record in records]
    kept = max(zip(records, masks, strict=True), key=lambda pair: pair[1].area)[0]
    others = [record for record in records if record is not kept]
    ordered = [kept, *others]
    known = [record.logits for record in ordered]
    logits = None
    if all(each is not None for each in known):
        arrays = [each.array for each in known if each is not None]
        if len({array.shape for array in arrays}) == 1:
            logits = np.maximum.reduce(arrays)
    with document.step("merge objects"):
        document.remove_many([record.id for record in others], labels)
        _draw(document, kept, *_joined(ordered), _union(masks), logits)
        if any(record.written is not None for record in records):
            document.commit(kept.id, labels[kept.plane])
        document.active_id = kept.id
    return kept.id


def split(document: Document, object_id: int, labels: Any) -> tuple[int, ...]:
    """Divide an object at its waists, or between the points that lie in it.

    Parameters
    ----------
    document : Document
    object_id : int
    labels : array-like, (..., H, W) integer
        See `merge`.

    Returns
    -------
    tuple of int
        The objects; the first is the one that was divided. Each has a point and a box,
        and is committed where the whole was.

    Raises
    ------
    ValueError
        If it has no mask, or nothing says where to divide it.
    """
    record = document.get(object_id)
    _refuse_through_planes(document, [record])
    whole = _mask(record, labels)
    points = record.prompts.points[record.prompts.labels == 1]
    parts = parts_of(whole, points)
    if len(parts) < 2:
        raise ValueError(
            "Nothing says where to divide this object: put a point on each of its "
            "parts, then split it."
        )
    with document.step("split object"):
        first, *rest = parts
        _draw(document, record, _around(first), ("user",), first, None)
        added = document.add_many(
            ObjectRecord(
                0,
                record.plane,
                record.class_name,
                prompts := _around(part),
                ("user",),
                region=part,
                score=record.score,
                answered=prompts,
                answered_revision=0,
            )
            for part in rest
        )
        ids = (object_id, *(each.id for each in added))
        if record.written is not None:
            # By hand or not: every pixel of the whole has its part.
            document.commit(object_id, labels[record.plane], keep_painted=False)
            document.commit_many(ids[1:], labels)
        document.active_id = None
    return ids


def parts_of(whole: Region, points: NDArray[np.float64]) -> list[Region]:
    """Divide a mask between points, or where its depth has several peaks.

    Parameters
    ----------
    whole : Region
    points : (N, 2) float64
        Rows and columns; those beside the mask say nothing.

    Returns
    -------
    list of Region
        The largest first; one only where there is nothing to divide.
    """
    from skimage.segmentation import watershed

    r0, c0 = whole.bbox[:2]
    crop = np.pad(whole.crop, 1)
    depth = ndimage.gaussian_filter(ndimage.distance_transform_edt(crop), 1.0)
    places = [
        (int(row) - r0 + 1, int(column) - c0 + 1)
        for row, column in np.rint(np.reshape(points, (-1, 2))).astype(int)
    ]
    rows, columns = crop.shape
    inside = [
        (row, column)
        for row, column in places
        if 0 <= row < rows and 0 <= column < columns and crop[row, column]
    ]
    if len(set(inside)) < 2:
        inside = _peaks(depth, crop)
    markers = np.zeros(crop.shape, np.int32)
    for number, at in enumerate(inside, start=1):
        markers[at] = number
    flooded = watershed(-depth, markers, mask=crop)
    # a piece without a marker goes to the nearest part
    if len(inside) > 1 and (missed := crop & (flooded == 0)).any():
        nearest = ndimage.distance_transform_edt(
            flooded == 0, return_distances=False, return_indices=True
        )
        flooded[missed] = flooded[tuple(nearest[:, missed])]
    found = [
        Region.from_crop((flooded == n)[1:-1, 1:-1], (r0, c0), whole.shape)
        for n in range(1, len(inside) + 1)
    ]
    return sorted((p for p in found if p is not None), key=lambda p: -p.area)


def _peaks(
    depth: NDArray[np.float64], crop: NDArray[np.bool_]
) -> list[tuple[int, int]]:
    """Return the deepest places, none near a deeper one."""
    ranked = np.argwhere((ndimage.maximum_filter(depth, size=3) == depth) & crop)
    ranked = ranked[np.argsort(-depth[tuple(ranked.T)], kind="stable")]
    peaks: list[tuple[int, int]] = []
    for row, column in ranked.tolist():
        here = depth[row, column]
        if here < _DEPTH * depth.max():
            break
        # as far from the deeper ones as both are deep, or the waist is none
        if all(
            np.hypot(row - r, column - c) > 0.6 * (here + depth[r, c]) for r, c in peaks
        ):
            peaks.append((row, column))
    return peaks


def _mask(record: ObjectRecord, labels: Any) -> Region:
    """Return what is seen of an object: its pixels in the labels, else its mask."""
    found = record.region
    if record.written is not None:
        # what was painted beside it lies near
        plane, (r0, c0, r1, c1) = labels[record.plane], record.written.bbox
        top, left = max(0, r0 - _PAINTED), max(0, c0 - _PAINTED)
        seen = np.asarray(plane[top : r1 + _PAINTED, left : c1 + _PAINTED])
        shape = record.written.shape
        pixels = Region.from_crop(seen == record.label, (top, left), shape)
        found = pixels or record.region
    if found is None:
        raise ValueError(f"object {record.id} has no mask yet.")
    return found


def _refuse_through_planes(document: Document, records: Sequence[ObjectRecord]) -> None:
    for record in records:
        if len(document.whole(record.id)) > 1:
            raise ValueError(
                f"Object {record.label} goes through several planes, and those are "
                "neither merged nor split: correct its planes one by one."
            )


def _union(masks: Sequence[Region]) -> Region:
    bbox = union_bbox(*(mask.bbox for mask in masks))
    assert bbox is not None
    pixels = np.zeros((bbox[2] - bbox[0], bbox[3] - bbox[1]), bool)
    for mask in masks:
        pixels |= mask.window(bbox)
    whole = Region.from_crop(pixels, bbox[:2], masks[0].shape)
    assert whole is not None
    return whole


def _joined(records: Sequence[ObjectRecord]) -> tuple[Prompts, tuple[Any, ...]]:
    """Return the points and boxes of all, and who placed the points."""
    prompts = [record.prompts for record in records]
    scores = [
        np.full(len(p.points), np.nan) if p.scores is None else p.scores
        for p in prompts
    ]
    joined = Prompts(
        points=np.concatenate([p.points for p in prompts]),
        labels=np.concatenate([p.labels for p in prompts]),
        scores=None
        if np.isnan(np.concatenate(scores)).all()
        else (np.concatenate(scores)),
        boxes=np.concatenate([p.boxes for p in prompts]),
    )
    return joined, tuple(s for record in records for s in record.sources)


def _around(part: Region) -> Prompts:
    """Return a point in the deepest place of a mask, and the box around it."""
    r0, c0, r1, c1 = part.bbox
    return Prompts(
        points=[part.deepest],
        labels=[1],
        boxes=[(r0 - 0.5, c0 - 0.5, r1 - 0.5, c1 - 0.5)],
    )


def _draw(
    document: Document,
    record: ObjectRecord,
    prompts: Prompts,
    sources: tuple[Any, ...],
    region: Region,
    logits: NDArray[np.float32] | None,
) -> None:
    """Give an object prompts, and a mask that counts as their answer."""
    changed = document.set_prompts(record.id, prompts, sources, keep_logits=True)
    document.set_mask(
        record.id,
        region,
        score=np.nan if record.score is None else record.score,
        logits=logits,
        revision=changed.revision,
    )
