"""The Labels layer that committed objects are written to, and a person paints in.

Knows pixels and strokes; not objects, prompts or undo.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap
from psygnal import Signal

from napari_promise.document import BBox, Plane
from napari_promise.widgets.layers.geometry import image_shape, placement
from napari_promise.widgets.layers.guard import Guard
from napari_promise.widgets.layers.strokes import strokes

if TYPE_CHECKING:
    from napari.layers import Image

#: Objects take turns in these: apart from each other, from tissue and from the preview.
_COLOURS = (
    "#f0e442",
    "#cc79a7",
    "#0072b2",
    "#e69f00",
    "#8fd14f",
    "#9467bd",
    "#17becf",
    "#ff6f61",
    "#b8b8ff",
    "#2ca02c",
    "#ffb6c1",
    "#c49c94",
)


class ResultLabels:
    """One Labels layer over the whole image, written through ``data_setitem``.

    Parameters
    ----------
    image : Image
        The layer the labels belong over.
    data : array, shape of the image, optional
        Labels to begin with, uint16; zeros where none are given.

    Attributes
    ----------
    layer : Labels
        The layer; adding it to a viewer and taking it out is the caller's business.
    painted : Signal
        A list of `strokes.Stroke`, for everything somebody painted.
    """

    painted = Signal(list)

    def __init__(self, image: Image, data: np.ndarray | None = None) -> None:
        if data is None:
            data = np.zeros(image_shape(image), dtype=np.uint16)
        self.layer = Labels(
            data,
            name="ProMISe labels",
            opacity=0.55,
            colormap=CyclicLabelColormap(colors=["transparent", *_COLOURS]),
            **placement(image),
        )
        self._writing = Guard()
        self.connect()

    def connect(self) -> None:
        """Watch the layer."""
        self.layer.events.paint.connect(self._on_paint)

    def disconnect(self) -> None:
        """Stop watching the layer; it stays as it is."""
        self.layer.events.paint.disconnect(self._on_paint)

    def plane(self, plane: Plane) -> np.ndarray:
        """Return the labels of one plane, (H, W), as a view."""
        view: np.ndarray = self.layer.data[tuple(plane)] if plane else self.layer.data
        return view

    def write(self, plane: Plane, bbox: BBox, values: np.ndarray) -> None:
        """Write labels into a rectangle of one plane.

        Parameters
        ----------
        plane : tuple of int
            Leading indices.
        bbox : tuple of int
            ``(r0, c0, r1, c1)``, half open.
        values : array, shape (r1 - r0, c1 - c0)
            Labels; only the pixels that differ are touched.
        """
        r0, c0, r1, c1 = bbox
        now = self.plane(plane)[r0:r1, c0:c1]
        rows, columns = np.nonzero(now != values)
        if not len(rows):
            return
        indices = (
            *(np.full(len(rows), index, dtype=np.intp) for index in plane),
            rows + r0,
            columns + c0,
        )
        with self._writing:
            self.layer.data_setitem(indices, np.asarray(values)[rows, columns])

    def _on_paint(self, event: Any) -> None:
        if not self._writing:
            found = strokes(event.value, np.asarray(self.layer.data))
            if found:
                self.painted.emit(found)
