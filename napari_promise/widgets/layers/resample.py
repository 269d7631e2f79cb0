"""A label of any Labels layer as a mask in the pixels of an image's plane.

Knows two layers and where they lie; not what the mask is for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_promise.document import Plane
from napari_promise.widgets.layers.geometry import image_shape

if TYPE_CHECKING:
    from napari.layers import Image, Labels


def plane_mask(labels: Labels, label: int, image: Image, plane: Plane) -> np.ndarray:
    """Where a plane of the image carries a label, looked up through the world.

    Parameters
    ----------
    labels : Labels
        Any Labels layer: of another shape, scale or place, multiscale too.
    label : int
        The label.
    image : Image
        The image whose pixels count.
    plane : tuple of int
        Leading indices into the image.

    Returns
    -------
    array, shape (H, W), bool
        False where the labels do not reach; nearest neighbour elsewhere.
    """
    data = labels.data[0] if labels.multiscale else labels.data
    height, width = image_shape(image)[-2:]
    corners = np.array([(0, 0), (1, 0), (0, 1)], dtype=float)
    leading = np.empty((3, len(plane)))
    leading[:] = plane
    world = [
        np.asarray(image.data_to_world(position))
        for position in np.concatenate([leading, corners], axis=1)
    ]
    # Both transforms are affine: three corners say where every pixel falls.
    origin, down, right = (np.asarray(labels.world_to_data(p)) for p in world)
    down, right = down - origin, right - origin
    last_two = np.array([*(0,) * (labels.ndim - 2), 1, 0], dtype=float)
    if (
        np.allclose(down, last_two)
        and np.allclose(right, np.roll(last_two, 1))
        and np.allclose(origin[-2:], 0)
        and data.shape[-2:] == (height, width)
    ):
        index = tuple(int(v) for v in np.rint(origin[:-2]))
        inside = all(0 <= i < n for i, n in zip(index, data.shape, strict=False))
        if not inside:
            return np.zeros((height, width), dtype=bool)
        same: np.ndarray = np.asarray(data[index] if index else data) == label
        return same
    rows = np.arange(height)[:, None]
    columns = np.arange(width)[None, :]
    mask = np.ones((height, width), dtype=bool)
    indices = []
    for axis, size in enumerate(data.shape):
        at = origin[axis] + rows * down[axis] + columns * right[axis]
        at = np.rint(at).astype(np.intp)
        mask &= (at >= 0) & (at < size)
        indices.append(np.clip(at, 0, size - 1))
    mask &= np.asarray(data)[tuple(indices)] == label
    return mask
