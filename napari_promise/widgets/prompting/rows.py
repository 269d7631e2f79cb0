"""Keeps the table of objects and the undo buttons in step with the document.

An edit changes the rows twice: at once, and when its mask has come. Where a mask is due
the first waits for a moment, so that the window is not repainted on the way to it.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from psygnal import SignalInstance
from qtpy.QtCore import QObject, QTimer

from napari_promise.document import (
    Document,
    DocumentEvents,
    ObjectRecord,
    Plane,
    Region,
    is_propagated,
)
from napari_promise.widgets.actions import NO_TARGET
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.desk import Desk
from napari_promise.widgets.layers.drafts import drafts
from napari_promise.widgets.prompting.objects_panel import ObjectsPanel
from napari_promise.widgets.prompting.objects_table import ObjectRow
from napari_promise.widgets.prompting.prompt_panel import PromptPanel
from napari_promise.widgets.volumes.extent import Extent, extent_of

#: Rows and buttons wait this long for a mask that is being computed.
_WAIT_MS = 150


class ObjectRows(QObject):
    """Shows the objects of the desk's document in the panels.

    Parameters
    ----------
    desk : Desk
    objects : ObjectsPanel
    prompt : PromptPanel
    adapter_places_points : callable
        Whether the adapter in use does.
    parent : QObject
    """

    def __init__(
        self,
        desk: Desk,
        objects: ObjectsPanel,
        prompt: PromptPanel,
        adapter_places_points: Callable[[], bool],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._desk, self._objects, self._prompt = desk, objects, prompt
        self._adapter_places_points = adapter_places_points
        self._sizes: dict[int, tuple[Region | None, int]] = {}
        self._extents: dict[int, tuple[Any, Any, Extent | None]] = {}
        # By label: the records a row was made of, and whether their commit was pending.
        self._rows: dict[int, tuple[tuple[ObjectRecord, ...], bool, ObjectRow]] = {}
        self._looks: object = None
        self._timer = QTimer(self)
        self._timer.setSingleShot(True)
        self._timer.timeout.connect(self.show_now)
        self._document = Connections()
        self._others = Connections()
        self._others.add(desk.session.document_changed, self._on_document_changed)
        self._others.add(desk.session.model_changed, self._on_document_event)
        self._others.add(desk.bridge.work_changed, self.show_now)
        self._others.add(desk.bridge.plane_changed, self._on_plane_changed)
        dims = desk.viewer.dims.events
        for way_of_showing in (dims.ndisplay, dims.order):  # flat, or not any more
            self._others.add(way_of_showing, self._on_plane_changed)
        self._on_document_changed(desk.session.document)

    def close(self) -> None:
        """Hear nothing more; the panels may be gone already."""
        self._others.release()
        self._document.release()

    def _on_document_changed(self, document: Document) -> None:
        self._document.release()
        self._sizes.clear()
        self._extents.clear()
        self._rows.clear()
        for signal in _row_signals(document.events):
            self._document.add(signal, self._on_document_event, check_nargs=False)
        self._on_document_event()

    def _on_document_event(self, *_: Any) -> None:
        if not self._awaits_answer():
            self._timer.start(0)
        elif not self._timer.isActive():
            self._timer.start(_WAIT_MS)

    def _on_plane_changed(self, _plane: Any) -> None:
        self._timer.start(0)

    def _awaits_answer(self) -> bool:
        """Whether the mask of the active object is due any moment."""
        session = self._desk.session
        active = session.document.active
        ready = session.settings.live and session.status.state == "ready"
        if active is None or not active.prompts.has_target:
            return False
        return ready and not active.is_answered

    def show_now(self) -> None:
        """Show objects, history, and what can be done."""
        work = self._desk.bridge.work
        document = None if work is None else work.document
        rows = []
        if work is not None and document is not None:
            pending = document.pending
            looks = work.result.layer.colormap, tuple(work.image.scale)
            known = self._rows if looks == self._looks else {}
            self._looks, self._rows = looks, {}
            for whole in grouped(document, self._desk.bridge.plane):
                waits = any(record.id in pending for record in whole)
                before = known.get(whole[0].label)
                if before and before[1] == waits and _same(before[0], whole):
                    row = before[2]
                else:
                    row = self._row(whole, pending)
                self._rows[whole[0].label] = whole, waits, row
                rows.append(row)
        self._objects.show_rows(
            rows,
            None if document is None else document.active_id,
        )
        waiting = () if document is None else drafts(document)
        self._objects.review.show_scores(weakest_scores(r for r, _ in waiting))
        self._prompt.show_history(
            "" if document is None else document.undo_name,
            "" if document is None else document.redo_name,
        )
        self.show_available()

    def show_available(self) -> None:
        """Enable what can be done, and hint at what comes first."""
        bridge = self._desk.bridge
        work, image = bridge.work, bridge.has_image()
        active = None if work is None else work.document.active
        places_points = bool(self._adapter_places_points())
        self._prompt.show_available(
            image=image,
            adapter=places_points,
            mask=active is not None and not active.is_blank,
        )
        if work is None or not image:
            hint = "Open an image; File → Open Sample → ProMISe has some."
        elif not bridge.flat():
            hint = "Switch to the 2D view to place prompts."
        elif not self._desk.session.knows_points and (
            active is None or not len(active.prompts.boxes)
        ):
            name = self._desk.session.model_id
            hint = f"{name} knows boxes only: press B and drag a box around an object."
        elif not len(work.document):
            auto = " or press A" if places_points else ""
            hint = f"Click on an object{auto}."
        else:
            hint = self._desk.actions.waiting_line()
            prompts = None if active is None else active.prompts
            if not (hint or prompts is None or prompts.is_empty or prompts.has_target):
                hint = NO_TARGET
        self._prompt.show_hint(hint)

    def _row(self, whole: Sequence[ObjectRecord], pending: frozenset[int]) -> ObjectRow:
        """Return the row of an object: its records, the one to open first."""
        record = whole[0]
        drawn = [r.prompts for r in whole if len(whole) == 1 or not is_propagated(r)]
        scores = [r.score for r in whole if r.score is not None]
        extent = self._extent(whole)
        return ObjectRow(
            record.id,
            self._desk.bridge.label_colour(record.label),
            record.class_name,
            min(scores, default=None),
            sum(int((p.labels == 1).sum()) for p in drawn),
            sum(int((p.labels == 0).sum()) for p in drawn),
            sum(len(p.boxes) for p in drawn),
            any(p.mask is not None for p in drawn),
            record.plane,
            all(r.committed or r.is_blank for r in whole),
            any(r.written is not None for r in whole),
            any(r.id in pending for r in whole),
            sum(self._size(r) for r in whole),
            record.label,
            planes_in_words(whole),
            extent.volume if extent is not None and extent.is_known else None,
            "" if extent is None or len(whole) == 1 else extent.in_words,
        )

    def _extent(self, whole: Sequence[ObjectRecord]) -> Extent | None:
        """Measure an object once, as long as its masks are the same."""
        work = self._desk.bridge.work
        if work is None or len(work.shape) < 3:
            return None
        regions = tuple(r.written if r.region is None else r.region for r in whole)
        placed = tuple(work.image.scale)
        known = self._extents.get(whole[0].label)
        if known is None or known[0] != placed or not _same(known[1], regions):
            known = (placed, regions, extent_of(whole, work.image))
            self._extents[whole[0].label] = known
        return known[2]

    def _size(self, record: ObjectRecord) -> int:
        """Count a mask's pixels, once for each mask."""
        region, size = self._sizes.get(record.id, (None, 0))
        if record.region is not region:
            size = 0 if record.region is None else record.region.area
            self._sizes[record.id] = record.region, size
        return size


