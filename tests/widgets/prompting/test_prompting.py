"""A person clicks, drags, flips, pastes, boxes and undoes, in a viewer."""

from __future__ import annotations

import numpy as np
from qtpy.QtCore import QTimer


def test_a_click_is_answered_and_undo_takes_the_object_back(desk) -> None:
    desk.click(30, 40)
    mask = desk.preview.copy()
    assert mask[30, 40]
    assert desk.menu_rows() == [["1", "", "0.62", "1+", "", ""]]
    desk.press("Ctrl+Z")
    assert len(desk.document) == 0
    assert len(desk.points.data) == 0
    assert not desk.preview.any()
    desk.press("Ctrl+Shift+Z")
    np.testing.assert_array_equal(desk.preview, mask)
    assert len(desk.points.data) == 1


def test_every_edit_of_points_changes_that_object_only(desk) -> None:
    desk.click(20, 20)
    first = desk.document.active.revision
    desk.press("N")
    desk.click(60, 80)
    masks = [desk.preview.copy()]

    def changed() -> None:
        desk.settle()
        assert desk.document.active_id == 2
        assert not np.array_equal(desk.preview, masks[-1])
        masks.append(desk.preview.copy())

    desk.points.add((60, 95))
    changed()
    desk.drag(2, (70, 100))
    changed()
    desk.press("T")
    assert desk.points.features["polarity"].tolist() == ["include"] * 2 + ["exclude"]
    assert str(desk.points.symbol[2]) == "x"
    changed()
    desk.points.selected_data = {2}
    desk.points.remove_selected()
    changed()
    desk.points.add([(50, 80), (70, 80)])
    changed()
    assert desk.document.get(1).revision == first
    assert desk.document.get(2).prompts.points.tolist() == [
        [60, 80],
        [50, 80],
        [70, 80],
    ]


def test_t_flips_the_selected_points_or_else_the_next_one(desk) -> None:
    desk.click(30, 40)
    assert not desk.points.selected_data  # a point just placed is not "selected"
    desk.press("T")
    assert desk.points.features["polarity"].tolist() == ["include"]
    assert desk.widget.prompt_panel.exclude.isChecked()
    desk.points.add((34, 44))
    desk.settle()
    assert desk.points.features["polarity"].tolist() == ["include", "exclude"]
    assert desk.document.active.prompts.labels.tolist() == [1, 0]
    desk.points.selected_data = {0, 1}
    desk.press("T")
    assert desk.document.active.prompts.labels.tolist() == [0, 1]


def test_automatic_points_look_different_until_they_are_touched(desk) -> None:
    desk.press("A")
    desk.until(lambda: len(desk.document) == 1)
    desk.settle()
    assert desk.points.features["source"].tolist() == ["auto"] * 3
    assert desk.points.features["score"].tolist() == [0.9, 0.8, 0.7]
    assert desk.preview[30, 40]
    mask = desk.preview.copy()
    desk.drag(1, (60, 80))
    desk.settle()
    assert desk.points.features["source"].tolist() == ["auto", "user", "auto"]
    assert desk.document.active.sources == ("auto", "user", "auto")
    assert not np.allclose(desk.points.face_color[0], desk.points.face_color[1])
    assert not np.array_equal(desk.preview, mask)
    assert desk.document.undo_name == "move points"


def test_the_next_point_is_the_users_whatever_rows_there_are(desk) -> None:
    desk.press("A")  # its last row is automatic, to exclude, with a score
    desk.until(lambda: len(desk.document) == 1)
    desk.points.add((50, 60))
    desk.settle()
    last = desk.points.features.iloc[-1]
    assert (last["object"], last["polarity"], last["source"]) == (1, "include", "user")
    assert np.isnan(last["score"])
    assert desk.preview[50, 60]
    desk.points.selected_data = {2}  # napari copies the look of what is selected
    desk.points.selected_data = set()
    desk.points.add((60, 70))
    desk.settle()
    assert desk.document.active.prompts.labels.tolist() == [1, 1, 0, 1, 1]
    assert str(desk.points.symbol[-1]) == "disc"


def test_pasted_points_and_points_of_a_script_are_edits(desk) -> None:
    desk.click(30, 40)
    desk.points.selected_data = {0}
    desk.points._copy_data()
    desk.points._paste_data()
    desk.until(lambda: len(desk.document.active.prompts.points) == 2)
    desk.points.data = [(10, 10), (20, 30), (40, 50)]
    desk.settle()
    assert desk.document.active.prompts.points.tolist() == [
        [10, 10],
        [20, 30],
        [40, 50],
    ]
    assert desk.preview[20, 30]
    features = desk.points.features.copy()
    features["polarity"] = ["include", "exclude", "include"]
    desk.points.features = features
    desk.settle()
    assert desk.document.active.prompts.labels.tolist() == [1, 0, 1]
    assert not desk.preview[20, 30]
    desk.points.data = []
    desk.settle()
    assert desk.document.active.prompts.is_empty
    assert not desk.preview.any()


