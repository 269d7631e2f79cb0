"""The table of objects: look one up, name its class, open it again, delete it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from qtpy.QtCore import (
    QEvent,
    QObject,
    QPoint,
    QSignalBlocker,
    QSize,
    QStringListModel,
    Qt,
    QTimer,
    Signal,
)
from qtpy.QtGui import QColor, QIcon, QKeyEvent, QPainter, QPen, QPixmap
from qtpy.QtWidgets import (
    QAbstractItemView,
    QCompleter,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QMenu,
    QPushButton,
    QSizePolicy,
    QStyledItemDelegate,
    QStyleOptionViewItem,
    QTableWidget,
    QTableWidgetItem,
    QVBoxLayout,
    QWidget,
)

_ID, _CLASS, _SCORE, _POINTS, _PLANE = range(5)
#: Columns as wide as what they hold; the class takes the rest.
_FITTED = (_ID, _SCORE, _POINTS, _PLANE)
_HEADERS = ("#", "class", "score", "points", "plane")
_SWATCH = 12
_RESTYLED = (QEvent.Type.StyleChange, QEvent.Type.FontChange, QEvent.Type.Show)
_DELETING = (Qt.Key.Key_Delete, Qt.Key.Key_Backspace)
_MOVING = (
    Qt.Key.Key_Up,
    Qt.Key.Key_Down,
    Qt.Key.Key_Home,
    Qt.Key.Key_End,
    Qt.Key.Key_PageUp,
    Qt.Key.Key_PageDown,
    Qt.Key.Key_Tab,
    Qt.Key.Key_Backtab,
    Qt.Key.Key_F2,
)


@dataclass(frozen=True)
class ObjectRow:
    """One object as the table shows it.

    Parameters
    ----------
    object_id : int
    colour : tuple of float
        RGBA of the object in the labels layer, 0 to 1.
    class_name : str
    score : float or None
        Predicted quality of its mask.
    included, excluded, boxes : int
        How many prompts it has of each kind.
    from_mask : bool
        Whether it started from a mask.
    plane : tuple of int
    committed : bool
        Whether the labels layer holds it as it stands.
    written : bool
        Whether the labels layer holds any version of it.
    pending : bool
        Whether it is committed as soon as its mask is there.
    """

    object_id: int
    colour: tuple[float, float, float, float]
    class_name: str
    score: float | None
    included: int
    excluded: int
    boxes: int
    from_mask: bool
    plane: tuple[int, ...]
    committed: bool
    written: bool
    pending: bool = False

    @property
    def prompts_text(self) -> str:
        """The prompts in a few characters."""
        parts = []
        if self.included or self.excluded:
            parts.append(
                f"{self.included}+" + (f" {self.excluded}−" if self.excluded else "")
            )
        if self.boxes:
            parts.append("□" if self.boxes == 1 else f"{self.boxes}□")
        if self.from_mask:
            parts.append("mask")
        return " ".join(parts) or "–"

    @property
    def state_text(self) -> str:
        """Whether it is in the labels layer, in words."""
        if self.pending:
            return "committed as soon as its mask is there"
        if self.committed:
            return "committed"
        if self.written:
            return "changed since it was committed: commit it again"
        return "not committed yet"


class ObjectsPanel(QWidget):
    """Table of objects with a delete button.

    Parameters
    ----------
    parent : QWidget, optional

    Attributes
    ----------
    row_chosen : Signal(int)
        Open this object again.
    class_edited : Signal(int, str)
    delete_requested : Signal(int)
    rewrite_requested : Signal(int)
        Write the object as its mask is, over what was painted.
    """

    row_chosen = Signal(int)
    class_edited = Signal(int, str)
    delete_requested = Signal(int)
    rewrite_requested = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._rows: tuple[ObjectRow, ...] = ()
        self._classes = QStringListModel(self)
        self._refit = QTimer(self)
        self._refit.setSingleShot(True)
        self._refit.timeout.connect(self._fit_columns)
        self.title = QLabel("Objects")
        self.title.setStyleSheet("font-weight: 600;")
        self.delete = QPushButton("Delete")
        self.delete.setToolTip(
            "Delete the chosen object, its pixels in the labels layer too.<br>"
            "<i>Undo brings it back. Shortcut: Delete, in the table</i>"
        )
        self.delete.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.table = QTableWidget(0, len(_HEADERS))
        self.table.setHorizontalHeaderLabels(_HEADERS)
        for column, tip in enumerate(
            (
                "The object's label. Filled: committed; ring: not committed yet.",
                "Double-click to name the class; new objects take the last one.",
                "The model's own estimate of the mask's quality, 0 to 1.",
                "Points to include and to exclude, and boxes (□).",
                "Where the object lies in the stack.",
            )
        ):
            header = self.table.horizontalHeaderItem(column)
            assert header is not None
            header.setToolTip(tip)
        table = self.table
        table.setToolTip("Click a row to open the object again with its prompts.")
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.SingleSelection)
        table.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        table.setIconSize(QSize(_SWATCH, _SWATCH))
        table.setShowGrid(False)
        table.setWordWrap(False)
        table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        table.setItemDelegateForColumn(_CLASS, _ClassEditor(self._classes, table))
        vertical, horizontal = table.verticalHeader(), table.horizontalHeader()
        assert vertical is not None
        assert horizontal is not None
        vertical.hide()
        vertical.setDefaultSectionSize(24)
        horizontal.setHighlightSections(False)
        horizontal.setMinimumSectionSize(28)
        for column in _FITTED:
            horizontal.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
        horizontal.setSectionResizeMode(_CLASS, QHeaderView.ResizeMode.Stretch)
        table.setMinimumHeight(90)
        # It takes the room that is left; the height it would like makes a scroll bar.
        table.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)

        top = QHBoxLayout()
        top.addWidget(self.title, 1)
        top.addWidget(self.delete)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(top)
        layout.addWidget(table, 1)

        table.itemSelectionChanged.connect(self._on_selected)
        table.itemChanged.connect(self._on_item_changed)
        table.customContextMenuRequested.connect(self._on_menu_requested)
        table.installEventFilter(self)
        self.delete.clicked.connect(self._delete_chosen)
        self.show_rows((), None)

    def show_rows(self, rows: Sequence[ObjectRow], active: int | None) -> None:
        """Show these objects, one of them as the active one.

        Parameters
        ----------
        rows : sequence of ObjectRow
        active : int or None
            Id of the active object.
        """
        table = self.table
        blocked = QSignalBlocker(table)
        rows = tuple(rows)
        if len(rows) != len(self._rows):
            table.setRowCount(len(rows))
        changed = len(rows) != len(self._rows)
        for index, row in enumerate(rows):
            shown = self._rows[index] if index < len(self._rows) else None
            if row != shown:
                changed = True
                self._show_row(index, row, shown)
        self._rows = rows
        if changed:
            table.setColumnHidden(_PLANE, not any(row.plane for row in rows))
            self._fit_columns()
        chosen = next((i for i, r in enumerate(rows) if r.object_id == active), -1)
        if chosen < 0:
            table.clearSelection()
            table.setCurrentCell(-1, -1)
        elif table.currentRow() != chosen or not table.selectedItems():
            table.selectRow(chosen)
        blocked.unblock()
        self._classes.setStringList(
            sorted({row.class_name for row in rows if row.class_name})
        )
        self.title.setText(f"Objects ({len(rows)})" if rows else "Objects")
        self.delete.setEnabled(chosen >= 0)

    def chosen(self) -> int | None:
        """Id of the selected object, or None."""
        if not self.table.selectedItems():
            return None
        row = self.table.currentRow()
        return self._rows[row].object_id if 0 <= row < len(self._rows) else None

    def _show_row(self, index: int, row: ObjectRow, shown: ObjectRow | None) -> None:
        """Show a row; of one that is there already only what changed is touched."""
        score = "–" if row.score is None else f"{row.score:.2f}"
        if row.pending:
            score = "…"
        texts = (
            str(row.object_id),
            row.class_name,
            score,
            row.prompts_text,
            ", ".join(map(str, row.plane)),
        )
        for column, text in enumerate(texts):
            item = self.table.item(index, column)
            if item is None or shown is None:
                item = _item(column)
                self.table.setItem(index, column, item)
            item.setText(text)
            if column == _CLASS:
                unnamed = "No class yet: double-click to name it."
                item.setToolTip("" if row.class_name else unnamed)
            else:
                item.setToolTip(f"Object {row.object_id}: {row.state_text}.")
        if shown is None or _icon_key(row) != _icon_key(shown):
            item = self.table.item(index, _ID)
            assert item is not None
            item.setIcon(_swatch(row.colour, filled=row.committed))

    def _fit_columns(self) -> None:
        """Give the narrow columns the width they need.

        A header that does this by itself does it later, and the window is painted
        once more.
        """
        table, header = self.table, self.table.horizontalHeader()
        assert header is not None
        for column in _FITTED:
            width = max(
                table.sizeHintForColumn(column),
                header.sectionSizeHint(column),
                header.minimumSectionSize(),
            )
            if not table.isColumnHidden(column) and table.columnWidth(column) != width:
                table.setColumnWidth(column, width)

    def _on_selected(self) -> None:
        object_id = self.chosen()
        self.delete.setEnabled(object_id is not None)
        if object_id is not None:
            self.row_chosen.emit(object_id)

    def _on_item_changed(self, item: QTableWidgetItem) -> None:
        if item.column() == _CLASS and item.row() < len(self._rows):
            row = self._rows[item.row()]
            self.class_edited.emit(row.object_id, item.text().strip())

    def _delete_chosen(self) -> None:
        object_id = self.chosen()
        if object_id is not None:
            self.delete_requested.emit(object_id)

    def _on_menu_requested(self, position: QPoint) -> None:
        item = self.table.itemAt(position)
        if item is None:
            return
        row = self._rows[item.row()]
        menu = QMenu(self)
        rename = menu.addAction("Name the class…")
        rewrite = menu.addAction("Commit over what was painted by hand")
        delete = menu.addAction(f"Delete object {row.object_id}")
        viewport = self.table.viewport()
        assert viewport is not None
        chosen = menu.exec(viewport.mapToGlobal(position))
        if chosen is None:
            return
        if chosen is delete:
            self.delete_requested.emit(row.object_id)
        elif chosen is rewrite:
            self.rewrite_requested.emit(row.object_id)
        elif chosen is rename:
            self.table.editItem(self.table.item(item.row(), _CLASS))

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Keep the keys a table needs, and pass shortcuts on to the canvas.

        A table would take a letter for the beginning of a search.
        """
        if watched is self.table and event is not None and event.type() in _RESTYLED:
            self._refit.start(0)
        if watched is self.table and isinstance(event, QKeyEvent):
            pressed = event.type() == QEvent.Type.KeyPress
            if pressed and event.key() in _DELETING:
                self._delete_chosen()
                return True
            if pressed and event.key() not in _MOVING:
                event.ignore()
                return True
        return super().eventFilter(watched, event)


