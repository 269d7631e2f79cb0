"""What runs over the whole folder: propose, retrain, export; its progress and Cancel.

Says what was wished for and shows how far it is; knows no job.
"""

from __future__ import annotations

import time

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_promise.files import duration


class ProgressLine(QWidget):
    """A bar, how much longer it takes, and Cancel.

    Attributes
    ----------
    cancel_requested : Signal
    """

    cancel_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text = QLabel()
        self.text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop; what was made by now is kept.")
        self.cancel.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        column = QVBoxLayout()
        column.setSpacing(2)
        column.addWidget(self.text)
        column.addWidget(self.bar)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addLayout(column, 1)
        layout.addWidget(self.cancel)
        self.cancel.clicked.connect(lambda _on: self.cancel_requested.emit())
        self.end()

    def show_progress(
        self, what: str, done: int, total: int, left: float | None
    ) -> None:
        """Show how far something is.

        Parameters
        ----------
        what : str
        done, total : int
        left : float or None
            Seconds; None where they are not known.
        """
        more = "" if left is None or done >= total else f", {duration(left)} left"
        self.text.setText(f"{what}: {done} of {total}{more}")
        self.text.setToolTip(self.text.text())
        self.bar.setMaximum(max(total, 1))
        self.bar.setValue(done)
        self.setVisible(True)

    def end(self) -> None:
        """Go out of sight."""
        self.setVisible(False)


class JobsPanel(QWidget):
    """Buttons for what concerns all images.

    Parameters
    ----------
    parent : QWidget, optional

    Attributes
    ----------
    propose_requested, retrain_requested, export_requested : Signal
    calibration_requested, cancel_requested : Signal
    retrain_every_set : Signal(int)
        0 for never.
    """

    propose_requested = Signal()
    retrain_requested = Signal()
    export_requested = Signal()
    calibration_requested = Signal()
    cancel_requested = Signal()
    retrain_every_set = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.propose = QPushButton("Propose all")
        self.propose.setToolTip(
            "Let the adapter mark its object on every image that nobody worked on. "
            "Proposals wait to be confirmed; what is done is never touched. Go on "
            "working meanwhile."
        )
        self.export = QPushButton("Export…")
        self.export.setToolTip(
            "Write the whole folder: masks, COCO, NIfTI, tables, provenance."
        )
        self.calibration = QPushButton("Calibration…")
        self.calibration.setToolTip(
            "Show what the confidence of proposals was worth: the Dice of each with "
            "what you confirmed, and the curve the table's numbers come from."
        )
        self.retrain = QPushButton("Retrain")
        self.retrain.setToolTip("Train an adapter on all images that are done.")
        self.every = QSpinBox()
        self.every.setRange(0, 999)
        self.every.setSpecialValueText("only on demand")
        self.every.setPrefix("every ")
        self.every.setSuffix(" done")
        self.every.setToolTip(
            "Train by itself whenever so many more images are done; 0 for never."
        )
        # Digits are typed into it; a wheel meant for the table must not change it.
        self.every.setFocusPolicy(Qt.FocusPolicy.ClickFocus)
        for button in (self.propose, self.calibration, self.export, self.retrain):
            button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.progress = ProgressLine()
        first = QHBoxLayout()
        first.addWidget(self.propose, 1)
        first.addWidget(self.calibration)
        first.addWidget(self.export)
        second = QHBoxLayout()
        second.addWidget(self.retrain, 1)
        second.addWidget(self.every)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(first)
        layout.addLayout(second)
        layout.addWidget(self.progress)
        self.propose.clicked.connect(lambda _on: self.propose_requested.emit())
        self.calibration.clicked.connect(lambda _on: self.calibration_requested.emit())
        self.export.clicked.connect(lambda _on: self.export_requested.emit())
        self.retrain.clicked.connect(lambda _on: self.retrain_requested.emit())
        self.every.valueChanged.connect(self.retrain_every_set.emit)
        self.progress.cancel_requested.connect(self.cancel_requested.emit)

    def show_every(self, count: int) -> None:
        """Show after how many images it trains by itself."""
        self.every.blockSignals(True)
        self.every.setValue(count)
        self.every.blockSignals(False)

    def show_done(self, count: int) -> None:
        """Show how many images there are to train on."""
        self.retrain.setText(f"Retrain on {count} done" if count else "Retrain")
        self.retrain.setEnabled(count > 0)
        self.export.setEnabled(count > 0)


class Pace:
    """Guesses how long the rest takes."""

    def __init__(self) -> None:
        self._began = time.monotonic()

    def left(self, done: int, total: int) -> float | None:
        """Seconds left; None before the first is done."""
        if not done:
            return None
        return (time.monotonic() - self._began) / done * (total - done)
