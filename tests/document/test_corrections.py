"""Corrections: which logits are fed back, which points are sent, whose they are."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.document import Document, MaskLogits, ObjectRecord, feedback
from napari_promise.prompts import Before, Prompts
from tests.document.bench import SHAPE, Bench, logits, rectangle

AUTO, USER = ("auto",), ("user",)


def answered(prompts: Prompts, **changes) -> ObjectRecord:
    return ObjectRecord(
        1,
        prompts=prompts,
        answered=prompts,
        answered_revision=0,
        region=rectangle(0, 0, 3, 3),
        logits=MaskLogits(logits(5)),
        **changes,
    )


def test_added_points_feed_the_previous_logits_back() -> None:
    record = answered(Prompts(points=[(1, 1)]))
    added = Prompts(points=[(2, 2), (1, 1)], labels=[0, 1])
    assert feedback(record, added, USER * 2).logits is record.logits.array


@pytest.mark.parametrize(
    "edited",
    [
        Prompts(points=[(1, 2), (5, 5)]),
        Prompts(points=[(1, 1)]),
        Prompts(points=[(1, 1), (5, 5)], labels=[1, 0]),
        Prompts(points=[(1, 1), (5, 5), (6, 6)], boxes=[(0, 0, 9, 9)]),
    ],
    ids=["moved", "deleted", "flipped", "boxed"],
)
def test_any_other_edit_restarts_from_the_coarse_map_or_from_nothing(edited) -> None:
    points = Prompts(points=[(1, 1), (5, 5)])
    sources = AUTO * len(edited.points)
    restarted = feedback(answered(points), edited, sources)
    assert restarted == edited
    coarse = logits(3)
    restarted = feedback(answered(points, coarse=coarse), edited, sources)
    assert restarted == edited.replace(before=Before(coarse))
    assert restarted.logits is coarse


def test_a_mask_prompt_is_not_shadowed_by_older_logits() -> None:
    record = answered(Prompts(points=[(1, 1)]), coarse=logits(3))
    masked = Prompts(points=[(1, 1)], mask=np.ones(SHAPE, bool))
    assert feedback(record, masked, USER).logits is None
    again = answered(masked)
    more = masked.replace(points=[(1, 1), (2, 2)], labels=[1, 1])
    assert feedback(again, more, USER * 2).logits is again.logits.array


def test_an_unanswered_edit_still_feeds_back_the_last_mask_there_is() -> None:
    bench = Bench()
    record = bench.document.new_object()
    bench.click(record.id, (1.0, 1.0))
    bench.answer(record.id, rectangle(0, 0, 3, 3), 5)
    bench.click(record.id, (2.0, 2.0))
    bench.click(record.id, (3.0, 3.0))
    fed_back = bench.document.get(record.id).prompts.logits
    np.testing.assert_array_equal(fed_back, logits(5))


#: What an auto-prompting module wrote: the deepest point to include comes first.
FOUND = Prompts(
    points=[(5, 5), (6, 9), (15, 15)],
    labels=[1, 1, 0],
    before=Before(np.full((1, 4, 4), 3)),
)


def auto_prompted(bench: Bench) -> int:
    """Give a new object the prompts of a model and their mask."""
    object_id = bench.document.new_object().id
    bench.document.set_prompts(
        object_id, FOUND, AUTO * 3, keep_logits=True, coarse=FOUND.logits
    )
    bench.answer(object_id, rectangle(0, 0, 9, 9), 5)
    return object_id


def test_a_correction_of_auto_prompts_goes_with_the_deepest_point_alone() -> None:
    bench = Bench()
    object_id = auto_prompted(bench)
    bench.click(object_id, (1.0, 1.0))
    prompts = bench.document.get(object_id).prompts
    assert prompts.points.tolist() == [[5, 5], [6, 9], [15, 15], [1, 1]]
    assert prompts.answered.tolist() == [False, True, True, False]
    assert prompts.to_send().points.tolist() == [[5, 5], [1, 1]]
    np.testing.assert_array_equal(prompts.logits, logits(5))


def test_a_point_beside_the_mask_does_not_stand_for_the_mask() -> None:
    bench = Bench()
    object_id = auto_prompted(bench)
    record = bench.document.get(object_id)
    mask = rectangle(6, 8, 9, 12)
    bench.document.set_mask(
        object_id, mask, score=1, logits=logits(6), revision=record.revision
    )
    bench.click(object_id, (1.0, 1.0))
    sent = bench.document.get(object_id).prompts.to_send()
    assert sent.points.tolist() == [[6, 9], [1, 1]]


@pytest.mark.parametrize("answers", [True, False], ids=["answered", "unanswered"])
def test_every_click_of_the_user_is_sent_with_the_last_mask(answers) -> None:
    bench = Bench()
    object_id = auto_prompted(bench)
    bench.click(object_id, (1.0, 1.0))
    if answers:
        bench.answer(object_id, rectangle(0, 0, 8, 8), 6)
    bench.click(object_id, (2.0, 2.0))
    prompts = bench.document.get(object_id).prompts
    assert prompts.to_send().points.tolist() == [[5, 5], [1, 1], [2, 2]]
    np.testing.assert_array_equal(prompts.logits, logits(6 if answers else 5))


@pytest.mark.parametrize(
    ("points", "labels"),
    [
        ([(5, 5), (6, 10), (15, 15), (1, 1)], [1, 1, 0, 1]),
        ([(5, 5), (6, 9), (15, 15)], [1, 1, 0]),
        ([(5, 5), (6, 9), (15, 15), (1, 1)], [1, 0, 0, 1]),
        ([(5, 5), (15, 15), (1, 1)], [1, 0, 1]),
    ],
    ids=["automatic moved", "deleted", "automatic flipped", "automatic deleted"],
)
def test_after_a_point_is_changed_all_points_are_sent_again(points, labels) -> None:
    bench = Bench()
    object_id = auto_prompted(bench)
    bench.click(object_id, (1.0, 1.0))
    bench.answer(object_id, rectangle(0, 0, 8, 8), 6)
    bench.document.edit_prompts(object_id, points=points, labels=labels)
    prompts = bench.document.get(object_id).prompts
    assert prompts.to_send() is prompts
    assert prompts.points.tolist() == [list(point) for point in points]
    np.testing.assert_array_equal(prompts.logits, FOUND.logits)


@pytest.mark.parametrize(
    ("point", "label"), [((1, 2), 1), ((1, 1), 0)], ids=["moved", "flipped"]
)
def test_changing_what_was_added_last_redoes_its_correction(point, label) -> None:
    bench = Bench()
    object_id = auto_prompted(bench)
    bench.click(object_id, (1.0, 1.0))
    bench.answer(object_id, rectangle(0, 0, 8, 8), 6)
    bench.document.edit_prompts(
        object_id, points=[(5, 5), (6, 9), (15, 15), point], labels=[1, 1, 0, label]
    )
    prompts = bench.document.get(object_id).prompts
    assert prompts.to_send().points.tolist() == [[5, 5], list(point)]
    assert prompts.added.tolist() == [False, False, False, True]
    np.testing.assert_array_equal(prompts.logits, logits(5))


def test_what_was_added_since_the_mask_was_drawn_is_marked() -> None:
    bench = Bench()
    object_id = auto_prompted(bench)
    for at in ((1.0, 1.0), (2.0, 2.0)):  # faster than the answers come
        bench.click(object_id, at)
    added = bench.document.get(object_id).prompts.added
    assert added.tolist() == [False, False, False, True, True]
    bench.answer(object_id, rectangle(0, 0, 8, 8), 6)
    assert bench.document.get(object_id).prompts.added is not None
    bench.click(object_id, (3.0, 3.0))
    added = bench.document.get(object_id).prompts.added
    assert added.tolist() == [False] * 5 + [True]


def test_an_automatic_point_that_the_user_moved_is_sent_with_every_correction() -> None:
    bench = Bench()
    object_id = auto_prompted(bench)
    moved = [(5, 5), (6, 10), (15, 15)]
    bench.document.edit_prompts(object_id, points=moved, labels=[1, 1, 0])
    bench.answer(object_id, rectangle(0, 0, 8, 8), 6)
    prompts = bench.document.get(object_id).prompts
    bench.document.edit_prompts(
        object_id, points=[*moved, (1, 1)], labels=[*prompts.labels, 0]
    )
    sent = bench.document.get(object_id).prompts.to_send()
    assert sent.points.tolist() == [[5, 5], [6, 10], [1, 1]]
    assert sent.labels.tolist() == [1, 1, 0]


def test_a_point_taken_back_before_its_mask_came_leaves_what_was_there() -> None:
    bench = Bench()
    object_id = auto_prompted(bench)
    bench.click(object_id, (1.0, 1.0))
    bench.answer(object_id, rectangle(0, 0, 8, 8), 6)
    settled = bench.document.get(object_id).prompts
    bench.click(object_id, (2.0, 2.0))
    bench.document.edit_prompts(object_id, points=settled.points, labels=settled.labels)
    assert bench.document.get(object_id).prompts == settled
    again = bench.document.set_prompts(object_id, settled)
    assert again is bench.document.get(object_id), "nothing changed, so no step"


def test_an_empty_mask_answers_nothing_and_all_points_are_sent_again() -> None:
    bench = Bench()
    object_id = auto_prompted(bench)
    bench.click(object_id, (1.0, 1.0))
    bench.answer(object_id, None)
    bench.click(object_id, (2.0, 2.0))
    prompts = bench.document.get(object_id).prompts
    assert prompts.to_send() is prompts
    np.testing.assert_array_equal(prompts.logits, FOUND.logits)


def test_undo_and_redo_lead_to_the_very_prompts_that_were_sent() -> None:
    bench = Bench()
    object_id = auto_prompted(bench)
    bench.click(object_id, (1.0, 1.0))
    bench.answer(object_id, rectangle(0, 0, 8, 8), 6)
    corrected = bench.document.get(object_id)
    bench.document.undo()
    assert bench.document.get(object_id).prompts == FOUND
    bench.document.redo()
    assert bench.document.get(object_id) is corrected


def test_given_logits_are_kept_when_prompts_are_replayed() -> None:
    document = Document()
    record = document.new_object()
    saved = Prompts(points=[(1, 1)], before=Before(logits(2)))
    assert document.set_prompts(record.id, saved, keep_logits=True).prompts == saved
    assert document.set_prompts(record.id, saved).prompts.logits is None


# -- sources -------------------------------------------------------------------------


def test_a_moved_auto_point_becomes_the_users_and_the_others_stay_automatic() -> None:
    document = Document()
    record = document.new_object()
    auto = Prompts(points=[(1, 1), (5, 5)], scores=[0.7, 0.6])
    document.set_prompts(record.id, auto, ["auto", "auto"])
    edited = document.edit_prompts(record.id, points=[(5, 5), (2, 1)])
    assert edited.sources == ("auto", "user")
    np.testing.assert_array_equal(edited.prompts.scores, [0.6, np.nan])
    assert document.edit_prompts(record.id, boxes=[(0, 0, 9, 9)]).sources == (
        "auto",
        "user",
    )
