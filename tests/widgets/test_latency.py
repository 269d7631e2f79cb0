"""A click and a drag cost the window no more than they have to."""

from __future__ import annotations

import numpy as np

from napari_promise.widgets.prompting import rows


def test_the_table_and_the_buttons_wait_for_a_mask_that_is_due(desk, monkeypatch):
    monkeypatch.setattr(rows, "_WAIT_MS", 600_000)  # no mask takes so long
    desk.click(30, 40)
    shown = []
    panel = desk.widget.objects_panel
    monkeypatch.setattr(panel, "show_rows", lambda rows, active: shown.append(rows))
    answered = []
    desk.widget.session.segmented.connect(lambda _: answered.append(len(shown)))
    desk.points.add((34, 60))
    desk.settle()
    assert answered == [0]
    assert len(shown) == 1
    assert shown[0][0].included == 2


def test_without_live_the_table_shows_an_edit_at_once(make_desk, picture) -> None:
    desk = make_desk(live=False)
    desk.open(picture)
    desk.until(lambda: desk.widget.session.status.state == "ready")
    desk.points.add((30, 40))
    assert desk.menu_rows() == [["1", "", "–", "1+", "", ""]]


def test_the_mask_follows_a_point_while_it_is_dragged(desk) -> None:
    desk.click(30, 40)
    before = desk.preview.copy()
    record, undo = desk.document.active, desk.document.undo_name
    for position in desk.dragging(0, (40, 50), (50, 70), (60, 90)):
        del position
        wanted = np.array(desk.points.data[0], int)
        desk.until(lambda at=wanted: desk.preview[tuple(at)])
        assert desk.document.active is record
        assert desk.document.undo_name == undo
    assert not desk.preview[30, 40]
    desk.settle()
    assert desk.preview[60, 90]
    assert desk.document.active.prompts.points.tolist() == [[60, 90]]
    desk.press("Ctrl+Z")
    assert desk.document.active.prompts.points.tolist() == [[30, 40]]
    np.testing.assert_array_equal(desk.preview, before)
    assert desk.points.data.tolist() == [[30, 40]]


def test_without_live_a_drag_changes_no_mask(make_desk, picture) -> None:
    desk = make_desk(live=False)
    desk.open(picture)
    desk.until(lambda: desk.widget.session.status.state == "ready")
    desk.points.add((30, 40))
    desk.widget.prompt_panel.segment.setEnabled(True)
    desk.widget.prompt_panel.segment.click()
    desk.settle()
    before = desk.preview.copy()
    for _ in desk.dragging(0, (40, 60), (60, 90)):
        desk.qtbot.wait(20)
    np.testing.assert_array_equal(desk.preview, before)
    assert desk.document.active.prompts.points.tolist() == [[60, 90]]
    assert not desk.document.active.is_answered
