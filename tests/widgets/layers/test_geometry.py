"""Where images lie in the world, on layers without a window."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image, Labels

from napari_promise.widgets.layers.geometry import (
    lies_flat,
    place,
    placement,
    plane_on_display,
    point_dims_at,
)

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