class _ClassEditor(QStyledItemDelegate):
    """A line edit that completes the classes there are."""

    def __init__(self, classes: QStringListModel, parent: QWidget) -> None:
        super().__init__(parent)
        self._classes = classes

    def createEditor(
        self, parent: QWidget | None, option: QStyleOptionViewItem, index: object
    ) -> QWidget:
        """Make the editor for one cell."""
        del option, index
        editor = QLineEdit(parent)
        editor.setPlaceholderText("class")
        editor.setStyleSheet("padding: 0px; min-height: 0px;")
        completer = QCompleter(self._classes, editor)
        completer.setCaseSensitivity(Qt.CaseSensitivity.CaseInsensitive)
        editor.setCompleter(completer)
        return editor


def _item(column: int) -> QTableWidgetItem:
    """Make an empty cell of a column."""
    item = QTableWidgetItem()
    flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
    if column == _CLASS:
        flags |= Qt.ItemFlag.ItemIsEditable
    item.setFlags(flags)
    if column in (_SCORE, _POINTS, _PLANE):
        item.setTextAlignment(
            Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        )
    return item


def _icon_key(row: ObjectRow) -> tuple[object, ...]:
    return row.colour, row.committed


def _swatch(colour: tuple[float, float, float, float], *, filled: bool) -> QIcon:
    """Draw a disc for a committed object, a ring for one that is not."""
    pixmap = QPixmap(2 * _SWATCH, 2 * _SWATCH)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    shade = QColor.fromRgbF(*(min(1.0, max(0.0, float(v))) for v in colour[:3]))
    painter.setPen(QPen(shade, 4))
    painter.setBrush(shade if filled else QColor(0, 0, 0, 0))
    painter.drawEllipse(4, 4, 2 * _SWATCH - 8, 2 * _SWATCH - 8)
    painter.end()
    return QIcon(pixmap)