def test_points_that_name_new_objects_begin_them(desk) -> None:
    desk.points.data = [(10, 10), (60, 80), (64, 84)]
    desk.settle()
    features = desk.points.features.copy()
    features["object"] = [1, 7, 7]
    desk.points.features = features
    desk.settle()
    assert [len(r.prompts.points) for r in desk.document.objects] == [1, 2]
    desk.press("Ctrl+Z")
    assert [len(r.prompts.points) for r in desk.document.objects] == [3]


def test_a_point_beside_the_image_is_taken_back(desk) -> None:
    desk.click(30, 40)
    desk.points.add((500, 40))
    desk.until(lambda: len(desk.points.data) == 1)
    desk.points.data = [(30, 40), (np.nan, 3)]
    desk.until(lambda: len(desk.points.data) == 1)
    assert len(desk.document.active.prompts.points) == 1


def test_a_box_is_drawn_moved_and_deleted(desk) -> None:
    desk.press("B")
    assert desk.viewer.layers.selection.active is desk.boxes
    assert desk.boxes.mode == "add_rectangle"
    assert desk.widget.prompt_panel.box.isChecked()
    desk.boxes.add_rectangles([[20, 30], [50, 70]])
    desk.settle()
    assert desk.preview[22, 32]
    assert desk.preview.sum() == 31 * 41
    assert desk.viewer.layers.selection.active is desk.points
    assert not desk.widget.prompt_panel.box.isChecked()
    desk.boxes.data = [np.array([[20, 30], [20, 50], [40, 50], [40, 30]])]
    desk.settle()
    assert desk.preview.sum() == 21 * 21
    desk.boxes.selected_data = {0}
    desk.boxes.remove_selected()
    desk.settle()
    assert not desk.preview.any()
    for area in (21 * 21, 31 * 41):
        desk.press("Ctrl+Z")
        assert desk.preview.sum() == area
        assert len(desk.boxes.data) == 1


def test_a_box_is_cut_to_the_image_and_a_mere_click_is_no_box(desk) -> None:
    desk.boxes.add_rectangles([[-20, 30], [50, 170]])
    desk.settle()
    assert desk.document.active.prompts.boxes.tolist() == [[-0.5, 30, 50, 119.5]]
    desk.boxes.add_rectangles([[20, 30], [20.1, 30.1]])
    desk.until(lambda: len(desk.boxes.data) == 1)
    assert len(desk.document.active.prompts.boxes) == 1


def test_a_label_becomes_the_mask_to_start_from(desk) -> None:
    data = np.zeros((90, 120), np.uint8)
    data[40:60, 50:80] = 3
    other = desk.viewer.add_labels(data, name="truth")
    other.selected_label = 3
    desk.press("M")
    desk.settle()
    np.testing.assert_array_equal(desk.preview, data == 3)
    assert desk.menu_rows()[0][3] == "mask"
    desk.click(50, 60, include=False)
    assert not desk.preview[50, 60]
    assert desk.preview[41, 78]


def test_clear_empties_the_object_and_undo_fills_it_again(desk) -> None:
    desk.click(30, 40)
    desk.click(50, 60)
    mask = desk.preview.copy()
    desk.widget.prompt_panel.clear.click()
    assert not desk.preview.any()
    assert not len(desk.points.data)
    desk.widget.prompt_panel.undo.click()
    np.testing.assert_array_equal(desk.preview, mask)
    assert len(desk.points.data) == 2


def test_without_live_edits_wait_for_segment(desk) -> None:
    desk.widget.prompt_panel.live.click()
    desk.points.add((30, 40))
    desk.points.add((50, 60))
    desk.qtbot.wait(50)
    assert not desk.preview.any()
    desk.press("Shift+S")
    desk.settle()
    assert desk.preview[30, 40]
    assert desk.preview[50, 60]


def test_without_live_segment_answers_a_switch_of_ips(desk) -> None:
    desk.click(30, 40)
    desk.widget.prompt_panel.live.click()
    document = desk.widget.bridge.work.document
    before = document.active.score
    desk.widget.session.settings.ips = not desk.widget.session.settings.ips
    desk.settle()
    assert document.active.score == before
    desk.press("Shift+S")
    desk.until(lambda: document.active.score != before)


