"""A person works through a folder of images."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

SHAPE = (90, 120)


@dataclass
class Folder:
    """The dock of a folder, beside the dock of a desk."""

    desk: Any
    widget: Any
    path: Path

    @property
    def project(self) -> Any:
        return self.widget.project

    @property
    def work(self) -> Any:
        return self.widget.work

    @property
    def key(self) -> str | None:
        return None if self.work is None else self.work.key

    def open(self, path: Path | None = None) -> None:
        """Open a folder and wait for its first image."""
        self.widget.open_project(path or self.path)
        self.until(lambda: self.key is not None)
        self.ready()

    def until(self, condition: Callable[[], bool]) -> None:
        self.desk.until(condition)

    def ready(self) -> None:
        self.until(lambda: self.desk.widget.session.status.state == "ready")
        self.desk.qtbot.wait(1)

    def click_row(self, row: int) -> None:
        """Click a row of the table and wait for its image."""
        from qtpy.QtCore import Qt

        table = self.widget.table
        place = table.view.visualRect(table.model.index(row, 0)).center()
        self.desk.qtbot.mouseClick(
            table.view.viewport(), Qt.MouseButton.LeftButton, pos=place
        )
        wanted = table.model.order[row]
        self.until(lambda: self.key == wanted)
        self.ready()

    def press(self, key: str, opens: str | None = None) -> None:
        self.desk.press(key)
        if opens is not None:
            self.until(lambda: self.key == opens)
            self.ready()

    def cell(self, row: int, column: int) -> Any:
        model = self.widget.table.model
        return model.data(model.index(row, column))


@pytest.fixture
def images(tmp_path: Path) -> Path:
    """Six grey pictures."""
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(1, 7):
        pixels = rng.integers(0, 255, SHAPE, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"p{number}.png")
    return folder


@pytest.fixture
def make_folder(make_desk: Any, images: Path) -> Iterator[Callable[..., Folder]]:
    from napari_promise.widgets.folder_dock import FolderWidget

    made: list[Folder] = []

    def make(desk: Any = None, **options: Any) -> Folder:
        desk = desk or make_desk(**options)
        widget = FolderWidget(desk.viewer)
        desk.viewer.window.add_dock_widget(widget, name="folder", area="left")
        desk.qtbot.wait(1)
        made.append(Folder(desk, widget, images))
        return made[-1]

    yield make
    for folder in made:
        folder.widget.close_down()


@pytest.fixture
def folder(make_folder: Callable[..., Folder]) -> Folder:
    """The six pictures, open, with the first one on display."""
    folder = make_folder(show=True)
    folder.open()
    return folder


def test_a_folder_opens_with_its_first_image_in_the_dock(folder: Folder) -> None:
    assert folder.key == "p1.png"
    assert folder.widget.table.model.rowCount() == 6
    assert folder.desk.bridge.work is folder.work.work


def test_a_row_that_is_clicked_opens_its_image_alone(folder: Folder) -> None:
    first = folder.work.work
    folder.click_row(2)
    held = list(folder.desk.viewer.layers)
    assert folder.work.work.image in held
    assert not any(layer in held for layer in (first.image, *first.layers))


def test_done_and_next_commits_saves_and_opens_the_next(folder: Folder) -> None:
    folder.desk.click(30, 40)
    folder.press("G", opens="p2.png")
    item = folder.project.item("p1.png")
    assert (item.state, item.objects, item.clicks) == ("done", 1, 1)


def test_an_image_comes_back_with_its_masks_its_prompts_and_its_undo(
    folder: Folder,
) -> None:
    desk = folder.desk
    desk.click(30, 40)
    desk.press("C")
    desk.click(60, 90)
    labels = np.array(desk.labels.data)
    preview = np.array(desk.preview)
    assert labels.any()
    folder.press("D", opens="p2.png")
    assert not desk.labels.data.any()
    folder.press("Shift-D", opens="p1.png")
    np.testing.assert_array_equal(desk.labels.data, labels)
    np.testing.assert_array_equal(desk.preview, preview)
    desk.press("Control-Z")
    desk.settle()
    assert len(desk.points.data) == 0
    desk.press("Control-Z")
    desk.settle()
    assert not desk.labels.data.any()
