"""A document with its history becomes plain data and comes back exactly."""

from __future__ import annotations

import base64
import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest

from napari_promise.document import (
    Document,
    FoundPlane,
    LabelPatch,
    MaskLogits,
    ObjectRecord,
    Region,
    SmallLogits,
    Snapshot,
    is_absent,
    is_propagated,
)
from napari_promise.project import codec
from napari_promise.prompts import Before, Prompts
from tests.project.people import SHAPE, rectangle

#: Written by napari-promise 0.1.
FIXTURES = Path(__file__).parents[1] / "fixtures"


class Blobs:
    """Keeps blobs in memory and counts how often one is made."""

    def __init__(self) -> None:
        self.kept: list[bytes] = []
        self._known: dict[int, tuple[object, list[int]]] = {}

    def put(self, owner, make):
        if id(owner) not in self._known:
            self.kept.append(make())
            self._known[id(owner)] = (owner, [len(self.kept) - 1])
        return self._known[id(owner)][1]

    def get(self, ref):
        return self.kept[ref[0]]


def through(snapshot: Snapshot) -> Snapshot:
    blobs = Blobs()
    data = json.loads(json.dumps(codec.encode(snapshot, blobs.put), allow_nan=False))
    return codec.decode(data, blobs.get)[0]


def same(a: object, b: object) -> bool:
    if isinstance(a, np.ndarray):
        return a.dtype == b.dtype and np.array_equal(a, b, equal_nan=True)
    if isinstance(a, (ObjectRecord, LabelPatch)):
        return all(
            same(getattr(a, field.name), getattr(b, field.name))
            for field in dataclasses.fields(a)
        )
    if isinstance(a, MaskLogits) and isinstance(b, MaskLogits):
        return type(a.held) is type(b.held) and same(a.array, b.array)
    return a == b


def logits(seed: int, kind: type = np.float16) -> np.ndarray:
    values = np.random.default_rng(seed).normal(size=(1, 8, 8)).astype(kind)
    array = values.astype(np.float32)
    array.flags.writeable = False
    return array


@pytest.fixture
def worked() -> tuple[Document, np.ndarray]:
    """A document in which everything happened that can."""
    labels = np.zeros((2, *SHAPE), np.uint16)
    document = Document()
    document.events.labels_patched.connect(lambda patch: patch.apply(labels))
    for plane in ((0,), (1,), (0,)):
        record = document.new_object(plane, class_name="polyp")
        for step, region in enumerate(
            (rectangle(3, 3, 20, 20), rectangle(3, 3, 25, 22)), start=1
        ):
            record = document.set_prompts(
                record.id,
                Prompts(
                    points=[(0.1 + 0.2, 7.0), (11.0, 12.5)][:step],
                    labels=[1, 0][:step],
                    boxes=[(1, 2, 3.7, 4)],
                    mask=region.mask if plane == (1,) else None,
                    scores=[0.25, np.nan][:step],
                ),
                ("auto", "user")[:step],
                coarse=logits(9),
            )
            document.set_mask(
                record.id,
                region,
                score=0.9,
                logits=logits(record.revision),
                revision=record.revision,
            )
        document.commit(record.id, labels[plane], overlap="overwrite")
    document.record_paint(
        [LabelPatch.from_crops((1,), (1, 3), np.eye(2) * 5, np.eye(2) * 9, SHAPE)]
    )
    document.clear(2)
    document.remove(1, labels[0])
    document.undo()
    return document, labels


def test_everything_comes_back(worked):
    document, _ = worked
    before = document.snapshot()
    after = through(before)
    assert (after.active, after.highest_id) == (before.active, before.highest_id)
    assert all(map(same, after.records, before.records))
    for name in ("undo", "redo"):
        steps, others = getattr(after, name), getattr(before, name)
        assert [s.name for s in steps] == [s.name for s in others]
        for step, other in zip(steps, others, strict=True):
            assert step.active == other.active
            assert list(step.records) == list(other.records)
            for pair, its in zip(
                step.records.values(), other.records.values(), strict=True
            ):
                assert all(map(same, pair, its))
            assert all(map(same, step.patches, other.patches))


