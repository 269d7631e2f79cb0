"""The history: what is one step, and undo in the user's order."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.document import Document
from tests.document.bench import Bench, rectangle


def test_a_click_and_its_mask_are_one_step_and_undo_restores_them_exactly() -> None:
    bench = Bench()
    document = bench.document
    object_id = document.new_object().id
    states = []
    for index in range(5):
        bench.click(object_id, (float(index), 2.0))
        bench.answer(object_id, rectangle(0, 0, index + 2, 4), index)
        states.append(document.get(object_id))
    for state in reversed(states[:-1]):
        document.undo()
        restored = document.get(object_id)
        assert restored.region == state.region
        assert restored.prompts is state.prompts
        assert restored.is_answered
    for state in states[1:]:
        document.redo()
        assert document.get(object_id) is state


def test_a_mask_that_arrives_after_another_edit_of_the_object_is_dropped() -> None:
    bench = Bench()
    object_id = bench.document.new_object().id
    bench.click(object_id, (1.0, 1.0))
    asked = bench.document.get(object_id).revision
    bench.click(object_id, (2.0, 2.0))
    stale = bench.document.set_mask(
        object_id, rectangle(0, 0, 3, 3), score=1, logits=None, revision=asked
    )
    assert not stale
    assert bench.document.get(object_id).region is None


def test_undo_while_a_mask_is_awaited_drops_that_mask() -> None:
    bench = Bench()
    document = bench.document
    object_id = document.new_object().id
    bench.click(object_id, (1.0, 1.0))
    bench.answer(object_id, rectangle(0, 0, 3, 3))
    before = document.get(object_id)
    bench.click(object_id, (2.0, 2.0))
    asked = document.get(object_id).revision
    document.undo()
    assert not document.set_mask(
        object_id, rectangle(0, 0, 9, 9), score=1, logits=None, revision=asked
    )
    assert document.get(object_id) is before
    document.redo()
    assert not document.get(object_id).is_answered
    assert bench.answer(object_id, rectangle(0, 0, 9, 9))
    assert not document.can_redo
    document.undo()
    assert document.get(object_id) is before


def test_a_mask_joins_its_click_even_when_other_steps_came_between() -> None:
    bench = Bench()
    document = bench.document
    object_id = document.new_object().id
    bench.click(object_id, (1.0, 1.0))
    document.set_class(object_id, "polyp")
    bench.answer(object_id, rectangle(0, 0, 3, 3))
    document.undo()
    record = document.get(object_id)
    assert record.class_name == ""
    assert record.region == rectangle(0, 0, 3, 3)
    document.undo()
    assert document.get(object_id).region is None


def test_segmenting_again_with_another_adapter_is_a_step_of_its_own() -> None:
    bench = Bench()
    object_id = bench.add(rectangle(0, 0, 3, 3), commit=False)
    bench.answer(object_id, rectangle(0, 0, 9, 9))
    assert bench.document.get(object_id).region == rectangle(0, 0, 9, 9)
    bench.document.undo()
    assert bench.document.get(object_id).region == rectangle(0, 0, 3, 3)


def test_everything_is_undone_in_the_order_the_user_did_it() -> None:
    bench = Bench()
    document = bench.document
    snapshots = [(document.objects, bench.labels.copy(), document.active_id)]

    def note() -> None:
        snapshots.append((document.objects, bench.labels.copy(), document.active_id))

    first = document.new_object().id
    note()
    bench.click(first, (1.0, 1.0))
    bench.answer(first, rectangle(0, 0, 6, 6))
    note()
    bench.commit(first)
    note()
    bench.paint(np.s_[2:4, 10:12], first)
    note()
    document.set_class(first, "polyp")
    note()
    second = document.new_object().id
    note()
    bench.click(second, (8.0, 8.0))
    bench.answer(second, rectangle(4, 4, 12, 12))
    note()
    bench.commit(second, overlap="overwrite")
    note()
    document.clear(second)
    note()
    bench.commit(second)
    note()
    document.remove(first, bench.labels)
    note()
    for objects, labels, active in reversed(snapshots[:-1]):
        assert document.undo()
        assert document.objects == objects
        np.testing.assert_array_equal(bench.labels, labels)
        assert document.active_id == active
    assert not document.undo()
    for objects, labels, _ in snapshots[1:]:
        assert document.redo()
        assert document.objects == objects
        np.testing.assert_array_equal(bench.labels, labels)
    assert not document.redo()


def test_several_edits_can_be_one_step() -> None:
    bench = Bench()
    document = bench.document
    with document.step("auto-prompt"):
        object_id = document.new_object().id
        bench.click(object_id, (1.0, 1.0))
        bench.answer(object_id, rectangle(0, 0, 3, 3))
    assert document.undo_name == "auto-prompt"
    assert document.get(object_id).region is not None
    document.undo()
    assert len(document) == 0
    assert not document.can_undo
    document.redo()
    assert document.get(object_id).region == rectangle(0, 0, 3, 3)


def test_an_edit_after_undo_forgets_what_could_be_redone() -> None:
    bench = Bench()
    object_id = bench.document.new_object().id
    bench.click(object_id, (1.0, 1.0))
    bench.document.undo()
    assert bench.document.can_redo
    bench.document.set_class(object_id, "polyp")
    assert not bench.document.can_redo


def test_an_edit_that_changes_nothing_is_no_step() -> None:
    bench = Bench()
    object_id = bench.add(rectangle(0, 0, 3, 3), commit=False)
    name = bench.document.undo_name
    steps = len(bench.document.snapshot().undo)
    record = bench.document.get(object_id)
    bench.document.edit_prompts(object_id, points=record.prompts.points)
    bench.document.set_class(object_id, record.class_name)
    assert bench.document.undo_name == name
    assert len(bench.document.snapshot().undo) == steps


def test_five_hundred_steps_can_be_undone_and_a_hundred_is_the_least() -> None:
    document = Document()
    object_id = document.new_object().id
    for index in range(600):
        document.set_class(object_id, f"class {index}")
    count = 0
    while document.undo():
        count += 1
    assert count == 500
    with pytest.raises(ValueError, match="at least 100"):
        Document(history_limit=10)
