"""Rows of points and what changed between two readings."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from napari_promise.widgets.layers.table import (
    CODES,
    PointTable,
    changed_objects,
    claim_touched,
)

AUTO, USER = CODES["auto"], CODES["user"]


def _table(positions, objects, auto) -> PointTable:
    count = len(positions)
    return PointTable(
        np.array(positions, float).reshape(count, 2),
        np.array(objects, np.int64),
        np.ones(count, bool),
        np.where(np.array(auto, bool), AUTO, USER).astype(np.uint8),
        np.full(count, 0.5),
    )


def test_an_automatic_point_that_moved_is_the_users_and_has_no_score() -> None:
    before = _table([(1, 1), (5, 5)], [1, 1], [True, True])
    after = replace(before, data=np.array([(1.0, 1.0), (6.0, 5.0)]))
    claimed = claim_touched(before, after)
    assert claimed.sources.tolist() == [AUTO, USER]
    assert claimed.scores[0] == 0.5
    assert np.isnan(claimed.scores[1])


def test_an_automatic_point_that_was_flipped_is_the_users() -> None:
    before = _table([(1, 1)], [1], [True])
    claimed = claim_touched(before, replace(before, include=np.array([False])))
    assert claimed.sources.tolist() == [USER]


def test_a_copy_of_an_automatic_point_is_the_users() -> None:
    before = _table([(1, 1)], [1], [True])
    after = _table([(1, 1), (1, 1)], [1, 1], [True, True])
    assert claim_touched(before, after).sources.tolist() == [AUTO, USER]


def test_automatic_points_stay_automatic_when_others_are_deleted() -> None:
    before = _table([(1, 1), (2, 2), (3, 3)], [1, 1, 1], [True, True, True])
    after = before.take(np.array([0, 2]))
    assert (claim_touched(before, after).sources == AUTO).all()


def test_only_the_objects_concerned_count_as_changed() -> None:
    before = _table([(1, 1), (2, 2), (3, 3)], [1, 2, 3], [False] * 3)
    after = _table([(1, 1), (2, 9), (3, 3)], [1, 2, 3], [False] * 3)
    assert changed_objects(before, after) == [2]
    assert changed_objects(before, before.take(np.array([1, 0, 2]))) == []
