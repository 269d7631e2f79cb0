"""The document: regions, commits, feedback of logits, and undo in the user's order."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.document import (
    Document,
    LabelPatch,
    ObjectRecord,
    Region,
    commit_patch,
    feedback,
    union_bbox,
)
from napari_promise.prompts import Prompts

SHAPE = (20, 30)
AUTO, USER = ("auto",), ("user",)


def rectangle(r0: int, c0: int, r1: int, c1: int) -> Region:
    mask = np.zeros(SHAPE, bool)
    mask[r0:r1, c0:c1] = True
    region = Region.from_mask(mask)
    assert region is not None
    return region


def logits(value: float) -> np.ndarray:
    array = np.full((1, 4, 4), value, np.float32)
    array.flags.writeable = False
    return array


class Bench:
    """A document beside a Labels array that follows its patches."""

    def __init__(self, planes: tuple[int, ...] = ()) -> None:
        self.labels = np.zeros((*planes, *SHAPE), np.int32)
        self.document = Document()
        self.document.events.labels_patched.connect(
            lambda patch: patch.apply(self.labels)
        )

    def click(self, object_id: int, *points: tuple[float, float]) -> None:
        record = self.document.get(object_id)
        self.document.edit_prompts(
            object_id,
            points=[*record.prompts.points.tolist(), *points],
            labels=[*record.prompts.labels, *(1 for _ in points)],
        )

    def answer(self, object_id: int, region: Region | None, value: float = 1.0) -> bool:
        return self.document.set_mask(
            object_id,
            region,
            score=0.9,
            logits=logits(value),
            revision=self.document.get(object_id).revision,
        )

    def add(self, region: Region, *, commit: bool = True, **options) -> int:
        record = self.document.new_object()
        self.click(record.id, (float(record.id), 1.0))
        self.answer(record.id, region)
        if commit:
            self.commit(record.id, **options)
        return record.id

    def commit(self, object_id: int, **options) -> LabelPatch | None:
        plane = self.document.get(object_id).plane
        return self.document.commit(object_id, self.labels[plane], **options)

    def paint(self, window: tuple[slice, slice], value: int) -> None:
        before = self.labels.copy()
        self.labels[window] = value
        self.document.record_paint(
            [LabelPatch.from_crops((), (0, 0), before, self.labels, SHAPE)]
        )


def expected(**areas: tuple[slice, slice]) -> np.ndarray:
    labels = np.zeros(SHAPE, np.int32)
    for name, window in areas.items():
        labels[window] = int(name[1:])
    return labels


# -- regions and patches -------------------------------------------------------------


def test_a_region_gives_back_its_mask_and_any_window_of_it() -> None:
    mask = np.random.default_rng(0).random(SHAPE) > 0.5
    mask[:3] = False
    region = Region.from_mask(mask)
    assert region.bbox[0] == 3
    np.testing.assert_array_equal(region.mask, mask)
    np.testing.assert_array_equal(region.window((1, 2, 9, 12)), mask[1:9, 2:12])
    assert region.area == mask.sum()
    assert Region.from_mask(np.zeros(SHAPE, bool)) is None


def test_a_region_tells_which_points_it_covers() -> None:
    mask = np.zeros(SHAPE, bool)
    mask[3:6, 4:9] = True
    mask[4, 5] = False
    points = np.array([(3, 4), (4.4, 4.6), (5.4, 8.4), (5.6, 8), (-1, 99)])
    covered = Region.from_mask(mask).covers(points)
    assert covered.tolist() == [True, False, True, False, False]


def test_a_region_outside_its_plane_is_refused() -> None:
    with pytest.raises(ValueError, match="leaves the plane"):
        Region.from_crop(np.ones((4, 4), bool), (18, 0), SHAPE)


def test_bounding_boxes_unite_and_none_stands_for_nothing() -> None:
    assert union_bbox(None, (1, 5, 3, 6), (0, 7, 2, 8)) == (0, 5, 3, 8)
    assert union_bbox(None) is None


def test_a_patch_writes_only_its_pixels_and_its_inverse_takes_them_back() -> None:
    rng = np.random.default_rng(0)
    before = rng.integers(0, 3, (4, *SHAPE))
    after = before.copy()
    after[2, 5:9, 7:12] = rng.integers(0, 3, (4, 5))
    patch = LabelPatch.from_crops((2,), (0, 0), before[2], after[2], SHAPE)
    labels = before.copy()
    patch.apply(labels)
    np.testing.assert_array_equal(labels, after)
    assert (labels[patch.indices] == patch.after).all()
    patch.inverse().apply(labels)
    np.testing.assert_array_equal(labels, before)


def test_a_stroke_that_crosses_itself_keeps_the_first_before_and_last_after() -> None:
    patch = LabelPatch.from_pixels(
        (), [3, 3, 3], [4, 5, 4], [1, 2, 7], [7, 7, 9], SHAPE
    )
    labels = np.zeros(SHAPE, int)
    patch.apply(labels)
    assert labels[3, 4:6].tolist() == [9, 7]
    patch.inverse().apply(labels)
    assert labels[3, 4:6].tolist() == [1, 2]
    assert LabelPatch.from_pixels((), [], [], [], [], SHAPE) is None


# -- commits -------------------------------------------------------------------------


def test_by_default_a_commit_leaves_the_earlier_objects_pixels_alone() -> None:
    bench = Bench()
    bench.add(rectangle(0, 0, 10, 10))
    bench.add(rectangle(5, 5, 15, 15))
    want = expected(_2=np.s_[5:15, 5:15])
    want[:10, :10] = 1
    np.testing.assert_array_equal(bench.labels, want)


def test_overwriting_takes_pixels_and_giving_them_up_returns_them() -> None:
    bench = Bench()
    first = bench.add(rectangle(0, 0, 10, 10))
    second = bench.add(rectangle(5, 5, 15, 15), overlap="overwrite")
    want = expected(_1=np.s_[:10, :10], _2=np.s_[5:15, 5:15])
    np.testing.assert_array_equal(bench.labels, want)
    bench.click(second, (9.0, 9.0))
    bench.answer(second, rectangle(10, 10, 15, 15))
    bench.commit(second)
    want = expected(_1=np.s_[:10, :10], _2=np.s_[10:15, 10:15])
    np.testing.assert_array_equal(bench.labels, want)
    assert bench.document.get(first).written == rectangle(0, 0, 10, 10)


def test_committing_again_replaces_the_objects_earlier_pixels() -> None:
    bench = Bench()
    first = bench.add(rectangle(0, 0, 10, 10))
    bench.click(first, (3.0, 3.0))
    bench.answer(first, rectangle(5, 5, 12, 12))
    bench.commit(first)
    np.testing.assert_array_equal(bench.labels, expected(_1=np.s_[5:12, 5:12]))


def test_pixels_painted_by_hand_survive_a_commit_and_so_do_erased_ones() -> None:
    bench = Bench()
    first = bench.add(rectangle(0, 0, 10, 10))
    bench.paint(np.s_[12:14, 20:25], first)
    bench.paint(np.s_[0:2, 0:2], 0)
    for shape in ((0, 0, 9, 9), (0, 0, 10, 10)):  # survives twice
        bench.click(first, (3.0, float(shape[2])))
        bench.answer(first, rectangle(*shape))
        bench.commit(first)
        want = expected(_1=np.s_[: shape[2], : shape[3]])
        want[12:14, 20:25] = first
        want[0:2, 0:2] = 0
        np.testing.assert_array_equal(bench.labels, want)
    bench.commit(first, keep_painted=False)
    np.testing.assert_array_equal(bench.labels, expected(_1=np.s_[:10, :10]))


def test_overwriting_spares_what_was_painted_by_hand_until_told_otherwise() -> None:
    bench = Bench()
    bench.paint(np.s_[0:4, 0:4], 7)
    bench.document.reserve(7)
    region = rectangle(0, 0, 8, 8)
    eighth = bench.add(region, overlap="overwrite")
    assert eighth == 8
    want = expected(_8=np.s_[:8, :8], _7=np.s_[:4, :4])
    np.testing.assert_array_equal(bench.labels, want)
    bench.commit(eighth, overlap="overwrite", keep_painted=False)
    np.testing.assert_array_equal(bench.labels, expected(_8=np.s_[:8, :8]))


def test_a_commit_reads_only_the_part_of_the_labels_that_matters() -> None:
    class Spy:
        shape = SHAPE

        def __getitem__(self, window):
            rows, columns = window
            assert (rows.stop - rows.start, columns.stop - columns.start) == (3, 4)
            return np.zeros((3, 4), int)

    result = commit_patch(Spy(), 1, rectangle(2, 3, 5, 7))
    assert result.patch.region.area == 12


def test_a_commit_into_labels_of_another_shape_is_refused() -> None:
    with pytest.raises(ValueError, match="image's shape"):
        commit_patch(np.zeros((5, 5), int), 1, rectangle(0, 0, 3, 3))


def test_committing_an_object_without_a_mask_is_refused() -> None:
    bench = Bench()
    record = bench.document.new_object()
    with pytest.raises(ValueError, match="no mask yet"):
        bench.commit(record.id)


def test_removing_an_object_takes_its_pixels_with_it_and_undo_brings_it_back() -> None:
    bench = Bench()
    first = bench.add(rectangle(0, 0, 10, 10))
    record = bench.document.get(first)
    bench.document.remove(first, bench.labels)
    assert first not in bench.document
    assert not bench.labels.any()
    assert bench.document.active_id is None
    bench.document.undo()
    assert bench.document.get(first) is record
    np.testing.assert_array_equal(bench.labels, expected(_1=np.s_[:10, :10]))


def test_a_deleted_labels_layer_can_be_written_anew() -> None:
    bench = Bench(planes=(3,))
    for plane in ((0,), (2,)):
        record = bench.document.new_object(plane)
        bench.click(record.id, (1.0, 1.0))
        bench.answer(record.id, rectangle(plane[0], 0, 5, 5))
        bench.commit(record.id)
    labels = np.zeros_like(bench.labels)
    for patch in bench.document.written_patches(SHAPE):
        patch.apply(labels)
    np.testing.assert_array_equal(labels, bench.labels)


# -- which logits are fed back -------------------------------------------------------


def answered(prompts: Prompts, **changes) -> ObjectRecord:
    return ObjectRecord(
        1,
        prompts=prompts,
        answered=prompts,
        region=rectangle(0, 0, 3, 3),
        logits=logits(5),
        **changes,
    )


def test_added_points_feed_the_previous_logits_back() -> None:
    record = answered(Prompts(points=[(1, 1)]))
    added = Prompts(points=[(2, 2), (1, 1)], labels=[0, 1])
    assert feedback(record, added, USER * 2).logits is record.logits


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
    assert restarted == edited.replace(logits=coarse)
    assert restarted.logits is coarse


def test_a_mask_prompt_is_not_shadowed_by_older_logits() -> None:
    record = answered(Prompts(points=[(1, 1)]), coarse=logits(3))
    masked = Prompts(points=[(1, 1)], mask=np.ones(SHAPE, bool))
    assert feedback(record, masked, USER).logits is None
    again = answered(masked)
    more = masked.replace(points=[(1, 1), (2, 2)], labels=[1, 1])
    assert feedback(again, more, USER * 2).logits is again.logits


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
    points=[(5, 5), (6, 9), (15, 15)], labels=[1, 1, 0], logits=np.full((1, 4, 4), 3)
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
    saved = Prompts(points=[(1, 1)], logits=logits(2))
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


def test_sources_must_fit_the_points() -> None:
    document = Document()
    record = document.new_object()
    with pytest.raises(ValueError, match="2 sources for 1 points"):
        document.set_prompts(record.id, Prompts(points=[(1, 1)]), ["user", "auto"])


# -- objects -------------------------------------------------------------------------


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


# -- history -------------------------------------------------------------------------


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
    steps = len(bench.document._undo)
    record = bench.document.get(object_id)
    bench.document.edit_prompts(object_id, points=record.prompts.points)
    bench.document.set_class(object_id, record.class_name)
    assert (bench.document.undo_name, len(bench.document._undo)) == (name, steps)


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
        LabelPatch.from_pixels((plane,), [1, 2], [3, 4], [0, 0], [5, 5], SHAPE)
        for plane in (0, 1)
    ]
    bench.document.record_paint(patches)
    assert told == [(0,), (1,)]
