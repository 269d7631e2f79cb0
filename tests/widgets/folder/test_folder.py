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

    def states(self) -> list[str]:
        return [item.state for item in self.project.items]

    def propose_all(self) -> None:
        """Press the button and wait until every image was looked at."""
        self.widget.jobs.propose.click()
        self.until(lambda: not self.widget.jobs.progress.isVisible())
        self.desk.qtbot.wait(1)

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
    from napari_promise.widgets.folder.dock import FolderWidget

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
    """The six pictures, open, with the first one in the viewer.

    The window is shown, for clicks and keys; its canvas is not drawn, which without a
    graphics card took most of the time of these tests.
    """
    folder = make_folder(show=True)
    folder.desk.viewer.window._qt_viewer.canvas.native.hide()
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


def test_a_labelled_image_is_done_without_a_click_when_nothing_is_on_it(
    folder: Folder,
) -> None:
    folder.press("G", opens="p2.png")
    item = folder.project.item("p1.png")
    assert (item.state, item.objects) == ("done", 0)


def test_skipped_images_are_passed_over_by_done_and_next(folder: Folder) -> None:
    folder.press("D", opens="p2.png")
    folder.press("K", opens="p3.png")
    folder.press("Shift-D", opens="p2.png")
    folder.press("Shift-D", opens="p1.png")
    folder.press("G", opens="p3.png")
    assert folder.states()[:3] == ["done", "skipped", "new"]


def test_looking_at_images_leaves_them_as_they_were(folder: Folder) -> None:
    folder.press("D", opens="p2.png")
    folder.press("D", opens="p3.png")
    assert folder.states() == ["new"] * 6


def test_an_edit_reaches_the_disk_by_itself(folder: Folder) -> None:
    """How soon is tested with a clock of its own, in `test_autosave`."""
    folder.desk.click(30, 40)
    folder.until(lambda: folder.project.item("p1.png").state == "in progress")
    folder.until(lambda: folder.widget.saved.text() == "saved")


def test_strokes_of_the_brush_are_saved_and_counted(folder: Folder) -> None:
    labels = folder.desk.labels
    labels.selected_label = 3
    labels.paint((20, 20), 3)
    folder.press("D", opens="p2.png")
    folder.press("Shift-D", opens="p1.png")
    assert folder.desk.labels.data[20, 20] == 3
    assert folder.project.item("p1.png").clicks == 1


def test_an_open_proposal_is_an_object_with_points_that_one_key_confirms(
    folder: Folder,
) -> None:
    folder.press("D", opens="p2.png")
    folder.propose_all()
    assert folder.states() == ["proposed"] * 6
    assert len(folder.desk.points.data) == 3  # it came while the image was open
    folder.press("G", opens="p3.png")
    assert len(folder.desk.points.data) == 3
    assert not folder.desk.document.active.committed
    assert not folder.desk.labels.data.any()
    item = folder.project.item("p2.png")
    assert (item.state, item.untouched, item.clicks) == ("done", True, 0)
    folder.until(lambda: "100% accepted" in folder.widget.effort.figures.text())


def test_a_proposal_that_is_corrected_counts_as_corrected(folder: Folder) -> None:
    folder.propose_all()
    folder.desk.click(70, 100)
    folder.press("G", opens="p2.png")
    item = folder.project.item("p1.png")
    assert (item.state, item.untouched, item.clicks) == ("done", False, 1)
    folder.until(lambda: "1.0 clicks" in folder.widget.effort.figures.text())


def test_what_is_done_or_in_work_is_not_proposed_over(folder: Folder) -> None:
    folder.desk.click(70, 100)
    folder.press("G", opens="p2.png")
    folder.desk.click(60, 20)
    folder.press("D", opens="p3.png")
    folder.propose_all()
    assert folder.states() == ["done", "in progress", *["proposed"] * 4]
    folder.press("Shift-D", opens="p2.png")
    np.testing.assert_array_equal(folder.desk.points.data, [[60, 20]])


