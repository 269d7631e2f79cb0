"""A click goes where a mask is deepest."""

from __future__ import annotations

import numpy as np

from napari_promise.depth import deepest

SHAPE = (40, 60)


def test_the_deepest_pixel_is_far_from_border_and_edge() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[:9, 20:50] = True
    assert deepest(mask)[0] == 4


def test_of_places_as_deep_the_first_is_taken_wherever_the_mask_lies() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[10:13, 20:31] = True
    assert deepest(mask) == (11, 21)
    assert deepest(mask[10:, 20:]) == (1, 1)
