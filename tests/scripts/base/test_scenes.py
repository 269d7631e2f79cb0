"""Generated scenes: deterministic, and the masks belong to the picture."""

from __future__ import annotations

import numpy as np
import pytest

from scripts.base import scenes
from scripts.base.scene_store import open_store, pack


@pytest.mark.parametrize("kind", scenes.KINDS)
def test_every_kind_draws_a_picture_with_masks(kind):
    scene = scenes.generate(3, kind)
    assert scene.image.shape == (scenes.SIZE, scenes.SIZE, 3)
    assert scene.image.dtype == np.uint8
    assert scene.image.std() > 1
    assert 1 <= len(scene.masks) <= scenes.MAX_MASKS
    assert (scene.masks.sum((1, 2)) >= scenes.MIN_AREA).all()


def test_equal_seeds_give_equal_scenes():
    one, two, other = (scenes.generate(seed) for seed in (5, 5, 6))
    assert np.array_equal(one.image, two.image)
    assert np.array_equal(one.masks, two.masks)
    assert not np.array_equal(one.image, other.image)


def test_a_cell_differs_from_what_surrounds_it():
    scene = scenes.generate(0, "microscopy")
    cells = scene.masks.any(0)
    grey = scene.image.mean(-1)
    assert abs(grey[cells].mean() - grey[~cells].mean()) > 5


def test_a_polyp_is_an_object_and_the_lumen_is_none():
    for seed in range(6):
        scene = scenes.generate(seed, "colonoscopy")
        assert scene.masks.any(0).mean() < 0.9
        assert not (scene.masks.sum(0) > 1).any()  # each pixel is of one polyp


def test_an_unknown_kind_is_refused():
    with pytest.raises(ValueError, match="endoscopy"):
        scenes.generate(0, "weather")


def test_packed_masks_come_back_bit_by_bit():
    masks = np.random.default_rng(0).random((16, 8, 8)) < 0.5
    layers = pack(masks)
    assert all(np.array_equal((layers >> k) & 1, masks[k]) for k in range(16))


def test_a_store_is_generated_once_and_opened_again(tmp_path):
    store = open_store(tmp_path, 2, workers=1)
    scene = scenes.generate(1)
    assert np.array_equal(store.images[1], scene.image)
    assert np.array_equal(store.layers[1], pack(scene.masks))
    assert not list(tmp_path.glob("*.part"))
    with pytest.raises(ValueError, match="3 asked"):
        open_store(tmp_path, 3)
