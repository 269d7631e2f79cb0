"""Read a mask or label file as integer ids, and decide what its numbers mean."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_promise.data import formats

__all__ = ["read_mask"]

PathLike = str | os.PathLike[str]


def read_mask(path: PathLike) -> npt.NDArray[Any]:
    """Read a mask or label file as integer ids, 0 the background.

    Parameters
    ----------
    path : path
        What `images.read_image` reads.

    Returns
    -------
    array of integers, (row, column) or (plane, ..., row, column)
        8- and 16-bit ids as they are; a palette image's indices; a colour image's
        distinct colours numbered from 1 (black is background), a grey one saved as
        RGB its grey values; whole numbers in float as they are, fractions in 0..1 cut
        at one half. JPEG, and 8-bit masks that are mostly 0 and 255 with soft edges
        between, are cut above 127, so that an edge is no crowd of objects.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read as ids; one line naming the file.
    """
    path = Path(path)
    raw = formats.read(path, palette=True)
    array, lossy = raw.array, path.suffix.lower() in (".jpg", ".jpeg")
    if raw.rgb:
        array = _ids_of_colours(array[..., :3], lossy)
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"{path} holds no mask: its shape is {array.shape}.")
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        return _ids_of_floats(array, path)
    if array.dtype.kind not in "ui":
        raise ValueError(f"{path} holds no mask: its type is {array.dtype}.")
    if array.dtype == np.uint8 and (lossy or _has_soft_edges(array)):
        return (array > 127).astype(np.uint8)
    return array


def _ids_of_colours(array: npt.NDArray[Any], lossy: bool) -> npt.NDArray[Any]:
    if (array[..., :1] == array).all():
        return array[..., 0]
    if lossy:  # no two pixels have the same colour there
        return np.asarray(array.max(axis=-1))
    flat = array.reshape(-1, 3)
    colours, ids = np.unique(flat, axis=0, return_inverse=True)
    ids = ids.reshape(array.shape[:-1]).astype(np.int32)
    # unique sorts, so black comes first where there is any.
    return ids if not colours[0].any() else ids + 1


def _ids_of_floats(array: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    array = np.nan_to_num(array, nan=0.0, posinf=np.nan, neginf=np.nan)
    if np.isfinite(array).all():
        if np.array_equal(array, np.rint(array)) and np.abs(array).max() < 2**53:
            return array.astype(np.int64)
        if array.min() >= 0 and array.max() <= 1:
            return (array > 0.5).astype(np.uint8)
    raise ValueError(
        f"{path} holds no mask: its numbers are neither whole nor within 0..1, save "
        "it as integers."
    )


def _has_soft_edges(array: npt.NDArray[np.uint8]) -> bool:
    counts = np.bincount(array.reshape(-1), minlength=256)
    return bool(counts[1:255].any() and 2 * counts[255] >= counts[1:].sum())
