"""Works come and go in a viewer; on layers without a window."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_promise.document import Document
from napari_promise.prompts import Prompts
from napari_promise.widgets.layers import result
from napari_promise.widgets.layers.bridge import LayerBridge
from napari_promise.widgets.layers.work import Work


@pytest.fixture
def bridge(has_screen: None, qtbot: Any) -> Iterator[LayerBridge]:
    bridge = LayerBridge(ViewerModel())
    yield bridge
    bridge.close()


def _stack(planes: int, *drafts: int) -> Work:
    document = Document()
    for plane in drafts:
        record = document.new_object((plane,))
        document.set_prompts(record.id, Prompts(points=[(3, 3)], labels=[1]))
    return Work(Image(np.zeros((planes, 20, 30), np.uint8)), document)


def test_a_work_opens_with_its_plane_and_object_named_once(bridge) -> None:
    work = _stack(9, 2, 7)
    told: list[Any] = []
    bridge.plane_changed.connect(lambda plane: told.append(plane))
    bridge.work_changed.connect(
        lambda: told.append((bridge.plane, bridge.work.document.active_id))
    )
    bridge.open_work(work, (2,), 1)
    assert told == [((2,), 1)]
    assert bridge._viewer.dims.current_step[0] == 2


def test_the_plane_stays_when_the_work_before_is_dropped(bridge) -> None:
    before, after = _stack(40, 30), _stack(9, 7)
    bridge.open_work(before, (30,), 1)
    told: list[Any] = []
    bridge.plane_changed.connect(lambda plane: told.append(plane))
    with bridge.batched_update:
        bridge.open_work(after, (7,), 1)
        bridge.drop_work(before)
    assert told == []
    assert bridge.plane == (7,)
    assert bridge._viewer.dims.current_step[0] == 7
    assert after.document.active_id == 1
    assert not any(before.owns(layer) for layer in bridge._viewer.layers)


def test_a_work_that_is_open_already_goes_to_the_plane_it_is_asked_for(bridge) -> None:
    work = _stack(9, 2, 7)
    bridge.open_work(work, (2,), 1)
    bridge.open_work(work, (7,), 2)
    assert bridge.plane == (7,)
    assert work.document.active_id == 2


def test_points_are_those_of_the_plane_on_display(bridge) -> None:
    work = _stack(9, 2, 7)
    bridge.open_work(work, (2,), 1)
    assert work.points.layer.data.tolist() == [[2, 3, 3]]
    bridge.go_to((7,))
    assert work.document.active_id == 2
    assert work.points.layer.data.tolist() == [[7, 3, 3]]
    bridge.go_to((5,))
    assert work.document.active_id is None
    assert len(work.points.layer.data) == 0


def test_a_point_on_a_plane_that_is_not_displayed_joins_the_draft_there(
    bridge, qtbot
) -> None:
    work = _stack(9, 2, 7)
    bridge.open_work(work, (2,), 1)
    work.points.layer.add((7, 5, 5))
    qtbot.wait(1)
    assert work.document.get(2).prompts.points.tolist() == [[3, 3], [5, 5]]
    assert work.points.layer.data.tolist() == [[2, 3, 3]]
    bridge.go_to((7,))
    assert work.points.layer.data.tolist() == [[7, 3, 3], [7, 5, 5]]


def test_points_say_who_placed_them_in_words(bridge) -> None:
    document = Document()
    record = document.new_object(())
    sources = ["user", "auto", "propagated", "example"]
    prompts = Prompts(points=[(1, 1), (2, 2), (3, 3), (4, 4)], labels=[1] * 4)
    document.set_prompts(record.id, prompts, sources)
    work = Work(Image(np.zeros((20, 30), np.uint8)), document)
    bridge.open_work(work)
    layer = work.points.layer
    assert layer.features["source"].tolist() == sources
    hollow = layer.face_color[:, 3] < 0.5
    assert hollow.tolist() == [False, True, True, True]
    layer.selected_data = {1, 2}
    bridge.flip_selected()
    assert work.document.active.sources == ("user", "user", "user", "example")
    assert layer.features["source"].tolist() == ["user", "user", "user", "example"]


def test_an_image_too_large_for_labels_is_told_and_others_can_be_opened(
    bridge, monkeypatch
) -> None:
    said: list[str] = []
    bridge.noticed.connect(said.append)
    large = bridge._viewer.add_image(np.zeros((20, 30), np.uint8))
    with monkeypatch.context() as patched:

        def refuse(*_: object) -> None:
            raise MemoryError

        patched.setattr(result, "_allocate", refuse)
        bridge.open(large)
    assert "too large for labels" in said[0]
    assert bridge.work is None
    small = bridge._viewer.add_image(np.zeros((8, 9), np.uint8))
    bridge.open(small)
    assert bridge.work.image is small


def test_no_object_gets_a_label_that_another_tool_brought(bridge) -> None:
    bridge.open(bridge._viewer.add_image(np.zeros((20, 30), np.uint8)))
    bridge.work.result.layer.data = np.full((20, 30), 500, np.int64)
    assert bridge.work.document.new_object(()).id == 501


def test_labels_of_another_shape_from_another_tool_are_refused_in_words(bridge) -> None:
    said: list[str] = []
    bridge.noticed.connect(said.append)
    bridge.open(bridge._viewer.add_image(np.zeros((20, 30), np.uint8)))
    bridge.work.result.layer.data = np.zeros((5, 5), np.uint8)
    assert "left as they are" in said[0]
    assert bridge.work.result.layer.data.shape == (20, 30)
