"""Offers the windows of CT for an image in Hounsfield units."""

from __future__ import annotations

import numpy as np
from napari.layers import Image
from qtpy.QtCore import Qt
from qtpy.QtWidgets import QComboBox, QHBoxLayout, QLabel, QWidget

from napari_promise.data.ct_windows import CT_WINDOWS, looks_like_ct
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.desk import Desk

_OWN = "contrast limits as they are"


class WindowStrip(QWidget):
    """A choice of windows; hidden where the image on display is no CT.

    It shows the window that the layer has, also when its contrast limits are moved
    elsewhere.

    Parameters
    ----------
    desk : Desk
    parent : QWidget, optional
    """

    def __init__(self, desk: Desk, parent: QWidget | None = None) -> None:
        super().__init__(parent)
        self._desk = desk
        self._image: Image | None = None
        self._of_image = Connections()
        said = QLabel("CT window")
        self.choice = QComboBox()
        self.choice.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        self.choice.setToolTip(
            "Which Hounsfield units are shown black and white. The model sees what you "
            "see: choose the window in which the object stands out."
        )
        for name, (low, high) in CT_WINDOWS.items():
            self.choice.addItem(f"{name} ({low:.0f} … {high:.0f})", (low, high))
        self.choice.addItem(_OWN, None)
        self.choice.activated.connect(self._on_chosen)
        said.setBuddy(self.choice)
        layout = QHBoxLayout(self)
        layout.setContentsMargins(0, 0, 0, 0)
        layout.addWidget(said)
        layout.addWidget(self.choice, 1)
        self._connections = Connections()
        self._connections.add(desk.bridge.work_changed, self._show_for_image)
        self._show_for_image()

    def close_down(self) -> None:
        """Hear nothing more."""
        self._connections.release()
        self._of_image.release()

    def _show_for_image(self) -> None:
        work = self._desk.bridge.work
        image = None if work is None else work.image
        if image is self._image and image is not None:
            return
        self._of_image.release()
        self._image = image if image is not None and _is_ct(image) else None
        self.setVisible(self._image is not None)
        if self._image is not None:
            self._of_image.add(self._image.events.contrast_limits, self._show_limits)
            self._show_limits()

    def _show_limits(self, _event: object = None) -> None:
        if self._image is None:
            return
        limits = tuple(float(value) for value in self._image.contrast_limits)
        offered = list(CT_WINDOWS.values())
        own = len(offered)  # behind them all
        self.choice.setCurrentIndex(offered.index(limits) if limits in offered else own)

    def _on_chosen(self, at: int) -> None:
        limits = self.choice.itemData(at)
        if self._image is None:
            return
        if limits is None:  # what is there already
            self._show_limits()
            return
        low, high = self._image.contrast_limits_range
        self._image.contrast_limits_range = (min(low, limits[0]), max(high, limits[1]))
        self._image.contrast_limits = limits


def _is_ct(image: Image) -> bool:
    """Say whether a layer holds Hounsfield units; a lazy one is not read for it."""
    if image.rgb or image.multiscale or not isinstance(image.data, np.ndarray):
        return False
    middle = tuple(n // 2 for n in image.data.shape[:-2])
    return looks_like_ct(image.data[middle])
