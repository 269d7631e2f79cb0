"""The rows of the folder's table: filtered, sorted, and drawn only where they are seen.

A view asks a model for the rows on display alone; thumbnails are wanted then and come
later.
"""

from __future__ import annotations

import math
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, Protocol

from qtpy.QtCore import QAbstractTableModel, QModelIndex, QSize, Qt, Signal
from qtpy.QtGui import QColor, QFont, QPainter, QPen, QPixmap

from napari_promise.project import Item, State
from napari_promise.widgets.folder.states import SIGNS

NAME, STATE, CONFIDENCE, OBJECTS, CLICKS, WHO = range(6)
HEADERS = ("image", "state", "conf.", "obj.", "clicks", "by, when (UTC)")
TIPS = (
    "The file, relative to the folder. Click a row to open the image.",
    "new: nothing done yet · proposed: not reviewed yet · in progress: started and "
    "saved · done: confirmed · skipped: set aside.",
    "How good the proposal is likely to be, 0 to 1. Once some images are done, this is "
    "the expected Dice (see Calibration).",
    "Objects in the labels, or in the proposal. “–”: an existing mask; its objects are "
    "counted when it is opened.",
    "Clicks and brush strokes on this image.",
    "Who saved it last, and when.",
)
#: Pixels of a thumbnail's longer side.
THUMBNAIL = 40
_ROW_THUMBNAILS_KEPT = 600
_SWATCH = 14


class Rows(Protocol):
    """What the model shows, see `project.Project`."""

    @property
    def keys(self) -> tuple[str, ...]:
        """All images, in the order of the folder."""

    def item(self, key: str) -> Item:
        """Return one image."""

    def index(self, key: str) -> int:
        """Where it stands in the folder."""


