"""Many objects at once: one step, one event, and what one by one would have left."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.document import Changes, Document, ObjectRecord
from napari_promise.prompts import Prompts
from tests.document.bench import SHAPE, Bench, expected, rectangle


class Many(Bench):
    """A bench that notes the events and takes records with masks."""

    def __init__(self, planes: tuple[int, ...] = ()) -> None:
        super().__init__(planes)
        self.told: list[tuple] = []
        self.document.events.connect(
            lambda info: self.told.append((info.signal.name, *info.args))
        )

    def put(self, *boxes: tuple[int, ...], planes=None, labels=None) -> list[int]:
        planes = planes or [()] * len(boxes)
        labels = labels or [0] * len(boxes)
        records = self.document.add_many(
            ObjectRecord(
                number,
                plane,
                prompts=Prompts(points=[box[:2]]),
                sources=("user",),
                region=rectangle(*box),
                score=0.5,
                answered_revision=0,
                label=label,
            )
            for number, (box, plane, label) in enumerate(
                zip(boxes, planes, labels, strict=True), start=1
            )
        )
        return [record.id for record in records]

    def names(self) -> list[str]:
        told, self.told = self.told, []
        return [name for name, *_ in told]


BOXES = ((0, 0, 4, 4), (2, 2, 8, 8), (10, 10, 15, 15))


def test_objects_added_together_are_one_step_and_one_event() -> None:
    bench = Many()
    bench.put(*BOXES)
    assert bench.told == [
        ("objects_changed", Changes(added=(1, 2, 3))),
        ("history_changed",),
    ]
    assert all(record.is_answered for record in bench.document.objects)
    assert bench.document.active_id is None
    bench.told.clear()
    bench.document.undo()
    assert bench.told == [
        ("objects_changed", Changes(removed=(1, 2, 3))),
        ("history_changed",),
    ]
    bench.told.clear()
    bench.document.redo()
    assert bench.told[0] == ("objects_changed", Changes(added=(1, 2, 3)))


def test_a_single_object_is_told_of_as_ever() -> None:
    bench = Many()
    bench.put(BOXES[0])
    assert bench.told[0] == ("object_added", 1)


def test_an_answered_object_without_logits_can_be_clicked_on() -> None:
    bench = Many()
    (number,) = bench.put(BOXES[0])
    bench.click(number, (3.0, 3.0))
    assert not bench.document.get(number).is_answered
    assert bench.document.get(number).prompts.before is None


@pytest.mark.parametrize("overlap", ["keep", "overwrite"])
def test_committing_many_leaves_what_one_by_one_would(overlap) -> None:
    together, singly = Many(), Many()
    for bench in (together, singly):
        bench.put((0, 0, 5, 5), (3, 3, 9, 9), (8, 8, 12, 12))
        bench.paint(np.s_[4:6, 4:7], 9)
    patches = together.document.commit_many([1, 2, 3], together.labels, overlap=overlap)
    for number in (1, 2, 3):
        singly.commit(number, overlap=overlap)
    assert len(patches) == 1
    np.testing.assert_array_equal(together.labels, singly.labels)
    for one, other in zip(
        together.document.objects, singly.document.objects, strict=True
    ):
        assert one.committed
        assert (one.written, one.yielded) == (other.written, other.yielded)
    # Once more, smaller: what was taken comes back.
    for bench in (together, singly):
        for number, box in ((2, (5, 5, 9, 9)), (3, (10, 10, 12, 12))):
            bench.click(number, (8.0, 8.0))
            bench.answer(number, rectangle(*box))
    together.document.commit_many([3, 2], together.labels, overlap=overlap)
    for number in (3, 2):
        singly.commit(number, overlap=overlap)
    np.testing.assert_array_equal(together.labels, singly.labels)


def test_committing_many_is_one_step_and_one_event_and_one_patch_a_plane() -> None:
    bench = Many((2,))
    bench.put(*BOXES, planes=[(0,), (1,), (0,)])
    bench.told.clear()
    patches = bench.document.commit_many([1, 2, 3], bench.labels)
    assert [patch.plane for patch in patches] == [(0,), (1,)]
    assert bench.told[0] == ("objects_changed", Changes(changed=(1, 3, 2)))
    assert bench.names() == [
        "objects_changed",
        "labels_patched",
        "labels_patched",
        "history_changed",
    ]
    want = np.stack([expected(_1=np.s_[0:4, 0:4], _3=np.s_[10:15, 10:15])] * 2)
    want[1] = expected(_2=np.s_[2:8, 2:8])
    np.testing.assert_array_equal(bench.labels, want)
    bench.document.undo()
    assert not bench.labels.any()
    assert bench.names().count("objects_changed") == 1
    bench.document.redo()
    np.testing.assert_array_equal(bench.labels, want)


def test_where_one_has_no_mask_none_is_committed() -> None:
    bench = Many()
    bench.put(*BOXES)
    blank = bench.document.new_object().id
    with pytest.raises(ValueError, match="no mask yet"):
        bench.document.commit_many([1, blank], bench.labels)
    assert not bench.labels.any()


def test_removing_many_leaves_what_one_by_one_would() -> None:
    together, singly = Many(), Many()
    for bench in (together, singly):
        bench.put((0, 0, 6, 6), (3, 3, 9, 9), (5, 5, 12, 12), (14, 14, 18, 18))
        for number in (1, 2, 3, 4):
            bench.commit(number, overlap="overwrite")
        bench.paint(np.s_[0:2, 20:25], 2)  # by hand, far from the rest
    before = together.labels.copy()
    together.told.clear()
    together.document.remove_many([3, 2], together.labels)
    assert together.names().count("objects_changed") == 1
    for number in (3, 2):
        singly.document.remove(number, singly.labels)
    np.testing.assert_array_equal(together.labels, singly.labels)
    want = expected(_1=np.s_[0:6, 0:6], _4=np.s_[14:18, 14:18])
    np.testing.assert_array_equal(together.labels, want)
    assert [r.id for r in together.document.objects] == [1, 4]
    together.document.undo()
    np.testing.assert_array_equal(together.labels, before)
    assert [r.id for r in together.document.objects] == [1, 2, 3, 4]


def test_removing_many_without_labels_leaves_the_pixels() -> None:
    bench = Many()
    bench.put(*BOXES)
    bench.document.commit_many([1, 2, 3], bench.labels)
    bench.document.active_id = 2
    bench.document.remove_many([1, 2])
    assert bench.document.active_id is None
    assert set(np.unique(bench.labels)) == {0, 1, 2, 3}


# Labels


def test_records_that_share_a_label_are_one_object_through_planes() -> None:
    bench = Many((2,))
    bench.put(*BOXES, planes=[(0,), (1,), (1,)], labels=[1, 1, 3])
    document = bench.document
    assert [r.label for r in document.objects] == [1, 1, 3]
    assert document.get_at(1, (1,)).id == 2
    assert document.get_at(2, (1,)) is None
    assert [r.id for r in document.on_plane((1,))] == [2, 3]
    bench.commit(2)
    document.commit_many([1, 3], bench.labels)
    assert set(np.unique(bench.labels[0])) == {0, 1}
    assert set(np.unique(bench.labels[1])) == {0, 1, 3}
    document.remove(2, bench.labels[1])
    assert set(np.unique(bench.labels[1])) == {0, 3}
    assert document.get_at(1, (1,)) is None
    document.undo()
    assert document.get_at(1, (1,)).id == 2


def test_what_shares_a_label_goes_on_sharing_one_where_numbers_are_taken() -> None:
    bench = Many((2,))
    first = bench.put(*BOXES[:2], planes=[(0,), (1,)], labels=[1, 1])
    again = bench.put(*BOXES[:2], planes=[(0,), (1,)], labels=[1, 1])
    records = [bench.document.get(number) for number in again]
    assert not set(first) & set(again)
    assert len({record.label for record in records}) == 1
    assert records[0].label not in first


def test_no_two_records_of_a_plane_have_one_label() -> None:
    bench = Many()
    bench.put(*BOXES, labels=[2, 2, 2])
    assert len({record.label for record in bench.document.objects}) == 3


def test_a_label_of_an_object_is_given_to_no_other() -> None:
    document = Document()
    document.add_many([ObjectRecord(3, (0,), label=8)])
    assert document.new_object((0,)).id == 9


def test_a_mask_must_fit_the_labels_of_its_plane() -> None:
    bench = Many()
    bench.put(*BOXES)
    with pytest.raises(ValueError, match="image's shape"):
        bench.document.commit_many([1, 2], np.zeros((SHAPE[0] + 1, SHAPE[1]), int))
    assert not any(record.committed for record in bench.document.objects)
