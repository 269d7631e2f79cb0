"""NumPy arrays in .npy files, never pickles."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_promise.data.formats.raw import Raw, has_colours, no_notes, no_place

SUFFIXES = (".npy",)
place = no_place
notes = no_notes


def read(path: Path) -> Raw:
    """Read an array."""
    array = np.asarray(np.load(path, allow_pickle=False))
    return Raw(array, has_colours(array.shape))


def shape(path: Path) -> tuple[int, ...]:
    """Return (..., rows, columns)."""
    lengths = tuple(np.load(path, mmap_mode="r", allow_pickle=False).shape)
    return lengths[:-1] if has_colours(lengths) else lengths
