"""What is propagated, and when: by wish, and again around each correction.

How a correction reaches its neighbours:

1. The session writes the mask that answers a corrected plane.
2. That plane now counts as drawn. The job under way, if any, ends; another one begins
   on the planes up to the next drawn ones on either side.
3. What it finds takes the place of what was propagated there. Planes that were
   prompted, corrected, confirmed or committed are never touched.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psygnal import Signal

from napari_promise.document import (
    Document,
    FoundPlane,
    ObjectRecord,
    Plane,
    is_propagated,
    volume_ml,
)
from napari_promise.jobs.propagating import Propagate
from napari_promise.propagation import PlaneResult
from napari_promise.session import SegmentResult, Session
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.layers.bridge import LayerBridge
from napari_promise.widgets.layers.geometry import placement
from napari_promise.widgets.layers.work import Work
from napari_promise.widgets.volumes.marks import PlaneMark, marks_of, next_weakest

__all__ = ["Propagation"]

_MILLIMETRES = ("mm", "millimeter")


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
    z_range : (int, int) or None
        First and last plane that may be drawn on; None for all.
    """

    changed = Signal()

    def __init__(
        self, session: Session, bridge: LayerBridge, tell: Callable[[str], None]
    ) -> None:
        self._session = session
        self._bridge = bridge
        self._tell = tell
        self._job: Propagate | None = None
        self._document: Document | None = None
        self._label: int | None = None
        self._wanted: int | None = None
        self._stops: dict[int, dict[int, str]] = {}
        self.z_range: tuple[int, int] | None = None
        self._connections = Connections()
        for signal, handler in (
            (session.segmented, self._on_segmented),
            (bridge.work_changed, self._on_work_changed),
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
        return self._job is not None or self._wanted is not None

    def marks(self) -> tuple[PlaneMark, ...]:
        """Return what there is of the object in work, plane by plane."""
        work, label = self._bridge.work, self.label
        if work is None or not self.planes:
            return ()
        stops = {} if label is None else self._stops.get(label, {})
        before = self._bridge.plane[:-1]
        return marks_of(work.document, label, before, self.planes, stops)

    def volume(self) -> str:
        """Return the volume of the object in work, in words; empty for none.

        In voxels where the image does not say how large one is.
        """
        work, label = self._bridge.work, self.label
        if work is None or label is None or not self.planes:
            return ""
        records = work.document.of_label(label)
        if not records:
            return ""
        if _unit(work) in _MILLIMETRES:
            return f"{volume_ml(records, _spacing(work)):.1f} ml"
        # A voxel of ten by ten by ten millimetres is one millilitre.
        return f"{volume_ml(records, (10, 10, 10)):.0f} voxels"

    @property
    def label(self) -> int | None:
        """The object in work, else the one that was propagated last, else the newest.

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
        """Find the object in work on all planes, from those that were prompted."""
        if not self.planes:
            self._tell("Only stacks have planes to propagate to: open one.")
            return
        work, label = self._bridge.work, self.label
        assert work is not None
        if label is None:
            self._tell("There is no object to propagate: click on one first.")
            return
        drawn = [r for r in work.document.of_label(label) if not is_propagated(r)]
        if any(not record.is_answered for record in drawn):
            self._wanted = label
            self.changed.emit()
            return
        last = self.planes - 1
        low, high = self.z_range or (0, last)
        self._start(work, label, (max(0, low), min(high, last)))

    def cancel(self) -> None:
        """Stop; what was found stays."""
        self._wanted = None
        job, self._job = self._job, None
        if job is not None:
            self._session.end_job(job)
        self.changed.emit()

    def confirm(self) -> None:
        """Make the propagated plane on display the user's, with its mask."""
        work, label = self._bridge.work, self.label
        if work is None or label is None:
            self._tell("There is nothing to confirm: propagate an object first.")
            return
        record = work.document.get_at(label, self._bridge.plane)
        if record is None or not work.document.confirm([record.id]):
            self._tell("Nothing was propagated to this plane.")

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

    def _start(self, work: Work, label: int, z_range: tuple[int, int]) -> None:
        source = self._bridge.source()
        if source is None:
            return
        document, before = work.document, self._bridge.plane[:-1]
        drawn = {
            record.plane[-1]: region
            for record in document.of_label(label)
            if record.plane[:-1] == before
            and (region := _drawn_region(document, record)) is not None
        }
        if not drawn:
            self._tell("The object has no mask yet: click on it first.")
            return
        self.cancel()
        self._label = label
        self._stops.setdefault(label, {})
        for plane in range(z_range[0], z_range[1] + 1):
            self._stops[label].pop(plane, None)
        run = object()

        def found(result: PlaneResult, logits: Any) -> None:
            if self._job is job:
                self._take(document, label, before, result, logits, run)

        def ended(why: str) -> None:
            if self._job is job:
                self._job = None
                if why:
                    self._tell(f"Propagation stopped: {why}")
                self.changed.emit()

        job = Propagate(
            source,
            before,
            label,
            drawn,
            spacing=_spacing(work),
            z_range=z_range,
            found=found,
            ended=ended,
        )
        self._job = job
        self._session.start_job(job, first=True)
        self.changed.emit()

    def _take(
        self,
        document: Document,
        label: int,
        before: Plane,
        result: PlaneResult,
        logits: Any,
        run: object,
    ) -> None:
        if result.stopped:
            self._stops[label][result.plane] = result.stopped
        plane = (*before, result.plane)
        found = FoundPlane(plane, result.region, result.confidence, logits)
        document.put_propagated(label, [found], run=run)
        self.changed.emit()

    # -- what happens -------------------------------------------------------------

    def _on_segmented(self, result: SegmentResult) -> None:
        work = self._bridge.work
        if work is None or result.document is not work.document or not self.planes:
            return
        record = work.document.get(result.object_id)
        if self._wanted == record.label:
            self._wanted = None
            self.propagate()
            return
        whole = work.document.of_label(record.label)
        if is_propagated(record) or not any(is_propagated(r) for r in whole):
            return
        here = record.plane[-1]
        sure = [r.plane[-1] for r in whole if r is not record and not is_propagated(r)]
        low, high = self.z_range or (0, self.planes - 1)
        low = max([low, *(plane + 1 for plane in sure if plane < here)])
        high = min([high, *(plane - 1 for plane in sure if plane > here)])
        self._start(work, record.label, (low, high))

    def _on_work_changed(self) -> None:
        work = self._bridge.work
        document = None if work is None else work.document
        if document is not self._document:
            self.cancel()
            self._watch(document)
            self._stops.clear()
            self._label, self.z_range = None, None
        self.changed.emit()

    def _watch(self, document: Document | None) -> None:
        before, self._document = self._document, document
        if before is not None:
            before.events.disconnect(self._on_document)
        if document is not None:
            document.events.connect(self._on_document)

    def _on_document(self, info: Any) -> None:
        document = self._document
        # Undone while it goes on: the next plane would make the undoing for good.
        if document is not None and document.can_redo and self._job is not None:
            self.cancel()
        if info.signal.name in ("active_changed", "history_changed"):
            self.changed.emit()

    def _on_plane_changed(self, _plane: Plane) -> None:
        self.changed.emit()


def _drawn_region(document: Document, record: ObjectRecord) -> Any:
    if is_propagated(record) and document.is_draft(record):
        return None
    return record.written if record.region is None else record.region


def _unit(work: Work) -> str:
    units = placement(work.image).get("units")
    return "" if units is None else str(units[-1])


def _spacing(work: Work) -> tuple[float, float, float]:
    """Return the size of a voxel; the same in all directions where nothing is said."""
    z, row, column = (abs(float(s)) or 1.0 for s in work.image.scale[-3:])
    return z, row, column
