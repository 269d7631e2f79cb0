"""Buttons for what runs over the whole folder, its progress, and Cancel."""

from __future__ import annotations

import time

from qtpy.QtCore import QSignalBlocker, Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

from napari_promise.widgets.progress_line import ProgressLine


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
            "Run the adapter on every untouched image. Proposals wait for your review; "
            "finished images are never changed. You can keep working."
        )
        self.export = QPushButton("Export…")
        self.export.setToolTip(
            "Write the whole folder: masks, COCO, NIfTI, tables, provenance."
        )
        self.calibration = QPushButton("Calibration…")
        self.calibration.setToolTip(
            "Show how well confidence predicts quality: the Dice of each proposal with "
            "what you confirmed, and the curve behind the table's numbers."
        )
        self.retrain = QPushButton("Retrain")
        self.retrain.setToolTip("Train an adapter on all images that are done.")
        self.every = QSpinBox()
        self.every.setRange(0, 999)
        self.every.setSpecialValueText("only on demand")
        self.every.setPrefix("every ")
        self.every.setSuffix(" done")
        self.every.setToolTip(
            "Train automatically each time this many more images are done; 0: never."
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
        """Show after how many images an adapter is trained automatically."""
        with QSignalBlocker(self.every):
            self.every.setValue(count)

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
