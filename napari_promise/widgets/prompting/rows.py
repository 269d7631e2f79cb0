"""Keeps the table of objects and the undo buttons in step with the document.

An edit changes the rows twice: at once, and when its mask has come. Where a mask is due
the first waits for a moment, so that the window is not repainted on the way to it.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from psygnal import SignalInstance
from qtpy.QtCore import QObject, QTimer

from napari_promise.document import Document, DocumentEvents, ObjectRecord
from napari_promise.widgets.actions import NO_TARGET
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.desk import Desk
from napari_promise.widgets.layers.drafts import drafts
from napari_promise.widgets.prompting.objects_panel import ObjectsPanel
from napari_promise.widgets.prompting.objects_table import ObjectRow
from napari_promise.widgets.prompting.prompt_panel import PromptPanel

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
        # By id, the record a row was made of, and whether its commit was pending.
        self._rows: dict[int, tuple[ObjectRecord, bool, ObjectRow]] = {}
        self._colours: object = None
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
            colours = work.result.layer.colormap
            known = self._rows if colours is self._colours else {}
            self._colours, self._rows = colours, {}
            for record in document.objects:
                row = self._row(record, record.id in pending, known.get(record.id))
                self._rows[record.id] = record, record.id in pending, row
                rows.append(row)
        self._objects.show_rows(
            rows,
            None if document is None else document.active_id,
        )
        waiting = () if document is None else drafts(document)
        self._objects.review.show_scores([record.score for record, _ in waiting])
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

    def _row(
        self,
        record: ObjectRecord,
        pending: bool,
        known: tuple[ObjectRecord, bool, ObjectRow] | None,
    ) -> ObjectRow:
        """Return an object's row: the one it had where nothing of it changed."""
        if known is not None and known[0] is record and known[1] == pending:
            return known[2]
        prompts = record.prompts
        return ObjectRow(
            record.id,
            self._desk.bridge.label_colour(record.id),
            record.class_name,
            record.score,
            int((prompts.labels == 1).sum()),
            int((prompts.labels == 0).sum()),
            len(prompts.boxes),
            prompts.mask is not None,
            record.plane,
            record.committed,
            record.written is not None,
            pending,
            0 if record.region is None else record.region.area,
        )


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
