"""Somebody draws one object and asks for more like it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from napari_promise.data.embeddings import EmbeddingCache
from napari_promise.document import Region
from napari_promise.prompts import Prompts
from napari_promise.session import Session, Settings
from tests.widgets.literal import literal

SHAPE = (64, 64)
#: Places of the bright squares, by their first row and column.
SQUARES = ((4, 4), (40, 40))
SIDE = 18


def square(at: tuple[int, int]) -> np.ndarray:
    mask = np.zeros(SHAPE, bool)
    mask[at[0] : at[0] + SIDE, at[1] : at[1] + SIDE] = True
    return mask


def picture(*squares: tuple[int, int]) -> np.ndarray:
    pixels = np.full(SHAPE, 20, np.uint8)
    for at in squares:
        pixels[square(at)] = 230
    return pixels


class Desk:
    """A viewer with the dock."""

    def __init__(self, viewer: Any, qtbot: Any, model: Any) -> None:
        from napari_promise.widgets.dispatch import GuiDispatcher
        from napari_promise.widgets.prompting.dock import PromiseWidget

        self.viewer, self.qtbot = viewer, qtbot
        self.session = Session(
            dispatch=GuiDispatcher(),
            settings=Settings(model="micro", adapter=""),
            cache=EmbeddingCache(None),
            loader=lambda name, **_options: model.with_adapter(None),
        )
        self.widget = PromiseWidget(viewer, self.session)
        viewer.window.add_dock_widget(self.widget, name="ProMISe", area="right")

    @property
    def document(self) -> Any:
        return self.widget.bridge.work.document

    def until(self, condition: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(condition, timeout=240_000)

    def open(self, data: np.ndarray) -> Any:
        image = self.viewer.add_image(data)
        self.until(lambda: self.widget.bridge.work is not None)
        self.until(lambda: self.session.status.state == "ready")
        return image

    def draw(self, plane: tuple[int, ...] = ()) -> int:
        """Commit the true mask of the first square."""
        document = self.document
        record = document.new_object(plane)
        centre = [(at + SIDE / 2) for at in SQUARES[0]]
        record = document.set_prompts(record.id, Prompts(points=[centre], labels=[1]))
        document.set_mask(
            record.id,
            Region.from_mask(square(SQUARES[0])),
            score=1.0,
            logits=None,
            revision=record.revision,
        )
        document.set_class(record.id, "square")
        self.widget.actions.commit()
        return int(record.id)

    def find(self, object_id: int, where: str) -> None:
        self.widget.objects_panel.alike_requested.emit(object_id, where)
        self.until(lambda: not self.widget.desk.alike.is_running)
        self.qtbot.wait(1)


@pytest.fixture
def desk(
    has_screen: None, make_napari_viewer: Any, qtbot: Any, micro_sam: Any
) -> Iterator[Desk]:
    made = Desk(make_napari_viewer(), qtbot, literal(micro_sam))
    yield made
    made.widget.close_down()


def overlap(record: Any, mask: np.ndarray) -> float:
    found = record.region.mask
    return float((found & mask).sum() / found.sum())


def test_more_like_one_wait_on_its_image_and_go_in_one_step_of_undo(
    desk: Desk,
) -> None:
    desk.open(picture(*SQUARES))
    first = desk.draw()
    desk.find(first, "plane")
    found = [r for r in desk.document.objects if r.id != first]
    assert found
    assert any(overlap(record, square(SQUARES[1])) > 0.5 for record in found)
    for record in found:
        assert not record.committed
        assert record.class_name == "square"
        assert overlap(record, square(SQUARES[0])) < 0.5
    desk.widget.actions.undo()
    assert [r.id for r in desk.document.objects] == [first]


def test_more_like_one_are_looked_for_on_all_planes_of_a_stack(desk: Desk) -> None:
    stack = np.stack([picture(), picture(SQUARES[0]), picture(SQUARES[1])])
    image = desk.open(stack)
    desk.viewer.dims.set_point(0, 1)
    desk.until(lambda: desk.widget.bridge.plane == (1,))
    desk.until(lambda: desk.session.status.state == "ready")
    first = desk.draw((1,))
    desk.find(first, "stack")
    planes = {r.plane for r in desk.document.objects if r.id != first}
    assert (2,) in planes
    assert (1,) not in planes
    assert desk.widget.bridge.work.image is image
    desk.widget.actions.undo()
    assert [r.id for r in desk.document.objects] == [first]


def test_more_like_one_are_looked_for_on_other_layers(desk: Desk) -> None:
    other = desk.viewer.add_image(picture(SQUARES[1]), name="other")
    image = desk.viewer.add_image(picture(SQUARES[0]), name="first")
    desk.widget.bridge.open(image)
    desk.until(lambda: desk.session.status.state == "ready")
    first = desk.draw()
    desk.find(first, "images")
    assert [r.id for r in desk.document.objects] == [first]
    desk.widget.bridge.open(other)
    records = desk.document.objects
    assert any(overlap(record, square(SQUARES[1])) > 0.5 for record in records)


def test_an_object_without_a_mask_teaches_nothing(desk: Desk) -> None:
    desk.open(picture(*SQUARES))
    record = desk.document.new_object(())
    desk.find(record.id, "plane")
    assert len(desk.document) == 1
