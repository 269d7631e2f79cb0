"""What the docks of one viewer share: session, layers, actions and training.

The first dock makes the desk, the last one closes it; between, any of them may come
and go. How an image reaches the model:

1. A dock, or somebody who opens an image, has the bridge work on it.
2. The desk hands the image, its plane and its document to the session, which encodes
   the plane.
3. Another plane, other contrast limits, or a drag: the desk tells the session.
4. What the session finds it writes into the document, which the bridge shows.
"""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info, show_warning
from psygnal import Signal
from qtpy.QtCore import QEvent, QObject, QTimer
from qtpy.QtWidgets import QApplication, QMainWindow, QWidget

from napari_promise.session import DragAnswer, Order, Session
from napari_promise.widgets import catalogue
from napari_promise.widgets.actions import Actions
from napari_promise.widgets.alike import Alike
from napari_promise.widgets.background import later
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.dispatch import GuiDispatcher
from napari_promise.widgets.keys import KeyBindings
from napari_promise.widgets.layers.bridge import LayerBridge
from napari_promise.widgets.many.controller import ManyObjects
from napari_promise.widgets.seen_frame import SeenFrame
from napari_promise.widgets.training.controller import Training
from napari_promise.widgets.volumes.controller import Propagation
from napari_promise.widgets.volumes.proposing import StackProposing
from napari_promise.widgets.volumes.solid import Solid

if TYPE_CHECKING:
    import napari

#: The desk of each viewer, by the viewer's identity: a viewer has no hash. An entry
#: lives as long as its desk, which docks hold, and a desk holds its viewer: no identity
#: is used again meanwhile.
_DESKS: weakref.WeakValueDictionary[int, Desk] = weakref.WeakValueDictionary()


