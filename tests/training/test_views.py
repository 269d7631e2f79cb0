from __future__ import annotations

import numpy as np

from napari_promise.training.views import augment, fit


def _scene() -> tuple[np.ndarray, np.ndarray]:
    mask = np.zeros((60, 100), dtype=bool)
    mask[20:40, 30:60] = True
    rgb = np.full((60, 100, 3), 40, np.uint8)
    rgb[mask] = (220, 60, 60)
    return rgb, mask


def test_mask_and_image_are_scaled_together() -> None:
    rgb, share = fit(*_scene(), (30, 50))
    assert rgb.shape == (30, 50, 3)
    assert share[15, 22] == 1
    assert share.mean() == np.float32(0.1)
    assert ((rgb[..., 0] > 130) == (share > 0.5)).mean() > 0.99


def test_mask_and_image_are_moved_together() -> None:
    rgb, mask = _scene()
    for seed in range(10):
        moved, share = augment(
            rgb, mask.astype(np.float32), np.random.default_rng(seed)
        )
        assert moved.shape == rgb.shape
        inside, outside = share > 0.9, share < 0.1
        red = moved[..., 0].astype(int) - moved[..., 2]
        if inside.any():
            assert np.median(red[inside]) > np.median(red[outside]) + 30


def test_a_view_is_a_function_of_its_seed() -> None:
    rgb, mask = _scene()
    share = mask.astype(np.float32)
    views = [augment(rgb, share, np.random.default_rng(s))[0] for s in (1, 1, 2)]
    assert (views[0] == views[1]).all()
    assert (views[0] != views[2]).any()
