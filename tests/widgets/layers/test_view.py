"""Which part of an image is on the screen."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import dask.array
import numpy as np
from napari.layers import Image

from napari_promise.widgets.layers.view import view_of


def viewer(
    center: tuple[float, float], zoom: float, size: tuple[int, int] | None = (100, 200)
) -> Any:
    """A viewer's canvas, camera and sliders."""
    canvas = SimpleNamespace(size=size)
    return SimpleNamespace(
        window=SimpleNamespace(_qt_viewer=SimpleNamespace(canvas=canvas)),
        camera=SimpleNamespace(center=(0, *center), zoom=zoom),
        dims=SimpleNamespace(point=(0, 0), displayed=(0, 1)),
    )


def test_the_view_is_as_large_as_the_canvas_shows() -> None:
    image = Image(np.zeros((400, 600)))
    assert view_of(viewer((200, 300), 2), image) == (175, 250, 226, 351)


def test_the_view_is_cut_at_the_edges_of_the_image() -> None:
    image = Image(np.zeros((40, 60)))
    assert view_of(viewer((20, 30), 1), image) == (0, 0, 40, 60)
    assert view_of(viewer((500, 500), 1), image) is None


def test_the_view_of_a_pyramid_is_in_pixels_of_the_full_resolution() -> None:
    levels = [dask.array.zeros((4000 // f, 8000 // f), chunks=500) for f in (1, 4, 16)]
    image = Image(levels, multiscale=True, contrast_limits=(0, 1), scale=(0.5, 0.5))
    assert view_of(viewer((1000, 2000), 2), image) == (1950, 3900, 2051, 4101)


def test_without_a_canvas_there_is_no_view() -> None:
    assert view_of(viewer((20, 30), 1, None), Image(np.zeros((40, 60)))) is None
