"""Ids of masks that went through lossy compression, JPEG above all.

No number survives it: an area of 128 becomes 125 to 131, with ripples along its edge.
What survives are areas of about one colour. They are found, and each is a class.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

__all__ = ["ids_of_lossy"]

#: Within a square of 3 x 3 an area differs by no more than this.
_RIPPLE = 12
#: What is darker than this in every channel is black.
_DARK = 48
#: Of the colours no further off than the second, most are as near as the first.
_NEAR, _AROUND, _MOST = 8, 24, 0.7
#: An area has so many pixels at least, and such a share of all.
_FEWEST, _SHARE = 9, 2e-4
#: More classes than this are a photograph.
_MANY = 32

CUT = "grey values, cut above 127"


def ids_of_lossy(
    array: npt.NDArray[np.uint8], path: Path
) -> tuple[npt.NDArray[np.uint8], str]:
    """Give the areas of about one colour numbers; black is the background.

    Parameters
    ----------
    array : (..., row, column, channel) uint8
    path : Path
        For errors.

    Returns
    -------
    labels : (..., row, column) uint8
        From 1, the darkest first. Where there is but one colour beside black, its
        edge lies half-way to black.
    rule : str

    Raises
    ------
    ValueError
        If no background can be told, or what is there is too dark to have survived.
    """
    from scipy import ndimage

    flat = _is_flat(array)
    main = _main_colours(array[flat], array[..., 0].size)
    brightest = array.max(axis=-1)
    if not len(main) or len(main) > _MANY:
        return (brightest > 127).astype(np.uint8), CUT
    dark = main.max(-1) < _DARK
    bright = main[~dark]
    if not len(bright):
        if brightest.max() >= _DARK:  # small things without a flat pixel
            return (brightest > 127).astype(np.uint8), CUT
        if (brightest[flat] > 0).sum() >= _FEWEST:
            raise ValueError(
                f"{path} holds values up to {brightest.max()}, which compression does "
                "not keep apart: save ids as PNG or TIFF, without JPEG."
            )
        return np.zeros(brightest.shape, np.uint8), CUT
    if not dark.any() and len(bright) > 1:
        often = tuple(int(value) for value in bright[-1])
        raise ValueError(
            f"{path} has no black area, so it cannot be told which colour is the "
            f"background ({often} perhaps): save it with a black background."
        )
    bright = bright[np.lexsort(bright.T[::-1])]
    bright = bright[np.argsort(bright.sum(-1), kind="stable")]
    colours = np.concatenate([np.zeros((1, array.shape[-1])), bright])
    nearest = _nearest(array, colours)
    if len(bright) == 1:
        return nearest, CUT if array.shape[-1] == 1 else "one colour, cut half-way"
    # Between white and black lies grey: edges go to the area that is next to them.
    for plane in np.ndindex(array.shape[:-3]):
        sure = flat[plane] & (_distance(array[plane], colours, nearest[plane]) < _DARK)
        if sure.any():
            at = ndimage.distance_transform_edt(
                ~sure, return_distances=False, return_indices=True
            )
            nearest[plane] = nearest[plane][tuple(at)]
    return nearest, "areas of a compressed picture, numbered from 1"


def _is_flat(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    from scipy import ndimage

    size = (*[1] * (array.ndim - 3), 3, 3, 1)
    high = ndimage.maximum_filter(array, size).astype(np.int16)
    low = ndimage.minimum_filter(array, size)
    return np.asarray(((high - low) <= _RIPPLE).all(-1))


def _main_colours(
    colours: npt.NDArray[np.uint8], pixels: int
) -> npt.NDArray[np.float64]:
    """Return the colours, (n, channel), that form areas, the most frequent last."""
    packed = np.zeros(len(colours), np.uint32)
    for channel in colours.T:
        packed = packed << 8 | channel
    found, counts = np.unique(packed, return_counts=True)
    shifts = 8 * np.arange(colours.shape[-1])[::-1]
    values = (found[:, None] >> shifts & 255).astype(np.int16)
    left = counts.astype(np.int64)
    main: list[npt.NDArray[np.float64]] = []
    while len(values) and len(main) <= _MANY:
        centre = values[left.argmax()]
        if left.max() == 0:
            break
        off = np.abs(values - centre).max(-1)
        near, around = off <= _NEAR, off <= _AROUND
        count = int(left[around].sum())
        enough = count >= max(_FEWEST, _SHARE * pixels)
        if enough and left[near].sum() >= _MOST * count:
            weights = left[near].astype(np.float64)
            if weights.sum():
                main.append(np.average(values[near], axis=0, weights=weights))
        left[around] = 0
    return np.array(main[::-1], np.float64).reshape(len(main), colours.shape[-1])


def _nearest(
    array: npt.NDArray[np.uint8], colours: npt.NDArray[np.float64]
) -> npt.NDArray[np.uint8]:
    found = np.zeros(array.shape[:-1], np.uint8)
    least = np.full(array.shape[:-1], np.inf, np.float32)
    for number, colour in enumerate(colours):
        apart = ((array - colour.astype(np.float32)) ** 2).sum(-1)
        nearer = apart < least
        found[nearer], least[nearer] = number, apart[nearer]
    return found


def _distance(
    plane: npt.NDArray[np.uint8],
    colours: npt.NDArray[np.float64],
    ids: npt.NDArray[np.uint8],
) -> npt.NDArray[np.float32]:
    off = np.abs(plane.astype(np.float32) - colours[ids].astype(np.float32))
    return np.asarray(off.max(-1))
