"""How much work an image still takes: clicks per image so far, drawn small."""

from __future__ import annotations

from collections.abc import Sequence

from qtpy.QtCore import QPointF, QRectF, QSize, Qt
from qtpy.QtGui import QColor, QPainter, QPaintEvent, QPalette, QPen
from qtpy.QtWidgets import (
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_promise.project import Effort
from napari_promise.widgets.section import Section

#: The mean is taken over so many images.
WINDOW = 10
#: Images drawn; earlier ones are left out.
_LATEST = 200
_DOT, _LINE, _TRAINED = "#56b4e9", "#e69f00", "#009e73"


class EffortPlot(QWidget):
    """Clicks of each finished image as dots, their running mean as a line."""

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._clicks: Sequence[int] = ()
        self._mean: Sequence[float] = ()
        self._trained: Sequence[int] = ()
        self.setMinimumHeight(56)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)

    def sizeHint(self) -> QSize:
        """Low: the table needs the room."""
        return QSize(200, 64)

    def show_course(
        self, clicks: Sequence[int], mean: Sequence[float], trained: Sequence[int]
    ) -> None:
        """Show the course of the work.

        Parameters
        ----------
        clicks : sequence of int
            Of each finished image, in order.
        mean : sequence of float
            Their running mean, one an image.
        trained : sequence of int
            After how many images an adapter was trained.
        """
        first = max(0, len(clicks) - _LATEST)
        self._clicks, self._mean = clicks[first:], mean[first:]
        self._trained = [number - first for number in trained if number >= first]
        self.update()

    def paintEvent(self, _event: QPaintEvent | None) -> None:
        """Draw dots, line, and a mark where an adapter was trained."""
        painter = QPainter(self)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        text = QColor(self.palette().color(QPalette.ColorRole.WindowText))
        faint = QColor(text)
        faint.setAlphaF(0.3)
        most = max([*self._clicks, 4])
        digits = painter.fontMetrics().horizontalAdvance(str(most)) + 6
        area = QRectF(digits, 6, self.width() - digits - 4, self.height() - 12)
        painter.setPen(faint)
        painter.drawLine(area.bottomLeft(), area.bottomRight())
        painter.drawLine(area.topLeft(), area.bottomLeft())
        painter.setPen(text)
        right = Qt.AlignmentFlag.AlignRight | Qt.AlignmentFlag.AlignVCenter
        for value in (0, most):
            y = area.bottom() - area.height() * value / most
            painter.drawText(QRectF(0, y - 8, digits - 4, 16), right, str(value))
        count = len(self._clicks)
        if not count:
            painter.setPen(faint)
            painter.drawText(
                area,
                Qt.AlignmentFlag.AlignCenter,
                "clicks per finished image",
            )
            return

        def place(index: float, value: float) -> QPointF:
            x = area.left() + area.width() * (index + 0.5) / count
            return QPointF(x, area.bottom() - area.height() * value / most)

        painter.setPen(QPen(QColor(_TRAINED), 1, Qt.PenStyle.DashLine))
        for number in self._trained:
            x = place(number - 0.5, 0).x()
            painter.drawLine(QPointF(x, area.top()), QPointF(x, area.bottom()))
        painter.setPen(Qt.PenStyle.NoPen)
        painter.setBrush(QColor(_DOT))
        for index, clicks in enumerate(self._clicks):
            painter.drawEllipse(place(index, clicks), 2.2, 2.2)
        painter.setPen(QPen(QColor(_LINE), 2))
        points = [place(index, value) for index, value in enumerate(self._mean)]
        for start, end in zip(points, points[1:], strict=False):
            painter.drawLine(start, end)


class EffortPanel(QWidget):
    """The figures in words, which open to the plot.

    Parameters
    ----------
    parent : QWidget, optional
    """

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.plot = EffortPlot()
        self.plot.setToolTip(
            f"Dots: clicks and strokes on each finished image, in order. Line: mean "
            f"over {WINDOW} images. Dashed: an adapter was trained."
        )
        self.figures = Section()
        self.figures.setToolTip(
            f"Mean clicks over the last {WINDOW} finished images, and the share of "
            "proposals that were accepted unchanged."
        )
        self.figures.addWidget(self.plot)
        self.figures.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.figures)
        self.show_effort(Effort())

    def show_effort(self, effort: Effort) -> None:
        """Show how the work went so far."""
        mean = effort.rolling(WINDOW)
        self.plot.show_course(
            effort.clicks, mean, [number for number, _name in effort.trained]
        )
        if not mean:
            self.figures.setText("No image is done yet.")
            return
        text = f"{mean[-1]:.1f} clicks per image"
        share = effort.untouched_share
        if share is not None:
            text += f" · {share:.0%} accepted unchanged"
        self.figures.setText(text)
