"""Layers are renamed, moved, hidden, copied and deleted while somebody works."""

from __future__ import annotations

import numpy as np
import pytest


def _ours(desk) -> list:
    work = desk.bridge.work
    return [layer for layer in desk.viewer.layers if work.owns(layer)]


def test_renamed_hidden_and_reordered_layers_are_worked_in_as_before(desk) -> None:
    desk.click(30, 40)
    for number, layer in enumerate(list(desk.viewer.layers)):
        layer.name = f"layer {number}"
    desk.viewer.layers.reverse()
    desk.bridge.work.preview.layer.visible = False
    desk.labels.visible = False
    mask = desk.preview.copy()
    desk.click(40, 60)
    assert desk.preview.sum() > mask.sum()
    desk.press("C")
    assert (desk.labels.data == 1).sum() > mask.sum()
    assert desk.widget.model_panel.image.currentText() == "layer 0"


def test_a_copy_of_a_layer_is_nobodys_business(desk) -> None:
    from napari.layers._layer_actions import _duplicate_layer

    desk.click(30, 40)
    desk.viewer.layers.selection = {desk.points}
    _duplicate_layer(desk.viewer.layers)
    copy = next(x for x in desk.viewer.layers if "copy" in x.name)
    assert len(copy.data) == 1
    copy.data = [(1, 1), (2, 2)]
    desk.settle()
    assert len(desk.document.active.prompts.points) == 1
    desk.viewer.layers.remove(copy)
    desk.click(40, 50)
    assert len(desk.document.active.prompts.points) == 2


@pytest.mark.parametrize("which", ["points", "boxes", "preview"])
def test_a_deleted_prompt_layer_comes_back_with_what_it_held(desk, which) -> None:
    desk.click(30, 40)
    desk.boxes.add_rectangles([[20, 30], [50, 70]])
    desk.settle()
    mask = desk.preview.copy()
    layer = getattr(desk.bridge.work, which).layer
    desk.viewer.layers.remove(layer)
    desk.until(lambda: len(_ours(desk)) == 4)
    np.testing.assert_array_equal(desk.preview, mask)
    assert len(desk.points.data) == 1
    assert len(desk.boxes.data) == 1
    desk.click(60, 90)
    assert desk.preview.sum() > mask.sum()


def test_deleted_labels_are_kept_and_come_back_with_the_next_commit(desk) -> None:
    desk.click(30, 40)
    desk.press("C")
    desk.labels.paint((80, 110), 7)
    held = desk.labels.data.copy()
    desk.viewer.layers.remove(desk.labels)
    desk.qtbot.wait(1)
    assert len(_ours(desk)) == 3
    desk.click(60, 90)
    desk.press("C")
    assert len(_ours(desk)) == 4
    was = held > 0
    np.testing.assert_array_equal(desk.labels.data[was], held[was])
    assert (desk.labels.data == 8).any()


def test_all_layers_may_go_and_the_objects_stay(desk, picture) -> None:
    desk.click(30, 40)
    desk.press("C")
    desk.click(60, 90)
    mask = desk.preview.copy()
    committed = desk.labels.data.copy()
    desk.viewer.layers.clear()
    desk.qtbot.wait(1)
    assert not desk.widget.prompt_panel.auto.isEnabled()
    assert len(desk.menu_rows()) == 2
    desk.viewer.add_image(picture, name="opened again")
    desk.until(lambda: len(_ours(desk)) == 4)
    assert desk.widget.model_panel.image.currentText() == "opened again"
    np.testing.assert_array_equal(desk.preview, mask)
    np.testing.assert_array_equal(desk.labels.data, committed)
    desk.click(70, 90)
    assert desk.preview.sum() > mask.sum()


def test_the_next_frame_of_a_series_does_not_inherit_objects(desk, picture) -> None:
    desk.click(30, 40)
    desk.viewer.layers.remove(desk.bridge.work.image)
    desk.viewer.add_image(255 - picture, name="picture")
    desk.until(lambda: desk.bridge.has_image())
    assert len(desk.document) == 0


def test_a_dock_that_was_closed_finds_its_work_again(desk) -> None:
    from napari_promise.widgets.prompting.dock import PromiseWidget

    desk.click(30, 40)
    desk.press("C")
    desk.click(60, 90)
    mask, count = desk.preview.copy(), len(desk.viewer.layers)
    session, points = desk.widget.session, desk.points
    desk.widget.close_down()
    points.add((70, 90))  # nobody is there to answer
    desk.qtbot.wait(1)
    again = PromiseWidget(desk.viewer, session)
    assert len(desk.viewer.layers) == count
    assert [r.id for r in again.bridge.work.document.objects] == [1, 2]
    np.testing.assert_array_equal(again.bridge.work.preview.mask(), mask)
    assert again.bridge.work.points.layer is points
    assert len(points.data) == 1
    again.close_down()


def test_each_image_keeps_its_own_objects(desk, picture) -> None:
    first = desk.bridge.work.image
    desk.click(30, 40)
    mask = desk.preview.copy()
    second = desk.viewer.add_image(picture.T.copy(), name="second")
    assert desk.bridge.work.image is first
    box = desk.widget.model_panel.image
    box.setCurrentIndex(box.findText("second"))
    box.activated.emit(box.currentIndex())
    assert desk.bridge.work.image is second
    assert len(desk.document) == 0
    desk.click(100, 10)
    desk.press("C")
    assert desk.labels.data.shape == picture.T.shape
    other = desk.bridge.work
    desk.bridge.open(first)
    assert len(desk.document) == 1
    other.result.layer.paint((5, 5), 3)  # in labels of the image not worked on
    assert other.document.undo_name == "paint"
    assert desk.document.undo_name != "paint"
    assert not desk.labels.data.any()
    np.testing.assert_array_equal(desk.preview, mask)
    desk.click(40, 50)
    assert desk.preview.sum() > mask.sum()


def test_shortcuts_mean_the_same_on_every_layer_and_are_given_back(desk) -> None:
    foreign = desk.viewer.add_labels(np.zeros((90, 120), np.uint8))
    bound = [desk.points, desk.boxes, desk.labels, desk.bridge.work.image]
    for layer in bound:
        desk.viewer.layers.selection.active = layer
        desk.press("N")
        desk.click(30, 40)
    assert len(desk.document) == 4
    assert [str(key) for key in foreign.keymap] == ["M"]  # to take a mask from it
    desk.widget.close_down()
    assert not foreign.keymap
    assert not any(layer.keymap for layer in bound)
    assert not desk.viewer.keymap
