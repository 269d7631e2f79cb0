"""What a click is for: another object, a correction, or a new one; and an outline."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.document import Document, ObjectRecord, Region
from napari_promise.prompts import Prompts
from napari_promise.widgets.layers.edits import rows_of, with_points
from napari_promise.widgets.layers.picking import Pick, meant_by, within

SHAPE = (60, 100)
LABELS = np.zeros(SHAPE, np.uint16)


def square(row: int, column: int, half: int = 6) -> ObjectRecord:
    mask = np.zeros(SHAPE, bool)
    mask[row - half : row + half, column - half : column + half] = True
    prompts = Prompts(points=[(row, column)], labels=[1], scores=[0.9])
    return ObjectRecord(
        0,
        prompts=prompts,
        sources=("auto",),
        region=Region.from_mask(mask),
        score=0.9,
        answered=prompts,
        answered_revision=0,
    )


@pytest.fixture
def document() -> Document:
    document = Document()
    document.add_many([square(20, 20), square(20, 60)])
    return document


def test_a_click_on_a_mask_is_for_its_object(document: Document) -> None:
    assert meant_by(document, LABELS, (), (22, 58)) == Pick(2)
    document.active_id = 1
    assert meant_by(document, LABELS, (), (22, 58)) == Pick(2)


def test_a_click_in_or_near_the_object_in_work_corrects_it(document: Document) -> None:
    document.active_id = 1
    for place in ((20, 20), (20, 28), (12, 20)):
        assert meant_by(document, LABELS, (), place) == Pick()


def test_a_click_far_from_all_begins_an_object(document: Document) -> None:
    assert meant_by(document, LABELS, (), (50, 90)) == Pick(begins=True)
    document.active_id = 1
    assert meant_by(document, LABELS, (), (50, 90)) == Pick(begins=True)


def test_an_object_that_was_begun_gets_the_click_wherever_it_falls(
    document: Document,
) -> None:
    document.new_object()
    assert meant_by(document, LABELS, (), (20, 60)) == Pick()


def test_a_committed_object_is_found_by_its_label(document: Document) -> None:
    labels = LABELS.copy()
    document.events.labels_patched.connect(lambda patch: patch.apply(labels))
    document.commit(1, labels)
    labels[40:50, 40:50] = 1  # painted
    assert meant_by(document, labels, (), (45, 45)) == Pick(1)
    assert meant_by(document, labels, (), (58, 1)) == Pick(begins=True)


def test_a_smaller_object_is_found_within_a_larger(document: Document) -> None:
    document.add_many([square(20, 60, 15)])
    assert meant_by(document, LABELS, (), (20, 60)) == Pick(2)
    assert meant_by(document, LABELS, (), (10, 50)) == Pick(3)


def test_an_outline_holds_objects_whose_middle_it_encloses(
    document: Document,
) -> None:
    around = np.array([(0, 40), (40, 50), (40, 90), (0, 90)], float)
    assert within(document, (), around) == (2,)
    everything = np.array([(0, 0), (0, 99), (59, 99), (59, 0)], float)
    assert within(document, (), everything) == (1, 2)
    assert within(Document(), (), everything) == ()


def test_a_point_taken_out_of_its_own_box_leaves_the_box_behind() -> None:
    record = square(20, 20)
    boxed = record.prompts.replace(boxes=[(13, 13, 27, 27)])
    document = Document()
    (held,) = document.add_many(
        [ObjectRecord(0, prompts=boxed, sources=("auto",), region=record.region)]
    )
    rows = rows_of([held], 2)
    rows.data[:] = (24, 24)
    assert len(with_points(held, rows)[0].boxes) == 1
    rows.data[:] = (24, 44)
    assert len(with_points(held, rows)[0].boxes) == 0
