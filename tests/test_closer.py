"""Prompts answered from as close as the object asks, by somebody who can wait."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.closer import asked_plainly, segment_closer
from napari_promise.document import BBox, Region
from napari_promise.prompts import Before, Prompts
from napari_promise.segmentation import Segmentation

SHAPE = (4000, 4000)


class Boxes:
    """Answers with a known box, as far as its tile reaches; it embeds nothing."""

    def __init__(self, truth: BBox, far: float = 0.5, near: float = 0.5) -> None:
        self.truth, self.far, self.near = truth, far, near
        self.asked: list[BBox | None] = []
        self.prompts: list[Prompts] = []

    def segment(self, emb: BBox | None, prompts: Prompts, **_options) -> Segmentation:
        self.asked.append(emb)
        self.prompts.append(prompts)
        tile = emb or (0, 0, *SHAPE)
        low = np.maximum(self.truth[:2], tile[:2])
        high = np.minimum(self.truth[2:], tile[2:])
        crop = np.ones(np.maximum(high - low, 0), bool)
        region = Region.from_crop(crop, tuple(low.tolist()), SHAPE)
        score = self.far if emb is None else self.near
        return Segmentation(SHAPE, region, score, np.zeros((1, 2, 2)), tile=emb)


def look(truth: BBox, prompts: Prompts, view: BBox | None = None):
    model = Boxes(truth)
    found, _ = segment_closer(model, lambda tile: tile, prompts, SHAPE, view=view)
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


@pytest.mark.parametrize(
    ("far", "near", "goes_on"),
    [(0.8, 0.9, True), (0.3, 0.5, False), (0.3, 0.32, True)],
)
def test_a_click_goes_on_from_the_mask_unless_another_is_surer(
    far: float, near: float, goes_on: bool
) -> None:
    truth = (1000, 2000, 1200, 2200)
    model, prompts = Boxes(truth, far, near), middle(truth)
    found, asked = segment_closer(model, lambda tile: tile, prompts, SHAPE)
    assert (asked.before is not None) is goes_on
    assert asked == model.prompts[-1]
    assert asked.replace(before=None) == prompts == asked_plainly(asked, found.tile)
    again = model.segment(found.tile, asked)
    assert again.bbox == found.bbox


def test_what_says_more_than_a_click_is_asked_as_it_is() -> None:
    truth = (1000, 2000, 1200, 2200)
    box = Prompts(boxes=[truth])
    corrected = middle(truth).replace(before=Before(np.ones((1, 2, 2)), added=[True]))
    for prompts in (box, corrected):
        model = Boxes(truth)
        _, asked = segment_closer(model, lambda tile: tile, prompts, SHAPE)
        assert asked == prompts == asked_plainly(prompts, (0, 0, 64, 64))
