"""Docks of a viewer share a desk, and come and go without each other."""

from __future__ import annotations

import ast
import gc
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from qtpy.compat import isalive
from qtpy.QtCore import QObject, QTimer

from napari_promise.widgets.connections import Connections

WIDGETS = Path(__file__).parents[2] / "napari_promise" / "widgets"
SHAPE = (90, 120)


@pytest.fixture
def pictures(tmp_path: Path) -> Path:
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in (1, 2, 3):
        pixels = rng.integers(0, 255, SHAPE, dtype=np.uint8)
        Image.fromarray(pixels).save(folder / f"p{number}.png")
    return folder


@pytest.fixture
def both(make_desk: Callable[..., Any], pictures: Path) -> Any:
    """A prompting dock and a folder dock with its first image open."""
    from napari_promise.widgets.folder.dock import FolderWidget

    desk = make_desk()
    folder = FolderWidget(desk.viewer)
    desk.viewer.window.add_dock_widget(folder, name="folder", area="left")
    folder.open_project(pictures)
    desk.until(lambda: folder.work is not None and folder.work.key == "p1.png")
    desk.until(lambda: desk.widget.session.status.state == "ready")
    yield desk, folder
    folder.close_down()


def _close(desk: Any, dock: Any) -> None:
    """Close a dock as its button does, and let Qt destroy it."""
    desk.viewer.window.remove_dock_widget(dock)
    dock.deleteLater()
    desk.qtbot.wait(10)


@pytest.mark.slow
def test_a_program_may_end_with_its_docks_open(has_screen, pictures: Path) -> None:
    program = Path(__file__).with_name("program_that_ends.py")
    done = subprocess.run(
        [sys.executable, str(program), str(pictures)], capture_output=True, text=True
    )
    # Of Qt, napari and torch, which are taken down after us, nothing is promised.
    where_it_died = done.stderr.partition("Current thread")[2]
    assert "napari_promise" not in where_it_died


def _living() -> list[QObject]:
    """Return what there is of ours that Qt has not destroyed."""
    gc.collect()
    return [
        each
        for each in gc.get_objects()
        if isinstance(each, QObject)
        and type(each).__module__.startswith("napari_promise")
        and isalive(each)
    ]


@pytest.fixture
def of_others(has_screen) -> list[QObject]:
    """What tests before have left; held, so that nothing takes its place."""
    return _living()


def test_docks_that_are_closed_leave_no_object_of_qt_to_pythons_garbage(
    of_others: list[QObject], both: Any
) -> None:
    # What lives on is destroyed with the garbage, in whichever thread that is
    # collected, while the window goes on: that ends the program now and then.
    known = set(map(id, of_others))

    def left() -> set[str]:
        return {type(each).__name__ for each in _living() if id(each) not in known}

    desk, folder = both
    assert {"Closing", "GuiDispatcher", "FolderWidget", "PromiseWidget"} <= left()
    desk.dispatch.close()
    _close(desk, folder)
    _close(desk, desk.widget)
    desk.until(lambda: not left())


def test_connections_refuse_what_may_be_gone_before_them(qapp) -> None:
    timer = QTimer()
    connections = Connections()
    with pytest.raises(TypeError, match="of Qt"):
        connections.add(timer.timeout, timer.stop)


def test_no_widget_looks_for_another_in_the_tree_of_qt() -> None:
    searches = []
    for path in WIDGETS.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            if not (
                isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
            ):
                continue
            # napari's own docks have no other public way to them
            napari_dock = bool(node.args) and ast.unparse(node.args[0]) == "QDockWidget"
            if node.func.attr in ("findChildren", "topLevelWidgets", "allWidgets") or (
                node.func.attr == "findChild" and not napari_dock
            ):
                searches.append(f"{path.name}:{node.lineno}")
    assert searches == []


def test_docks_of_a_viewer_share_a_desk_and_viewers_do_not(make_desk: Any) -> None:
    from napari.utils._proxies import PublicOnlyProxy

    from napari_promise.widgets.desk import Desk

    one, other = make_desk(), make_desk()
    assert Desk.of(one.viewer) is one.widget.desk
    assert Desk.of(PublicOnlyProxy(one.viewer)) is one.widget.desk
    assert Desk.of(other.viewer) is not one.widget.desk
    with pytest.raises(ValueError, match="another session"):
        Desk.of(one.viewer, other.widget.session)


