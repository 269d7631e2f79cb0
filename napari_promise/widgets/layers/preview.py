"""The active object's translucent mask and the outlines of those that wait.

Repainted only where something changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_promise.document import BBox, Plane, Region, union_bbox
from napari_promise.widgets.layers.drafts import LEFT, TAKEN, Outline, painted
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
#: Yellow and grey: what would be accepted, and what would not.
_TAKEN_COLOUR, _LEFT_COLOUR = "#f0e442", "#b0b0b0"
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
        Data of shape ``(1, …, rows, columns)``, uint8, 1 inside the mask; see
        `drafts` for the values of outlines.
    plane : tuple of int
        Plane the layer lies on.
    """

    def __init__(self, image: Image) -> None:
        self.image = image
        self.plane: Plane = (0,) * (image.ndim - 2)
        self._bbox: BBox | None = None
        self._region: Region | None = None
        self._outlines: tuple[Outline, ...] = ()
        shape = (1,) * (image.ndim - 2) + image_shape(image)[-2:]
        self.layer = Labels(
            np.zeros(shape, dtype=np.uint8),
            name="ProMISe preview",
            opacity=_OPACITY,
            colormap=DirectLabelColormap(
                color_dict={
                    None: "transparent",
                    0: "transparent",
                    1: _COLOUR,
                    TAKEN: _TAKEN_COLOUR,
                    LEFT: _LEFT_COLOUR,
                }
            ),
            **placement(image, self.plane),
        )
        self.layer.editable = False

    def mask(self) -> np.ndarray:
        """Return what is shown, (H, W) bool."""
        plane: np.ndarray = self.layer.data[(0,) * len(self.plane)] == 1
        return plane

    def show(
        self,
        plane: Plane,
        region: Region | None,
        outlines: tuple[Outline, ...] = (),
    ) -> None:
        """Show a mask and outlines in place of those before.

        Parameters
        ----------
        plane : tuple of int
            Plane the mask lies on.
        region : Region or None
            The mask; None for an empty one.
        outlines : tuple of Outline
            Of other objects on the plane.
        """
        same = region is self._region and outlines == self._outlines
        if plane == self.plane and same:
            return
        bbox = None if region is None else region.bbox
        if plane != self.plane:
            seen = union_bbox(self._bbox, *(one.region.bbox for one in self._outlines))
            if seen is not None:
                self.layer.data[self._slices(seen)] = 0
            self._bbox, self._outlines = None, ()
            self.plane = plane
            place(self.layer, self.image, plane)
            self.layer.refresh()
        differing = set(self._outlines) ^ set(outlines)
        dirty = union_bbox(self._bbox, bbox, *(one.region.bbox for one in differing))
        self._bbox, self._region, self._outlines = bbox, region, outlines
        if dirty is None:
            return
        values = painted(outlines, dirty)
        if bbox is not None and region is not None:
            values[
                bbox[0] - dirty[0] : bbox[2] - dirty[0],
                bbox[1] - dirty[1] : bbox[3] - dirty[1],
            ][region.crop] = 1
        write_slices(self.layer, self._slices(dirty), values)

    def move_along(self) -> None:
        """Follow the image after its transform changed."""
        place(self.layer, self.image, self.plane)

    def _slices(self, bbox: BBox) -> tuple[slice, ...]:
        r0, c0, r1, c1 = bbox
        return (slice(0, 1),) * len(self.plane) + (slice(r0, r1), slice(c0, c1))
