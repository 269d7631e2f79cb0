"""The window with settings that are changed rarely: device, overlap, cache."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from magicgui.widgets import CheckBox, ComboBox, Container, SpinBox
from qtpy.QtCore import Signal
from qtpy.QtWidgets import (
    QDialog,
    QDialogButtonBox,
    QFormLayout,
    QHBoxLayout,
    QLabel,
    QPushButton,
    QVBoxLayout,
    QWidget,
)

from napari_promise.widgets.buttons import ending

DEVICES = (
    ("automatic", "auto"),
    ("CPU", "cpu"),
    ("GPU (CUDA)", "cuda"),
    ("GPU (Apple)", "mps"),
)
ENCODERS = (
    ("exact: as Segment Anything", "stock"),
    ("fastest on this computer", "auto"),
)
DECODERS = (
    ("exact: as Segment Anything", "stock"),
    ("faster: equal but for rounding", "lean"),
)
OVERLAPS = (
    ("keep the earlier object", "keep"),
    ("overwrite the earlier object", "overwrite"),
)


class SettingsDialog(QDialog):
    """Device, overlap policy and the embedding cache.

    Parameters
    ----------
    parent : QWidget, optional

    Attributes
    ----------
    form : magicgui.widgets.Container
        One widget a setting, by its name.
    changed : Signal(str, object)
        Name and value of a setting, as soon as it is changed.
    clear_cache_requested : Signal
    """

    changed = Signal(str, object)
    clear_cache_requested = Signal()

    def __init__(self, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self.setWindowTitle("ProMISe settings")
        self.form = Container(
            widgets=[
                ComboBox(
                    name="device",
                    label="Device",
                    choices=DEVICES,
                    tooltip="Where the model runs. Automatic takes a GPU if possible.",
                ),
                ComboBox(
                    name="encoder",
                    label="Encoder",
                    choices=ENCODERS,
                    tooltip="Images can be encoded faster, with numbers that differ by "
                    "rounding. Of SAM's own models; how fast is measured once.",
                ),
                ComboBox(
                    name="decoder",
                    label="Decoder",
                    choices=DECODERS,
                    tooltip="The faster one takes half the time on a CPU; its masks "
                    "differ by a pixel of the outline, if at all.",
                ),
                ComboBox(
                    name="overlap",
                    label="Overlap",
                    choices=OVERLAPS,
                    tooltip="What a commit does with pixels of another object.",
                ),
                CheckBox(
                    name="closer",
                    label="look closer at small objects",
                    tooltip="A small object is shown to the model again, enlarged: its "
                    "first mask is replaced by a sharper one.",
                ),
                CheckBox(
                    name="frame",
                    label="show the part that the model saw",
                    tooltip="A thin frame, where an object was looked at in a part of "
                    "the image.",
                ),
                CheckBox(
                    name="enlarged",
                    label="find many objects in enlarged parts, too",
                    tooltip="With an adapter of many objects: also look at enlarged "
                    "parts of the image, and draw outlines from such, those in the "
                    "middle of the view first. Each takes about a second.",
                ),
                CheckBox(
                    name="disk_cache",
                    label="keep embeddings on disk",
                    tooltip="Images opened before are ready instantly, even after a "
                    "restart.",
                ),
                SpinBox(
                    name="cache_quota_mb",
                    label="Limit in MB",
                    min=100,
                    max=1_000_000,
                    step=500,
                    tooltip="Beyond it, embeddings that were not used for the longest "
                    "time are deleted.",
                ),
            ]
        )
        # While "4000" is typed, the cache must not shrink to 400.
        self.form.cache_quota_mb.native.setKeyboardTracking(False)
        self.cache_size = QLabel()
        self.cache_size.setToolTip("Size of the embeddings kept now.")
        self.clear_cache = QPushButton("Clear cache")
        self.clear_cache.setToolTip("Delete all embeddings in memory and on disk.")
        self.clear_cache.setAutoDefault(False)
        rows = QFormLayout()  # the labels in one column, whatever the theme
        for setting in self.form:
            if isinstance(setting, CheckBox):
                rows.addRow("", setting.native)
            else:
                rows.addRow(setting.label, setting.native)
        in_use = QHBoxLayout()
        in_use.addWidget(self.cache_size, 1)
        in_use.addWidget(self.clear_cache)
        buttons = ending(QDialogButtonBox.StandardButton.Close)
        buttons.rejected.connect(self.close)
        layout = QVBoxLayout(self)
        layout.addLayout(rows)
        layout.addLayout(in_use)
        layout.addWidget(buttons)
        for setting in self.form:
            setting.changed.connect(
                lambda value, name=setting.name: self._on_changed(name, value)
            )
        self.clear_cache.clicked.connect(self.clear_cache_requested)

    def show_values(self, values: Mapping[str, Any]) -> None:
        """Show the settings as they are.

        Parameters
        ----------
        values : mapping
            ``device, encoder, decoder, overlap, closer, frame, enlarged,
            disk_cache, cache_quota_mb``.
        """
        device = str(values["device"])
        known = [value for _, value in DEVICES]
        elsewhere = [] if device in known else [(device, device)]
        for setting in self.form:
            with setting.changed.blocked():
                if setting.name == "device":
                    setting.choices = [*DEVICES, *elsewhere]
                setting.value = values[setting.name]
        self.form.cache_quota_mb.enabled = bool(values["disk_cache"])

    def show_cache_size(self, memory: int, disk: int | None) -> None:
        """Show what the cache holds.

        Parameters
        ----------
        memory, disk : int
            Bytes; None where nothing is kept on disk.
        """
        parts = [] if disk is None else [f"{_megabytes(disk)} on disk"]
        self.cache_size.setText(", ".join([*parts, f"{_megabytes(memory)} in memory"]))

    def _on_changed(self, name: str, value: Any) -> None:
        if name == "disk_cache":
            self.form.cache_quota_mb.enabled = value
        self.changed.emit(name, value)


def _megabytes(count: int) -> str:
    megabytes = count / 2**20
    return f"{megabytes:.0f} MB" if megabytes >= 10 else f"{megabytes:.1f} MB"