def test_the_folder_goes_on_when_the_prompting_dock_is_closed_in_the_middle(
    both: Any, qtbot: Any
) -> None:
    desk, folder = both
    session, bridge = desk.widget.session, desk.bridge
    desk.click(30, 40)
    with qtbot.captureExceptions() as raised:
        _close(desk, desk.widget)
        bridge.set_include(True)
        bridge.work.points.layer.add((60, 90))
        document = bridge.work.document
        desk.until(lambda: document.active.is_answered)  # the worker lives on
        assert bridge.work.preview.mask()[60, 90]
        bridge.work.result.layer.selected_label = 5
        bridge.work.result.layer.paint((10, 10), 5)
        assert bridge.work.result.layer.data[10, 10] == 5
        assert document.undo_name == "paint"
        desk.press("Ctrl+Z")
        assert bridge.work.result.layer.data[10, 10] == 0
        desk.press("G")
        desk.until(lambda: folder.work.key == "p2.png")
        desk.until(lambda: session.status.state == "ready")
    assert raised == []
    assert folder.desk.docks == (folder,)  # and no dock comes back uncalled
    item = folder.project.item("p1.png")
    assert (item.state, item.objects, item.clicks) == ("done", 1, 3)
    _close(desk, folder)
    assert not session._worker._thread.is_alive()


def test_prompting_goes_on_when_the_folder_dock_is_closed_in_the_middle(
    both: Any, picture: np.ndarray, qtbot: Any
) -> None:
    from napari_promise.project import Project

    desk, folder = both
    source = folder.project.source
    desk.click(30, 40)
    with qtbot.captureExceptions() as raised:
        _close(desk, folder)
        with Project.open(source) as project:
            assert project.item("p1.png").clicks == 1
        encoded = desk.model.encoded
        desk.open(255 - picture)
        desk.until(lambda: desk.model.encoded > encoded)
        desk.click(30, 40)
        desk.widget.training.kept.emit("another", "pictures")
    assert raised == []
    assert desk.preview[30, 40]
    session = desk.widget.session
    _close(desk, desk.widget)
    assert not session._worker._thread.is_alive()


def test_a_dock_that_comes_back_finds_the_work_of_the_other(both: Any) -> None:
    from napari_promise.widgets.prompting.dock import PromiseWidget

    desk, folder = both
    desk.click(30, 40)
    _close(desk, desk.widget)
    again = PromiseWidget(desk.viewer)
    desk.viewer.window.add_dock_widget(again, name="again", area="right")
    assert again.bridge.work is folder.work.work
    assert again.objects_panel.table.model().rowCount() == 1
    assert again.model_panel.image.currentText() == "p1"
    again.close_down()


def test_opening_a_stack_asks_for_its_plane_alone(
    make_desk: Any, picture: np.ndarray
) -> None:
    from napari_promise.document import Document
    from napari_promise.widgets.layers.work import Work

    desk = make_desk()
    stack = np.stack([picture] * 7)
    desk.open(stack, name="before")
    desk.until(lambda: desk.widget.session.status.state == "ready")
    desk.viewer.dims.set_point(0, 6)
    desk.click(6, 30, 40)
    before = desk.document
    session = desk.widget.session
    asked: list[tuple[str, Any]] = []
    set_image, show_plane = session.set_image, session.show_plane

    def record_image(source: Any, plane: Any = (), **options: Any) -> Any:
        asked.append((None if source is None else source.name, plane))
        return set_image(source, plane, **options)

    def record_plane(plane: Any) -> None:
        asked.append(("plane", plane))
        show_plane(plane)

    session.set_image, session.show_plane = record_image, record_plane
    desk.bridge.plane_changed.connect(lambda plane: asked.append(("bridge", plane)))
    document = Document()
    object_id = document.new_object((2,)).id
    from napari.layers import Image as Layer

    work = Work(Layer(stack, name="next"), document)
    desk.bridge.open_work(work, (2,), object_id)
    assert asked == [("next", (2,))]
    assert desk.bridge.plane == (2,)
    assert document.active_id == object_id
    assert before.active_id == 1  # the image that was left is as it was
