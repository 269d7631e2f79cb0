"""Which image, which model, which adapter, and how things stand.

Shows choices and the status line and says what was wished for; knows neither models
nor layers, only their names.
"""

from __future__ import annotations

import html
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_promise.widgets.buttons import show_checked

#: Colours of the status dot; the words beside it say the same.
_DOTS = {
    "idle": "#999999",
    "ready": "#009e73",
    "loading": "#e69f00",
    "encoding": "#e69f00",
    "downloading": "#56b4e9",
    "error": "#d55e00",
}
_BUSY = ("loading", "encoding", "downloading")

#: Below this many milliseconds of work a running clock only flickers.
_TICK_MS = 100


@dataclass(frozen=True)
class Choice:
    """One entry of a combo box.

    Parameters
    ----------
    value : object
        What is reported when it is chosen.
    text : str
        What is shown.
    tooltip : str
        What it is, in a sentence or two.
    """

    value: Any
    text: str
    tooltip: str = ""


class ChoiceBox(QComboBox):
    """A combo box of `Choice` that reports only what a person chose.

    Parameters
    ----------
    tooltip : str
    parent : QWidget, optional
    """

    chosen = Signal(object)

    def __init__(self, tooltip: str, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._tooltip = tooltip
        self._choices: tuple[Choice, ...] = ()
        self.setToolTip(tooltip)
        # Long names are cut short rather than widening the dock.
        self.setSizeAdjustPolicy(
            QComboBox.SizeAdjustPolicy.AdjustToMinimumContentsLengthWithIcon
        )
        self.setMinimumContentsLength(8)
        self.setSizePolicy(QSizePolicy.Policy.Expanding, QSizePolicy.Policy.Fixed)
        # A wheel or a letter meant for the canvas must not choose another model.
        self.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.activated.connect(self._on_activated)

    def show_choices(self, choices: Sequence[Choice], current: Any) -> None:
        """Show these entries with one of them chosen; None for no entry.

        Parameters
        ----------
        choices : sequence of Choice
        current : object
            Value of the entry to show as chosen.
        """
        self._choices = tuple(choices)
        self.blockSignals(True)
        self.clear()
        row_chosen = -1
        for row, choice in enumerate(self._choices):
            self.addItem(choice.text)
            self.setItemData(row, choice.tooltip, Qt.ItemDataRole.ToolTipRole)
            if choice.value is current or choice.value == current:
                row_chosen = row
        self.setCurrentIndex(row_chosen)
        self.blockSignals(False)
        detail = self._choices[row_chosen].tooltip if row_chosen >= 0 else ""
        self.setToolTip(f"{self._tooltip}<br><br>{detail}" if detail else self._tooltip)

    def value(self) -> Any:
        """Value of the entry shown as chosen, or None."""
        row = self.currentIndex()
        return self._choices[row].value if 0 <= row < len(self._choices) else None

    def _on_activated(self, row: int) -> None:
        self.chosen.emit(self._choices[row].value)


class ModelPanel(QWidget):
    """Image, model, adapter, IPS and the status line.

    Parameters
    ----------
    parent : QWidget, optional

    Attributes
    ----------
    image_chosen, model_chosen, adapter_chosen : Signal(object)
        The value of the `Choice` that was picked.
    ips_toggled : Signal(bool)
    cancel_requested, settings_requested : Signal
    """

    image_chosen = Signal(object)
    model_chosen = Signal(object)
    adapter_chosen = Signal(object)
    ips_toggled = Signal(bool)
    cancel_requested = Signal()
    settings_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.image = ChoiceBox(
            "The image to work on. It is read as its contrast limits show it."
        )
        self.image.setPlaceholderText("open an image first")
        self.model = ChoiceBox(
            "The Segment Anything model. It stays frozen; weights that are not there "
            "yet are downloaded once."
        )
        self.adapter = ChoiceBox(
            "A ProMISe adapter: it places points by itself and shifts the model's "
            "patterns. “none” is stock Segment Anything."
        )
        self.ips = QCheckBox("IPS")
        self.ips.setToolTip(
            "Incremental pattern shifting: let the adapter adjust the mask decoder to "
            "its domain. Off, its points are answered by the stock decoder."
        )
        self.ips.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.status = QLabel()
        self.status.setWordWrap(True)
        # Else a label that wraps asks for the height it would have if very narrow.
        self.status.setMinimumSize(1, self.status.fontMetrics().height())
        self.status.setTextFormat(Qt.TextFormat.RichText)
        self.status.setSizePolicy(
            QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred
        )
        self.cancel = QPushButton("cancel")
        self.cancel.setToolTip("Stop what is being computed or downloaded.")
        self.cancel.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.cancel.hide()
        self.settings = QPushButton("⚙")
        self.settings.setFixedWidth(30)
        self.settings.setToolTip(
            "Settings: device, embedding cache, overlap of objects."
        )
        self.settings.setAccessibleName("Settings")
        self.settings.setFocusPolicy(Qt.FocusPolicy.TabFocus)

        form = QFormLayout()
        form.setContentsMargins(0, 0, 0, 0)
        form.setHorizontalSpacing(8)
        form.setVerticalSpacing(4)
        form.setFieldGrowthPolicy(QFormLayout.FieldGrowthPolicy.ExpandingFieldsGrow)
        for label, field in (("Image", self.image), ("Model", self.model)):
            form.addRow(label, field)
        adapter_row = QHBoxLayout()
        adapter_row.setSpacing(6)
        adapter_row.addWidget(self.adapter, 1)
        adapter_row.addWidget(self.ips)
        form.addRow("Adapter", adapter_row)
        status_row = QHBoxLayout()
        status_row.setSpacing(4)
        status_row.addWidget(self.status, 1)
        status_row.addWidget(self.cancel)
        status_row.addWidget(self.settings)
        layout = QVBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.setSpacing(4)
        layout.addLayout(form)
        layout.addLayout(status_row)

        self.image.chosen.connect(self.image_chosen)
        self.model.chosen.connect(self.model_chosen)
        self.adapter.chosen.connect(self.adapter_chosen)
        self.ips.toggled.connect(self.ips_toggled)
        self.cancel.clicked.connect(self.cancel_requested)
        self.settings.clicked.connect(self.settings_requested)

        self._state = "idle"
        self._message = ""
        self._since = 0.0
        self._clock = QTimer(self)
        self._clock.setInterval(_TICK_MS)
        self._clock.timeout.connect(self._write_status)

    def show_ips(self, on: bool, available: bool) -> None:
        """Show whether IPS is on, and whether the adapter has any."""
        show_checked(self.ips, on and available)
        self.ips.setEnabled(available)

    def show_status(self, state: str, message: str, tooltip: str = "") -> None:
        """Show how things stand; work in progress shows its running time.

        Parameters
        ----------
        state : {"idle", "loading", "encoding", "downloading", "ready", "error"}
        message : str
            A few words, such as "ready on CPU · embedding cached".
        tooltip : str, optional
            The whole story.
        """
        busy = state in _BUSY
        if busy and self._state != state:
            self._since = time.monotonic()
        self._state, self._message = state, message
        self.status.setToolTip(tooltip or message)
        self.cancel.setVisible(busy)
        if busy:
            self._clock.start()
        else:
            self._clock.stop()
        self._write_status()

    def _write_status(self) -> None:
        text = html.escape(self._message)
        if self._state in ("loading", "encoding"):
            text += f" {time.monotonic() - self._since:.1f} s"
        colour = _DOTS.get(self._state, _DOTS["idle"])
        self.status.setText(f'<span style="color:{colour}">●</span> {text}')
