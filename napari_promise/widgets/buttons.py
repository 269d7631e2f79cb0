"""Buttons with key caps or without icons, and boxes set without a signal."""

from __future__ import annotations

from qtpy.QtCore import QSignalBlocker, QSize, Qt
from qtpy.QtGui import QColor, QFontMetrics, QIcon, QPainter, QPaintEvent, QPalette
from qtpy.QtWidgets import (
    QAbstractButton,
    QDialogButtonBox,
    QPushButton,
    QRadioButton,
    QWidget,
)

_MARGIN = 8
_GAP = 8


def show_checked(button: QAbstractButton, on: bool) -> None:
    """Show a button checked or not, without a signal."""
    with QSignalBlocker(button):
        button.setChecked(on)


def ending(*kinds: QDialogButtonBox.StandardButton) -> QDialogButtonBox:
    """Return the buttons that end a window, the same on every system.

    Parameters
    ----------
    *kinds : QDialogButtonBox.StandardButton
    """
    box = QDialogButtonBox()
    for kind in kinds:
        button = box.addButton(kind)
        if button is not None:
            # Some systems' icons are black, which napari's dark theme swallows.
            button.setIcon(QIcon())
    return box


class KeyCap:
    """Draws a key cap at the right edge of a widget."""

    def __init__(self, key: str) -> None:
        self.key = key

    def width(self, widget: QWidget) -> int:
        """Pixels the cap takes, its margin included."""
        if not self.key:
            return 0
        return QFontMetrics(widget.font()).horizontalAdvance(self.key) + 10 + _MARGIN

    def paint(self, widget: QWidget) -> None:
        """Draw the cap in the widget's own text colour, toned down."""
        if not self.key:
            return
        painter = QPainter(widget)
        painter.setRenderHint(QPainter.RenderHint.Antialiasing)
        colour = QColor(widget.palette().color(QPalette.ColorRole.ButtonText))
        colour.setAlphaF(0.6 if widget.isEnabled() else 0.25)
        metrics = QFontMetrics(widget.font())
        width = metrics.horizontalAdvance(self.key) + 10
        height = min(metrics.height() + 2, widget.height() - 6)
        left = widget.width() - width - _MARGIN + 2
        top = (widget.height() - height) // 2
        painter.setPen(colour)
        painter.drawRoundedRect(left, top, width, height, 3, 3)
        painter.drawText(
            left, top, width, height, Qt.AlignmentFlag.AlignCenter, self.key
        )
        painter.end()


class KeyButton(QPushButton):
    """A push button with its shortcut shown on it.

    Parameters
    ----------
    text : str
        What the button does.
    key : str
        The shortcut as the user reads it; empty for none.
    tooltip : str
        What happens, in a sentence.
    parent : QWidget, optional
    """

    def __init__(
        self, text: str, key: str, tooltip: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(text, parent)
        self._cap = KeyCap(key)
        self.explain(tooltip)
        self.setAccessibleName(text.replace("&&", "&"))
        # A click must not take the keyboard away from the canvas; Tab still works.
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        if key:
            self.setStyleSheet(f"padding-right: {self._cap.width(self) + 2}px;")

    def explain(self, tooltip: str) -> None:
        """Say what happens, beside the shortcut, in the tooltip."""
        key = self._cap.key
        self.setToolTip(f"{tooltip}<br><i>Shortcut: {key}</i>" if key else tooltip)

    def sizeHint(self) -> QSize:
        """Room for the text and the cap."""
        metrics = QFontMetrics(self.font())
        text = metrics.horizontalAdvance(self.text())
        width = text + self._cap.width(self) + _GAP + 2 * _MARGIN
        return QSize(width, metrics.height() + 12)

    def minimumSizeHint(self) -> QSize:
        """Never shorter than its text and cap."""
        return self.sizeHint()

    def paintEvent(self, event: QPaintEvent | None) -> None:
        """Draw the button, then the cap on it."""
        super().paintEvent(event)
        self._cap.paint(self)


class PolarityButton(QRadioButton):
    """A radio button with the symbol its points have, so that colour is not alone.

    Parameters
    ----------
    text : str
    colour : str
        CSS colour of the points.
    tooltip : str
    parent : QWidget, optional
    """

    def __init__(
        self, text: str, colour: str, tooltip: str, parent: QWidget | None = None
    ) -> None:
        super().__init__(text, parent)
        self.setToolTip(tooltip)
        self.setStyleSheet(f"QRadioButton {{ color: {colour}; font-weight: 600; }}")
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
