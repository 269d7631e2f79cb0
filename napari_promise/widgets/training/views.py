"""Pictures for training: curves as they grow, and two masks side by side."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from qtpy.QtCore import QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QImage, QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import QSizePolicy, QWidget
from scipy import ndimage

#: Columns of the curves, their colours, and what they are called.
SCORES = {
    "map": ("#a07060", "coarse map"),
    "automatic": ("#d55e00", "automatic"),
    "gt_prompted": ("#009e73", "GT-prompted"),
}
_LOSS = "#0a84d6"


class CurvesView(QWidget):
    """Loss on the left, held-out Dice on the right; frozen SAM dashed."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.rows: tuple[dict[str, Any], ...] = ()
        self.setMinimumHeight(120)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Preferred)
        self.setToolTip(
            "Left: the loss of each pass. Right: Dice on the held-out images, "
            "automatic and with ground-truth prompts apart. Dashed: frozen SAM with "
            "the same prompts."
        )

    def sizeHint(self) -> QSize:
        """Wide and low."""
        return QSize(560, 150)

    def show_rows(self, rows: tuple[dict[str, Any], ...]) -> None:
        """Show these passes, see `curves.write_curves`."""
        self.rows = rows
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw both frames."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        half = self.width() / 2
        losses = _line(self.rows, "loss")
        top = max((y for _, y in losses), default=1.0) * 1.1
        left = QRectF(40, 22, half - 56, self.height() - 32)
        right = QRectF(half + 40, 22, half - 56, self.height() - 32)
        self._frame(painter, left, top)
        self._frame(painter, right, 1.0)
        self._label(painter, left.left(), "loss", _LOSS)
        self._draw(painter, left, losses, top, _LOSS)
        at = right.left()
        for column, (colour, name) in SCORES.items():
            line = _line(self.rows, column)
            if not line:
                continue
            at += self._label(painter, at, name, colour)
            self._draw(painter, right, line, 1.0, colour)
            for _, level in _line(self.rows, f"frozen_{column}")[-1:]:
                pen = QPen(QColor(colour), 1, Qt.PenStyle.DashLine)
                painter.setPen(pen)
                y = right.bottom() - right.height() * min(level, 1.0)
                painter.drawLine(QPointF(right.left(), y), QPointF(right.right(), y))
        if at == right.left():
            self._label(painter, at, "held-out Dice: after the first pass", "")
        painter.end()

    def _text(self) -> QColor:
        return QColor(self.palette().color(QPalette.ColorRole.WindowText))

    def _frame(self, painter: QPainter, place: QRectF, top: float) -> None:
        faint = self._text()
        for tick in (0.0, 0.5, 1.0):
            y = place.bottom() - place.height() * tick
            faint.setAlphaF(0.2)
            painter.setPen(faint)
            painter.drawLine(QPointF(place.left(), y), QPointF(place.right(), y))
            faint.setAlphaF(0.7)
            painter.setPen(faint)
            box = QRectF(place.left() - 40, y - 8, 36, 16)
            flags = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
            painter.drawText(box, flags, f"{top * tick:.2f}")

    def _label(self, painter: QPainter, x: float, text: str, colour: str) -> float:
        painter.setPen(QColor(colour) if colour else self._text())
        painter.drawText(QPointF(x, 14), text)
        return float(painter.fontMetrics().horizontalAdvance(text)) + 14

    def _draw(
        self,
        painter: QPainter,
        place: QRectF,
        line: list[tuple[int, float]],
        top: float,
        colour: str,
    ) -> None:
        count = max(2, len(self.rows))
        points = [
            QPointF(
                place.left() + place.width() * at / (count - 1),
                place.bottom() - place.height() * min(value / top, 1.0),
            )
            for at, value in line
        ]
        painter.setPen(QPen(QColor(colour), 2))
        for a, b in zip(points, points[1:], strict=False):
            painter.drawLine(a, b)
        painter.setBrush(QColor(colour))
        for point in points:
            painter.drawEllipse(point, 2, 2)
        painter.setBrush(Qt.BrushStyle.NoBrush)


