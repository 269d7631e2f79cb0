"""The objects of one image, their prompts and masks, and one undo stack over all.

Prompts, masks and label pixels come in as arrays, and what must be repainted goes
out as events. Records are immutable, so undo puts back the very record that was there
before, mask and all, and never runs a model.

How a click becomes one step:

1. `Document.set_prompts` stores the edited prompts under a fresh revision and opens
   a step. It also settles which earlier logits serve as mask prompt, and which
   points these answer already (`feedback`).
2. The mask that answers arrives later, with the revision it was asked for.
   `Document.set_mask` drops it when the object has moved on, else it joins that
   step: undo takes the prompts and the mask back together.
3. `Document.commit` compares the mask with the label pixels and emits a
   `LabelPatch`; the same step puts the pixels back on undo. Where the mask is still
   being computed, `commit_later` makes the step and `carry_out` fills it: what was done
   meanwhile comes out as if it had been done afterwards (`pending`).

What concerns many objects at once (`Document.add_many`, `commit_many`, `remove_many`,
and undo and redo of them) is one step and one event.

Long because it is the one place where records, history and events change together;
what they change to is worked out in `corrections` and `commits`.
"""

from __future__ import annotations

import dataclasses
import itertools
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_promise.document.commits import Overlap, commit_patches
from napari_promise.document.corrections import feedback, inherit
from napari_promise.document.events import Changes, DocumentEvents
from napari_promise.document.history import History, PendingCommit, Snapshot, Step
from napari_promise.document.logits import MaskLogits
from napari_promise.document.numbering import numbered
from napari_promise.document.patches import LabelPatch
from napari_promise.document.pending import settle_late
from napari_promise.document.records import ObjectRecord, Source
from napari_promise.document.regions import BBox, Plane, Region
from napari_promise.document.through_planes import (
    FoundPlane,
    absent,
    confirmed,
    ending,
    found_record,
    is_propagated,
    is_proposed,
)
from napari_promise.prompts import Prompts

__all__ = ["Document"]

