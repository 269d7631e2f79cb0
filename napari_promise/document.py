"""The objects of one image, their prompts and masks, and one undo stack over all.

A `Document` knows no window, no model and no image: prompts, masks and label
pixels come in as arrays, and what must be repainted goes out as events. Records
are immutable, so undo puts back the very record that was there before, mask and
all, and never runs a model.

How a click becomes one step:

1. `Document.set_prompts` stores the edited prompts under a fresh revision and opens
   a step. It also settles which earlier logits serve as mask prompt, and which
   points these answer already (`feedback`).
2. The mask that answers arrives later, with the revision it was asked for.
   `Document.set_mask` drops it when the object has moved on, else it joins that
   step: undo takes the prompts and the mask back together.
3. `Document.commit` compares the mask with the label pixels and emits a
   `LabelPatch`; the same step puts the pixels back on undo.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
import zlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from psygnal import Signal, SignalGroup

from napari_promise.prompts import Prompts

__all__ = [
    "BBox",
    "Document",
    "DocumentEvents",
    "LabelPatch",
    "ObjectRecord",
    "Overlap",
    "Plane",
    "Region",
    "Snapshot",
    "Step",
    "commit_patch",
    "feedback",
    "union_bbox",
]

#: The indices of the axes that are not displayed; () for a 2-D image.
Plane = tuple[int, ...]
#: Row 0, column 0, row 1, column 1; half open.
BBox = tuple[int, int, int, int]
#: What a commit does with pixels of another object: leave them or take them.
Overlap = Literal["keep", "overwrite"]
Source = Literal["auto", "user"]
#: A point prompt as (row, column, label).
_PointKey = tuple[float, float, int]

#: The fewest steps a history may be limited to.
MIN_HISTORY = 100


def union_bbox(*boxes: BBox | None) -> BBox | None:
    """Return the smallest bounding box around all given ones.

    Parameters
    ----------
    *boxes : BBox or None
        None stands for nothing.

    Returns
    -------
    BBox or None
    """
    given = [box for box in boxes if box is not None]
    if not given:
        return None
    r0, c0, r1, c1 = zip(*given, strict=True)
    return min(r0), min(c0), max(r1), max(c1)


@dataclass(frozen=True)
class Region:
    """Some pixels of one plane, as a bounding box and compressed bits.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of the whole plane.
    bbox : BBox
        The tight bounding box of the pixels.
    bits : bytes
        The pixels inside the box, packed and compressed.
    """

    shape: tuple[int, int]
    bbox: BBox
    bits: bytes = field(repr=False)

    @classmethod
    def from_crop(
        cls, crop: ArrayLike, origin: tuple[int, int], shape: tuple[int, int]
    ) -> Region | None:
        """Make a region from a part of a plane.

        Parameters
        ----------
        crop : array_like, (h, w) bool
            Part of the plane's mask.
        origin : (int, int)
            Row and column of the part's first pixel.
        shape : (int, int)
            Rows and columns of the whole plane.

        Returns
        -------
        Region or None
            None if no pixel is set.
        """
        pixels = np.asarray(crop, bool)
        rows = np.flatnonzero(pixels.any(axis=1))
        if len(rows) == 0:
            return None
        columns = np.flatnonzero(pixels.any(axis=0))
        tight = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        r0, c0 = origin[0] + int(rows[0]), origin[1] + int(columns[0])
        bbox = (r0, c0, r0 + tight.shape[0], c0 + tight.shape[1])
        if r0 < 0 or c0 < 0 or bbox[2] > shape[0] or bbox[3] > shape[1]:
            raise ValueError(
                f"the box {bbox} leaves the plane of shape {tuple(shape)}; pass the "
                "mask of this plane."
            )
        bits = zlib.compress(np.packbits(tight).tobytes(), 1)
        return cls((int(shape[0]), int(shape[1])), bbox, bits)

    @classmethod
    def from_mask(cls, mask: ArrayLike) -> Region | None:
        """Make a region from the mask of a whole plane, (H, W) bool."""
        pixels = np.asarray(mask, bool)
        return cls.from_crop(pixels, (0, 0), (pixels.shape[0], pixels.shape[1]))

    @property
    def crop(self) -> NDArray[np.bool_]:
        """The pixels inside the bounding box, (r1 - r0, c1 - c0) bool."""
        height, width = self.bbox[2] - self.bbox[0], self.bbox[3] - self.bbox[1]
        packed = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        flat = np.unpackbits(packed, count=height * width)
        return flat.view(bool).reshape(height, width)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The mask of the whole plane, (H, W) bool; costly for large planes."""
        return self.window((0, 0, *self.shape))

    @property
    def area(self) -> int:
        """The number of pixels."""
        return int(np.count_nonzero(self.crop))

    def covers(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which points lie on the mask.

        Parameters
        ----------
        points : (N, 2) float64
            (row, column) in the plane's pixels, pixel centres at the integers.

        Returns
        -------
        (N,) bool
        """
        low, high = np.array(self.bbox[:2]), np.array(self.bbox[2:])
        cells = np.rint(points).astype(np.int64)
        inside = (cells >= low) & (cells < high)
        covered: NDArray[np.bool_] = inside[:, 0] & inside[:, 1]
        covered[covered] = self.crop[tuple((cells[covered] - low).T)]
        return covered

    def window(self, bbox: BBox) -> NDArray[np.bool_]:
        """Return the pixels as seen through another bounding box.

        Parameters
        ----------
        bbox : BBox
            A box inside the plane.

        Returns
        -------
        (r1 - r0, c1 - c0) bool
        """
        if bbox == self.bbox:
            return self.crop
        seen = np.zeros((bbox[2] - bbox[0], bbox[3] - bbox[1]), bool)
        r0, c0 = max(bbox[0], self.bbox[0]), max(bbox[1], self.bbox[1])
        r1, c1 = min(bbox[2], self.bbox[2]), min(bbox[3], self.bbox[3])
        if r0 < r1 and c0 < c1:
            top, left = self.bbox[:2]
            seen[r0 - bbox[0] : r1 - bbox[0], c0 - bbox[1] : c1 - bbox[1]] = self.crop[
                r0 - top : r1 - top, c0 - left : c1 - left
            ]
        return seen


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


@dataclass(frozen=True, eq=False)
class LabelPatch:
    """Pixels of one plane of a Labels layer that change their label.

    Attributes
    ----------
    plane : Plane
        The plane the pixels lie in.
    region : Region
        The pixels that change.
    before, after : () or (n,) integer array
        Their labels, in row-major order inside the region; a single number where
        all are equal.
    """

    plane: Plane
    region: Region
    before: NDArray[Any]
    after: NDArray[Any]

    @classmethod
    def from_crops(
        cls,
        plane: Plane,
        origin: tuple[int, int],
        before: NDArray[Any],
        after: NDArray[Any],
        shape: tuple[int, int],
    ) -> LabelPatch | None:
        """Make a patch from the labels of a part of a plane before and after.

        Parameters
        ----------
        plane : Plane
        origin : (int, int)
            Row and column of the part's first pixel.
        before, after : (h, w) integer
        shape : (int, int)
            Rows and columns of the whole plane.

        Returns
        -------
        LabelPatch or None
            None if nothing changes.
        """
        changed = np.asarray(before) != np.asarray(after)
        region = Region.from_crop(changed, origin, shape)
        if region is None:
            return None
        return cls(
            tuple(plane),
            region,
            _compact(np.asarray(before)[changed]),
            _compact(np.asarray(after)[changed]),
        )

    @classmethod
    def from_pixels(
        cls,
        plane: Plane,
        rows: ArrayLike,
        columns: ArrayLike,
        before: ArrayLike,
        after: ArrayLike,
        shape: tuple[int, int],
    ) -> LabelPatch | None:
        """Make a patch from single pixels, as a paint stroke reports them.

        Parameters
        ----------
        plane : Plane
        rows, columns : array_like, (n,) int
            The pixels. Where one occurs twice, its first `before` and its last
            `after` count.
        before, after : array_like, () or (n,) int
            Their labels.
        shape : (int, int)
            Rows and columns of the whole plane.

        Returns
        -------
        LabelPatch or None
            None if nothing changes.
        """
        r = np.asarray(rows, np.int64).reshape(-1)
        c = np.asarray(columns, np.int64).reshape(-1)
        if len(r) == 0:
            return None
        old = np.broadcast_to(np.asarray(before), r.shape)
        fresh = np.broadcast_to(np.asarray(after), r.shape)
        r0, c0 = int(r.min()), int(c.min())
        extent = (int(r.max()) - r0 + 1, int(c.max()) - c0 + 1)
        first = np.zeros(extent, np.result_type(old, fresh))
        last = np.zeros_like(first)
        first[r[::-1] - r0, c[::-1] - c0] = old[::-1]
        last[r - r0, c - c0] = fresh
        return cls.from_crops(plane, (r0, c0), first, last, shape)

    @property
    def bbox(self) -> BBox:
        """The bounding box of the pixels that change."""
        return self.region.bbox

    @property
    def indices(self) -> tuple[NDArray[np.intp], ...]:
        """The pixels as an index into the whole Labels array, plane included."""
        rows, columns = np.nonzero(self.region.crop)
        rows += self.bbox[0]
        columns += self.bbox[1]
        leading = (np.full(len(rows), index) for index in self.plane)
        return (*leading, rows, columns)

    def inverse(self) -> LabelPatch:
        """Return the patch that takes this one back."""
        return LabelPatch(self.plane, self.region, self.after, self.before)

    def apply(self, labels: NDArray[Any]) -> None:
        """Write the patch into an array, in place.

        Parameters
        ----------
        labels : (..., H, W) integer
        """
        r0, c0, r1, c1 = self.bbox
        labels[self.plane][r0:r1, c0:c1][self.region.crop] = self.after


def _compact(values: NDArray[Any]) -> NDArray[Any]:
    if len(values) and (values == values[0]).all():
        values = values[0].copy()
    compact = np.asarray(values)
    compact.flags.writeable = False
    return compact


@dataclass(frozen=True, eq=False)
class ObjectRecord:
    """One object as it stands: its prompts, the mask that answers them, its label.

    Attributes
    ----------
    id : int
        The object's number, which is its label in the Labels layer.
    plane : Plane
        The plane the object lies in.
    class_name : str
    prompts : Prompts
        What is prompted, with the logits that serve (or served) as mask prompt.
    sources : tuple of {"auto", "user"}
        Who placed each point.
    region : Region or None
        The latest mask; None where there is none or it is empty.
    score : float or None
        The model's predicted quality of the mask.
    logits : (1, h, w) float32 or None
        The mask's low-resolution logits.
    answered : Prompts or None
        The prompts that the mask answers.
    coarse : (1, h, w) float32 or None
        The auto-prompting module's map, the mask prompt to restart from.
    revision : int
        Changes with every edit of the prompts; never used twice.
    committed : bool
        Whether the Labels layer holds the object as it stands.
    written : Region or None
        The label pixels that belong to the object through its commits. A pixel
        of its label outside of it, or of another label inside, was set by hand.
    yielded : Region or None
        Pixels that another object's commit took over; they come back when that
        object gives them up.
    """

    id: int
    plane: Plane = ()
    class_name: str = ""
    prompts: Prompts = field(default_factory=Prompts)
    sources: tuple[Source, ...] = ()
    region: Region | None = None
    score: float | None = None
    logits: NDArray[np.float32] | None = field(default=None, repr=False)
    answered: Prompts | None = field(default=None, repr=False)
    coarse: NDArray[np.float32] | None = field(default=None, repr=False)
    revision: int = 0
    committed: bool = False
    written: Region | None = None
    yielded: Region | None = None

    @property
    def bbox(self) -> BBox | None:
        """The mask's bounding box, None where there is no mask."""
        return None if self.region is None else self.region.bbox

    @property
    def crop(self) -> NDArray[np.bool_] | None:
        """The mask inside its bounding box, None where there is no mask."""
        return None if self.region is None else self.region.crop

    @property
    def is_answered(self) -> bool:
        """Whether the mask answers the prompts as they stand."""
        return self.answered is self.prompts or self.prompts.is_empty

    @property
    def is_blank(self) -> bool:
        """Whether the object has neither prompts nor a mask nor label pixels."""
        return self.prompts.is_empty and self.region is None and self.written is None


def feedback(
    record: ObjectRecord, prompts: Prompts, sources: Sequence[Source]
) -> Prompts:
    """Choose what edited prompts send: the mask prompt, and which points go with it.

    When points were only added to an object with a mask, the mask's own logits are
    fed back, as interactive SAM does. The automatic points that this mask answers
    are then marked as answered and not sent again, because many of them outvote a
    corrective click. One stays, as the first click of a session would: the first
    to include that lies on the mask, which a module that orders its points puts
    deepest in the object. Without it, later clicks would shrink the mask to what
    lies around them. What the user placed is always sent, and what was added since
    the mask was drawn is marked.

    Where only what was added last was moved or flipped, its correction is redone, from
    the mask that it corrected. After any other point was moved, deleted or flipped, or
    a box or mask changed, the mask would hold on to what was taken back, so everything
    restarts: all points, and the auto-prompting module's map where there is one.

    Parameters
    ----------
    record : ObjectRecord
        The object before the edit.
    prompts : Prompts
        The prompts after it; their logits, and which points are answered or added,
        are not looked at.
    sources : sequence of {"auto", "user"}
        Who placed each point of `prompts`.

    Returns
    -------
    Prompts
        The same prompts, with `logits`, `answered` and `added` set.
    """
    earlier = record.answered
    prompts = prompts.replace(logits=None, answered=None, added=None)
    if prompts.is_empty or (earlier is None and prompts.mask is not None):
        return prompts
    if earlier is None:
        return prompts.replace(logits=record.coarse)
    same_mask = earlier.mask is prompts.mask or (
        earlier.mask is not None
        and prompts.mask is not None
        and np.array_equal(prompts.mask, earlier.mask)
    )
    there, before = _point_counts(prompts), _point_counts(earlier)
    automatic = np.array([source == "auto" for source in sources], bool)
    same = same_mask and np.array_equal(prompts.boxes, earlier.boxes)
    old = before if earlier.added is None else _point_counts(earlier, ~earlier.added)
    if same and old <= there and len(prompts.points) == len(earlier.points):
        left_out = before - _point_counts(earlier.to_send())
        return prompts.replace(
            logits=earlier.logits,
            answered=_among(left_out, prompts, automatic),
            added=~_among(old, prompts),
        )
    if not (same and before <= there) or record.region is None or record.logits is None:
        coarse = None if prompts.mask is not None else record.coarse
        return prompts.replace(logits=coarse)
    answered = answered_points(
        _among(before, prompts, automatic),
        prompts.labels,
        record.region.covers(prompts.points),
    )
    return prompts.replace(
        logits=record.logits, answered=answered, added=~_among(before, prompts)
    )


def answered_points(
    automatic: NDArray[np.bool_], labels: NDArray[Any], on_mask: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Tell which points a mask answers, so that they are not sent with it again.

    The automatic ones but one, see `feedback`.

    Parameters
    ----------
    automatic : (N,) bool
        Points that an auto-prompting module placed and the mask has answered.
    labels : (N,) integer
        1 include, 0 exclude.
    on_mask : (N,) bool
        Points that lie on the mask.

    Returns
    -------
    (N,) bool
    """
    answered = np.array(automatic, bool)
    included = answered & (np.asarray(labels) == 1)
    kept = included & on_mask
    answered[np.flatnonzero(kept if kept.any() else included)[:1]] = False
    return answered


def _point_keys(prompts: Prompts) -> list[_PointKey]:
    return [
        (row, column, label)
        for (row, column), label in zip(
            prompts.points.tolist(), prompts.labels.tolist(), strict=True
        )
    ]


def _point_counts(
    prompts: Prompts, chosen: NDArray[np.bool_] | None = None
) -> Counter[_PointKey]:
    keys = _point_keys(prompts)
    return Counter(keys if chosen is None else itertools.compress(keys, chosen))


def _among(
    known: Counter[_PointKey],
    prompts: Prompts,
    eligible: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Tell which of the eligible points are among the known, each counted once."""
    left = known.copy()
    found = np.zeros(len(prompts.points), bool)
    for index, key in enumerate(_point_keys(prompts)):
        if (eligible is None or eligible[index]) and left[key] > 0:
            left[key] -= 1
            found[index] = True
    return found


def _inherit(
    record: ObjectRecord, prompts: Prompts
) -> tuple[tuple[Source, ...], NDArray[np.float64] | None]:
    """Points that did not change keep their source and score; others are the user's."""
    known: dict[tuple[float, float, int], tuple[Source, float]] = {}
    scores = record.prompts.scores
    for index, source in enumerate(record.sources):
        row, column = record.prompts.points[index].tolist()
        score = np.nan if scores is None else float(scores[index])
        known[row, column, int(record.prompts.labels[index])] = (source, score)
    found = [
        known.get((row, column, label), ("user", np.nan))
        for (row, column), label in zip(
            prompts.points.tolist(), prompts.labels.tolist(), strict=True
        )
    ]
    inherited = np.array([score for _, score in found])
    return (
        tuple(source for source, _ in found),
        None if np.isnan(inherited).all() else inherited,
    )


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

    after = current.copy()
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


@dataclass
class Step:
    """One undoable action: records before and after, and label pixels.

    Attributes
    ----------
    name : str
        What was done.
    active : (int or None, int or None)
        The active object before and after.
    records : dict of int to (ObjectRecord or None, ObjectRecord or None)
        By id, the object before and after; None where there was none.
    patches : list of LabelPatch
        In the order in which they were made.
    """

    name: str
    active: tuple[int | None, int | None]
    records: dict[int, tuple[ObjectRecord | None, ObjectRecord | None]] = field(
        default_factory=dict
    )
    patches: list[LabelPatch] = field(default_factory=list)


@dataclass(frozen=True, eq=False)
class Snapshot:
    """All of a document at one moment, which later edits do not change.

    Attributes
    ----------
    records : tuple of ObjectRecord
        The objects, ordered by id.
    active : int or None
        The object being worked on.
    highest_id : int
        The highest id that was ever given or reserved.
    undo, redo : tuple of Step
        The history; the latest step is the last.
    """

    records: tuple[ObjectRecord, ...] = ()
    active: int | None = None
    highest_id: int = 0
    undo: tuple[Step, ...] = ()
    redo: tuple[Step, ...] = ()


class DocumentEvents(SignalGroup):
    """What happens to a document. Emitted in the thread that made the edit.

    Attributes
    ----------
    object_added, object_changed, object_removed : Signal(int)
        The object's id.
    active_changed : Signal(object)
        The id of the object being worked on, or None.
    labels_patched : Signal(LabelPatch)
        Label pixels must be written: at a commit, a removal, undo and redo. Not
        for `Document.record_paint`, whose pixels are there already.
    labels_painted : Signal(LabelPatch)
        Label pixels were set by hand, see `Document.record_paint`.
    history_changed : Signal()
        What can be undone or redone changed.
    """

    object_added = Signal(int)
    object_changed = Signal(int)
    object_removed = Signal(int)
    active_changed = Signal(object)
    labels_patched = Signal(object)
    labels_painted = Signal(object)
    history_changed = Signal()


class Document:
    """The objects of one image and the history of what was done to them.

    Parameters
    ----------
    history_limit : int
        How many steps can be undone; at least 100.

    Raises
    ------
    ValueError
        If the limit is too small.
    """

    def __init__(self, *, history_limit: int = 500) -> None:
        if history_limit < MIN_HISTORY:
            raise ValueError(
                f"history_limit is {history_limit}; it must be at least {MIN_HISTORY}."
            )
        self.events = DocumentEvents()
        self._records: dict[int, ObjectRecord] = {}
        self._active: int | None = None
        self._undo: deque[Step] = deque(maxlen=history_limit)
        self._redo: list[Step] = []
        self._open: Step | None = None
        self._depth = 0
        self._revisions = itertools.count(1)
        self._highest_id = 0
        # Edits come from the window's thread; a session without a window
        # delivers masks from its worker.
        self._lock = threading.RLock()

    # -- what is there ------------------------------------------------------------

    @property
    def objects(self) -> tuple[ObjectRecord, ...]:
        """All objects, ordered by id."""
        with self._lock:
            return tuple(self._records[key] for key in sorted(self._records))

    def __contains__(self, object_id: object) -> bool:
        return object_id in self._records

    def __len__(self) -> int:
        return len(self._records)

    def get(self, object_id: int) -> ObjectRecord:
        """Return one object.

        Parameters
        ----------
        object_id : int

        Returns
        -------
        ObjectRecord

        Raises
        ------
        ValueError
            If there is no such object.
        """
        try:
            return self._records[object_id]
        except KeyError:
            raise ValueError(
                f"there is no object {object_id}; the objects are "
                f"{sorted(self._records) or 'none'}."
            ) from None

    def on_plane(self, plane: Plane) -> tuple[ObjectRecord, ...]:
        """Return the objects of one plane, ordered by id."""
        return tuple(r for r in self.objects if r.plane == tuple(plane))

    @property
    def active_id(self) -> int | None:
        """The object being worked on; setting it is no step of the history."""
        return self._active

    @active_id.setter
    def active_id(self, object_id: int | None) -> None:
        if object_id is not None:
            self.get(object_id)
        with self._lock:
            changed = object_id != self._active
            self._active = object_id
        if changed:
            self.events.active_changed.emit(object_id)

    @property
    def active(self) -> ObjectRecord | None:
        """The record of the object being worked on."""
        return None if self._active is None else self._records.get(self._active)

    @property
    def next_id(self) -> int:
        """The id that the next object gets; ids are never used twice."""
        return self._highest_id + 1

    def reserve(self, highest_label: int) -> None:
        """Keep labels that exist already from being given to objects.

        Parameters
        ----------
        highest_label : int
            The highest label in the Labels layer.
        """
        self._highest_id = max(self._highest_id, int(highest_label))

    # -- edits --------------------------------------------------------------------

    @contextmanager
    def step(self, name: str) -> Iterator[None]:
        """Make several edits one step of the history.

        Parameters
        ----------
        name : str
            What the step did, for the tooltip of Undo.
        """
        with self._lock:
            if self._depth == 0:
                self._open = Step(name, (self._active, self._active))
            self._depth += 1
            try:
                yield
            finally:
                self._depth -= 1
                if self._depth == 0:
                    step, self._open = self._open, None
                    assert step is not None
                    step.active = (step.active[0], self._active)
                    if step.records or step.patches:
                        self._undo.append(step)
                        self._redo.clear()
                        self.events.history_changed.emit()

    def new_object(
        self, plane: Plane = (), *, class_name: str | None = None
    ) -> ObjectRecord:
        """Add an object and make it the active one.

        An active object on the same plane that is still blank is taken instead, so
        that asking twice does not leave empty objects behind.

        Parameters
        ----------
        plane : Plane
        class_name : str, optional
            The class; left out, that of the active object.

        Returns
        -------
        ObjectRecord
        """
        plane = tuple(int(index) for index in plane)
        active = self.active
        if class_name is None:
            class_name = active.class_name if active is not None else ""
        if active is not None and active.is_blank and active.plane == plane:
            self.set_class(active.id, class_name)
            return self.get(active.id)
        with self.step("new object"):
            self._highest_id += 1
            record = ObjectRecord(
                self._highest_id,
                plane,
                class_name,
                revision=next(self._revisions),
            )
            self._put(record.id, record)
            self.active_id = record.id
        return record

    def add_saved(self, saved: Any) -> ObjectRecord:
        """Add an object with saved prompts, exactly as they were.

        Parameters
        ----------
        saved : export.SavedObject or ObjectRecord
            Its id is taken where it is free.

        Returns
        -------
        ObjectRecord
            Without a mask: its prompts call for one.
        """
        with self.step("load prompts"):
            object_id = int(saved.id)
            if object_id in self._records or object_id <= 0:
                object_id = self.next_id
            record = ObjectRecord(
                object_id,
                tuple(int(index) for index in saved.plane),
                saved.class_name,
                saved.prompts,
                tuple(saved.sources),
                coarse=saved.coarse,
                revision=next(self._revisions),
            )
            self._put(object_id, record)
            self.active_id = object_id
        return record

    def set_prompts(
        self,
        object_id: int,
        prompts: Prompts,
        sources: Sequence[Source] | None = None,
        *,
        keep_logits: bool = False,
        coarse: NDArray[np.float32] | None = None,
        name: str = "edit prompts",
    ) -> ObjectRecord:
        """Exchange an object's prompts: one step, which the mask will join.

        Parameters
        ----------
        object_id : int
        prompts : Prompts
            All prompts of the object, not only the changed ones. Their logits and
            answered points are replaced by what `feedback` chooses, unless
            `keep_logits`.
        sources : sequence of {"auto", "user"}, optional
            Who placed each point. Left out, points that did not change keep their
            source and score, and others are the user's.
        keep_logits : bool
            Take the prompts as they are, as when saved prompts are replayed.
        coarse : (1, h, w) float32, optional
            An auto-prompting module's map to remember with the object.
        name : str
            What the step did.

        Returns
        -------
        ObjectRecord
            The record as it stands; unchanged (and no step) where the prompts
            say what they said before.

        Raises
        ------
        ValueError
            If there is no such object or the sources do not fit the points.
        """
        record = self.get(object_id)
        if sources is None:
            sources, scores = _inherit(record, prompts)
            if prompts.scores is None and scores is not None:
                prompts = prompts.replace(scores=scores)
        sources = tuple(sources)
        if len(sources) != len(prompts.points):
            raise ValueError(
                f"{len(sources)} sources for {len(prompts.points)} points; give one "
                "of 'auto' or 'user' per point."
            )
        if not keep_logits:
            prompts = feedback(record, prompts, sources)
        if prompts == record.prompts and sources == record.sources and coarse is None:
            return record
        changed = dataclasses.replace(
            record,
            prompts=prompts,
            sources=sources,
            coarse=record.coarse if coarse is None else coarse,
            revision=next(self._revisions),
            committed=False,
        )
        if prompts.is_empty:
            changed = dataclasses.replace(
                changed, region=None, score=None, logits=None, answered=None
            )
        with self.step(name):
            self._put(object_id, changed)
        return changed

    def edit_prompts(
        self,
        object_id: int,
        *,
        points: ArrayLike | None = None,
        labels: ArrayLike | None = None,
        boxes: ArrayLike | None = None,
        sources: Sequence[Source] | None = None,
        name: str = "edit prompts",
    ) -> ObjectRecord:
        """Exchange an object's points or boxes and leave its other prompts alone.

        Parameters
        ----------
        object_id : int
        points : array_like, (N, 2), optional
            All points of the object; left out, they stay.
        labels : array_like, (N,), optional
            Given with the points.
        boxes : array_like, (M, 4), optional
            All boxes of the object; left out, they stay.
        sources : sequence of {"auto", "user"}, optional
            Given with the points; see `set_prompts`.
        name : str
            What the step did.

        Returns
        -------
        ObjectRecord

        Raises
        ------
        ValueError
            If there is no such object or the values are no prompts.
        """
        record = self.get(object_id)
        changes: dict[str, Any] = {}
        if points is not None:
            changes |= {"points": points, "labels": labels}
            changes |= {"scores": None, "answered": None, "added": None}
        else:
            sources = record.sources
        if boxes is not None:
            changes["boxes"] = boxes
        prompts = record.prompts.replace(**changes)
        if points is not None:
            known, scores = _inherit(record, prompts)
            prompts = prompts.replace(scores=scores)
            sources = known if sources is None else sources
        return self.set_prompts(object_id, prompts, sources, name=name)

    def set_mask(
        self,
        object_id: int,
        region: Region | None,
        *,
        score: float,
        logits: NDArray[np.float32] | None,
        revision: int,
    ) -> bool:
        """Store the mask that answers an object's prompts.

        The mask joins the step that set the prompts. Where that step has its mask
        already, as after another adapter was chosen, a new step is made.

        Parameters
        ----------
        object_id : int
        region : Region or None
            The mask; None where it is empty.
        score : float
            The model's predicted quality.
        logits : (1, h, w) float32 or None
            The mask's low-resolution logits, to be fed back.
        revision : int
            The record's revision when the mask was asked for.

        Returns
        -------
        bool
            False if the object is gone or its prompts have changed since: the
            mask is stale and was dropped.
        """
        with self._lock:
            record = self._records.get(object_id)
            if record is None or record.revision != revision:
                return False
            answer: dict[str, Any] = {
                "region": region,
                "score": float(score),
                "logits": logits,
                "answered": record.prompts,
                "committed": False,
            }
            if record.is_answered:
                answer["revision"] = next(self._revisions)
                with self.step("segment again"):
                    self._put(object_id, dataclasses.replace(record, **answer))
                return True
            # Every record of this revision gets the mask, wherever the history
            # holds it, so that undoing a later step leads back to the prompts
            # *with* their mask.
            joined: dict[int, ObjectRecord] = {}

            def join(entry: ObjectRecord | None) -> ObjectRecord | None:
                if entry is None or entry.revision != revision:
                    return entry
                if id(entry) not in joined:
                    joined[id(entry)] = dataclasses.replace(entry, **answer)
                return joined[id(entry)]

            steps = [*self._undo, *self._redo]
            if self._open is not None:
                steps.append(self._open)
            for step in steps:
                if object_id in step.records:
                    before, after = step.records[object_id]
                    step.records[object_id] = (join(before), join(after))
            self._records[object_id] = join(record) or record
        self.events.object_changed.emit(object_id)
        return True

    def set_class(self, object_id: int, class_name: str) -> None:
        """Give an object a class; one step."""
        record = self.get(object_id)
        if record.class_name == class_name:
            return
        with self.step("change class"):
            self._put(object_id, dataclasses.replace(record, class_name=class_name))

    def clear(self, object_id: int) -> None:
        """Take away an object's prompts and mask, not its label pixels; one step."""
        record = self.get(object_id)
        if record.prompts.is_empty and record.region is None and record.coarse is None:
            return
        with self.step("clear"):
            self._put(
                object_id,
                ObjectRecord(
                    record.id,
                    record.plane,
                    record.class_name,
                    revision=next(self._revisions),
                    written=record.written,
                    yielded=record.yielded,
                ),
            )

    def commit(
        self,
        object_id: int,
        labels: Any,
        *,
        overlap: Overlap = "keep",
        keep_painted: bool = True,
    ) -> LabelPatch | None:
        """Write an object's mask into the labels; one step.

        Emits `labels_patched` where pixels must change; see `commit_patch` for the
        rules.

        Parameters
        ----------
        object_id : int
        labels : array-like, (H, W) integer
            The labels of the object's plane as they are now.
        overlap : {"keep", "overwrite"}
        keep_painted : bool

        Returns
        -------
        LabelPatch or None
            What was emitted.

        Raises
        ------
        ValueError
            If the object has no mask and no pixels yet, or the shapes differ.
        """
        record = self.get(object_id)
        if record.region is None and record.written is None:
            raise ValueError(
                f"object {object_id} has no mask yet; add a point or a box to it first."
            )
        return self._write(
            record,
            record.region,
            labels,
            overlap=overlap,
            keep_painted=keep_painted,
            name="commit",
        )

    def remove(self, object_id: int, labels: Any | None = None) -> LabelPatch | None:
        """Take an object away, with its label pixels; one step.

        Parameters
        ----------
        object_id : int
        labels : array-like, (H, W) integer, optional
            The labels of the object's plane as they are now; left out, the label
            pixels stay.

        Returns
        -------
        LabelPatch or None
            What was emitted as `labels_patched`.
        """
        record = self.get(object_id)
        patch = None
        with self.step("remove object"):
            if labels is not None and record.written is not None:
                patch = self._write(
                    record, None, labels, keep_painted=False, name="remove object"
                )
            if self._active == object_id:
                self.active_id = None
            self._put(object_id, None)
        return patch

    def record_paint(self, patches: Iterable[LabelPatch | None]) -> None:
        """Remember a paint stroke that the user made in the labels; one step.

        Parameters
        ----------
        patches : iterable of LabelPatch or None
            One per plane the stroke touched; None is skipped.
        """
        given = [patch for patch in patches if patch is not None]
        if not given:
            return
        with self.step("paint"):
            assert self._open is not None
            self._open.patches.extend(given)
            for patch in given:
                self.events.labels_painted.emit(patch)

    def written_patches(self, plane_shape: tuple[int, int]) -> list[LabelPatch]:
        """Return patches that write every committed object into empty labels.

        For a Labels layer that has to be made anew after it was deleted.

        Parameters
        ----------
        plane_shape : (int, int)
            Rows and columns of a plane; objects of another shape are left out.

        Returns
        -------
        list of LabelPatch
        """
        return [
            LabelPatch(
                record.plane, record.written, np.asarray(0), np.asarray(record.id)
            )
            for record in self.objects
            if record.written is not None and record.written.shape == plane_shape
        ]

    # -- history ------------------------------------------------------------------

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo."""
        return bool(self._undo)

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to redo."""
        return bool(self._redo)

    @property
    def undo_name(self) -> str:
        """What `undo` would take back; empty where there is nothing."""
        return self._undo[-1].name if self._undo else ""

    @property
    def redo_name(self) -> str:
        """What `redo` would do again; empty where there is nothing."""
        return self._redo[-1].name if self._redo else ""

    def undo(self) -> bool:
        """Take the latest step back, exactly.

        Returns
        -------
        bool
            False if there was nothing to undo.
        """
        with self._lock:
            if self._depth or not self._undo:
                return False
            step = self._undo.pop()
            self._redo.append(step)
            for patch in reversed(step.patches):
                self.events.labels_patched.emit(patch.inverse())
            self._restore({key: pair[0] for key, pair in step.records.items()})
            self._activate(step.active[0])
        self.events.history_changed.emit()
        return True

    def redo(self) -> bool:
        """Do the latest undone step again, exactly.

        Returns
        -------
        bool
            False if there was nothing to redo.
        """
        with self._lock:
            if self._depth or not self._redo:
                return False
            step = self._redo.pop()
            self._undo.append(step)
            for patch in step.patches:
                self.events.labels_patched.emit(patch)
            self._restore({key: pair[1] for key, pair in step.records.items()})
            self._activate(step.active[1])
        self.events.history_changed.emit()
        return True

    # -- as a whole ---------------------------------------------------------------

    def snapshot(self) -> Snapshot:
        """Return everything, to be kept elsewhere; quick, nothing large is copied.

        Returns
        -------
        Snapshot
            Without a step that is still open.
        """
        with self._lock:
            return Snapshot(
                self.objects,
                self._active,
                self._highest_id,
                tuple(_copied(step) for step in self._undo),
                tuple(_copied(step) for step in self._redo),
            )

    def restore(self, snapshot: Snapshot) -> None:
        """Become what a snapshot says, history and all; no step of its own.

        Meant for a document that nobody waits for a mask in. Label pixels are not
        asked for: whoever restores them has them already.

        Parameters
        ----------
        snapshot : Snapshot
            Of this or another document. Where it has more steps than this document
            keeps, the earliest are dropped.
        """
        known = {record.id: record for record in snapshot.records}
        revisions = [
            record.revision
            for step in (*snapshot.undo, *snapshot.redo)
            for pair in step.records.values()
            for record in pair
            if record is not None
        ]
        revisions += [record.revision for record in snapshot.records]
        with self._lock:
            self.active_id = None
            # New revisions are later than all that the history holds.
            first = max(next(self._revisions), *revisions, 0) + 1
            self._revisions = itertools.count(first)
            gone = {key: None for key in self._records if key not in known}
            self._restore({**gone, **known})
            self._highest_id = max(self._highest_id, snapshot.highest_id)
            self._undo.clear()
            self._undo.extend(_copied(step) for step in snapshot.undo)
            self._redo[:] = [_copied(step) for step in snapshot.redo]
            self._activate(snapshot.active)
        self.events.history_changed.emit()

    # -- inside -------------------------------------------------------------------

    def _write(
        self,
        record: ObjectRecord,
        region: Region | None,
        labels: Any,
        *,
        overlap: Overlap = "keep",
        keep_painted: bool,
        name: str,
    ) -> LabelPatch | None:
        others = self.on_plane(record.plane)
        result = commit_patch(
            labels,
            record.id,
            region,
            plane=record.plane,
            written={other.id: other.written for other in others},
            yielded={other.id: other.yielded for other in others},
            overlap=overlap,
            keep_painted=keep_painted,
        )
        with self.step(name):
            assert self._open is not None
            if result.patch is not None:
                self._open.patches.append(result.patch)
            for other_id in result.written.keys() | result.yielded.keys():
                other = self._records.get(other_id)
                if other is None:
                    continue
                changed = dataclasses.replace(
                    other,
                    written=result.written.get(other_id, other.written),
                    yielded=result.yielded.get(other_id, other.yielded),
                )
                if other_id == record.id:
                    changed = dataclasses.replace(changed, committed=True)
                self._put(other_id, changed)
            if result.patch is not None:
                self.events.labels_patched.emit(result.patch)
        return result.patch

    def _put(self, object_id: int, record: ObjectRecord | None) -> None:
        """Store a record in the open step; None takes the object away."""
        assert self._open is not None
        current = self._records.get(object_id)
        first = self._open.records.get(object_id, (current, None))[0]
        self._open.records[object_id] = (first, record)
        self._restore({object_id: record})

    def _restore(self, records: Mapping[int, ObjectRecord | None]) -> None:
        for object_id, record in records.items():
            known = object_id in self._records
            if record is None:
                self._records.pop(object_id, None)
                if known:
                    self.events.object_removed.emit(object_id)
                continue
            self._records[object_id] = record
            self._highest_id = max(self._highest_id, object_id)
            if known:
                self.events.object_changed.emit(object_id)
            else:
                self.events.object_added.emit(object_id)

    def _activate(self, object_id: int | None) -> None:
        self.active_id = object_id if object_id in self._records else None


def _copied(step: Step) -> Step:
    # A late mask joins its step in place, see `Document.set_mask`.
    return Step(step.name, step.active, dict(step.records), list(step.patches))
