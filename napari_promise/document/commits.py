"""How label pixels change hands when an object is committed.

The rules only: what is written is for the document to tell and to remember.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_promise.document.patches import LabelPatch
from napari_promise.document.regions import BBox, Plane, Region, union_bbox

__all__ = ["CommitResult", "Overlap", "commit_patch"]

#: What a commit does with pixels of another object: leave them or take them.
Overlap = Literal["keep", "overwrite"]


@dataclass(frozen=True)
class CommitResult:
    """What a commit changes.

    Attributes
    ----------
    patch : LabelPatch or None
        The label pixels; None where the labels are right already.
    written, yielded : dict of int to Region or None
        The pixels that belong to each object, and those it had to give away,
        for every object concerned.
    """

    patch: LabelPatch | None
    written: dict[int, Region | None]
    yielded: dict[int, Region | None]


def commit_patch(
    labels: Any,
    object_id: int,
    region: Region | None,
    *,
    plane: Plane = (),
    written: Mapping[int, Region | None] | None = None,
    yielded: Mapping[int, Region | None] | None = None,
    overlap: Overlap = "keep",
    keep_painted: bool = True,
) -> CommitResult:
    """Work out how the labels of a plane change when an object is committed.

    Earlier pixels of the object that its mask no longer holds are given up: they
    go back to the object they were taken from, or to the background. A pixel
    that was set by hand keeps its label, whatever the policy, while
    `keep_painted`; a pixel that was taken off the object by hand stays off.

    Parameters
    ----------
    labels : array-like, (H, W) integer
        The plane's labels; only the part that matters is read.
    object_id : int
        The object's label.
    region : Region or None
        The object's mask.
    plane : Plane
        The plane, for the patch.
    written, yielded : mapping of int to Region or None
        What earlier commits left, by object, for the objects of this plane.
    overlap : {"keep", "overwrite"}
        Whether pixels of other objects stay theirs or become this object's.
    keep_painted : bool
        Whether pixels set by hand keep their labels.

    Returns
    -------
    CommitResult
    """
    written = dict(written or {})
    yielded = dict(yielded or {})
    shape = (int(labels.shape[-2]), int(labels.shape[-1]))
    own = written.get(object_id)
    for known in (region, own):
        if known is not None and known.shape != shape:
            raise ValueError(
                f"the mask belongs to a plane of shape {known.shape}, the labels "
                f"have {shape}; commit into labels of the image's shape."
            )
    bbox = union_bbox(*(known.bbox for known in (region, own) if known is not None))
    if not keep_painted:
        bbox = (0, 0, *shape)  # pixels set by hand may lie anywhere
    if bbox is None:
        return CommitResult(None, {object_id: None}, {object_id: None})
    r0, c0, r1, c1 = bbox
    current = np.asarray(labels[r0:r1, c0:c1])
    wanted = _window(region, bbox)
    earlier = _window(own, bbox)
    is_own = current == object_id
    removed_by_hand = earlier & ~is_own
    target = wanted.copy()
    if keep_painted:
        target |= is_own & ~earlier
        target &= ~removed_by_hand
    taken = target & (current != 0) & ~is_own
    if overlap == "keep":
        target &= ~taken
        taken[:] = False
    elif keep_painted:
        for other in np.unique(current[taken]).tolist():
            by_hand = taken & (current == other) & ~_window(written.get(other), bbox)
            target &= ~by_hand
            taken &= ~by_hand

    # Labels that a narrow type cannot hold: whoever writes the patch widens the layer.
    highest = np.min_scalar_type(max(object_id, *yielded, 0))
    after = current.astype(np.promote_types(current.dtype, highest))
    given_up = is_own & ~target
    after[given_up] = 0
    after[target] = object_id
    new_written: dict[int, Region | None] = {}
    new_yielded: dict[int, Region | None] = {}
    for other in np.unique(current[taken]).tolist():
        lost = taken & (current == other)
        theirs, lent = written.get(other), yielded.get(other)
        new_written[other] = _with_window(
            theirs, bbox, _window(theirs, bbox) & ~lost, shape
        )
        new_yielded[other] = _with_window(lent, bbox, _window(lent, bbox) | lost, shape)
    if given_up.any():
        for other in yielded.keys() - {object_id}:
            lent = new_yielded.get(other, yielded[other])
            back = given_up & (after == 0) & _window(lent, bbox)
            if not back.any():
                continue
            after[back] = other
            theirs = new_written.get(other, written.get(other))
            new_written[other] = _with_window(
                theirs, bbox, _window(theirs, bbox) | back, shape
            )
            new_yielded[other] = _with_window(
                lent, bbox, _window(lent, bbox) & ~back, shape
            )
    # A pixel set by hand stays known as such: one that was added stays outside of
    # `written`, one that was removed stays inside.
    own_now = target
    if keep_painted:
        own_now = (target & ~(is_own & ~earlier)) | removed_by_hand
    new_written[object_id] = Region.from_crop(own_now, (r0, c0), shape)
    new_yielded[object_id] = None
    patch = LabelPatch.from_crops(plane, (r0, c0), current, after, shape)
    return CommitResult(patch, new_written, new_yielded)


def _window(region: Region | None, bbox: BBox) -> NDArray[np.bool_]:
    if region is None:
        return np.zeros((bbox[2] - bbox[0], bbox[3] - bbox[1]), bool)
    return region.window(bbox)


def _with_window(
    region: Region | None, bbox: BBox, pixels: NDArray[np.bool_], shape: tuple[int, int]
) -> Region | None:
    """Return the region with the pixels inside a box exchanged."""
    whole = union_bbox(bbox, region.bbox if region else None)
    assert whole is not None
    seen = _window(region, whole)
    top, left = whole[:2]
    seen[bbox[0] - top : bbox[2] - top, bbox[1] - left : bbox[3] - left] = pixels
    return Region.from_crop(seen, (top, left), shape)
