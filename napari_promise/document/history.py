"""The steps that can be undone and redone, and the one that is being made.

A step holds what was there before and after: records of objects and label pixels. The
history keeps the steps in order and hands them out; the document changes the objects,
emits the events and holds the lock.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from napari_promise.document.commits import Overlap
from napari_promise.document.patches import LabelPatch
from napari_promise.document.records import ObjectRecord

__all__ = ["MIN_HISTORY", "History", "PendingCommit", "Snapshot", "Step"]

#: The fewest steps a history may be limited to.
MIN_HISTORY = 100


@dataclass(frozen=True)
class PendingCommit:
    """A commit that was asked for and is carried out when the mask is there.

    Attributes
    ----------
    object_id : int
    overlap : {"keep", "overwrite"}
    keep_painted : bool
        As of `Document.commit`.
    """

    object_id: int
    overlap: Overlap = "keep"
    keep_painted: bool = True


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
    commit : PendingCommit or None
        What the step still has to do; None for a step that is complete.
    run : object or None
        What goes on adding to the step, see `History.begin`; not kept in files.
    """

    name: str
    active: tuple[int | None, int | None]
    records: dict[int, tuple[ObjectRecord | None, ObjectRecord | None]] = field(
        default_factory=dict
    )
    patches: list[LabelPatch] = field(default_factory=list)
    commit: PendingCommit | None = None
    run: object | None = None


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

    @property
    def highest_revision(self) -> int:
        """The highest revision of any record, those of the history included."""
        return max((record.revision for record in self.all_records()), default=0)

    def all_records(self) -> Iterator[ObjectRecord]:
        """Go through the records of the history, then those that stand."""
        for step in (*self.undo, *self.redo):
            for pair in step.records.values():
                yield from (record for record in pair if record is not None)
        yield from self.records


