"""How label pixels change hands when an object is committed.

The rules only: what is written is for the document to tell and to remember.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_promise.document.patches import LabelPatch
from napari_promise.document.regions import BBox, Plane, Region, union_bbox

__all__ = ["CommitResult", "Overlap", "commit_patches"]

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
        The pixels that belong to each label, and those it had to give away,
        for every label concerned.
    """

    patch: LabelPatch | None
    written: dict[int, Region | None]
    yielded: dict[int, Region | None]


def commit_patches(
    labels: Any,
    commits: Sequence[tuple[int, Region | None]],
    *,
    plane: Plane,
    written: Mapping[int, Region | None],
    yielded: Mapping[int, Region | None],
    overlap: Overlap,
    keep_painted: bool,
) -> CommitResult:
    """Work out what objects of a plane change, committed one after another.

    Earlier pixels of an object that its mask no longer holds are given up: they
    go back to the object they were taken from, or to the background. A pixel
    that was set by hand keeps its label, whatever the policy, while
    `keep_painted`; a pixel that was taken off the object by hand stays off.

    Parameters
    ----------
    labels : array-like, (H, W) integer
        The plane's labels; what holds all of the objects is read, once.
    commits : sequence of (int, Region or None)
        Each object's label and mask.
    plane : Plane
        The plane, for the patch.
    written, yielded : mapping of int to Region or None
        What earlier commits left, by label, for the objects of this plane. All of
        `yielded` may be gone through: leave out who yielded nothing.
    overlap : {"keep", "overwrite"}
        Whether pixels of other objects stay theirs or become the committed object's.
    keep_painted : bool
        Whether pixels set by hand keep their labels.

    Returns
    -------
    CommitResult
        One patch for all.
    """
    shape = (int(labels.shape[-2]), int(labels.shape[-1]))
    boxes = []
    for label, region in commits:
        for known in (region, written.get(label)):
            if known is None:
                continue
            if known.shape != shape:
                raise ValueError(
                    f"the mask belongs to a plane of shape {known.shape}, the labels "
                    f"have {shape}; commit into labels of the image's shape."
                )
            boxes.append(known.bbox)
    # Pixels set by hand may lie anywhere.
    whole = union_bbox(*boxes) if keep_painted else (0, 0, *shape)
    nothing: dict[int, Region | None] = {label: None for label, _ in commits}
    if whole is None:
        return CommitResult(None, nothing, dict(nothing))
    r0, c0, r1, c1 = whole
    before = np.asarray(labels[r0:r1, c0:c1])
    # Labels that a narrow type cannot hold: whoever writes the patch widens the layer.
    highest = max(0, *(label for label, _ in commits), *yielded)
    after = before.astype(np.promote_types(before.dtype, np.min_scalar_type(highest)))
    extents = {} if keep_painted or len(commits) == 1 else _extents(before)
    owned, lent = _Latest(written), _Latest(yielded)
    for label, region in commits:
        own = owned[label]
        bbox: BBox | None = whole
        if keep_painted or len(commits) > 1:
            # `own` holds what came back to the object meanwhile.
            known_boxes = [r.bbox for r in (region, own) if r is not None]
            bbox = union_bbox(extents.get(label), *known_boxes)
        if bbox is None:
            owned[label] = lent[label] = None
            continue
        rows = slice(bbox[0] - r0, bbox[2] - r0)
        columns = slice(bbox[1] - c0, bbox[3] - c0)
        _settle(
            after[rows, columns],
            bbox,
            shape,
            label,
            region,
            owned,
            lent,
            overlap,
            keep_painted,
        )
    patch = LabelPatch.from_crops(plane, (r0, c0), before, after, shape)
    return CommitResult(patch, owned.new, lent.new)


class _Latest:
    """What is known of each label: found out just now, else from before."""

    def __init__(self, known: Mapping[int, Region | None]) -> None:
        self.known = known
        self.new: dict[int, Region | None] = {}
        self._fresh: set[int] = set()  # those in `new` that have pixels

    def __getitem__(self, label: int) -> Region | None:
        return self.new[label] if label in self.new else self.known.get(label)

    def __setitem__(self, label: int, region: Region | None) -> None:
        self.new[label] = region
        (self._fresh.discard if region is None else self._fresh.add)(label)

    def labels(self) -> set[int]:
        """Return every label that may have pixels."""
        return self._fresh | (self.known.keys() - self.new.keys())


def _settle(
    pixels: NDArray[Any],
    bbox: BBox,
    shape: tuple[int, int],
    label: int,
    region: Region | None,
    written: _Latest,
    yielded: _Latest,
    overlap: Overlap,
    keep_painted: bool,
) -> None:
    """Commit one object into the pixels inside a box, in place.

    What becomes of `written` and `yielded` is set there.
    """
    own = written[label]
    wanted = _window(region, bbox)
    is_own = pixels == label
    target = wanted.copy()
    fresh = own is None
    removed_by_hand = added_by_hand = None
    if keep_painted:
        earlier = _window(own, bbox)
        removed_by_hand = earlier & ~is_own
        added_by_hand = is_own & ~earlier
        target |= added_by_hand
        target &= ~removed_by_hand
    taken = target & (pixels != 0) & ~is_own
    losers: list[int] = []
    if taken.any():
        if overlap == "keep":
            target &= ~taken
        else:
            for other in np.unique(pixels[taken]).tolist():
                lost = taken & (pixels == other)
                if keep_painted:
                    by_hand = lost & ~_window(written[other], bbox)
                    target &= ~by_hand
                    lost &= ~by_hand
                if lost.any():
                    losers.append(other)
                    theirs, lent = written[other], yielded[other]
                    left = _window(theirs, bbox) & ~lost
                    written[other] = _with_window(theirs, bbox, left, shape)
                    owed = _window(lent, bbox) | lost
                    yielded[other] = _with_window(lent, bbox, owed, shape)
    given_up = is_own & ~target
    if given_up.any():
        pixels[given_up] = 0
        for other in yielded.labels() - {label}:
            lent = yielded[other]
            if lent is None:
                continue
            owed = _window(lent, bbox)
            back = given_up & (pixels == 0) & owed
            if not back.any():
                continue
            pixels[back] = other
            theirs = written[other]
            more = _window(theirs, bbox) | back
            written[other] = _with_window(theirs, bbox, more, shape)
            yielded[other] = _with_window(lent, bbox, owed & ~back, shape)
    pixels[target] = label
    # A pixel set by hand stays known as such: one that was added stays outside of
    # `written`, one that was removed stays inside.
    own_now = target
    if added_by_hand is not None and removed_by_hand is not None:
        own_now = (target & ~added_by_hand) | removed_by_hand
    if fresh and region is not None and np.array_equal(own_now, wanted):
        written[label] = region
    else:
        written[label] = Region.from_crop(own_now, bbox[:2], shape)
    yielded[label] = None


def _extents(labels: NDArray[Any]) -> dict[int, BBox]:
    """Return the bounding box of every label of a plane but the background."""
    from scipy import ndimage

    numbers, dense = np.unique(labels, return_inverse=True)
    windows = ndimage.find_objects(dense.reshape(labels.shape) + 1)
    return {
        int(number): (rows.start, columns.start, rows.stop, columns.stop)
        for number, (rows, columns) in zip(numbers, windows, strict=True)
        if number
    }


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
