"""The table of a folder's images, with its filter and the menu of its rows."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QEvent, QModelIndex, QObject, QPoint, QSize, Qt, Signal
from qtpy.QtGui import QKeyEvent
from qtpy.QtWidgets import (
    QAbstractItemView,
    QApplication,
    QComboBox,
    QHBoxLayout,
    QHeaderView,
    QLabel,
    QLineEdit,
    QMenu,
    QSizePolicy,
    QTableView,
    QVBoxLayout,
    QWidget,
)

from napari_promise.project import State
from napari_promise.widgets.folder.model import (
    CLICKS,
    CONFIDENCE,
    HEADERS,
    NAME,
    OBJECTS,
    STATE,
    THUMBNAIL,
    FolderModel,
)
from napari_promise.widgets.folder.states import IN_PROGRESS, SIGNS

#: Text of each filter by state, and the states it shows; None for all.
FILTERS: tuple[tuple[str, frozenset[State] | None], ...] = (
    ("all", None),
    ("to do", frozenset({"new", "proposed", IN_PROGRESS})),
    ("new", frozenset({"new"})),
    ("proposed", frozenset({"proposed"})),
    (SIGNS[IN_PROGRESS].text, frozenset({IN_PROGRESS})),
    ("done", frozenset({"done"})),
    ("skipped", frozenset({"skipped"})),
)
_MOVING = (
    Qt.Key.Key_Up,
    Qt.Key.Key_Down,
    Qt.Key.Key_Home,
    Qt.Key.Key_End,
    Qt.Key.Key_PageUp,
    Qt.Key.Key_PageDown,
    Qt.Key.Key_Left,
    Qt.Key.Key_Right,
    Qt.Key.Key_Tab,
    Qt.Key.Key_Backtab,
)
_OPENING = (Qt.Key.Key_Return, Qt.Key.Key_Enter)


class FolderTable(QWidget):
    """Table of images, a line to filter by name and a choice of states.

    Parameters
    ----------
    parent : QWidget, optional

    Attributes
    ----------
    model : FolderModel
    row_chosen : Signal(str)
        Open this image.
    action_chosen : Signal(str, list)
        What to do with images, by the names of `ACTIONS`, and which.
    """

    row_chosen = Signal(str)
    action_chosen = Signal(str, list)

    #: Entries of the menu of a row: name, text, and the states that have it.
    ACTIONS: Sequence[tuple[str, str, frozenset[str]]] = (
        ("open", "Open", frozenset(SIGNS)),
        ("accept", "Accept the proposal unchanged", frozenset({"proposed"})),
        ("done", "Mark as done: no further objects", frozenset({"new", IN_PROGRESS})),
        ("skip", "Skip", frozenset({"new", "proposed", IN_PROGRESS})),
        ("back", "Reopen: not done", frozenset({"done"})),
        ("back", "Reopen: not skipped", frozenset({"skipped"})),
    )

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.model = FolderModel(self)
        self.text = QLineEdit()
        self.text.setPlaceholderText("Filter by name")
        self.text.setClearButtonEnabled(True)
        self.text.setToolTip(
            "Show only images with these words in their path, in any order."
        )
        self.states = QComboBox()
        for text, _states in FILTERS:
            self.states.addItem(text)
        self.states.setToolTip(
            "Show only images in this state. “to do”: all that are not done or skipped."
        )
        self.states.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.count = QLabel()
        self.count.setToolTip("Images shown, and images in the folder.")
        self.view = QTableView()
        self.view.setToolTip(
            "Click a row to open its image. Right-click for more; select several rows "
            "with Ctrl or Shift."
        )
        self._dress(self.view)

        top = QHBoxLayout()
        top.addWidget(self.text, 1)
        top.addWidget(self.states)
        top.addWidget(self.count)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(top)
        layout.addWidget(self.view, 1)

        self.text.textChanged.connect(lambda _text: self._filter())
        self.states.currentIndexChanged.connect(lambda _row: self._filter())
        self.view.clicked.connect(self._on_clicked)
        self.view.customContextMenuRequested.connect(self._on_menu_requested)
        self.view.installEventFilter(self)
        for signal in (self.model.layoutChanged, self.model.modelReset):
            signal.connect(self._show_count)
        self._show_count()

    def _dress(self, view: QTableView) -> None:
        view.setModel(self.model)
        view.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        view.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        view.setEditTriggers(QAbstractItemView.EditTrigger.NoEditTriggers)
        view.setIconSize(QSize(THUMBNAIL, THUMBNAIL))
        view.setShowGrid(False)
        view.setWordWrap(False)
        view.setAlternatingRowColors(False)
        view.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        view.setTextElideMode(Qt.TextElideMode.ElideMiddle)
        view.setMinimumHeight(120)
        view.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Ignored)
        vertical, horizontal = view.verticalHeader(), view.horizontalHeader()
        assert vertical is not None
        assert horizontal is not None
        vertical.hide()
        # One height for all: a view that measures thousands of rows is slow.
        vertical.setSectionResizeMode(QHeaderView.ResizeMode.Fixed)
        vertical.setDefaultSectionSize(THUMBNAIL + 4)
        horizontal.setHighlightSections(False)
        horizontal.setSectionsClickable(True)
        horizontal.setSortIndicatorShown(True)
        horizontal.setSortIndicatorClearable(True)
        # The folder's own order to begin with.
        horizontal.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        view.setSortingEnabled(True)
        horizontal.setMinimumSectionSize(36)
        horizontal.setStretchLastSection(True)
        # What decides what to do next is seen without scrolling in a narrow dock.
        widths = {NAME: 154, STATE: 104, CONFIDENCE: 44, OBJECTS: 36, CLICKS: 50}
        for column in range(len(HEADERS)):
            horizontal.setSectionResizeMode(column, QHeaderView.ResizeMode.Interactive)
            view.setColumnWidth(column, widths.get(column, 130))

    # -- showing ------------------------------------------------------------------

    def show_current(self, key: str | None) -> None:
        """Select the row of the open image and bring it into view."""
        self.model.show_current(key)
        row = self.model.row_of(key)
        if row < 0:
            self.view.clearSelection()
            return
        self.view.selectRow(row)
        self.view.scrollTo(self.model.index(row, NAME))

    def chosen(self) -> str | None:
        """Key of the selected row."""
        index = self.view.currentIndex()
        return self.model.key_at(index.row()) if index.isValid() else None

    def _filter(self) -> None:
        states = FILTERS[max(0, self.states.currentIndex())][1]
        self.model.filter(self.text.text(), states)

    def _show_count(self) -> None:
        shown, rows = self.model.rowCount(), self.model.total
        self.count.setText(str(rows) if shown == rows else f"{shown} of {rows}")

    # -- wishes -------------------------------------------------------------------

    def _on_clicked(self, index: QModelIndex) -> None:
        key = self.model.key_at(index.row())
        # With Ctrl or Shift several rows are chosen for the menu, and none is opened.
        held = QApplication.keyboardModifiers()
        if key is not None and held == Qt.KeyboardModifier.NoModifier:
            self.row_chosen.emit(key)

    def _on_menu_requested(self, position: QPoint) -> None:
        key = self.model.key_at(self.view.indexAt(position).row())
        if key is None:
            return
        menu = self.menu_of(key)
        viewport = self.view.viewport()
        assert viewport is not None
        menu.exec(viewport.mapToGlobal(position))

    def menu_of(self, key: str) -> QMenu:
        """Make the menu of a row, or of all that are chosen where it is one of them."""
        selection = self.view.selectionModel()
        assert selection is not None
        rows = sorted(index.row() for index in selection.selectedRows())
        keys = [found for row in rows if (found := self.model.key_at(row)) is not None]
        if key not in keys:
            keys = [key]
        states = {self.model.state_of(one) for one in keys}
        menu = QMenu(self)
        for name, text, where in self.ACTIONS:
            if states <= where and (len(keys) == 1 or name != "open"):
                many = f" ({len(keys)} images)" if len(keys) > 1 else ""
                action = menu.addAction(text + many)
                action.triggered.connect(
                    lambda _on=False, name=name: self.action_chosen.emit(name, keys)
                )
        return menu

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Open with Enter, keep the keys a table needs, pass shortcuts on.

        A table would take a letter for the beginning of a search.
        """
        if (
            watched is self.view
            and isinstance(event, QKeyEvent)
            and event.type() == QEvent.Type.KeyPress
        ):
            if event.key() in _OPENING:
                key = self.chosen()
                if key is not None:
                    self.row_chosen.emit(key)
                return True
            if event.key() not in _MOVING:
                event.ignore()
                return True
        return super().eventFilter(watched, event)
