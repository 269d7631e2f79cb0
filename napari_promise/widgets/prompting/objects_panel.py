"""The table of objects: look one up, name its class, open it again, delete it."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

from qtpy.QtCore import (
    QEvent,
    QItemSelection,
    QItemSelectionModel,
    QObject,
    QPoint,
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
    QTableView,
    QToolButton,
    QVBoxLayout,
    QWidget,
)

from napari_promise.widgets.prompting.objects_table import (
    CLASS,
    ID,
    PLANE,
    POINTS,
    SCORE,
    VOLUME,
    Filter,
    ObjectRow,
    ObjectsModel,
    ShownObjects,
)
from napari_promise.widgets.prompting.review_panel import ReviewPanel

#: Columns as wide as what they hold; the class takes the rest.
_FITTED = (ID, SCORE, POINTS, PLANE, VOLUME)
#: From so many objects on there is a line to filter them by.
_FILTER_FROM = 12
#: Rows beside those on display by which the width of columns is measured.
_MEASURED = 32
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
    alike_requested : Signal(int, str)
        Find more like an object: where, see `alike.Where`.
    many_deleted : Signal(tuple)
        Delete all of these.
    many_classed : Signal(tuple, str)
        Give all of these a class.
    many_committed : Signal(tuple)
        Commit all of these.
    many_merged : Signal
        Make one object of those that are selected.
    chosen_changed : Signal(tuple)
        The user selected these rows.
    """

    row_chosen = Signal(int)
    class_edited = Signal(int, str)
    delete_requested = Signal(int)
    rewrite_requested = Signal(int)
    alike_requested = Signal(int, str)
    many_deleted = Signal(tuple)
    many_classed = Signal(tuple, str)
    many_committed = Signal(tuple)
    many_merged = Signal()
    chosen_changed = Signal(tuple)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._active: int | None = None
        self._showing = False  # what is selected then is no wish of the user
        self._model = ObjectsModel(_swatch, self)
        self._shown = ShownObjects(self._model, self)
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
        self.filter = QLineEdit()
        self.filter.setPlaceholderText("Show only: class, score<0.5, size>100")
        self.filter.setToolTip(
            "Words of the class, the object's number, and comparisons of score and "
            "size (pixels), such as <i>nucleus score&lt;0.5 size&gt;=40</i>."
        )
        self.filter.setClearButtonEnabled(True)
        for clear in self.filter.children():
            if not isinstance(clear, QToolButton):
                continue
            clear.setToolTip("Show all objects.")
        self.filter.hide()
        self.table = QTableView()
        self.table.setModel(self._shown)
        table = self.table
        table.setToolTip(
            "Click a row to open the object again with its prompts; with Shift or "
            "Ctrl choose several, to delete them or name their class at once."
        )
        table.setSelectionBehavior(QAbstractItemView.SelectionBehavior.SelectRows)
        table.setSelectionMode(QAbstractItemView.SelectionMode.ExtendedSelection)
        table.setEditTriggers(
            QAbstractItemView.EditTrigger.DoubleClicked
            | QAbstractItemView.EditTrigger.EditKeyPressed
        )
        table.setIconSize(QSize(_SWATCH, _SWATCH))
        table.setShowGrid(False)
        table.setWordWrap(False)
        table.setHorizontalScrollBarPolicy(Qt.ScrollBarPolicy.ScrollBarAlwaysOff)
        table.setContextMenuPolicy(Qt.ContextMenuPolicy.CustomContextMenu)
        table.setItemDelegateForColumn(CLASS, _ClassEditor(self._classes, table))
        vertical, horizontal = table.verticalHeader(), table.horizontalHeader()
        assert vertical is not None
        assert horizontal is not None
        vertical.hide()
        vertical.setDefaultSectionSize(24)
        horizontal.setHighlightSections(False)
        # As the document has them, until a heading is clicked.
        horizontal.setSortIndicator(-1, Qt.SortOrder.AscendingOrder)
        table.setSortingEnabled(True)
        horizontal.setMinimumSectionSize(28)
        # Else a thousand rows are measured whenever one changes.
        horizontal.setResizeContentsPrecision(_MEASURED)
        for column in _FITTED:
            horizontal.setSectionResizeMode(column, QHeaderView.ResizeMode.Fixed)
        horizontal.setSectionResizeMode(CLASS, QHeaderView.ResizeMode.Stretch)
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
        layout.addWidget(self.filter)
        layout.addWidget(table, 1)
        self.review = ReviewPanel()
        layout.addWidget(self.review)

        selection = table.selectionModel()
        assert selection is not None
        self._selection = selection
        selection.selectionChanged.connect(self._on_selected)
        self._model.class_edited.connect(self._on_class_edited)
        self.filter.textChanged.connect(self._on_filter_changed)
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
        self._showing = True
        rows = tuple(rows)
        several = self.chosen_ids()
        if active not in (self._active, *several):
            several = ()  # another object is worked on now
        self._active = active
        if self._model.show(rows):
            self.table.setColumnHidden(PLANE, not any(row.plane for row in rows))
            measured = any(row.volume is not None for row in rows)
            self.table.setColumnHidden(VOLUME, not measured)
            self._fit_columns()
        if len(several) > 1:
            self._choose_several(several)
        else:
            self._choose(active)
        self._showing = False
        self._classes.setStringList(
            sorted({row.class_name for row in rows if row.class_name})
        )
        self.filter.setVisible(len(rows) >= _FILTER_FROM or bool(self.filter.text()))
        self._show_count()

    def chosen(self) -> int | None:
        """Id of the selected object, or None."""
        ids = self.chosen_ids()
        return ids[0] if len(ids) == 1 else None

    def chosen_ids(self) -> tuple[int, ...]:
        """Ids of all selected objects."""
        rows = self._selection.selectedRows()
        return tuple(self._shown.row(index).object_id for index in rows)

    def choose_several(self, object_ids: Sequence[int]) -> None:
        """Select these rows, which were chosen elsewhere."""
        if set(object_ids) == set(self.chosen_ids()):
            return
        self._showing = True
        if len(object_ids) > 1:
            self._choose_several(object_ids)
        else:
            self._choose(object_ids[0] if object_ids else self._active)
        self._showing = False

    def _choose_several(self, object_ids: Sequence[int]) -> None:
        """Select again what was selected, after rows came, went or moved."""
        wanted, shown = set(object_ids), self._shown
        selection = QItemSelection()
        for at in range(shown.rowCount()):
            index = shown.index(at, ID)
            if shown.row(index).object_id in wanted:
                selection.select(index, index)
        flag = QItemSelectionModel.SelectionFlag
        self._selection.select(selection, flag.ClearAndSelect | flag.Rows)
        self._show_deletable()

    def _show_deletable(self) -> None:
        count = len(self.chosen_ids())
        self.delete.setEnabled(count > 0)
        self.delete.setText(f"Delete {count}" if count > 1 else "Delete")

    def _choose(self, object_id: int | None) -> None:
        """Select an object's row and scroll to it; none where it is filtered out."""
        shown, table = self._shown, self.table
        if object_id is None or self.chosen() != object_id:
            rows = self._model.rows
            at = next((i for i, r in enumerate(rows) if r.object_id == object_id), -1)
            index = shown.mapFromSource(self._model.index(at, ID))
            if index.isValid():
                # Not `selectRow`, which adds to what is selected while Ctrl is held,
                # as it is for undo.
                flag = QItemSelectionModel.SelectionFlag
                self._selection.setCurrentIndex(index, flag.ClearAndSelect | flag.Rows)
                table.scrollTo(index)
            else:
                self._selection.clear()
        self._show_deletable()

    def _show_count(self) -> None:
        total, shown = len(self._model.rows), self._shown.rowCount()
        count = f"{shown} of {total}" if shown < total else str(total)
        self.title.setText(f"Objects ({count})" if total else "Objects")

    def _on_filter_changed(self, text: str) -> None:
        self._showing = True
        self._shown.show_only(Filter.of(text))
        self._choose(self._active)
        self._showing = False
        self._show_count()

    def _fit_columns(self) -> None:
        """Give the narrow columns the width they need.

        A header that does this by itself does it later, and the window is painted
        once more.
        """
        table, header = self.table, self.table.horizontalHeader()
        assert header is not None
        last = self._shown.rowCount() - 1  # with the longest number, as a rule
        for column in _FITTED:
            index = self._shown.index(last, column)
            width = max(
                table.sizeHintForColumn(column),
                table.sizeHintForIndex(index).width() if last >= 0 else 0,
                header.sectionSizeHint(column),
                header.minimumSectionSize(),
            )
            if not table.isColumnHidden(column) and table.columnWidth(column) != width:
                table.setColumnWidth(column, width)

    def _on_selected(self, *_: object) -> None:
        if self._showing:
            return
        self._show_deletable()
        object_id = self.chosen()
        if object_id is not None:
            self.row_chosen.emit(object_id)
        self.chosen_changed.emit(self.chosen_ids())

    def _delete_chosen(self) -> None:
        ids = self.chosen_ids()
        if len(ids) == 1:
            self.delete_requested.emit(ids[0])
        elif ids:
            self.many_deleted.emit(ids)

    def _on_class_edited(self, object_id: int, name: str) -> None:
        """Pass a class on, for all chosen objects where this is one of several."""
        ids = self.chosen_ids()
        if len(ids) > 1 and object_id in ids:
            self.many_classed.emit(ids, name)
        else:
            self.class_edited.emit(object_id, name)

    def _on_menu_requested(self, position: QPoint) -> None:
        index = self.table.indexAt(position)
        if not index.isValid():
            return
        row = self._shown.row(index)
        several = len(self.chosen_ids()) > 1
        menu = QMenu(self)
        rename = menu.addAction("Name the class…")
        rewrite = menu.addAction("Commit over what was painted by hand")
        assert rewrite is not None
        rewrite.setEnabled(not several)
        commit = menu.addAction(f"Commit {len(self.chosen_ids())} objects")
        merge = menu.addAction(f"Merge {len(self.chosen_ids())} objects into one")
        for act in (commit, merge):
            assert act is not None
            act.setVisible(several)
        alike = menu.addMenu("Find more like this")
        assert alike is not None
        alike.setEnabled(not several)
        places = {
            where: alike.addAction(text)
            for where, text in (
                ("plane", "In this image or plane"),
                ("stack", "On all planes of the stack"),
                ("images", "In the other images"),
            )
        }
        delete = menu.addAction(
            f"Delete {len(self.chosen_ids())} objects"
            if several
            else f"Delete object {row.number}"
        )
        viewport = self.table.viewport()
        assert viewport is not None
        chosen = menu.exec(viewport.mapToGlobal(position))
        if chosen is None:
            return
        if chosen is delete:
            self._delete_chosen()
        elif chosen is commit:
            self.many_committed.emit(self.chosen_ids())
        elif chosen is merge:
            self.many_merged.emit()
        elif chosen is rewrite:
            self.rewrite_requested.emit(row.object_id)
        elif chosen in places.values():
            where = next(w for w, action in places.items() if action is chosen)
            self.alike_requested.emit(row.object_id, where)
        elif chosen is rename:
            self.table.edit(index.siblingAtColumn(CLASS))

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


@lru_cache(maxsize=512)
def _swatch(colour: tuple[float, float, float, float], filled: bool) -> QIcon:
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
