"""Offers the channels of a file that napari laid out as planes to page through.

napari's own reader makes one stack of all that is in a TIFF. Whose axes say that they
are channels is asked which one to work on, or all of them in colours.
"""

from __future__ import annotations

from pathlib import Path

from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QGridLayout, QLabel, QPushButton, QWidget

from napari_promise.data.channels import Channels, channels_of
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.desk import Desk


class ChannelStrip(QWidget):
    """A choice of channels; hidden where the image on display has none as planes.

    Parameters
    ----------
    desk : Desk
    parent : QWidget, optional
    """

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self._channels: Channels | None = None
        self.said = QLabel()
        self.said.setWordWrap(True)
        self.choice = QComboBox()
        self.choice.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.choice.setToolTip(
            "Which channel is worked on. <i>All in colours</i> blends them, as the "
            "folder and the command line do."
        )
        self.open = QPushButton("Work on it")
        self.open.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.open.setToolTip("Adds it as an image of its own; this one is hidden.")
        self.open.clicked.connect(self._on_open)
        layout = QGridLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(self.said, 0, 0, 1, 2)
        layout.addWidget(self.choice, 1, 0)
        layout.addWidget(self.open, 1, 1)
        layout.setColumnStretch(0, 1)
        self._connections = Connections()
        self._connections.add(desk.bridge.work_changed, self._show_for_image)
        self._show_for_image()

    def close_down(self) -> None:
        """Hear nothing more."""
        self._connections.release()

    def _show_for_image(self) -> None:
        work = self._desk.bridge.work
        self._channels = None if work is None else _channels(work.image)
        self.setVisible(self._channels is not None)
        if self._channels is not None:
            names = self._channels.names
            self.said.setText(
                f"The file says that {len(names)} of these planes are channels of one "
                "picture: choose what to work on."
            )
            self.choice.clear()
            self.choice.addItems(["All in colours", *names])

    def _on_open(self) -> None:
        work, channels = self._desk.bridge.work, self._channels
        if work is None or channels is None:
            return
        image, chosen = work.image, self.choice.currentIndex() - 1
        try:
            opened = channels.opened(
                image.data, image.name, None if chosen < 0 else chosen
            )
        except (OSError, ValueError, MemoryError) as error:
            self._desk.bridge.noticed.emit(str(error))
            return
        layer = Image(opened.array, **opened.layer_options)
        image.visible = False
        self._desk.viewer.layers.append(layer)
        self._desk.bridge.open(layer)


def _channels(image: Image) -> Channels | None:
    path = getattr(image.source, "path", None)
    if image.rgb or image.multiscale or image.ndim < 3 or path is None:
        return None
    return channels_of(Path(path), tuple(int(n) for n in image.data.shape))
