"""Prompts answered from as close as the object asks, by somebody who can wait."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.closer import segment_closer
from napari_promise.document import BBox, Region
from napari_promise.prompts import Prompts
from napari_promise.segmentation import Segmentation

SHAPE = (4000, 4000)


class Boxes:
    """Answers with a known box, as far as its tile reaches; it embeds nothing."""

    def __init__(self, truth: BBox) -> None:
        self.truth = truth
        self.asked: list[BBox | None] = []

    def segment(self, emb: BBox | None, prompts: Prompts, **_options) -> Segmentation:
        self.asked.append(emb)
        tile = emb or (0, 0, *SHAPE)
        low = np.maximum(self.truth[:2], tile[:2])
        high = np.minimum(self.truth[2:], tile[2:])
        crop = np.ones(np.maximum(high - low, 0), bool)
        region = Region.from_crop(crop, tuple(low.tolist()), SHAPE)
        return Segmentation(SHAPE, region, 0.5, np.zeros((1, 2, 2)), tile=emb)


def look(truth: BBox, prompts: Prompts, view: BBox | None = None):
    model = Boxes(truth)
    found = segment_closer(model, lambda tile: tile, prompts, SHAPE, view=view)
    return found, model.asked


def middle(truth: BBox) -> Prompts:
    return Prompts(points=[((truth[0] + truth[2]) / 2, (truth[1] + truth[3]) / 2)])


def test_a_small_object_is_looked_at_twice_after_a_click_and_once_after_a_box() -> None:
    truth = (1000, 2000, 1024, 2020)
    found, asked = look(truth, middle(truth))
    assert [tile is None for tile in asked] == [True, False]
    assert found.tile == asked[-1]
    boxed, asked = look(truth, Prompts(boxes=[truth]))
    assert asked == [boxed.tile]
    assert boxed.bbox == found.bbox == truth


def test_a_large_object_is_looked_at_once() -> None:
    truth = (500, 500, 3500, 3600)
    found, asked = look(truth, middle(truth))
    assert asked == [None]
    assert found.bbox == truth


@pytest.mark.parametrize("half", [30, 200, 500, 1500])
def test_from_whatever_view_the_object_is_answered_whole(half: int) -> None:
    truth = (2000 - half, 2000 - half, 2000 + half, 2000 + half)
    for view in (None, (1990, 1990, 2030, 2050), (1900, 1900, 2100, 2200)):
        found, asked = look(truth, middle(truth), view)
        assert found.bbox == truth
        assert len(asked) <= 5
