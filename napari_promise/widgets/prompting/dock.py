"""The dock: composes the panels and connects their wishes, nothing else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from napari.utils.notifications import show_error, show_info, show_warning
from psygnal import SignalInstance
from qtpy.QtCore import QSize, Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
    QFrame,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_promise.document import Document, DocumentEvents
from napari_promise.session import Session, Status
from napari_promise.widgets.dispatch import GuiDispatcher
from napari_promise.widgets.keys import KeyBindings
from napari_promise.widgets.layers.bridge import LayerBridge
from napari_promise.widgets.prompting import catalogue, exporting
from napari_promise.widgets.prompting.actions import Actions
from napari_promise.widgets.prompting.export_dialog import ExportDialog, ExportRequest
from napari_promise.widgets.prompting.model_panel import Choice, ModelPanel
from napari_promise.widgets.prompting.objects_panel import ObjectRow, ObjectsPanel
from napari_promise.widgets.prompting.prompt_panel import PromptPanel
from napari_promise.widgets.prompting.settings_dialog import SettingsDialog
from napari_promise.widgets.training.controller import Training

if TYPE_CHECKING:
    import napari

#: The dock asks for this width; it may be made narrower down to its buttons.
_WIDTH = 340
#: The table and the buttons wait this long for a mask that is being computed.
_ROWS_WAIT_MS = 150


class PromiseWidget(QWidget):
    """Prompt, correct and commit objects of the images in a viewer.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    session : Session, optional
        By default one with the user's settings. It is closed with the widget.

    Attributes
    ----------
    session : Session
    bridge : LayerBridge
    actions : Actions
    """

    def __init__(
        self, napari_viewer: napari.Viewer, session: Session | None = None
    ) -> None:
        super().__init__()
        self._dispatch = GuiDispatcher(self)
        if session is None:
            session = Session(dispatch=self._dispatch)
        self.session = session
        self.bridge = LayerBridge(napari_viewer)
        self.actions = Actions(session, self.bridge, show_warning)
        self._adapters: list[catalogue.AdapterEntry] | None = None
        self._settings: SettingsDialog | None = None
        self._folder = Path.cwd()
        self._heard: DocumentEvents | None = None

        self.model_panel = ModelPanel()
        self.prompt_panel = PromptPanel()
        self.objects_panel = ObjectsPanel()
        self.export_button = QPushButton("Export…")
        self.export_button.setToolTip(
            "Write labels (TIFF, PNG, NumPy, NIfTI), COCO or the prompts to a file."
        )
        self.load_button = QPushButton("Load prompts…")
        self.load_button.setToolTip(
            "Replay prompts that were exported: the same objects, the same masks."
        )
        self.train_button = QPushButton("Train my adapter…")
        self.train_button.setToolTip(
            "Teach an adapter what you labelled: in minutes, while you go on clicking. "
            "SAM itself stays as it is."
        )
        self.training = Training(
            session, self.bridge, self._dispatch, show_info, show_error, self
        )
        self._compose()
        self._rows = QTimer(self)
        self._rows.setSingleShot(True)
        self._rows.timeout.connect(self._show_rows)
        self._keys = KeyBindings(
            {
                "auto": self.actions.auto,
                "polarity": self.actions.flip,
                "box": self.actions.toggle_box,
                "mask": self.actions.take_mask,
                "segment": self.actions.segment,
                "commit": self.actions.commit,
                "new": self.actions.new,
                "undo": self.actions.undo,
                "redo": self.actions.redo,
            }
        )
        self._connect_panels()
        self._connect_session()
        self._connect_bridge()
        self._closing = _Closing(
            self.session,
            self.bridge,
            self._keys,
            self._dispatch,
            self._hear_no_more,
            self.training.rescue,
        )
        self.destroyed.connect(self._closing)
        application = QApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self._closing)
        self._read_adapters()
        self._show_models()
        self._show_settings()
        self._on_status_changed(session.status)
        self.bridge.open(self.bridge.likely_image())

    def sizeHint(self) -> QSize:
        """Wide enough for every button, and no wider."""
        return QSize(_WIDTH, 640)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Leave room for the scroll bar, now that the theme has set every width."""
        super().showEvent(event)
        inside, bar = self._scroll.widget(), self._scroll.verticalScrollBar()
        if inside is not None and bar is not None:
            width = inside.minimumSizeHint().width() + bar.sizeHint().width()
            self._scroll.setMinimumWidth(width)

    def close_down(self) -> None:
        """Stop the worker and let go of the viewer; also done when it is destroyed."""
        self._closing()

    # -- composing ----------------------------------------------------------------

    def _compose(self) -> None:
        files = QHBoxLayout()
        files.addWidget(self.export_button)
        files.addWidget(self.load_button)
        for button in (self.export_button, self.load_button, self.train_button):
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        inside = QWidget()
        column = QVBoxLayout(inside)
        column.setContentsMargins(8, 6, 8, 6)
        column.setSpacing(8)
        column.addWidget(self.model_panel)
        column.addWidget(_line())
        column.addWidget(self.prompt_panel)
        column.addWidget(_line())
        column.addWidget(self.objects_panel, 1)
        column.addLayout(files)
        column.addWidget(self.train_button)
        scroll = QScrollArea()
        scroll.setWidget(inside)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        self._scroll = scroll
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)

    # -- connecting ---------------------------------------------------------------

    def _connect_panels(self) -> None:
        model, prompt, objects = self.model_panel, self.prompt_panel, self.objects_panel
        actions, settings = self.actions, self.session.settings
        model.image_chosen.connect(self.bridge.open)
        model.model_chosen.connect(self._on_model_chosen)
        model.adapter_chosen.connect(self._on_adapter_chosen)
        model.ips_toggled.connect(lambda on: setattr(settings, "ips", on))
        model.cancel_requested.connect(self.session.cancel)
        model.settings_requested.connect(self._open_settings)
        prompt.auto_requested.connect(actions.auto)
        prompt.include_chosen.connect(actions.choose_include)
        prompt.flip_requested.connect(actions.flip)
        prompt.box_toggled.connect(lambda _on: actions.toggle_box())
        prompt.mask_requested.connect(actions.take_mask)
        prompt.clear_requested.connect(actions.clear)
        prompt.live_toggled.connect(lambda on: setattr(settings, "live", on))
        prompt.local_toggled.connect(lambda on: setattr(settings, "local", on))
        prompt.segment_requested.connect(actions.segment)
        prompt.undo_requested.connect(actions.undo)
        prompt.redo_requested.connect(actions.redo)
        prompt.commit_requested.connect(actions.commit)
        prompt.new_requested.connect(actions.new)
        objects.row_chosen.connect(actions.reopen)
        objects.class_edited.connect(actions.set_class)
        objects.delete_requested.connect(actions.delete)
        objects.rewrite_requested.connect(actions.rewrite)
        self.export_button.clicked.connect(self.export)
        self.load_button.clicked.connect(self.load_prompts)
        self.train_button.clicked.connect(self.training.show)
        self.training.adapters_changed.connect(lambda _name: self._read_adapters())
        self.training.progress.connect(self._on_training_progress)

    def _connect_session(self) -> None:
        session = self.session
        session.status_changed.connect(self._on_status_changed)
        session.failed.connect(show_error)
        session.notified.connect(show_info)
        session.document_changed.connect(self._on_document_changed)
        session.drag_previewed.connect(
            lambda g: self.bridge.show_drag_preview(g.document, g.object_id, g.region)
        )
        session.model_changed.connect(lambda _name: self._show_models())
        session.adapter_changed.connect(lambda _info: self._show_models())
        session.settings.events.connect(self._on_setting)

    def _connect_bridge(self) -> None:
        bridge = self.bridge
        bridge.images_changed.connect(self._on_images_changed)
        bridge.work_changed.connect(self._on_work_changed)
        bridge.pixels_changed.connect(self._set_image)
        bridge.plane_changed.connect(self._on_plane_changed)
        bridge.include_changed.connect(self.prompt_panel.show_include)
        bridge.box_changed.connect(self.prompt_panel.show_box)
        bridge.noticed.connect(show_warning)
        bridge.layers_changed.connect(self._bind_keys)
        bridge.dragged.connect(self._on_dragged)
        bridge.drag_ended.connect(self.session.end_drag_previews)

    def _on_document_changed(self, document: Document) -> None:
        self._ignore_document()
        self._heard = document.events
        for signal in _row_signals(self._heard):
            signal.connect(self._on_document_event, check_nargs=False)
        self._on_document_event()

    def _ignore_document(self) -> None:
        heard, self._heard = self._heard, None
        if heard is not None:
            for signal in _row_signals(heard):
                signal.disconnect(self._on_document_event)

    def _on_setting(self, _info: Any) -> None:
        self._show_settings()

    def _hear_no_more(self) -> None:
        """Let go of what may outlive the window, and would find no widgets."""
        self._ignore_document()
        self.session.settings.events.disconnect(self._on_setting)

    def _on_document_event(self, *_: Any) -> None:
        # The answer changes the rows again: to repaint the window twice on the way to
        # it would only delay it.
        if not self._awaits_answer():
            self._rows.start(0)
        elif not self._rows.isActive():
            self._rows.start(_ROWS_WAIT_MS)

    def _awaits_answer(self) -> bool:
        """Whether the mask of the object in work is due any moment."""
        session, active = self.session, self.session.document.active
        ready = session.settings.live and session.status.state == "ready"
        return ready and active is not None and not active.is_answered

    def _on_dragged(self, object_id: int, prompts: Any, sources: Any) -> None:
        if self.session.settings.live:
            self.session.drag_preview(object_id, prompts, sources)

    # -- images and planes --------------------------------------------------------

    def _on_images_changed(self) -> None:
        if not self.bridge.has_image() and self.bridge.images():
            QTimer.singleShot(0, self._open_likely)
        self._show_images()

    def _open_likely(self) -> None:
        if not self.bridge.has_image():
            self.bridge.open(self.bridge.likely_image())

    def _on_work_changed(self) -> None:
        self._show_images()
        self._set_image()
        if self.session.settings.live and self.bridge.has_image():
            self.actions.segment_waiting()
        self._bind_keys()
        self._show_rows()

    def _set_image(self) -> None:
        work, source = self.bridge.work, self.bridge.source()
        document = None if work is None else work.document
        self.session.set_image(source, self.bridge.plane, document=document)

    def _on_plane_changed(self, plane: tuple[int, ...]) -> None:
        self.session.show_plane(plane)
        self._rows.start(0)

    def _bind_keys(self) -> None:
        self._keys.bind_only(self.bridge.bindable(), self.bridge.foreign_labels())

    # -- showing ------------------------------------------------------------------

    def _show_images(self) -> None:
        work = self.bridge.work
        current = work.image if work is not None and self.bridge.has_image() else None
        self.model_panel.image.show_choices(
            [Choice(image, image.name) for image in self.bridge.images()], current
        )

    def _show_models(self) -> None:
        settings = self.session.settings
        self.model_panel.model.show_choices(
            catalogue.model_choices(settings.model), settings.model
        )
        self.model_panel.adapter.show_choices(
            catalogue.adapter_choices(self._adapters, settings.adapter, settings.model),
            settings.adapter,
        )
        self.model_panel.show_ips(settings.ips, available=self._adapter_has("ips"))
        self.prompt_panel.show_local(settings.local, available=bool(settings.adapter))
        self._show_available()

    def _adapter_has(self, part: Literal["apm", "ips"]) -> bool:
        """Whether the adapter in use has a part; one from a folder may."""
        adapter = self.session.settings.adapter
        entry = catalogue.entry_of(self._adapters, adapter)
        if entry is None:
            return bool(adapter)
        return entry.has_apm if part == "apm" else entry.has_ips

    def _show_settings(self) -> None:
        settings = self.session.settings
        self.prompt_panel.show_live(settings.live)
        self._show_models()
        if self._settings is not None:
            self._settings.show_values(settings.to_preferences())

    def _read_adapters(self) -> None:
        catalogue.read_adapters(
            lambda found: self._dispatch(lambda: self._on_adapters_read(found))
        )

    def _on_adapters_read(self, found: list[catalogue.AdapterEntry]) -> None:
        self._adapters = found
        self.training.show_adapters(found)
        self._show_models()

    def _on_training_progress(self, text: str) -> None:
        head = text.partition(" · ")[0]
        self.train_button.setText(f"Training: {head}…" if text else "Train my adapter…")

    def _on_status_changed(self, status: Status) -> None:
        device = f"Device: {status.device}" if status.device else ""
        self.model_panel.show_status(status.state, status.message, device)

    def _show_rows(self) -> None:
        work = self.bridge.work
        records = () if work is None else work.document.objects
        self.objects_panel.show_rows(
            [
                ObjectRow(
                    record.id,
                    self.bridge.label_colour(record.id),
                    record.class_name,
                    record.score,
                    int((record.prompts.labels == 1).sum()),
                    int((record.prompts.labels == 0).sum()),
                    len(record.prompts.boxes),
                    record.prompts.mask is not None,
                    record.plane,
                    record.committed,
                    record.written is not None,
                )
                for record in records
            ],
            None if work is None else work.document.active_id,
        )
        document = None if work is None else work.document
        self.prompt_panel.show_history(
            "" if document is None else document.undo_name,
            "" if document is None else document.redo_name,
        )
        self._show_available()

    def _show_available(self) -> None:
        work = self.bridge.work
        active = None if work is None else work.document.active
        self.prompt_panel.show_available(
            image=self.bridge.has_image(),
            adapter=self._adapter_has("apm"),
            mask=active is not None and not active.is_blank,
        )
        if work is None or not self.bridge.has_image():
            hint = "Open an image; File → Open Sample → ProMISe has some."
        elif not self.bridge.flat():
            hint = "Show the image flat, rows and columns in 2D, to prompt on it."
        elif not len(work.document):
            auto = " or press A" if self._adapter_has("apm") else ""
            hint = f"Click on an object{auto}."
        else:
            hint = ""
        self.prompt_panel.show_hint(hint)

    # -- choosing -----------------------------------------------------------------

    def _on_model_chosen(self, value: Any) -> None:
        if value is catalogue.FROM_FILE:
            name, _ = QFileDialog.getOpenFileName(
                self,
                "Choose a checkpoint",
                str(self._folder),
                "Checkpoints (*.pt *.pth *.safetensors)",
            )
            value = name or None
        if value:
            self.session.settings.model = value
        self._show_models()

    def _on_adapter_chosen(self, value: Any) -> None:
        if value is catalogue.FROM_FOLDER:
            name = QFileDialog.getExistingDirectory(
                self, "Choose an adapter's folder", str(self._folder)
            )
            value = name or None
        if value is not None:
            self.session.settings.adapter = value
        self._show_models()

    def _open_settings(self) -> None:
        if self._settings is None:
            dialog = SettingsDialog(self)
            dialog.changed.connect(
                lambda name, value: setattr(self.session.settings, name, value)
            )
            dialog.clear_cache_requested.connect(self.session.clear_cache)
            self.session.cache_measured.connect(dialog.show_cache_size)
            self._settings = dialog
        self._settings.show_values(self.session.settings.to_preferences())
        self.session.measure_cache()
        self._settings.show()
        self._settings.raise_()

    # -- files --------------------------------------------------------------------

    def export(self) -> None:
        """Ask what to write and where, and write it in the background."""
        snapshot = self.actions.snapshot()
        if snapshot is None:
            return
        dialog = ExportDialog(
            Path(snapshot.image_name).stem or "objects",
            self._folder,
            snapshot.labels.ndim > 2,
            {record.id: record.class_name for record in snapshot.objects},
            sum(not r.committed and not r.is_blank for r in snapshot.objects),
            self,
        )
        if dialog.exec() and dialog.request is not None:
            self._folder = dialog.request.path.parent
            self.write(dialog.request, snapshot)

    def write(
        self, request: ExportRequest, snapshot: exporting.Snapshot
    ) -> threading.Thread:
        """Write an export in the background and say how it went.

        Parameters
        ----------
        request : ExportRequest
        snapshot : Snapshot

        Returns
        -------
        threading.Thread
            Running already.
        """

        def run() -> None:
            try:
                path = exporting.write(request, snapshot)
            except (ValueError, OSError) as error:
                message = f"Nothing was written: {error}"
                self._dispatch(lambda: show_error(message))
            else:
                self._dispatch(lambda: show_info(f"Written: {path}"))

        thread = threading.Thread(target=run, name="napari-promise export")
        thread.start()
        return thread

    def load_prompts(self) -> None:
        """Ask for a prompts file and replay it."""
        name, _ = QFileDialog.getOpenFileName(
            self, "Load prompts", str(self._folder), "Prompts (*.json)"
        )
        if name:
            self._folder = Path(name).parent
            self.actions.load(Path(name))


class _Closing:
    """Lets go of everything once, whoever notices first that it is time."""

    def __init__(
        self,
        session: Session,
        bridge: LayerBridge,
        keys: KeyBindings,
        dispatch: GuiDispatcher,
        hear_no_more: Callable[[], None],
        rescue: Callable[[], str],
    ) -> None:
        self._parts: tuple[Any, ...] | None = (keys, bridge, dispatch, session)
        self._hear_no_more = hear_no_more
        self._rescue = rescue

    def __call__(self, *_: Any) -> None:
        parts, self._parts = self._parts, None
        if parts is None:
            return
        keys, bridge, dispatch, session = parts
        keys.release_all()
        bridge.close()
        dispatch.close()
        self._hear_no_more()
        for signal in (
            session.status_changed,
            session.failed,
            session.notified,
            session.document_changed,
            session.model_changed,
            session.adapter_changed,
            session.segmented,
            session.drag_previewed,
            session.cache_measured,
        ):
            signal.disconnect()
        session.close()
        name = self._rescue()
        if name:
            show_info(f"Training ended with the dock; the best so far is kept: {name}.")


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


def _line() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFixedHeight(1)
    line.setStyleSheet("background: rgba(128, 128, 128, 90); border: none;")
    return line
