"""The button to open a folder or a table of images, and to refresh or close it."""

from __future__ import annotations

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import QFileDialog, QMenu, QPushButton, QWidget


class OpenButton(QPushButton):
    """A button with a menu.

    Parameters
    ----------
    parent : QWidget, optional

    Attributes
    ----------
    source_chosen : Signal(str)
        A folder of images, or a CSV file.
    refresh_requested, close_requested : Signal
    """

    source_chosen = Signal(str)
    refresh_requested = Signal()
    close_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__("Open…", parent)
        self.setToolTip(
            "Open a folder of images, or a CSV file with the columns image and "
            "perhaps mask and group.<br>Your work is kept in a hidden folder "
            "“.promise” beside them."
        )
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        menu = QMenu(self)
        menu.addAction("Folder of images…").triggered.connect(self._ask_folder)
        menu.addAction("CSV table…").triggered.connect(self._ask_table)
        self._refresh = menu.addAction("Look for new images")
        self._refresh.triggered.connect(lambda _on: self.refresh_requested.emit())
        self._close = menu.addAction("Close the folder")
        self._close.triggered.connect(lambda _on: self.close_requested.emit())
        self.setMenu(menu)

    def show_open(self, is_open: bool, *, opening: bool) -> None:
        """Offer what can be done.

        Parameters
        ----------
        is_open : bool
            Whether a folder is open.
        opening : bool
            Whether one is being opened.
        """
        self.setEnabled(not opening)
        self._refresh.setEnabled(is_open)
        self._close.setEnabled(is_open)

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Open a folder of images")
        if name:
            self.source_chosen.emit(name)

    def _ask_table(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Open a table of images", "", "Tables (*.csv)"
        )
        if name:
            self.source_chosen.emit(name)