def test_proposing_without_an_adapter_says_what_to_do(
    make_folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_promise.widgets.folder import runs

    told: list[str] = []
    monkeypatch.setattr(runs, "show_warning", told.append)
    folder = make_folder(adapter="")
    folder.open()
    folder.widget.propose_all()
    assert "choose an adapter" in told[0]
    assert folder.states() == ["new"] * 6


def test_proposing_can_be_cancelled_and_keeps_what_it_has(folder: Folder) -> None:
    folder.desk.model.hold()
    folder.widget.jobs.propose.click()
    folder.until(lambda: "proposed" in folder.states())
    folder.widget.jobs.progress.cancel.click()
    assert not folder.widget.jobs.progress.isVisible()
    known = folder.states().count("proposed")
    folder.desk.model.release()
    folder.desk.qtbot.wait(700)
    assert folder.states().count("proposed") <= known + 1 < 6
    assert folder.widget.jobs.propose.isEnabled()


def test_clicks_are_answered_while_a_folder_is_proposed(folder: Folder) -> None:
    folder.desk.model.hold()
    folder.widget.jobs.propose.click()
    folder.desk.click(30, 40)
    assert folder.desk.preview.any()
    assert "new" in folder.states()
    folder.desk.model.release()


def test_the_weakest_is_one_key(folder: Folder) -> None:
    for number, confidence in enumerate((0.9, 0.8, 0.3, 0.7, 0.5, 0.6), start=1):
        folder.project.proposals.save(f"p{number}.png", [], confidence, {})
    folder.press("W", opens="p3.png")
    folder.press("W", opens="p5.png")
    folder.press("G", opens="p6.png")
    folder.press("W", opens="p3.png")


def test_the_table_filters_and_sorts(folder: Folder) -> None:
    from qtpy.QtCore import Qt

    from napari_promise.widgets.folder.model import CONFIDENCE

    model, table = folder.widget.table.model, folder.widget.table
    for number, confidence in enumerate((0.9, 0.8, 0.3), start=1):
        folder.project.proposals.save(f"p{number}.png", [], confidence, {})
    table.view.sortByColumn(CONFIDENCE, Qt.SortOrder.AscendingOrder)
    assert list(model.order) == [f"p{n}.png" for n in (3, 2, 1, 4, 5, 6)]
    folder.press("Shift-D", opens="p2.png")
    table.text.setText("P5")
    assert list(model.order) == ["p2.png", "p5.png"]  # the open one stays
    assert table.count.text() == "2 of 6"
    table.text.clear()
    table.states.setCurrentText("proposed")
    assert list(model.order) == [f"p{n}.png" for n in (3, 2, 1)]


def test_thumbnails_are_made_only_for_rows_on_display(folder: Folder) -> None:
    model = folder.widget.table.model
    folder.until(lambda: "p1.png" in model._pictures)
    assert model._pictures["p1.png"].width() == 40


def test_the_next_images_are_encoded_while_a_person_works(folder: Folder) -> None:
    folder.until(lambda: folder.desk.model.encoded >= 4)
    before = folder.desk.model.encoded
    folder.press("D", opens="p2.png")
    folder.desk.click(30, 40)
    folder.until(lambda: folder.desk.widget.session.status.cached)
    assert folder.desk.model.encoded <= before + 1


def test_deleting_the_image_in_the_middle_loses_nothing(folder: Folder) -> None:
    desk = folder.desk
    desk.click(30, 40)
    desk.press("C")
    labels = np.array(desk.labels.data)
    desk.viewer.layers.remove(folder.work.work.image)
    desk.qtbot.wait(20)
    folder.click_row(0)
    folder.until(lambda: desk.bridge.has_image())
    np.testing.assert_array_equal(desk.labels.data, labels)
    assert len(desk.document) == 1


def test_deleting_all_layers_and_renaming_them_loses_nothing(folder: Folder) -> None:
    desk = folder.desk
    desk.click(30, 40)
    desk.press("C")
    labels = np.array(desk.labels.data)
    for layer in desk.viewer.layers:
        layer.name = "same"
    desk.viewer.layers.clear()
    desk.qtbot.wait(20)
    folder.click_row(1)
    folder.press("Shift-D", opens="p1.png")
    np.testing.assert_array_equal(desk.labels.data, labels)


def test_layers_of_the_person_stay_when_images_change(folder: Folder) -> None:
    mine = folder.desk.viewer.add_labels(np.zeros(SHAPE, int), name="mine")
    folder.press("D", opens="p2.png")
    folder.widget.close_project()
    assert list(folder.desk.viewer.layers) == [mine]


def test_a_file_that_vanished_is_named_and_the_work_goes_on(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_promise.widgets.folder import dock as folder_dock

    told: list[str] = []
    monkeypatch.setattr(folder_dock, "show_error", told.append)
    folder.desk.click(30, 40)
    folder.project.item("p2.png").path.unlink()
    folder.widget.open_image("p2.png")
    folder.until(lambda: bool(told))
    assert "p2.png is gone" in told[0]
    assert folder.key == "p1.png"
    folder.widget.open_image("p3.png")
    folder.until(lambda: folder.key == "p3.png")


def test_an_unreadable_image_is_named_and_the_work_goes_on(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_promise.widgets.folder import dock as folder_dock

    told: list[str] = []
    monkeypatch.setattr(folder_dock, "show_error", told.append)
    folder.project.item("p5.png").path.write_bytes(b"no picture")
    folder.widget.open_image("p5.png")
    folder.until(lambda: bool(told))
    assert "p5.png" in told[0]
    assert folder.key == "p1.png"


def test_done_goes_past_images_that_cannot_be_opened(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_promise.widgets.folder import dock as folder_dock

    told: list[str] = []
    monkeypatch.setattr(folder_dock, "show_error", told.append)
    for name in ("p2.png", "p3.png"):
        folder.project.item(name).path.write_bytes(b"no picture")
    folder.press("G", opens="p4.png")
    assert [line.split()[0] for line in told] == ["p2.png", "p3.png"]
    assert folder.project.item("p2.png").state == "new"


def test_with_a_full_disk_the_image_stays_until_there_is_room(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_promise.widgets.folder import dock as folder_dock

    told: list[str] = []
    monkeypatch.setattr(folder_dock, "show_error", told.append)
    folder.desk.click(30, 40)

    def full(_saving: Any) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(folder.project, "write", full)
        folder.desk.press("G")
        folder.desk.qtbot.wait(100)
        assert folder.key == "p1.png"
        assert any("No space" in line for line in told)
        folder.desk.press("D")
        folder.desk.qtbot.wait(200)
        assert folder.key == "p1.png"
    folder.press("G", opens="p2.png")
    assert folder.project.item("p1.png").objects == 1


@pytest.mark.parametrize("what", ["empty", "missing"])
def test_a_folder_without_images_is_refused_in_one_line(
    make_folder: Any, tmp_path: Path, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_promise.widgets.folder import dock as folder_dock

    told: list[str] = []
    monkeypatch.setattr(folder_dock, "show_error", told.append)
    source = tmp_path / what
    if what == "empty":
        source.mkdir()
    folder = make_folder()
    folder.widget.open_project(source)
    folder.until(lambda: bool(told))
    assert "choose a folder" in told[0]
    assert folder.widget.open_button.isEnabled()


def test_a_folder_that_another_window_has_open_is_refused(
    folder: Folder, make_folder: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_promise.widgets.folder import dock as folder_dock

    told: list[str] = []
    monkeypatch.setattr(folder_dock, "show_error", told.append)
    other = make_folder()
    other.widget.open_project(folder.path)
    folder.until(lambda: bool(told))
    assert "open in another window" in told[0]
    assert other.key is None


def test_closing_the_dock_in_the_middle_saves_and_lets_go(
    folder: Folder, make_folder: Any
) -> None:
    desk = folder.desk
    desk.click(30, 40)
    viewer = desk.viewer
    viewer.window.remove_dock_widget(folder.widget)
    desk.qtbot.wait(10)
    assert len(viewer.layers) == 0
    again = make_folder(desk)
    again.open(folder.path)
    assert again.key == "p1.png"
    np.testing.assert_array_equal(desk.points.data, [[30, 40]])
    assert again.project.item("p1.png").clicks == 1


def test_the_folder_dock_opens_the_prompts_dock_where_it_is_missing(
    make_napari_viewer: Any, qtbot: Any, images: Path, has_screen: None
) -> None:
    from napari_promise.widgets.folder.dock import FolderWidget
    from napari_promise.widgets.prompting.dock import PromiseWidget

    viewer = make_napari_viewer()
    widget = FolderWidget(viewer)
    viewer.window.add_dock_widget(widget, name="folder", area="left")
    assert widget.desk.docks == (widget,)
    widget.open_project(images)
    qtbot.waitUntil(lambda: widget.work is not None and widget.work.key is not None)
    promise = widget.desk.docks[1]
    assert isinstance(promise, PromiseWidget)
    assert promise.bridge.work is widget.work.work
    widget.close_down()
    promise.close_down()


def test_retraining_comes_by_itself_every_so_many_images(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    got: list[tuple[int, bool]] = []

    def train_on(pairs: Any, _name: str, _class: str, *, start: bool) -> None:
        got.append((len(pairs), start))

    monkeypatch.setattr(folder.desk.widget.training, "train_on", train_on)
    folder.widget.jobs.every.setValue(2)
    for number in (2, 3, 4, 5):
        folder.press("G", opens=f"p{number}.png")
    folder.until(lambda: len(got) == 2)
    assert got == [(2, True), (4, True)]
    assert folder.project.settings.retrain_every == 2


def test_retraining_opens_the_training_window_on_what_is_done(folder: Folder) -> None:
    folder.project.settings.class_name = "nodule"
    for number in (2, 3, 4):
        folder.press("G", opens=f"p{number}.png")
    folder.widget.retrain()
    training = folder.desk.widget.training
    folder.until(lambda: training.panel.isVisible())
    folder.until(lambda: "3 images" in training.panel.summary.text())
    assert "(3 images)" in training.panel.source.currentText()
    assert training.panel.naming().class_name == "nodule"
    training.kept.emit("mine", "elsewhere")
    assert folder.project.learning.effort().trained == ()
    training.kept.emit("mine", Path(folder.project.source).stem)
    assert folder.project.learning.effort().trained == ((3, "mine"),)
    training.panel.close()


def test_retraining_by_itself_leaves_the_window_closed_until_it_is_done(
    folder: Folder,
) -> None:
    from napari_promise.training.trainer import Progress

    said: list[str] = []
    training = folder.desk.widget.training
    training._tell = said.append
    sizes: list[int] = []

    def train(config: Any, sam: Any, *, give_way: Any) -> Iterator[Any]:
        sizes.append(len(config.pairs))
        yield Progress("prepare", 1, 1)

    training.train_function = train
    folder.widget.jobs.every.setValue(2)
    for number in (2, 3):
        folder.desk.click(30, 40)
        folder.press("G", opens=f"p{number}.png")
    folder.until(lambda: sizes == [2])
    folder.until(lambda: training.job is None)
    assert not training.panel.isVisible()
    assert training.panel.naming().name == "pictures-2"
    # one that nobody decided about is not trained over
    training.outcome = object()
    training.train_on((), start=True)
    assert "keep or discard" in said[-1]
    training.outcome = None


def test_what_is_done_is_offered_to_compare_adapters_on(folder: Folder) -> None:
    training = folder.desk.widget.training
    folder.desk.click(30, 40)
    folder.press("G", opens="p2.png")
    training.library.compare_on_all("discs", "others")
    folder.until(
        lambda: "1 labelled image of pictures" in training.library.dialog.status.text()
    )
    folder.until(lambda: not training.library._comparing)
    folder.widget.close_project()
    assert training.folder is None


def test_the_folder_is_exported_in_the_background(
    folder: Folder, tmp_path: Path
) -> None:
    from napari_promise.widgets.folder.dialogs import FolderExportDialog

    folder.desk.click(30, 40)
    folder.press("G", opens="p2.png")
    dialog = FolderExportDialog(tmp_path / "out", 1, 0)
    dialog.accept()
    assert dialog.request is not None
    assert not dialog.request.overwrite
    thread = folder.widget.runs.write(dialog.request)
    thread.join()
    folder.until(lambda: not folder.widget.runs.is_exporting)
    (mask,) = (tmp_path / "out" / "masks").glob("p1*")
    assert mask.exists()
    assert (tmp_path / "out" / "annotations.json").exists()


def test_an_export_into_a_folder_with_files_asks_first(
    has_screen: None, qtbot: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from qtpy.QtWidgets import QMessageBox

    from napari_promise.widgets.folder.dialogs import FolderExportDialog

    (tmp_path / "mine.txt").write_text("mine")
    asked: list[str] = []

    def refuse(_parent: Any, _title: str, text: str, *_: Any) -> Any:
        asked.append(text)
        return QMessageBox.StandardButton.No

    monkeypatch.setattr(QMessageBox, "question", refuse)
    dialog = FolderExportDialog(tmp_path, 1, 0)
    qtbot.addWidget(dialog)
    dialog.accept()
    assert asked
    assert dialog.request is None


def test_the_menu_of_a_row_accepts_takes_back_and_skips(folder: Folder) -> None:
    folder.project.proposals.save("p4.png", [], 0.5, {})
    table = folder.widget.table

    def choose(key: str, text: str) -> None:
        menu = table.menu_of(key)
        (action,) = [a for a in menu.actions() if text in a.text()]
        action.trigger()
        folder.desk.qtbot.wait(1)

    choose("p4.png", "Accept")
    folder.until(lambda: folder.states()[3] == "done")  # written by another thread
    choose("p5.png", "Skip")
    assert folder.states()[4] == "skipped"
    choose("p5.png", "Reopen")
    choose("p6.png", "Mark as done")
    assert folder.states()[4:6] == ["new", "done"]


def test_the_calibration_is_shown_once_enough_is_known(folder: Folder) -> None:
    from napari_promise.project import Calibration
    from napari_promise.widgets.folder.dialogs import CalibrationDialog

    known = Calibration.fit([(n / 10, n / 12) for n in range(10)])
    assert known is not None
    dialog = CalibrationDialog(known)
    folder.desk.qtbot.addWidget(dialog)
    assert dialog.plot.pixmap().width() > 300


def test_a_thousand_rows_are_listed_at_once(
    make_folder: Any, tmp_path: Path, qtbot: Any
) -> None:
    many = tmp_path / "many"
    many.mkdir()
    blob = (tmp_path / "pictures" / "p1.png").read_bytes()
    for number in range(1000):
        (many / f"i{number}.png").write_bytes(blob)
    folder = make_folder(show=True)
    folder.open(many)
    model = folder.widget.table.model
    assert model.rowCount() == 1000
    qtbot.wait(300)
    assert len(model._pictures) < 60  # those on display, and no others
    model.filter("99", None)
    model.sort(1)
    assert model.rowCount() >= 19


def test_several_rows_are_skipped_at_once(folder: Folder) -> None:
    from qtpy.QtCore import Qt

    table = folder.widget.table
    for row in (3, 5):
        place = table.view.visualRect(table.model.index(row, 1)).center()
        folder.desk.qtbot.mouseClick(
            table.view.viewport(),
            Qt.MouseButton.LeftButton,
            Qt.KeyboardModifier.ControlModifier,
            pos=place,
        )
    menu = table.menu_of("p4.png")
    (action,) = [a for a in menu.actions() if "Skip" in a.text()]
    assert "3 images" in action.text()  # the open one is chosen as well
    action.trigger()
    folder.desk.qtbot.wait(1)
    assert [n for n, s in enumerate(folder.states()) if s == "skipped"] == [0, 3, 5]
    assert folder.key == "p1.png"


def test_a_proposal_that_is_open_is_accepted_with_its_document(folder: Folder) -> None:
    folder.propose_all()
    menu = folder.widget.table.menu_of("p1.png")
    (action,) = [a for a in menu.actions() if "Accept" in a.text()]
    action.trigger()
    folder.until(lambda: folder.states()[0] == "done")
    assert folder.desk.document.objects[0].committed
    assert folder.desk.labels.data.any()


def test_a_key_that_follows_too_soon_confirms_nothing_unseen(folder: Folder) -> None:
    folder.widget.next()
    folder.widget.finish()
    folder.until(lambda: folder.key == "p2.png")
    assert folder.states() == ["new"] * 6


def test_done_and_next_waits_for_the_commits_typed_before(folder: Folder) -> None:
    desk = folder.desk
    desk.model.hold()
    desk.widget.session.clear_cache()
    desk.bridge.work.image.contrast_limits = (3, 200)
    desk.bridge.pixels_changed.emit()  # it is encoded anew
    work = folder.work.work
    for number in range(4):
        desk.points.add((15 + 20 * (number % 3), 20 + 25 * number))
        desk.press("C")
    desk.press("G")
    assert folder.key == "p1.png"
    assert len(work.document.pending) == 4
    desk.model.release()
    folder.until(lambda: folder.key == "p2.png")
    assert [r.committed for r in work.document.objects] == [True] * 4
    assert folder.states()[0] == "done"


def test_another_image_waits_for_the_commits_typed_before(folder: Folder) -> None:
    desk = folder.desk
    desk.model.hold()
    desk.bridge.work.image.contrast_limits = (3, 200)
    desk.bridge.pixels_changed.emit()
    work = folder.work.work
    desk.points.add((30, 40))
    desk.press("C")
    desk.press("D")
    desk.model.release()
    folder.until(lambda: folder.key == "p2.png")
    assert work.document.get(1).committed
    assert (work.result.layer.data == 1).any()


def test_objects_get_the_class_of_the_folder(folder: Folder) -> None:
    from qtpy.QtCore import Qt

    box = folder.widget.steps.class_name
    folder.desk.qtbot.keyClicks(box, "polyp")
    folder.desk.qtbot.keyClick(box, Qt.Key.Key_Return)
    folder.desk.click(30, 40)
    folder.press("G", opens="p2.png")
    stored = folder.project.load("p1.png")
    assert [record.class_name for record in stored.objects] == ["polyp"]


def test_an_image_that_was_exchanged_for_another_size_is_refused(
    folder: Folder, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_promise.widgets.folder import dock as folder_dock

    told: list[str] = []
    monkeypatch.setattr(folder_dock, "show_error", told.append)
    folder.desk.click(30, 40)
    folder.press("G", opens="p2.png")
    Image.fromarray(np.zeros((50, 50), np.uint8)).save(folder.path / "p1.png")
    folder.widget.open_image("p1.png")
    folder.until(lambda: bool(told))
    assert "p1.png" in told[0]
    assert folder.key == "p2.png"


def test_weakest_first_decides_what_follows_on_done(folder: Folder) -> None:
    for number, confidence in enumerate((0.9, 0.8, 0.3, 0.7), start=1):
        folder.project.proposals.save(f"p{number}.png", [], confidence, {})
    folder.widget.steps.weakest_first.click()
    folder.press("G", opens="p3.png")
    folder.press("G", opens="p4.png")


def test_closing_the_window_saves_and_lets_go(folder: Folder) -> None:
    from napari_promise.project import Project

    folder.desk.click(30, 40)
    project = folder.project
    folder.desk.viewer.close()
    folder.desk.qtbot.wait(50)
    with Project.open(folder.path) as again:
        assert again.item("p1.png").clicks == 1
    assert project is not None


def test_what_is_done_leaves_the_list_of_what_is_to_do(folder: Folder) -> None:
    folder.widget.table.states.setCurrentText("to do")
    folder.press("G", opens="p2.png")
    assert list(folder.widget.table.model.order) == [f"p{n}.png" for n in range(2, 7)]
    folder.press("G", opens="p3.png")
    folder.press("Shift-D")
    assert folder.key == "p3.png"  # the first that is left


def test_an_edit_shows_as_being_saved_until_it_is(folder: Folder) -> None:
    shown: list[str] = []
    folder.work.edited.connect(lambda: shown.append(folder.widget.saved.text()))
    folder.desk.click(30, 40)
    assert "saving …" in shown
    folder.until(lambda: folder.widget.saved.text() == "saved")