#: The logits of so many masks, the latest, are kept whole; of older ones small.
_WHOLE_LOGITS = 32


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
        self._history = History(history_limit)
        self.events = DocumentEvents()
        self._records: dict[int, ObjectRecord] = {}
        # By plane and label, the object's id.
        self._by_plane: dict[Plane, dict[int, int]] = {}
        # The masks whose logits are kept whole, the latest last, by identity.
        self._whole: dict[int, MaskLogits] = {}
        self._active: int | None = None
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
        with self._lock:
            there = self._by_plane.get(tuple(plane), {})
            return tuple(self._records[key] for key in sorted(there.values()))

    def get_at(self, label: int, plane: Plane) -> ObjectRecord | None:
        """Return the object that has a label on a plane; None where there is none."""
        with self._lock:
            object_id = self._by_plane.get(tuple(plane), {}).get(label)
            return None if object_id is None else self._records[object_id]

    def of_label(self, label: int) -> tuple[ObjectRecord, ...]:
        """Return an object on all its planes, in their order: what shares the label."""
        with self._lock:
            planes = sorted(p for p, there in self._by_plane.items() if label in there)
            return tuple(self._records[self._by_plane[p][label]] for p in planes)

    def whole(self, object_id: int) -> tuple[ObjectRecord, ...]:
        """Return the object that a record belongs to, on all its planes."""
        return self.of_label(self.get(object_id).label)

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
        """The id that the next object gets, which is no label yet; never used twice."""
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
    def step(self, name: str, *, run: object | None = None) -> Iterator[None]:
        """Make several edits one step of the history.

        Parameters
        ----------
        name : str
            What the step did, for the tooltip of Undo.
        run : object, optional
            What goes on over a while, as a propagation does: edits of the same run
            are one step, as long as nothing else was done between.
        """
        with self._lock:
            self._history.begin(name, self._active, run)
            try:
                yield
            finally:
                if self._history.end(self._active):
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
            self._put({record.id: record})
            self.active_id = record.id
        return record

    def add_saved(self, saved: Any) -> ObjectRecord:
        """Add an object with saved prompts, exactly as they were; it is active then.

        Parameters
        ----------
        saved : export.SavedObject or ObjectRecord
            Its id and label are taken where they are free.

        Returns
        -------
        ObjectRecord
            Without a mask: its prompts call for one.
        """
        with self.step("load prompts"):
            (record,) = self._numbered([saved], masks=False)
            self._put({record.id: record})
            self.active_id = record.id
        return record

    def add_many(
        self, objects: Iterable[Any], *, name: str = "add objects"
    ) -> tuple[ObjectRecord, ...]:
        """Add objects with their prompts, and their masks where they have any.

        One step and one event. The active object stays.

        Parameters
        ----------
        objects : iterable of export.SavedObject or ObjectRecord
            Ids and labels are taken where they are free; what shares a label goes on
            sharing one. A mask that answers its prompts counts as answer here too.
            Not committed, whatever they were before.
        name : str
            What the step did.

        Returns
        -------
        tuple of ObjectRecord
            In the order given.
        """
        with self.step(name):
            records = self._numbered(list(objects), masks=True)
            self._put({record.id: record for record in records})
            for record in records:
                self._keep_whole(record.logits)
        return tuple(records)

    def put_propagated(
        self, label: int, found: Iterable[FoundPlane], *, run: object
    ) -> tuple[int, ...]:
        """Show an object on planes where it was found from other planes.

        One event. What anybody prompted, confirmed or committed stays as it is.

        Parameters
        ----------
        label : int
            Of an object that is there.
        found : iterable of FoundPlane
            An empty one takes away what was found there before.
        run : object
            One step of the history for all that comes of it, see `step`.

        Returns
        -------
        tuple of int
            The records that are others now; none where the object is gone.
        """
        known = self.of_label(label)
        changed: dict[int, ObjectRecord | None] = {}
        if not known:
            return ()
        for one in found:
            before = self.get_at(label, one.plane)
            if before is not None and not (
                is_propagated(before) and self.is_draft(before)
            ):
                continue
            if one.region is None:
                if before is not None:
                    changed[before.id] = None
                if one.stopped:
                    changed |= self._ended_beside(label, one, changed)
                continue
            if before is None:
                self._highest_id += 1
            object_id = self._highest_id if before is None else before.id
            record = found_record(one, known[0], object_id, self._revisions)
            self._keep_whole(record.logits)
            changed[object_id] = record
        if changed:
            with self.step("propagate", run=run):
                if self._active in changed and changed[self._active] is None:
                    self.active_id = None
                self._put(changed)
        return tuple(changed)

    def _ended_beside(
        self,
        label: int,
        one: FoundPlane,
        changed: Mapping[int, ObjectRecord | None],
    ) -> dict[int, ObjectRecord | None]:
        """Have the planes beside one say that the object ends there."""
        told: dict[int, ObjectRecord | None] = {}
        for step in (-1, 1):
            beside = self.get_at(label, (*one.plane[:-1], one.plane[-1] + step))
            known = None if beside is None else changed.get(beside.id, beside)
            if known is not None and known.region is not None:
                told[known.id] = ending(known, one.plane, one.stopped)
        return told

    def go_on(self, run: object, object_id: int) -> bool:
        """Make the latest step the first of a run, if it is what changed an object.

        So a correction and what follows from it are undone together.

        Returns
        -------
        bool
            Whether it is.
        """
        with self._lock:
            return self._history.go_on(run, object_id)

    def continue_object(self, label: int, plane: Plane) -> ObjectRecord:
        """Return an object's record on another plane, a blank one if need be.

        It is active then. One step.

        Parameters
        ----------
        label : int
            Of an object that is there.
        plane : Plane

        Raises
        ------
        ValueError
            If there is no such object.
        """
        known = self.get_at(label, plane)
        if known is None:
            whole = self.of_label(label)
            if not whole:
                raise ValueError(f"there is no object {label}.")
            with self.step("same object here"):
                self._highest_id += 1
                known = ObjectRecord(
                    self._highest_id,
                    tuple(int(index) for index in plane),
                    whole[0].class_name,
                    revision=next(self._revisions),
                    label=label,
                )
                self._put({known.id: known})
                self.active_id = known.id
        self.active_id = known.id
        return known

    def set_absent(self, label: int, plane: Plane) -> ObjectRecord:
        """Say that an object is not on a plane, whatever was found there; one step.

        Raises
        ------
        ValueError
            If there is no such object.
        """
        with self.step("not on this plane"):
            active = self._active
            record = self.continue_object(label, plane)
            changed = absent(record, next(self._revisions))
            self._put({changed.id: changed})
            if active != record.id:
                self.active_id = active
        return changed

    def confirm(self, object_ids: Iterable[int]) -> int:
        """Make propagated and proposed records the user's, masks as they are; one step.

        Returns
        -------
        int
            How many there were.
        """
        records = [self.get(object_id) for object_id in object_ids]
        changed = {
            r.id: confirmed(r) for r in records if is_propagated(r) or is_proposed(r)
        }
        if changed:
            with self.step("confirm"):
                self._put(changed)
        return len(changed)

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
            All prompts of the object, not only the changed ones. The mask before is
            replaced by what `feedback` chooses, unless `keep_logits`.
        sources : sequence of Source, optional
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
            sources, scores = inherit(record, prompts)
            if prompts.scores is None and scores is not None:
                prompts = prompts.replace(scores=scores)
        sources = tuple(sources)
        if len(sources) != len(prompts.points):
            raise ValueError(
                f"{len(sources)} sources for {len(prompts.points)} points; give one "
                "per point, as 'user' or 'auto'."
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
            pinned=False,
        )
        if prompts.is_empty:
            changed = dataclasses.replace(
                changed,
                region=None,
                score=None,
                logits=None,
                answered=None,
                answered_revision=None,
                tile=None,
            )
        with self.step(name):
            self._put({object_id: changed})
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
        sources : sequence of Source, optional
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
            changes |= {"scores": None, "before": None}
        else:
            sources = record.sources
        if boxes is not None:
            changes["boxes"] = boxes
        prompts = record.prompts.replace(**changes)
        if points is not None:
            known, scores = inherit(record, prompts)
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
        tile: BBox | None = None,
        prompts: Prompts | None = None,
        sharper: bool = False,
    ) -> bool:
        """Store the mask that answers an object's prompts.

        The mask joins the step that set the prompts. Where that step has its mask
        already, as after another adapter was chosen, a new step is made; not for a
        sharper one, which takes the place of the first.

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
        tile : BBox or None
            The part of the plane that the model saw; None for the whole plane.
        prompts : Prompts, optional
            What the model was asked, where that is not all that the object has: the
            same on top of another mask, or of none.
        sharper : bool
            Whether it is the mask of the same prompts again, seen from closer by.

        Returns
        -------
        bool
            False if the object is gone or its prompts have changed since: the
            mask is stale and was dropped. So is a sharper one of what was committed.
        """
        with self._lock:
            record = self._records.get(object_id)
            if record is None or record.revision != revision:
                return False
            if sharper and self._is_settled(record):
                return False
            asked = record.prompts if prompts is None else prompts
            answer: dict[str, Any] = {
                "prompts": asked,
                "region": region,
                "score": float(score),
                "logits": None if logits is None else MaskLogits(logits),
                "answered": asked,
                "answered_revision": revision,
                "committed": False,
                "tile": tile,
            }
            self._keep_whole(answer["logits"])
            if record.is_answered and not sharper:
                again = next(self._revisions)
                answer |= {"revision": again, "answered_revision": again}
                with self.step("segment again"):
                    self._put({object_id: dataclasses.replace(record, **answer)})
                return True
            # Every record of this revision gets the mask, wherever the history
            # holds it, so that undoing a later step leads back to the prompts
            # *with* their mask.
            joined: dict[int, ObjectRecord] = {}

            def join(entry: ObjectRecord) -> ObjectRecord:
                if entry.revision != revision:
                    return entry
                if id(entry) not in joined:
                    joined[id(entry)] = dataclasses.replace(entry, **answer)
                return joined[id(entry)]

            self._history.rewrite(object_id, join)
            self._records[object_id] = join(record)
        self.events.object_changed.emit(object_id)
        return True

    def set_class(self, object_id: int, class_name: str) -> None:
        """Give an object a class, on all its planes; one step."""
        changed: dict[int, ObjectRecord | None] = {
            record.id: dataclasses.replace(record, class_name=class_name)
            for record in self.whole(object_id)
            if record.class_name != class_name
        }
        if changed:
            with self.step("change class"):
                self._put(changed)

    def clear(self, object_id: int) -> None:
        """Take away an object's prompts and mask, not its label pixels; one step."""
        record = self.get(object_id)
        if record.prompts.is_empty and record.region is None and record.coarse is None:
            return
        with self.step("clear"):
            cleared = ObjectRecord(
                record.id,
                record.plane,
                record.class_name,
                revision=next(self._revisions),
                written=record.written,
                yielded=record.yielded,
                label=record.label,
            )
            self._put({object_id: cleared})

    def commit(
        self,
        object_id: int,
        labels: Any,
        *,
        overlap: Overlap = "keep",
        keep_painted: bool = True,
    ) -> LabelPatch | None:
        """Write an object's mask into the labels; one step.

        Emits `labels_patched` where pixels must change; see `commit_patches` for the
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
        record = self._with_mask(object_id)
        with self.step("commit"):
            changed, patch = self._settled(
                [record], labels, overlap=overlap, keep_painted=keep_painted
            )
            self._history.add_patches([] if patch is None else [patch])
            # One after the other: each is told of as a single edit.
            for other_id, other in changed.items():
                self._put({other_id: other})
            if patch is not None:
                self.events.labels_patched.emit(patch)
        return patch

    def commit_many(
        self,
        object_ids: Iterable[int],
        labels: Any,
        *,
        overlap: Overlap = "keep",
        keep_painted: bool = True,
    ) -> tuple[LabelPatch, ...]:
        """Write the masks of objects into the labels, in this order.

        One step and one event; `labels_patched` is emitted once a plane.

        Parameters
        ----------
        object_ids : iterable of int
        labels : array-like, (..., H, W) integer
            The labels of all planes as they are now; a plane is ``labels[plane]``.
        overlap : {"keep", "overwrite"}
        keep_painted : bool
            See `commit_patches`.

        Returns
        -------
        tuple of LabelPatch
            What was emitted.

        Raises
        ------
        ValueError
            If an object has no mask and no pixels yet, or the shapes differ: nothing
            is committed then.
        """
        records = [self._with_mask(object_id) for object_id in object_ids]
        changed: dict[int, ObjectRecord | None] = {}
        patches = []
        with self.step("commit objects"):
            for plane, here in _by_plane(records).items():
                settled, patch = self._settled(
                    here, labels[plane], overlap=overlap, keep_painted=keep_painted
                )
                changed |= settled
                if patch is not None:
                    patches.append(patch)
            self._history.add_patches(patches)
            self._put(changed)
            for patch in patches:
                self.events.labels_patched.emit(patch)
        return tuple(patches)

    @property
    def pending(self) -> frozenset[int]:
        """The objects whose commit was asked for and waits, see `commit_later`."""
        with self._lock:
            return frozenset(
                step.commit.object_id for step in self._history.pending() if step.commit
            )

    def is_draft(self, record: ObjectRecord) -> bool:
        """Whether an object was never written to the labels, nor is about to be."""
        never = not record.committed and record.written is None
        return never and record.id not in self.pending

    def commit_later(
        self, object_id: int, *, overlap: Overlap = "keep", keep_painted: bool = True
    ) -> None:
        """Commit an object as soon as its mask, and those before it, are there.

        One step, which `carry_out` completes. Undoing it takes the wish back.

        Parameters
        ----------
        object_id : int
        overlap, keep_painted
            As of `commit`.

        Raises
        ------
        ValueError
            If there is no such object, or its mask is known to be empty.
        """
        if self.get(object_id).is_answered:
            self._with_mask(object_id)
        with self.step("commit"):
            self._history.defer(PendingCommit(object_id, overlap, keep_painted))
        self.events.object_changed.emit(object_id)

    def carry_out(
        self, labels: Callable[[Plane], Any]
    ) -> tuple[list[int], list[tuple[int, str]]]:
        """Carry out the commits that waited and can be made now, in their order.

        Parameters
        ----------
        labels : callable
            Returns the labels of a plane, (H, W), as they are now.

        Returns
        -------
        committed : list of int
            The objects that were committed.
        refused : list of (int, str)
            The objects that turned out to have no mask, and why: they stay open.
        """
        committed: list[int] = []
        refused: list[tuple[int, str]] = []
        with self._lock:
            for step in self._history.pending():
                wish = step.commit
                assert wish is not None
                known = self._records.get(wish.object_id)
                if known is not None and not known.is_answered:
                    break
                try:
                    record = self._with_mask(wish.object_id)
                    self._carry_out(step, wish, record, labels(record.plane))
                except ValueError as error:
                    self.take_back_commit(wish.object_id)
                    refused.append((wish.object_id, str(error)))
                else:
                    committed.append(wish.object_id)
        return committed, refused

    def take_back_commit(self, object_id: int) -> bool:
        """Forget that an object was to be committed; it stays open.

        Returns
        -------
        bool
            False if nobody asked for it.
        """
        with self._lock:
            waiting = [
                step
                for step in self._history.pending()
                if step.commit and step.commit.object_id == object_id
            ]
            for step in waiting:
                if step.records or step.patches:
                    step.commit = None
                else:
                    self._history.drop(step)
        if waiting:
            if object_id in self:
                self.events.object_changed.emit(object_id)
            self.events.history_changed.emit()
        return bool(waiting)

    def _carry_out(
        self, step: Step, wish: PendingCommit, record: ObjectRecord, labels: Any
    ) -> None:
        """Complete a step that was to commit an object, beneath all later steps."""
        done, undone = self._history.later(step)
        plane = record.plane

        def settle(
            then: NDArray[Any],
        ) -> tuple[dict[int, ObjectRecord], LabelPatch | None]:
            return self._settled(
                [record], then, overlap=wish.overlap, keep_painted=wish.keep_painted
            )

        late = settle_late(
            step, done, undone, plane, np.asarray(labels), settle, self._records
        )
        step.commit = None
        for other_id, other in late.records.items():
            self._restore({other_id: other})
        if late.patch is not None:
            self.events.labels_patched.emit(late.patch)
        self.events.history_changed.emit()

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
                changed, patch = self._settled([record], labels, remove=True)
                self._history.add_patches([] if patch is None else [patch])
                for other_id, other in changed.items():
                    self._put({other_id: other})
                if patch is not None:
                    self.events.labels_patched.emit(patch)
            if self._active == object_id:
                self.active_id = None
            self._put({object_id: None})
        return patch

    def remove_many(
        self, object_ids: Iterable[int], labels: Any | None = None
    ) -> tuple[LabelPatch, ...]:
        """Take objects away, with their label pixels.

        One step and one event; `labels_patched` is emitted once a plane.

        Parameters
        ----------
        object_ids : iterable of int
        labels : array-like, (..., H, W) integer, optional
            The labels of all planes as they are now; left out, the label pixels stay.

        Returns
        -------
        tuple of LabelPatch
            What was emitted.
        """
        records = [self.get(object_id) for object_id in object_ids]
        changed: dict[int, ObjectRecord | None] = {}
        patches = []
        with self.step("remove objects"):
            written = [r for r in records if r.written is not None]
            for plane, here in _by_plane(written).items():
                if labels is None:
                    break
                settled, patch = self._settled(here, labels[plane], remove=True)
                changed |= settled
                if patch is not None:
                    patches.append(patch)
            self._history.add_patches(patches)
            changed |= {record.id: None for record in records}
            if self._active in changed and changed[self._active] is None:
                self.active_id = None
            self._put(changed)
            for patch in patches:
                self.events.labels_patched.emit(patch)
        return tuple(patches)

    def record_paint(
        self, patches: Iterable[LabelPatch | None], *, afloat: bool = False
    ) -> bool:
        """Remember a paint stroke that the user made in the labels; one step.

        Parameters
        ----------
        patches : iterable of LabelPatch or None
            One per plane the stroke touched; None is skipped.
        afloat : bool
            Acts that were made before it are held back: they go beneath it, see
            `beneath_strokes`, until `settle_stroke` is called, once for each stroke.

        Returns
        -------
        bool
            False if nothing was painted.
        """
        given = [patch for patch in patches if patch is not None]
        if not given:
            return False
        undone = self._history.undone()
        with self.step("paint"):
            self._history.add_patches(given)
            for patch in given:
                self.events.labels_painted.emit(patch)
        if afloat:
            self._history.float_latest(undone)
            self.events.history_changed.emit()
        return True

    def settle_stroke(self) -> None:
        """Let the earliest stroke that floats have its place where it is."""
        self._history.settle_first()
        self.events.history_changed.emit()

    @contextmanager
    def beneath_strokes(
        self, labels: Callable[[Plane], Any] | None = None
    ) -> Iterator[None]:
        """Do inside what was asked for before the strokes that float.

        Parameters
        ----------
        labels : callable, optional
            Returns the labels of a plane, (H, W), as they are now. Without, nothing
            done inside may ask for labels or change them.
        """
        with self._lock:
            steps = self._history.lift()
            for step in reversed(steps):
                for patch in reversed(step.patches) if labels is not None else ():
                    self.events.labels_patched.emit(patch.inverse())
        try:
            yield
        finally:
            with self._lock:
                for step in steps:
                    for at, patch in enumerate(step.patches if labels else ()):
                        assert labels is not None
                        again = patch.rebased(np.asarray(labels(patch.plane)))
                        step.patches[at] = again
                        self.events.labels_patched.emit(again)
                self._history.lay(steps, self._active)
            if steps:
                self.events.history_changed.emit()

    # -- history ------------------------------------------------------------------

    @property
    def can_undo(self) -> bool:
        """Whether there is a step to undo."""
        return self._history.can_undo

    @property
    def can_redo(self) -> bool:
        """Whether there is a step to redo."""
        return self._history.can_redo

    @property
    def undo_name(self) -> str:
        """What `undo` would take back; empty where there is nothing."""
        return self._history.undo_name

    @property
    def redo_name(self) -> str:
        """What `redo` would do again; empty where there is nothing."""
        return self._history.redo_name

    def undo(self) -> bool:
        """Take the latest step back, exactly.

        Returns
        -------
        bool
            False if there was nothing to undo.
        """
        with self._lock:
            step = self._history.back()
            if step is None:
                return False
            for patch in reversed(step.patches):
                self.events.labels_patched.emit(patch.inverse())
            self._restore({key: pair[0] for key, pair in step.records.items()})
            self._tell_pending(step)
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
            step = self._history.forward()
            if step is None:
                return False
            for patch in step.patches:
                self.events.labels_patched.emit(patch)
            self._restore({key: pair[1] for key, pair in step.records.items()})
            self._tell_pending(step)
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
            undo, redo = self._history.copies()
            return Snapshot(self.objects, self._active, self._highest_id, undo, redo)

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
        with self._lock:
            self.active_id = None
            # New revisions are later than all that the history holds.
            first = max(next(self._revisions), snapshot.highest_revision) + 1
            self._revisions = itertools.count(first)
            gone = {key: None for key in self._records if key not in known}
            self._restore({**gone, **known})
            self._highest_id = max(self._highest_id, snapshot.highest_id)
            self._history.replace(snapshot.undo, snapshot.redo)
            for record in snapshot.all_records():
                self._keep_whole(record.logits)
            self._activate(snapshot.active)
        self.events.history_changed.emit()

    # -- inside -------------------------------------------------------------------

    def _is_settled(self, record: ObjectRecord) -> bool:
        """Whether the mask of a record as it stands was committed, or is to be."""
        steps = self._history.of_revision(record.id, record.revision)
        return (
            record.committed
            or record.id in self.pending
            or any(known.committed for known in steps)
        )

    def _with_mask(self, object_id: int) -> ObjectRecord:
        record = self.get(object_id)
        if record.region is None and record.written is None:
            raise ValueError(
                f"object {object_id} has no mask yet; add a point or a box to it first."
            )
        return record

    def _settled(
        self,
        records: Sequence[ObjectRecord],
        labels: Any,
        *,
        overlap: Overlap = "keep",
        keep_painted: bool = False,
        remove: bool = False,
    ) -> tuple[dict[int, ObjectRecord], LabelPatch | None]:
        """Work out what committing objects of one plane changes; changes nothing."""
        plane = records[0].plane
        here = self._by_plane[plane]
        known = {label: self._records[key] for label, key in here.items()}
        result = commit_patches(
            labels,
            [(r.label, None if remove else r.region) for r in records],
            plane=plane,
            written={label: r.written for label, r in known.items()},
            yielded={
                label: r.yielded for label, r in known.items() if r.yielded is not None
            },
            overlap=overlap,
            keep_painted=keep_painted,
        )
        committed = {record.label for record in records}
        changed: dict[int, ObjectRecord] = {}
        for label in result.written.keys() | result.yielded.keys():
            record = known.get(label)
            if record is not None:
                changed[record.id] = dataclasses.replace(
                    record,
                    written=result.written.get(label, record.written),
                    yielded=result.yielded.get(label, record.yielded),
                    committed=record.committed or label in committed,
                )
        return changed, result.patch

    def _numbered(self, objects: Sequence[Any], *, masks: bool) -> list[ObjectRecord]:
        known = self._records.values()
        return numbered(objects, known, self._highest_id, self._revisions, masks=masks)

    def _keep_whole(self, logits: MaskLogits | None) -> None:
        """Keep the logits of a fresh mask whole, and those of the oldest small."""
        if logits is None:
            return
        self._whole.pop(id(logits), None)
        self._whole[id(logits)] = logits
        while len(self._whole) > _WHOLE_LOGITS:
            self._whole.pop(next(iter(self._whole))).shrink()

    def _put(self, records: Mapping[int, ObjectRecord | None]) -> None:
        """Store records in the open step; None takes an object away."""
        for object_id, record in records.items():
            self._history.add_record(object_id, self._records.get(object_id), record)
        self._restore(records)

    def _restore(self, records: Mapping[int, ObjectRecord | None]) -> None:
        added: list[int] = []
        changed: list[int] = []
        removed: list[int] = []
        for object_id, record in records.items():
            before = self._records.get(object_id)
            if before is not None:
                del self._by_plane[before.plane][before.label]
                (changed if record is not None else removed).append(object_id)
            elif record is not None:
                added.append(object_id)
        for object_id, record in records.items():
            if record is None:
                self._records.pop(object_id, None)
                continue
            self._records[object_id] = record
            self._by_plane.setdefault(record.plane, {})[record.label] = object_id
            self._highest_id = max(self._highest_id, object_id, record.label)
        if len(added) + len(changed) + len(removed) > 1:
            self.events.objects_changed.emit(
                Changes(tuple(added), tuple(changed), tuple(removed))
            )
            return
        for ids, signal in (
            (added, self.events.object_added),
            (changed, self.events.object_changed),
            (removed, self.events.object_removed),
        ):
            for object_id in ids:
                signal.emit(object_id)

    def _tell_pending(self, step: Step) -> None:
        if step.commit is not None and step.commit.object_id in self:
            self.events.object_changed.emit(step.commit.object_id)

    def _activate(self, object_id: int | None) -> None:
        self.active_id = object_id if object_id in self._records else None


def _by_plane(records: Iterable[ObjectRecord]) -> dict[Plane, list[ObjectRecord]]:
    found: dict[Plane, list[ObjectRecord]] = {}
    for record in records:
        found.setdefault(record.plane, []).append(record)
    return found
