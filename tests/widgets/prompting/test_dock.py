"""The dock as a whole: its size, its words, its settings and its end."""

from __future__ import annotations

import json
import threading
import time

import numpy as np
import pytest
from qtpy.QtCore import QPoint, Qt
from qtpy.QtWidgets import QAbstractButton, QComboBox, QScrollArea, QTableWidget

from napari_promise.widgets import catalogue
from napari_promise.widgets.catalogue import AdapterEntry


def _workers() -> list[threading.Thread]:
    return [t for t in threading.enumerate() if t.name == "napari-promise worker"]


def test_nothing_is_cut_off_when_the_panel_of_a_stack_comes_to_show(make_desk) -> None:
    desk = make_desk(show=True)
    desk.open(np.zeros((12, 90, 120), np.int16), name="ct")
    panel = desk.widget.volume_panel
    desk.until(panel.isVisible)
    scroll = desk.widget.findChild(QScrollArea)
    desk.until(
        lambda: scroll.viewport().width() >= scroll.widget().minimumSizeHint().width()
    )
    assert desk.widget.minimumSizeHint().width() <= 360


def test_everything_has_a_tooltip_and_fits_a_small_screen(desk) -> None:
    widget = desk.widget
    assert widget.minimumSizeHint().width() <= 340
    assert widget.sizeHint().height() <= 700
    controls = [
        child
        for kind in (QAbstractButton, QComboBox, QTableWidget)
        for child in widget.findChildren(kind)
        if child.parent() is not widget.objects_panel.table  # its corner is Qt's own
    ]
    assert len(controls) > 15
    assert [c for c in controls if not c.toolTip()] == []


def test_the_3d_view_hints_at_the_way_back(desk) -> None:
    hint = desk.widget.prompt_panel.hint
    desk.viewer.dims.ndisplay = 3
    desk.until(lambda: "2D view" in hint.text())
    desk.viewer.dims.ndisplay = 2
    desk.until(lambda: "Click on an object" in hint.text())


def test_a_real_mouse_and_real_keys_place_drag_flip_and_delete_points(
    make_desk, picture
) -> None:
    desk = make_desk(show=True)
    desk.open(picture, name="picture")
    desk.until(lambda: desk.widget.session.status.state == "ready")
    canvas = desk.viewer.window._qt_viewer.canvas
    native, bot = canvas.native, desk.qtbot

    def at(row: float, column: float) -> QPoint:
        camera = getattr(desk.viewer, "scene", desk.viewer).camera  # since 0.9
        centre, zoom = camera.center[-2:], camera.zoom
        x = native.width() / 2 + (column - centre[1]) * zoom
        y = native.height() / 2 + (row - centre[0]) * zoom
        return QPoint(round(x), round(y))

    def hover(row: float, column: float) -> None:
        bot.mouseMove(native, at(row, column) + QPoint(1, 1))
        bot.mouseMove(native, at(row, column))
        bot.wait(20)

    def click(row: float, column: float) -> None:
        hover(row, column)
        bot.mouseClick(native, Qt.MouseButton.LeftButton, pos=at(row, column))
        bot.wait(20)

    click(30, 40)
    desk.until(lambda: len(desk.document) == 1)
    desk.settle()
    assert desk.preview[30, 40]
    np.testing.assert_allclose(desk.points.data, [(30, 40)], atol=1.5)
    bot.keyClick(native, Qt.Key.Key_T)
    click(40, 45)
    desk.until(lambda: len(desk.points.data) == 2)
    desk.settle()
    assert desk.document.active.prompts.labels.tolist() == [1, 0]

    hover(30, 40)  # over a point a drag moves it, in the mode that adds
    desk.until(lambda: desk.points.mode == "select")
    bot.mousePress(native, Qt.MouseButton.LeftButton, pos=at(30, 40))
    for step in range(1, 6):
        bot.mouseMove(native, at(30 + 8 * step, 40 + 8 * step))
        bot.wait(10)
    desk.until(lambda: abs(desk.points.data[0, 0] - 70) < 2)
    bot.mouseRelease(native, Qt.MouseButton.LeftButton, pos=at(70, 80))
    desk.until(lambda: desk.document.undo_name == "move points")
    desk.settle()
    np.testing.assert_allclose(desk.points.data[0], (70, 80), atol=2)
    assert desk.preview[70, 80]
    assert not desk.preview[30, 40]

    click(40, 45)  # a click on a point chooses it
    desk.until(lambda: desk.points.selected_data == {1})
    bot.keyClick(native, Qt.Key.Key_T)
    desk.settle()
    assert desk.document.active.prompts.labels.tolist() == [1, 1]
    bot.keyClick(native, Qt.Key.Key_Delete)
    desk.settle()
    assert len(desk.document.active.prompts.points) == 1
    bot.keyClick(native, Qt.Key.Key_C)
    desk.until(lambda: bool(desk.labels.data.any()))
    bot.keyClick(native, Qt.Key.Key_Z, Qt.KeyboardModifier.ControlModifier)
    assert not desk.labels.data.any()


