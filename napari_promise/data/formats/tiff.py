"""TIFF of every flavour: the first series, stacks included."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from napari_promise.data.formats.raw import Raw, has_colours, no_place

SUFFIXES = (".tif", ".tiff")
place = no_place


def read(path: Path) -> Raw:
    """Read the first series of a TIFF file."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        array = np.asarray(series.asarray())
        if "S" in series.axes:  # samples of RGB that are stored plane after plane
            array = np.moveaxis(array, series.axes.index("S"), -1)
    return Raw(array, has_colours(array.shape))


def shape(path: Path) -> tuple[int, ...]:
    """Return (..., rows, columns) of the first series."""
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        axes = zip(series.axes, series.shape, strict=True)
        lengths = tuple(int(length) for axis, length in axes if axis != "S")
        if "S" in series.axes:
            lengths += (int(series.shape[series.axes.index("S")]),)
    return lengths[:-1] if has_colours(lengths) else lengths
