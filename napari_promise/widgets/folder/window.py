"""The folder dock's surroundings: its place, the ProMISe dock, a project's events.

Knows the window; no panel, and not what anybody does with an event.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, QTimer, Signal
from qtpy.QtWidgets import QDockWidget, QMainWindow, QWidget

from napari_promise.project import Project
from napari_promise.widgets.prompting.dock import PromiseWidget

if TYPE_CHECKING:
    import napari

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


class PromiseDock:
    """The ProMISe dock of a viewer, found in its window; see `Neighbour`.

    Parameters
    ----------
    viewer : napari.Viewer
        Perhaps the proxy that napari gives to plugins: the window is found without it.
    widget : QWidget
        A widget inside the same window.
    follow : callable
        A method, given each ProMISe dock once.
    """

    def __init__(
        self,
        viewer: napari.Viewer,
        widget: QWidget,
        follow: Callable[[PromiseWidget], None],
    ) -> None:
        self._viewer = viewer
        # Weakly: what is let go at the end holds this, and the widget must not be held.
        self._widget = weakref.ref(widget)
        self._window: Callable[[], QMainWindow | None] = _nothing
        self._follow = weakref.WeakMethod(follow)
        self._followed = 0

    def find(self) -> PromiseWidget | None:
        """Return it where it is open."""
        # Asked of the window each time: a dock that is held here could not be closed.
        widget = self._widget()
        try:
            window = None if widget is None else window_of(widget)
            if window is not None:
                self._window = weakref.ref(window)
            else:  # taken out of it, to be closed
                window = self._window()
            found = [] if window is None else window.findChildren(PromiseWidget)
        except RuntimeError:  # the window is going
            return None
        if not found:
            return None
        promise: PromiseWidget = found[0]
        if self._followed != id(promise.session):
            self._followed = id(promise.session)
            follow = self._follow()
            if follow is not None:
                follow(promise)
        return promise

    def ensure(self) -> PromiseWidget:
        """Return it, opened where it was not."""
        known = self.find()
        if known is not None:
            return known
        # Named as napari names it, so that the menu shows it as open.
        self._viewer.window.add_dock_widget(
            PromiseWidget(self._viewer), name="ProMISe (napari-promise)", area="right"
        )
        opened = self.find()
        assert opened is not None
        return opened


def _nothing() -> None:
    return None


def window_of(widget: QWidget) -> QMainWindow | None:
    """Return the main window a widget is in, also from within a floating dock."""
    parent = widget.parentWidget()
    while parent is not None and not isinstance(parent, QMainWindow):
        parent = parent.parentWidget()
    return parent


def _docks_of_napari(window: QMainWindow) -> list[QDockWidget]:
    """Return layer controls and layer list; nothing where napari has others."""
    docks = {dock.objectName(): dock for dock in window.findChildren(QDockWidget)}
    found = [docks.get(name) for name in ("layer controls", "layer list")]
    return [] if None in found else [dock for dock in found if dock is not None]


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
