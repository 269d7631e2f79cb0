"""Between a plane's pixels and the logits of SAM's frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from napari_promise.model.resampling import logits_of_tile, upsample
from napari_promise.model.sam import Embedding


@pytest.mark.parametrize(
    "size", [(45, 90), (64, 64), (300, 517), (31, 40), (1200, 900), (3, 700)]
)
def test_upsampling_in_the_box_equals_stock(
    micro_sam: Any, size: tuple[int, int]
) -> None:
    scale = 64 / max(size)
    inner = (int(size[0] * scale + 0.5) or 1, int(size[1] * scale + 0.5) or 1)
    nothing = torch.zeros(1, 32, 8, 8)
    emb = Embedding(nothing, (), inner, size, "micro")
    for seed in range(8):
        generator = torch.Generator().manual_seed(seed)
        coarse = torch.randn(1, 1, 5, 5, generator=generator) - 0.6
        logits = F.interpolate(coarse, (32, 32), mode="bicubic")
        stock = micro_sam.postprocess_masks(logits, inner, size)[0, 0] > 0
        mask = np.zeros(size, dtype=bool)
        bbox, crop = upsample(logits[0, 0], emb)
        if bbox is not None:
            r0, c0, r1, c1 = bbox
            mask[r0:r1, c0:c1] = crop
            assert crop[0].any()
            assert crop[-1].any()
            assert crop[:, 0].any()
            assert crop[:, -1].any()
        np.testing.assert_array_equal(mask, stock.numpy())


def test_an_empty_mask_has_no_box(micro_sam: Any) -> None:
    emb = Embedding(torch.zeros(1, 32, 8, 8), (), (64, 64), (100, 100), "micro")
    assert upsample(torch.full((32, 32), -1.0), emb)[0] is None


def tile_of(bbox: tuple[int, int, int, int], plane: tuple[int, int]) -> Embedding:
    size = (bbox[2] - bbox[0], bbox[3] - bbox[1])
    scale = 64 / max(size)
    inner = (round(size[0] * scale), round(size[1] * scale))
    nothing = torch.zeros(1, 32, 8, 8)
    return Embedding(nothing, (), inner, size, "micro", bbox[:2], plane)


def disc_logits(emb: Embedding, row: float, column: float, radius: float) -> Any:
    """Depth in a disc of the plane, in pixels of it, seen through a tile."""
    step = max(emb.original_size) / 32
    at = (torch.arange(32) + 0.5) * step
    rows, columns = at[:, None] + emb.origin[0], at[None, :] + emb.origin[1]
    return (radius - torch.hypot(rows - row, columns - column))[None].float()


PLANE = (400, 600)


@pytest.mark.parametrize(
    ("first", "second"),
    [
        ((0, 0, 400, 600), (100, 200, 300, 400)),
        ((100, 200, 300, 400), (0, 0, 400, 600)),
        ((100, 200, 300, 400), (150, 150, 350, 350)),
        ((100, 200, 300, 400), (50, 100, 350, 600)),
    ],
    ids=["closer", "farther", "beside", "not square"],
)
def test_a_mask_stays_where_it_is_seen_through_another_tile(
    first: tuple[int, int, int, int], second: tuple[int, int, int, int]
) -> None:
    one, other = tile_of(first, PLANE), tile_of(second, PLANE)
    moved = logits_of_tile(disc_logits(one, 200, 300, 45), one.tile, other)
    wanted = disc_logits(other, 200, 300, 45)
    bbox, crop = upsample(moved[0], other)
    true_bbox, true_crop = upsample(wanted[0], other)
    assert np.abs(np.subtract(bbox, true_bbox)).max() <= 6, "a third of a cell"
    assert crop.sum() == pytest.approx(true_crop.sum(), rel=0.05)


def test_the_same_tile_gives_the_very_logits_back() -> None:
    logits = torch.randn(1, 32, 32)
    emb = tile_of((100, 200, 300, 400), PLANE)
    assert logits_of_tile(logits, (100, 200, 300, 400), emb) is logits
    assert logits_of_tile(logits, None, tile_of((0, 0, 400, 600), PLANE)) is logits


def test_what_no_tile_has_seen_is_never_part_of_the_mask() -> None:
    everything = torch.full((1, 32, 32), 5.0)
    wider = tile_of((0, 0, 400, 600), PLANE)
    moved = logits_of_tile(everything, (100, 200, 300, 400), wider)
    bbox, _ = upsample(moved[0], wider)
    assert bbox is not None
    assert np.abs(np.subtract(bbox, (100, 200, 300, 400))).max() <= 25, (
        "little more than a cell"
    )
