"""The only file that reads or writes ``viewer.layers``.

It keeps the layers of one image and the document of that image in step:

1. Somebody edits a layer. The component that owns the layer reports the rows before
   and after, once the edit has settled.
2. The bridge turns them into prompts of the objects concerned, as one step of the
   document, and says which objects changed (`edited`).
3. The document says what changed, by whomever: the bridge shows it in the layers.

Layers are held by reference, never by name. A prompt layer that is deleted comes back
with what the document holds; deleted labels come back with the next commit or undo.

The file is long because every event of layers, sliders and documents arrives here, each
with a short handler; what is decided lies in `edits`, `showing`, `lookup`, `placing`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Image, Labels, Layer
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_promise.document import BBox, Document, LabelPatch, Plane, Region
from napari_promise.freehand import Freehand
from napari_promise.prompts import Prompts
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.later import Later
from napari_promise.widgets.layers import edits, lookup
from napari_promise.widgets.layers.boxes import Box
from napari_promise.widgets.layers.enclosing import Enclosing
from napari_promise.widgets.layers.geometry import (
    TRANSFORM_EVENTS,
    camera_of,
    image_shape,
    lies_flat,
    plane_on_display,
    point_dims_at,
)
from napari_promise.widgets.layers.guard import Guard
from napari_promise.widgets.layers.picking import meant_by, within
from napari_promise.widgets.layers.placing import Placing
from napari_promise.widgets.layers.showing import Display, DragPreview
from napari_promise.widgets.layers.sources import LayerSource
from napari_promise.widgets.layers.strokes import Stroke
from napari_promise.widgets.layers.table import (
    PointTable,
    changed_objects,
    changed_part,
)
from napari_promise.widgets.layers.view import ViewWatch, view_of
from napari_promise.widgets.layers.work import Work
from napari_promise.widgets.layers.works import Works

if TYPE_CHECKING:
    import napari

    from napari_promise.session import Order

Tool = Literal["point", "box", "scribble", "lasso"]

#: Tools that draw in the layer of boxes, with napari's name of the mode.
TOOLS: dict[Tool, str] = {
    "box": "add_rectangle",
    "scribble": "add_path",
    "lasso": "add_polygon_lasso",
}

#: What SAM sees follows the contrast limits once they rest this long.
CONTRAST_SETTLES_MS = 600


class LayerBridge:
    """Layers of the image worked on, in a viewer.

    Parameters
    ----------
    viewer : napari.Viewer
    order : Order, optional
        Holds edits back that have to wait for an answer.

    Attributes
    ----------
    work : Work or None
        The image worked on with its document and layers.
    plane : tuple of int
        Plane of that image on display.
    include : bool
        What the next point says.
    floor : float
        The score from which objects would be accepted; their outlines tell.
    picks : bool
        Whether a click on an object looks at it, as where there are many; else every
        click is the active object's. See `picking`.
    chosen : tuple of int
        Objects that were chosen together, for one act.
    enclosing : Enclosing
        Chooses objects by an outline; the lasso is a prompt.
    images_changed : Signal
        Images came, went or were renamed.
    work_changed : Signal
        Another image is worked on, or none.
    pixels_changed : Signal
        What SAM sees of the image changed: contrast limits, or the data itself.
    plane_changed : Signal(tuple)
    view_changed : Signal(object)
        The part of the plane on the screen, a BBox or None, once it rests.
    edited : Signal(list)
        Ids of the objects whose prompts somebody edited in a layer.
    dragged : Signal(int, Prompts, list)
        The active object, with the prompts and their sources that it would have if
        its points were dropped where they are being dragged.
    drag_ended : Signal
        Nothing is being dragged any more.
    include_changed : Signal(bool)
    tool_changed : Signal(str)
        What a click and drag makes from now on: "point", or one of `TOOLS`.
    chosen_changed : Signal(tuple)
    noticed : Signal(str)
        Something the user should be told.
    layers_changed : Signal
        Our layers came or went; shortcuts have to be bound anew.
    batched_update : BatchedUpdate
        Around a change of several layers, so that napari builds its scene once.
    """

    images_changed = Signal()
    work_changed = Signal()
    pixels_changed = Signal()
    plane_changed = Signal(tuple)
    view_changed = Signal(object)
    edited = Signal(list)
    dragged = Signal(int, Prompts, list)
    drag_ended = Signal()
    include_changed = Signal(bool)
    tool_changed = Signal(str)
    chosen_changed = Signal(tuple)
    noticed = Signal(str)
    layers_changed = Signal()

    def __init__(self, viewer: napari.Viewer, order: Order | None = None) -> None:
        self._viewer = viewer
        self._order = order
        self.work: Work | None = None
        self.plane: Plane = ()
        self.floor = 0.0
        self.picks = False
        self.chosen: tuple[int, ...] = ()
        self.enclosing = Enclosing(viewer)
        self.include = True
        self._label = 0
        self._works = Works(self._handlers)
        self._placing = Placing(viewer.layers)
        self.batched_update = self._placing.batched_update
        self._taking_edit = Guard()
        self._display: Display | None = None
        self._contrast = Later(self._on_contrast_settled, CONTRAST_SETTLES_MS)
        self._view = ViewWatch(viewer, self._on_view_rests)
        self._connections = Connections()
        self._image_connections = Connections()
        layers, dims = viewer.layers.events, viewer.dims.events
        for emitter, handler in (
            (layers.inserted, self._on_layer_inserted),
            (layers.removed, self._on_layer_removed),
            (dims.point, self._on_dims),
            (dims.order, self._on_dims),
            (dims.ndisplay, self._on_dims),
        ):
            self._connections.add(emitter, handler)
        for layer in self.images():
            self._watch_name(layer)
        self._works.adopt(viewer.layers)
        self.enclosing.drawn.connect(self._on_enclosed)
        self.enclosing.ended.connect(self.use_points)

    def close(self) -> None:
        """Let go of the viewer; the layers stay in it."""
        self._contrast.stop()
        self.enclosing.ended.disconnect(self.use_points)
        self.enclosing.end()
        self._view.close()
        self._image_connections.release()
        self._connections.release()
        self._works.clear()
        self.work = self._display = None

    # -- images -------------------------------------------------------------------

    def images(self) -> list[Image]:
        """Image layers of the viewer that can be worked on, topmost first."""
        return lookup.images_in(self._viewer.layers)

    def likely_image(self) -> Image | None:
        """Return the image the user most likely means: the selected, else the top."""
        images = self.images()
        active = self._viewer.layers.selection.active
        return next((i for i in images if i is active), images[0] if images else None)

    def has_image(self) -> bool:
        """Whether the image worked on is still in the viewer."""
        return self.work is not None and self._holds(self.work.image)

    def source(self) -> LayerSource | None:
        """Return the image's pixels as displayed now, for the session."""
        if self.work is None or not self.has_image():
            return None
        return LayerSource(self.work.image)

    def flat(self) -> bool:
        """Whether the canvas shows rows and columns of the image."""
        work = self.work
        return work is not None and lies_flat(work.image, self._viewer.dims)

    def open(self, image: Image | None) -> None:
        """Work on another image; the work on the one before is kept.

        Parameters
        ----------
        image : Image or None
            An image layer of the viewer. One that shows a picture whose layer was
            deleted takes up the work on that.
        """
        if self.work is not None and image is self.work.image:
            return
        self._leave()
        if image is not None:
            work = self._works.on(image, self._viewer.layers) or self._begin(image)
            if work is not None:
                self._enter(work)
        self.work_changed.emit()

    def work_on(self, image: Image) -> Work | None:
        """Return the work on an image of the viewer, begun where there is none yet.

        It is not put on display; None where the image cannot be worked on.
        """
        return self._works.on(image, self._viewer.layers) or self._begin(image)

    def open_work(
        self, work: Work, plane: Plane | None = None, active: int | None = None
    ) -> None:
        """Put the image of a work into the viewer and go on with it.

        Parameters
        ----------
        work : Work
            Made elsewhere, with its objects and labels; its image need not be in the
            viewer yet.
        plane : tuple of int, optional
            Plane to put on display; left out, the one that the sliders point at, with
            the active object as it is.
        active : int, optional
            Object to work on there, where a plane is given; None for none.
        """
        again = work is self.work
        if not again:
            self._leave()
        if not self._holds(work.image):
            self._viewer.layers.append(work.image)
        self._works.add(work)
        if again:
            if plane is not None:
                self.go_to(plane)
                work.document.active_id = active
            return
        if plane is not None:
            point_dims_at(work.image, self._viewer.dims, plane)
            work.document.active_id = active
        self._enter(work)
        self.work_changed.emit()

    def drop_work(self, work: Work) -> None:
        """Take a work's layers out of the viewer, its image too, and forget it.

        Parameters
        ----------
        work : Work
            Kept elsewhere; layers that were added by anybody else stay.
        """
        with self.batched_update:
            if work is self.work:
                self._leave()
                self.work_changed.emit()
            self._works.remove(work)
            self._take_out((*work.layers, work.image))

    def _take_out(self, layers: Iterable[Layer]) -> None:
        self._placing.take_out(layers)
        # Without them the sliders may have another range, and point elsewhere.
        self.go_to(self.plane)

    def _begin(self, image: Image) -> Work | None:
        try:
            work = Work(image)
        except ValueError as error:
            self.noticed.emit(str(error))
            return None
        self._works.add(work)
        return work

    def _leave(self) -> None:
        work, self.work = self.work, None
        if work is None:
            return
        self.enclosing.end()
        self.set_chosen(())
        self._image_connections.release()
        self._contrast.stop()
        self._take_out(work.prompt_layers)
        self._display = None

    def _enter(self, work: Work) -> None:
        self.work, self._display = work, Display(work)
        image = work.image
        events = [
            (getattr(image.events, n, None), work.move_along) for n in TRANSFORM_EVENTS
        ]
        events.append((image.events.contrast_limits, self._contrast.start))
        events.append((image.events.data, self._on_image_data))
        for emitter, handler in events:
            if emitter is not None:
                self._image_connections.add(emitter, _ignoring_event(handler))
        work.move_along()
        self._view.begin()
        self.plane = plane_on_display(image, self._viewer.dims)
        self._show_layers()
        self._show()
        self.use_points()

    def _handlers(self, work: Work) -> list[tuple[Any, Callable[..., None]]]:
        events = work.document.events
        return [
            (work.points.edited, self._on_points_edited),
            (work.points.dragged, self._on_points_dragged),
            (work.boxes.edited, self._on_boxes_edited),
            (work.boxes.drawn, self._on_box_drawn),
            (work.boxes.lined, self._on_line_drawn),
            (work.result.painted, self._on_painted),
            (work.result.replaced, lambda work, top: work.document.reserve(top)),
            (work.result.refused, lambda _work, line: self.noticed.emit(line)),
            (events.object_added, self._on_document),
            (events.object_changed, self._on_document),
            (events.object_removed, self._on_document),
            (events.objects_changed, self._on_document),
            (events.active_changed, self._on_active),
            (events.labels_patched, self._on_labels_patched),
        ]

    def work_of(self, document: Document) -> Work | None:
        """Find the work of a document, whether it is on display or not."""
        return next((work for work in self._works if work.document is document), None)

    # -- what the user sees -------------------------------------------------------

    def use_points(self) -> None:
        """Let the next click place a point."""
        if self.work is not None and self._holds(self.work.points.layer):
            self._viewer.layers.selection.active = self.work.points.layer
            self.work.points.layer.mode = "add"
        self.tool_changed.emit("point")

    def use_tool(self, tool: Tool) -> None:
        """Let the next click place a point, or the next drag draw something."""
        if tool == "point":
            self.use_points()
            return
        if self.work is None:
            return
        self._show_layers()
        self._viewer.layers.selection.active = self.work.boxes.layer
        self.work.boxes.layer.mode = TOOLS[tool]
        self.tool_changed.emit(tool)

    def tool(self) -> Tool:
        """Return what a click and drag makes; a point, unless something is drawn."""
        work = self.work
        if work is not None:
            layer = work.boxes.layer
            if self._viewer.layers.selection.active is layer:
                for tool, mode in TOOLS.items():
                    if layer.mode == mode:
                        return tool
        return "point"

    def set_include(self, include: bool) -> None:
        """Choose what the next point says."""
        changed = include != self.include
        self.include = include
        self._show(in_place=True)
        if changed:
            self.include_changed.emit(include)

    def set_floor(self, floor: float) -> None:
        """Show which objects would be accepted from this score on."""
        if floor != self.floor:
            self.floor = floor
            self._show()

    def set_chosen(self, object_ids: Iterable[int]) -> None:
        """Choose objects together; white outlines tell which, from two on."""
        chosen = tuple(object_ids)
        if chosen != self.chosen:
            self.chosen = chosen
            self._show()
            self.chosen_changed.emit(chosen)

    def choose_within(self, *, box: bool = False) -> None:
        """Have an outline drawn next, which chooses the objects inside it."""
        if self.work is None or not self.flat():
            self.noticed.emit("Switch to the 2D view to draw around objects.")
        elif self.enclosing.is_open:
            self.enclosing.end()
        else:
            self.enclosing.begin(self.work.image, box=box)

    def _on_enclosed(self, outline: np.ndarray) -> None:
        if self.work is not None:
            found = within(self.work.document, self.plane, outline)
            if not found:
                self.noticed.emit("There is no object inside that outline.")
            self.set_chosen(found)

    def view_centre(self) -> tuple[float, float] | None:
        """Return the (row, column) of the image in the middle of the canvas."""
        if self.work is None or not self.flat():
            return None
        shown = list(self._viewer.dims.displayed)
        world = np.array(self._viewer.dims.point, dtype=float)
        world[shown] = camera_of(self._viewer).center[-len(shown) :]
        row, column = self.work.image.world_to_data(world)[-2:]
        return float(row), float(column)

    def selected_prompts(self) -> tuple[tuple[int, ...], bool]:
        """Say what is selected in the layers of prompts.

        Returns
        -------
        objects : tuple of int
            Those that would have no point to include left, were the selected points
            deleted.
        some : bool
            Whether points or boxes are selected at all.
        """
        work = self.work
        if work is None:
            return (), False
        rows = work.points.agreed
        chosen = np.zeros(len(rows), bool)
        chosen[[i for i in work.points.layer.selected_data if i < len(rows)]] = True
        including = rows.include & ~chosen
        gone = set(rows.objects[chosen].tolist()) - set(
            rows.objects[including].tolist()
        )
        boxes = self._viewer.layers.selection.active is work.boxes.layer and bool(
            work.boxes.layer.selected_data
        )
        return tuple(sorted(gone)), bool(chosen.any()) or boxes

    def delete_selected(self) -> None:
        """Delete the selected points; or boxes, where one works on those."""
        work = self.work
        if work is None:
            return
        active = self._viewer.layers.selection.active
        layer = work.boxes.layer if active is work.boxes.layer else work.points.layer
        layer.remove_selected()

    def flip_selected(self) -> int:
        """Flip the selected points; returns how many there were."""
        return 0 if self.work is None else self.work.points.flip_selected()

    def go_to(self, plane: Plane) -> None:
        """Put a plane of the image on display."""
        if self.work is not None:
            point_dims_at(self.work.image, self._viewer.dims, plane)

    def look_at(self, position: tuple[float, float]) -> None:
        """Put a (row, column) of the plane on display in the middle of the canvas."""
        if self.work is not None and self.flat():
            world = self.work.image.data_to_world((*self.plane, *position))
            shown = [float(world[axis]) for axis in self._viewer.dims.displayed]
            camera_of(self._viewer).center = tuple(shown)

    def put_beside(self, layer: Layer) -> None:
        """Put a layer above the labels that only shows something."""
        if self.work is not None:
            self._placing.put_over(self.work, layer)

    def take_beside(self, layer: Layer) -> None:
        """Take such a layer out, if it is there."""
        self._placing.take_out([layer])
        if self.work is not None and layer in self.work.shown_beside:
            self.work.shown_beside.remove(layer)

    def labelled(self) -> list[tuple[Image, Labels, Work | None]]:
        """Images with their Labels, and the work where it is ours; see `lookup`."""
        return lookup.labelled(self._viewer.layers, self._works)

    def foreign_labels(self) -> list[Labels]:
        """Labels layers a mask can be taken from, but our own."""
        return lookup.foreign_labels(self._viewer.layers, self.work)

    def label_colour(self, label: int) -> tuple[float, float, float, float]:
        """Colour of a label in the labels layer, RGBA."""
        return lookup.label_colour(self.work, label)

    def selected_label_mask(self) -> tuple[str, np.ndarray]:
        """Mask of the label the user means, on the plane on display; see `lookup`.

        Raises
        ------
        ValueError
            If there is no image, no Labels layer, or the label is not on this plane.
        """
        if self.work is None:
            raise ValueError("There is no image to work on; open one first.")
        layers = self._viewer.layers
        return lookup.selected_label_mask(
            layers, layers.selection, self.work, self.plane
        )

    def bindable(self) -> list[Any]:
        """Return the viewer and every layer one works in, for shortcuts."""
        if self.work is None:
            return [self._viewer]
        layers = [layer for layer in self.work.layers if self._holds(layer)]
        if self.has_image():
            layers.append(self.work.image)
        return [self._viewer, *layers]

    # -- layers come and go -------------------------------------------------------

    def _holds(self, layer: Layer) -> bool:
        return self._placing.holds(layer)

    def _show_layers(self, *, labels: bool = True) -> bool:
        """Put our missing layers into the viewer; True if there were any."""
        if self.work is None or not self._placing.put_in(self.work, labels=labels):
            return False
        self.layers_changed.emit()
        return True

    def _on_layer_inserted(self, event: Any) -> None:
        layer = event.value
        if isinstance(layer, Image):
            self._watch_name(layer)
            self.images_changed.emit()
        elif isinstance(layer, Labels) and not self._placing.moving:
            self.layers_changed.emit()

    def _watch_name(self, layer: Image) -> None:
        announce = _ignoring_event(self.images_changed.emit)
        self._connections.add(layer.events.name, announce)

    def _on_layer_removed(self, event: Any) -> None:
        layer, work = event.value, self.work
        if isinstance(layer, Image):
            self.images_changed.emit()
        if self._placing.moving or work is None:
            return
        # Several layers may be on their way out, or the whole viewer; see what is left
        # afterwards.
        if layer is work.image:
            self._contrast.stop()
            QTimer.singleShot(0, self._on_image_lost)
        elif work.owns(layer):
            QTimer.singleShot(0, self._on_own_layer_lost)

    def _on_image_lost(self) -> None:
        work = self.work
        if work is None or self.has_image():
            return
        if len(work.document):
            self.noticed.emit(
                f"The image “{work.image.name}” was deleted. Its objects are kept: "
                "open it again to go on with them, or export them."
            )
        self.work_changed.emit()

    def _on_own_layer_lost(self) -> None:
        work = self.work
        if work is None or not self.has_image():
            return
        labels_lost = not self._holds(work.result.layer)
        if self._show_layers(labels=False):
            self._display = Display(work)
            self._show()
            self.use_points()
            self.noticed.emit(
                "A layer of prompts was deleted and has been put back with what it "
                "held. To take prompts away, use Clear."
            )
        elif labels_lost:
            self.layers_changed.emit()
            self.noticed.emit(
                "The labels layer was deleted. Its pixels are kept: the next commit, "
                "undo or redo puts it back."
            )

    def _on_image_data(self) -> None:
        work = self.work
        if work is None:
            return
        if image_shape(work.image) == work.shape:
            self.pixels_changed.emit()
            return
        # Another picture in the same layer: its objects would lie beside it.
        image = work.image
        self._leave()
        self._works.remove(work)
        self.noticed.emit(
            f"“{image.name}” has another size now. Its labels layer stays; work on the "
            "new picture begins afresh."
        )
        self.open(image)

    def _on_contrast_settled(self) -> None:
        if self.has_image():
            self.pixels_changed.emit()

    def _on_dims(self, _event: Any) -> None:
        work = self.work
        if work is None or self._placing.moving:
            return
        plane = plane_on_display(work.image, self._viewer.dims)
        if plane == self.plane:
            return
        self.plane = plane
        self._do(work.document, lambda: self._choose_active(work, plane))
        if self._is_held(work.document):
            self._show()  # the plane is another, whatever object will be in work
        self.plane_changed.emit(plane)

    def _choose_active(self, work: Work, plane: Plane) -> None:
        document = work.document
        with self._taking_edit:
            active = document.active
            if active is not None:
                # Scrolled through, it stays in work, also beyond a plane without it.
                self._label = active.label
            if active is None or active.plane != plane:
                document.active_id = edits.draft_on(document, plane, self._label)
        if work is self.work:
            self._show()

    def view(self) -> BBox | None:
        """Return the part of the plane that is on the screen; None if not known."""
        if self.work is None or not self.has_image() or not self.flat():
            return None
        return view_of(self._viewer, self.work.image)

    def _on_view_rests(self) -> None:
        if self.work is not None and self.has_image():
            self.view_changed.emit(self.view())

    def _do(self, document: Document, act: Callable[[], None]) -> None:
        """Do something now, or in its turn where it has to wait."""
        if self._order is None:
            act()
        else:
            self._order.do(document, act)

    def _is_held(self, document: Document) -> bool:
        return self._order is not None and self._order.holds(document)

    # -- edits in layers become prompts -------------------------------------------

    def _on_points_edited(
        self, work: Work, before: PointTable, after: PointTable
    ) -> None:
        display = self._display
        if work is not self.work or display is None:
            return  # its layer is not in the viewer; the document is shown on return
        self._view.tell_now()
        document = work.document
        good = edits.usable(after, work.shape)
        if not good.all():
            self.noticed.emit(
                "A point beside the image says nothing about it and was taken back."
            )
            after = after.take(good)
        if len(after) > len(before) and self._viewer.dims.ndisplay == 3:
            self.noticed.emit(
                "A click in the 3D view has no depth, and its point was taken back: "
                "switch to the 2D view to place points."
            )
            after = before
        if self._is_held(document):
            plane = self.plane
            self._do(
                document, lambda: self._take_points_late(work, before, after, plane)
            )
            return
        with self._taking_edit, document.step(edits.edit_name(before, after)):
            if self.picks:
                after = self._picked(work, before, after)
            changed = edits.take_points(
                document, before, after, self.plane, settled=display.made(before)
            )
            display.drop()
        self.drag_ended.emit()
        self._after_edit(changed)

    def _picked(self, work: Work, before: PointTable, after: PointTable) -> PointTable:
        """Return the rows without a click that only looks at an object.

        One that begins an object gets it; see `picking`.
        """
        _, new = changed_part(before, after)
        if len(after) != len(before) + 1 or new.stop - new.start != 1:
            return after
        row = after.take(new)
        if not row.include[0] or tuple(row.planes()[0].tolist()) != self.plane:
            return after
        document, (y, x) = work.document, row.data[0, -2:].tolist()
        labels = work.result.plane(self.plane)
        pick = meant_by(document, labels, self.plane, (y, x))
        if pick.object_id is not None:
            document.active_id = pick.object_id
            self.set_chosen(())
            kept = np.ones(len(after), bool)
            kept[new] = False
            return after.take(kept)
        if pick.begins:
            # of the class that was named last, as any new object
            classes = [r.class_name for r in document.on_plane(self.plane)[-1:]]
            named = document.active.class_name if document.active else None
            document.active_id = None
            begun = document.new_object(
                self.plane, class_name=named or (classes or [""])[0]
            )
            objects = after.objects.copy()
            objects[new] = begun.id
            return replace(after, objects=objects)
        return after

    def _take_points_late(
        self, work: Work, before: PointTable, after: PointTable, plane: Plane
    ) -> None:
        document = work.document
        with self._taking_edit, document.step(edits.edit_name(before, after)):
            changed = edits.take_points_late(document, before, after, plane)
        self._after_late_edit(work, changed)

    def _take_boxes_late(
        self,
        work: Work,
        before: tuple[Box, ...],
        after: tuple[Box, ...],
        plane: Plane,
        name: str,
    ) -> None:
        with self._taking_edit, work.document.step(name):
            changed = edits.take_boxes_late(work.document, before, after, plane)
        self._after_late_edit(work, changed)

    def _after_late_edit(self, work: Work, changed: list[int]) -> None:
        if work is self.work:
            self._show()
        if changed:
            self.edited.emit(changed)

    def _on_points_dragged(
        self, work: Work, before: PointTable, now: PointTable
    ) -> None:
        if work is not self.work or self._display is None:
            return
        moved = changed_objects(before, now)
        if self.picks and len(moved) == 1 and moved[0] in work.document:
            # dragging a point of another object looks at that object
            if work.document.get(moved[0]).plane == self.plane:
                with self._taking_edit:
                    work.document.active_id = moved[0]
        active = work.document.active
        if active is None or active.id not in moved:
            self._display.drag_preview = None
            self._show(in_place=True)
            self.drag_ended.emit()
            return
        rows = now.take(edits.usable(now, work.shape)).of(active.id)
        self.dragged.emit(active.id, *edits.with_points(active, rows))

    def show_drag_preview(
        self, document: Document, object_id: int, region: Region | None
    ) -> None:
        """Show the mask that an object would get if its points were dropped now.

        Parameters
        ----------
        document : Document
        object_id : int
        region : Region or None
            None for an empty mask.
        """
        display = self._display
        if display is not None and document is display.work.document:
            revision = document.get(object_id).revision
            display.drag_preview = DragPreview(object_id, revision, region)
            self._show(in_place=True)

    def _on_boxes_edited(
        self, work: Work, before: tuple[Box, ...], after: tuple[Box, ...]
    ) -> None:
        if work is not self.work:
            return
        self._view.tell_now()
        document = work.document
        after = edits.usable_boxes(after, work.shape)
        name = "draw box" if len(after) > len(before) else "edit boxes"
        if len(after) > len(before) and self._viewer.dims.ndisplay == 3:
            self.noticed.emit(
                "A box drawn in the 3D view has no plane, and was taken back: switch "
                "to the 2D view to draw one."
            )
            after = before
        if self._is_held(document):
            plane = self.plane
            self._do(
                document,
                lambda: self._take_boxes_late(work, before, after, plane, name),
            )
            return
        with self._taking_edit, document.step(name):
            changed = edits.take_boxes(document, before, after, self.plane)
        self._after_edit(changed)

    def _after_edit(self, changed: list[int]) -> None:
        if not self._show(in_place=True):
            # napari may be in the middle of telling others about the same edit, and
            # holds indices of rows: rows are taken out only when it is done.
            QTimer.singleShot(0, self._show)
        if changed:
            self.edited.emit(changed)

    def _on_box_drawn(self, _work: Work) -> None:
        QTimer.singleShot(0, self.use_points)

    def _on_line_drawn(self, work: Work, line: Freehand, plane: Plane) -> None:
        if work is not self.work:
            return
        if self._viewer.dims.ndisplay == 3:
            self.noticed.emit(
                "A line drawn in the 3D view has no plane, and was taken back: switch "
                "to the 2D view to draw one."
            )
            return
        include = self.include
        self._do(work.document, lambda: self._take_line(work, line, plane, include))

    def _take_line(
        self, work: Work, line: Freehand, plane: Plane, include: bool
    ) -> None:
        shape = (work.shape[-2], work.shape[-1])
        try:
            with self._taking_edit:
                changed = edits.take_line(work.document, plane, line, include, shape)
        except ValueError as error:
            self.noticed.emit(str(error))
            return
        self._after_late_edit(work, [changed])
        if line.tool == "lasso":
            QTimer.singleShot(0, self.use_points)

    def _on_painted(self, work: Work, strokes: list[Stroke]) -> None:
        shape = (work.shape[-2], work.shape[-1])
        patches = [
            LabelPatch.from_crops(s.plane, s.bbox[:2], s.before, s.after, shape)
            for s in strokes
        ]
        highest = max(int(s.after.max()) for s in strokes)
        # Never held back: the pixels are there, and a commit that is carried out
        # meanwhile has to know that they came later.
        if self._order is not None:
            self._order.record_stroke(work.document, patches, highest)
        else:
            work.document.record_paint(patches)
            work.document.reserve(highest)

    # -- the document is shown in layers ------------------------------------------

    def _on_document(self, work: Work, *_: object) -> None:
        if work is self.work and not self._taking_edit:
            self._show()

    def _on_active(self, work: Work, object_id: int | None) -> None:
        if object_id is not None and object_id not in self.chosen:
            self.set_chosen(())  # one is looked at, instead of several
        self._on_document(work)

    def _on_labels_patched(self, work: Work, patch: LabelPatch) -> None:
        if work is not self.work:
            pass  # its labels may be gone on purpose; the pixels are kept all the same
        elif self.has_image() or any(self._holds(layer) for layer in work.layers):
            self._show_layers()
        try:
            work.result.apply(patch)
        except ValueError as error:
            self.noticed.emit(str(error))

    def _show(self, *, in_place: bool = False) -> bool:
        display = self._display
        return display is None or display.show(
            self.plane,
            include=self.include,
            floor=self.floor,
            chosen=frozenset(self.chosen),
            in_place=in_place,
        )


def _ignoring_event(handler: Callable[[], Any]) -> Callable[[Any], None]:
    """Return a handler that calls another without what was emitted."""

    def call(_event: Any = None) -> None:
        handler()

    return call
