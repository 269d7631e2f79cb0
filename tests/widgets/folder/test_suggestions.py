"""A folder suggests from the second image on."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_promise.data.embeddings import EmbeddingCache
from napari_promise.document import Region
from napari_promise.session import Session, Settings
from tests.widgets.literal import literal

SHAPE = (96, 128)
#: Where the disc is in each picture, as (row, column, radius).
DISCS = ((40, 50, 20), (55, 80, 18), (35, 70, 22), (60, 45, 19), (50, 60, 20))


def disc(number: int) -> np.ndarray:
    row, column, radius = DISCS[number]
    y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
    return (y - row) ** 2 + (x - column) ** 2 < radius**2


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    """Dark discs on bright noise."""
    folder = tmp_path / "discs"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(len(DISCS)):
        pixels = rng.normal(180, 12, (*SHAPE, 3))
        pixels[disc(number)] -= (110, 130, 60)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
            folder / f"p{number}.png"
        )
    return folder


@pytest.fixture
def model(micro_sam: Any) -> Any:
    return literal(micro_sam)


class Person:
    """Both docks in a viewer, and what somebody does with them."""

    def __init__(self, viewer: Any, qtbot: Any, model: Any, cache: Path) -> None:
        from napari_promise.widgets.dispatch import GuiDispatcher
        from napari_promise.widgets.folder.dock import FolderWidget
        from napari_promise.widgets.prompting.dock import PromiseWidget

        self.viewer, self.qtbot = viewer, qtbot
        self.failures: list[str] = []
        self.session = Session(
            dispatch=GuiDispatcher(),
            settings=Settings(model="micro", adapter=""),
            cache=EmbeddingCache(cache),
            loader=lambda name, **_options: model.with_adapter(None),
        )
        self.session.failed.connect(self.failures.append)
        self.promise = PromiseWidget(viewer, self.session)
        viewer.window.add_dock_widget(self.promise, name="ProMISe", area="right")
        self.folder = FolderWidget(viewer)
        viewer.window.add_dock_widget(self.folder, name="folder", area="left")

    def close(self) -> None:
        self.folder.close_down()
        self.promise.close_down()

    @property
    def bar(self) -> Any:
        return self.folder.suggestion

    @property
    def suggestions(self) -> Any:
        return self.folder._opened.suggestions

    @property
    def document(self) -> Any:
        return self.folder.work.work.document

    def until(self, condition: Callable[[], bool]) -> None:
        self.qtbot.waitUntil(condition, timeout=240_000)
        assert not self.failures

    def open(self, path: Path) -> None:
        self.folder.open_project(path)
        self.until(lambda: self.folder.work is not None)
        self.arrive("p0.png")

    def arrive(self, key: str) -> None:
        """Wait until an image is open and encoded, and nothing is asked any more."""
        self.until(lambda: self.folder.work.key == key)
        self.until(lambda: self.session.status.state == "ready")
        self.until(lambda: self.suggestions._job is None)
        self.qtbot.wait(1)

    def draw(self, number: int) -> None:
        """Put the true mask into the document, as an answered object."""
        from napari_promise.prompts import Prompts

        row, column, _ = DISCS[number]
        document = self.document
        with document.step("draw"):
            record = document.new_object(())
            record = document.set_prompts(
                record.id, Prompts(points=[(row, column)], labels=[1])
            )
            document.set_mask(
                record.id,
                Region.from_mask(disc(number)),
                score=1.0,
                logits=None,
                revision=record.revision,
            )

    def finish(self, opens: str) -> None:
        self.folder.finish()
        self.arrive(opens)

    def go_to(self, key: str) -> None:
        self.folder.open_image(key)
        self.arrive(key)

    def suggested(self) -> Any:
        """What is suggested, as a value that can be compared."""
        ids = self.suggestions.ids
        records = [self.document.get(object_id) for object_id in ids]
        return [
            (
                record.region.mask.tobytes(),
                record.prompts.points.tolist(),
                None if record.logits is None else record.logits.array.tobytes(),
            )
            for record in records
        ]


@pytest.fixture
def person(
    has_screen: None,
    make_napari_viewer: Any,
    qtbot: Any,
    model: Any,
    pictures: Path,
    tmp_path: Path,
) -> Iterator[Person]:
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_viewer.canvas.native.hide()
    made = Person(viewer, qtbot, model, tmp_path / "embeddings")
    made.open(pictures)
    yield made
    made.close()


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def test_the_second_image_opens_with_a_suggestion(person: Person) -> None:
    assert person.suggestions.ids == ()
    person.draw(0)
    person.finish(opens="p1.png")
    (suggested,) = person.suggestions.ids
    record = person.document.get(suggested)
    assert dice(record.region.mask, disc(1)) > 0.5
    assert person.document.active_id is None
    assert "learnt from 1 image" in person.bar.text.text()
    # Nobody worked on it: left alone it stays as new as it was.
    person.go_to("p3.png")
    assert person.folder.project.item("p1.png").state == "new"


def test_one_key_takes_a_suggestion_and_clicks_correct_it(person: Person) -> None:
    person.draw(0)
    person.finish(opens="p1.png")
    (suggested,) = person.suggestions.ids
    canvas = person.viewer.window._qt_viewer.canvas
    assert canvas._key_map_handler.press_key("Q") is not False
    person.qtbot.wait(1)
    assert person.document.active_id == suggested
    person.promise.bridge.set_include(False)
    person.promise.bridge.work.points.layer.add((5, 5))
    person.until(lambda: person.document.get(suggested).is_answered)
    assert len(person.document) == 1
    person.finish(opens="p2.png")
    item = person.folder.project.item("p1.png")
    assert (item.state, item.objects, item.clicks) == ("done", 1, 1)


def test_a_click_ignores_a_suggestion_and_undo_brings_it_back(person: Person) -> None:
    person.draw(0)
    person.finish(opens="p1.png")
    (suggested,) = person.suggestions.ids
    before = person.suggested()
    person.promise.bridge.work.points.layer.add((10, 110))
    person.until(lambda: suggested not in person.document)
    person.until(lambda: all(r.is_answered for r in person.document.objects))
    assert len(person.document) == 1
    assert not person.bar.take.isEnabled()
    person.document.undo()
    assert person.document.get(suggested).region.mask.tobytes() == before[0][0]


def test_done_confirms_what_is_suggested(person: Person) -> None:
    person.draw(0)
    person.finish(opens="p1.png")
    person.finish(opens="p2.png")
    item = person.folder.project.item("p1.png")
    assert (item.state, item.objects, item.clicks) == ("done", 1, 0)


def test_a_confirmation_taken_back_changes_the_next_suggestion_back_exactly(
    person: Person,
) -> None:
    person.draw(0)
    person.finish(opens="p1.png")
    person.go_to("p4.png")
    with_one = person.suggested()
    assert len(with_one) == 1
    person.go_to("p1.png")
    person.suggestions.ignore()
    person.draw(1)
    person.finish(opens="p2.png")
    person.go_to("p4.png")
    with_two = person.suggested()
    assert with_two != with_one
    # by the table: it is not done any more
    person.folder._on_action_chosen("reopen", ["p1.png"])
    person.until(lambda: person.folder.project.item("p1.png").state != "done")
    person.go_to("p3.png")
    person.go_to("p4.png")
    assert person.suggested() == with_one
    # confirmed again, it teaches the same again
    person.go_to("p1.png")
    person.folder.work.finish(lambda: None)
    person.go_to("p4.png")
    assert person.suggested() == with_two
    # by an edit of the image that is done
    person.go_to("p1.png")
    person.document.undo()
    person.go_to("p4.png")
    assert person.suggested() == with_one


def test_switched_off_nothing_is_suggested(person: Person) -> None:
    person.bar.on.click()
    person.draw(0)
    person.finish(opens="p1.png")
    assert person.suggestions.ids == ()
    person.bar.on.click()
    person.until(lambda: len(person.suggestions.ids) == 1)


def test_what_was_learnt_is_kept_shared_and_imported_as_an_adapter(
    person: Person, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtpy.QtWidgets import QInputDialog

    from napari_promise.model.adapter_files import export_file, import_file, remove
    from napari_promise.model.adapters import load_adapter

    person.draw(0)
    person.finish(opens="p1.png")
    answers = SimpleNamespace(name="discs")
    monkeypatch.setattr(
        QInputDialog, "getText", lambda *_args, **_options: (answers.name, True)
    )
    person.bar.keep.click()
    person.until(
        lambda: any(e.name == "discs" for e in person.folder.desk.adapters or [])
    )
    before = person.suggested()
    file = export_file("discs", tmp_path / "discs")
    remove("discs")
    import_file(file)
    info = load_adapter("discs").info
    assert (info.apm, info.trained_on) == ("instant", "1 image: discs")
    # in use, it answers Auto-prompt as the suggestion was made
    person.suggestions.ignore()
    person.session.settings.adapter = "discs"
    person.until(lambda: person.session.adapter_info is not None)
    person.promise.actions.auto()
    person.until(lambda: len(person.document) == 1 and bool(person.document.active_id))
    record = person.document.active
    person.until(lambda: person.document.active.is_answered)
    assert record.prompts.points.tolist() == before[0][1]