def test_the_status_line_says_what_goes_on(make_desk, picture) -> None:
    desk = make_desk()
    panel = desk.widget.model_panel
    desk.model.hold()
    desk.open(picture, name="frame")
    desk.until(lambda: "encoding" in panel.status.text())
    desk.until(lambda: " s" in panel.status.text())
    panel.cancel.click()
    desk.until(lambda: "cancelled" in panel.status.text())
    assert not panel.cancel.isVisibleTo(panel)
    desk.model.release()
    desk.click(30, 40)  # a click asks again
    assert desk.preview[30, 40]
    assert "ready on CPU" in panel.status.text()


def test_settings_are_kept_for_the_next_session(
    make_napari_viewer, has_screen, qtbot, tmp_path, monkeypatch
) -> None:
    from napari_promise.widgets.prompting.dock import PromiseWidget

    path = tmp_path / "preferences.json"
    monkeypatch.setenv("NAPARI_PROMISE_PREFERENCES", str(path))
    widget = PromiseWidget(make_napari_viewer())
    qtbot.addWidget(widget)
    widget.prompt_panel.live.click()
    widget.models.open_settings()
    widget.models.settings.changed.emit("overlap", "overwrite")
    widget.models.settings.form.cache_quota_mb.value = 900
    widget.close_down()
    kept = json.loads(path.read_text())
    assert kept["live"] is False
    assert kept["overlap"] == "overwrite"
    assert kept["cache_quota_mb"] == 900


def test_settings_show_what_the_cache_holds_until_it_is_cleared(desk, tmp_path) -> None:
    cache = desk.widget.session._embeddings.cache
    cache.folder = tmp_path
    cache.put(("pixels", "model"), {"image": np.ones((1, 256, 64, 64))})
    desk.widget.models.open_settings()
    dialog = desk.widget.models.settings
    desk.until(lambda: dialog.cache_size.text() == "2.0 MB on disk, 2.0 MB in memory")
    dialog.clear_cache.click()
    desk.until(lambda: dialog.cache_size.text() == "0.0 MB on disk, 0.0 MB in memory")
    dialog.form.disk_cache.native.click()
    desk.until(lambda: dialog.cache_size.text() == "0.0 MB in memory")


@pytest.mark.parametrize("way", ["widget", "viewer"])
def test_the_worker_ends_with_the_dock(make_desk, picture, way) -> None:
    before = len(_workers())
    desk = make_desk()
    desk.open(picture)
    desk.click(30, 40)
    assert len(_workers()) == before + 1
    _close(desk, way)
    desk.until(lambda: len(_workers()) == before)


