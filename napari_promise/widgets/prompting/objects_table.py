"""The objects as a Qt model, what of them is shown, and in which order.

Only cells on display are asked for, and only rows that changed are told: a table of
thousands of objects costs what a short one does.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import (
    QAbstractTableModel,
    QModelIndex,
    QObject,
    QSortFilterProxyModel,
    Qt,
    Signal,
)

ID, CLASS, SCORE, POINTS, PLANE, VOLUME = range(6)
HEADERS = ("#", "class", "score", "points", "plane", "ml")
_TIPS = (
    "The object's label. Filled: committed; ring: not committed yet.",
    "Double-click to name the class; new objects take the last one.",
    "The model's own estimate of the mask's quality, 0 to 1.",
    "Points to include and to exclude, and boxes (□).",
    "Where the object lies in the stack: its plane, or the first and last of many.",
    "The object's volume in millilitres.",
)
_RIGHT = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
_TERM = re.compile(r"(score|size)\s*(<=|>=|<|>|=)\s*([0-9]*\.?[0-9]+)")
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
    "=": operator.eq,
}


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
    size : int
        Pixels of its mask, on all its planes.
    label : int
        What the labels layer holds for it; 0 where that is its id.
    planes : str
        Of an object on several planes, which; see `grouped`.
    volume : float or None
        In millilitres, where the image says how large a voxel is.
    extent : str
        How large it is, in words.
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
    size: int = 0
    label: int = 0
    planes: str = ""
    volume: float | None = None
    extent: str = ""

    @property
    def number(self) -> int:
        """By what the user knows it."""
        return self.label or self.object_id

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

    def text(self, column: int) -> str:
        """Return what stands in a column."""
        if column == SCORE:
            if self.pending:
                return "…"
            return "–" if self.score is None else f"{self.score:.2f}"
        texts = {
            ID: str(self.number),
            CLASS: self.class_name,
            POINTS: self.prompts_text,
            PLANE: self.planes or ", ".join(map(str, self.plane)),
            VOLUME: "" if self.volume is None else f"{self.volume:.1f}",
        }
        return texts[column]

    def order(self, column: int) -> Any:
        """Return what a column is sorted by; rows without a score come first."""
        score = -1.0 if self.score is None else self.score
        points = self.included + self.excluded + self.boxes
        keys: dict[int, Any] = {
            ID: self.number,
            CLASS: self.class_name.casefold(),
            SCORE: score,
            POINTS: points,
            PLANE: self.plane,
            VOLUME: self.volume or 0.0,
        }
        return keys[column]


@dataclass(frozen=True)
class Filter:
    """Which objects are shown.

    Parameters
    ----------
    words : tuple of str
        Each must stand in the class, or be the object's number.
    terms : tuple of (str, str, float)
        ("score" or "size", comparison, value); size is in pixels.
    """

    words: tuple[str, ...] = ()
    terms: tuple[tuple[str, str, float], ...] = ()

    @classmethod
    def of(cls, text: str) -> Filter:
        """Read what was typed, such as ``nucleus score<0.5 size>=40``."""
        terms = [(n, sign, float(v)) for n, sign, v in _TERM.findall(text.casefold())]
        words = _TERM.sub(" ", text.casefold()).split()
        return cls(tuple(words), tuple(terms))

    def takes(self, row: ObjectRow) -> bool:
        """Whether a row is shown. A row without a score fails every test of it."""
        for name, sign, value in self.terms:
            measured = row.score if name == "score" else float(row.size)
            if measured is None or not _COMPARE[sign](measured, value):
                return False
        name = row.class_name.casefold()
        return all(w in name or w == str(row.number) for w in self.words)


class ObjectsModel(QAbstractTableModel):
    """The rows of objects, one after another as the document has them.

    Parameters
    ----------
    icon : callable
        Draws the mark of a row from its colour and whether it is committed.
    parent : QObject

    Attributes
    ----------
    class_edited : Signal(int, str)
    """

    class_edited = Signal(int, str)

    def __init__(
        self,
        icon: Callable[[tuple[float, float, float, float], bool], Any],
        parent: QObject,
    ) -> None:
        super().__init__(parent)
        self._icon = icon
        self.rows: tuple[ObjectRow, ...] = ()

    def show(self, rows: Sequence[ObjectRow]) -> bool:
        """Take new rows; tell only what differs, and return whether anything does."""
        rows, before = tuple(rows), self.rows
        common = min(len(rows), len(before))
        differing = [i for i in range(common) if rows[i] != before[i]]
        if len(rows) < len(before):
            self.beginRemoveRows(QModelIndex(), common, len(before) - 1)
            self.rows = before[:common]
            self.endRemoveRows()
        elif len(rows) > len(before):
            self.beginInsertRows(QModelIndex(), common, len(rows) - 1)
            self.rows = before + rows[common:]
            self.endInsertRows()
        self.rows = rows
        if differing:
            first, last = differing[0], differing[-1]
            self.dataChanged.emit(self.index(first, 0), self.index(last, VOLUME))
        return bool(differing) or len(rows) != len(before)

    def rowCount(self, parent: Any = None) -> int:
        """How many objects there are."""
        return 0 if parent is not None and parent.isValid() else len(self.rows)

    def columnCount(self, parent: Any = None) -> int:
        """How many columns there are."""
        return 0 if parent is not None and parent.isValid() else len(HEADERS)

    def data(self, index: Any, role: int = Qt.ItemDataRole.DisplayRole) -> Any:
        """Return what a cell shows."""
        row, column = self.rows[index.row()], index.column()
        if role in (Qt.ItemDataRole.DisplayRole, Qt.ItemDataRole.EditRole):
            return row.text(column)
        if role == Qt.ItemDataRole.DecorationRole and column == ID:
            return self._icon(row.colour, row.committed)
        if role == Qt.ItemDataRole.TextAlignmentRole and column >= SCORE:
            return _RIGHT
        if role == Qt.ItemDataRole.ToolTipRole:
            if column == CLASS:
                unnamed = "No class yet: double-click to name it."
                return "" if row.class_name else unnamed
            size = f"\n{row.extent}" if row.extent else ""
            return f"Object {row.number}: {row.state_text}.{size}"
        return None

    def headerData(
        self, section: int, orientation: Any, role: int = Qt.ItemDataRole.DisplayRole
    ) -> Any:
        """Return what stands above a column."""
        if orientation != Qt.Orientation.Horizontal:
            return None
        if role == Qt.ItemDataRole.DisplayRole:
            return HEADERS[section]
        return _TIPS[section] if role == Qt.ItemDataRole.ToolTipRole else None

    def flags(self, index: Any) -> Any:
        """Only the class can be edited."""
        flags = Qt.ItemFlag.ItemIsEnabled | Qt.ItemFlag.ItemIsSelectable
        return flags | Qt.ItemFlag.ItemIsEditable if index.column() == CLASS else flags

    def setData(
        self, index: Any, value: Any, role: int = Qt.ItemDataRole.EditRole
    ) -> bool:
        """Ask for another class; the document answers with new rows."""
        if role != Qt.ItemDataRole.EditRole or index.column() != CLASS:
            return False
        row = self.rows[index.row()]
        self.class_edited.emit(row.object_id, str(value).strip())
        return True


class ShownObjects(QSortFilterProxyModel):
    """The rows that pass a filter, in the order of a column."""

    def __init__(self, source: ObjectsModel, parent: QObject) -> None:
        super().__init__(parent)
        self._source = source
        self.filter = Filter()
        self.setSourceModel(source)
        self.setDynamicSortFilter(True)

    def show_only(self, chosen: Filter) -> None:
        """Show the rows that pass."""
        self.filter = chosen
        self.invalidate()

    def row(self, index: Any) -> ObjectRow:
        """Return the object a shown cell is of."""
        return self._source.rows[self.mapToSource(index).row()]

    def filterAcceptsRow(self, source_row: int, source_parent: Any) -> bool:
        """Whether a row passes the filter."""
        del source_parent
        return self.filter.takes(self._source.rows[source_row])

    def lessThan(self, left: Any, right: Any) -> bool:
        """Compare two rows, numbers as numbers."""
        rows, column = self._source.rows, left.column()
        return bool(rows[left.row()].order(column) < rows[right.row()].order(column))