class FolderModel(QAbstractTableModel):
    """Images of a project as rows.

    The order stays while rows change, so that no row jumps away from under the mouse;
    it is made anew when the filter or the sorting changes.

    Attributes
    ----------
    thumbnail_wanted : Signal(str)
        A row without its picture came on display.
    """

    thumbnail_wanted = Signal(str)

    def __init__(self, parent: Any = None) -> None:
        super().__init__(parent)
        self._rows: Rows | None = None
        self._order: list[str] = []
        self._places: dict[str, int] = {}
        self._text = ""
        self._states: frozenset[State] | None = None
        self._column, self._descending = -1, False
        self._current: str | None = None
        self._pictures: OrderedDict[str, QPixmap] = OrderedDict()
        self._asked: set[str] = set()
        self._signs: dict[str, QPixmap] = {}
        self._blank: QPixmap | None = None

    # -- what is shown ------------------------------------------------------------

    @property
    def order(self) -> Sequence[str]:
        """Keys of the rows on display, from the top."""
        return self._order

    @property
    def total(self) -> int:
        """How many images there are, shown or not."""
        return 0 if self._rows is None else len(self._rows.keys)

    def state_of(self, key: str) -> State:
        """State of an image."""
        assert self._rows is not None
        return self._rows.item(key).state

    def show_project(self, rows: Rows | None) -> None:
        """Show the images of a project; None for none."""
        self.beginResetModel()
        self._rows = rows
        self._pictures.clear()
        self._asked.clear()
        self._current = None
        self._arrange()
        self.endResetModel()

    def filter(self, text: str, states: frozenset[State] | None) -> None:
        """Show only rows with this text in their name, in one of these states.

        Parameters
        ----------
        text : str
            Parts of the name, in any order; upper and lower case alike.
        states : frozenset of State or None
            None for all. The row of the open image stays in any case.
        """
        self._text, self._states = text.casefold().strip(), states
        self.rearrange()

    def sort(
        self, column: int, order: Qt.SortOrder = Qt.SortOrder.AscendingOrder
    ) -> None:
        """Sort by a column; -1 for the order of the folder."""
        self._column = column
        self._descending = order == Qt.SortOrder.DescendingOrder
        self.rearrange()

    def rearrange(self) -> None:
        """Filter and sort by how the rows stand now."""
        self.layoutAboutToBeChanged.emit()
        before = [
            (index, self._order[index.row()])
            for index in self.persistentIndexList()
            if index.row() < len(self._order)
        ]
        self._arrange()
        for index, key in before:
            row = self._places.get(key, -1)
            moved = QModelIndex() if row < 0 else self.index(row, index.column())
            self.changePersistentIndex(index, moved)
        self.layoutChanged.emit()

    def _arrange(self) -> None:
        rows = self._rows
        keys: list[str] = [] if rows is None else list(rows.keys)
        if rows is not None:
            words, states = self._text.split(), self._states
            if words:
                keys = [
                    key
                    for key in keys
                    if key == self._current or all(w in key.casefold() for w in words)
                ]
            if states is not None:
                keys = [
                    key
                    for key in keys
                    if key == self._current or rows.item(key).state in states
                ]
            if self._column >= 0:
                ranks = {key: _rank(self._column, rows.item(key)) for key in keys}
                # Unknown values come last either way.
                known = [key for key in keys if ranks[key] is not None]
                unknown = [key for key in keys if ranks[key] is None]
                known.sort(key=lambda k: ranks[k], reverse=self._descending)
                keys = known + unknown
        self._order = keys
        self._places = {key: row for row, key in enumerate(keys)}

    def row_of(self, key: str | None) -> int:
        """Row of an image; -1 where it is not shown."""
        return -1 if key is None else self._places.get(key, -1)

    def key_at(self, row: int) -> str | None:
        """Image of a row."""
        return self._order[row] if 0 <= row < len(self._order) else None

    def show_current(self, key: str | None) -> None:
        """Mark the open image."""
        before, self._current = self._current, key
        hidden = key is not None and key not in self._places
        if self._rows is not None and (hidden or self._states is not None):
            self.rearrange()  # what was done meanwhile may not belong here any more
        for changed in (before, key):
            self.show_changed(changed)

    def show_changed(self, key: str | None) -> None:
        """Draw one row anew."""
        row = self.row_of(key)
        if row >= 0:
            self.dataChanged.emit(self.index(row, 0), self.index(row, WHO))

    def show_all_changed(self) -> None:
        """Draw every row on display anew, after images came, went or changed."""
        self.rearrange()

    def show_thumbnail(self, key: str, picture: QPixmap | None) -> None:
        """Show the picture of a row; None where there is none to be had."""
        self._asked.discard(key)
        drawn = self._no_picture() if picture is None else _squared(picture)
        self._pictures[key] = drawn
        while len(self._pictures) > _ROW_THUMBNAILS_KEPT:
            self._pictures.popitem(last=False)
        row = self.row_of(key)
        if row >= 0:
            index = self.index(row, NAME)
            self.dataChanged.emit(index, index, [Qt.ItemDataRole.DecorationRole])

    def forget_asked(self, key: str) -> None:
        """Take note that a picture will not come: it is asked for again when seen."""
        self._asked.discard(key)

    # -- what Qt asks -------------------------------------------------------------

    def rowCount(self, parent: QModelIndex | None = None) -> int:
        """Count the rows."""
        return 0 if parent is not None and parent.isValid() else len(self._order)

    def columnCount(self, parent: QModelIndex | None = None) -> int:
        """Count the columns."""
        return 0 if parent is not None and parent.isValid() else len(HEADERS)

    def headerData(
        self,
        section: int,
        orientation: Qt.Orientation,
        role: int = Qt.ItemDataRole.DisplayRole,
    ) -> Any:
        """Name a column."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return HEADERS[section]
        if role == Qt.ItemDataRole.ToolTipRole:
            return TIPS[section] + "<br><i>Click the title to sort.</i>"
        return None

    def data(self, index: QModelIndex, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell shows."""
        key = self.key_at(index.row())
        if key is None or self._rows is None:
            return None
        column = index.column()
        if role == Qt.ItemDataRole.DecorationRole and column == NAME:
            return self._picture(key)
        item = self._rows.item(key)
        if role == Qt.ItemDataRole.DisplayRole:
            return _text(column, item)
        if role == Qt.ItemDataRole.DecorationRole:
            return self._sign(item.state) if column == STATE else None
        if role == Qt.ItemDataRole.ToolTipRole:
            return _tooltip(item)
        if role == Qt.ItemDataRole.FontRole and key == self._current:
            font = QFont()
            font.setBold(True)
            return font
        if role == Qt.ItemDataRole.TextAlignmentRole and column in (
            OBJECTS,
            CONFIDENCE,
            CLICKS,
        ):
            return int(Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter)
        return None

    def _picture(self, key: str) -> QPixmap:
        picture = self._pictures.get(key)
        if picture is not None:
            return picture
        if key not in self._asked:
            self._asked.add(key)
            self.thumbnail_wanted.emit(key)
        if self._blank is None:
            self._blank = QPixmap(QSize(THUMBNAIL, THUMBNAIL))
            self._blank.fill(QColor(128, 128, 128, 40))
        return self._blank

    def _no_picture(self) -> QPixmap:
        pixmap = QPixmap(QSize(THUMBNAIL, THUMBNAIL))
        pixmap.fill(QColor(128, 128, 128, 40))
        painter = QPainter(pixmap)
        painter.setPen(QPen(QColor("#d55e00"), 2))
        painter.drawLine(10, 10, THUMBNAIL - 10, THUMBNAIL - 10)
        painter.drawLine(10, THUMBNAIL - 10, THUMBNAIL - 10, 10)
        painter.end()
        return pixmap

    def _sign(self, state: State) -> QPixmap:
        if state not in self._signs:
            self._signs[state] = _state_sign(state)
        return self._signs[state]


