"""Snapshots of layers that the worker reads, of layers without a window."""

from __future__ import annotations

import numpy as np
from napari.layers import Image, Labels

from napari_promise.widgets.layers.geometry import image_shape
from napari_promise.widgets.layers.sources import LabelsSource, LayerSource


def test_the_source_reads_planes_of_every_kind_of_image() -> None:
    stack = np.arange(3 * 4 * 5).reshape(3, 4, 5).astype(np.uint16)
    source = LayerSource(Image(stack, contrast_limits=(2, 40)))
    assert source.shape == (3, 4, 5)
    assert source.contrast_limits == (2.0, 40.0)
    np.testing.assert_array_equal(source.plane_pixels((2,)), stack[2])
    colour = Image(np.zeros((3, 40, 50, 4), np.uint8), rgb=True)
    assert image_shape(colour) == (3, 40, 50)
    assert LayerSource(colour).contrast_limits is None
    assert LayerSource(colour).plane_pixels((1,)).shape == (40, 50, 4)
    pyramid = [np.zeros((64, 48)), np.zeros((32, 24))]
    coarse = Image(pyramid, multiscale=True)
    assert image_shape(coarse) == (64, 48)
    assert LayerSource(coarse).plane_pixels(()).shape == (64, 48)


def test_a_label_of_a_layer_on_the_same_grid_is_taken_as_it_is() -> None:
    data = np.zeros((3, 20, 30), np.uint8)
    data[1, 5:9, 6:12] = 4
    image = Image(np.zeros((3, 20, 30)), scale=(2, 1, 1))
    labels = Labels(data, scale=(2, 1, 1))
    np.testing.assert_array_equal(
        LabelsSource(labels, image).plane_labels((1,)), data[1]
    )
    assert not LabelsSource(labels, image).plane_labels((0,)).any()


def test_a_label_of_another_grid_is_looked_up_through_the_world() -> None:
    image = Image(np.zeros((40, 60)), scale=(0.5, 0.5), translate=(1, 2))
    small = np.zeros((10, 16), np.uint8)
    small[4:8, 5:10] = 1
    labels = Labels(small, scale=(2, 2))
    mask = LabelsSource(labels, image).plane_labels(()) == 1
    rows, columns = np.mgrid[:40, :60]
    world = np.stack([1 + rows * 0.5, 2 + columns * 0.5])
    near = np.rint(world / 2).astype(int)
    inside = (near[0] < 10) & (near[1] < 16)
    expected = np.zeros((40, 60), bool)
    expected[inside] = small[near[0][inside], near[1][inside]] == 1
    np.testing.assert_array_equal(mask, expected)
    assert mask.any()
