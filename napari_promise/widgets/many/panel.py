"""The part of the dock that is there for adapters of many objects."""

from __future__ import annotations

from qtpy.QtWidgets import QHBoxLayout, QSizePolicy, QVBoxLayout, QWidget

from napari_promise.widgets.buttons import KeyButton
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.keys import SHORTCUTS
from napari_promise.widgets.many.controller import ManyObjects
from napari_promise.widgets.progress_line import ProgressLine

__all__ = ["ManyPanel"]


class ManyPanel(QWidget):
    """Says how far proposing is; chooses, merges and splits objects.

    Hidden while the adapter in use finds one object an image.

    Parameters
    ----------
    many : ManyObjects
    parent : QWidget, optional
    """

    def __init__(self, many: ManyObjects, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._many = many
        key = SHORTCUTS
        self.choose = KeyButton(
            "Enclose",
            key["choose"].shown,
            "Draw around objects to choose them, with Shift a box; then commit (C), "
            "delete or merge them, or name their class in the table.",
        )
        self.merge = KeyButton(
            "Merge",
            key["merge"].shown,
            "Make one object of those that are chosen.",
        )
        self.split = KeyButton(
            "Split",
            key["split"].shown,
            "Divide the active object between its points, or at its waist.",
        )
        self.progress = ProgressLine()
        row = QHBoxLayout()
        row.setSpacing(5)
        for button in (self.choose, self.merge, self.split):
            row.addWidget(button, 1)
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        column.addWidget(self.progress)
        column.addLayout(row)
        policy = QSizePolicy.Policy
        self.setSizePolicy(policy.Preferred, policy.Maximum)
        self.progress.cancel_requested.connect(many.cancel)
        self._connections = Connections()
        self._connections.add(many.changed, self.show_now)
        self.show_now()

    def close_down(self) -> None:
        """Hear nothing more."""
        self._connections.release()

    def show_now(self) -> None:
        """Show what there is."""
        many = self._many
        self.setVisible(many.finds_many)
        progress = many.progress
        if progress is None:
            self.progress.end()
        else:
            self.progress.show_progress(
                f"{many.found} found", progress.done, progress.total, None
            )