def _squared(picture: QPixmap) -> QPixmap:
    """Put a picture into the middle of a square, so that all names line up."""
    square = QPixmap(QSize(THUMBNAIL, THUMBNAIL))
    square.fill(Qt.GlobalColor.transparent)
    painter = QPainter(square)
    left, top = THUMBNAIL - picture.width(), THUMBNAIL - picture.height()
    painter.drawPixmap(left // 2, top // 2, picture)
    painter.end()
    return square


def _text(column: int, item: Item) -> str:
    if column == NAME:
        return item.key.rsplit("/", 1)[-1]
    if column == STATE:
        return SIGNS[item.state].text
    if column == OBJECTS:
        if item.state == "new" and not item.objects:
            return ""
        return "–" if item.objects is None else str(item.objects)
    if column == CONFIDENCE:
        return "" if item.confidence is None else f"{item.confidence:.2f}"
    if column == CLICKS:
        return str(item.clicks) if item.clicks else ""
    when = item.when[5:16].replace("T", " ")
    return f"{item.by} {when}".strip()


def _rank(column: int, item: Item) -> Any:
    """Return what a column is sorted by; None where it is not known."""
    if column == NAME:
        return item.key.casefold()
    if column == STATE:
        return list(SIGNS).index(item.state)
    if column == OBJECTS:
        return item.objects
    if column == CONFIDENCE:
        known = item.confidence is not None and math.isfinite(item.confidence)
        return item.confidence if known else None
    if column == CLICKS:
        return item.clicks
    return item.when or None


def _tooltip(item: Item) -> str:
    lines = [item.key]
    if item.group:
        lines.append(f"Group: {item.group}")
    lines.append(f"State: {SIGNS[item.state].text}")
    if item.confidence is not None:
        lines.append(f"Confidence of the proposal: {item.confidence:.2f}")
    if item.untouched is not None:
        how = "accepted unchanged" if item.untouched else "corrected"
        lines.append(f"The proposal was {how}")
    if item.when:
        lines.append(", ".join(filter(None, (item.by, item.when))))
    return "\n".join(lines)


def _state_sign(state: str) -> QPixmap:
    """Draw a state's sign, at twice the pixels for screens that have them."""
    _text, shape, colour = SIGNS[state]
    size = 2 * _SWATCH
    pixmap = QPixmap(size, size)
    pixmap.fill(Qt.GlobalColor.transparent)
    painter = QPainter(pixmap)
    painter.setRenderHint(QPainter.RenderHint.Antialiasing)
    shade = QColor(colour)
    pen = QPen(shade, 4)
    if shape == "dotted":
        pen.setStyle(Qt.PenStyle.DotLine)
    painter.setPen(pen)
    box = (4, 4, size - 8, size - 8)
    if shape == "bar":
        painter.drawLine(6, size // 2, size - 6, size // 2)
    else:
        painter.setBrush(shade if shape == "disc" else QColor(0, 0, 0, 0))
        painter.drawEllipse(*box)
        if shape == "half":
            painter.setBrush(shade)
            painter.drawPie(*box, 90 * 16, 180 * 16)
    painter.end()
    pixmap.setDevicePixelRatio(2)
    return pixmap
