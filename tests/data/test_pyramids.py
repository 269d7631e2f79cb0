"""Images of any size: opened without reading, read a part at a time."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
import zarr

from napari_promise.data.planes import to_rgb8
from napari_promise.data.pyramids import (
    SEEN,
    Pyramid,
    level_for,
    open_pyramid,
    seen_at,
)
from napari_promise.data.readers import pyramid_reader
from napari_promise.document import Tile

SHAPES = [(8192, 4096), (4096, 2048), (2048, 1024), (1024, 512)]


@pytest.mark.parametrize(
    ("region", "level"),
    [
        ((8192, 4096), 3),
        ((8191, 4096), 2),
        ((4096, 100), 2),
        ((2048, 2048), 1),
        ((1024, 1024), 0),
        ((30, 30), 0),
    ],
)
def test_a_region_is_read_from_the_coarsest_level_that_fills_the_model(region, level):
    assert level_for(region, SHAPES, 1024) == level


def _levels(rgb: bool = False) -> list[np.ndarray]:
    rng = np.random.default_rng(1)
    full = rng.integers(0, 255, (4 * SEEN, 2 * SEEN, *(3,) * rgb), np.uint8)
    return [full, full[::2, ::2].copy(), full[::4, ::4].copy()]


class _Watched:
    """A level that notes which parts of it were read."""

    def __init__(self, values: np.ndarray) -> None:
        self._values = values
        self.shape, self.dtype, self.ndim = values.shape, values.dtype, values.ndim
        self.read = 0

    def __getitem__(self, index: Any) -> np.ndarray:
        part = self._values[index]
        self.read += part.size
        return part

    def __array__(self, *_: Any, **__: Any) -> np.ndarray:
        self.read += self._values.size
        return self._values


def test_what_sam_sees_of_a_pyramid_is_read_from_one_level_and_no_more():
    levels = [_Watched(level) for level in _levels()]
    plane, bbox = seen_at(levels, False, Tile((), (100, 200, 400, 700)))
    to_rgb8(plane, (0, 255), False, bbox)
    assert [level.read for level in levels] == [300 * 500, 0, 0]
    plane, bbox = seen_at(levels, False, Tile())
    to_rgb8(plane, (0, 255), False, bbox)
    assert [level.read for level in levels[:2]] == [300 * 500, 0]


def test_a_region_at_a_coarser_level_covers_the_region():
    levels = _levels()
    plane, bbox = seen_at(levels, False, Tile((), (3, 5, 3 + 2 * SEEN, 1001)))
    assert plane.shape == (2 * SEEN, SEEN)
    assert bbox == (1, 2, SEEN + 2, 501)


def _write_ome_zarr(
    folder: Path, levels: list[np.ndarray], axes: str, version: str = "0.5"
) -> Path:
    group = zarr.open_group(folder, mode="w", zarr_format=2 if version < "0.5" else 3)
    datasets = []
    for number, level in enumerate(levels):
        array = group.create_array(
            str(number), shape=level.shape, chunks=level.shape, dtype=level.dtype
        )
        array[...] = level
        scale = [0.5 * 2**number if a in "yx" else 1.0 for a in axes]
        transforms = [{"type": "scale", "scale": scale}]
        datasets.append({"path": str(number), "coordinateTransformations": transforms})
    named = [
        {"name": a, "type": "space", "unit": "micrometer"}
        if a in "zyx"
        else {"name": a, "type": {"c": "channel", "t": "time"}[a]}
        for a in axes
    ]
    image = {"version": version, "axes": named, "datasets": datasets}
    noted = {"multiscales": [image]}
    group.attrs.update(noted if version < "0.5" else {"ome": noted})
    return folder


@pytest.mark.parametrize("version", ["0.4", "0.5"])
def test_ome_zarr_opens_with_its_levels_and_the_size_of_its_pixels(tmp_path, version):
    levels = _levels()
    stored = [level[None, None] for level in levels]
    folder = _write_ome_zarr(tmp_path / "tissue.ome.zarr", stored, "tcyx", version)
    image = open_pyramid(folder)
    assert isinstance(image, Pyramid)
    assert [level.shape for level in image.levels] == [x.shape for x in levels]
    assert (image.name, image.rgb, image.shape) == ("tissue", False, levels[0].shape)
    assert (image.place.scale, image.place.unit) == ((0.5, 0.5), "um")
    np.testing.assert_array_equal(image.plane_pixels(()), levels[0])


def test_three_channels_of_bytes_in_ome_zarr_are_colours(tmp_path):
    levels = _levels(rgb=True)
    stored = [np.moveaxis(level, -1, 0) for level in levels]
    image = open_pyramid(_write_ome_zarr(tmp_path / "slide.zarr", stored, "cyx"))
    assert image is not None
    assert image.rgb
    tile = Tile((), (10, 20, 60, 90))
    np.testing.assert_array_equal(image.rgb8(tile), levels[0][10:60, 20:90])


def test_a_zarr_group_without_an_image_is_refused_in_one_line(tmp_path):
    zarr.open_group(tmp_path / "other.zarr", mode="w")
    with pytest.raises(ValueError, match="no OME-Zarr image"):
        open_pyramid(tmp_path / "other.zarr")


def _write_pyramid(path: Path, levels: list[np.ndarray]) -> Path:
    rgb = levels[0].ndim == 3
    options = {"tile": (256, 256), "photometric": "rgb" if rgb else "minisblack"}
    with tifffile.TiffWriter(path, ome=True) as file:
        file.write(
            levels[0],
            subifds=len(levels) - 1,
            metadata={
                "axes": "YXS" if rgb else "YX",
                "PhysicalSizeX": 0.25,
                "PhysicalSizeY": 0.25,
            },
            **options,
        )
        for level in levels[1:]:
            file.write(level, subfiletype=1, **options)
    return path


@pytest.mark.parametrize("rgb", [False, True])
def test_a_pyramidal_tiff_opens_with_its_levels(tmp_path, rgb):
    levels = _levels(rgb)
    image = open_pyramid(_write_pyramid(tmp_path / "slide.ome.tif", levels))
    assert image is not None
    assert [level.shape for level in image.levels] == [x.shape for x in levels]
    assert (image.name, image.rgb) == ("slide", rgb)
    assert (image.place.scale, image.place.unit) == ((0.25, 0.25), "um")
    np.testing.assert_array_equal(image.plane_pixels(()), levels[0])


def test_a_small_tiff_is_left_to_others(tmp_path):
    path = tmp_path / "small.ome.tif"
    tifffile.imwrite(path, np.zeros((30, 40), np.uint8))
    assert open_pyramid(path) is None
    assert pyramid_reader(str(path)) is None


def test_napari_gets_the_levels_of_a_slide(tmp_path):
    path = _write_pyramid(tmp_path / "slide.ome.tif", _levels(rgb=True))
    reader = pyramid_reader(str(path))
    assert reader is not None
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        ((levels, options, kind),) = reader(str(path))
    assert (kind, len(levels), options["multiscale"]) == ("image", 3, True)
    assert options["rgb"] is True


def test_the_contrast_of_a_pyramid_is_that_of_a_level_that_is_no_trouble_to_read():
    coarse = np.linspace(100, 900, 64 * 64).astype(np.uint16).reshape(64, 64)
    fine = _Watched(np.zeros((2**13, 2**12), np.uint16))
    low, high = Pyramid((fine, coarse), False, "x").contrast_limits or (0, 0)
    assert 100 <= low < 110
    assert 890 < high <= 900
    assert fine.read == 0
