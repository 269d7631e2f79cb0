"""A scribble becomes points along it, a lasso the area that it encloses."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.freehand import lasso_mask, scribble_points

SHAPE = (40, 60)


def test_points_lie_evenly_along_a_scribble_whatever_its_vertices() -> None:
    line = [(10, 10), (10, 11), (10, 50)]
    points = scribble_points(line, SHAPE, most=4)
    assert points.tolist() == [[10, 15], [10, 25], [10, 35], [10, 45]]


def test_a_short_scribble_has_few_points_and_a_dot_has_one() -> None:
    assert len(scribble_points([(10, 10), (10, 14)], SHAPE, most=5)) == 2
    assert scribble_points([(10, 10), (10, 10)], SHAPE).tolist() == [[10, 10]]
    assert scribble_points([(10, 10)], SHAPE).tolist() == [[10, 10]]


def test_what_of_a_scribble_lies_beside_the_image_is_left_out() -> None:
    points = scribble_points([(10, -40), (10, 20), (np.nan, 3)], SHAPE)
    assert len(points)
    assert (points[:, 1] >= 0).all()
    assert (points[:, 1] <= 20).all()
    assert scribble_points([(-5, -5), (-5, 80)], SHAPE).shape == (0, 2)
    assert scribble_points([], SHAPE).shape == (0, 2)


def test_a_scribble_that_goes_back_and_forth_gives_each_pixel_once() -> None:
    points = scribble_points([(10, 10), (10, 30), (10, 10)], SHAPE, most=4)
    assert len(np.unique(points, axis=0)) == len(points)


def test_a_lasso_is_closed_and_cut_at_the_image() -> None:
    mask = lasso_mask([(5, 5), (5, 15), (20, 15), (20, 5)], SHAPE)
    assert mask[10, 10]
    assert 14 * 9 <= mask.sum() <= 16 * 11
    cut = lasso_mask([(-10, -10), (-10, 10), (10, 10), (10, -10)], SHAPE)
    assert cut[0, 0]
    assert not cut[11:].any()


@pytest.mark.parametrize("line", [[], [(3, 3), (3, 9)], [(3.2, 3.2)] * 4])
def test_a_lasso_around_nothing_is_empty(line) -> None:
    mask = lasso_mask(line, SHAPE)
    assert mask.shape == SHAPE
    assert not mask.any()
