"""The translucent mask of the active object, repainted only where it changed."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_promise.document import BBox, Plane, Region, union_bbox
from napari_promise.widgets.layers.geometry import (
    image_shape,
    place,
    placement,
)
from napari_promise.widgets.layers.repaint import write_slices

if TYPE_CHECKING:
    from napari.layers import Image

#: Okabe and Ito's sky blue, which neither polarity wears.
_COLOUR = "#56b4e9"
_OPACITY = 0.5


class MaskPreview:
    """A Labels layer of a single plane that lies where the active object is.

    Parameters
    ----------
    image : Image
        The layer the mask belongs over.

    Attributes
    ----------
    layer : Labels
        Data of shape ``(1, …, rows, columns)``, uint8, 1 inside the mask.
    plane : tuple of int
        Plane the layer lies on.
    """

    def __init__(self, image: Image) -> None:
        self.image = image
        self.plane: Plane = (0,) * (image.ndim - 2)
        self._bbox: BBox | None = None
        self._region: Region | None = None
        shape = (1,) * (image.ndim - 2) + image_shape(image)[-2:]
        self.layer = Labels(
            np.zeros(shape, dtype=np.uint8),
            name="ProMISe preview",
            opacity=_OPACITY,
            colormap=DirectLabelColormap(
                color_dict={None: "transparent", 0: "transparent", 1: _COLOUR}
            ),
            **placement(image, self.plane),
        )
        self.layer.editable = False

    def mask(self) -> np.ndarray:
        """Return what is shown, (H, W) bool."""
        plane: np.ndarray = self.layer.data[(0,) * len(self.plane)] > 0
        return plane

    def show(self, plane: Plane, region: Region | None) -> None:
        """Show a mask in place of the one before.

        Parameters
        ----------
        plane : tuple of int
            Plane the mask lies on.
        region : Region or None
            The mask; None for an empty one.
        """
        if plane == self.plane and region is self._region:
            return
        bbox = None if region is None else region.bbox
        if plane != self.plane:
            if self._bbox is not None:
                self.layer.data[self._slices(self._bbox)] = 0
                self._bbox = None
            self.plane = plane
            place(self.layer, self.image, plane)
            self.layer.refresh()
        dirty = union_bbox(self._bbox, bbox)
        self._bbox, self._region = bbox, region
        if dirty is None:
            return
        values = np.zeros((dirty[2] - dirty[0], dirty[3] - dirty[1]), np.uint8)
        if bbox is not None and region is not None:
            values[
                bbox[0] - dirty[0] : bbox[2] - dirty[0],
                bbox[1] - dirty[1] : bbox[3] - dirty[1],
            ] = region.crop
        write_slices(self.layer, self._slices(dirty), values)

    def move_along(self) -> None:
        """Follow the image after its transform changed."""
        place(self.layer, self.image, self.plane)

    def _slices(self, bbox: BBox) -> tuple[slice, ...]:
        r0, c0, r1, c1 = bbox
        return (slice(0, 1),) * len(self.plane) + (slice(r0, r1), slice(c0, c1))
