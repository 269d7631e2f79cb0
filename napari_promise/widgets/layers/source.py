"""What the session needs to know of an Image layer: its planes, as they are displayed.

A snapshot that the worker reads; it knows no embedding and no viewer.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_promise.document import Plane
from napari_promise.widgets.layers.geometry import image_shape

if TYPE_CHECKING:
    from napari.layers import Image


class LayerSource:
    """Pixels of an image layer with the contrast limits it had when this was made.

    Parameters
    ----------
    image : Image
        Grey, RGB or RGBA layer of any dtype, multiscale or not, numpy or lazy.

    Attributes
    ----------
    name : str
        Name of the layer at the time.
    rgb : bool
        Whether the last axis of `plane_pixels` is colour.
    contrast_limits : tuple of float or None
        Display limits of a grey image; colour is taken as it is.
    shape : tuple of int
        ``(…, rows, columns)`` at full resolution.
    """

    def __init__(self, image: Image) -> None:
        self._data: Any = image.data[0] if image.multiscale else image.data
        self.name: str = str(image.name)
        self.rgb: bool = bool(image.rgb)
        self.contrast_limits: tuple[float, float] | None = None
        if not self.rgb:
            low, high = image.contrast_limits
            self.contrast_limits = (float(low), float(high))
        self.shape: tuple[int, ...] = image_shape(image)

    def plane_pixels(self, plane: Plane) -> np.ndarray:
        """Read one plane at full resolution.

        Parameters
        ----------
        plane : tuple of int
            Leading indices; ``()`` for a 2-D image.

        Returns
        -------
        array, shape (H, W) or (H, W, 3 | 4)
            The plane in the image's own dtype; computed here when the data is lazy.
        """
        return np.asarray(self._data[tuple(plane)] if plane else self._data[...])
