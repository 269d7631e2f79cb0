"""Where images lie in the world, on layers without a window."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_promise.widgets.layers.geometry import (
    image_shape,
    lies_flat,
    place,
    placement,
    plane_on_display,
    point_dims_at,
)
from napari_promise.widgets.layers.resample import plane_mask
from napari_promise.widgets.layers.source import LayerSource

TURNED = {
    "scale": (2.5, 0.7, 0.5),
    "translate": (10, -4, 3),
    "rotate": [[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]],
    "shear": (0, 0, 0.2),
    "affine": np.diag([1, 1, 2, 1]),
}


def test_a_layer_placed_over_a_plane_has_its_pixels_where_the_image_has_them() -> None:
    image = Image(np.zeros((6, 20, 30)), **TURNED)
    plane = Labels(np.zeros((1, 20, 30), np.uint8), **placement(image, (4,)))
    for row, column in ((0, 0), (19, 29), (7, 3)):
        np.testing.assert_allclose(
            plane.data_to_world((0, row, column)),
            image.data_to_world((4, row, column)),
        )
    place(plane, image, (2,))
    np.testing.assert_allclose(
        plane.data_to_world((0, 5, 5)), image.data_to_world((2, 5, 5))
    )


@pytest.mark.parametrize("plane", [(0,), (3,), (5,)])
def test_the_sliders_and_the_plane_agree_under_scale_and_translation(plane) -> None:
    viewer = ViewerModel()
    image = viewer.add_image(
        np.zeros((6, 20, 30)), scale=(2.5, 0.7, 0.7), translate=(10, -4, 3)
    )
    point_dims_at(image, viewer.dims, plane)
    assert plane_on_display(image, viewer.dims) == plane


def test_a_plane_is_found_in_a_viewer_with_more_axes_than_the_image() -> None:
    viewer = ViewerModel()
    viewer.add_image(np.zeros((4, 6, 20, 30)))
    image = viewer.add_image(np.zeros((6, 20, 30)))
    flat = viewer.add_image(np.zeros((20, 30)))
    viewer.dims.set_point([0, 1], [2, 5])
    assert plane_on_display(image, viewer.dims) == (5,)
    assert plane_on_display(flat, viewer.dims) == ()
    assert lies_flat(image, viewer.dims)
    viewer.dims.order = (0, 2, 1, 3)
    assert not lies_flat(image, viewer.dims)
    viewer.dims.order = (0, 1, 3, 2)
    assert lies_flat(image, viewer.dims)
    viewer.dims.ndisplay = 3
    assert not lies_flat(image, viewer.dims)


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
    np.testing.assert_array_equal(plane_mask(labels, 4, image, (1,)), data[1] == 4)
    assert not plane_mask(labels, 4, image, (0,)).any()


def test_a_label_of_another_grid_is_looked_up_through_the_world() -> None:
    image = Image(np.zeros((40, 60)), scale=(0.5, 0.5), translate=(1, 2))
    small = np.zeros((10, 16), np.uint8)
    small[4:8, 5:10] = 1
    labels = Labels(small, scale=(2, 2))
    mask = plane_mask(labels, 1, image, ())
    rows, columns = np.mgrid[:40, :60]
    world = np.stack([1 + rows * 0.5, 2 + columns * 0.5])
    near = np.rint(world / 2).astype(int)
    inside = (near[0] < 10) & (near[1] < 16)
    expected = np.zeros((40, 60), bool)
    expected[inside] = small[near[0][inside], near[1][inside]] == 1
    np.testing.assert_array_equal(mask, expected)
    assert mask.any()
