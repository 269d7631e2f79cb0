"""The dock to prompt on an image: composes the panels and connects their wishes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from qtpy.QtCore import QEvent, QObject, QSize, Qt
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QFrame,
    QHBoxLayout,
    QPushButton,
    QScrollArea,
    QVBoxLayout,
    QWidget,
)

from napari_promise.session import Session
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.desk import Closing, Desk
from napari_promise.widgets.dispatch import GuiDispatcher
from napari_promise.widgets.many.panel import ManyPanel
from napari_promise.widgets.prompting.channels import ChannelStrip
from napari_promise.widgets.prompting.files import Files
from napari_promise.widgets.prompting.model_panel import ModelPanel
from napari_promise.widgets.prompting.models import Models
from napari_promise.widgets.prompting.objects_panel import ObjectsPanel
from napari_promise.widgets.prompting.prompt_panel import PromptPanel
from napari_promise.widgets.prompting.rows import ObjectRows
from napari_promise.widgets.prompting.windows import WindowStrip
from napari_promise.widgets.volumes.panel import VolumePanel

if TYPE_CHECKING:
    import napari

#: The dock asks for this width; it may be made narrower down to its buttons.
_WIDTH = 340
#: Pixels that themes keep free beside a scroll bar.
_BESIDE = 2


class PromiseWidget(QWidget):
    """Prompt, correct and commit objects of the images in a viewer.

    Parameters
    ----------
    napari_viewer : napari.Viewer
    session : Session, optional
        For the viewer's desk; by default one with the user's settings.

    Attributes
    ----------
    desk : Desk
        Shared with the other docks of the viewer.
    session : Session
    bridge : LayerBridge
    actions : Actions
    training : Training
        The desk's.
    files : Files
    models : Models
    """

    def __init__(
        self, napari_viewer: napari.Viewer, session: Session | None = None
    ) -> None:
        super().__init__()
        desk = self.desk = Desk.of(napari_viewer, session)
        self.session, self.bridge = desk.session, desk.bridge
        self.actions, self.training = desk.actions, desk.training
        self.model_panel = ModelPanel()
        self.channel_strip = ChannelStrip(desk)
        self.window_strip = WindowStrip(desk)
        self.prompt_panel = PromptPanel()
        self.volume_panel = VolumePanel(desk.propagation, desk.stack_proposing)
        self.many_panel = ManyPanel(desk.many)
        self.objects_panel = ObjectsPanel()
        desk.propagation.chosen = self.objects_panel.chosen_ids
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
            "Train an adapter on what you labelled. It takes minutes, and you can keep "
            "working. SAM itself is never changed."
        )
        self._compose()
        self._dispatch = GuiDispatcher(self)
        self.files = Files(self.actions, self._dispatch, self)
        self.models = Models(desk, self.model_panel, self.prompt_panel, self)
        self.rows = ObjectRows(
            desk,
            self.objects_panel,
            self.prompt_panel,
            lambda: self.models.adapter_has("apm"),
            self,
        )
        self._connections = Connections()
        self._connect_panels()
        self._connect_desk()
        self._closing = Closing(self, self._end)
        self.rows.show_now()
        desk.enter(self, takes_images=True)

    def sizeHint(self) -> QSize:
        """Wide enough for every button, and no wider."""
        return QSize(_WIDTH, 640)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Be as wide as everything inside, now that the theme has set every width."""
        super().showEvent(event)
        self._widen()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Be as wide as what comes to show, such as the panel of a stack."""
        asks = event is not None and event.type() == QEvent.Type.LayoutRequest
        if asks and watched is self._scroll.widget() and self.isVisible():
            self._widen()
        return super().eventFilter(watched, event)

    def _widen(self) -> None:
        """Leave room for all that is shown and for the scroll bar; never shrink."""
        inside, bar = self._scroll.widget(), self._scroll.verticalScrollBar()
        if inside is not None and bar is not None:
            width = inside.minimumSizeHint().width() + bar.sizeHint().width() + _BESIDE
            self._scroll.setMinimumWidth(max(width, self._scroll.minimumWidth()))

    def close_down(self) -> None:
        """Leave the desk; also done when the dock is closed."""
        self._closing()

    def _end(self, _window_stays: bool) -> None:
        self._connections.release()
        self.channel_strip.close_down()
        self.window_strip.close_down()
        self.volume_panel.close_down()
        self.desk.propagation.chosen = tuple
        self.many_panel.close_down()
        self.models.close()
        self.rows.close()
        self._dispatch.close()
        self.desk.leave(self)

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
        column.addWidget(self.channel_strip)
        column.addWidget(self.window_strip)
        column.addWidget(_line())
        column.addWidget(self.prompt_panel)
        column.addWidget(self.many_panel)
        column.addWidget(self.volume_panel)
        column.addWidget(_line())
        column.addWidget(self.objects_panel, 1)
        column.addLayout(files)
        column.addWidget(self.train_button)
        scroll = QScrollArea()
        scroll.setWidget(inside)
        scroll.setWidgetResizable(True)
        scroll.setFrameShape(QFrame.Shape.NoFrame)
        scroll.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        scroll.setFocusPolicy(Qt.FocusPolicy.NoFocus)  # what is inside has it
        self._scroll = scroll
        inside.installEventFilter(self)
        outer = QVBoxLayout(self)
        outer.setContentsMargins(0, 0, 0, 0)
        outer.addWidget(scroll)

    # -- connecting ---------------------------------------------------------------

    def _connect_panels(self) -> None:
        prompt, objects, actions = self.prompt_panel, self.objects_panel, self.actions
        prompt.auto_requested.connect(self.desk.auto)
        prompt.include_chosen.connect(actions.choose_include)
        prompt.flip_requested.connect(actions.flip)
        prompt.tool_requested.connect(actions.toggle_tool)
        prompt.mask_requested.connect(actions.take_mask)
        prompt.clear_requested.connect(actions.clear)
        prompt.segment_requested.connect(actions.segment)
        prompt.undo_requested.connect(actions.undo)
        prompt.redo_requested.connect(actions.redo)
        prompt.commit_requested.connect(actions.commit)
        prompt.new_requested.connect(actions.new)
        self.many_panel.choose.clicked.connect(lambda _on: actions.choose_within())
        self.many_panel.merge.clicked.connect(lambda _on: actions.merge_chosen())
        self.many_panel.split.clicked.connect(lambda _on: actions.split())
        objects.row_chosen.connect(actions.reopen)
        objects.chosen_changed.connect(self.bridge.set_chosen)
        objects.many_committed.connect(actions.accept_many)
        objects.many_merged.connect(actions.merge_chosen)
        objects.class_edited.connect(actions.set_class)
        objects.delete_requested.connect(actions.delete)
        objects.rewrite_requested.connect(actions.rewrite)
        objects.alike_requested.connect(self.desk.alike.find)
        objects.many_deleted.connect(actions.delete_many)
        objects.many_classed.connect(actions.set_class_many)
        objects.review.floor_changed.connect(self.bridge.set_floor)
        objects.review.accept_requested.connect(actions.accept)
        self.export_button.clicked.connect(self.files.export)
        self.load_button.clicked.connect(self.files.load_prompts)
        self.train_button.clicked.connect(self.training.show)

    def _connect_desk(self) -> None:
        add, desk = self._connections.add, self.desk
        add(desk.bridge.include_changed, self.prompt_panel.show_include)
        add(desk.bridge.tool_changed, self.prompt_panel.show_tool)
        add(desk.bridge.chosen_changed, self.objects_panel.choose_several)
        add(desk.training.progress, self._on_training_progress)
        # What can be done depends on the adapter, too.
        add(desk.adapters_read, self.rows.show_available)
        add(desk.session.adapter_changed, self._on_adapter_changed)
        add(desk.session.settings.events, self._on_adapter_changed)

    def _on_adapter_changed(self, _what: object) -> None:
        self.rows.show_available()

    def _on_training_progress(self, text: str) -> None:
        phase = text.partition(" · ")[0]
        self.train_button.setText(
            f"Training: {phase}…" if text else "Train my adapter…"
        )


def _line() -> QFrame:
    line = QFrame()
    line.setFrameShape(QFrame.Shape.HLine)
    line.setFixedHeight(1)
    line.setStyleSheet("background: rgba(128, 128, 128, 90); border: none;")
    return line
