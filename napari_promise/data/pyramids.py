"""Images of any size: read lazily, a part at a time, at the level that serves.

`open_pyramid` opens OME-Zarr folders and tiled or pyramidal TIFF files without reading
their pixels; `seen_at` says which part of which level a model needs for a tile. How the
levels are stored is known to `data.formats`.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.data import formats
from napari_promise.data.formats import ome_zarr, tiff
from napari_promise.data.naming import stem_of
from napari_promise.data.place import Place
from napari_promise.data.planes import robust_limits, to_rgb8
from napari_promise.document import BBox, Plane, Tile

__all__ = ["Pyramid", "SEEN", "lazy", "level_for", "open_pyramid", "seen_at"]

#: The longest side of what any of the models sees, in pixels. One number for all of
#: them, so that the same tile of an image has the same pixels whatever model sees it.
SEEN = 1024

#: Contrast is found on a level with no more values than this, where there is one.
_LOOKED_THROUGH = 2**24


@dataclass(frozen=True, eq=False)
class Pyramid:
    """An image whose pixels stay on disk; a source of planes for the session as it is.

    Attributes
    ----------
    levels : tuple of lazy arrays, (..., row, column) or (..., row, column, 3 | 4)
        The full resolution first, then coarser ones.
    rgb : bool
        Whether the last axis holds the channels.
    name : str
        The file's name without its suffix.
    place : Place
        Where it lies.
    limits : (float, float) or None
        Where the file itself says what is black and white.
    notes : tuple of str
        What somebody who opens it should know, a sentence each.
    """

    levels: tuple[Any, ...]
    rgb: bool
    name: str
    place: Place = Place()
    limits: tuple[float, float] | None = None
    notes: tuple[str, ...] = ()

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its labels, (..., row, column)."""
        shape = tuple(int(n) for n in self.levels[0].shape)
        return shape[:-1] if self.rgb else shape

    @property
    def layer_options(self) -> dict[str, Any]:
        """Keyword arguments of a napari Image layer of `levels`."""
        options: dict[str, Any] = {
            "name": self.name,
            "rgb": self.rgb or None,
            "multiscale": True,
            **self.place.layer_options(len(self.shape)),
        }
        if self.contrast_limits is not None:
            options["contrast_limits"] = self.contrast_limits
        return options

    @cached_property
    def contrast_limits(self) -> tuple[float, float] | None:
        """The values of a grey image shown black and white; None for colours.

        Found on the finest level that is no trouble to look through.
        """
        if self.rgb:
            return None
        if self.limits is not None:
            return self.limits
        kind = np.dtype(self.levels[0].dtype)
        if kind == np.uint8:
            return 0.0, 255.0
        if kind.kind == "b":
            return 0.0, 1.0
        small = [x for x in self.levels if np.prod(x.shape) <= _LOOKED_THROUGH]
        low, high = robust_limits((small or self.levels[-1:])[0]) or (0.0, 1.0)
        return (low, high) if low < high else (low, low + 1.0)

    def plane_pixels(self, plane: Plane) -> NDArray[Any]:
        """Read one plane at full resolution, (row, column) or with channels."""
        return np.asarray(self.levels[0][plane] if plane else self.levels[0])

    def seen(self, tile: Tile) -> tuple[Any, BBox | None]:
        """See `seen_at`."""
        return seen_at(self.levels, self.rgb, tile)

    def rgb8(
        self, tile: Tile, limits: tuple[float, float] | None = None
    ) -> NDArray[np.uint8]:
        """Return a tile as SAM sees it, (row, column, 3), at the level that serves.

        Parameters
        ----------
        tile : Tile
        limits : (float, float), optional
            Instead of `contrast_limits`.
        """
        plane, bbox = self.seen(tile)
        return to_rgb8(plane, limits or self.contrast_limits, self.rgb, bbox)


