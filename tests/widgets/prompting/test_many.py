"""Two hundred objects proposed at once: looked through, corrected, accepted."""

from __future__ import annotations

import dataclasses
import threading
from typing import Any

import numpy as np
import pytest
from qtpy.QtCore import Qt

from napari_promise.data.export import save_prompts
from napari_promise.jobs import proposing_many
from napari_promise.prompts import Prompts
from napari_promise.widgets.layers.drafts import CHOSEN, LEFT, TAKEN
from napari_promise.widgets.layers.geometry import camera_of

ROWS, COLUMNS, APART = 10, 20, 28
PLACES = [(14 + APART * r, 14 + APART * c) for r in range(ROWS) for c in range(COLUMNS)]
SHAPE = (APART * ROWS + 30, APART * COLUMNS)


def propose_discs(desk: Any) -> None:
    """Have the model of discs find one at each place, with a score that differs."""
    model, kind = desk.model, type(desk.model)
    model.finds_many = True
    model.proposals = lambda _emb: tuple(
        Prompts(points=[place], labels=[1], scores=[0.5]) for place in PLACES
    )

    def segment(emb: Any, prompts: Prompts, **options: Any) -> Any:
        answer = kind.segment(model, emb, prompts, **options)
        return dataclasses.replace(answer, score=prompts.points[0][1] / SHAPE[1])

    model.segment = segment


@pytest.fixture
def many(make_desk: Any) -> Any:
    desk = make_desk()
    propose_discs(desk)
    desk.open(np.random.default_rng(0).integers(0, 255, SHAPE, np.uint8))
    desk.until(lambda: desk.widget.session.status.state == "ready")
    desk.press("A")
    desk.until(lambda: desk.widget.desk.many.is_running)
    desk.until(lambda: not desk.widget.desk.many.is_running)
    assert len(desk.document) == len(PLACES)
    desk.settle()
    return desk


def click_on(desk: Any, object_id: int) -> None:
    """Click on the mask of an object, beside its point."""
    r0, c0, r1, c1 = desk.document.get(object_id).bbox
    desk.click((r0 + r1) / 2 + 4, (c0 + c1) / 2 + 3)


def select_rows(desk: Any, *ids: int) -> None:
    """Choose rows of the table with Ctrl held."""
    panel = desk.widget.objects_panel
    shown = panel.table.model()
    rows = {int(shown.index(r, 0).data()): r for r in range(shown.rowCount())}
    for number, object_id in enumerate(ids):
        where = panel.table.visualRect(shown.index(rows[object_id], 1)).center()
        held = Qt.KeyboardModifier.ControlModifier
        desk.qtbot.mouseClick(
            panel.table.viewport(),
            Qt.MouseButton.LeftButton,
            held if number else Qt.KeyboardModifier.NoModifier,
            where,
        )
    # Else Qt goes on believing that it is held.
    desk.qtbot.keyRelease(panel.table.viewport(), Qt.Key.Key_Control)
    desk.qtbot.wait(1)


def outline_values(desk: Any) -> np.ndarray:
    return desk.bridge.work.preview.layer.data


def test_what_is_proposed_at_once_is_taken_back_at_once(many) -> None:
    assert many.document.undo_name == "auto-prompt"
    assert all(record.is_answered for record in many.document.objects)
    assert len(many.points.data) == len(PLACES)
    many.press("Ctrl+Z")
    assert len(many.document) == 0
    assert not outline_values(many).any()
    many.press("Ctrl+Shift+Z")
    assert len(many.document) == len(PLACES)


def test_outlines_say_what_the_slider_takes(many) -> None:
    values = outline_values(many)
    assert (values == TAKEN).any()
    assert not (values == LEFT).any()
    review = many.widget.objects_panel.review
    assert review.accept.text() == f"Commit {len(PLACES)}"
    review.slider.setValue(50)
    column = SHAPE[1] // 2
    taken, left = values == TAKEN, values == LEFT
    assert left[:, : column - APART].any()
    assert not taken[:, : column - APART].any()
    assert taken[:, column + APART :].any()
    assert not left[:, column + APART :].any()
    count = sum(place[1] / SHAPE[1] >= 0.5 for place in PLACES)
    assert review.accept.text() == f"Commit {count} of {len(PLACES)}"


def test_accepting_commits_what_reaches_the_score_in_one_step(many) -> None:
    review = many.widget.objects_panel.review
    review.slider.setValue(50)
    review.accept.click()
    many.qtbot.wait(1)
    committed = {r.id for r in many.document.objects if r.committed}
    expected = {r.id for r in many.document.objects if r.score >= 0.5}
    assert committed == expected
    assert set(np.unique(many.labels.data)) == committed | {0}
    many.press("Ctrl+Z")
    assert not many.labels.data.any()
    assert len(many.document) == len(PLACES)


