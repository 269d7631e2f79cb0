"""While a point is dragged nothing is edited; its end is one edit."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from napari.components import ViewerModel

from napari_promise.document import Region
from napari_promise.widgets.layers.bridge import LayerBridge

SHAPE = (90, 120)


def square(row: float, column: float) -> Region:
    mask = np.zeros(SHAPE, bool)
    mask[int(row) - 3 : int(row) + 4, int(column) - 3 : int(column) + 4] = True
    region = Region.from_mask(mask)
    assert region is not None
    return region


class Hand:
    """A bridge without a window, and a mouse over its points."""

    def __init__(self, qtbot: Any) -> None:
        viewer = ViewerModel()
        self.bridge = LayerBridge(viewer)
        self.bridge.open(viewer.add_image(np.zeros(SHAPE, np.uint8)))
        work = self.bridge.work
        assert work is not None
        self.document, self.points = work.document, work.points.layer
        self.preview = work.preview
        self.said: list[Any] = []
        self.bridge.dragged.connect(
            lambda _id, prompts, sources: self.said.append(
                (prompts.points.tolist(), sources)
            )
        )
        self.bridge.drag_ended.connect(lambda: self.said.append("end"))
        self.bridge.edited.connect(lambda ids: self.said.append(ids))
        self.wait = lambda: qtbot.wait(1)

    def answer(self) -> None:
        record = self.document.active
        assert record is not None
        region = square(*record.prompts.points[-1])
        self.document.set_mask(
            record.id, region, score=0.5, logits=None, revision=record.revision
        )

    def drag_preview(self, *position: float) -> None:
        self.bridge.show_drag_preview(self.document, 1, square(*position))

    def shown(self, *position: int) -> bool:
        return bool(self.preview.mask()[position])

    def drag(self, *path: tuple[int, int]) -> Iterator[tuple[int, int]]:
        """Drag the only point; each step is one move of the mouse."""
        layer = self.points
        layer.mode = "select"
        mouse = SimpleNamespace(
            type="mouse_press",
            position=tuple(layer.data[0]),
            modifiers=(),
            view_direction=None,
            dims_displayed=[0, 1],
        )
        (handler,) = layer.mouse_drag_callbacks
        moves = handler(layer, mouse)
        next(moves)
        mouse.type = "mouse_move"
        for mouse.position in path:
            next(moves)
            self.wait()
            yield mouse.position
        mouse.type = "mouse_release"
        next(moves, None)
        self.wait()


@pytest.fixture
def hand(has_screen: None, qtbot: Any) -> Iterator[Hand]:
    hand = Hand(qtbot)
    hand.points.add((30, 40))
    hand.wait()
    hand.answer()
    hand.said.clear()
    yield hand
    hand.bridge.close()


def test_every_move_says_what_the_prompts_would_be_and_edits_nothing(hand) -> None:
    record, undo = hand.document.active, hand.document.undo_name
    for position in hand.drag((40, 50), (60, 90)):
        assert hand.said == [([list(position)], ["user"])]
        assert hand.document.active is record
        assert hand.document.undo_name == undo
        hand.said.clear()
    assert hand.said == ["end", [1]]
    assert hand.document.active.prompts.points.tolist() == [[60, 90]]


def test_a_whole_drag_is_one_step_of_undo(hand) -> None:
    before = hand.preview.mask().copy()
    for position in hand.drag((40, 50), (50, 70), (60, 90)):
        hand.drag_preview(*position)
    hand.answer()
    assert hand.shown(60, 90)
    hand.document.undo()
    assert hand.document.active.prompts.points.tolist() == [[30, 40]]
    assert hand.points.data.tolist() == [[30, 40]]
    np.testing.assert_array_equal(hand.preview.mask(), before)


def test_what_was_drag_previewed_stays_until_the_mask_is_there(hand) -> None:
    for position in hand.drag((60, 90)):
        hand.drag_preview(*position)
        assert hand.shown(60, 90)
        assert not hand.shown(30, 40)
    assert not hand.document.active.is_answered
    assert hand.shown(60, 90)
    hand.document.undo()
    assert not hand.shown(60, 90)
    assert hand.shown(30, 40)


def test_a_drag_that_ends_where_it_began_is_no_edit(hand) -> None:
    record = hand.document.active
    for position in hand.drag((60, 90), (30, 40)):
        if position == (60, 90):
            hand.drag_preview(*position)
    assert hand.said[-1] == "end"
    assert [1] not in hand.said
    assert hand.document.active is record
    assert hand.shown(30, 40)
    assert not hand.shown(60, 90)