@pytest.mark.parametrize("undone", [False, True])
def test_a_commit_that_waits_for_its_mask_comes_back_and_is_carried_out(undone):
    labels = np.zeros(SHAPE, np.uint16)
    document = Document()
    record = document.new_object()
    record = document.set_prompts(record.id, Prompts(points=[(4, 5)]), ("user",))
    document.commit_later(record.id, overlap="overwrite", keep_painted=False)
    document.active_id = None
    if undone:
        document.undo()
    again = Document()
    again.restore(through(document.snapshot()))
    if undone:
        assert not again.pending
        again.redo()
    assert again.pending == {record.id}
    found = again.get(record.id)
    assert found.prompts == record.prompts
    assert not found.committed
    wish = again.snapshot().undo[-1].commit
    assert (wish.overlap, wish.keep_painted) == ("overwrite", False)
    again.events.labels_patched.connect(lambda patch: patch.apply(labels))
    again.set_mask(
        found.id,
        rectangle(3, 3, 9, 9),
        score=0.9,
        logits=None,
        revision=found.revision,
    )
    assert again.carry_out(lambda _plane: labels) == ([found.id], [])
    assert again.get(found.id).committed
    assert labels.any()


def test_what_was_shared_is_shared_again(worked):
    document, _ = worked
    after = through(document.snapshot())
    record = after.records[0]
    assert record.is_answered == document.objects[0].is_answered
    befores = [pair[0] for step in after.undo for pair in step.records.values()]
    afters = [pair[1] for step in after.undo for pair in step.records.values()]
    assert any(before is record for before in befores for record in afters if record)


def test_logits_that_no_small_number_holds_keep_their_type():
    whole = MaskLogits(logits(0, np.float64))
    record = ObjectRecord(1, logits=whole, region=rectangle(1, 1, 2, 2))
    after = through(Snapshot((record,), highest_id=1))
    assert same(after.records[0], record)


def test_answers_labels_tiles_and_small_logits_come_back():
    whole = logits(3).repeat(32, axis=1).repeat(32, axis=2)
    held = MaskLogits(whole)
    held.shrink()
    before = Before(logits(4), added=[True], tile=(0, 0, 20, 20))
    record = ObjectRecord(
        4,
        (1,),
        prompts=Prompts(points=[(1, 1)], before=before),
        sources=("propagated",),
        region=rectangle(1, 1, 2, 2),
        logits=held,
        answered_revision=2,
        revision=2,
        label=3,
    )
    edited = dataclasses.replace(record, id=5, plane=(0,), revision=3)
    after = through(Snapshot((record, edited), highest_id=5))
    assert all(map(same, after.records, (record, edited)))
    assert [r.is_answered for r in after.records] == [True, False]
    assert after.records[0].logits is after.records[1].logits
    assert isinstance(after.records[0].logits.held, SmallLogits)


def test_files_of_0_1_are_read_with_all_their_history():
    saved = json.loads((FIXTURES / "v0_1_history.json").read_text())
    blobs = [base64.b64decode(blob) for blob in saved["blobs"]]
    snapshot, _ = codec.decode(saved["history"], lambda ref: blobs[ref[0]])
    document = Document()
    document.restore(snapshot)
    for number, then in enumerate(saved["states"]):
        assert document.undo_name == then["undo"]
        assert [said_of(r) for r in document.objects] == then["records"]
        assert all(r.label == r.id for r in document.objects)
        assert document.undo() == (number + 1 < len(saved["states"]))
    again = through(snapshot)
    assert all(map(same, again.records, snapshot.records))


def said_of(record: ObjectRecord) -> dict:
    """What the fixture of 0.1 says of every record."""

    def total(array):
        return None if array is None else float(array.sum())

    prompts = record.prompts
    return {
        "id": record.id,
        "plane": list(record.plane),
        "points": prompts.points.tolist(),
        "sources": list(record.sources),
        "score": record.score,
        "is_answered": record.is_answered,
        "committed": record.committed,
        "area": None if record.region is None else record.region.area,
        "answered": None if prompts.answered is None else prompts.answered.tolist(),
        "added": None if prompts.added is None else prompts.added.tolist(),
        "before": total(prompts.logits),
        "logits": None if record.logits is None else total(record.logits.array),
        "coarse": total(record.coarse),
    }


