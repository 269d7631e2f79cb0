"""A layer that is there while somebody draws around objects, to choose them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Shapes
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_promise.widgets.layers.geometry import placement
from napari_promise.widgets.layers.napari_internals import is_drawing

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

__all__ = ["Enclosing"]

_EDGE = "#56b4e9"


class Enclosing:
    """Draws one outline, tells it, and is gone.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    drawn : Signal(object)
        The outline, (N, 2) float64 as rows and columns of the image.
    ended : Signal
        It is gone, whether something was drawn or not.
    """

    drawn = Signal(object)
    ended = Signal()

    def __init__(self, viewer: napari.Viewer) -> None:
        self._viewer = viewer
        self.layer: Shapes | None = None

    @property
    def is_open(self) -> bool:
        """Whether the next thing drawn chooses objects."""
        return self.layer is not None

    def begin(self, image: Image, *, box: bool) -> None:
        """Have an outline drawn next.

        Parameters
        ----------
        image : Image
            Whose pixels the outline is in.
        box : bool
            A rectangle; else a free outline.
        """
        self.end()
        layer = self.layer = Shapes(
            ndim=image.ndim,
            name="Choose objects",
            edge_color=_EDGE,
            face_color="transparent",
            edge_width=1,
            **placement(image),
        )
        self._viewer.layers.append(layer)
        self._viewer.layers.selection.active = layer
        layer.mode = "add_rectangle" if box else "add_polygon_lasso"
        for emitter in (layer.events.data, layer.events.set_data):
            emitter.connect(self._on_drawn)

    def end(self) -> None:
        """Take the layer out, if it is there."""
        layer, self.layer = self.layer, None
        if layer is None:
            return
        for emitter in (layer.events.data, layer.events.set_data):
            emitter.disconnect(self._on_drawn)
        if layer in self._viewer.layers:
            self._viewer.layers.remove(layer)
        self.ended.emit()

    def _on_drawn(self, _event: Any) -> None:
        # A free outline adds its first corner, then many; it is whole when it is not
        # being drawn any more, and napari must be done with it before it goes.
        QTimer.singleShot(0, self._finish)

    def _finish(self) -> None:
        layer = self.layer
        if layer is None or not layer.data or is_drawing(layer):
            return
        outline = np.array(layer.data[-1], dtype=float)[:, -2:]
        self.end()
        if len(outline) > 2:
            self.drawn.emit(outline)