def test_the_box_local_decides_how_the_next_click_is_answered(desk) -> None:
    local = desk.widget.prompt_panel.local
    assert local.isChecked()
    assert local.isEnabled()
    desk.click(30, 40)
    desk.click(50, 60)
    model = desk.model
    assert model.asked[-1].local
    assert model.asked[-1].prompts.added.tolist() == [False, True]
    local.click()
    desk.until(lambda: not model.asked[-1].local)
    desk.widget.session.settings.adapter = ""
    local.click()
    desk.click(55, 40)
    assert model.asked[-1].local, "plain SAM corrects locally too, where that is set"


def test_undo_five_times_gives_the_earlier_masks_back_exactly(desk) -> None:
    masks = []
    for position, include in (
        ((30, 40), True),
        ((45, 50), True),
        ((36, 48), False),
        ((60, 60), True),
        ((60, 90), True),
        ((52, 70), False),
    ):
        desk.click(*position, include=include)
        masks.append(desk.preview.copy())
    answered = desk.model.encoded
    for mask in masks[-2::-1]:
        desk.press("Ctrl+Z")
        np.testing.assert_array_equal(desk.preview, mask)
    for mask in masks[1:]:
        desk.press("Ctrl+Shift+Z")
        np.testing.assert_array_equal(desk.preview, mask)
    assert desk.model.encoded == answered


def test_a_click_during_encoding_is_answered_and_the_window_lives_on(
    make_desk, picture
) -> None:
    desk = make_desk()
    desk.model.hold()
    ticks = []
    timer = QTimer()
    timer.timeout.connect(lambda: ticks.append(1))
    timer.start(10)
    desk.open(picture)
    desk.until(lambda: desk.widget.session.status.state == "encoding")
    desk.points.add((30, 40))
    desk.until(lambda: desk.widget.model_panel.cancel.isVisibleTo(desk.widget))
    ticks.clear()
    desk.until(lambda: len(ticks) > 10)  # while nothing was encoded yet
    assert desk.model.encoded == 0
    desk.model.release()
    desk.settle()
    timer.stop()
    assert desk.preview[30, 40]
    assert desk.model.encoded == 1


def test_a_failure_reaches_the_user_with_its_remedy(make_desk, picture, capsys) -> None:
    from napari.utils.notifications import notification_manager

    desk = make_desk()
    desk.model.failure = "the image is made of cheese; slice it first"
    desk.open(picture)
    desk.until(lambda: desk.widget.session.status.state == "error")
    desk.until(lambda: any("cheese" in n.message for n in notification_manager.records))
    assert "cheese" in desk.widget.model_panel.status.text()


def test_without_an_image_every_key_says_what_is_missing(
    make_desk, monkeypatch
) -> None:
    from napari_promise.widgets import desk as desk_module

    said: list[str] = []
    monkeypatch.setattr(desk_module, "show_warning", said.append)
    desk = make_desk()
    wishes = ["A", "B", "M", "C", "N", "T", "Shift+S", "Ctrl+Z", "Ctrl+Shift+Z"]
    for wish in wishes:
        desk.press(wish)
    assert len(said) == len(wishes)
    assert all("open one" in line for line in said)


def test_points_that_only_exclude_are_a_hint_and_no_error(desk) -> None:
    desk.click(30, 40, include=False)
    hint = desk.widget.prompt_panel.hint
    desk.until(lambda: "add a point to include" in hint.text())
    assert desk.widget.session.status.state == "ready"
    asked = len(desk.model.asked)
    desk.press("C")
    assert not desk.document.pending, "an object without a mask stays open"
    assert not desk.document.objects[0].committed
    desk.press("Shift+S")
    assert len(desk.model.asked) == asked
    desk.document.active_id = 1
    desk.click(40, 50)
    desk.until(lambda: "include" not in hint.text())
    assert desk.document.active.is_answered
    assert desk.preview[40, 50]


def test_a_model_that_knows_boxes_only_says_so_and_offers_a_box(desk) -> None:
    desk.model.prompt_kinds = ("boxes",)
    desk.widget.session.model_changed.emit("boxes")
    hint = desk.widget.prompt_panel.hint
    desk.until(lambda: "boxes only" in hint.text())
    bridge = desk.widget.bridge
    assert bridge.tool() == "point"
    desk.click(30, 40)
    desk.until(lambda: bridge.tool() == "box")
    desk.document.set_prompts(
        1, desk.document.get(1).prompts.replace(boxes=[(20, 30, 40, 60)]), ("user",)
    )
    desk.until(lambda: "boxes only" not in hint.text())
