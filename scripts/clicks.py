"""Where a simulated person clicks, boxes and corrects; on masks alone, no model.

All points are (row, column) in pixels of the mask they were computed on.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

Point = tuple[int, int]


def deepest(region: np.ndarray) -> Point:
    """Pixel of `region` that lies farthest from its border.

    Parameters
    ----------
    region : numpy.ndarray
        (H, W) bool, not empty.

    Returns
    -------
    (row, column)
    """
    rows, columns = np.nonzero(region)
    r0, r1, c0, c1 = rows.min(), rows.max() + 1, columns.min(), columns.max() + 1
    crop = np.pad(region[r0:r1, c0:c1], 1)
    depth = ndimage.distance_transform_edt(crop)
    row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return int(row + r0 - 1), int(column + c0 - 1)


def largest(region: np.ndarray) -> np.ndarray:
    """Largest connected part of `region`, (H, W) bool; empty stays empty."""
    labels, count = ndimage.label(region)
    if count < 2:
        return region
    return labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))


def correction(predicted: np.ndarray, truth: np.ndarray) -> tuple[Point, int] | None:
    """Next corrective click: the centre of the largest error region.

    Parameters
    ----------
    predicted, truth : numpy.ndarray
        (H, W) bool.

    Returns
    -------
    ((row, column), label) or None
        Label 1 where the object was missed, 0 where background was taken; None when
        the masks agree.
    """
    region = error_region(predicted, truth)
    if region is None:
        return None
    point = deepest(region)
    return point, int(truth[point])


def error_region(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray | None:
    """Largest connected region of false negatives or of false positives, or None."""
    missed, taken = largest(truth & ~predicted), largest(predicted & ~truth)
    if not missed.any() and not taken.any():
        return None
    return missed if missed.sum() >= taken.sum() else taken


def tight_box(mask: np.ndarray) -> tuple[int, int, int, int]:
    """Extent of a mask that is not empty as (r0, c0, r1, c1), ends exclusive."""
    rows, columns = np.nonzero(mask)
    return (
        int(rows.min()),
        int(columns.min()),
        int(rows.max()) + 1,
        int(columns.max()) + 1,
    )


def dice(predicted: np.ndarray, truth: np.ndarray) -> float:
    """Dice coefficient of two bool masks; 1 when both are empty."""
    total = int(predicted.sum()) + int(truth.sum())
    return 1.0 if total == 0 else 2 * int((predicted & truth).sum()) / total
