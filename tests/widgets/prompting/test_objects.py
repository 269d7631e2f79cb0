"""Objects are committed, opened again, painted over, named, deleted and taken back."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import Qt


def test_a_committed_object_opens_again_with_its_prompts_and_mask(desk) -> None:
    desk.click(30, 40)
    desk.click(40, 50)
    mask = desk.preview.copy()
    desk.press("C")
    np.testing.assert_array_equal(desk.labels.data == 1, mask)
    assert desk.document.active_id is None
    assert not len(desk.points.data)
    assert not desk.preview.any()
    desk.click(70, 100)  # begins the next object by itself
    assert [row[0] for row in desk.menu_rows()] == ["1", "2"]
    desk.widget.objects_panel.table.selectRow(0)
    assert desk.document.active_id == 1
    np.testing.assert_array_equal(desk.preview, mask)
    shown = desk.points.features["object"] == 1
    assert desk.points.data[shown].tolist() == [[30, 40], [40, 50]]
    desk.click(34, 60)
    assert desk.document.get(1).revision > desk.document.get(2).revision
    # The table has the keyboard now; it passes shortcuts on.
    desk.qtbot.keyClick(desk.widget.objects_panel.table, Qt.Key.Key_C)
    assert (desk.labels.data == 1).sum() > mask.sum()


def test_a_commit_asked_for_before_the_mask_is_there_waits_for_it(
    make_desk, picture
) -> None:
    desk = make_desk()
    desk.model.hold()
    desk.open(picture)
    desk.points.add((30, 40))
    desk.press("C")
    assert not desk.labels.data.any()
    desk.model.release()
    desk.until(lambda: bool(desk.labels.data.any()))
    assert desk.labels.data[30, 40] == 1
    assert desk.document.get(1).committed


def test_clicks_and_commits_without_a_pause_make_an_object_each(
    make_desk, picture
) -> None:
    desk = make_desk()
    desk.model.hold()
    desk.open(picture)
    for number in range(16):
        desk.points.add((10 + 20 * (number // 4), 12 + 30 * (number % 4)))
        desk.press("C")
    assert desk.document.active_id is None
    rows = desk.menu_rows()
    assert [row[2] for row in rows] == ["…"] * 16
    desk.model.release()
    desk.until(lambda: all(r.committed for r in desk.document.objects))
    assert len(desk.document) == 16
    assert set(np.unique(desk.labels.data)) == set(range(17))
    for _ in range(32):
        desk.press("Ctrl+Z")
    assert not desk.labels.data.any()
    assert not len(desk.document)


def test_what_follows_auto_prompts_waits_for_them(make_desk, picture) -> None:
    desk = make_desk()
    desk.model.hold()
    desk.open(picture)
    desk.press("A")
    desk.press("C")
    desk.points.add((70, 100))
    desk.press("C")
    desk.model.release()
    desk.until(lambda: len(desk.document) == 2)
    desk.until(lambda: all(r.committed for r in desk.document.objects))
    first, second = desk.document.objects
    assert first.sources == ("auto",) * 3
    assert second.prompts.points.tolist() == [[70, 100]]
    assert desk.labels.data[34, 48] == 1
    assert desk.labels.data[70, 100] == 2


def test_a_point_added_in_the_3d_view_is_taken_back_with_a_word(make_desk) -> None:
    desk = make_desk()
    desk.open(np.zeros((3, 90, 120), np.uint8))
    said: list[str] = []
    desk.bridge.noticed.connect(said.append)
    desk.viewer.dims.ndisplay = 3
    desk.points.add((1, 30, 40))
    desk.until(lambda: not len(desk.points.data))
    assert not len(desk.document)
    assert "2D view" in said[0]


def test_a_point_added_with_rolled_axes_lands_on_its_own_plane(make_desk) -> None:
    desk = make_desk()
    desk.open(np.zeros((3, 90, 120), np.uint8))
    desk.viewer.dims.order = (1, 0, 2)
    desk.points.add((1.8, 30, 40))
    desk.settle()
    (record,) = desk.document.objects
    assert record.plane == (2,)
    assert record.prompts.points.tolist() == [[30, 40]]


def test_the_overlap_policy_decides_whose_shared_pixels_are(desk) -> None:
    desk.click(30, 40)
    desk.press("C")
    first = desk.labels.data == 1
    desk.click(30, 50)
    both = first & desk.preview
    assert both.any()
    desk.press("C")
    assert (desk.labels.data[both] == 1).all()
    desk.widget.session.settings.overlap = "overwrite"
    desk.widget.actions.reopen(2)
    desk.press("C")
    assert (desk.labels.data[both] == 2).all()
    desk.press("Ctrl+Z")
    assert (desk.labels.data[both] == 1).all()


def test_painted_pixels_survive_until_the_user_says_otherwise(desk) -> None:
    desk.click(30, 40)
    desk.press("C")
    desk.labels.brush_size = 5
    desk.labels.paint((80, 110), 1)  # added by hand
    desk.labels.paint((30, 40), 0)  # taken off by hand
    assert desk.document.undo_name == "paint"
    desk.widget.actions.reopen(1)
    desk.click(30, 52)
    desk.press("C")
    assert desk.labels.data[80, 110] == 1
    assert desk.labels.data[30, 40] == 0
    assert desk.labels.data[30, 60] == 1
    desk.widget.objects_panel.rewrite_requested.emit(1)
    assert desk.labels.data[80, 110] == 0
    assert desk.labels.data[30, 40] == 1


def test_strokes_and_clicks_are_taken_back_in_the_order_they_were_made(desk) -> None:
    desk.click(30, 40)
    desk.press("C")
    desk.labels.paint((80, 100), 9)
    painted = desk.labels.data.copy()
    desk.click(60, 70)
    desk.viewer.layers.selection.active = desk.labels
    desk.press("Ctrl+Z")  # on the Labels layer, which has an undo of its own
    assert len(desk.document) == 1
    np.testing.assert_array_equal(desk.labels.data, painted)
    desk.press("Ctrl+Z")
    assert not (desk.labels.data == 9).any()
    desk.press("Ctrl+Z")
    assert not desk.labels.data.any()
    for _ in range(3):
        desk.press("Ctrl+Shift+Z")
    np.testing.assert_array_equal(desk.labels.data, painted)
    assert len(desk.document) == 2


def test_an_object_never_takes_the_number_of_a_painted_label(desk) -> None:
    desk.labels.paint((80, 100), 4)
    desk.click(30, 40)
    assert desk.document.active_id == 5


def test_a_deleted_object_leaves_the_labels_and_comes_back_with_undo(desk) -> None:
    desk.click(30, 40)
    desk.press("C")
    committed = desk.labels.data.copy()
    table = desk.widget.objects_panel.table
    desk.qtbot.wait(1)
    table.selectRow(0)
    desk.qtbot.keyClick(table, Qt.Key.Key_Delete)
    assert len(desk.document) == 0
    assert not desk.labels.data.any()
    assert desk.menu_rows() == []
    desk.press("Ctrl+Z")
    np.testing.assert_array_equal(desk.labels.data, committed)
    assert len(desk.menu_rows()) == 1


def test_a_class_is_named_in_the_table_and_passed_on(desk) -> None:
    desk.click(30, 40)
    desk.qtbot.wait(1)
    shown = desk.widget.objects_panel.table.model()
    shown.setData(shown.index(0, 1), "polyp")
    assert desk.document.get(1).class_name == "polyp"
    desk.press("N")
    assert desk.menu_rows()[1][1] == "polyp"
    desk.press("Ctrl+Z")
    desk.press("Ctrl+Z")
    assert desk.menu_rows()[0][1] == ""
