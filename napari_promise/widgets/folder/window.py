"""The folder dock's surroundings: its place, the prompting dock, a project's events."""

from __future__ import annotations

from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from napari_promise.project import Project
from napari_promise.widgets.desk import Desk, window_of
from napari_promise.widgets.prompting.dock import PromiseWidget

WIDTH = 370
#: Pixels of the window's height from which on all docks fit above each other.
_STACKED_FROM = 1100
#: Until the window has laid its docks out anew.
_SETTLES_MS = 100


class ProjectRelay(QObject):
    """Brings a project's events into the window's thread, whatever emitted them."""

    item_changed = Signal(str)
    items_changed = Signal()
    noted = Signal(str)
    settings_changed = Signal()

    def __init__(self, parent: QObject) -> None:
        super().__init__(parent)
        self._project: Project | None = None

    def follow(self, project: Project) -> None:
        """Pass on what happens to a project."""
        self._project = project
        project.events.item_changed.connect(self._on_item)
        project.events.items_changed.connect(self._on_items)
        project.events.noted.connect(self._on_noted)
        project.events.settings_changed.connect(self._on_settings)

    def leave(self) -> None:
        """Pass on nothing more."""
        project, self._project = self._project, None
        if project is not None:
            project.events.item_changed.disconnect(self._on_item)
            project.events.items_changed.disconnect(self._on_items)
            project.events.noted.disconnect(self._on_noted)
            project.events.settings_changed.disconnect(self._on_settings)

    def _on_item(self, key: str) -> None:
        self.item_changed.emit(key)

    def _on_items(self) -> None:
        self.items_changed.emit()

    def _on_noted(self, line: str) -> None:
        self.noted.emit(line)

    def _on_settings(self) -> None:
        self.settings_changed.emit()


def show_prompting_dock(desk: Desk) -> None:
    """Open the dock to prompt on an image beside the folder's, where there is none."""
    if not any(isinstance(dock, PromiseWidget) for dock in desk.docks):
        # Named as napari names it, so that the menu shows it as open.
        desk.viewer.window.add_dock_widget(
            PromiseWidget(desk.viewer), name="ProMISe (napari-promise)", area="right"
        )


def _docks_of_napari(window: QMainWindow) -> list[QDockWidget]:
    """Return layer controls and layer list; nothing where napari has others."""
    names = ("layer controls", "layer list")
    found = [window.findChild(QDockWidget, name) for name in names]
    return [] if None in found else found


def place(widget: QWidget) -> None:
    """Put a widget's dock at the left, where table and prompts are seen together.

    On a low screen napari's own two docks and this one do not fit above each other:
    there they become tabs.

    Parameters
    ----------
    widget : QWidget
        Inside a dock.
    """
    window, parent = window_of(widget), widget.parentWidget()
    while parent is not None and not isinstance(parent, QDockWidget):
        parent = parent.parentWidget()
    if window is None or parent is None:
        return
    docks = _docks_of_napari(window)
    if docks and window.height() < _STACKED_FROM:
        window.tabifyDockWidget(docks[0], docks[1])
        window.tabifyDockWidget(docks[1], parent)
        parent.raise_()
        # On the way they lay above each other, which made the window grow.
        QTimer.singleShot(_SETTLES_MS, lambda: _fit_screen(widget))
    else:
        window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, parent)
    window.resizeDocks([parent], [WIDTH], Qt.Orientation.Horizontal)


def _fit_screen(widget: QWidget) -> None:
    """Make a window that has grown beyond its screen as high as the screen again."""
    try:
        window = window_of(widget)
        screen = None if window is None else window.screen()
        if window is not None and screen is not None:
            room = screen.availableGeometry().height()
            if window.height() > room:
                window.resize(window.width(), room)
    except RuntimeError:  # closed meanwhile
        return


def unplace(window: QMainWindow | None) -> None:
    """Give napari's own docks their places back."""
    try:
        docks = [] if window is None else _docks_of_napari(window)
        if window is not None and docks:
            if docks[1] in window.tabifiedDockWidgets(docks[0]):
                area = window.dockWidgetArea(docks[0])
                window.addDockWidget(area, docks[1], Qt.Orientation.Vertical)
    except RuntimeError:  # the window is going
        return
