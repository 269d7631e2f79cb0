"""Propagating in a real window: wish, cancel, scroll, correct, confirm, undo."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from napari_promise.document import FoundPlane, is_propagated
from napari_promise.jobs.propagating import Propagate
from tests.widgets.volumes.discs import CENTRE, END, PLANES, Discs, as_prompt


@pytest.fixture
def desk(make_desk: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    """A desk with a stack on it, plane 3 on display, and an object prompted there."""
    Discs.may_go.set()
    Discs.made.clear()
    Discs.runs.clear()
    monkeypatch.setattr(
        "napari_promise.widgets.volumes.controller.Propagate",
        functools.partial(Propagate, make=Discs, as_prompt=as_prompt),
    )
    desk = make_desk()
    rng = np.random.default_rng(0)
    desk.open(
        rng.integers(0, 255, (PLANES, 90, 120), dtype=np.uint8),
        name="stack",
        scale=(5, 2, 1),
        units=("mm", "mm", "mm"),
    )
    desk.viewer.dims.set_point(0, 3 * 5)
    desk.until(lambda: desk.widget.session.status.state == "ready")
    desk.click(3, *CENTRE)
    yield desk
    Discs.may_go.set()


def whole(desk: Any) -> tuple[Any, ...]:
    return desk.document.of_label(1)


def finish(desk: Any) -> None:
    desk.until(lambda: not desk.widget.desk.propagation.is_running)


def states(desk: Any) -> str:
    marks = desk.widget.volume_panel.strip.marks
    return "".join(mark.state[0] for mark in marks)


def test_p_finds_the_object_on_all_planes_and_says_where_it_ends(desk: Any) -> None:
    desk.press("P")
    finish(desk)
    assert states(desk) == "pppspppp" + "n"
    marks = desk.widget.volume_panel.strip.marks
    assert marks[2].confidence > marks[0].confidence
    assert "contrast" in marks[END].in_words(END)
    assert Discs.made[0].spacing == (5, 2, 1)
    assert desk.viewer.dims.current_step[0] == 3


def test_a_propagated_plane_is_shown_when_one_scrolls_to_it(desk: Any) -> None:
    desk.press("P")
    finish(desk)
    desk.viewer.dims.set_point(0, 5 * 5)
    desk.qtbot.wait(1)
    assert desk.preview.any()
    assert desk.document.active.plane == (5,)


def test_stopping_keeps_what_is_there_and_one_undo_takes_it_back(desk: Any) -> None:
    Discs.may_go.clear()
    desk.press("P")
    desk.until(lambda: bool(Discs.made))
    assert desk.widget.volume_panel.propagate.text().startswith("Stop")
    Discs.may_go.set()
    desk.until(lambda: len(whole(desk)) >= 3)
    desk.widget.desk.propagation.cancel()
    there = len(whole(desk))
    desk.qtbot.wait(50)
    assert len(whole(desk)) == there
    desk.press("Control-Z")
    assert len(whole(desk)) == 1


def test_undoing_while_it_runs_ends_it(desk: Any) -> None:
    Discs.may_go.clear()
    desk.press("P")
    desk.until(lambda: bool(Discs.made))
    desk.press("Control-Z")
    assert not desk.widget.desk.propagation.is_running
    Discs.may_go.set()
    desk.qtbot.wait(50)
    assert desk.document.can_redo


def test_scrolling_while_it_runs_neither_stops_it_nor_loses_a_plane(desk: Any) -> None:
    Discs.may_go.clear()
    desk.press("P")
    desk.until(lambda: bool(Discs.made))
    for plane in (0, 5, END, 2):
        desk.viewer.dims.set_point(0, plane * 5)
        desk.qtbot.wait(1)
        assert desk.widget.desk.propagation.is_running
    Discs.may_go.set()
    finish(desk)
    assert states(desk) == "pppspppp" + "n"
    assert len(Discs.runs) == 1
    assert desk.bridge.plane == (2,)
    assert desk.preview.any()


def test_a_correction_is_followed_up_to_the_next_sure_planes(desk: Any) -> None:
    desk.press("P")
    finish(desk)
    desk.viewer.dims.set_point(0, 6 * 5)
    before = whole(desk)[5].region
    desk.click(6, 45, 75)
    desk.until(lambda: len(Discs.runs) == 2)
    finish(desk)
    # The same propagator goes on: it learns from one plane more.
    assert len(Discs.made) == 1
    assert Discs.runs[1] == ((1,), (4, PLANES - 1), {3, 6})
    # What was propagated is what the click corrects.
    assert desk.model.asked[-1].prompts.logits is not None
    assert states(desk) == "pppsppsp" + "n"
    assert whole(desk)[5].region.area > before.area
    assert whole(desk)[2].region.area == before.area


def test_only_planes_in_the_chosen_range_are_drawn_on(desk: Any) -> None:
    panel = desk.widget.volume_panel
    panel.first.setValue(2)
    panel.last.setValue(5)
    desk.press("P")
    finish(desk)
    assert [record.plane[0] for record in whole(desk)] == [2, 3, 4, 5]


def test_a_key_goes_from_weak_planes_to_stronger_ones(desk: Any) -> None:
    desk.press("P")
    finish(desk)
    seen = []
    for _ in range(3):
        desk.press("Shift-W")
        seen.append(desk.viewer.dims.current_step[0])
    assert seen == [7, 0, 6]


def test_a_confirmed_plane_is_left_alone_from_then_on(desk: Any) -> None:
    desk.press("P")
    finish(desk)
    desk.viewer.dims.set_point(0, 5 * 5)
    desk.press("Y")
    assert states(desk)[5] == "s"
    kept = desk.document.get_at(1, (5,))
    desk.press("P")
    finish(desk)
    assert desk.document.get_at(1, (5,)) is kept
    assert Discs.runs[-1][2] == {3, 5}


def test_the_whole_object_is_committed_and_deleted_in_one_step_each(desk: Any) -> None:
    desk.press("P")
    finish(desk)
    desk.press("C")
    per_plane = (desk.labels.data == 1).any(axis=(1, 2))
    assert per_plane.tolist() == [True] * END + [False]
    assert all(not is_propagated(r) or r.committed for r in whole(desk))
    desk.widget.actions.delete(whole(desk)[0].id)
    assert not desk.labels.data.any()
    assert not whole(desk)
    desk.press("Control-Z")
    assert (desk.labels.data == 1).any(axis=(1, 2)).sum() == END
    desk.press("Control-Z")
    assert not desk.labels.data.any()
    assert len(whole(desk)) == END


def test_the_volume_is_shown_in_millilitres(desk: Any) -> None:
    desk.press("P")
    finish(desk)
    voxels = sum(record.region.area for record in whole(desk))
    assert f"{voxels * 10 / 1000:.1f} ml" in desk.widget.volume_panel.state.text()


def test_voxels_are_counted_where_no_millimetres_are_known(desk: Any) -> None:
    desk.bridge.work.image.units = ("pixel",) * 3
    desk.press("P")
    finish(desk)
    voxels = sum(record.region.area for record in whole(desk))
    assert desk.widget.desk.propagation.volume() == f"{voxels} voxels"


def test_a_correction_and_what_follows_are_undone_in_one_step(desk: Any) -> None:
    desk.press("P")
    finish(desk)
    before = [record.region.area for record in whole(desk)]
    desk.viewer.dims.set_point(0, 6 * 5)
    desk.click(6, 45, 75)
    desk.until(lambda: len(Discs.runs) == 2)
    finish(desk)
    assert [record.region.area for record in whole(desk)] != before
    desk.press("Control-Z")
    assert [record.region.area for record in whole(desk)] == before


def test_a_correction_while_it_runs_goes_on_with_all_that_was_left(desk: Any) -> None:
    Discs.may_go.clear()
    desk.press("P")
    desk.until(lambda: bool(Discs.runs))
    desk.points.add((3, 50, 66))  # its mask comes when the plane in work is done
    Discs.may_go.set()
    desk.until(lambda: len(Discs.runs) == 2)
    finish(desk)
    assert Discs.runs[1][1] == (0, PLANES - 1)
    assert states(desk) == "pppspppp" + "n"


def test_a_commit_waits_for_the_planes_that_are_still_found(desk: Any) -> None:
    Discs.may_go.clear()
    desk.press("P")
    desk.until(lambda: bool(Discs.runs))
    desk.press("C")
    assert not desk.labels.data.any()
    assert "committed as soon as" in desk.widget.actions.waiting_line()
    Discs.may_go.set()
    desk.until(lambda: desk.labels.data.any())
    per_plane = (desk.labels.data == 1).any(axis=(1, 2))
    assert per_plane.tolist() == [True] * END + [False]
    assert not desk.widget.actions.waiting_line()
    desk.press("Control-Z")
    assert not desk.labels.data.any()


def test_undo_takes_back_a_commit_that_waits(desk: Any) -> None:
    Discs.may_go.clear()
    desk.press("P")
    desk.until(lambda: bool(Discs.runs))
    desk.press("C")
    desk.press("Control-Z")
    Discs.may_go.set()
    finish(desk)
    desk.qtbot.wait(50)
    assert not desk.labels.data.any()
    assert len(whole(desk)) == END


def test_stopping_carries_out_the_commit_with_what_is_there(desk: Any) -> None:
    Discs.may_go.clear()
    desk.press("P")
    desk.until(lambda: bool(Discs.runs))
    desk.press("C")
    desk.press("P")
    Discs.may_go.set()
    assert (desk.labels.data == 1).any(axis=(1, 2)).sum() == 1


def test_several_prompted_planes_are_one_object_before_it_is_propagated(
    desk: Any,
) -> None:
    desk.viewer.dims.set_point(0, 6 * 5)
    desk.press("Shift-N")
    desk.click(6, 45, 75)
    assert [record.plane for record in whole(desk)] == [(3,), (6,)]
    desk.press("P")
    desk.until(lambda: bool(Discs.runs))
    finish(desk)
    assert Discs.runs[0] == ((1,), (0, PLANES - 1), {3, 6})
    assert states(desk) == "pppsppsp" + "n"


def test_selected_objects_go_through_the_stack_in_one_pass(desk: Any) -> None:
    desk.press("N")
    desk.click(3, 20, 20)
    assert len(desk.document) == 2
    desk.widget.desk.propagation.chosen = lambda: (1, 2)
    desk.press("P")
    desk.until(lambda: bool(Discs.runs))
    finish(desk)
    assert len(Discs.runs) == 1
    assert Discs.runs[0][0] == (1, 2)
    assert len(desk.document.of_label(1)) == len(desk.document.of_label(2)) == END
    desk.press("Control-Z")
    assert len(desk.document) == 2


def test_scrolling_through_two_objects_stays_with_the_one_in_work(desk: Any) -> None:
    desk.press("N")
    desk.click(3, 20, 20)
    desk.widget.desk.propagation.chosen = lambda: (1, 2)
    desk.press("P")
    desk.until(lambda: bool(Discs.runs))
    finish(desk)
    desk.document.active_id = desk.document.get_at(1, (3,)).id
    for plane in (4, 5, END, 6):
        desk.viewer.dims.set_point(0, plane * 5)
    assert desk.document.active.label == 1
    assert desk.document.active.plane == (6,)


def test_a_plane_said_to_be_empty_ends_the_object_there(desk: Any) -> None:
    desk.press("P")
    finish(desk)
    desk.viewer.dims.set_point(0, 6 * 5)
    desk.press("Shift-Y")
    desk.until(lambda: len(Discs.runs) == 2)
    finish(desk)
    assert Discs.runs[1][2] == {3, 6}
    assert states(desk)[6] == "a"
    assert not desk.preview.any()


def test_why_it_ends_is_still_known_when_the_work_is_opened_again(desk: Any) -> None:
    desk.press("P")
    finish(desk)
    kept = desk.document.snapshot()
    desk.document.restore(kept)
    desk.until(lambda: len(desk.widget.volume_panel.strip.marks) == PLANES)
    mark = desk.widget.desk.propagation.marks()[END]
    assert "contrast" in mark.in_words(END)


def test_planes_beyond_a_new_end_are_taken_away(desk: Any) -> None:
    desk.press("P")
    finish(desk)
    panel = desk.widget.volume_panel
    # What an earlier run with another range found, this one does not reach.
    desk.document.put_propagated(
        1,
        [FoundPlane((END,), whole(desk)[0].region, 0.9)],
        run=object(),
    )
    assert states(desk)[END] == "p"
    desk.press("P")
    finish(desk)
    assert panel.strip.marks[END].state == "none"


def test_the_table_has_one_row_for_the_whole_object(desk: Any) -> None:
    desk.press("P")
    finish(desk)
    rows = desk.widget.objects_panel.table.model()
    desk.until(lambda: rows.rowCount() == 1)
    texts = [rows.index(0, column).data() for column in range(rows.columnCount())]
    assert texts[0] == "1"
    assert texts[4] == f"0–{END - 1}"
    voxels = sum(record.region.area for record in whole(desk))
    assert texts[5] == f"{voxels * 10 / 1000:.1f}"


def test_a_plain_picture_has_no_panel_for_planes(make_desk: Any) -> None:
    desk = make_desk()
    desk.open(np.zeros((40, 50), np.uint8), name="flat")
    assert desk.widget.volume_panel.isHidden()
    desk.press("P")
    assert not len(desk.document)
