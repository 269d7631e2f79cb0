"""Images of a viewer with the Labels that lie over them, as training reads them.

A snapshot of layers and of where they lie: the worker reads it, whatever becomes of the
layers meanwhile. Knows no training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

from napari_promise.document import Plane
from napari_promise.widgets.layers.geometry import image_shape

if TYPE_CHECKING:
    from napari.layers import Image, Labels


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
