"""What is propagated, and when: by wish, and again around each correction.

How a correction reaches its neighbours:

1. Somebody edits the prompts of a plane. A job under way ends: it would find again what
   is about to change.
2. The session writes the mask that answers. That plane now counts as drawn, and another
   job begins on the planes up to the next drawn ones on either side, and on those that
   the job before had not come to.
3. What it finds takes the place of what was propagated there, in the very step of the
   correction. Planes that were prompted, corrected, confirmed or committed are never
   touched.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from psygnal import Signal

from napari_promise.document import (
    Document,
    FoundPlane,
    ObjectRecord,
    Plane,
    Region,
    is_absent,
    is_propagated,
    is_proposed,
)
from napari_promise.jobs.propagating import Memory, Propagate
from napari_promise.propagation import PlaneResult
from napari_promise.session import SegmentResult, Session
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.layers.bridge import LayerBridge
from napari_promise.widgets.layers.work import Work
from napari_promise.widgets.volumes.extent import Extent, extent_of, spacing_of
from napari_promise.widgets.volumes.marks import PlaneMark, marks_of, next_weakest

__all__ = ["Propagation"]


class Propagation:
    """Propagates objects of the image on display.

    Parameters
    ----------
    session : Session
    bridge : LayerBridge
    tell : callable
        Shows one line to the user.

    Attributes
    ----------
    changed : Signal
        What there is to show may be other.
    finished : Signal(Document, tuple)
        Nothing more is coming of these labels' objects, for now.
    z_range : (int, int) or None
        First and last plane that may be drawn on; None for all.
    chosen : callable
        Returns the ids of the objects that are selected somewhere.
    """

    changed = Signal()
    finished = Signal(Document, tuple)

    def __init__(
        self, session: Session, bridge: LayerBridge, tell: Callable[[str], None]
    ) -> None:
        self._session = session
        self._bridge = bridge
        self._tell = tell
        self._run: _Run | None = None
        self._memory = Memory()
        self._document: Document | None = None
        self._label: int | None = None
        # Objects that are propagated when their prompts are answered.
        self._wanted: tuple[int, ...] = ()
        # What a run that a correction ended had still to look at, and for whom.
        self._left: tuple[int, int] | None = None
        self._awaited: tuple[int, ...] = ()
        self.z_range: tuple[int, int] | None = None
        self.chosen: Callable[[], Sequence[int]] = tuple
        self._connections = Connections()
        for signal, handler in (
            (session.segmented, self._on_segmented),
            (session.unanswered, self._on_unanswered),
            (bridge.work_changed, self._on_work_changed),
            (bridge.pixels_changed, self._on_pixels_changed),
            (bridge.plane_changed, self._on_plane_changed),
        ):
            self._connections.add(signal, handler)
        self._on_work_changed()

    def close(self) -> None:
        """End what is under way."""
        self.cancel()
        self._connections.release()
        self._watch(None)

    # -- what there is ------------------------------------------------------------

    @property
    def planes(self) -> int:
        """How many planes the image on display has; 0 where it is no stack."""
        work = self._bridge.work
        return 0 if work is None or len(work.shape) < 3 else work.shape[-3]

    @property
    def plane(self) -> int:
        """The plane on display, along the axis that is propagated along."""
        return self._bridge.plane[-1] if self.planes and self._bridge.plane else 0

    @property
    def is_running(self) -> bool:
        """Whether planes are being found."""
        return self._run is not None or bool(self._wanted or self._awaited)

    def is_finding(self, label: int) -> bool:
        """Whether planes of an object are being found."""
        run = () if self._run is None else self._run.labels
        return label in (*run, *self._wanted, *self._awaited)

    def marks(self) -> tuple[PlaneMark, ...]:
        """Return what there is of the object in work, plane by plane."""
        work, label = self._bridge.work, self.label
        if work is None or not self.planes:
            return ()
        return marks_of(work.document, label, self._bridge.plane[:-1], self.planes)

    @property
    def can_confirm(self) -> bool:
        """Whether the object in work has planes that nobody has looked at."""
        work, label = self._bridge.work, self.label
        whole = () if work is None or label is None else work.document.of_label(label)
        return any(is_propagated(r) or is_proposed(r) for r in whole)

    def extent(self) -> Extent | None:
        """Return how large the object in work is; None where there is none."""
        work, label = self._bridge.work, self.label
        if work is None or label is None or not self.planes:
            return None
        return extent_of(work.document.of_label(label), work.image)

    def volume(self) -> str:
        """Return the volume of the object in work, in words; empty for none."""
        extent = self.extent()
        return "" if extent is None else extent.volume_in_words

    @property
    def label(self) -> int | None:
        """The object in work, else the one that was worked on last, else the newest.

        On a plane that an object does not reach none is active.
        """
        work = self._bridge.work
        if work is None:
            return None
        active = work.document.active
        if active is not None:
            return active.label
        if self._label is not None and work.document.of_label(self._label):
            return self._label
        objects = work.document.objects
        return objects[-1].label if objects else None

    # -- wishes -------------------------------------------------------------------

    def toggle(self) -> None:
        """Propagate the object in work; asked again meanwhile, stop."""
        if self.is_running:
            self.cancel()
        else:
            self.propagate()

    def propagate(self) -> None:
        """Find the chosen objects on all planes, from those that were prompted.

        Several that are selected together go through the stack in one pass; else the
        object in work goes.
        """
        if not self.planes:
            self._tell("Only stacks have planes to propagate to: open one.")
            return
        work, label = self._bridge.work, self.label
        assert work is not None
        if label is None:
            self._tell("There is no object to propagate: click on one first.")
            return
        chosen = [i for i in self.chosen() if i in work.document]
        labels = dict.fromkeys(work.document.get(i).label for i in chosen)
        self._propagate(work, tuple(labels) if len(labels) > 1 else (label,))

    def _propagate(self, work: Work, labels: tuple[int, ...]) -> None:
        drawn = [
            record
            for label in labels
            for record in work.document.of_label(label)
            if not is_propagated(record)
        ]
        if any(not record.is_answered for record in drawn):
            self._wanted = labels
            self.changed.emit()
            return
        low, high = self.z_range or (0, self.planes - 1)
        self._start(work, labels, (max(0, low), min(high, self.planes - 1)), object())

    def carry_on(self, label: int, step: object) -> None:
        """Find an object on all planes, as part of a step that is the latest."""
        work = self._bridge.work
        if work is not None and self.planes:
            low, high = self.z_range or (0, self.planes - 1)
            self._start(work, (label,), (max(0, low), min(high, self.planes - 1)), step)

    def cancel(self) -> None:
        """Stop; what was found stays."""
        labels = self._wanted + self._awaited
        if self._run is not None:
            labels += self._run.labels
        self._left, self._wanted, self._awaited = None, (), ()
        self._end_run()
        if labels and self._document is not None:
            self.finished.emit(self._document, labels)
        self.changed.emit()

    def same_object(self) -> None:
        """Go on with the object that was worked on last on the plane on display."""
        work, label = self._bridge.work, self.label
        if work is None or label is None or not self.planes:
            self._tell("There is no object to go on with: click on one first.")
            return
        work.document.continue_object(label, self._bridge.plane)
        self._bridge.use_points()

    def not_here(self) -> None:
        """Say that the object in work is not on the plane on display."""
        work, label = self._bridge.work, self.label
        if work is None or label is None or not self.planes:
            self._tell("There is no object to speak of: click on one first.")
            return
        if len(work.document.of_label(label)) < 2:
            self._tell("The object is on one plane only: delete it instead.")
            return
        record = work.document.set_absent(label, self._bridge.plane)
        self._follow(work, record)

    def confirm(self) -> None:
        """Make the propagated or proposed plane on display the user's, mask and all."""
        work, label = self._bridge.work, self.label
        if work is None or label is None:
            self._tell("There is nothing to confirm: propagate an object first.")
            return
        record = work.document.get_at(label, self._bridge.plane)
        if record is None or not work.document.confirm([record.id]):
            self._tell("Nothing was propagated to this plane, or proposed on it.")

    def go_to_weakest(self) -> None:
        """Go to the propagated plane with the next higher confidence."""
        plane = next_weakest(self.marks(), self.plane) if self.planes else None
        if plane is None:
            self._tell("Nothing is propagated: press P on an object first.")
            return
        self.go_to(plane)

    def go_to(self, plane: int) -> None:
        """Show a plane."""
        label, work = self.label, self._bridge.work
        if work is None:
            return
        where = (*self._bridge.plane[:-1], plane)
        self._bridge.go_to(where)
        record = None if label is None else work.document.get_at(label, where)
        if record is not None:
            work.document.active_id = record.id
        self._label = label

    # -- the job ------------------------------------------------------------------

    def _start(
        self,
        work: Work,
        labels: tuple[int, ...],
        z_range: tuple[int, int],
        step: object,
    ) -> None:
        source = self._bridge.source()
        if source is None:
            return
        document, before = work.document, self._bridge.plane[:-1]
        objects = _drawings(document, before, labels)
        labels = tuple(label for label in labels if any(objects[label].values()))
        if not labels:
            self._tell("The object has no mask yet: click on it first.")
            return
        self._end_run()
        self._left, self._awaited, self._label = None, (), labels[0]
        run = _Run(document, labels, before, z_range, step)

        def found(result: PlaneResult, logits: Any) -> None:
            if self._run is run:
                run.take(result, logits)  # what changes, the document tells
                self._look_at(document, result.label, (*before, result.plane))

        def ended(why: str) -> None:
            if self._run is run:
                self._run = None
                if why:
                    self._tell(f"Propagation stopped: {why}")
                else:
                    run.empty_the_rest()
                self.finished.emit(document, labels)
                self.changed.emit()

        run.job = Propagate(
            source,
            before,
            objects,
            labels,
            spacing=spacing_of(work.image),
            z_range=z_range,
            found=found,
            ended=ended,
            memory=self._memory,
        )
        self._run = run
        self._session.start_job(run.job, first=True, watched=True)
        self.changed.emit()

    def _look_at(self, document: Document, label: int, where: Plane) -> None:
        """Have the object in work where it comes to the plane on display."""
        active = document.active
        elsewhere = active is not None and active.label == label != 0
        if self._bridge.plane == where and (
            active is None or (elsewhere and active.plane != where)
        ):
            record = document.get_at(label, where)
            if record is not None:
                document.active_id = record.id

    def _end_run(self) -> None:
        run, self._run = self._run, None
        if run is not None and run.job is not None:
            self._session.end_job(run.job)

    # -- what happens -------------------------------------------------------------

    def _on_segmented(self, result: SegmentResult) -> None:
        work = self._bridge.work
        if work is None or result.document is not work.document or not self.planes:
            return
        record = work.document.get(result.object_id)
        if record.label in self._wanted:
            wanted, self._wanted = self._wanted, ()
            self._propagate(work, wanted)
        else:
            self._follow(work, record)

    def _on_unanswered(self, document: Document, *_: object) -> None:
        # What waits for the answer would wait for good.
        if document is self._document and (self._wanted or self._awaited):
            self.cancel()

    def _follow(self, work: Work, record: ObjectRecord) -> None:
        """Find the planes around a correction again."""
        whole = work.document.of_label(record.label)
        others = [r for r in whole if r is not record]
        found = any(is_propagated(r) and work.document.is_draft(r) for r in others)
        if is_propagated(record) or not (found or self._left is not None):
            return
        here = record.plane[-1]
        sure = [r.plane[-1] for r in others if not is_propagated(r)]
        low, high = self.z_range or (0, self.planes - 1)
        low = max([low, *(plane + 1 for plane in sure if plane < here)])
        high = min([high, *(plane - 1 for plane in sure if plane > here)])
        if self._left is not None:
            low, high = min(low, self._left[0]), max(high, self._left[1])
        step = object()
        work.document.go_on(step, record.id)
        labels = dict.fromkeys((record.label, *self._awaited))
        self._start(work, tuple(labels), (low, high), step)

    def _on_work_changed(self) -> None:
        work = self._bridge.work
        document = None if work is None else work.document
        if document is not self._document:
            self.cancel()
            self._watch(document)
            self._memory = Memory()
            self._label, self.z_range = None, None
        self.changed.emit()

    def _on_pixels_changed(self) -> None:
        # What was learned is of other pixels.
        self._memory = Memory()

    def _watch(self, document: Document | None) -> None:
        before, self._document = self._document, document
        if before is not None:
            before.events.disconnect(self._on_document)
        if document is not None:
            document.events.connect(self._on_document)

    def _on_document(self, info: Any) -> None:
        document, name = self._document, info.signal.name
        if document is None:
            return
        if name == "history_changed" and document.can_redo:
            # Undone while it goes on: the next plane would make the undoing for good.
            self._memory.forget_found()
            if self._run is not None:
                self.cancel()
        if name == "object_changed":
            self._on_object(document, info.args[0])
        if name == "active_changed" and document.active is not None:
            self._label = document.active.label
        if name in ("active_changed", "history_changed"):
            self.changed.emit()

    def _on_object(self, document: Document, object_id: int) -> None:
        run = self._run
        if run is None or object_id not in document:
            return
        record = document.get(object_id)
        if record.label in run.labels and not record.is_answered:
            # Corrected while it goes on: its answer begins it anew.
            self._left, self._awaited = run.z_range, run.labels
            self._end_run()
            self.changed.emit()

    def _on_plane_changed(self, _plane: Plane) -> None:
        self.changed.emit()


