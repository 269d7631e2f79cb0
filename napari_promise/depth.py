"""The place of a mask that is farthest from its border, where a click means it most."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from scipy import ndimage

__all__ = ["deepest"]


def deepest(mask: ArrayLike) -> tuple[int, int]:
    """Return the pixel of a mask that lies farthest from its border.

    Parameters
    ----------
    mask : array_like, shape (H, W), bool
        Not empty. The image's edge is a border, too.

    Returns
    -------
    (row, column)
        Of several, the first from the top, then from the left.
    """
    whole = np.asarray(mask, bool)
    rows, columns = np.flatnonzero(whole.any(1)), np.flatnonzero(whole.any(0))
    r0, c0 = int(rows[0]), int(columns[0])
    crop = np.pad(whole[r0 : rows[-1] + 1, c0 : columns[-1] + 1], 1)
    depth = ndimage.distance_transform_edt(crop)
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return r0 + int(row) - 1, c0 + int(column) - 1
