"""Regions: masks kept small, seen through windows, asked for points."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.document import Region, union_bbox
from tests.document.bench import SHAPE


def test_a_region_gives_back_its_mask_and_any_window_of_it() -> None:
    mask = np.random.default_rng(0).random(SHAPE) > 0.5
    mask[:3] = False
    region = Region.from_mask(mask)
    assert region.bbox[0] == 3
    np.testing.assert_array_equal(region.mask, mask)
    np.testing.assert_array_equal(region.window((1, 2, 9, 12)), mask[1:9, 2:12])
    assert region.area == mask.sum()
    assert Region.from_mask(np.zeros(SHAPE, bool)) is None


def test_a_region_tells_which_points_it_covers() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[3:6, 4:9] = True
    mask[4, 5] = False
    points = np.array([(3, 4), (4.4, 4.6), (5.4, 8.4), (5.6, 8), (-1, 99)])
    covered = Region.from_mask(mask).covers(points)
    assert covered.tolist() == [True, False, True, False, False]


def test_a_region_outside_its_plane_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves the plane"):
        Region.from_crop(np.ones((4, 4), bool), (18, 0), SHAPE)


def test_bounding_boxes_unite_and_none_stands_for_nothing() -> None:
    assert union_bbox(None, (1, 5, 3, 6), (0, 7, 2, 8)) == (0, 5, 3, 8)
    assert union_bbox(None) is None
