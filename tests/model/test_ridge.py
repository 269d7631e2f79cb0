import numpy as np
import pytest
import torch

from napari_promise.model.ridge import NormalEquations, features
from napari_promise.model.sam import Embedding


@pytest.fixture
def examples():
    rng = np.random.default_rng(0)
    mask = rng.random(400) < 0.2
    found = rng.normal(size=(400, 12)).astype(np.float32)
    found[:, 3] += 2 * mask
    return found, mask


def embedding(shape=(40, 60), origin=(0, 0), plane=None):
    ramp = torch.linspace(0, 1, 16)
    image = torch.stack([ramp[None].expand(16, -1), ramp[:, None].expand(-1, 16)])
    size = (round(64 * shape[0] / max(shape)), round(64 * shape[1] / max(shape)))
    return Embedding(image[None], (), size, shape, "ramps", origin, plane or shape)


def test_what_was_drawn_scores_higher_than_what_is_around(examples):
    found, mask = examples
    scores = NormalEquations.of_mask(found, mask).solve().scores(found)
    assert scores[mask].mean() > scores[~mask].mean() + 0.5


def test_object_and_surroundings_are_weighed_alike(examples):
    found, mask = examples
    equations = NormalEquations.of_mask(np.ones_like(found[:, :1]), mask, total=10.0)
    assert equations.gram == pytest.approx(10)
    assert equations.moment == pytest.approx(0, abs=1e-4)


def test_leaving_a_part_out_of_the_sum_leaves_nothing_of_it(examples):
    found, mask = examples
    parts = [(1.0, NormalEquations.of_mask(found[i::3], mask[i::3])) for i in range(3)]
    before = NormalEquations.sum(parts[:2]).solve().weights
    NormalEquations.sum(parts)
    assert np.array_equal(NormalEquations.sum(parts[:2]).solve().weights, before)


def test_the_sum_does_not_change_its_parts(examples):
    found, mask = examples
    part = NormalEquations.of_mask(found, mask)
    gram = part.gram.copy()
    NormalEquations.sum([(1.0, part), (0.5, part)])
    assert np.array_equal(part.gram, gram)


def test_no_equations_sum_to_none():
    assert NormalEquations.sum([]) is None


def test_a_window_has_the_features_of_the_whole_grid():
    picture = np.random.default_rng(0).random((40, 60)).astype(np.float32)
    whole = features(embedding(), picture)
    part = features(embedding(), picture, (8, 20, 30, 44))
    assert np.allclose(part, whole[8:30, 20:44], atol=1e-5)


def test_features_lie_where_the_embedding_says():
    picture = np.zeros((40, 60), np.float32)
    image = torch.zeros(1, 2, 16, 16)
    image[0, 0, :, 12] = 1  # the column at three quarters of the frame
    shown = Embedding(image, (), (43, 64), (40, 60), "one line")
    found = features(shown, picture)[..., 0]
    assert abs(np.flatnonzero(found[20] > 0).mean() - 46.4) <= 1


def test_a_part_of_the_plane_is_put_in_its_place():
    picture = np.zeros((80, 120), np.float32)
    image = torch.zeros(1, 2, 16, 16)
    image[0, 0, :, 12] = 1
    part = Embedding(image, (), (43, 64), (40, 60), "line", (20, 50), (80, 120))
    found = features(part, picture, (20, 50, 60, 110))[..., 0]
    assert abs(np.flatnonzero(found[20] > 0).mean() - 46.4) <= 1
