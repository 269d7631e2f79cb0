import numpy as np
import pytest
import torch

from napari_promise.propagation.outline import (
    Look,
    OutlineNet,
    draft,
    load_outline,
    prepared,
)


def look(side=30, radius=8):
    r, c = np.indices((side, side + 6))
    distance = (radius - np.hypot(r - 15, c - 17)).astype(np.float32)
    picture = 0.2 + 0.6 * (distance > 0).astype(np.float32)
    score = np.where(distance > 0, 0.8, -0.8).astype(np.float32)
    return Look(
        picture, score, distance, picture, distance > 0, 1, False, 0, (0, 0, 30, 36)
    )


def test_a_fresh_network_draws_what_classifier_and_shape_say():
    given = look()
    found = OutlineNet().draw(given) > 0
    assert np.array_equal(found, draft(given.score, given.prior) > 0)


def test_the_trained_network_keeps_to_a_clear_object():
    given = look()
    found = load_outline().draw(given) > 0
    truth = given.prior > 0
    assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.9


@pytest.mark.parametrize(("radius", "least", "most"), [(5, 20, 100), (14, 10, 40)])
def test_objects_of_all_sizes_are_looked_at_in_one(radius, least, most):
    taken = prepared(look(radius=radius))
    assert taken.shape[1] == 7
    assert least < taken.shape[2] < most


def test_the_network_needs_no_gradient():
    assert not any(p.requires_grad for p in load_outline().parameters())


def test_any_size_of_crop_goes_through():
    for size in ((4, 5), (17, 33), (64, 64)):
        assert OutlineNet()(torch.zeros(1, 7, *size)).shape == (1, 1, *size)
