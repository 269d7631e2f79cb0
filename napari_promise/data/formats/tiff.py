"""TIFF: the first series, its colours and pixel size as the file itself states them.

Channels of a microscope are channels, not planes to page through: they are blended to
one picture in colours, each between its own robust limits.
"""

from __future__ import annotations

import html
import math
import re
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from napari_promise.data.formats.raw import Levels, Raw, Unreadable, no_notes
from napari_promise.data.place import Place
from napari_promise.data.planes import robust_limits

SUFFIXES = (".tif", ".tiff")
notes = no_notes

# Of the tag PhotometricInterpretation (TIFF 6.0, page 37, and its supplements).
_WHITE_IS_ZERO, _RGB, _PALETTE, _CMYK, _YCBCR = 0, 2, 3, 5, 6
_LAB = (8, 9, 10)
_JPEG = 7  # of the tag Compression: decoded to RGB
_LOSSY = (6, 7, 34892)  # JPEG of three kinds
_STRAIGHT_ALPHA = 2  # of the tag ExtraSamples; 1 is alpha that is multiplied already

#: In which colours 2 to 7 channels are shown together, as ImageJ has it.
_BLENDED = {
    2: ((0, 1, 0), (1, 0, 1)),
    3: ((1, 0, 0), (0, 1, 0), (0, 0, 1)),
    7: (
        (1, 0, 0),
        (0, 1, 0),
        (0, 0, 1),
        (1, 1, 1),
        (0, 1, 1),
        (1, 0, 1),
        (1, 1, 0),
    ),
}

_CHANNEL_NAME = re.compile(r"<(?:\w+:)?Channel\b[^>]*?\bName\s*=\s*\"([^\"]*)\"")

#: A tiled file of one level with more values is not read as a whole.
_LARGE = 2**28

#: Units of ImageJ and OME, as the unit and the factor that they are kept in.
_UNITS = {
    "nm": ("um", 1e-3),
    "um": ("um", 1.0),
    "µm": ("um", 1.0),
    "μm": ("um", 1.0),
    "\\u00b5m": ("um", 1.0),
    "micron": ("um", 1.0),
    "microns": ("um", 1.0),
    "mm": ("mm", 1.0),
    "cm": ("mm", 10.0),
    "m": ("m", 1.0),
}


def read(path: Path, *, palette: bool = False) -> Raw:
    """Read the first series of a TIFF file.

    Parameters
    ----------
    path : Path
    palette : bool
        Whether it is read as ids: a palette as its indices, and where white is zero
        only a mask of two values turned round.

    Raises
    ------
    ValueError
        If its colours are of a kind that cannot be converted; names file and remedy.
    """
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = _series(file, path)
        array = np.asarray(series.asarray())
        said: tuple[str, ...] = ()
        if "S" in series.axes:
            array = np.moveaxis(array, series.axes.index("S"), -1)
            array, rgb = _colours(array, series.keyframe, path)
        else:
            array, rgb = _grey(array, series.keyframe, palette)
            if not palette and not rgb and _has_channels(series):
                channels = np.moveaxis(array, series.axes.index("C"), -1)
                said = (
                    f"its {channels.shape[-1]} channels are blended to colours: save "
                    "one of them alone to work on it.",
                )
                array, rgb = blended(channels), True
        ndim = array.ndim - rgb
        lossy = int(series.keyframe.compression) in _LOSSY
        return Raw(array, rgb, _place(file, series, ndim), said, lossy=lossy)


def levels(path: Path) -> tuple[tuple[Any, ...], Levels] | None:
    """Open the levels of the first series without reading their pixels.

    Parameters
    ----------
    path : Path

    Returns
    -------
    (tuple of dask arrays, Levels) or None
        Each (..., row, column) or (..., row, column, 3 | 4), the full resolution first.
        None for what `read` reads better: a file of one level that is no large tiled
        one, or in colours that have to be converted.
    """
    import dask.array
    import tifffile
    import zarr

    file = tifffile.TiffFile(path)  # open as long as somebody may read from it
    series = _series(file, path)
    page = series.keyframe
    large = page.is_tiled and math.prod(series.shape) > _LARGE
    if not (len(series.levels) > 1 or large) or not _is_plain(series):
        file.close()
        return None
    opened = zarr.open(series.aszarr(), mode="r")
    stored: list[Any] = [opened]
    if isinstance(opened, zarr.Group):
        stored = [opened[str(number)] for number in range(len(series.levels))]
    rgb = "S" in series.axes
    arrays = []
    for each in stored:
        array = dask.array.from_zarr(each)
        if rgb:
            array = dask.array.moveaxis(array, series.axes.index("S"), -1)
        arrays.append(array)
    return tuple(arrays), Levels(rgb, _place(file, series, arrays[0].ndim - rgb))