def level_for(
    region: tuple[int, int], shapes: Sequence[tuple[int, int]], size: int = SEEN
) -> int:
    """Choose the level of a pyramid to read a region from.

    Parameters
    ----------
    region : (int, int)
        Rows and columns of the region, in pixels of the full resolution.
    shapes : sequence of (int, int)
        Rows and columns of each level, the full resolution first.
    size : int
        Pixels of the longest side that a model sees.

    Returns
    -------
    int
        The coarsest level at which the region still has as many pixels as the model
        sees: reading more would only be thrown away. 0 where it has fewer everywhere.

    Examples
    --------
    >>> shapes = [(8192, 8192), (4096, 4096), (2048, 2048), (1024, 1024)]
    >>> level_for((8192, 8192), shapes, 1024), level_for((2000, 900), shapes, 1024)
    (3, 0)
    """
    serving = 0
    for level, shape in enumerate(shapes):
        (rows, columns), (height, width) = region, shapes[0]
        if max(rows * shape[0] / height, columns * shape[1] / width) >= size:
            serving = level
    return serving


def seen_at(levels: Sequence[Any], rgb: bool, tile: Tile) -> tuple[Any, BBox | None]:
    """Say where the pixels of a tile are to be read.

    Parameters
    ----------
    levels : sequence of arrays, (..., row, column) or (..., row, column, 3 | 4)
        Lazy or not, the full resolution first; a single one is a pyramid, too.
    rgb : bool
        Whether the last axis holds the channels.
    tile : Tile
        In pixels of the full resolution.

    Returns
    -------
    plane : array, (h, w) or (h, w, 3 | 4)
        The tile's plane at the level that serves, not read yet.
    bbox : BBox or None
        The tile in that plane; None for all of it.
    """
    shapes = [_plane_shape(level, rgb) for level in levels]
    rows, columns = shapes[0]
    r0, c0, r1, c1 = tile.bbox or (0, 0, rows, columns)
    level = level_for((r1 - r0, c1 - c0), shapes)
    data, (height, width) = lazy(levels[level]), shapes[level]
    # Some pyramids are coarser along their slices, too.
    index = tuple(
        i * int(data.shape[axis]) // int(levels[0].shape[axis])
        for axis, i in enumerate(tile.plane)
    )
    plane = data[index] if index else data
    if tile.bbox is None:
        return plane, None
    down, across = height / rows, width / columns
    top = min(int(r0 * down), height - 1)
    left = min(int(c0 * across), width - 1)
    bottom = min(height, max(top + 1, int(np.ceil(r1 * down))))
    right = min(width, max(left + 1, int(np.ceil(c1 * across))))
    return plane, (top, left, bottom, right)


def lazy(data: Any) -> Any:
    """Return an array that is read only where it is asked for, however it is indexed.

    A zarr array reads what an index picks at once; as a dask array it waits.
    """
    if hasattr(data, "dask") or not hasattr(data, "chunks"):
        return data
    import dask.array

    return dask.array.from_array(data, chunks=data.chunks)


def open_pyramid(path: str | os.PathLike[str]) -> Pyramid | None:
    """Open an image of any size without reading its pixels.

    Parameters
    ----------
    path : path
        An OME-Zarr folder, or a TIFF file.

    Returns
    -------
    Pyramid or None
        None for what is better read as a whole: other files, and TIFF without coarser
        levels that is small, or in colours that have to be converted.

    Raises
    ------
    FileNotFoundError, ValueError
        If it cannot be read; one line naming it.
    """
    path = Path(path)
    if path.is_dir():
        if not ome_zarr.is_ome_zarr(path):
            return None
        raw = formats.told(path, lambda: ome_zarr.levels(path), folder=True)
    elif path.name.lower().endswith((*tiff.SUFFIXES, ".svs", ".ndpi")):
        raw = formats.told(path, lambda: tiff.levels(path))
    else:
        return None
    if raw is None:
        return None
    levels, about = raw
    name = stem_of(path).removesuffix(".ome")
    return Pyramid(levels, about.rgb, name, about.place, about.limits, about.notes)


def _plane_shape(level: Any, rgb: bool) -> tuple[int, int]:
    rows, columns = (level.shape[:-1] if rgb else level.shape)[-2:]
    return int(rows), int(columns)