def test_several_chosen_rows_are_deleted_in_one_step(many) -> None:
    panel = many.widget.objects_panel
    select_rows(many, 1, 3, 4)
    assert panel.chosen_ids() == (1, 3, 4)
    assert panel.delete.text() == "Delete 3"
    panel.delete.click()
    many.qtbot.wait(1)
    assert len(many.document) == len(PLACES) - 3
    many.press("Ctrl+Z")
    assert len(many.document) == len(PLACES)


def test_a_class_named_for_one_of_several_is_named_for_all_in_one_step(many) -> None:
    panel = many.widget.objects_panel
    select_rows(many, 2, 4)
    shown = panel.table.model()
    shown.setData(shown.index(1, 1), "gland")
    many.qtbot.wait(1)
    named = [r.id for r in many.document.objects if r.class_name == "gland"]
    assert named == [2, 4]
    assert panel.chosen_ids() == (2, 4)
    many.press("Ctrl+Z")
    assert not any(r.class_name for r in many.document.objects)


def test_u_goes_from_the_least_sure_object_to_surer_ones(many) -> None:
    many.document.active_id = None
    looked_at = []
    for _ in range(3):
        many.press("U")
        looked_at.append(many.document.active_id)
    by_score = sorted(many.document.objects, key=lambda r: (r.score, r.id))
    assert looked_at == [record.id for record in by_score[:3]]
    r0, c0, r1, c1 = many.document.active.bbox
    middle = ((r0 + r1 - 1) / 2, (c0 + c1 - 1) / 2)
    assert camera_of(many.viewer).center[-2:] == pytest.approx(middle)


def test_u_says_when_nothing_waits(many) -> None:
    many.widget.actions.accept(0.0)
    told = []
    many.widget.actions._tell = told.append
    many.press("U")
    assert told == ["No object waits to be accepted."]


def test_a_click_on_a_mask_looks_at_its_object_and_adds_no_point(many) -> None:
    click_on(many, 40)
    assert many.document.active_id == 40
    click_on(many, 7)
    assert many.document.active_id == 7
    assert len(many.points.data) == len(PLACES)
    assert many.document.undo_name == "auto-prompt"
    # of a committed object, too
    many.press("C")
    click_on(many, 8)
    click_on(many, 7)
    assert many.document.active_id == 7


def test_a_click_beside_all_objects_begins_one_and_one_near_it_corrects_it(
    many,
) -> None:
    many.click(SHAPE[0] - 14, 30)
    begun = many.document.active_id
    assert len(many.document) == len(PLACES) + 1
    r0, c0, r1, c1 = many.document.get(begun).bbox
    many.click((r0 + r1) / 2, c1 + 2)
    assert many.document.active_id == begun
    assert len(many.document.get(begun).prompts.points) == 2
    many.click(SHAPE[0] - 14, 300)
    assert len(many.document) == len(PLACES) + 2
    for _ in range(3):
        many.press("Ctrl+Z")
    assert len(many.document) == len(PLACES)


def test_delete_rejects_the_object_in_work_in_one_step(many) -> None:
    click_on(many, 40)
    many.press("Delete")
    assert 40 not in many.document
    assert many.document.active_id is None
    many.press("Delete")  # nothing is in work, so nothing goes
    assert len(many.document) == len(PLACES) - 1
    many.press("Ctrl+Z")
    assert 40 in many.document


def test_deleting_the_only_point_rejects_its_object(many) -> None:
    (row,) = np.flatnonzero(many.points.features["object"] == 40)
    many.points.selected_data = {int(row)}
    many.press("Backspace")
    assert 40 not in many.document
    assert len(many.document) == len(PLACES) - 1


def test_dragging_a_point_of_another_object_computes_that_object_live(many) -> None:
    (row,) = np.flatnonzero(many.points.features["object"] == 40)
    start = many.points.data[row].copy()
    before = many.document.get(40).region
    for _ in many.dragging(int(row), start + 3, start + 6):
        many.until(lambda: many.preview.any())
        assert many.document.active_id == 40
    many.settle()
    moved = many.document.get(40)
    assert moved.region is not before
    np.testing.assert_array_equal(moved.prompts.points[0], start + 6)
    assert many.document.undo_name == "move points"
    many.press("Ctrl+Z")
    assert many.document.get(40).region is before


def enclose(many: Any, corners: list[tuple[float, float]]) -> None:
    """Draw around objects, as napari's lasso leaves it."""
    many.press("E")
    drawn = many.bridge.enclosing.layer
    assert many.viewer.layers.selection.active is drawn
    drawn.add_polygons(np.array(corners, dtype=float))
    many.until(lambda: not many.bridge.enclosing.is_open)
    assert drawn not in many.viewer.layers
    many.qtbot.wait(1)