class Desk:
    """What the docks of one viewer share; see `Desk.of`.

    Parameters
    ----------
    viewer : napari.Viewer
    session : Session, optional
        By default one with the user's settings. It is closed with the desk.

    Attributes
    ----------
    viewer : napari.Viewer
    session : Session
    bridge : LayerBridge
    actions : Actions
    training : Training
    propagation : Propagation
    stack_proposing : StackProposing
    solid : Solid
    seen_frame : SeenFrame
    many : ManyObjects
    alike : Alike
    adapters : list of AdapterEntry or None
        The installed adapters; None while they are being read.
    adapters_read : Signal
    """

    adapters_read = Signal()

    def __init__(self, viewer: napari.Viewer, session: Session | None = None) -> None:
        self.viewer = viewer
        self._dispatch = GuiDispatcher()
        self.session = session or Session(dispatch=self._dispatch)
        order = Order(self.session)
        self.bridge = LayerBridge(viewer, order)
        self.actions = Actions(self.session, self.bridge, show_warning, order)
        self.training = Training(
            self.session,
            self.bridge,
            self._dispatch,
            show_info,
            show_error,
            self.window,
        )
        self.propagation = Propagation(self.session, self.bridge, show_warning)
        self.actions.is_finding = self.propagation.is_finding
        self.stack_proposing = StackProposing(
            self.session, self.bridge, self.propagation, show_warning
        )
        self.solid = Solid(viewer.dims, self.bridge, self.propagation)
        self.seen_frame = SeenFrame(viewer.dims, self.bridge, self.session)
        self.many = ManyObjects(self.session, self.bridge, show_warning)
        self.alike = Alike(self.session, self.bridge, show_info)
        self.adapters: list[catalogue.AdapterEntry] | None = None
        self._docks: dict[QWidget, bool] = {}
        self._closed = False
        self._keys = KeyBindings(
            {
                "auto": self.auto,
                "auto everywhere": self.auto_everywhere,
                "polarity": self.actions.flip,
                "box": partial(self.actions.toggle_tool, "box"),
                "scribble": partial(self.actions.toggle_tool, "scribble"),
                "lasso": partial(self.actions.toggle_tool, "lasso"),
                "mask": self.actions.take_mask,
                "segment": self.actions.segment,
                "commit": self.actions.commit,
                "new": self.actions.new,
                "uncertain": self.actions.next_uncertain,
                "choose": self.actions.choose_within,
                "choose box": partial(self.actions.choose_within, box=True),
                "merge": self.actions.merge_chosen,
                "split": self.actions.split,
                "reject": self.actions.reject,
                "reject, too": self.actions.reject,
                "propagate": self.propagation.toggle,
                "weakest plane": self.propagation.go_to_weakest,
                "confirm plane": self.propagation.confirm,
                "not here": self.propagation.not_here,
                "same object": self.propagation.same_object,
                "undo": self.actions.undo,
                "redo": self.actions.redo,
            }
        )
        self._connections = Connections()
        self._connect()
        self.read_adapters()

    @classmethod
    def of(cls, viewer: napari.Viewer, session: Session | None = None) -> Desk:
        """Return the desk of a viewer; a dock asks once, when it is made.

        Parameters
        ----------
        viewer : napari.Viewer
            Perhaps within the proxy that napari gives to plugins.
        session : Session, optional
            For a desk that is made here.

        Raises
        ------
        ValueError
            If the viewer's desk has another session.
        """
        viewer = getattr(viewer, "__wrapped__", viewer)
        desk = _DESKS.get(id(viewer))
        if desk is None:
            desk = _DESKS[id(viewer)] = cls(viewer, session)
        elif session is not None and session is not desk.session:
            raise ValueError(
                "This viewer works with another session already: close its docks first."
            )
        return desk

    # -- docks --------------------------------------------------------------------

    @property
    def docks(self) -> tuple[QWidget, ...]:
        """Docks that are open, the first one first."""
        return tuple(self._docks)

    def enter(self, dock: QWidget, *, takes_images: bool = False) -> None:
        """Keep the desk until this dock leaves.

        Parameters
        ----------
        dock : QWidget
        takes_images : bool
            Whether it works on whatever image is in the viewer: the likeliest is opened
            where none is.
        """
        self._docks[dock] = takes_images
        if takes_images:
            self._open_likely()
        self._bind_keys()

    def leave(self, dock: QWidget) -> None:
        """Let go of a dock; with the last one the desk is closed."""
        self._docks.pop(dock, None)
        if not self._docks:
            self._close()
        else:
            self._bind_keys()

    def window(self) -> QMainWindow | None:
        """Return the window the docks are in; what is opened belongs above it."""
        for dock in self._docks:
            window = window_of(dock)
            if window is not None:
                return window
        return None

    def _close(self) -> None:
        """Stop the worker and let go of the viewer."""
        if self._closed:
            return
        self._closed = True
        _DESKS.pop(id(self.viewer), None)
        self._keys.release_all()
        self.solid.close()
        self.seen_frame.close()
        self.stack_proposing.close()
        self.propagation.close()
        self.many.close()
        self.alike.close()
        self.bridge.close()
        self._dispatch.close()
        self._connections.release()
        self.actions.close()
        self.session.close()
        name = self.training.close()
        if name:
            show_info(f"Training ended with the dock; the best so far is kept: {name}.")

    # -- connecting ---------------------------------------------------------------

    def _connect(self) -> None:
        add, session, bridge = self._connections.add, self.session, self.bridge
        add(session.failed, show_error)
        add(session.notified, show_info)
        add(session.drag_previewed, self._on_drag_previewed)
        add(bridge.noticed, show_warning)
        add(bridge.images_changed, self._on_images_changed)
        add(bridge.work_changed, self._on_work_changed)
        add(bridge.pixels_changed, self._set_image)
        add(bridge.plane_changed, session.show_plane)
        add(bridge.view_changed, session.show_view)
        add(bridge.layers_changed, self._bind_keys)
        add(bridge.dragged, self._on_dragged)
        add(bridge.drag_ended, session.end_drag_previews)
        add(self.propagation.finished, self.actions.go_on)
        add(self.training.adapters_changed, self._on_adapters_changed)

    def auto(self) -> None:
        """Auto-prompt; asked again while many objects are proposed, stop that."""
        if self.many.is_running:
            self.many.cancel()
        else:
            self.actions.auto()

    def auto_everywhere(self) -> None:
        """Auto-prompt as far as the adapter reaches; asked again meanwhile, stop.

        One that finds many objects looks all over the plane, at the scale on the
        screen; one that finds an object looks through the planes of the stack.
        """
        finds_one = not (self.many.finds_many or self.many.is_running)
        if finds_one and self.propagation.planes > 1:
            self.stack_proposing.toggle()
        else:
            self.many.everywhere()

    # -- images and planes --------------------------------------------------------

    def _on_images_changed(self) -> None:
        if not self.bridge.has_image() and self.bridge.images():
            # Several may be on their way in or out.
            QTimer.singleShot(0, self._open_likely)

    def _open_likely(self) -> None:
        """Open the image the user most likely means, unless one is open."""
        if self._closed or not any(self._docks.values()):
            return
        if not self.bridge.has_image():
            self.bridge.open(self.bridge.likely_image())

    def _on_work_changed(self) -> None:
        self._set_image()
        if self.session.settings.live and self.bridge.has_image():
            self.actions.segment_waiting()
        self.actions.take_up()
        self._bind_keys()

    def _set_image(self) -> None:
        work, source = self.bridge.work, self.bridge.source()
        document = None if work is None else work.document
        self.session.set_image(source, self.bridge.plane, document=document)

    def _bind_keys(self) -> None:
        if self.bridge.work is None and not any(self._docks.values()):
            self._keys.release_all()
        else:
            self._keys.bind_only(self.bridge.bindable(), self.bridge.foreign_labels())

    # -- drags --------------------------------------------------------------------

    def _on_dragged(self, object_id: int, prompts: Any, sources: Any) -> None:
        if self.session.settings.live:
            self.session.drag_preview(object_id, prompts, sources)

    def _on_drag_previewed(self, found: DragAnswer) -> None:
        self.bridge.show_drag_preview(found.document, found.object_id, found.region)

    # -- adapters -----------------------------------------------------------------

    def read_adapters(self) -> None:
        """Read which adapters are installed, in the background; see `adapters_read`."""
        later(
            catalogue.installed_adapters,
            self._on_adapters_read,
            show_error,
            dispatch=self._dispatch,
        )

    def _on_adapters_changed(self, _name: str) -> None:
        self.read_adapters()

    def _on_adapters_read(self, found: list[catalogue.AdapterEntry]) -> None:
        self.adapters = found
        self.training.show_adapters(found)
        self.adapters_read.emit()


