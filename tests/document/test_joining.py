"""Objects become one, one becomes several, and undo leads back."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.document import (
    Document,
    MaskLogits,
    ObjectRecord,
    Region,
    merge,
    parts_of,
    split,
)
from napari_promise.prompts import Prompts

SHAPE = (40, 60)


def disc(row: float, column: float, radius: float = 8) -> np.ndarray:
    rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
    return (rows - row) ** 2 + (columns - column) ** 2 <= radius**2


def document_of(*masks: np.ndarray) -> tuple[Document, np.ndarray]:
    document, labels = Document(), np.zeros(SHAPE, np.uint16)
    document.events.labels_patched.connect(lambda patch: patch.apply(labels))
    for mask in masks:
        place = np.argwhere(mask).mean(0)
        prompts = Prompts(points=[place], labels=[1], scores=[0.5])
        document.add_many(
            [
                ObjectRecord(
                    0,
                    prompts=prompts,
                    sources=("auto",),
                    region=Region.from_mask(mask),
                    score=0.9,
                    logits=MaskLogits(np.where(mask, 3, -3)[None].astype(np.float32)),
                    answered=prompts,
                    answered_revision=0,
                )
            ]
        )
    return document, labels


def test_merged_objects_have_the_pixels_points_and_logits_of_all() -> None:
    small, large = disc(20, 15, 6), disc(20, 27)
    document, labels = document_of(small, large)
    assert merge(document, [1, 2], labels) == 2
    (record,) = document.objects
    assert record.is_answered
    assert not record.committed
    np.testing.assert_array_equal(record.region.mask, small | large)
    np.testing.assert_array_equal(record.logits.array[0] > 0, small | large)
    assert len(record.prompts.points) == 2
    assert record.sources == ("auto", "auto")
    assert not labels.any()
    document.undo()
    assert [r.id for r in document.objects] == [1, 2]


def test_merged_committed_objects_keep_what_was_painted() -> None:
    document, labels = document_of(disc(20, 12, 6), disc(20, 40))
    document.commit_many([1, 2], labels)
    labels[2:4, 10:14] = 1  # painted by hand, beside the mask
    document.record_paint([])
    before = labels.copy()
    merge(document, [1, 2], labels)
    np.testing.assert_array_equal(labels > 0, before > 0)
    assert set(np.unique(labels)) == {0, 2}
    document.undo()
    np.testing.assert_array_equal(labels, before)
    document.redo()
    assert set(np.unique(labels)) == {0, 2}


def test_fewer_than_two_objects_are_not_merged() -> None:
    document, labels = document_of(disc(20, 12))
    with pytest.raises(ValueError, match="at least two"):
        merge(document, [1, 1], labels)


def test_touching_discs_are_split_at_their_waist_into_committed_objects() -> None:
    both = disc(20, 15) | disc(20, 29)
    document, labels = document_of(both)
    document.commit(1, labels)
    ids = split(document, 1, labels)
    assert len(ids) == 2
    assert all(document.get(i).committed for i in ids)
    np.testing.assert_array_equal(labels > 0, both)
    assert labels[20, 12] != labels[20, 32]
    assert labels[20, 12] in ids
    for record in document.objects:
        r0, c0, r1, c1 = record.prompts.boxes[0]
        assert (r0 + 0.5, c0 + 0.5, r1 + 0.5, c1 + 0.5) == record.region.bbox
    document.undo()
    assert set(np.unique(labels)) == {0, 1}


def test_a_disc_is_split_between_the_points_in_it_only() -> None:
    whole = Region.from_mask(disc(20, 20))
    assert len(parts_of(whole, np.zeros((0, 2)))) == 1
    assert len(parts_of(whole, np.array([(20, 20), (2, 2)]))) == 1
    parts = parts_of(whole, np.array([(20, 15), (20, 25)]))
    assert len(parts) == 2
    np.testing.assert_array_equal(
        np.logical_xor(parts[0].mask, parts[1].mask), whole.mask
    )
    document, labels = document_of(disc(20, 20))
    with pytest.raises(ValueError, match="put a point on each"):
        split(document, 1, labels)
    assert len(document) == 1