def test_a_later_history_is_refused_with_the_version_that_wrote_it():
    data = codec.encode(Snapshot(), Blobs().put)
    later = {**data, "version": data["version"] + 1, "written_by": "napari-promise 0.9"}
    with pytest.raises(ValueError, match=r"written by napari-promise 0\.9.*update"):
        codec.decode(later, Blobs().get)
    with pytest.raises(ValueError, match="damaged"):
        codec.decode({**data, "version": None}, Blobs().get)


def test_only_what_is_new_is_made_again():
    document = Document()
    record = document.new_object()
    blobs = Blobs()
    for number in range(3):
        record = document.set_prompts(
            record.id, Prompts(points=[(number, 1)]), ["user"]
        )
        document.set_mask(
            record.id,
            rectangle(1, 1, 5 + number, 5),
            score=1,
            logits=logits(number),
            revision=record.revision,
        )
        before = len(blobs.kept)
        codec.encode(document.snapshot(), blobs.put)
        assert len(blobs.kept) - before == 2  # the region and the logits


def test_a_restored_document_gives_out_no_number_twice(worked):
    document, _ = worked
    fresh = Document()
    fresh.restore(through(document.snapshot()))
    revisions = {r.revision for r in document.objects}
    record = fresh.new_object()
    assert record.id == document.next_id
    assert record.revision > max(revisions)


def test_a_snapshot_does_not_follow_later_edits():
    document = Document()
    record = document.new_object()
    record = document.set_prompts(record.id, Prompts(points=[(1, 1)]), ["user"])
    snapshot = document.snapshot()
    document.set_mask(
        record.id,
        rectangle(1, 1, 5, 5),
        score=1,
        logits=None,
        revision=record.revision,
    )
    assert snapshot.records[0].region is None
    assert snapshot.undo[-1].records[record.id][1].region is None


def test_restoring_asks_for_no_pixels(worked):
    document, _ = worked
    fresh = Document()
    asked: list[object] = []
    fresh.events.labels_patched.connect(asked.append)
    fresh.restore(document.snapshot())
    assert asked == []
    assert fresh.undo_name == document.undo_name


@pytest.mark.parametrize("lack", ["records", "objects", "prompts", "arrays"])
def test_data_that_lack_a_part_are_called_damaged(worked, lack):
    blobs = Blobs()
    data = codec.encode(worked[0].snapshot(), blobs.put)
    with pytest.raises(ValueError, match="damaged"):
        codec.decode(
            {**data, lack: []} if lack != "records" else {"version": 1}, blobs.get
        )


def test_without_blobs_points_boxes_and_committed_masks_are_left(worked):
    document, labels = worked
    data = codec.encode(document.snapshot(), Blobs().put)
    found = codec.salvage(data, labels)
    assert [r.id for r in found] == [r.id for r in document.objects]
    for record, before in zip(found, document.objects, strict=True):
        assert np.array_equal(record.prompts.points, before.prompts.points)
        assert record.sources == before.sources
        mask = labels[record.plane] == record.id
        assert record.written == Region.from_mask(mask)
        assert record.logits is None
    assert codec.salvage({}, labels) == ()


def test_an_object_through_planes_keeps_its_ends_and_what_was_said_of_planes() -> None:
    document = Document()
    record = document.new_object((4,), class_name="liver")
    changed = document.set_prompts(record.id, Prompts(points=[(3, 3)], labels=[1]))
    mask = np.zeros(SHAPE, bool)
    mask[1:4, 1:6] = True
    region = Region.from_mask(mask)
    document.set_mask(
        record.id, region, score=0.9, logits=None, revision=changed.revision
    )
    run = object()
    document.put_propagated(1, [FoundPlane((5,), region, 0.4)], run=run)
    ended = FoundPlane((6,), None, 0.1, stopped="its contrast is down to 10%")
    document.put_propagated(1, [ended], run=run)
    document.set_absent(1, (2,))
    back = Document()
    back.restore(through(document.snapshot()))
    assert back.get_at(1, (5,)).ends == ("", "its contrast is down to 10%")
    assert back.get_at(1, (5,)).score == 0.4
    assert is_propagated(back.get_at(1, (5,)))
    assert is_absent(back.get_at(1, (2,)))
    back.undo()
    back.undo()
    assert [r.plane for r in back.of_label(1)] == [(4,)]
