"""A part of a dock or window that opens and closes at its title."""

from __future__ import annotations

from qtpy.QtCore import QSize, Qt
from qtpy.QtGui import QIcon, QPixmap
from qtpy.QtWidgets import QWidget
from superqt import QCollapsible

#: As high as what is inside (Qt's QWIDGETSIZE_MAX).
_ANY_HEIGHT = 2**24 - 1


class Section(QCollapsible):
    """A title with an arrow, and what it opens to; closed at first.

    Parameters
    ----------
    title : str
    parent : QWidget, optional
    """

    def __init__(self, title: str = "", parent: QWidget | None = None) -> None:
        # An icon would be black on napari's dark theme, which sets no palette. With
        # PySide6 an empty one is false, which superqt takes for none given and fails.
        unseen = QPixmap(1, 1)
        unseen.fill(Qt.GlobalColor.transparent)
        super().__init__(title, parent, QIcon(unseen), QIcon(unseen))
        self._title = title
        self.setDuration(0)
        button = self.toggleButton()
        button.setIconSize(QSize(0, 0))
        button.setStyleSheet(
            "QPushButton, QPushButton:checked, QPushButton:hover {"
            " text-align: left; border: none; background: transparent; padding: 2px; }"
        )
        # A click must not take the keyboard away from the canvas.
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.layout().setContentsMargins(0, 0, 0, 0)
        self.content().layout().setContentsMargins(0, 0, 0, 0)
        self.toggled.connect(self._on_toggled)
        self.setText(title)

    def text(self) -> str:
        """Return the title."""
        return self._title

    def setText(self, text: str) -> None:
        """Set the title."""
        self._title = text
        super().setText(f"{'▾' if self.isExpanded() else '▸'} {text}")

    def _on_toggled(self, is_open: bool) -> None:
        # Else it keeps the height its contents had before the theme was applied.
        self.content().setMaximumHeight(_ANY_HEIGHT if is_open else 0)
        self.setText(self._title)