class Closing(QObject):
    """Ends a dock once, whoever notices first that it is time.

    napari takes a dock that is closed out of its window and destroys it some time
    later. Docks of a window that is closed are destroyed at once; at the program's end
    perhaps without a word.

    Parameters
    ----------
    dock : QWidget
    end : callable
        Told whether the window stays, with its viewer. The dock's own widgets may be
        gone already when it does not.
    """

    def __init__(self, dock: QWidget, end: Callable[[bool], None]) -> None:
        super().__init__()  # no child of the dock: it has to outlive it
        self._end: Callable[[bool], None] | None = end
        self._placed = False
        dock.installEventFilter(self)
        # No bound methods: those Qt would let go of when it is about to matter.
        self._gone = lambda *_: self(window_stays=False)
        dock.destroyed.connect(self._gone)
        application = QApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self._gone)

    @property
    def is_closed(self) -> bool:
        """Whether the dock has ended."""
        return self._end is None

    def __call__(self, *, window_stays: bool = True) -> None:
        """End the dock, unless it has ended."""
        end, self._end = self._end, None
        if end is None:
            return
        application = QApplication.instance()
        if application is not None:
            with contextlib.suppress(RuntimeError, SystemError, TypeError):
                application.aboutToQuit.disconnect(self._gone)
        end(window_stays)
        # Left to Python it may go with the garbage of another thread, see `Later`.
        with contextlib.suppress(RuntimeError):
            self.deleteLater()

    def eventFilter(self, watched: QObject | None, event: QEvent | None) -> bool:
        """Notice that the dock is taken out of its window."""
        if event is not None and event.type() == QEvent.Type.ParentChange:
            inside = isinstance(watched, QWidget) and watched.parent() is not None
            if self._placed and not inside:
                self()
            self._placed = inside
        return super().eventFilter(watched, event)


def window_of(widget: QWidget) -> QMainWindow | None:
    """Return the main window a widget is in, also from within a floating dock."""
    with contextlib.suppress(RuntimeError):  # the window is going
        parent = widget.parentWidget()
        while parent is not None and not isinstance(parent, QMainWindow):
            parent = parent.parentWidget()
        return parent
    return None
