"""Which part of an image is on the screen."""

from __future__ import annotations

import dask.array
import numpy as np
from napari.layers import Image

from napari_promise.widgets.layers.view import view_of


def test_what_was_not_drawn_yet_has_no_view() -> None:
    assert view_of(Image(np.zeros((40, 60)))) is None


def test_the_view_is_cut_at_the_edges_of_the_image() -> None:
    image = Image(np.zeros((5, 40, 60)))
    image.corner_pixels = np.array([[0, 10, -5], [0, 99, 30]])
    assert view_of(image) == (10, 0, 40, 31)


def test_the_view_of_a_pyramid_is_in_pixels_of_the_full_resolution() -> None:
    levels = [dask.array.zeros((4000 // f, 8000 // f), chunks=500) for f in (1, 4, 16)]
    image = Image(levels, multiscale=True, contrast_limits=(0, 1))
    image._data_level = 1
    image.corner_pixels = np.array([[100, 200], [149, 299]])
    assert view_of(image) == (400, 800, 600, 1200)
