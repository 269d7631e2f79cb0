"""Auto-prompts join what the user said, and arrive with their mask."""

from __future__ import annotations

import numpy as np

from napari_promise.prompts import Prompts
from tests.session.bench import bbox_at


def test_auto_prompts_and_their_mask_arrive_as_one_step(make) -> None:
    bench = make(adapter="polyp")
    bench.open()
    bench.session.propose()
    bench.until(lambda: len(bench.document) == 1)
    (record,) = bench.document.objects
    assert record.sources == ("auto", "auto")
    assert record.is_answered
    assert record.bbox == bbox_at(5, 5, width=3)
    np.testing.assert_array_equal(record.coarse, np.full((1, 2, 2), 7.0))
    assert bench.document.undo_name == "auto-prompt"
    bench.document.undo()
    assert len(bench.document) == 0
    assert not bench.document.can_undo


def test_moving_an_auto_point_restarts_from_the_coarse_map(make) -> None:
    bench = make(adapter="polyp")
    bench.open()
    bench.session.propose()
    bench.until(lambda: len(bench.document) == 1)
    object_id = bench.document.active_id
    bench.document.edit_prompts(object_id, points=[(4, 4), (6, 6)])
    bench.until_answered(object_id)
    np.testing.assert_array_equal(
        bench.model.segmented[-1].logits, np.full((1, 2, 2), 7.0)
    )


def test_a_correction_is_sent_without_the_points_it_corrects(make) -> None:
    bench = make(adapter="polyp")
    bench.open()
    bench.session.propose()
    bench.until(lambda: len(bench.document) == 1)
    object_id = bench.document.active_id
    bench.session.settings.live = False
    bench.click(object_id, (9, 9))
    bench.click(object_id, (8, 8))
    bench.session.segment(object_id)
    bench.until_answered(object_id)
    sent = bench.model.segmented[-1].to_send()
    assert sent.points.tolist() == [[5, 5], [9, 9], [8, 8]]
    np.testing.assert_array_equal(sent.logits, np.full((1, 2, 2), 2.0))


def test_auto_prompting_keeps_the_points_of_the_user(make) -> None:
    bench = make(adapter="polyp")
    bench.open()
    object_id = bench.new_object().id
    bench.click(object_id, (9, 9))
    bench.until_answered(object_id)
    for _ in range(2):
        before = bench.document.get(object_id).revision
        bench.session.propose()
        bench.until(
            lambda before=before: bench.document.get(object_id).revision > before
        )
        record = bench.document.get(object_id)
        assert record.sources == ("user", "auto", "auto")
        assert record.is_answered


def test_points_of_a_module_without_map_and_scores_join_the_users(make) -> None:
    bench = make(adapter="paper")
    bench.model.propose = lambda emb: Prompts(points=bench.model.found)
    bench.open()
    object_id = bench.new_object().id
    bench.click(object_id, (9, 9))
    bench.until_answered(object_id)
    bench.session.propose()
    bench.until(lambda: len(bench.document.get(object_id).sources) == 3)
    record = bench.document.get(object_id)
    assert record.sources == ("user", "auto", "auto")
    assert record.is_answered
    assert record.coarse is None
    assert record.prompts.scores is None


def test_a_click_while_auto_prompts_are_sought_is_not_lost(make) -> None:
    bench = make(adapter="polyp")
    bench.open()
    object_id = bench.new_object().id
    bench.model.proposing.hold()
    bench.session.propose()
    bench.model.proposing.wait_until_reached()
    bench.click(object_id, (9, 9))
    bench.model.proposing.open.set()
    bench.until(lambda: len(bench.document.get(object_id).sources) == 3)
    bench.until_answered(object_id)
    assert bench.document.get(object_id).sources == ("user", "auto", "auto")


def test_nothing_found_is_said_and_changes_nothing(make) -> None:
    bench = make(adapter="polyp")
    bench.open()
    bench.model.found = []
    bench.session.propose()
    bench.until(lambda: bool(bench.notes))
    assert "found nothing" in bench.notes[0]
    assert len(bench.document) == 0


def test_auto_prompting_without_an_adapter_says_what_to_do(make) -> None:
    bench = make()
    bench.open()
    bench.session.propose()
    bench.until(lambda: bool(bench.failures))
    assert "choose one" in bench.failures[0]
    bench.session.settings.adapter = "polyp"
    bench.session.propose()
    bench.until(lambda: len(bench.document) == 1)


def test_of_several_proposals_the_first_joins_the_object_and_the_rest_are_new(
    make,
) -> None:
    bench = make(adapter="polyp")
    found = tuple(Prompts(points=[at]) for at in ((2, 2), (6, 6), (10, 10)))
    bench.model.proposals = lambda emb: found
    bench.open()
    object_id = bench.new_object().id
    bench.click(object_id, (12, 12))
    bench.until_answered(object_id)
    bench.session.propose()
    bench.until(lambda: len(bench.document) == 3)
    first, *others = bench.document.objects
    assert (first.id, first.sources) == (object_id, ("user", "auto"))
    assert [record.sources for record in others] == [("auto",), ("auto",)]
    assert [r.bbox for r in others] == [bbox_at(6, 6, 3), bbox_at(10, 10, 3)]
    bench.document.undo()
    assert len(bench.document) == 1
