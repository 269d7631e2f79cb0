"""Labels of images too large for memory: a pyramid of zarr arrays, written by tile.

The pyramid is there to be looked at: a viewer reads what it shows, at the level that it
shows. It lies in a folder of its own, which goes when nobody uses it any more; what has
to outlive that are objects, whose masks are kept elsewhere.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import weakref
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import BBox, Plane

__all__ = ["LabelPlane", "LabelStore", "STEP", "coarser", "tiles_of"]

#: How many times coarser each level is than the one before, along rows and columns.
STEP = 4
#: Rows and columns of a chunk.
_CHUNK = 512
#: No level is needed below this longest side.
_SMALLEST = 2048


class LabelStore:
    """Labels that start as zeros, uint32.

    Parameters
    ----------
    shape : tuple of int
        (..., rows, columns).
    folder : path, optional
        Where it lies, not there yet; left out, a temporary one that is removed with
        the object.

    Attributes
    ----------
    levels : list of zarr.Array
        The full resolution first; each pixel of a coarser level is the highest label
        of the `STEP` by `STEP` pixels that it stands for, so that no object vanishes.
    """

    def __init__(
        self, shape: tuple[int, ...], folder: str | os.PathLike[str] | None = None
    ) -> None:
        import zarr

        if folder is None:
            temporary = tempfile.mkdtemp(prefix="promise-labels-")
            weakref.finalize(self, shutil.rmtree, temporary, ignore_errors=True)
            folder = Path(temporary) / "labels.zarr"
        group = zarr.open_group(folder, mode="w-", zarr_format=2)
        self.levels: list[Any] = []
        sides = tuple(int(n) for n in shape)
        while not self.levels or max(self.levels[-1].shape[-2:]) > _SMALLEST:
            if self.levels:
                sides = (*sides[:-2], *(-(-n // STEP) for n in sides[-2:]))
            chunks = (*(1 for _ in sides[:-2]), *(min(n, _CHUNK) for n in sides[-2:]))
            made = group.create_array(
                str(len(self.levels)),
                shape=sides,
                chunks=chunks,
                dtype="uint32",
                fill_value=0,
                chunk_key_encoding={"name": "v2", "separator": "/"},
            )
            self.levels.append(made)

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., rows, columns)."""
        return tuple(int(n) for n in self.levels[0].shape)

    @property
    def ndim(self) -> int:
        """Number of axes."""
        return len(self.shape)

    @property
    def dtype(self) -> np.dtype[np.uint32]:
        """Type of the labels."""
        return np.dtype(np.uint32)

    @property
    def nbytes(self) -> int:
        """Bytes of memory that it takes: none to speak of."""
        return 0

    def __getitem__(self, plane: Plane) -> LabelPlane:
        """Return a plane, which is read where it is cut."""
        return LabelPlane(self, tuple(plane))

    def copy(self) -> LabelStore:
        """Return the labels as they are now, in a folder of their own."""
        twin = LabelStore(self.shape)
        mine, other = (Path(s.levels[0].store.root) for s in (self, twin))
        shutil.copytree(mine, other, dirs_exist_ok=True)
        return twin

    def __array__(
        self, dtype: Any = None, copy: bool | None = None
    ) -> NDArray[np.uint32]:
        """Read all of it, for formats that are written as a whole."""
        whole = np.asarray(self.levels[0][...])
        return whole if dtype is None else whole.astype(dtype)

    def write(self, plane: Plane, bbox: BBox, values: NDArray[Any]) -> None:
        """Write labels into a rectangle of one plane, at every level.

        Parameters
        ----------
        plane : tuple of int
        bbox : (r0, c0, r1, c1)
            Half open, inside the plane.
        values : (r1 - r0, c1 - c0) integer
        """
        r0, c0, r1, c1 = bbox
        self.levels[0][(*plane, slice(r0, r1), slice(c0, c1))] = values
        for finer, level in zip(self.levels, self.levels[1:], strict=False):
            r0, c0, r1, c1 = r0 // STEP, c0 // STEP, -(-r1 // STEP), -(-c1 // STEP)
            rows, columns = slice(r0 * STEP, r1 * STEP), slice(c0 * STEP, c1 * STEP)
            level[(*plane, slice(r0, r1), slice(c0, c1))] = coarser(
                np.asarray(finer[(*plane, rows, columns)])
            )


class LabelPlane:
    """One plane of a `LabelStore`, as much of an array as commits need.

    Attributes
    ----------
    shape : (int, int)
    dtype : numpy.dtype
    """

    def __init__(self, store: LabelStore, plane: Plane) -> None:
        self._store, self._plane = store, plane
        self.shape = store.shape[-2:]
        self.dtype = store.dtype

    def __getitem__(self, index: tuple[slice, slice]) -> NDArray[Any]:
        return np.asarray(self._store.levels[0][(*self._plane, *index)])

    def __array__(
        self, dtype: Any = None, copy: bool | None = None
    ) -> NDArray[np.uint32]:
        """Read the whole plane."""
        whole = self[slice(None), slice(None)]
        return whole if dtype is None else whole.astype(dtype)


def coarser(labels: NDArray[Any]) -> NDArray[Any]:
    """Return labels `STEP` times coarser, of each block the highest.

    Parameters
    ----------
    labels : (h, w) integer
        The last blocks may be cut off by the edge of the image.

    Returns
    -------
    (ceil(h / STEP), ceil(w / STEP)) integer

    Examples
    --------
    >>> coarser(np.eye(5, dtype=np.uint8) * 7)
    array([[7, 0],
           [0, 7]], dtype=uint8)
    """
    height, width = labels.shape
    padded = np.pad(labels, ((0, -height % STEP), (0, -width % STEP)))
    rows, columns = (n // STEP for n in padded.shape)
    highest: NDArray[Any] = padded.reshape(rows, STEP, columns, STEP).max(axis=(1, 3))
    return highest


def tiles_of(shape: tuple[int, ...], side: int = 2048) -> Iterator[tuple[Plane, BBox]]:
    """Go through an image by tiles, plane by plane.

    Parameters
    ----------
    shape : tuple of int
        (..., rows, columns).
    side : int
        Of a tile, in pixels; those at the edges are smaller.

    Yields
    ------
    plane : Plane
    bbox : BBox
    """
    rows, columns = shape[-2:]
    for plane in np.ndindex(shape[:-2]):
        for r0 in range(0, rows, side):
            for c0 in range(0, columns, side):
                yield plane, (r0, c0, min(rows, r0 + side), min(columns, c0 + side))
