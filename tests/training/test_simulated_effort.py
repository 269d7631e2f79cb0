from functools import partial
from typing import Any

import numpy as np

from napari_promise.prompts import Prompts
from napari_promise.proposing import ProposedObject
from napari_promise.segmentation import Segmentation
from napari_promise.training.simulated_effort import clicks_needed
from tests import regions

SHAPE = (40, 60)
rectangle = partial(regions.rectangle, SHAPE)
LOGITS = np.ones((1, 4, 4), np.float32)


class Segmenter:
    """Draws the true object under the first click, or half of it at the first try."""

    def __init__(self, truth: np.ndarray, halves: bool = False) -> None:
        self.truth, self.halves = truth, halves

    def segment(self, emb: Any, prompts: Prompts, **_: Any) -> Segmentation:
        row, column = prompts.points[0].astype(int)
        mask = self.truth == self.truth[row, column]
        if self.halves and len(prompts.points) == 1:
            rows = np.flatnonzero(mask.any(1))
            mask[rows[len(rows) // 2] :] = False
        rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
        region = rectangle(rows[0], columns[0], rows[-1] + 1, columns[-1] + 1)
        return Segmentation(SHAPE, region, 0.9, LOGITS)


def two_objects() -> np.ndarray:
    truth = np.zeros(SHAPE, int)
    truth[2:12, 2:12], truth[20:32, 30:50] = 7, 3
    return truth


def proposed(*box: int) -> ProposedObject:
    point = Prompts(points=[((box[0] + box[2]) / 2, (box[1] + box[3]) / 2)])
    return ProposedObject(point, rectangle(*box), 0.9, LOGITS)


def test_from_scratch_every_object_takes_a_click_where_one_is_enough() -> None:
    truth = two_objects()
    effort = clicks_needed(Segmenter(truth), object(), truth)
    assert (effort.objects, effort.good, effort.at_once) == (2, 2, 0)
    assert (effort.added, effort.corrected, effort.clicks) == (2, 0, 2)


def test_outlines_that_are_not_good_enough_are_corrected() -> None:
    truth = two_objects()
    effort = clicks_needed(Segmenter(truth, halves=True), object(), truth)
    assert (effort.good, effort.added, effort.corrected) == (2, 2, 2)


def test_good_proposals_cost_nothing_and_wrong_ones_a_click() -> None:
    truth = two_objects()
    start = [proposed(2, 2, 12, 12), proposed(3, 3, 12, 12), proposed(0, 50, 8, 58)]
    effort = clicks_needed(Segmenter(truth), object(), truth, start)
    assert (effort.at_once, effort.rejected, effort.added) == (1, 2, 1)
    assert effort.good == 2


def test_the_person_stops_after_so_many_clicks() -> None:
    truth = two_objects()
    effort = clicks_needed(Segmenter(truth), object(), truth, most=1)
    assert (effort.clicks, effort.good) == (1, 1)
