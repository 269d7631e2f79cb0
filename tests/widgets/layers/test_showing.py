"""What is shown of a document, as a value; no layer and no window."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.document import Document, Region
from napari_promise.prompts import Prompts
from napari_promise.widgets.layers.showing import (
    MOST_PROMPTS,
    DragPreview,
    Shown,
    moves_rows,
    what_to_show,
)

SHAPE = (20, 30)


def _begin(document: Document, plane=(), points=((3, 4), (5, 6)), boxes=()) -> int:
    record = document.new_object(plane)
    labels = [1] * len(points)
    document.set_prompts(record.id, Prompts(points=points, labels=labels, boxes=boxes))
    return record.id


def _answer(document: Document, object_id: int) -> Region:
    mask = np.zeros(SHAPE, bool)
    mask[2:8, 3:9] = True
    region = Region.from_mask(mask)
    revision = document.get(object_id).revision
    assert document.set_mask(
        object_id, region, score=0.5, logits=None, revision=revision
    )
    return region


def _positions(shown: Shown) -> list[list[float]]:
    return shown.points.data.tolist()


def test_open_objects_are_shown_with_their_points_boxes_and_mask() -> None:
    document = Document()
    first = _begin(document, boxes=[(1, 2, 9, 10)])
    second = _begin(document, points=[(7, 8)])
    region = _answer(document, second)
    shown = what_to_show(document, (), include=False)
    assert _positions(shown) == [[3, 4], [5, 6], [7, 8]]
    assert shown.points.objects.tolist() == [first, first, second]
    assert [box.object_id for box in shown.boxes] == [first]
    assert shown.preview is region
    assert shown.foreground == shown.next_object == second
    assert not shown.next_include


def test_a_committed_object_is_shown_only_while_it_is_worked_on() -> None:
    document = Document()
    only = _begin(document)
    _answer(document, only)
    document.commit(only, np.zeros(SHAPE, np.uint16))
    assert len(what_to_show(document, ()).points) == 2
    document.active_id = None
    shown = what_to_show(document, ())
    assert len(shown.points) == 0
    assert shown.preview is None
    assert shown.next_object == 0


def test_drafts_are_shown_on_their_own_plane_and_the_active_object_on_all() -> None:
    document = Document()
    draft = _begin(document, (1,))
    active = _begin(document, (2,))
    here = what_to_show(document, (1,))
    assert set(here.points.objects) == {draft, active}
    assert here.preview_plane == (2,)
    assert here.next_object == draft
    assert set(what_to_show(document, (0,)).points.objects) == {active}


def test_of_a_thousand_drafts_only_the_one_in_work_is_shown() -> None:
    document = Document()
    first = _begin(document)
    crowd = [(1, 1)] * (MOST_PROMPTS - 2)
    second = _begin(document, points=crowd)
    third = _begin(document)
    assert set(what_to_show(document, ()).points.objects) == {first, second, third}
    fourth = _begin(document)
    assert set(what_to_show(document, ()).points.objects) == {fourth}
    document.active_id = second
    assert len(what_to_show(document, ()).points) == len(crowd) + 6


def test_rows_keep_the_places_they_have_in_the_layer() -> None:
    document = Document()
    first = _begin(document)
    second = _begin(document, points=[(7, 8), (1, 1)])
    held = what_to_show(document, ())
    points = [(3, 4), (9, 9), (5, 6)]
    document.set_prompts(first, Prompts(points=points, labels=[1, 1, 1]))
    shown = what_to_show(document, (), held=held)
    assert _positions(shown) == [[3, 4], [5, 6], [7, 8], [1, 1], [9, 9]]
    document.set_prompts(second, Prompts(points=[(1, 1)], labels=[1]))
    shown = what_to_show(document, (), held=shown)
    assert _positions(shown) == [[3, 4], [5, 6], [1, 1], [9, 9]]


def test_an_answer_changes_the_mask_and_leaves_the_very_rows() -> None:
    document = Document()
    only = _begin(document)
    held = what_to_show(document, ())
    region = _answer(document, only)
    shown = what_to_show(document, (), held=held)
    assert shown.points is held.points
    assert shown.preview is region
    assert not moves_rows(held, shown)


@pytest.mark.parametrize("seed", range(5))
def test_what_was_shown_before_changes_the_order_of_rows_and_nothing_else(seed) -> None:
    rng = np.random.default_rng(seed)
    document = Document()
    shown = None
    for _ in range(60):
        ids = [record.id for record in document.objects]
        if not ids or rng.random() < 0.2:
            _begin(document, points=rng.integers(0, 9, (2, 2)))
        elif rng.random() < 0.1:
            document.undo()
        elif rng.random() < 0.1:
            document.remove(int(rng.choice(ids)))
        else:
            count = int(rng.integers(0, 4))
            prompts = Prompts(
                points=rng.integers(0, 9, (count, 2)),
                labels=rng.integers(0, 2, count),
                boxes=[(1, 1, 8, 8)] * int(rng.integers(0, 2)),
            )
            document.set_prompts(int(rng.choice(ids)), prompts)
        shown = what_to_show(document, (), held=shown)
        afresh = what_to_show(document, ())
        assert sorted(shown.points.keys()) == sorted(afresh.points.keys())
        assert shown.boxes == afresh.boxes


def test_a_drag_preview_is_shown_until_the_mask_of_the_dropped_points_is_there() -> (
    None
):
    document = Document()
    only = _begin(document)
    own = _answer(document, only)
    revision = document.get(only).revision
    preview = DragPreview(only, revision, None)
    assert what_to_show(document, (), drag_preview=preview).preview is None
    dropped = DragPreview(only, revision, None, dropped=True)
    assert what_to_show(document, (), drag_preview=dropped).preview is own
    other = DragPreview(only + 1, revision, None)
    assert what_to_show(document, (), drag_preview=other).preview is own