@pytest.mark.parametrize("way", ["widget", "viewer"])
def test_what_outlives_the_dock_finds_no_widgets(
    make_desk, picture, qtbot, way
) -> None:
    before = len(_workers())
    desk = make_desk()
    desk.open(picture)
    desk.click(30, 40)
    document, settings = desk.document, desk.widget.session.settings
    (record,) = document.objects
    asked = len(desk.model.asked)
    desk.points.add((50, 60))
    while len(desk.model.asked) == asked:  # the window runs nothing meanwhile
        time.sleep(0.01)
    with qtbot.captureExceptions() as raised:
        _close(desk, way)
        desk.until(lambda: len(_workers()) == before)
        qtbot.wait(20)
        document.edit_prompts(record.id, points=[(30, 40)])
        settings.live = False
    assert raised == []
    assert not document.get(record.id).is_answered  # nobody is left who would


def test_models_and_adapters_are_offered_with_their_terms(desk) -> None:
    panel = desk.widget.model_panel
    texts = [panel.model.itemText(row) for row in range(panel.model.count())]
    assert {texts[0], texts[1]} >= {"promise-tiny (quick)"}
    assert any(text.startswith("promise-medical (") for text in texts[:2])
    assert any("download" in text for text in texts)
    tip = panel.model.itemData(1, Qt.ItemDataRole.ToolTipRole)
    assert "Licence" in tip
    adapters = [panel.adapter.itemText(row) for row in range(panel.adapter.count())]
    assert adapters[0] == "none"
    panel.adapter.setCurrentIndex(0)
    panel.adapter.activated.emit(0)
    assert desk.widget.session.settings.adapter == ""
    assert not desk.widget.prompt_panel.auto.isEnabled()
    assert not panel.ips.isEnabled()


def test_what_the_adapter_lacks_is_not_offered(desk) -> None:
    widget = desk.widget
    lacking = AdapterEntry("plain", "promise-tiny", "", True, False, "")
    shifting = AdapterEntry("shifting", "promise-tiny", "", False, True, "")
    desk.until(lambda: widget.desk.adapters is not None)
    widget.desk._on_adapters_read([lacking, shifting])
    offered = {}
    for name in ("plain", "shifting"):
        widget.session.settings.adapter = name
        widget.models.show_settings()
        auto, ips = widget.prompt_panel.auto, widget.model_panel.ips
        offered[name] = (auto.isEnabled(), ips.isEnabled())
    assert offered == {"plain": (True, False), "shifting": (False, True)}


def test_an_adapter_of_another_model_brings_its_model_where_that_is_here(desk) -> None:
    widget, panel = desk.widget, desk.widget.model_panel
    settings = widget.session.settings
    desk.until(lambda: widget.desk.adapters is not None)
    entries = [
        AdapterEntry("small", "promise-tiny", "", True, False, ""),
        AdapterEntry("large", "vit_h", "", True, False, ""),
    ]
    widget.desk._on_adapters_read(entries)
    settings.model = "mine.pt"
    panel.adapter.chosen.emit("large")
    assert (settings.model, settings.adapter) == ("mine.pt", "large")
    panel.adapter.chosen.emit("small")
    assert (settings.model, settings.adapter) == ("promise-tiny", "small")


def test_an_adapter_that_two_models_have_is_one_choice() -> None:
    entries = [
        AdapterEntry("skin", "promise-tiny", "a", True, False, "for tiny"),
        AdapterEntry("skin", "promise-medical", "b", True, True, "for medical"),
    ]
    for model in ("promise-tiny", "promise-medical"):
        tip = f"for {model.removeprefix('promise-')}"
        choices = catalogue.adapter_choices(entries, "skin", model)
        assert [c.tooltip for c in choices if c.value == "skin"] == [tip]
        assert catalogue.entry_of(entries, "skin", model).tooltip == tip
    assert catalogue.entry_of(entries, "polyp", "promise-tiny") is None


def _close(desk, way: str) -> None:
    if way == "widget":
        desk.viewer.window.remove_dock_widget(desk.widget)
        desk.widget.deleteLater()
    else:
        desk.viewer.close()
