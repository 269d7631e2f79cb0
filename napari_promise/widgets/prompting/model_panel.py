"""Which image, which model, which adapter, and how things stand.

Shows choices and the status line, and announces what the user chose.
"""

from __future__ import annotations

import html
import time

from qtpy.QtCore import Qt, QTimer, Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_promise.widgets.buttons import show_checked
from napari_promise.widgets.choices import ChoiceBox

#: Colours of the status dot; the words beside it say the same.
_DOTS = {
    "idle": "#999999",
    "ready": "#009e73",
    "loading": "#e69f00",
    "encoding": "#e69f00",
    "downloading": "#56b4e9",
    "waiting": "#56b4e9",
    "error": "#d55e00",
}
_BUSY = ("loading", "encoding", "downloading", "waiting")

#: Below this many milliseconds of work a running clock only flickers.
_TICK_MS = 100


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
    cancel_requested, settings_requested, local_requested : Signal
    """

    image_chosen = Signal(object)
    model_chosen = Signal(object)
    adapter_chosen = Signal(object)
    ips_toggled = Signal(bool)
    cancel_requested = Signal()
    settings_requested = Signal()
    local_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.image = ChoiceBox(
            "The image to work on. It is read as its contrast limits show it."
        )
        self.image.setPlaceholderText("open an image first")
        self.model = ChoiceBox(
            "The Segment Anything model. It stays frozen; missing weights are "
            "downloaded once."
        )
        self.adapter = ChoiceBox(
            "A ProMISe adapter: it places points automatically and adapts the mask "
            "decoder. “none” is stock Segment Anything."
        )
        self.ips = QCheckBox("IPS")
        self.ips.setToolTip(
            "Incremental pattern shifting: let the adapter adjust the mask decoder to "
            "its domain. Off: the stock decoder answers its points."
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
        self.cancel = QPushButton("Cancel")
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

        self.remote = QWidget()
        self.encodes_on = QLabel()
        self.encodes_on.setSizePolicy(
            QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Preferred
        )
        self.local = QPushButton("Use this computer")
        self.local.setToolTip(
            "Encode images here from now on. What is encoded already stays usable."
        )
        self.local.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        remote_row = QHBoxLayout(self.remote)
        remote_row.setContentsMargins(0, 0, 0, 0)
        remote_row.setSpacing(4)
        remote_row.addWidget(self.encodes_on, 1)
        remote_row.addWidget(self.local)
        self.remote.hide()

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
        layout.addWidget(self.remote)
        layout.addLayout(status_row)

        self.image.chosen.connect(self.image_chosen)
        self.model.chosen.connect(self.model_chosen)
        self.adapter.chosen.connect(self.adapter_chosen)
        self.ips.toggled.connect(self.ips_toggled)
        self.cancel.clicked.connect(self.cancel_requested)
        self.settings.clicked.connect(self.settings_requested)
        self.local.clicked.connect(self.local_requested)

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

    def show_remote(self, address: str) -> None:
        """Show which computer encodes; empty for this one, of which nothing is said."""
        self.remote.setVisible(bool(address))
        self.encodes_on.setText(f"encodes on {address.partition('://')[2]}")
        self.encodes_on.setToolTip(f"{address}: masks are drawn on this computer.")

    def show_status(self, state: str, message: str, tooltip: str = "") -> None:
        """Show how things stand; work in progress shows its running time.

        Parameters
        ----------
        state : str
            See `session.Status`.
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
