"""*Find more like this*: from one drawn object to its like, in a real window."""

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

SHAPE = (96, 128)
#: (row, column) of the discs of a picture.
LEFT, RIGHT = (46, 30), (48, 96)
RADIUS = 19


def disc(at: tuple[int, int]) -> np.ndarray:
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (y - at[0]) ** 2 + (x - at[1]) ** 2 < RADIUS**2


def picture(*places: tuple[int, int]) -> np.ndarray:
    """Dark discs on bright noise."""
    pixels = np.random.default_rng(0).normal(180, 12, (*SHAPE, 3))
    for at in places:
        pixels[disc(at)] -= (110, 130, 60)
    return pixels.clip(0, 255).astype(np.uint8)


class Person:
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
        self.bridge, self.desk = self.widget.bridge, self.widget.desk

    def until(self, condition: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(condition, timeout=240_000)

    def open(self, pixels: np.ndarray, name: str) -> None:
        self.viewer.add_image(pixels, name=name)
        self.until(lambda: self.bridge.work is not None)
        self.until(lambda: self.session.status.state == "ready")

    @property
    def said(self) -> str:
        """What the window said last."""
        from napari.utils.notifications import notification_manager

        return str(notification_manager.records[-1].message)

    @property
    def document(self) -> Any:
        return self.bridge.work.document

    def draw(self, mask: np.ndarray, plane: tuple[int, ...] = ()) -> int:
        """Put an answered object with this mask into the document."""
        row, column = (int(n) for n in np.argwhere(mask).mean(0))
        with self.document.step("draw"):
            record = self.document.new_object(plane)
            prompts = Prompts(points=[(row, column)], labels=[1])
            record = self.document.set_prompts(record.id, prompts)
            region = Region.from_mask(mask)
            self.document.set_mask(
                record.id, region, score=1.0, logits=None, revision=record.revision
            )
        return int(record.id)

    def find(self, object_id: int, where: str) -> None:
        self.widget.objects_panel.alike_requested.emit(object_id, where)
        self.until(lambda: not self.desk.alike.is_running)


@pytest.fixture
def person(
    has_screen: None, make_napari_viewer: Any, qtbot: Any, micro_sam: Any
) -> Iterator[Person]:
    made = Person(make_napari_viewer(), qtbot, literal(micro_sam))
    yield made
    made.widget.close_down()


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def found(document: Any, drawn: int, plane: tuple[int, ...] | None = None) -> list[Any]:
    return [
        record
        for record in document.objects
        if record.id != drawn and plane in (None, record.plane)
    ]


def test_another_object_of_the_image_is_found_and_waits(person: Person) -> None:
    person.open(picture(LEFT, RIGHT), "two")
    drawn = person.draw(disc(LEFT))
    person.find(drawn, "plane")
    fits = [dice(one.region.mask, disc(RIGHT)) for one in found(person.document, drawn)]
    assert max(fits) > 0.6
    assert not any(one.committed for one in person.document.objects)
    assert "found: commit those that are right" in person.said
    # One step of undo, and the drawn object stays.
    person.document.undo()
    assert [record.id for record in person.document.objects] == [drawn]
    person.document.redo()
    assert len(person.document) == 1 + len(fits)


def test_what_is_known_already_is_not_found_again(person: Person) -> None:
    person.open(picture(LEFT, RIGHT), "two")
    first, second = person.draw(disc(LEFT)), person.draw(disc(RIGHT))
    person.find(first, "plane")
    for record in person.document.objects:
        if record.id not in (first, second):
            assert dice(record.region.mask, disc(LEFT) | disc(RIGHT)) < 0.3


def test_it_is_found_on_other_planes_of_a_stack(person: Person) -> None:
    person.open(np.stack([picture(LEFT), picture(RIGHT), picture(LEFT)]), "stack")
    plane = person.bridge.plane
    drawn = person.draw(disc((LEFT, RIGHT, LEFT)[plane[0]]), plane)
    person.find(drawn, "stack")
    for at, place in enumerate((LEFT, RIGHT, LEFT)):
        if (at,) != plane:
            masks = [r.region.mask for r in found(person.document, drawn, (at,))]
            assert max(dice(mask, disc(place)) for mask in masks) > 0.6


def test_it_is_found_in_the_other_images(person: Person) -> None:
    person.open(picture(LEFT), "first")
    person.viewer.add_image(picture(RIGHT), name="second")
    drawn = person.draw(disc(LEFT))
    person.find(drawn, "images")
    assert [record.id for record in person.document.objects] == [drawn]
    second = person.bridge.work_on(person.viewer.layers["second"]).document
    assert max(dice(r.region.mask, disc(RIGHT)) for r in second.objects) > 0.6


def test_without_another_image_it_is_said(person: Person) -> None:
    person.open(picture(LEFT), "alone")
    person.find(person.draw(disc(LEFT)), "images")
    assert person.said == "There is no other image in the viewer to look at."


def test_an_object_without_a_mask_teaches_nothing(person: Person) -> None:
    person.open(picture(LEFT), "alone")
    empty = person.document.new_object(()).id
    person.find(empty, "plane")
    assert "has no mask on its plane yet" in person.said
    assert len(person.document) == 1


def test_an_example_that_is_deleted_meanwhile_ends_without_a_fault(
    person: Person,
) -> None:
    person.open(picture(LEFT, RIGHT), "two")
    drawn = person.draw(disc(LEFT))
    person.widget.objects_panel.alike_requested.emit(drawn, "plane")
    person.widget.actions.delete(drawn)
    person.until(lambda: not person.desk.alike.is_running)
    assert all(
        dice(record.region.mask, disc(LEFT)) < 0.9 for record in person.document.objects
    )
