"""Buttons to go from image to image, and how far the folder is."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QHBoxLayout,
    QLabel,
    QLineEdit,
    QProgressBar,
    QVBoxLayout,
    QWidget,
)

from napari_promise.widgets.buttons import KeyButton
from napari_promise.widgets.folder.states import IN_PROGRESS, SIGNS
from napari_promise.widgets.keys import SHORTCUTS


class StepsPanel(QWidget):
    """Next, previous, the weakest next, done and skip.

    Parameters
    ----------
    parent : QWidget, optional

    Attributes
    ----------
    next_requested, previous_requested, weakest_requested : Signal
    finish_requested, skip_requested : Signal
    class_named : Signal(str)
        The class of objects that have none.
    weakest_first_toggled : Signal(bool)
        Whether the weakest follows on what is done, and not the next row.
    """

    next_requested = Signal()
    previous_requested = Signal()
    weakest_requested = Signal()
    finish_requested = Signal()
    skip_requested = Signal()
    class_named = Signal(str)
    weakest_first_toggled = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.finish = KeyButton(
            "Done && next",
            SHORTCUTS["finish"].shown,
            "Commit what is shown, save the image as done and open the next one to do. "
            "A correct proposal needs only this key. An image without objects can be "
            "done, too.",
        )
        self.skip = KeyButton(
            "Skip",
            SHORTCUTS["skip"].shown,
            "Set the image aside with the work on it, and open the next one to do.",
        )
        self.previous = KeyButton(
            "Previous",
            SHORTCUTS["previous"].shown,
            "Open the image above in the table. Your work is saved.",
        )
        self.next = KeyButton(
            "Next",
            SHORTCUTS["next"].shown,
            "Open the image below in the table. Your work is saved.",
        )
        self.weakest = KeyButton(
            "Weakest",
            SHORTCUTS["weakest"].shown,
            "Open the proposal with the lowest confidence among the images to do.",
        )
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.bar.setToolTip("Images that are done or skipped.")
        self.counts = QLabel()
        self.counts.setTextFormat(Qt.TextFormat.PlainText)
        self.counts.setToolTip("Images of the folder by their state.")
        self.class_name = QLineEdit()
        self.class_name.setPlaceholderText("class of objects, e.g. polyp")
        self.class_name.setToolTip(
            "Objects without a class get this one when their image is done. Name "
            "others in the table of objects."
        )
        self.weakest_first = QCheckBox("weakest first")
        self.weakest_first.setToolTip(
            "After “Done” and “Skip” open the proposal with the lowest confidence "
            "instead of the next row to do."
        )
        self.weakest_first.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        settings = QHBoxLayout()
        settings.addWidget(self.class_name, 1)
        settings.addWidget(self.weakest_first)
        grid = QGridLayout()
        grid.setSpacing(4)
        grid.addWidget(self.finish, 0, 0, 1, 2)
        grid.addWidget(self.skip, 0, 2)
        grid.addWidget(self.previous, 1, 0)
        grid.addWidget(self.next, 1, 1)
        grid.addWidget(self.weakest, 1, 2)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(grid)
        layout.addLayout(settings)
        layout.addWidget(self.bar)
        layout.addWidget(self.counts)
        self.finish.clicked.connect(lambda _on: self.finish_requested.emit())
        self.skip.clicked.connect(lambda _on: self.skip_requested.emit())
        self.previous.clicked.connect(lambda _on: self.previous_requested.emit())
        self.next.clicked.connect(lambda _on: self.next_requested.emit())
        self.weakest.clicked.connect(lambda _on: self.weakest_requested.emit())

        self.class_name.editingFinished.connect(
            lambda: self.class_named.emit(self.class_name.text().strip())
        )
        self.weakest_first.clicked.connect(self.weakest_first_toggled.emit)

    def show_settings(self, class_name: str, weakest_first: bool) -> None:
        """Show what is set for the project."""
        if not self.class_name.hasFocus():
            self.class_name.setText(class_name)
        self.weakest_first.setChecked(weakest_first)

    def show_states(self, counts: Mapping[str, int]) -> None:
        """Show how many images are in each state.

        Parameters
        ----------
        counts : mapping of str to int
            By state; none at all where no folder is open.
        """
        total = sum(counts.values())
        over = counts.get("done", 0) + counts.get("skipped", 0)
        self.bar.setMaximum(max(total, 1))
        self.bar.setValue(over)
        parts = [
            f"{counts[state]} {SIGNS[state].text}"
            for state in ("done", IN_PROGRESS, "proposed", "new", "skipped")
            if counts.get(state)
        ]
        self.counts.setText(" · ".join(parts))
        self.counts.setVisible(bool(parts))
