"""The part of the dock that is there for stacks: propagate, where to look, confirm."""

from __future__ import annotations

from collections import Counter
from contextlib import suppress

from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QHBoxLayout, QLabel, QSpinBox, QVBoxLayout, QWidget

from napari_promise.widgets.buttons import KeyButton
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.keys import SHORTCUTS
from napari_promise.widgets.volumes.controller import Propagation
from napari_promise.widgets.volumes.proposing import StackProposing
from napari_promise.widgets.volumes.strip import PlaneStrip

__all__ = ["VolumePanel"]

_AUTO = "Auto-prompt all planes"
#: Pixels of a plane's number.
_NUMBER = 36
#: Milliseconds after which numbers follow what is being found: measuring an object
#: again with each of its planes held the window up.
_PAUSE = 250


class VolumePanel(QWidget):
    """Propagates the object in work, and shows it plane by plane.

    Hidden where there is no stack.

    Parameters
    ----------
    propagation : Propagation
    proposing : StackProposing
    parent : QWidget, optional
    """

    def __init__(
        self,
        propagation: Propagation,
        proposing: StackProposing,
        parent: QWidget | None = None,
    ) -> None:
        super().__init__(parent)
        self._propagation = propagation
        self._proposing = proposing
        self.auto = KeyButton(
            _AUTO,
            SHORTCUTS["auto everywhere"].shown,
            "Let the adapter propose the object on about twelve planes, keep what they "
            "agree on, and find it on the others. Press again to stop.",
        )
        self.propagate = KeyButton(
            "Propagate",
            SHORTCUTS["propagate"].shown,
            "Find this object on the other planes, nearest planes first. Press again "
            "to stop; what is there stays.",
        )
        self.weakest = KeyButton(
            "Weakest",
            SHORTCUTS["weakest plane"].shown,
            "Go to the propagated plane with the lowest confidence, then to the next.",
        )
        self.confirm = KeyButton(
            "Confirm",
            SHORTCUTS["confirm plane"].shown,
            "This plane is right as it is: keep it, and learn from it.",
        )
        self.same = KeyButton(
            "Same object",
            SHORTCUTS["same object"].shown,
            "What you prompt on this plane is the object you worked on last. Else a "
            "click on another plane begins an object of its own.",
        )
        self.absent = KeyButton(
            "Not here",
            SHORTCUTS["not here"].shown,
            "The object is not on this plane: it ends before it.",
        )
        self.first, self.last = QSpinBox(), QSpinBox()
        for box, what in ((self.first, "first"), (self.last, "last")):
            box.setToolTip(f"The {what} plane that may be drawn on.")
            box.setKeyboardTracking(False)
            # With buttons the row was wider than the dock and was cut off.
            box.setButtonSymbols(QSpinBox.ButtonSymbols.NoButtons)
            # napari's theme asks for more than four digits, and outdoes a fixed width.
            box.setStyleSheet(f"min-width: {_NUMBER}px; max-width: {_NUMBER}px;")
        self.strip = PlaneStrip()
        self.state = QLabel()
        self.state.setWordWrap(True)  # else it would widen the dock
        self.state.setToolTip(
            "Planes that you drew or confirmed, planes that were found from them; the "
            "object's volume and its longest diameter, of the masks as they stand."
        )
        self._count = 0
        self._later = QTimer(self)
        self._later.setSingleShot(True)
        self._later.setInterval(_PAUSE)
        self._later.timeout.connect(self._show_state)
        self._compose()
        self._connections = Connections()
        self._connections.add(propagation.changed, self.show_now)
        self._connections.add(proposing.changed, self.show_now)
        self.auto.clicked.connect(lambda: proposing.toggle())
        self.propagate.clicked.connect(lambda: propagation.toggle())
        self.weakest.clicked.connect(lambda: propagation.go_to_weakest())
        self.confirm.clicked.connect(lambda: propagation.confirm())
        self.same.clicked.connect(lambda: propagation.same_object())
        self.absent.clicked.connect(lambda: propagation.not_here())
        self.strip.plane_chosen.connect(propagation.go_to)
        self.first.valueChanged.connect(self._on_range)
        self.last.valueChanged.connect(self._on_range)
        self.show_now()

    def close_down(self) -> None:
        """Hear nothing more."""
        self._connections.release()
        with suppress(RuntimeError):  # gone with the window
            self._later.stop()

    def _compose(self) -> None:
        column = QVBoxLayout(self)
        column.setContentsMargins(0, 0, 0, 0)
        column.setSpacing(4)
        first = QHBoxLayout()
        first.addWidget(self.propagate, 1)
        first.addWidget(self.same, 1)
        column.addLayout(first)
        column.addWidget(self.auto)
        column.addWidget(self.strip)
        column.addWidget(self.state)
        span = QHBoxLayout()
        span.addWidget(QLabel("Planes"))
        span.addWidget(self.first)
        span.addWidget(QLabel("to"))
        span.addWidget(self.last)
        span.addStretch(1)
        span.addWidget(self.absent)
        column.addLayout(span)
        buttons = QHBoxLayout()
        buttons.addWidget(self.weakest)
        buttons.addWidget(self.confirm)
        column.addLayout(buttons)

    def _on_range(self) -> None:
        low, high = sorted((self.first.value(), self.last.value()))
        self._propagation.z_range = (low, high)

    def show_now(self) -> None:
        """Show what there is."""
        what = self._propagation
        self.setVisible(what.planes > 1)
        if what.planes < 2:
            self._count = 0
            return
        if what.planes != self._count or what.z_range is None:
            self._count = what.planes
            low, high = what.z_range or (0, what.planes - 1)
            for box, value in ((self.first, low), (self.last, high)):
                box.blockSignals(True)
                box.setRange(0, what.planes - 1)
                box.setValue(value)
                box.blockSignals(False)
        marks = what.marks()
        self.strip.show_marks(marks, what.plane)
        self.propagate.setText("Stop" if what.is_running else "Propagate")
        self._show_proposing()
        found = sum(mark.state == "propagated" for mark in marks)
        proposed = sum(mark.state == "proposed" for mark in marks)
        sure = sum(mark.state == "sure" for mark in marks)
        self.confirm.setEnabled(what.can_confirm)
        self.absent.setEnabled(found + sure + proposed > 1)
        other = bool(found or sure or proposed) and marks[what.plane].state == "none"
        self.same.setEnabled(other)
        self.weakest.setEnabled(bool(found or proposed))
        if not what.is_running:
            self._show_state()
        elif not self._later.isActive():
            self._later.start()

    def _show_state(self) -> None:
        """Say in numbers what there is of the object."""
        self._later.stop()
        marks, extent = self.strip.marks, self._propagation.extent()
        count = Counter(mark.state for mark in marks)
        sure, found, proposed = (
            count[state] for state in ("sure", "propagated", "proposed")
        )
        if not (found or sure or proposed):
            self.state.setText("Click on an object, then propagate it.")
            return
        size = "" if extent is None else f" · {extent.in_words}"
        by_adapter = f", {proposed} the adapter's" if proposed else ""
        self.state.setText(f"{sure} drawn{by_adapter}, {found} propagated{size}")

    def _show_proposing(self) -> None:
        """Offer to auto-prompt the stack where that is possible; say how far it is."""
        what, progress = self._proposing, self._proposing.progress
        self.auto.setVisible(what.can_start or what.is_running)
        if progress is None:
            self.auto.setText(_AUTO)
        elif progress.asked < progress.total:
            self.auto.setText(f"Stop · plane {progress.asked + 1} of {progress.total}")
        else:
            self.auto.setText("Stop · comparing the planes")
