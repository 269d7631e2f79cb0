"""Accept many objects at once: those whose score reaches what a slider says."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QHBoxLayout, QLabel, QPushButton, QSlider, QWidget

#: Fewer objects than this are committed one by one.
_FEWEST = 2
_STEPS = 100


class ReviewPanel(QWidget):
    """A slider over the scores, and a button that says how many it takes.

    Hidden while fewer than two objects wait.

    Parameters
    ----------
    parent : QWidget, optional

    Attributes
    ----------
    floor_changed : Signal(float)
        Objects from this score on would be accepted.
    accept_requested : Signal(float)
    """

    floor_changed = Signal(float)
    accept_requested = Signal(float)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._scores = np.zeros(0)
        self.slider = QSlider(Qt.Orientation.Horizontal)
        self.slider.setRange(0, _STEPS)
        self.slider.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.slider.setToolTip(
            "Objects from this score on are accepted: their outlines are yellow, "
            "those of the others grey. At the left end all are."
        )
        self.value = QLabel()
        self.accept = QPushButton()
        self.accept.setToolTip(
            "Commit these objects; the others stay in the table. <i>Undo takes all "
            "of them back in one step.</i>"
        )
        self.accept.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(5)
        layout.addWidget(self.slider, 1)
        layout.addWidget(self.value)
        layout.addWidget(self.accept)
        self.slider.valueChanged.connect(self._on_moved)
        self.accept.clicked.connect(lambda: self.accept_requested.emit(self.floor))
        self.show_scores(())

    @property
    def floor(self) -> float:
        """The score from which objects are accepted."""
        return self.slider.value() / _STEPS

    def show_scores(self, scores: Sequence[float | None]) -> None:
        """Show how many of the waiting objects would be accepted.

        Parameters
        ----------
        scores : sequence of float or None
            One for each object; None, an unknown score, is taken at 0 only.
        """
        self._scores = np.array([np.nan if s is None else s for s in scores], float)
        self.setVisible(len(scores) >= _FEWEST)
        self._say()

    def _say(self) -> None:
        floor, total = self.floor, len(self._scores)
        taken = total if floor <= 0 else int((self._scores >= floor).sum())
        self.value.setText(f"≥ {floor:.2f}" if floor > 0 else "all")
        count = str(total) if taken == total else f"{taken} of {total}"
        self.accept.setText(f"Commit {count}")
        self.accept.setEnabled(taken > 0)

    def _on_moved(self, _value: int) -> None:
        self._say()
        self.floor_changed.emit(self.floor)
