"""Rows become prompts of objects, and objects rows; no layer and no window."""

from __future__ import annotations

import numpy as np

from napari_promise.document import SOURCES, Document
from napari_promise.prompts import Prompts
from napari_promise.widgets.layers.boxes import Box
from napari_promise.widgets.layers.edits import (
    rows_of,
    take_boxes,
    take_mask,
    take_points,
)
from napari_promise.widgets.layers.table import CODES, PointTable


def _rows(positions, objects, source="user") -> PointTable:
    count = len(positions)
    return PointTable(
        np.array(positions, float),
        np.array(objects, np.int64),
        np.ones(count, bool),
        np.full(count, CODES[source], np.uint8),
        np.full(count, np.nan),
    )


def _begin(document: Document, plane, points) -> int:
    record = document.new_object(plane)
    document.set_prompts(record.id, Prompts(points=points, labels=[1] * len(points)))
    return record.id


def test_rows_say_whose_they_are_where_they_lie_and_who_placed_them() -> None:
    document = Document()
    first = document.new_object((2,)).id
    prompts = Prompts(points=[(1, 2), (3, 4)], labels=[1, 0], scores=[0.5, 0.25])
    document.set_prompts(first, prompts, ["auto", "propagated"])
    second = _begin(document, (0,), [(5, 6)])
    rows = rows_of(document.objects, 3)
    assert rows.data.tolist() == [[2, 1, 2], [2, 3, 4], [0, 5, 6]]
    assert rows.objects.tolist() == [first, first, second]
    assert rows.include.tolist() == [True, False, True]
    assert [SOURCES[c] for c in rows.sources] == ["auto", "propagated", "user"]
    assert rows.scores.tolist()[:2] == [0.5, 0.25]
    assert np.isnan(rows.scores[2])


def test_a_point_without_an_object_goes_to_the_one_in_work_or_begins_one() -> None:
    document = Document()
    empty = PointTable.empty(3)
    after = _rows([(0, 1, 1)], [0])
    assert take_points(document, empty, after, (0,), settled=True) == [1]
    more = _rows([(0, 1, 1), (0, 2, 2), (4, 3, 3)], [1, 0, 0])
    before = rows_of(document.objects, 3)
    assert take_points(document, before, more, (0,), settled=True) == [1, 2]
    assert document.get(1).prompts.points.tolist() == [[1, 1], [2, 2]]
    assert document.get(2).plane == (4,)
    assert document.active_id == 1


def test_a_point_for_an_object_that_is_not_in_the_layer_is_added_to_its_points() -> (
    None
):
    document = Document()
    away = _begin(document, (4,), [(1, 1), (2, 2)])
    _begin(document, (0,), [(9, 9)])
    before = rows_of([document.active], 3)
    after = PointTable.concatenate([before, _rows([(4, 3, 3)], [2])], 3)
    assert take_points(document, before, after, (0,), settled=True) == [away]
    points = [[1, 1], [2, 2], [3, 3]]
    assert document.get(away).prompts.points.tolist() == points
    # Once more before the layer shows it: nothing is counted twice.
    twice = PointTable.concatenate([after, _rows([(4, 5, 5)], [2])], 3)
    take_points(document, after, twice, (0,))
    assert document.get(away).prompts.points.tolist()[-1] == [5, 5]
    assert document.get(2).prompts.points.tolist() == [[9, 9]]


def test_a_box_for_an_object_that_is_not_in_the_layer_is_added_to_its_boxes() -> None:
    document = Document()
    away = document.new_object((4,)).id
    document.set_prompts(away, Prompts(boxes=[(1, 1, 5, 5)]))
    _begin(document, (0,), [(9, 9)])
    drawn = Box(0, (4,), (2, 2, 8, 8))
    assert take_boxes(document, (), (drawn,), (0,)) == [away]
    assert document.get(away).prompts.boxes.tolist() == [[1, 1, 5, 5], [2, 2, 8, 8]]


def test_a_mask_begins_an_object_and_is_one_step() -> None:
    document = Document()
    mask = np.zeros((20, 30), bool)
    mask[3:6, 4:9] = True
    owner = take_mask(document, (), mask)
    assert document.active_id == owner
    np.testing.assert_array_equal(document.get(owner).prompts.mask, mask)
    document.undo()
    assert owner not in document
