"""A bar that says how far long work is and how much longer it takes, and Cancel."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QHBoxLayout,
    QProgressBar,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_promise.files import duration

__all__ = ["ProgressLine"]


class ProgressLine(QWidget):
    """A bar, how much longer it takes, and Cancel.

    Attributes
    ----------
    cancel_requested : Signal
    """

    cancel_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.text = QElidingLabel()
        self.text.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.bar = QProgressBar()
        self.bar.setTextVisible(False)
        self.bar.setFixedHeight(6)
        self.cancel = QPushButton("Cancel")
        self.cancel.setToolTip("Stop. What has been finished is kept.")
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
        """Hide."""
        self.setVisible(False)