class ComparisonView(QWidget):
    """The current image twice: the old mask with its points, and the new one.

    Attributes
    ----------
    shown : Signal()
        A comparison is shown, or none any more.
    """

    shown = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.comparison: Any = None
        self._pictures: list[QImage] = []
        self.setMinimumHeight(180)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Expanding)
        self.setToolTip(
            "What the adapter in use finds on the displayed image, and what the new "
            "one finds. Discs are points to include, crosses to exclude."
        )

    def sizeHint(self) -> QSize:
        """Room for two pictures side by side."""
        return QSize(560, 250)

    def show_comparison(self, comparison: Any) -> None:
        """Show a `jobs.comparing.Comparison`; hide without one."""
        self.comparison = comparison
        self._pictures = []
        if comparison is not None:
            for side in (comparison.old, comparison.new):
                self._pictures.append(_picture(comparison.picture, side.mask))
        self.setVisible(comparison is not None)
        self.shown.emit()
        self.update()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw both pictures with their points and names."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        painter.setRenderHint(QPainter.RenderHint.SmoothPixmapTransform)
        text = QColor(self.palette().color(QPalette.ColorRole.WindowText))
        half = self.width() / 2
        if self.comparison is not None:
            sides = (self.comparison.old, self.comparison.new)
            for number, side in enumerate(sides):
                picture = self._pictures[number]
                room = QRectF(number * half + 3, 20, half - 6, self.height() - 22)
                scale = min(
                    room.width() / picture.width(), room.height() / picture.height()
                )
                size = (picture.width() * scale, picture.height() * scale)
                left = room.left() + (room.width() - size[0]) / 2
                painter.drawImage(QRectF(left, room.top(), *size), picture)
                note = f": {side.note}" if side.note else f" · {side.area} px"
                if number and not side.note and not self.comparison.old.note:
                    note += f" · Dice between them {self.comparison.dice:.2f}"
                painter.setPen(text)
                flags = Qt.AlignmentFlag.AlignHCenter | Qt.AlignmentFlag.AlignVCenter
                words = painter.fontMetrics().elidedText(
                    side.name + note, Qt.TextElideMode.ElideRight, int(half - 8)
                )
                painter.drawText(QRectF(number * half, 0, half, 18), flags, words)
                for (row, column), label in zip(side.points, side.labels, strict=True):
                    x = left + (column + 0.5) * scale
                    y = room.top() + (row + 0.5) * scale
                    _point(painter, x, y, bool(label))
        painter.end()


def _line(rows: tuple[dict[str, Any], ...], column: str) -> list[tuple[int, float]]:
    return [(at, float(row[column])) for at, row in enumerate(rows) if column in row]


def _picture(rgb: NDArray[np.uint8], mask: NDArray[np.bool_]) -> QImage:
    """Lay a mask over a picture: a tint inside, a line around it."""
    pixels = rgb.astype(np.float32)
    width = max(1, max(mask.shape) // 300)
    edge = ndimage.binary_dilation(mask, iterations=width) & ~ndimage.binary_erosion(
        mask, iterations=width
    )
    tint = np.array([255, 214, 0], np.float32)
    pixels[mask] = 0.75 * pixels[mask] + 0.25 * tint
    pixels[edge] = tint
    data = np.ascontiguousarray(pixels.astype(np.uint8))
    rows, columns = mask.shape
    image = QImage(
        data.tobytes(), columns, rows, 3 * columns, QImage.Format.Format_RGB888
    )
    return image.copy()  # owns its pixels


def _point(painter: QPainter, x: float, y: float, include: bool) -> None:
    painter.setPen(QPen(QColor("black"), 1))
    if include:
        painter.setBrush(QColor("#00a47a"))
        painter.drawEllipse(QPointF(x, y), 4, 4)
        painter.setBrush(Qt.BrushStyle.NoBrush)
        return
    for colour, width in (("black", 4), ("#e06a10", 2)):
        painter.setPen(QPen(QColor(colour), width))
        painter.drawLine(QPointF(x - 4, y - 4), QPointF(x + 4, y + 4))
        painter.drawLine(QPointF(x - 4, y + 4), QPointF(x + 4, y - 4))
