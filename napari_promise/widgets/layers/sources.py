"""Snapshots of layers that the worker may read, whatever becomes of them meanwhile.

An image's planes as they are displayed, and labels of any layer looked up in the pixels
of an image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_promise.data.pyramids import lazy, seen_at
from napari_promise.document import BBox, Plane, Tile
from napari_promise.widgets.layers.geometry import image_shape

if TYPE_CHECKING:
    from napari.layers import Image, Labels


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
        levels = list(image.data) if image.multiscale else [image.data]
        self._levels: list[Any] = [lazy(level) for level in levels]
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
        data = self._levels[0]
        return np.asarray(data[tuple(plane)] if plane else data[...])

    def seen(self, tile: Tile) -> tuple[Any, BBox | None]:
        """Return the plane at the level that serves, unread; see `pyramids.seen_at`."""
        return seen_at(self._levels, self.rgb, tile)


class LabelsSource:
    """Labels looked up in the pixels of an image, through the world.

    Parameters
    ----------
    labels : Labels
        Of another shape, scale or place than the image, multiscale too.
    image : Image
    """

    def __init__(self, labels: Labels, image: Image) -> None:
        self.name = str(labels.name)
        self._data: Any = labels.data[0] if labels.multiscale else labels.data
        self._shape = image_shape(image)[-2:]
        # Both transforms are affine: the origin and one step along each axis say all.
        ndim = len(image_shape(image))
        corners = np.vstack([np.zeros(ndim), np.eye(ndim)])
        at = np.array(
            [labels.world_to_data(image.data_to_world(corner)) for corner in corners],
            dtype=float,
        )
        self._origin, self._steps = at[0], at[1:] - at[0]

    def plane_labels(self, plane: Plane) -> np.ndarray:
        """Return the labels of one plane of the image, (H, W); 0 where there are none.

        Parameters
        ----------
        plane : tuple of int
            Leading indices into the image.
        """
        data, (height, width) = self._data, self._shape
        leading = np.asarray(plane, float)
        origin = self._origin + leading @ self._steps[: len(plane)]
        down, right = self._steps[-2], self._steps[-1]
        rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
        unit = np.eye(len(origin))
        if (
            np.allclose(down, unit[-2])
            and np.allclose(right, unit[-1])
            and np.allclose(origin[-2:], 0)
            and tuple(data.shape[-2:]) == (height, width)
        ):
            index = tuple(int(v) for v in np.rint(origin[:-2]))
            inside = all(0 <= i < n for i, n in zip(index, data.shape, strict=False))
            if not inside:
                return np.zeros((height, width), np.uint8)
            return np.asarray(data[index] if index else data[...])
        reached = np.ones((height, width), bool)
        indices = []
        for axis, size in enumerate(data.shape):
            at = origin[axis] + rows * down[axis] + columns * right[axis]
            at = np.rint(at).astype(np.intp)
            reached &= (at >= 0) & (at < size)
            indices.append(np.clip(at, 0, size - 1))
        found = np.asarray(data)[tuple(indices)]
        return np.where(reached, found, 0)
