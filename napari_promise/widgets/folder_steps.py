"""Buttons to go from image to image, and how far one is. Says what was wished for."""

from __future__ import annotations

from collections.abc import Mapping

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QGridLayout, QLabel, QProgressBar, QVBoxLayout, QWidget

from napari_promise.widgets.buttons import KeyButton
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
    """

    next_requested = Signal()
    previous_requested = Signal()
    weakest_requested = Signal()
    finish_requested = Signal()
    skip_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.finish = KeyButton(
            "Done && next",
            SHORTCUTS["finish"].shown,
            "Commit what is shown, save the image as done and open the next one that "
            "waits. A proposal that is right needs this one key. An image without "
            "objects is done as well.",
        )
        self.skip = KeyButton(
            "Skip",
            SHORTCUTS["skip"].shown,
            "Put the image aside with what was done on it, and open the next.",
        )
        self.previous = KeyButton(
            "Previous",
            SHORTCUTS["previous"].shown,
            "Open the image above in the table. What was done is saved.",
        )
        self.next = KeyButton(
            "Next",
            SHORTCUTS["next"].shown,
            "Open the image below in the table. What was done is saved.",
        )
        self.weakest = KeyButton(
            "Weakest",
            SHORTCUTS["weakest"].shown,
            "Open the image whose proposal can be trusted least, of those that wait.",
        )
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.bar.setToolTip("Images that are done or skipped.")
        self.counts = QLabel()
        self.counts.setTextFormat(Qt.TextFormat.PlainText)
        self.counts.setToolTip("Images of the folder by their state.")
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
        layout.addWidget(self.bar)
        layout.addWidget(self.counts)
        self.finish.clicked.connect(lambda _on: self.finish_requested.emit())
        self.skip.clicked.connect(lambda _on: self.skip_requested.emit())
        self.previous.clicked.connect(lambda _on: self.previous_requested.emit())
        self.next.clicked.connect(lambda _on: self.next_requested.emit())
        self.weakest.clicked.connect(lambda _on: self.weakest_requested.emit())

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
            f"{counts[state]} {state}"
            for state in ("done", "in work", "proposed", "new", "skipped")
            if counts.get(state)
        ]
        self.counts.setText(" · ".join(parts))
        self.counts.setVisible(bool(parts))
