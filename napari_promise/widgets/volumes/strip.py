"""A strip with one bar a plane: how sure the object is there, and where one is."""

from __future__ import annotations

from qtpy.QtCore import QEvent, QPointF, QRectF, QSize, Qt, Signal
from qtpy.QtGui import QColor, QHelpEvent, QMouseEvent, QPainter, QPaintEvent
from qtpy.QtWidgets import QToolTip, QWidget

from napari_promise.widgets.volumes.marks import PlaneMark

__all__ = ["PlaneStrip"]

_HEIGHT = 44
_SURE = QColor(86, 160, 255)
_PROPOSED = QColor(170, 120, 230)
_STRONG = QColor(92, 190, 120)
_WEAK = QColor(232, 152, 60)
_STOP = QColor(220, 80, 80)
_GROUND = QColor(128, 128, 128, 50)
#: From here on a plane is drawn as a strong one.
_ENOUGH = 0.7


class PlaneStrip(QWidget):
    """Shows an object plane by plane; a click goes to a plane.

    Attributes
    ----------
    plane_chosen : Signal(int)
    """

    plane_chosen = Signal(int)

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._marks: tuple[PlaneMark, ...] = ()
        self._plane = 0
        self.setFixedHeight(_HEIGHT)
        self.setToolTip(
            "One bar a plane, as high as its confidence. Blue: prompted, corrected or "
            "confirmed. Violet: an adapter's. Green: propagated; orange: weak, look "
            "there. Red: the object ends here. Click to go to a plane."
        )

    @property
    def marks(self) -> tuple[PlaneMark, ...]:
        """What is shown."""
        return self._marks

    def show_marks(self, marks: tuple[PlaneMark, ...], plane: int) -> None:
        """Show other marks, and which plane is on display."""
        if (marks, plane) != (self._marks, self._plane):
            self._marks, self._plane = marks, plane
            self.update()

    def sizeHint(self) -> QSize:
        """As wide as there is room."""
        return QSize(200, _HEIGHT)

    def _plane_at(self, position: QPointF) -> int:
        share = position.x() / max(1, self.width())
        return min(max(int(share * len(self._marks)), 0), len(self._marks) - 1)

    def mousePressEvent(self, event: QMouseEvent | None) -> None:
        """Go to the plane that was clicked on."""
        if event is not None and self._marks:
            self.plane_chosen.emit(self._plane_at(event.position()))

    def mouseMoveEvent(self, event: QMouseEvent | None) -> None:
        """Go along with the pointer while the button is down."""
        self.mousePressEvent(event)

    def event(self, event: QEvent | None) -> bool:
        """Say in words what there is on the plane under the pointer."""
        if isinstance(event, QHelpEvent) and self._marks:
            plane = self._plane_at(QPointF(event.pos()))
            words = self._marks[plane].in_words(plane)
            QToolTip.showText(event.globalPos(), f"{words}\n\n{self.toolTip()}", self)
            return True
        return super().event(event)

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Draw the bars from left to right, plane 0 first."""
        painter = QPainter(self)
        height = self.height() - 4
        painter.fillRect(QRectF(0, 2, self.width(), height), _GROUND)
        if not self._marks:
            return
        width = self.width() / len(self._marks)
        gap = 1.0 if width > 3 else 0.0
        for plane, mark in enumerate(self._marks):
            tall = height * (1.0 if mark.state == "sure" else mark.confidence)
            colour = _SURE if mark.state == "sure" else _STRONG
            if mark.state == "proposed":
                colour = _PROPOSED
            if mark.state == "propagated" and mark.confidence < _ENOUGH:
                colour = _WEAK
            if mark.stopped and mark.state == "none":
                colour, tall = _STOP, height * 0.25
            if mark.state == "absent":
                colour, tall = _SURE, 3.0
            if mark.state != "none" or mark.stopped:
                tall = max(tall, 3.0)
                bar = QRectF(plane * width, 2 + height - tall, width - gap, tall)
                painter.fillRect(bar, colour)
        painter.setPen(QColor(255, 255, 255))
        painter.setBrush(Qt.BrushStyle.NoBrush)
        here = QRectF(self._plane * width, 1, max(width - gap, 2.0), self.height() - 2)
        painter.drawRect(here)
