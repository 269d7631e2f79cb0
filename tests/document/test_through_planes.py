"""One object on many planes: found, confirmed, named and undone as a whole."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.document import (
    Document,
    FoundPlane,
    ObjectRecord,
    Region,
    is_absent,
    is_propagated,
    unconfirmed_planes,
)
from napari_promise.prompts import Prompts

SHAPE = (20, 30)


def square(side: int) -> Region:
    mask = np.zeros(SHAPE, bool)
    mask[4 : 4 + side, 6 : 6 + side] = True
    region = Region.from_mask(mask)
    assert region is not None
    return region


def found(plane: int, side: int = 5, confidence: float = 0.7) -> FoundPlane:
    region = square(side) if side else None
    return FoundPlane((plane,), region, confidence)


@pytest.fixture
def document() -> Document:
    """Holds one object, prompted on plane 5."""
    document = Document()
    record = document.new_object((5,), class_name="liver")
    changed = document.set_prompts(record.id, Prompts(points=[(6, 8)], labels=[1]))
    document.set_mask(
        record.id, square(6), score=0.9, logits=None, revision=changed.revision
    )
    return document


def test_what_is_found_on_other_planes_belongs_to_the_same_object(document) -> None:
    document.put_propagated(1, [found(6), found(4)], run=object())
    whole = document.of_label(1)
    assert [record.plane for record in whole] == [(4,), (5,), (6,)]
    assert [is_propagated(record) for record in whole] == [True, False, True]
    assert {record.class_name for record in whole} == {"liver"}
    assert all(record.is_answered for record in whole)
    for record in whole:
        assert record.region.covers(record.prompts.points).all()


def test_a_run_is_one_step_however_many_planes_come(document) -> None:
    run = object()
    for plane in (6, 4, 7):
        document.put_propagated(1, [found(plane)], run=run)
    assert document.undo()
    assert [record.plane for record in document.of_label(1)] == [(5,)]
    assert document.redo()
    assert len(document.of_label(1)) == 4


def test_an_edit_between_two_planes_of_a_run_is_undone_by_itself(document) -> None:
    run = object()
    document.put_propagated(1, [found(6)], run=run)
    document.set_class(1, "spleen")
    document.put_propagated(1, [found(7)], run=run)
    document.undo()
    assert len(document.of_label(1)) == 2
    document.undo()
    assert {record.class_name for record in document.of_label(1)} == {"liver"}


def test_another_run_leaves_alone_what_was_prompted_or_confirmed(document) -> None:
    document.put_propagated(1, [found(6), found(7)], run=object())
    kept = document.get_at(1, (6,))
    document.confirm([kept.id])
    again = [found(5, 3), found(6, 3), found(7, 3)]
    document.put_propagated(1, again, run=object())
    areas = [record.region.area for record in document.of_label(1)]
    assert areas == [36, 25, 9]


def test_a_plane_found_empty_loses_what_was_found_there_before(document) -> None:
    document.put_propagated(1, [found(6)], run=object())
    document.put_propagated(1, [found(6, side=0)], run=object())
    assert len(document.of_label(1)) == 1
    document.undo()
    assert len(document.of_label(1)) == 2


def test_nothing_is_found_for_an_object_that_is_gone(document) -> None:
    document.remove(1)
    assert document.put_propagated(1, [found(6)], run=object()) == ()
    assert len(document) == 0


def test_confirming_can_be_undone_and_keeps_the_mask(document) -> None:
    document.put_propagated(1, [found(6)], run=object())
    record = document.get_at(1, (6,))
    assert document.confirm([record.id]) == 1
    assert not is_propagated(document.get(record.id))
    assert document.get(record.id).region is record.region
    assert document.get(record.id).is_answered
    document.undo()
    assert is_propagated(document.get(record.id))


def test_a_committed_plane_is_unconfirmed_until_somebody_confirms_it(document) -> None:
    labels = np.zeros((9, *SHAPE), np.uint16)
    document.put_propagated(1, [found(6), found(4)], run=object())
    assert unconfirmed_planes(document.objects) == frozenset()
    document.commit_many([record.id for record in document.of_label(1)], labels)
    assert unconfirmed_planes(document.objects) == {(6,), (4,)}
    assert unconfirmed_planes(document.objects, {2}) == frozenset()
    document.confirm([document.get_at(1, (6,)).id])
    assert unconfirmed_planes(document.objects) == {(4,)}


def test_of_a_proposed_plane_that_is_confirmed_the_mask_is_left(document) -> None:
    region = found(6).region
    many = Prompts(points=[(1, 1), (4, 4), (9, 9)], labels=[1, 1, 0])
    (record,) = document.add_many(
        [
            ObjectRecord(
                5,
                (6,),
                prompts=many,
                sources=("auto",) * 3,
                region=region,
                answered=many,
                answered_revision=0,
            )
        ]
    )
    assert document.confirm([record.id]) == 1
    kept = document.get(record.id)
    assert kept.region is region
    assert kept.is_answered
    assert kept.sources == ("user",)
    assert region.covers(kept.prompts.points).all()


def test_a_class_is_given_to_all_planes_in_one_step(document) -> None:
    document.put_propagated(1, [found(6), found(7)], run=object())
    document.set_class(document.get_at(1, (7,)).id, "spleen")
    assert {record.class_name for record in document.of_label(1)} == {"spleen"}
    document.undo()
    assert {record.class_name for record in document.of_label(1)} == {"liver"}


def test_committing_and_removing_the_whole_object_reach_every_plane(document) -> None:
    labels = np.zeros((9, *SHAPE), np.uint16)
    document.events.labels_patched.connect(lambda patch: patch.apply(labels))
    document.put_propagated(1, [found(6), found(4)], run=object())
    document.commit_many([record.id for record in document.of_label(1)], labels)
    assert [np.count_nonzero(plane == 1) for plane in labels[3:8]] == [0, 25, 36, 25, 0]
    document.remove_many([record.id for record in document.of_label(1)], labels)
    assert not labels.any()
    document.undo()
    assert np.count_nonzero(labels) == 86


def test_a_record_read_back_is_propagated_still(document) -> None:
    document.put_propagated(1, [found(6)], run=object())
    other = Document()
    other.restore(document.snapshot())
    assert is_propagated(other.get_at(1, (6,)))


def test_why_an_object_ends_is_kept_with_its_last_plane_and_undone(document) -> None:
    document.put_propagated(1, [found(6)], run=object())
    end = FoundPlane((7,), None, 0.1, stopped="its contrast is down to 10%")
    document.put_propagated(1, [end], run=object())
    assert document.get_at(1, (6,)).ends == ("", "its contrast is down to 10%")
    assert document.get_at(1, (5,)).ends == ("", "")
    document.undo()
    assert document.get_at(1, (6,)).ends == ("", "")


def test_a_correction_and_what_follows_are_one_step(document) -> None:
    document.put_propagated(1, [found(6), found(7)], run=object())
    record = document.get_at(1, (6,))
    changed = document.set_prompts(record.id, Prompts(points=[(5, 7)], labels=[1]))
    document.set_mask(
        record.id, square(7), score=0.9, logits=None, revision=changed.revision
    )
    run = object()
    assert document.go_on(run, record.id)
    document.put_propagated(1, [found(7, side=8)], run=run)
    document.undo()
    assert [r.region.area for r in document.of_label(1)] == [36, 25, 25]


def test_a_step_that_changed_another_object_is_not_gone_on_with(document) -> None:
    other = document.new_object((9,))
    assert not document.go_on(object(), 1)
    assert document.go_on(object(), other.id)


def test_an_object_goes_on_on_another_plane_with_its_label_and_class(document) -> None:
    record = document.continue_object(1, (9,))
    assert (record.label, record.plane, record.class_name) == (1, (9,), "liver")
    assert document.active_id == record.id
    assert document.continue_object(1, (9,)) is record
    document.undo()
    assert len(document.of_label(1)) == 1


def test_a_plane_said_to_be_empty_stays_so_in_later_runs(document) -> None:
    document.put_propagated(1, [found(6), found(7)], run=object())
    document.set_absent(1, (7,))
    assert is_absent(document.get_at(1, (7,)))
    document.put_propagated(1, [found(7)], run=object())
    assert is_absent(document.get_at(1, (7,)))
    document.undo()
    assert document.get_at(1, (7,)).region.area == 25


def test_a_record_that_was_only_begun_says_nothing_of_its_plane(document) -> None:
    assert not is_absent(document.continue_object(1, (9,)))
