"""Masks that went through JPEG: areas are classes, edges belong to what they bound."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_promise.data.masks import read_mask, understand_mask

SHAPE = (120, 160)


def disc(radius: float) -> np.ndarray:
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return np.hypot(rows - 60, columns - 80) <= radius


def jpeg(path, array, quality=75):
    Image.fromarray(array).save(path, quality=quality)
    return path


@pytest.mark.parametrize("level", [60, 128, 255])
def test_one_grey_is_cut_half_way_to_black(tmp_path, level) -> None:
    path = jpeg(tmp_path / "m.jpg", (disc(22) * level).astype(np.uint8))
    assert (read_mask(path) != disc(22)).mean() < 0.002


def test_greys_that_form_areas_are_classes(tmp_path) -> None:
    array = (disc(40) * 85).astype(np.uint8)
    array[disc(30)], array[disc(20)] = 170, 255
    found = understand_mask(jpeg(tmp_path / "m.jpg", array))
    assert found.ids == (1, 2, 3)
    assert (found.labels != array // 85).mean() < 0.03
    assert "numbered" in found.rule


def test_colours_are_classes(tmp_path) -> None:
    array = np.zeros((*SHAPE, 3), np.uint8)
    array[10:50, 10:50] = (255, 0, 0)
    array[60:100, 20:90] = (0, 255, 0)
    labels = read_mask(jpeg(tmp_path / "m.jpg", array))
    assert len(np.unique(labels)) == 3
    assert len(np.unique(labels[15:45, 15:45])) == 1
    assert labels[30, 30] != labels[80, 50]


def test_one_dark_colour_is_an_object(tmp_path) -> None:
    array = np.zeros((*SHAPE, 3), np.uint8)
    array[disc(22)] = (0, 0, 100)
    labels = read_mask(jpeg(tmp_path / "m.jpg", array))
    assert (labels != disc(22)).mean() < 0.005


def test_objects_of_a_few_pixels_are_kept(tmp_path) -> None:
    array = np.zeros(SHAPE, np.uint8)
    array[30:33, 30:33] = array[60:62, 60:62] = 255
    assert np.array_equal(read_mask(jpeg(tmp_path / "m.jpg", array)), array > 0)


def test_ids_that_did_not_survive_are_refused(tmp_path) -> None:
    array = np.zeros(SHAPE, np.uint8)
    array[20:60, 20:60], array[70:100, 80:140] = 1, 2
    with pytest.raises(ValueError, match=r"m\.jpg holds values up to .* as PNG"):
        read_mask(jpeg(tmp_path / "m.jpg", array))


def test_a_white_background_is_refused(tmp_path) -> None:
    array = np.full((*SHAPE, 3), 255, np.uint8)
    array[disc(22)] = (255, 0, 0)
    with pytest.raises(ValueError, match="no black area"):
        read_mask(jpeg(tmp_path / "m.jpg", array))


@pytest.mark.parametrize("value", [0, 255])
def test_all_of_one_value_is_empty_or_full(tmp_path, value) -> None:
    path = jpeg(tmp_path / "m.jpg", np.full(SHAPE, value, np.uint8))
    assert np.unique(read_mask(path)).tolist() == [value // 255]


def test_jpeg_in_a_tiff_is_read_alike(tmp_path) -> None:
    array = (disc(22) * 128).astype(np.uint8)
    tifffile.imwrite(tmp_path / "m.tif", array, compression="jpeg")
    assert np.array_equal(read_mask(tmp_path / "m.tif"), disc(22))
