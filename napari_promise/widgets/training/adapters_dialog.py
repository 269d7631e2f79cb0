"""The window with the adapters on this computer; reads and writes nothing itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from qtpy.QtCore import Qt, Signal
from qtpy.QtWidgets import (
    QAbstractItemView,
    QDialog,
    QFileDialog,
    QHBoxLayout,
    QHeaderView,
    QInputDialog,
    QLabel,
    QMessageBox,
    QPushButton,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

_COLUMNS = (
    "name",
    "model",
    "segments",
    "Dice, automatic",
    "Dice, GT-prompted",
    "origin",
)
_COMPARE = "Select two adapters to compare them."
_FILES = "Adapters (*.promise-adapter)"


@dataclass(frozen=True)
class AdapterRow:
    """One adapter in the table.

    Attributes
    ----------
    name, base, class_name : str
    automatic, gt_prompted : float or None
        Dice, as its record says; never of one kind in the other's column.
    bundled : bool
    tooltip : str
    """

    name: str
    base: str
    class_name: str
    automatic: float | None
    gt_prompted: float | None
    bundled: bool
    tooltip: str = ""


class AdaptersDialog(QDialog):
    """Manage adapters.

    Parameters
    ----------
    parent : QWidget, optional

    Attributes
    ----------
    rename_requested : Signal(str, str)
    delete_requested : Signal(str)
        After a confirmation.
    export_requested : Signal(str, Path)
    import_requested : Signal(Path)
    compare_requested, compare_all_requested : Signal(str, str)
        On the image on display, and on all labelled images.
    """

    rename_requested = Signal(str, str)
    delete_requested = Signal(str)
    export_requested = Signal(str, Path)
    import_requested = Signal(Path)
    compare_requested = Signal(str, str)
    compare_all_requested = Signal(str, str)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("Adapters")
        self.resize(740, 360)
        self._rows: tuple[AdapterRow, ...] = ()
        self.table = QTableWidget(0, len(_COLUMNS))
        self.table.setHorizontalHeaderLabels(_COLUMNS)
        self.table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        self.table.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        self.table.setToolTip(
            "Dice from the adapter's record: automatic, and with ground-truth prompts. "
            f"{_COMPARE}"
        )
        vertical, header = self.table.verticalHeader(), self.table.horizontalHeader()
        if vertical is not None and header is not None:
            vertical.hide()
            fitted = QHeaderView.ResizeMode.ResizeToContents
            header.setSectionResizeMode(fitted)
            header.setSectionResizeMode(0, QHeaderView.ResizeMode.Stretch)
        self.rename = _button("Rename…", "Give it another name.")
        self.delete = _button("Delete…", "Remove it from this computer, after asking.")
        self.export = _button("Export…", "Write it as one file, to share.")
        self.take = _button(
            "Import…", "Import an adapter file. It is validated; no code in it is run."
        )
        self.compare = _button(
            "Compare here", "Show what both find on the displayed image."
        )
        self.compare_all = _button(
            "Compare on all",
            "Measure both on labelled images: the finished ones of the open folder, or "
            "those chosen in the training window. An adapter scores higher on images "
            "it was trained on.",
        )
        self.status = QLabel(_COMPARE)
        self.status.setWordWrap(True)
        buttons = QHBoxLayout()
        for button in (self.rename, self.delete, self.export, self.take):
            buttons.addWidget(button)
        buttons.addStretch(1)
        buttons.addWidget(self.compare)
        buttons.addWidget(self.compare_all)
        layout = QVBoxLayout(self)
        layout.addWidget(self.table, 1)
        layout.addLayout(buttons)
        layout.addWidget(self.status)
        self.table.itemSelectionChanged.connect(self._show_available)
        self.rename.clicked.connect(self._on_rename)
        self.delete.clicked.connect(self._on_delete)
        self.export.clicked.connect(self._on_export)
        self.take.clicked.connect(self._on_import)
        self.compare.clicked.connect(
            lambda: self.compare_requested.emit(*[r.name for r in self.selected()])
        )
        self.compare_all.clicked.connect(
            lambda: self.compare_all_requested.emit(*[r.name for r in self.selected()])
        )
        self._show_available()

    def show_rows(self, rows: Sequence[AdapterRow]) -> None:
        """Show these adapters."""
        self._rows = tuple(rows)
        self.table.setRowCount(len(self._rows))
        for at, row in enumerate(self._rows):
            texts = (
                row.name,
                row.base,
                row.class_name,
                "–" if row.automatic is None else f"{row.automatic:.3f}",
                "–" if row.gt_prompted is None else f"{row.gt_prompted:.3f}",
                "bundled" if row.bundled else "own",
            )
            for column, text in enumerate(texts):
                item = QTableWidgetItem(text)
                item.setToolTip(row.tooltip)
                if column in (3, 4):
                    item.setTextAlignment(Qt.AlignmentFlag.AlignCenter)
                self.table.setItem(at, column, item)
        self._show_available()

    def selected(self) -> list[AdapterRow]:
        """Rows that are selected, from the top."""
        chosen = sorted({index.row() for index in self.table.selectedIndexes()})
        return [self._rows[at] for at in chosen]

    def _show_available(self) -> None:
        chosen = self.selected()
        own = len(chosen) == 1 and not chosen[0].bundled
        self.rename.setEnabled(own)
        self.delete.setEnabled(own)
        self.export.setEnabled(len(chosen) == 1)
        for button in (self.compare, self.compare_all):
            button.setEnabled(len(chosen) == 2)

    def _on_rename(self) -> None:
        (row,) = self.selected()
        name, sure = QInputDialog.getText(self, "Rename", "New name", text=row.name)
        if sure and name.strip() and name.strip() != row.name:
            self.rename_requested.emit(row.name, name.strip())

    def _on_delete(self) -> None:
        (row,) = self.selected()
        answer = QMessageBox.question(
            self, "Delete", f"Remove the adapter {row.name} from this computer?"
        )
        if answer == QMessageBox.StandardButton.Yes:
            self.delete_requested.emit(row.name)

    def _on_export(self) -> None:
        (row,) = self.selected()
        name, _ = QFileDialog.getSaveFileName(
            self, "Export", f"{row.name}.promise-adapter", _FILES
        )
        if name:
            self.export_requested.emit(row.name, Path(name))

    def _on_import(self) -> None:
        name, _ = QFileDialog.getOpenFileName(self, "Import", "", _FILES)
        if name:
            self.import_requested.emit(Path(name))


def _button(text: str, tooltip: str) -> QPushButton:
    button = QPushButton(text)
    button.setToolTip(tooltip)
    button.setAutoDefault(False)
    return button
