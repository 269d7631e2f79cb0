"""The document: its objects, and what it tells of them."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.document import Document, LabelPatch
from napari_promise.prompts import Prompts
from tests.document.bench import SHAPE, Bench, rectangle


def test_sources_must_fit_the_points() -> None:
    document = Document()
    record = document.new_object()
    with pytest.raises(ValueError, match="2 sources for 1 points"):
        document.set_prompts(record.id, Prompts(points=[(1, 1)]), ["user", "auto"])


def test_ids_are_never_used_twice_and_existing_labels_are_left_alone() -> None:
    bench = Bench()
    first = bench.add(rectangle(0, 0, 3, 3))
    bench.document.remove(first)
    bench.document.reserve(41)
    assert bench.document.new_object().id == 42


def test_asking_for_a_fresh_object_twice_leaves_no_empty_one_behind() -> None:
    document = Document()
    assert document.new_object().id == document.new_object().id
    assert document.new_object((3,)).id != document.new_object((4,)).id


def test_an_unknown_object_is_named_in_the_error() -> None:
    with pytest.raises(ValueError, match="no object 9"):
        Document().get(9)


def test_events_tell_what_happened_once_each() -> None:
    document = Document()
    seen: list[tuple] = []
    document.events.connect(lambda info: seen.append((info.signal.name, *info.args)))
    object_id = document.new_object().id
    document.edit_prompts(object_id, points=[(1, 1)])
    assert seen == [
        ("object_added", 1),
        ("active_changed", 1),
        ("history_changed",),
        ("object_changed", 1),
        ("history_changed",),
    ]
    seen.clear()
    document.undo()
    document.undo()
    assert seen == [
        ("object_changed", 1),
        ("history_changed",),
        ("object_removed", 1),
        ("active_changed", None),
        ("history_changed",),
    ]


def test_pixels_set_by_hand_are_told_of_plane_by_plane():
    bench = Bench((2,))
    told: list[tuple[int, ...]] = []
    bench.document.events.labels_painted.connect(lambda patch: told.append(patch.plane))
    patches = [
        LabelPatch.from_crops((plane,), (1, 3), np.zeros((2, 2)), np.eye(2) * 5, SHAPE)
        for plane in (0, 1)
    ]
    bench.document.record_paint(patches)
    assert told == [(0,), (1,)]
