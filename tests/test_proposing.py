"""What an adapter proposes is answered, joined, and judged by its signals."""

from __future__ import annotations

from functools import partial
from typing import Any

import numpy as np

from napari_promise import proposing
from napari_promise.prompts import Before, Prompts
from napari_promise.segmentation import Segmentation
from tests import regions

SHAPE = (40, 60)
rectangle = partial(regions.rectangle, SHAPE)


class Segmenter:
    """Finds what it is told to; each mask begins at the first point."""

    def __init__(self, *found: Prompts) -> None:
        self.found = found
        self.asked: list[Any] = []

    def proposals(self, emb: Any) -> tuple[Prompts, ...]:
        return self.found

    def segment_many(
        self, emb: Any, prompts: Any, **options: Any
    ) -> tuple[Segmentation, ...]:
        self.asked.append((list(prompts), options))
        regions = [
            rectangle(row, column, *((30, 50) if row < 30 else SHAPE))
            for row, column in (p.points[0].astype(int) for p in prompts)
        ]
        logits = np.ones((1, 4, 4), np.float32)
        return tuple(
            Segmentation(SHAPE, region, 0.5, logits, alternatives=(region, None))
            for region in regions
        )


def test_each_proposal_becomes_an_object_in_their_order_by_one_call() -> None:
    map_ = np.full((1, 2, 2), 3.0)
    segmenter = Segmenter(
        Prompts(points=[(2, 3), (9, 9)], before=Before(map_)), Prompts(points=[(31, 6)])
    )
    found = proposing.propose(segmenter, object(), (4,), class_name="polyp")
    assert [one.region for one in found] == [
        rectangle(2, 3, 30, 50),
        rectangle(31, 6, *SHAPE),
    ]
    assert [one.sources for one in found] == [("auto", "auto"), ("auto",)]
    assert {(one.plane, one.class_name) for one in found} == {((4,), "polyp")}
    assert found[1].coarse is None
    np.testing.assert_array_equal(found[0].coarse, map_)
    assert len(segmenter.asked) == 1
    assert not any(one.signals for one in found), "nobody asked what speaks for them"


def test_an_object_that_a_surer_one_holds_already_is_left_out() -> None:
    segmenter = Segmenter(Prompts(points=[(2, 3)]), Prompts(points=[(5, 6)]))
    found = proposing.propose(segmenter, object())
    assert [one.region for one in found] == [rectangle(2, 3, 30, 50)]


def test_a_pixel_that_two_objects_claim_goes_to_the_surer() -> None:
    masks = [rectangle(0, 0, 10, 10), None, rectangle(5, 5, 20, 20)]
    assert proposing.best_first(masks) == [0, 2]
    labels = proposing.label_image(masks, SHAPE)
    assert labels[7, 7] == 1
    assert labels[15, 15] == 3
    assert np.count_nonzero(labels) == 100 + 225 - 25


def test_where_nothing_is_found_nothing_is_proposed() -> None:
    assert proposing.propose(Segmenter(), object()) == ()


def test_joined_prompts_are_answered_and_the_modules_own_can_be_told_apart() -> None:
    own = Prompts(
        points=[(2, 3), (9, 9)],
        labels=[1, 0],
        scores=[0.7, 0.6],
        before=Before(np.full((1, 2, 2), 3.0)),
    )

    def join(found: Prompts) -> Any:
        joined = found.replace(
            points=[(7, 8), *found.points.tolist()],
            labels=[1, *found.labels.tolist()],
            scores=[np.nan, *found.scores.tolist()],
            boxes=[(1, 1, 9, 9)],
        )
        return joined, ("user", "auto", "auto")

    segmenter = Segmenter(own)
    (found,) = proposing.propose(segmenter, object(), join=join)
    assert segmenter.asked[0][0] == [found.prompts]
    assert found.region == rectangle(7, 8, 30, 50)
    assert found.sources == ("user", "auto", "auto")
    assert found.found == own


def test_signals_say_what_speaks_for_a_mask() -> None:
    prompts = Prompts(points=[(5, 5), (35, 55), (1, 1)], labels=[1, 0, 1])
    (found,) = proposing.propose(Segmenter(prompts), object(), signals=True)
    assert found.signals == {
        "score": 0.5,
        "stability": 0.0,
        "points": 2 / 3,
        "tokens": 0.5,
    }


def test_a_mask_with_a_steep_edge_is_stable_and_one_with_a_flat_edge_is_not() -> None:
    ramp = np.tile(np.linspace(-1, 1, 21), (5, 1))
    assert proposing.stability(1000 * ramp) > 0.9
    assert proposing.stability(2 * ramp) < 0.5


def test_regions_overlap_by_their_pixels_and_two_empty_masks_agree() -> None:
    half = rectangle(0, 0, 10, 5)
    assert proposing.region_iou(rectangle(0, 0, 10, 10), half) == 0.5
    assert proposing.region_iou(half, None) == 0
    assert proposing.region_iou(None, None) == 1


def test_points_count_by_the_side_of_the_mask_they_lie_on() -> None:
    prompts = Prompts(points=[(5, 5), (30, 30), (30, 5), (6, 6)], labels=[1, 1, 0, 0])
    assert proposing.points_right(prompts, rectangle(2, 2, 10, 10)) == 0.5
    assert proposing.points_right(prompts, None) == 0.5
    assert proposing.points_right(Prompts(), None) is None
