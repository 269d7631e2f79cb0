"""Views: what a frozen encoder is shown, and what is known of it."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.base import crops
from scripts.base.crops import LEAST_CELLS, vessels


@pytest.fixture
def drawn_only(monkeypatch):
    """Sources that need no files."""
    monkeypatch.setattr(crops.sets, "MIXTURE", {"scenes": 1.0, "vessels": 1.0})


def test_a_view_is_a_function_of_its_number(drawn_only):
    one, again, other = crops.draw(3), crops.draw(3), crops.draw(4)
    assert np.array_equal(one.image, again.image)
    assert np.array_equal(one.layers, again.layers)
    assert not np.array_equal(one.image, other.image)


def test_objects_lie_on_the_picture_and_are_large_enough(drawn_only):
    for index in range(6):
        view = crops.draw(index)
        rows, columns = view.extent
        assert max(rows, columns) == 256
        assert not view.layers[rows:].any()
        assert not view.layers[:, columns:].any()
        assert not view.image[rows:].any()
        sizes = [int(((view.layers >> b) & 1).sum()) for b in range(16)]
        assert all(size == 0 or size >= LEAST_CELLS for size in sizes)
        assert any(sizes)


def test_a_tree_is_thin_and_its_branches_belong_to_it():
    image, (tree, *branches) = vessels(np.random.default_rng(0))
    assert image.shape == (*tree.shape, 3)
    assert 0.001 < tree.mean() < 0.4
    assert branches
    assert not any((branch & ~tree).any() for branch in branches)
