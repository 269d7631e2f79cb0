"""One row: whether images open with a suggestion, what is suggested, and Take."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QGridLayout,
    QPushButton,
    QSizePolicy,
    QWidget,
)
from superqt import QElidingLabel

from napari_promise.widgets.buttons import KeyButton
from napari_promise.widgets.keys import SHORTCUTS


class SuggestionBar(QWidget):
    """What is suggested for the image that is open.

    Parameters
    ----------
    parent : QWidget, optional

    Attributes
    ----------
    take_requested, keep_requested : Signal
    toggled : Signal(bool)
        Whether images open with a suggestion.
    """

    take_requested = Signal()
    keep_requested = Signal()
    toggled = Signal(bool)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.on = QCheckBox("Suggest")
        self.on.setToolTip(
            "Learn from each image as it is done, and open the next one with a "
            "suggestion: an outline. A click ignores it."
        )
        self.on.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.text = QElidingLabel()
        self.text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.take = KeyButton(
            "Take",
            SHORTCUTS["take"].shown,
            "Make the suggestion your object, to be corrected with clicks. “Done & "
            "next” confirms what is suggested, too; a click on the image ignores it, "
            "and so does Undo.",
        )
        self.keep = QPushButton("Keep…")
        self.keep.setToolTip(
            "Keep what the images that are done taught as an adapter: to use it on "
            "other images, or to pass it on as a file."
        )
        self.keep.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        grid = QGridLayout(self)
        grid.setContentsMargins(0, 0, 0, 0)
        grid.setSpacing(4)
        grid.addWidget(self.on, 0, 0)
        grid.addWidget(self.take, 0, 1)
        grid.addWidget(self.keep, 0, 2)
        grid.addWidget(self.text, 1, 0, 1, 3)
        grid.setColumnStretch(1, 1)
        self.on.clicked.connect(self.toggled.emit)
        self.take.clicked.connect(lambda _on: self.take_requested.emit())
        self.keep.clicked.connect(lambda _on: self.keep_requested.emit())
        self.show_line("", takes=False)

    def show_on(self, on: bool) -> None:
        """Show whether images open with a suggestion."""
        with QSignalBlocker(self.on):
            self.on.setChecked(on)

    def show_line(self, line: str, *, takes: bool) -> None:
        """Show what is suggested.

        Parameters
        ----------
        line : str
            Empty for nothing.
        takes : bool
            Whether there is something to take.
        """
        self.text.setText(line)
        self.text.setToolTip(line)
        self.text.setVisible(bool(line))
        self.take.setEnabled(takes)
