"""Boxes in their layer, whatever view there is of it."""

from __future__ import annotations

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_promise.widgets.layers.boxes import Box, BoxPrompts

BOXES = (Box(1, (), (2.0, 3.0, 9.0, 12.0)), Box(2, (), (5.0, 5.0, 8.0, 8.0)))


@pytest.fixture
def seen(qapp):
    viewer = ViewerModel()
    image = viewer.add_image(np.zeros((30, 40), np.uint8))
    boxes = BoxPrompts(image)
    viewer.layers.append(boxes.layer)
    return viewer, boxes


@pytest.mark.parametrize("before", [(), BOXES[:1]])
def test_boxes_that_come_while_a_plane_is_seen_in_3d_are_there_in_2d(
    seen, qtbot, before
) -> None:
    viewer, boxes = seen
    edits = []
    boxes.edited.connect(lambda *edit: edits.append(edit))
    boxes.show(before)
    viewer.dims.ndisplay = 3
    boxes.show(BOXES)
    assert boxes.read() == BOXES
    viewer.dims.ndisplay = 2
    qtbot.waitUntil(lambda: len(boxes.layer.data) == 2)
    assert boxes.read() == BOXES
    assert edits == [], "nobody edited anything"


def test_boxes_taken_away_before_they_could_be_shown_stay_away(seen, qtbot) -> None:
    viewer, boxes = seen
    viewer.dims.ndisplay = 3
    boxes.show(BOXES)
    boxes.show(())
    viewer.dims.ndisplay = 2
    qtbot.wait(10)
    assert boxes.read() == ()
    assert len(boxes.layer.data) == 0