class History:
    """The steps of a document, in the order in which they were made.

    Parameters
    ----------
    limit : int
        How many steps can be undone; at least 100.

    Raises
    ------
    ValueError
        If the limit is too small.
    """

    def __init__(self, limit: int) -> None:
        if limit < MIN_HISTORY:
            raise ValueError(
                f"history_limit is {limit}; it must be at least {MIN_HISTORY}."
            )
        self._undo: deque[Step] = deque(maxlen=limit)
        self._redo: list[Step] = []
        self._open: Step | None = None
        self._depth = 0
        # Strokes on top of acts that were made before them and are yet to come.
        self._afloat: list[Step] = []

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
        """What the step to undo did; empty where there is none."""
        return self._undo[-1].name if self._undo else ""

    @property
    def redo_name(self) -> str:
        """What the step to redo did; empty where there is none."""
        return self._redo[-1].name if self._redo else ""

    # -- the step being made ------------------------------------------------------

    def begin(self, name: str, active: int | None, run: object | None = None) -> None:
        """Begin a step, or go on with the one being made; each calls for an `end`.

        Parameters
        ----------
        name : str
            What the step does.
        active : int or None
            The active object.
        run : object, optional
            Where the latest step is of the same run, it is gone on with.
        """
        if self._depth == 0:
            latest = self._undo[-1] if self._undo else None
            if run is not None and latest is not None and latest.run is run:
                self._open = self._undo.pop()
            else:
                self._open = Step(name, (active, active), run=run)
        self._depth += 1

    def go_on(self, run: object, object_id: int) -> bool:
        """Make the latest step one of a run, if it changed an object."""
        latest = self._undo[-1] if self._undo and not self._redo else None
        if latest is None or object_id not in latest.records:
            return False
        latest.run = run
        return True

    def end(self, active: int | None) -> bool:
        """End what the latest `begin` began.

        Parameters
        ----------
        active : int or None
            The active object.

        Returns
        -------
        bool
            Whether this made a step: not while an outer one goes on, nor where
            nothing was done. What could be redone is forgotten then.
        """
        self._depth -= 1
        if self._depth:
            return False
        step, self._open = self._open, None
        assert step is not None
        step.active = (step.active[0], active)
        if not (step.records or step.patches or step.commit):
            return False
        self._undo.append(step)
        self._redo.clear()
        return True

    def add_record(
        self, object_id: int, before: ObjectRecord | None, after: ObjectRecord | None
    ) -> None:
        """Note in the step being made that an object changed; None is no object."""
        assert self._open is not None
        first = self._open.records.get(object_id, (before, None))[0]
        self._open.records[object_id] = (first, after)

    def add_patches(self, patches: Iterable[LabelPatch]) -> None:
        """Note in the step being made that label pixels changed."""
        assert self._open is not None
        self._open.patches.extend(patches)

    def defer(self, commit: PendingCommit) -> None:
        """Have the step being made commit an object later on."""
        assert self._open is not None
        self._open.commit = commit

    # -- commits that wait --------------------------------------------------------

    def pending(self) -> list[Step]:
        """Return the steps that still have to commit something, the first one first."""
        return [step for step in self._undo if step.commit is not None]

    def drop(self, step: Step) -> None:
        """Forget a step that did nothing."""
        kept = [other for other in self._undo if other is not step]
        self._undo.clear()
        self._undo.extend(kept)

    def later(self, step: Step) -> tuple[list[Step], list[Step]]:
        """Return what was done after a step, and what would be redone after that.

        Returns
        -------
        done, undone : list of Step
            Both in the order in which they were made.
        """
        done = list(self._undo)
        at = next(i for i, other in enumerate(done) if other is step)
        return done[at + 1 :], self._redo[::-1]

    # -- strokes before which acts are held back -----------------------------------

    def undone(self) -> list[Step]:
        """Return what can be redone, for `float_latest`."""
        return list(self._redo)

    def float_latest(self, undone: list[Step]) -> None:
        """Have the latest step stay on top until it settles; it undoes no redo yet."""
        self._afloat.append(self._undo[-1])
        self._redo[:] = undone

    def settle_first(self) -> None:
        """Let the first of the steps that float stay where it is."""
        if self._afloat:
            self._afloat.pop(0)
            self._redo.clear()

    def lift(self) -> list[Step]:
        """Take the steps that float off the others; returns them in their order."""
        lifted: list[Step] = []
        while self._afloat[len(lifted) :] and self._undo:
            if self._undo[-1] is not self._afloat[-1 - len(lifted)]:
                self._afloat.clear()  # something else lies on them by now
                break
            lifted.insert(0, self._undo.pop())
        return lifted

    def lay(self, steps: Iterable[Step], active: int | None) -> None:
        """Put steps that were lifted on top again."""
        for step in steps:
            step.active = (active, active)
            self._undo.append(step)

    # -- the steps that were made -------------------------------------------------

    def back(self) -> Step | None:
        """Return the step to undo, which can be redone from now on.

        Returns
        -------
        Step or None
            None where there is none, or while a step is being made.
        """
        if self._depth or not self._undo:
            return None
        self._redo.append(self._undo.pop())
        return self._redo[-1]

    def forward(self) -> Step | None:
        """Return the step to redo, which can be undone from now on.

        Returns
        -------
        Step or None
            None where there is none, or while a step is being made.
        """
        if self._depth or not self._redo:
            return None
        self._undo.append(self._redo.pop())
        return self._undo[-1]

    def rewrite(
        self, object_id: int, change: Callable[[ObjectRecord], ObjectRecord]
    ) -> None:
        """Exchange an object's records in every step, the one being made included.

        Parameters
        ----------
        object_id : int
        change : callable
            Returns what stands in place of a record; the record itself to keep it.
        """

        def changed(record: ObjectRecord | None) -> ObjectRecord | None:
            return None if record is None else change(record)

        steps = [*self._undo, *self._redo]
        if self._open is not None:
            steps.append(self._open)
        for step in steps:
            if object_id in step.records:
                before, after = step.records[object_id]
                step.records[object_id] = (changed(before), changed(after))

    def of_revision(self, object_id: int, revision: int) -> list[ObjectRecord]:
        """Return the records of an object that the steps hold of one revision."""
        pairs = (
            step.records.get(object_id, (None, None))
            for step in (*self._undo, *self._redo)
        )
        return [r for pair in pairs for r in pair if r and r.revision == revision]

    # -- as a whole ---------------------------------------------------------------

    def copies(self) -> tuple[tuple[Step, ...], tuple[Step, ...]]:
        """Return the steps to undo and those to redo, which nothing changes later."""
        return (
            tuple(_copied(step) for step in self._undo),
            tuple(_copied(step) for step in self._redo),
        )

    def replace(self, undo: Iterable[Step], redo: Iterable[Step]) -> None:
        """Hold other steps from now on; beyond the limit the earliest are dropped."""
        self._afloat.clear()
        self._undo.clear()
        self._undo.extend(_copied(step) for step in undo)
        self._redo[:] = [_copied(step) for step in redo]


def _copied(step: Step) -> Step:
    # `History.rewrite` changes steps in place.
    return Step(
        step.name,
        step.active,
        dict(step.records),
        list(step.patches),
        step.commit,
        step.run,
    )