def _is_plain(series: Any) -> bool:
    """Tell whether the values are grey, or colours that are RGB as they are read."""
    kind, axes = series.keyframe.photometric, series.axes
    if "S" not in axes:
        return kind not in (_WHITE_IS_ZERO, _PALETTE) and not _has_channels(series)
    as_rgb = kind == _RGB or (kind == _YCBCR and series.keyframe.compression == _JPEG)
    return bool(as_rgb and series.shape[axes.index("S")] == 3)


def shape(path: Path) -> tuple[int, ...]:
    """Return (..., rows, columns) of the first series."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        return _shape(_series(file, path))


def place(path: Path) -> Place:
    """Read the size of a pixel."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        return _place(file, _series(file, path), len(_shape(_series(file, path))))


def _has_channels(series: Any) -> bool:
    """Tell whether an axis holds the few channels of a microscope."""
    if "C" not in series.axes or "S" in series.axes or len(series.axes) < 3:
        return False
    at = series.axes.index("C")
    rows = {series.axes.find("Y"), series.axes.find("X")}
    return at not in rows and 2 <= series.shape[at] <= max(_BLENDED)


class Stored(NamedTuple):
    """How the channels of a file are stored: the array's shape, their axis, names."""

    shape: tuple[int, ...]
    axis: int
    names: tuple[str, ...]