def test_an_outline_chooses_objects_to_delete_commit_and_name_at_once(many) -> None:
    inside = [1, 2, 21, 22]
    corners = [(0, 0), (0, 50), (50, 50), (50, 0)]
    enclose(many, corners)
    assert many.bridge.chosen == tuple(inside)
    assert many.widget.objects_panel.chosen_ids() == tuple(inside)
    assert (outline_values(many) == CHOSEN).any()
    many.press("Delete")
    assert len(many.document) == len(PLACES) - 4
    many.press("Ctrl+Z")
    assert len(many.document) == len(PLACES)

    enclose(many, corners)
    shown = many.widget.objects_panel.table.model()
    shown.setData(shown.index(0, 1), "gland")
    many.qtbot.wait(1)
    assert [r.id for r in many.document.objects if r.class_name] == inside
    many.press("C")
    assert [r.id for r in many.document.objects if r.committed] == inside
    assert many.bridge.chosen == ()
    many.press("Ctrl+Z")
    assert not many.labels.data.any()


def test_committed_objects_are_merged_and_split_again_each_in_one_step(many) -> None:
    corners = [(0, 0), (0, 50), (25, 50), (25, 0)]
    enclose(many, corners)
    many.press("C")
    separate = many.labels.data.copy()
    enclose(many, corners)
    many.press("J")
    assert len(many.document) == len(PLACES) - 1
    np.testing.assert_array_equal(many.labels.data > 0, separate > 0)
    assert len(np.unique(many.labels.data)) == 2
    assert many.document.active.committed
    many.press("X")
    assert len(many.document) == len(PLACES)
    np.testing.assert_array_equal(many.labels.data > 0, separate > 0)
    assert len(np.unique(many.labels.data)) == 3
    for _ in range(2):
        many.press("Ctrl+Z")
    np.testing.assert_array_equal(many.labels.data, separate)
    for _ in range(2):
        many.press("Ctrl+Shift+Z")
    assert len(np.unique(many.labels.data)) == 3


def test_auto_prompt_once_more_proposes_only_where_nothing_is(many) -> None:
    told = []
    many.widget.desk.many._tell = told.append
    click_on(many, 40)
    many.press("Delete")
    many.press("A")
    many.until(lambda: len(many.document) == len(PLACES))
    many.until(lambda: not many.widget.desk.many.is_running)
    assert not told
    many.press("A")
    many.until(lambda: bool(told))
    assert "nothing new" in told[0]
    assert len(many.document) == len(PLACES)


def test_proposing_goes_on_beside_the_window_and_can_be_stopped(
    make_desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(proposing_many, "_EVERY", 0.0)  # each lot is told of
    desk = make_desk()
    propose_discs(desk)
    kind, lots, may_go_on = type(desk.model), [], threading.Event()

    def segment_many(emb: Any, prompts: Any, **options: Any) -> Any:
        lots.append(len(prompts))
        if len(lots) > 2:
            assert may_go_on.wait(60)
        return kind.segment_many(desk.model, emb, prompts, **options)

    desk.model.segment_many = segment_many
    desk.open(np.random.default_rng(0).integers(0, 255, SHAPE, np.uint8))
    desk.until(lambda: desk.widget.session.status.state == "ready")
    many, panel = desk.widget.desk.many, desk.widget.many_panel
    desk.press("A")
    desk.until(lambda: len(lots) > 2)
    desk.until(lambda: len(desk.document) > 0)
    assert many.is_running
    assert len(desk.document) < len(PLACES)
    assert panel.progress.bar.maximum() > panel.progress.bar.value()
    here = len(desk.document)
    panel.progress.cancel.click()
    may_go_on.set()
    desk.qtbot.wait(50)
    assert not many.is_running
    assert len(desk.document) == here
    assert desk.document.undo_name == "auto-prompt"
    desk.press("Ctrl+Z")
    assert len(desk.document) == 0


def test_a_whole_image_is_corrected_accepted_undone_redone_and_replayed(
    many, make_desk, tmp_path
) -> None:
    review = many.widget.objects_panel.review
    select_rows(many, 1, 2, 3, 4, 5)
    many.widget.objects_panel.delete.click()
    for number in range(5):
        many.press("N")
        many.click(SHAPE[0] - 16, 20 + 40 * number)
    for object_id in range(11, 16):
        (row,) = np.flatnonzero(many.points.features["object"] == object_id)
        many.drag(int(row), tuple(many.points.data[row] + 2))
        many.settle()
    assert len(many.document) == len(PLACES)
    for floor in (50, 0):
        review.slider.setValue(floor)
        review.accept.click()
        many.qtbot.wait(1)
    assert all(r.committed for r in many.document.objects)
    labels = many.labels.data.copy()
    objects = many.document.objects
    path = tmp_path / "prompts.json"
    save_prompts(path, objects)

    steps = 0
    while many.document.can_undo:
        many.press("Ctrl+Z")
        steps += 1
    assert len(many.document) == 0
    assert not many.labels.data.any()
    for _ in range(steps):
        many.press("Ctrl+Shift+Z")
    np.testing.assert_array_equal(many.labels.data, labels)

    other = make_desk()
    propose_discs(other)
    other.open(np.random.default_rng(0).integers(0, 255, SHAPE, np.uint8))
    other.until(lambda: other.widget.session.status.state == "ready")
    other.widget.actions.load(path)
    other.settle()
    other.widget.objects_panel.review.accept.click()
    other.qtbot.wait(1)
    np.testing.assert_array_equal(other.labels.data, labels)
