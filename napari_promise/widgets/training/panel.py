"""The window "Train my adapter": sources, progress, comparison, keep or discard."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from magicgui.widgets import FileEdit, LineEdit
from qtpy.QtCore import QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QDialog,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QMessageBox,
    QProgressBar,
    QPushButton,
    QScrollArea,
    QStackedWidget,
    QVBoxLayout,
    QWidget,
)

from napari_promise.widgets.choices import Choice, ChoiceBox
from napari_promise.widgets.section import Section
from napari_promise.widgets.training.views import ComparisonView, CurvesView

ONE, MANY = "one", "many"
VIEWER, FOLDER, GIVEN = "viewer", "folder", "given"
DEFAULT_NAME = "my-adapter"
_PHASES = {
    "prepare": "reading the labelled images",
    "embed": "encoding the views, once",
    "apm": "learning where the object is",
    "ips": "learning how it looks",
    "score": "measuring",
    "done": "done",
}


@dataclass(frozen=True)
class Naming:
    """What an adapter is called and says of itself."""

    name: str
    class_name: str
    licence: str
    note: str


class TrainPanel(QDialog):
    """Choose sources, start, watch, compare, keep or discard.

    Parameters
    ----------
    parent : QWidget, optional

    Attributes
    ----------
    source_changed : Signal
        Another source, image or class was chosen: see `source`, `images`, `wanted`.
    start_requested : Signal
    stop_requested : Signal(bool)
        Whether to keep the best so far.
    compare_requested : Signal
    keep_requested, discard_requested, manage_requested : Signal
    """

    source_changed = Signal()
    start_requested = Signal()
    stop_requested = Signal(bool)
    compare_requested = Signal()
    keep_requested = Signal()
    manage_requested = Signal()
    discard_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Train my adapter")
        self.setMinimumWidth(620)
        # Once the layout knows what was shown or hidden.
        self._fit = QTimer(self)
        self._fit.setSingleShot(True)
        self._fit.timeout.connect(self._fit_height)
        self.source = ChoiceBox("Where the images with masks come from.")
        self._boxes: list[tuple[Any, QCheckBox]] = []
        self.group = QLineEdit()
        self.group.setPlaceholderText("optional, e.g. ^(patient\\d+)")
        self.group.setToolTip(
            "A regular expression. Images whose names match the same text are of one "
            "patient or sequence, and never split between training and held out."
        )
        self.images_dir = _folder_edit("Folder of images.")
        self.masks_dir = _folder_edit("Folder of masks with the same names.")
        self.wanted = ChoiceBox("Which labels to train on: all, or those of one class.")
        self.finds = ChoiceBox(
            "What the adapter looks for in an image: one object, as a lesion or an "
            "organ, or many, as nuclei, cells or glands."
        )
        self.finds.show_choices(
            [
                Choice(
                    ONE, "one object an image", "All labels together are the object."
                ),
                Choice(MANY, "many objects an image", "Each label is an object."),
            ],
            ONE,
        )
        self.summary = _label("What the adapter would be trained on.")
        self.start_from = ChoiceBox(
            "Start from scratch, or continue training an existing adapter."
        )
        self.name = LineEdit(
            value=DEFAULT_NAME,
            tooltip="Name of the adapter: letters, digits, “-”, “_” and “.”. You are "
            "asked before an adapter of the same name is replaced.",
        )
        self.class_name = LineEdit(
            value="object",
            tooltip="What the adapter segments; written into its record.",
        )
        self.licence = LineEdit(tooltip="The adapter inherits the terms of its images.")
        self.licence.native.setPlaceholderText("terms of the images, e.g. CC BY 4.0")
        self.note = LineEdit(tooltip="Written into the adapter's record.")
        self.note.native.setPlaceholderText("anything a user should know")
        self.start = _button("Train", "Train on these images. You can keep working.")
        self.stop = _button(
            "Stop…", "Stop training; you are asked whether to keep the best so far."
        )
        self.progress = QProgressBar()
        self.progress.setRange(0, 1000)
        self.progress.setTextVisible(False)
        self.progress.setToolTip("Progress of this phase.")
        self.status = _label("Training status.")
        self.curves = CurvesView()
        self.comparison = ComparisonView()
        self.comparison.hide()
        self.comparison.shown.connect(self._fit.start)
        self.compare = _button(
            "Compare on this image",
            "Show what the adapter in use and the new one find on this image.",
        )
        self.keep = _button("Keep", "Save the new adapter and use it from now on.")
        self.discard = _button("Discard", "Discard the new adapter; nothing changes.")

        self.manage = _button(
            "Adapters…", "List, rename, delete, export, import and compare adapters."
        )

        self._viewer_page = QWidget()
        self._viewer_rows = QVBoxLayout(self._viewer_page)
        self._viewer_rows.setContentsMargins(0, 0, 0, 0)
        folders = QWidget()
        form = QFormLayout(folders)
        form.setContentsMargins(0, 0, 0, 0)
        form.addRow("Images", self.images_dir.native)
        form.addRow("Masks", self.masks_dir.native)
        form.addRow("Group by", self.group)
        self._pages = QStackedWidget()
        scroll = QScrollArea()
        scroll.setWidgetResizable(True)
        scroll.setWidget(self._viewer_page)
        self._pages.addWidget(scroll)
        self._pages.addWidget(folders)
        self._pages.addWidget(QWidget())
        self._pages.setMaximumHeight(110)
        upper = QFormLayout()
        upper.setContentsMargins(0, 0, 0, 0)
        upper.addRow("Train on", self.source)
        upper.addRow(self._pages)
        upper.addRow("Object", self.wanted)
        upper.addRow("Finds", self.finds)
        upper.addRow("Start from", self.start_from)
        names = QHBoxLayout()
        names.addWidget(self.name.native, 1)
        names.addWidget(QLabel("segments"))
        names.addWidget(self.class_name.native, 1)
        upper.addRow("Name", names)
        record = QWidget()
        rows = QFormLayout(record)
        rows.setContentsMargins(0, 0, 0, 0)
        rows.addRow("Licence", self.licence.native)
        rows.addRow("Note", self.note.native)
        self.details = Section("Licence and note")
        self.details.setToolTip("What the adapter's record says to whoever uses it.")
        self.details.addWidget(record)
        upper.addRow(self.details)
        self._choices = QWidget()
        self._choices.setLayout(upper)
        going = QHBoxLayout()
        going.addWidget(self.start)
        going.addWidget(self.progress, 1)
        going.addWidget(self.stop)
        ending = QHBoxLayout()
        ending.addWidget(self.compare)
        ending.addWidget(self.manage)
        ending.addStretch(1)
        ending.addWidget(self.discard)
        ending.addWidget(self.keep)
        layout = QVBoxLayout(self)
        layout.addWidget(self._choices)
        layout.addWidget(self.summary)
        layout.addLayout(going)
        layout.addWidget(self.status)
        layout.addWidget(self.curves)
        layout.addWidget(self.comparison, 1)
        layout.addLayout(ending)

        self.details.toggled.connect(lambda _open: self._fit.start())
        self.source.chosen.connect(lambda _value: self._on_source())
        for choice in (self.wanted, self.finds):
            choice.chosen.connect(lambda _value: self.source_changed.emit())
        self.start_from.chosen.connect(self._on_start_chosen)
        for row in (self.images_dir, self.masks_dir):
            row.changed.connect(lambda _path: self.source_changed.emit())
        self.group.editingFinished.connect(self.source_changed)
        self.start.clicked.connect(self.start_requested)
        self.stop.clicked.connect(self._on_stop)
        self.compare.clicked.connect(self.compare_requested)
        self.manage.clicked.connect(self.manage_requested)
        self.keep.clicked.connect(self.keep_requested)
        self.discard.clicked.connect(self.discard_requested)
        self.show_sources(given=None)
        self.show_state("idle")

    # -- what was chosen ----------------------------------------------------------

    @property
    def finds_many(self) -> bool:
        """Whether a new adapter shall find many objects an image.

        One that is trained further goes on finding what it found.
        """
        return self.finds.value() == MANY and not self.start_from.value()

    def naming(self) -> Naming:
        """Return what was written into the fields."""
        return Naming(
            self.name.value.strip(),
            self.class_name.value.strip(),
            self.licence.value.strip(),
            self.note.value.strip(),
        )

    def chosen_images(self) -> list[Any]:
        """Return the values of the images that are ticked."""
        return [value for value, box in self._boxes if box.isChecked()]

    # -- showing ------------------------------------------------------------------

    def show_sources(self, given: str | None) -> None:
        """Offer the viewer, folders, and what another part of the program gave."""
        choices = [
            Choice(VIEWER, "what is in the viewer", "Images with Labels layers."),
            Choice(FOLDER, "a folder of images and one of masks"),
        ]
        if given is not None:
            choices.append(Choice(GIVEN, given))
        self.source.show_choices(choices, GIVEN if given is not None else VIEWER)
        self._show_page(2 if given is not None else 0)

    def show_images(self, images: list[tuple[Any, str]]) -> None:
        """List the labelled images of the viewer, ticked unless they were not before.

        Parameters
        ----------
        images : list of (value, text)
        """
        unticked = [value for value, box in self._boxes if not box.isChecked()]
        while self._viewer_rows.count():
            item = self._viewer_rows.takeAt(0)
            widget = None if item is None else item.widget()
            if widget is not None:
                widget.deleteLater()
        self._boxes = []
        for value, text in images:
            box = QCheckBox(text)
            box.setToolTip("Train on this image.")
            box.setChecked(not any(value is other for other in unticked))
            box.toggled.connect(lambda _on: self.source_changed.emit())
            self._viewer_rows.addWidget(box)
            self._boxes.append((value, box))
        if not images:
            self._viewer_rows.addWidget(
                _label("Nothing is labelled: commit objects or open a Labels layer.")
            )
        self._viewer_rows.addStretch(1)

    def show_summary(self, text: str, *, ready: bool) -> None:
        """Say what the adapter would be trained on; `ready` allows to start."""
        self.summary.setText(text)
        self._ready = ready
        self.start.setEnabled(ready and self._state == "idle")

    def show_state(self, state: str) -> None:
        """Show what can be done.

        Parameters
        ----------
        state : {"idle", "training", "ended"}
        """
        self._state = state
        self._choices.setEnabled(state != "training")
        self.start.setEnabled(state == "idle" and getattr(self, "_ready", False))
        self.stop.setVisible(state == "training")
        self.progress.setVisible(state != "idle")
        self.keep.setEnabled(state == "ended")
        self.discard.setEnabled(state == "ended")
        self.compare.setEnabled(state == "ended")
        self.curves.setVisible(state != "idle")
        self._fit.start()

    def show_update(self, update: Any, eta: str) -> None:
        """Show a `jobs.training.Update`."""
        self.progress.setValue(
            round(1000 * update.step / update.total) if update.total else 0
        )
        loss = update.rows[-1].get("loss") if update.rows else None
        parts = [_PHASES.get(update.phase, update.phase)]
        if loss is not None:
            parts.append(f"loss {loss:.3f}")
        if eta:
            parts.append(f"at most {eta} left")
        self.status.setText(" · ".join(parts))
        if len(update.rows) != len(self.curves.rows):
            self.curves.show_rows(update.rows)
        self.compare.setEnabled(update.has_best)

    def confirm(self, question: str) -> bool:
        """Ask a question that yes or no answers."""
        answer = QMessageBox.question(self, self.windowTitle(), question)
        return bool(answer == QMessageBox.StandardButton.Yes)

    # -- reacting -----------------------------------------------------------------

    def _on_source(self) -> None:
        pages = {VIEWER: 0, FOLDER: 1, GIVEN: 2}
        self._show_page(pages[self.source.value()])
        self.source_changed.emit()

    def _on_start_chosen(self, value: Any) -> None:
        """Keep the name of an adapter that is trained further, unless one was typed."""
        if value and self.name.value.strip() in ("", DEFAULT_NAME):
            self.name.value = Path(str(value)).name
        self.source_changed.emit()

    def _show_page(self, page: int) -> None:
        self._pages.setCurrentIndex(page)
        self._pages.setVisible(page != 2)  # what was given needs no further choice
        self._fit.start()

    def _fit_height(self) -> None:
        """Be as high as what is shown needs, lines that wrap included.

        `adjustSize` would stop at two thirds of the screen, and squeeze the pictures.
        """
        layout, screen = self.layout(), self.screen()
        if layout is None or screen is None:
            return
        width = max(self.width(), self.minimumWidth())
        height = layout.totalSizeHint().height()
        if layout.hasHeightForWidth():
            height = max(height, layout.totalHeightForWidth(width))
        self.resize(width, min(height, screen.availableGeometry().height()))

    def _on_stop(self) -> None:
        box = QMessageBox(self)
        box.setWindowTitle(self.windowTitle())
        box.setText("Stop training?")
        keep = box.addButton("Keep the best so far", QMessageBox.ButtonRole.AcceptRole)
        drop = box.addButton("Discard it", QMessageBox.ButtonRole.DestructiveRole)
        box.addButton("Continue training", QMessageBox.ButtonRole.RejectRole)
        box.exec()
        if box.clickedButton() in (keep, drop):
            self.stop_requested.emit(box.clickedButton() is keep)


def folder_of(edit: FileEdit) -> Path | None:
    """Return the folder that is written there; None for nothing."""
    text = edit.line_edit.value.strip()
    return Path(text).expanduser() if text else None


def _folder_edit(tooltip: str) -> FileEdit:
    edit = FileEdit(mode="d", tooltip=tooltip)
    edit.choose_btn.text = "Browse…"
    edit.line_edit.tooltip = tooltip
    edit.choose_btn.tooltip = "Choose the folder in a window."
    return edit


def _label(tooltip: str) -> QLabel:
    label = QLabel()
    label.setText(tooltip if tooltip.endswith("layer.") else "")
    label.setWordWrap(True)
    label.setMinimumSize(1, label.fontMetrics().height())
    label.setToolTip(tooltip)
    return label


def _button(text: str, tooltip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tooltip)
    button.setAutoDefault(False)
    return button
