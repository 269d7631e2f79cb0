"""A TIFF of channels that napari itself opened is offered channel by channel."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile


@pytest.fixture
def channels(tmp_path):
    """Three channels of a square each, with their names and the size of a pixel."""
    array = np.zeros((3, 60, 80), np.uint16)
    for at in range(3):
        array[at, 10:50, 10 + 20 * at : 30 + 20 * at] = 1000 * (at + 1)
    tifffile.imwrite(
        tmp_path / "cells.ome.tif",
        array,
        photometric="minisblack",
        metadata={
            "axes": "CYX",
            "Channel": {"Name": ["DAPI", "GFP", "a & b"]},
            "PhysicalSizeX": 0.5,
            "PhysicalSizeY": 0.25,
        },
    )
    return tmp_path / "cells.ome.tif", array


@pytest.fixture
def opened(make_desk, channels):
    dock = make_desk().widget
    dock.desk.viewer.open(str(channels[0]), plugin="napari")
    return dock


def test_it_is_asked_which_channel_is_meant(opened) -> None:
    strip = opened.channel_strip
    assert opened.bridge.work.shape == (3, 60, 80)
    assert not strip.isHidden()
    offered = [strip.choice.itemText(i) for i in range(strip.choice.count())]
    assert offered == ["All in colours", "DAPI", "GFP", "a & b"]


def test_one_channel_becomes_an_image_with_the_size_of_its_pixels(
    opened, channels
) -> None:
    opened.channel_strip.choice.setCurrentText("GFP")
    opened.channel_strip.open.click()
    image = opened.bridge.work.image
    assert image.name == "cells.ome GFP"
    assert np.array_equal(image.data, channels[1][1])
    assert tuple(image.scale) == (0.25, 0.5)
    assert opened.channel_strip.isHidden()


def test_all_channels_are_blended_as_everywhere(opened, channels) -> None:
    from napari_promise.data.images import read_image

    opened.channel_strip.open.click()
    image = opened.bridge.work.image
    assert image.rgb
    assert np.array_equal(image.data, read_image(channels[0]).array)


def test_planes_of_a_stack_are_no_channels(make_desk, tmp_path) -> None:
    stack = np.zeros((3, 60, 80), np.uint16)
    tifffile.imwrite(tmp_path / "z.tif", stack, imagej=True, metadata={"axes": "ZYX"})
    dock = make_desk().widget
    dock.desk.viewer.open(str(tmp_path / "z.tif"), plugin="napari")
    assert dock.bridge.work.shape == (3, 60, 80)
    assert dock.channel_strip.isHidden()
