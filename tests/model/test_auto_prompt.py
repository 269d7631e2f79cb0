from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from napari_promise.model.auto_prompt import HeatmapAPM, place_points, slot_labels


def _disc(radius: int = 20, side: int = 128) -> np.ndarray:
    rows, columns = np.mgrid[:side, :side]
    return ((rows - 60) ** 2 + (columns - 50) ** 2 <= radius**2).astype(float)


@pytest.mark.parametrize(
    ("points", "labels"),
    [(1, "1"), (2, "10"), (3, "100"), (5, "11000"), (16, "1" * 8 + "0" * 8)],
)
def test_the_first_half_of_the_slots_is_positive(points: int, labels: str) -> None:
    assert slot_labels(points) == tuple(int(label) for label in labels)


def test_no_slots_are_refused() -> None:
    with pytest.raises(ValueError, match="at least 1"):
        slot_labels(0)


def test_positives_lie_deep_inside_and_the_deepest_comes_first() -> None:
    disc = _disc()
    placed = place_points(disc, 16, 128)
    depth = ndimage.distance_transform_edt(disc)
    found = depth[tuple(placed.cells[placed.labels == 1].T)]
    assert len(found) == 8
    assert (found >= depth.max() / 2).all()
    assert (np.diff(found) <= 0).all()
    assert found[0] == depth.max()


def test_negatives_lie_in_a_ring_that_scales_with_the_map() -> None:
    for side, radius in ((128, 20), (256, 40)):
        disc = _disc(radius, side)
        placed = place_points(disc, 16, side)
        away = ndimage.distance_transform_edt(disc == 0)
        found = away[tuple(placed.cells[placed.labels == 0].T)]
        assert len(found) == 8
        assert (found >= 5 * side / 128).all()
        assert (found <= 30 * side / 128).all()


def test_points_are_spread() -> None:
    placed = place_points(_disc(30), 8, 128)
    positives = placed.cells[placed.labels == 1]
    apart = np.linalg.norm(positives[:, None] - positives[None], axis=2)
    assert apart[np.triu_indices(4, 1)].min() > 10


def test_slots_without_a_place_are_dropped_not_invented() -> None:
    speck = np.zeros((128, 128))
    speck[60, 60] = 0.9
    placed = place_points(speck, 16, 128)
    assert (placed.labels == 1).sum() == 1
    everything = place_points(np.ones((128, 128)), 16, 128)
    assert (everything.labels == 0).sum() == 0
    assert (everything.labels == 1).sum() == 8


def test_nothing_is_prompted_when_nothing_is_there() -> None:
    placed = place_points(np.full((128, 128), 0.05), 16, 128)
    assert len(placed.cells) == 0
    assert placed.presence == pytest.approx(0.05)


def test_a_timid_map_still_names_its_most_likely_place() -> None:
    placed = place_points(0.4 * _disc(), 4, 128)
    assert (placed.labels == 1).sum() == 2
    assert placed.scores[placed.labels == 1] == pytest.approx([0.4, 0.4])


def test_an_object_at_the_border_gets_points_off_the_border() -> None:
    half = np.zeros((128, 128))
    half[:, :40] = 1
    placed = place_points(half, 2, 128)
    assert placed.cells[0, 1] in (19, 20)


def test_the_map_has_four_times_the_grid_of_the_finest_level() -> None:
    apm = HeatmapAPM([8, 16], width=8, neck_channels=4).eval()
    levels = [torch.randn(2, 8, 16, 16), torch.randn(2, 16, 8, 8)]
    neck = torch.randn(2, 4, 32, 32)
    assert apm(levels, neck).shape == (2, 1, 64, 64)
    with pytest.raises(ValueError, match="image embedding"):
        apm(levels)
    rebuilt = HeatmapAPM(**apm.settings)
    rebuilt.load_state_dict(apm.state_dict())


def test_blocks_change_nothing_until_they_are_trained() -> None:
    torch.manual_seed(0)
    apm = HeatmapAPM([8, 8], width=16, blocks=2).eval()
    plain = HeatmapAPM(**{**apm.settings, "blocks": 0}).eval()
    shared = [v for n, v in apm.state_dict().items() if not _of_a_block(n)]
    names = plain.state_dict()
    plain.load_state_dict(dict(zip(names, shared, strict=True)))
    levels = [torch.randn(1, 8, 8, 8), torch.randn(1, 8, 8, 8)]
    torch.testing.assert_close(apm(levels), plain(levels))
    assert HeatmapAPM(**apm.settings).state_dict().keys() == apm.state_dict().keys()


def test_blocks_let_a_cell_see_further() -> None:
    def reach(blocks: int) -> int:
        torch.manual_seed(0)
        apm = HeatmapAPM([8], width=16, blocks=blocks).eval()
        for name, value in apm.named_parameters():
            if _of_a_block(name):
                torch.nn.init.normal_(value, std=0.1)
        level = torch.randn(1, 8, 16, 16, requires_grad=True)
        apm([level])[0, 0, 32, 32].backward()
        assert level.grad is not None
        return int((level.grad.abs().sum(1) > 0).sum())

    assert reach(2) > 2 * reach(0)


def _of_a_block(name: str) -> bool:
    return name.startswith("mix.") and name.count(".") == 3
