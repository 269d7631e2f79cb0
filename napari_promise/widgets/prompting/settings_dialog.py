"""Settings that are touched once in a while: device, cache, what commits do.

Shows values and says what was changed; it stores nothing itself.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QCheckBox,
    QComboBox,
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QSpinBox,
    QVBoxLayout,
    QWidget,
)

DEVICES = (
    ("auto", "automatic"),
    ("cpu", "CPU"),
    ("cuda", "GPU (CUDA)"),
    ("mps", "GPU (Apple)"),
)
OVERLAPS = (
    ("keep", "keep the earlier object"),
    ("overwrite", "overwrite the earlier object"),
)


class SettingsDialog(QDialog):
    """Device, overlap policy and the embedding cache.

    Parameters
    ----------
    parent : QWidget, optional

    Attributes
    ----------
    changed : Signal(str, object)
        Name and value of a setting, as soon as it is changed.
    clear_cache_requested : Signal
    """

    changed = Signal(str, object)
    clear_cache_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("ProMISe settings")
        self.device = _combo(DEVICES, "Where the model runs. Automatic takes a GPU.")
        self.overlap = _combo(
            OVERLAPS, "What a commit does with pixels that belong to another object."
        )
        self.disk_cache = QCheckBox("keep embeddings on disk")
        self.disk_cache.setToolTip(
            "An image that was open before is ready at once, in the next session too."
        )
        self.quota = QSpinBox()
        self.quota.setRange(100, 1_000_000)
        self.quota.setSingleStep(500)
        self.quota.setSuffix(" MB")
        self.quota.setToolTip("The least recently used embeddings make room.")
        self.cache_size = QLabel()
        self.cache_size.setToolTip("What the embeddings that are kept take up now.")
        self.clear_cache = QPushButton("Clear cache")
        self.clear_cache.setToolTip(
            "Forget every embedding kept in memory and on disk."
        )

        form = QFormLayout()
        form.addRow("Device", self.device)
        form.addRow("Overlap", self.overlap)
        form.addRow("Cache", self.disk_cache)
        form.addRow("at most", self.quota)
        in_use = QHBoxLayout()
        in_use.addWidget(self.cache_size, 1)
        in_use.addWidget(self.clear_cache)
        form.addRow("in use", in_use)
        buttons = QDialogButtonBox(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        layout = QVBoxLayout(self)
        layout.addLayout(form)
        layout.addWidget(buttons)

        self.device.activated.connect(
            lambda row: self.changed.emit("device", self.device.itemData(row))
        )
        self.overlap.activated.connect(
            lambda row: self.changed.emit("overlap", self.overlap.itemData(row))
        )
        self.disk_cache.clicked.connect(self._on_disk_cache_clicked)
        self.quota.editingFinished.connect(
            lambda: self.changed.emit("cache_quota_mb", self.quota.value())
        )
        self.clear_cache.clicked.connect(self.clear_cache_requested)

    def show_values(self, values: Mapping[str, Any]) -> None:
        """Show the settings as they are.

        Parameters
        ----------
        values : mapping
            ``device, overlap, disk_cache, cache_quota_mb``.
        """
        self.device.setCurrentIndex(self.device.findData(values["device"]))
        self.overlap.setCurrentIndex(self.overlap.findData(values["overlap"]))
        self.disk_cache.setChecked(bool(values["disk_cache"]))
        self.quota.setValue(int(values["cache_quota_mb"]))
        self.quota.setEnabled(bool(values["disk_cache"]))

    def show_cache_size(self, memory: int, disk: int | None) -> None:
        """Show what the cache holds.

        Parameters
        ----------
        memory, disk : int
            Bytes; None where nothing is kept on disk.
        """
        parts = [] if disk is None else [f"{_megabytes(disk)} on disk"]
        self.cache_size.setText(", ".join([*parts, f"{_megabytes(memory)} in memory"]))

    def _on_disk_cache_clicked(self, on: bool) -> None:
        self.quota.setEnabled(on)
        self.changed.emit("disk_cache", on)


def _megabytes(count: int) -> str:
    megabytes = count / 2**20
    return f"{megabytes:.0f} MB" if megabytes >= 10 else f"{megabytes:.1f} MB"


def _combo(entries: tuple[tuple[str, str], ...], tooltip: str) -> QComboBox:
    box = QComboBox()
    for value, text in entries:
        box.addItem(text, value)
    box.setToolTip(tooltip)
    return box