def channels(path: Path) -> Stored | None:
    """Find the channels of the first series; None where it has none, or one."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = _series(file, path)
        if not _has_channels(series):
            return None
        axis = series.axes.index("C")
        lengths = tuple(int(length) for length in series.shape)
        named = _CHANNEL_NAME.findall(file.ome_metadata or "")
        names = [html.unescape(name).strip() for name in named][: lengths[axis]]
        if len(set(filter(None, names))) < lengths[axis]:
            names = [f"channel {number + 1}" for number in range(lengths[axis])]
        return Stored(lengths, axis, tuple(names))


def blended(channels: NDArray[Any]) -> NDArray[np.uint8]:
    """Add channels, in the last axis, in colours: (..., row, column, 3) uint8."""
    count = channels.shape[-1]
    colours = np.array(_BLENDED.get(count, _BLENDED[max(_BLENDED)])[:count], np.float32)
    mixed = np.zeros((*channels.shape[:-1], 3), np.float32)
    for at, colour in enumerate(colours):
        channel = channels[..., at]
        low, high = robust_limits(channel) or (0.0, 1.0)
        if low < high:
            light = np.clip((channel - np.float64(low)) / (high - low), 0, 1)
            light = np.nan_to_num(light).astype(np.float32)
            mixed += light[..., None] * colour
    return np.rint(255 * np.clip(mixed, 0, 1)).astype(np.uint8)


def _series(file: Any, path: Path) -> Any:
    """Return the series that is read: the first that is no thumbnail, and whole."""
    chosen = next((s for s in file.series if not s.keyframe.is_reduced), file.series[0])
    if file.is_ome and any(page is None for page in chosen.pages):
        raise Unreadable(
            f"{path} is one file of a set, and others of it are missing: put them "
            "beside it."
        )
    return chosen


def _shape(series: Any) -> tuple[int, ...]:
    if _has_channels(series):
        at = series.axes.index("C")
        return tuple(int(n) for i, n in enumerate(series.shape) if i != at)
    axes = zip(series.axes, series.shape, strict=True)
    lengths = tuple(int(length) for axis, length in axes if axis != "S")
    samples = math.prod(series.shape) // max(1, math.prod(lengths))
    if "S" not in series.axes or samples <= 4:
        return lengths
    return (*lengths[:-2], samples, *lengths[-2:])


def _grey(array: NDArray[Any], page: Any, palette: bool) -> tuple[NDArray[Any], bool]:
    """Read pixels of one sample each; a palette becomes colours."""
    if page.photometric == _PALETTE and not palette and page.colormap is not None:
        colours = (np.asarray(page.colormap).T >> 8).astype(np.uint8)
        return colours[array], True
    if page.photometric == _WHITE_IS_ZERO and array.dtype.kind in "bu":
        white = 2 ** int(page.bitspersample) - 1
        if array.dtype.kind == "b":
            return ~array, False
        if not palette or np.isin(array, (0, white)).all():
            return (white - array).astype(array.dtype), False
    return array, False


def _colours(array: NDArray[Any], page: Any, path: Path) -> tuple[NDArray[Any], bool]:
    """Read pixels of several samples each, which are in the last axis."""
    kind, samples = page.photometric, array.shape[-1]
    if kind == _CMYK and samples >= 4 and array.dtype.kind == "u":
        paper = np.iinfo(array.dtype).max
        light = paper - array[..., :4].astype(np.float64)
        rgb = light[..., :3] * light[..., 3:] / paper
        return np.rint(rgb).astype(array.dtype), True
    if kind == _CMYK or kind in _LAB or (kind == _YCBCR and page.compression != _JPEG):
        raise Unreadable(
            f"{path} holds colours that are no RGB ({kind.name}): save it as RGB."
        )
    if kind == _RGB and samples >= 4:
        extra = int(page.extrasamples[0]) if page.extrasamples else 0
        # What is multiplied with alpha already lies on black, as it is shown.
        return array[..., : 4 if extra == _STRAIGHT_ALPHA else 3], True
    if samples in (3, 4):
        return array, True
    if samples <= 2:  # grey, and what goes with it
        return array[..., 0], False
    return np.moveaxis(array, -1, -3), False  # channels to page through


def _place(file: Any, series: Any, ndim: int) -> Place:
    """Return the size of a pixel that ImageJ or OME noted, if either did."""
    sizes = (
        _imagej(file, series.keyframe) or _ome(file) or _centimetres(series.keyframe)
    )
    if sizes is None:
        return Place()
    unit, of_axis = sizes
    axes = series.axes.replace("S", "")
    if _has_channels(series) and ndim < len(axes):
        axes = axes.replace("C", "")
    axes = axes.rjust(ndim, "?")[-ndim:]
    return Place(tuple(of_axis.get(axis, 1.0) for axis in axes), unit)


def _imagej(file: Any, page: Any) -> tuple[str, dict[str, float]] | None:
    noted = file.imagej_metadata or {}
    known = _UNITS.get(str(noted.get("unit", "")).strip().lower())
    if known is None or "XResolution" not in page.tags:
        return None
    unit, factor = known
    across, down = (float(value) for value in page.resolution)
    sizes = {"X": 1 / across if across else 0, "Y": 1 / down if down else 0}
    sizes["Z"] = float(noted.get("spacing", 1 / factor))
    return _checked(unit, {axis: size * factor for axis, size in sizes.items()})


def _centimetres(page: Any) -> tuple[str, dict[str, float]] | None:
    """Return the size of a pixel of a file measured in centimetres, as microscopes do.

    Inches are for printers: dots per inch say nothing of what was photographed.
    """
    if "XResolution" not in page.tags or int(page.resolutionunit) != 3:
        return None
    across, down = (float(value) for value in page.resolution)
    if min(across, down) < 200:  # screens and prints, in other words
        return None
    return _checked("um", {"X": 1e4 / across, "Y": 1e4 / down})


def _ome(file: Any) -> tuple[str, dict[str, float]] | None:
    pixels = re.search(r"<(?:\w+:)?Pixels\b([^>]*)>", file.ome_metadata or "")
    if pixels is None:
        return None
    noted = dict(re.findall(r'(\w+)\s*=\s*"([^"]*)"', pixels[1]))
    sizes, units = {}, set()
    for axis in "XYZ":
        if f"PhysicalSize{axis}" in noted:
            known = _UNITS.get(noted.get(f"PhysicalSize{axis}Unit", "µm").lower())
            if known is None:
                return None
            units.add(known[0])
            sizes[axis] = float(noted[f"PhysicalSize{axis}"]) * known[1]
    if not {"X", "Y"} <= sizes.keys() or len(units) != 1:
        return None
    return _checked(units.pop(), sizes)


def _checked(unit: str, sizes: dict[str, float]) -> tuple[str, dict[str, float]] | None:
    good = all(math.isfinite(size) and size > 0 for size in sizes.values())
    return (unit, sizes) if good else None
