"""One record: its label, its answer, and the sources of its points."""

from __future__ import annotations

import dataclasses

from napari_promise.document import SOURCES, Document, ObjectRecord
from napari_promise.prompts import Prompts
from tests.document.bench import Bench, rectangle


def test_the_label_is_the_id_where_nobody_says_otherwise() -> None:
    assert ObjectRecord(7).label == 7
    assert ObjectRecord(7, label=3).label == 3


def test_a_mask_answers_the_revision_it_was_asked_for() -> None:
    record = ObjectRecord(1, prompts=Prompts(points=[(1, 1)]), revision=4)
    assert not record.is_answered
    assert not dataclasses.replace(record, answered_revision=3).is_answered
    assert dataclasses.replace(record, answered_revision=4).is_answered


def test_a_copy_of_the_prompts_is_answered_as_they_are() -> None:
    bench = Bench()
    number = bench.add(rectangle(0, 0, 3, 3))
    record = bench.document.get(number)
    copy = Prompts.from_json(record.prompts.to_json())
    assert dataclasses.replace(record, prompts=copy).is_answered


def test_the_codes_of_sources_are_their_places_and_a_users_is_zero() -> None:
    assert SOURCES == ("user", "auto", "propagated", "example")


def test_every_source_can_place_a_point() -> None:
    document = Document()
    number = document.new_object().id
    points = [(1, 1), (2, 2), (3, 3), (4, 4)]
    document.set_prompts(number, Prompts(points=points), SOURCES)
    assert document.get(number).sources == SOURCES
