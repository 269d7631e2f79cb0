"""Between a plane's pixels and the logits of SAM's frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from napari_promise.model.resampling import upsample
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