class _Run:
    """A job under way, and what becomes of what it finds.

    Parameters
    ----------
    document : Document
    labels : tuple of int
        Whose planes are looked for.
    before : Plane
        The indices in front of the axis of the planes.
    z_range : (int, int)
    step : object
        The step of the history that all of it is part of.
    """

    def __init__(
        self,
        document: Document,
        labels: tuple[int, ...],
        before: Plane,
        z_range: tuple[int, int],
        step: object,
    ) -> None:
        self.document = document
        self.labels = labels
        self.before = before
        self.z_range = z_range
        self.step = step
        self.job: Propagate | None = None
        self._told: set[tuple[int, int]] = set()

    def take(self, result: PlaneResult, logits: Any) -> None:
        """Show what was found on a plane."""
        self._told.add((result.label, result.plane))
        found = FoundPlane(
            (*self.before, result.plane),
            result.region,
            result.confidence,
            logits,
            result.stopped or "",
        )
        self.document.put_propagated(result.label, [found], run=self.step)

    def empty_the_rest(self) -> None:
        """Take away what earlier runs found on planes that this one did not reach."""
        for label in self.labels:
            gone = [
                FoundPlane(record.plane, None, 0.0)
                for record in self.document.of_label(label)
                if record.plane[:-1] == self.before
                and self.z_range[0] <= record.plane[-1] <= self.z_range[1]
                and (label, record.plane[-1]) not in self._told
            ]
            self.document.put_propagated(label, gone, run=self.step)


def _drawings(
    document: Document, before: Plane, wanted: Sequence[int]
) -> dict[int, dict[int, Region | None]]:
    """Return what is drawn of the objects to find, and of those found before."""
    found: dict[int, dict[int, Region | None]] = {label: {} for label in wanted}
    met = {r.label for r in document.objects if is_propagated(r)}
    for label in sorted(met | set(wanted)):
        for record in document.of_label(label):
            drawn = not is_propagated(record) or not document.is_draft(record)
            if record.is_blank and not is_absent(record):
                continue
            if record.plane[:-1] == before and drawn:
                region = record.written if record.region is None else record.region
                found.setdefault(label, {})[record.plane[-1]] = region
    return {label: each for label, each in found.items() if each or label in wanted}