def grouped(document: Document, plane: Plane) -> list[tuple[ObjectRecord, ...]]:
    """Return the objects, each as its records: what shares a label is one.

    Parameters
    ----------
    document : Document
    plane : Plane
        On display.

    Returns
    -------
    list of tuple of ObjectRecord
        In the order in which the objects were begun. First of each comes the record to
        open: the active one, else that of the plane on display, else the first.
    """
    wholes: dict[int, list[ObjectRecord]] = {}
    for record in document.objects:
        wholes.setdefault(record.label, []).append(record)
    active = document.active_id

    def rank(record: ObjectRecord) -> tuple[bool, bool]:
        return record.id != active, record.plane != plane

    return [tuple(sorted(whole, key=rank)) for whole in wholes.values()]


def weakest_scores(records: Iterable[ObjectRecord]) -> list[float | None]:
    """Return the score of each object: through planes that of its weakest one."""
    found: dict[int, float | None] = {}
    for record in records:
        before = found.get(record.label, record.score)
        known = [score for score in (before, record.score) if score is not None]
        found[record.label] = min(known, default=None)
    return list(found.values())


def planes_in_words(whole: Sequence[ObjectRecord]) -> str:
    """Return the planes of an object on several: first, last, and how many of them."""
    at = sorted(r.plane[-1] for r in whole if r.plane and not r.is_blank)
    if len(at) < 2:
        return ""
    gap = "" if len(at) == at[-1] - at[0] + 1 else f" ({len(at)})"
    return f"{at[0]}–{at[-1]}{gap}"


def _same(one: tuple[Any, ...], other: tuple[Any, ...]) -> bool:
    return len(one) == len(other) and all(map(operator.is_, one, other))


def _row_signals(events: DocumentEvents) -> tuple[SignalInstance, ...]:
    """Return what changes the rows of objects or the buttons beside them."""
    return (
        events.object_added,
        events.object_changed,
        events.object_removed,
        events.objects_changed,
        events.active_changed,
        events.history_changed,
    )
