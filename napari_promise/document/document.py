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
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from psygnal import Signal, SignalGroup

from napari_promise.document.commits import Overlap, commit_patch
from napari_promise.document.corrections import feedback, inherit
from napari_promise.document.history import History, Snapshot
from napari_promise.document.patches import LabelPatch
from napari_promise.document.records import ObjectRecord, Source
from napari_promise.document.regions import Plane, Region
from napari_promise.prompts import Prompts

__all__ = ["Document", "DocumentEvents"]


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
        self._history = History(history_limit)
        self.events = DocumentEvents()
        self._records: dict[int, ObjectRecord] = {}
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
            self._history.begin(name, self._active)
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
            sources, scores = inherit(record, prompts)
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
            self._history.add_patches(given)
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
            if result.patch is not None:
                self._history.add_patches([result.patch])
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
        self._history.add_record(object_id, self._records.get(object_id), record)
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
