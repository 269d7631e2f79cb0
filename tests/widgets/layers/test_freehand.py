"""A scribble or a lasso drawn with the mouse becomes prompts, in one step of undo."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_promise.document import Region
from napari_promise.widgets.layers.bridge import LayerBridge

SHAPE = (90, 120)
LOOP = [(20, 20), (20, 60), (50, 60), (50, 20), (22, 18)]


class Hand:
    """A bridge without a window, and a mouse that draws."""

    def __init__(self, qtbot: Any, shape: tuple[int, ...] = SHAPE) -> None:
        self.viewer = ViewerModel()
        self.bridge = LayerBridge(self.viewer)
        self.bridge.open(self.viewer.add_image(np.zeros(shape, np.uint8)))
        work = self.bridge.work
        assert work is not None
        self.document, self.boxes = work.document, work.boxes.layer
        self.edited: list[list[int]] = []
        self.noticed: list[str] = []
        self.bridge.edited.connect(self.edited.append)
        self.bridge.noticed.connect(self.noticed.append)
        self._wait, self.until = qtbot.wait, qtbot.waitUntil

    def draw(self, tool: Any, line: list[tuple[float, ...]]) -> None:
        """Choose a tool and draw with the button held down, as on a tablet."""
        self.bridge.use_tool(tool)
        layer = self.boxes
        plane = tuple(int(i) for i in self.viewer.dims.current_step[:-2])
        mouse = SimpleNamespace(
            type="mouse_press",
            position=(*plane, *line[0]),
            pos=np.array(line[0]) * 20.0,
            modifiers=(),
            view_direction=None,
            dims_displayed=[0, 1],
        )
        (handler,) = layer.mouse_drag_callbacks
        moves = handler(layer, mouse)
        next(moves)
        mouse.type = "mouse_move"
        for position in line[1:]:
            mouse.position = (*plane, *position)
            mouse.pos = np.array(position) * 20.0
            next(moves)
        mouse.type = "mouse_release"
        next(moves, None)
        self._wait(5)

    def answer(self, rows: slice, columns: slice) -> None:
        record = self.document.active
        assert record is not None
        mask = np.zeros(SHAPE, bool)
        mask[rows, columns] = True
        self.document.set_mask(
            record.id,
            Region.from_mask(mask),
            score=0.5,
            logits=None,
            revision=record.revision,
        )

    @property
    def prompts(self) -> Any:
        assert self.document.active is not None
        return self.document.active.prompts


@pytest.fixture
def make_hand(has_screen: None, qtbot: Any) -> Iterator[Callable[..., Hand]]:
    hands: list[Hand] = []

    def make(*shape: int) -> Hand:
        hands.append(Hand(qtbot, shape or SHAPE))
        return hands[-1]

    yield make
    for hand in hands:
        hand.bridge.close()


@pytest.fixture
def hand(make_hand: Callable[..., Hand]) -> Hand:
    return make_hand()


def test_a_scribble_becomes_points_of_one_new_object_in_one_step(hand) -> None:
    hand.draw("scribble", [(30, 20), (30, 40), (30, 60), (30, 80)])
    assert len(hand.document) == 1
    assert 2 <= len(hand.prompts.points) <= 5
    assert (hand.prompts.points[:, 0] == 30).all()
    assert (hand.prompts.labels == 1).all()
    assert hand.edited == [[1]]
    assert hand.document.undo_name == "scribble"
    hand.document.undo()
    assert not len(hand.document)
    hand.document.redo()
    assert len(hand.prompts.points) >= 2


def test_a_line_stays_in_no_layer_and_boxes_stay_what_they_were(hand) -> None:
    hand.boxes.add_rectangles([[10, 10], [40, 40]])
    hand.draw("scribble", [(30, 20), (30, 40), (30, 60)])
    hand.draw("lasso", LOOP)
    assert hand.boxes.shape_type == ["rectangle"]
    assert hand.prompts.boxes.tolist() == [[10, 10, 40, 40]]
    assert list(hand.boxes.features["object"]) == [1]


def test_the_next_scribble_goes_on_with_the_object_and_excludes_where_told(
    hand,
) -> None:
    hand.draw("scribble", [(30, 20), (30, 40), (30, 60)])
    count = len(hand.prompts.points)
    hand.bridge.set_include(False)
    hand.draw("scribble", [(60, 20), (60, 40), (60, 60)])
    assert len(hand.document) == 1
    assert (hand.prompts.labels[:count] == 1).all()
    assert (hand.prompts.labels[count:] == 0).all()
    assert (hand.prompts.points[count:, 0] == 60).all()
    assert hand.bridge.tool() == "scribble", "one goes on scribbling"


def test_a_lasso_is_the_mask_of_a_new_object_with_a_point_in_its_middle(hand) -> None:
    hand.draw("lasso", LOOP)
    assert hand.prompts.mask[35, 40]
    assert not hand.prompts.mask[60, 40]
    ((row, column),) = hand.prompts.points
    assert abs(row - 35) <= 2
    assert 30 <= column <= 50
    # then one goes on clicking
    hand.until(lambda: hand.bridge.tool() == "point", timeout=20_000)


def test_a_lasso_adds_to_a_mask_and_with_exclude_takes_from_it(hand) -> None:
    hand.draw("scribble", [(30, 20), (30, 40), (30, 60)])
    hand.answer(slice(25, 45), slice(10, 70))
    hand.draw("lasso", [(44, 30), (44, 50), (70, 50), (70, 30), (45, 29)])
    assert hand.prompts.mask[60, 40], "added"
    assert hand.prompts.mask[30, 12], "what was there"
    assert hand.prompts.labels[-1] == 1
    assert hand.prompts.points[-1, 0] > 45, "the point lies in what came"
    hand.answer(slice(25, 70), slice(10, 70))
    hand.bridge.set_include(False)
    hand.draw("lasso", [(20, 5), (20, 30), (80, 30), (80, 5), (22, 4)])
    assert not hand.prompts.mask[40, 15], "taken away"
    assert hand.prompts.mask[40, 50]
    assert hand.prompts.labels[-1] == 0
    row, column = hand.prompts.points[-1]
    assert 25 <= row < 70
    assert 10 <= column <= 30


def test_a_lasso_that_says_nothing_is_told_and_changes_nothing(hand) -> None:
    hand.bridge.set_include(False)
    hand.draw("lasso", LOOP)
    assert "nothing of the object lies in it" in hand.noticed[-1]
    assert not len(hand.document)
    hand.bridge.set_include(True)
    hand.draw("lasso", [(r - 300, c) for r, c in LOOP])
    assert "encloses nothing" in hand.noticed[-1]
    hand.draw("scribble", [(r - 300, c) for r, c in LOOP])
    assert "beside the image" in hand.noticed[-1]
    assert not len(hand.document)
    assert not hand.document.undo_name
    assert not len(hand.boxes.data)


def test_a_lasso_does_not_take_the_whole_object_away(hand) -> None:
    hand.draw("lasso", LOOP)
    hand.answer(slice(25, 40), slice(25, 50))
    hand.bridge.set_include(False)
    before = hand.document.active
    hand.draw("lasso", [(5, 5), (5, 90), (80, 90), (80, 5), (6, 4)])
    assert "use Clear" in hand.noticed[-1]
    assert hand.document.active is before


def test_a_line_belongs_to_the_plane_it_was_drawn_on(make_hand) -> None:
    hand = make_hand(5, *SHAPE)
    hand.bridge.go_to((3,))
    hand.draw("scribble", [(30, 20), (30, 40), (30, 60)])
    assert hand.document.active.plane == (3,)


def test_a_line_drawn_in_3d_is_taken_back_and_said(make_hand) -> None:
    hand = make_hand(5, *SHAPE)
    hand.bridge.use_tool("scribble")
    hand.viewer.dims.ndisplay = 3
    path = np.array([(2, 30, 20), (2, 30, 40), (2, 30, 60)], float)
    hand.boxes.add(path, shape_type="path")
    hand._wait(5)
    assert "3D" in hand.noticed[-1]
    assert not len(hand.document)
    assert not len(hand.boxes.data)


def test_an_old_box_whose_corner_is_pulled_stays_a_box(hand) -> None:
    hand.boxes.add_rectangles([[10, 10], [40, 40]])
    hand._wait(5)
    pulled = np.array([(10, 10), (10, 40), (60, 40), (40, 10)], float)
    hand.boxes.data = [(pulled, "polygon")]
    hand._wait(5)
    assert hand.prompts.boxes.tolist() == [[10, 10, 60, 40]]
