"""The folder dock's surroundings: its place, the ProMISe dock, a project's events.

Knows the window; no panel, and not what anybody does with an event.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from typing import TYPE_CHECKING

from qtpy.QtCore import QObject, Qt, Signal
from qtpy.QtWidgets import QDockWidget

from napari_promise.project import Project
from napari_promise.widgets.dock import PromiseWidget

if TYPE_CHECKING:
    import napari

WIDTH = 370
#: Pixels of the window's height from which on all docks fit above each other.
_STACKED_FROM = 1100


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
    """The ProMISe dock of a viewer, found in its window; see `Neighbour`."""

    def __init__(
        self, viewer: napari.Viewer, follow: Callable[[PromiseWidget], None]
    ) -> None:
        self._viewer = viewer
        # Weakly: what is let go at the end holds this, and the widget must not be held.
        self._follow = weakref.WeakMethod(follow)
        self._followed = 0

    def find(self) -> PromiseWidget | None:
        """Return it where it is open."""
        # Asked of the window each time: a dock that is held here could not be closed.
        try:
            window = self._viewer.window._qt_window
            found: list[PromiseWidget] = window.findChildren(PromiseWidget)
        except (AttributeError, RuntimeError):  # the window is going
            return None
        if not found:
            return None
        if self._followed != id(found[0].session):
            self._followed = id(found[0].session)
            follow = self._follow()
            if follow is not None:
                follow(found[0])
        return found[0]

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


def place(viewer: napari.Viewer, dock: QDockWidget) -> None:
    """Put the dock at the left, where table and prompts are seen at the same time.

    On a low screen napari's own two docks and this one do not fit above each other:
    there they become tabs.
    """
    window = viewer.window._qt_window
    window.addDockWidget(Qt.DockWidgetArea.LeftDockWidgetArea, dock)
    viewer_docks = [
        getattr(viewer.window._qt_viewer, name, None)
        for name in ("dockLayerControls", "dockLayerList")
    ]
    if window.height() < _STACKED_FROM and None not in viewer_docks:
        controls, layers = viewer_docks
        window.tabifyDockWidget(controls, layers)
        window.tabifyDockWidget(layers, dock)
        dock.raise_()
    window.resizeDocks([dock], [WIDTH], Qt.Orientation.Horizontal)


def unplace(viewer: napari.Viewer) -> None:
    """Give napari's own docks their places back."""
    try:
        window, owner = viewer.window._qt_window, viewer.window._qt_viewer
        controls, layers = owner.dockLayerControls, owner.dockLayerList
        if layers in window.tabifiedDockWidgets(controls):
            window.splitDockWidget(controls, layers, Qt.Orientation.Vertical)
    except (AttributeError, RuntimeError):  # the window is going
        return
