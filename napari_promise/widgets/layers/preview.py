"""The active object's translucent mask and the outlines of those that wait.

Repainted only where something changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import DirectLabelColormap

from napari_promise.document import BBox, Plane, Region, union_bbox
from napari_promise.widgets.layers.drafts import (
    CHOSEN,
    LEFT,
    TAKEN,
    Outline,
    painted,
)
from napari_promise.widgets.layers.geometry import (
    image_shape,
    is_large,
    place,
    placement,
)
from napari_promise.widgets.layers.repaint import write_slices

if TYPE_CHECKING:
    from napari.layers import Image

#: Okabe and Ito's sky blue, which neither polarity wears.
_COLOUR = "#56b4e9"
#: Yellow and grey: what would be accepted, and what would not; white: what was chosen.
_TAKEN_COLOUR, _LEFT_COLOUR, _CHOSEN_COLOUR = "#f0e442", "#b0b0b0", "#ffffff"
_OPACITY = 0.5
#: Of a mask in a large plane no more rows or columns are shown; it is thinned for that.
_MOST = 4096


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
        self._moves = is_large(image)
        self._corner, self._step = (0, 0), 1
        size = (1, 1) if self._moves else image_shape(image)[-2:]
        shape = (1,) * (image.ndim - 2) + size
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
                    CHOSEN: _CHOSEN_COLOUR,
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
        if self._moves:
            self._show_moved(plane, region)
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
        place(self.layer, self.image, self.plane, self._corner, self._step)

    def _show_moved(self, plane: Plane, region: Region | None) -> None:
        """Show a mask as a layer of its own size, where it lies."""
        self.plane, self._region = plane, region
        if region is None:
            crop, self._corner, self._step = np.zeros((1, 1), bool), (0, 0), 1
        else:
            self._step = -(-max(region.crop.shape) // _MOST)
            crop = region.crop[:: self._step, :: self._step]
            self._corner = region.bbox[:2]
        leading = (1,) * len(plane)
        self.layer.data = crop.astype(np.uint8).reshape(*leading, *crop.shape)
        self.move_along()

    def _slices(self, bbox: BBox) -> tuple[slice, ...]:
        r0, c0, r1, c1 = bbox
        return (slice(0, 1),) * len(self.plane) + (slice(r0, r1), slice(c0, c1))
