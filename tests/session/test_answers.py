"""Requests are answered: the newest of an object wins, stale answers are dropped."""

from __future__ import annotations

import numpy as np

from napari_promise.session import ArraySource
from tests.session.bench import SHAPE, bbox_at


def test_choosing_an_image_encodes_it_at_once_and_says_so(make) -> None:
    bench = make()
    bench.open()
    assert bench.model.encoded == [1]
    assert [s for s in bench.states if s != "idle"] == ["loading", "encoding", "ready"]
    assert bench.session.status.device == "cpu"


def test_an_edit_is_answered_live(make) -> None:
    bench = make()
    bench.open()
    record = bench.new_object()
    bench.click(record.id, (3, 4))
    bench.until_answered(record.id)
    assert bench.document.get(record.id).bbox == bbox_at(3, 4)
    assert bench.results[0].object_id == record.id


def test_without_live_an_edit_waits_until_it_is_asked_for(make) -> None:
    bench = make(live=False)
    bench.open()
    record = bench.new_object()
    bench.click(record.id, (3, 4))
    assert not bench.session._queue.waiting()
    bench.session.segment(record.id)
    bench.until_answered(record.id)
    bench.click(record.id, (5, 6))
    bench.session.settings.live = True
    bench.until_answered(record.id)


def test_the_newest_prompts_win_and_stale_results_are_dropped(make) -> None:
    bench = make()
    bench.open()
    bench.model.segmenting.hold()
    object_id = bench.new_object().id
    bench.click(object_id, (1, 1))
    bench.model.segmenting.wait_until_reached()
    for point in ((2, 2), (3, 3), (4, 4)):
        bench.click(object_id, point)
    bench.model.segmenting.open.set()
    bench.until_answered(object_id)
    assert bench.document.get(object_id).bbox == bbox_at(4, 4)
    assert [len(p.points) for p in bench.model.segmented] == [1, 4]
    assert len(bench.results) == 1


def test_requests_of_several_objects_do_not_push_each_other_out(make) -> None:
    bench = make()
    bench.open()
    bench.model.segmenting.hold()
    ids = []
    for index in range(3):
        ids.append(bench.new_object().id)
        bench.click(ids[-1], (index, index))
    bench.model.segmenting.open.set()
    for object_id in ids:
        bench.until_answered(object_id)


def test_asking_twice_for_the_same_prompts_computes_once(make) -> None:
    bench = make()
    bench.open()
    bench.model.segmenting.hold()
    object_id = bench.new_object().id
    bench.click(object_id, (1, 1))
    bench.model.segmenting.wait_until_reached()
    bench.session.segment(object_id)
    bench.model.segmenting.open.set()
    bench.until_answered(object_id)
    bench.session.segment(object_id)
    assert len(bench.model.segmented) == 1


def test_a_click_while_the_image_is_encoded_is_answered_right_after(make) -> None:
    bench = make()
    bench.model.encoding.hold()
    bench.open(wait=False)
    bench.model.encoding.wait_until_reached()
    object_id = bench.new_object().id
    bench.click(object_id, (1, 1))
    bench.click(object_id, (2, 2))
    bench.model.encoding.open.set()
    bench.until_answered(object_id)
    assert bench.model.encoded == [1]
    assert [len(p.points) for p in bench.model.segmented] == [2]


def test_a_click_while_the_model_is_loaded_loads_it_once(make) -> None:
    bench = make()
    bench.loading.hold()
    bench.open(wait=False)
    bench.loading.wait_until_reached()
    object_id = bench.new_object().id
    bench.click(object_id, (1, 1))
    bench.loading.open.set()
    bench.until_answered(object_id)
    assert bench.loads == ["promise-tiny"]


def test_undo_while_a_result_is_awaited_drops_the_result(make) -> None:
    bench = make()
    bench.open()
    object_id = bench.new_object().id
    bench.click(object_id, (1, 1))
    bench.until_answered(object_id)
    before = bench.document.get(object_id)
    bench.model.segmenting.hold()
    bench.click(object_id, (2, 2))
    bench.model.segmenting.wait_until_reached()  # the first click
    bench.model.segmenting.wait_until_reached()
    bench.document.undo()
    bench.model.segmenting.open.set()
    other = bench.new_object().id
    bench.click(other, (9, 9))
    bench.until_answered(other)
    assert bench.document.get(object_id) is before
    assert len(bench.model.segmented) == 3, "undo itself ran no model"


def test_redoing_a_click_that_was_never_answered_answers_it(make) -> None:
    bench = make()
    bench.open()
    object_id = bench.new_object().id
    bench.model.segmenting.hold()
    bench.click(object_id, (2, 2))
    bench.document.undo()
    bench.model.segmenting.open.set()
    bench.document.redo()
    bench.until_answered(object_id)
    assert not bench.document.can_redo
    bench.document.undo()
    assert bench.document.get(object_id).region is None


def test_removing_an_object_forgets_its_request(make) -> None:
    bench = make()
    bench.open()
    object_id = bench.new_object().id
    bench.model.segmenting.hold()
    bench.click(object_id, (2, 2))
    bench.model.segmenting.wait_until_reached()
    bench.document.remove(object_id)
    bench.model.segmenting.open.set()
    other = bench.new_object().id
    bench.click(other, (3, 3))
    bench.until_answered(other)
    assert bench.failures == []


def test_the_logits_of_a_mask_are_fed_back_when_a_point_is_added(make) -> None:
    bench = make()
    bench.open()
    object_id = bench.new_object().id
    for point in ((1, 1), (2, 2)):
        bench.click(object_id, point)
        bench.until_answered(object_id)
    first, second = bench.model.segmented
    assert first.logits is None
    np.testing.assert_array_equal(second.logits, np.full((1, 2, 2), 1.0))
    assert bench.document.get(object_id).prompts is second


def test_saved_prompts_replay_to_the_same_masks(make, tmp_path) -> None:
    from napari_promise.data import export

    bench = make(adapter="polyp")
    bench.open()
    bench.session.propose()
    bench.until(lambda: len(bench.document) == 1)
    object_id = bench.document.active_id
    for point in ((1, 1), (7, 8)):
        bench.click(object_id, point)
        bench.until_answered(object_id)
    path = tmp_path / "prompts.json"
    export.save_prompts(
        path, bench.document.objects, metadata=bench.session.provenance()
    )
    original = bench.document.get(object_id)

    bench.session.set_image(ArraySource(np.ones(SHAPE, np.uint8)))
    (replayed,) = bench.session.replay(export.load_prompts(path).objects)
    bench.until_answered(replayed)
    record = bench.document.get(replayed)
    assert record.prompts == original.prompts
    assert record.region == original.region
    assert record.sources == original.sources
    assert bench.document.undo_name == "load prompts"
