"""The only file that reads or writes ``viewer.layers``.

It keeps the layers of one image and the document of that image in step:

1. Somebody edits a layer. The component that owns the layer reports the rows before
   and after, once the edit has settled.
2. The bridge turns them into prompts of the objects concerned, as one step of the
   document, and says which objects changed (`edited`).
3. The document says what changed, by whomever: the bridge shows it in the layers.

Layers are held by reference, never by name. A prompt layer that is deleted comes back
with what the document holds; deleted labels come back with the next commit or undo.
Knows no model and no worker.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Image, Labels, Layer
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_promise.document import Document, LabelPatch, ObjectRecord, Plane, Region
from napari_promise.prompts import Prompts
from napari_promise.widgets.layers import edits
from napari_promise.widgets.layers.boxes import Box
from napari_promise.widgets.layers.geometry import (
    TRANSFORM_EVENTS,
    image_shape,
    lies_flat,
    plane_on_display,
    point_dims_at,
)
from napari_promise.widgets.layers.guard import Guard, Together
from napari_promise.widgets.layers.resample import plane_mask
from napari_promise.widgets.layers.source import LayerSource
from napari_promise.widgets.layers.strokes import Stroke
from napari_promise.widgets.layers.table import (
    UNASSIGNED,
    PointTable,
    changed_objects,
)
from napari_promise.widgets.layers.work import Work

if TYPE_CHECKING:
    import napari

#: What SAM sees follows the contrast limits once they rest this long.
CONTRAST_SETTLES_MS = 600

#: Labels with more pixels are not looked through in the window's thread.
_LOOKED_THROUGH = 2**22


class LayerBridge:
    """Layers of the image worked on, in a viewer.

    Parameters
    ----------
    viewer : napari.Viewer

    Attributes
    ----------
    work : Work or None
        The image worked on with its document and layers.
    plane : tuple of int
        Plane of that image on display.
    include : bool
        What the next point says.
    images_changed : Signal
        Images came, went or were renamed.
    work_changed : Signal
        Another image is worked on, or none.
    pixels_changed : Signal
        What SAM sees of the image changed: contrast limits, or the data itself.
    plane_changed : Signal(tuple)
    edited : Signal(list)
        Ids of the objects whose prompts somebody edited in a layer.
    dragged : Signal(int, Prompts, list)
        The object in work, with the prompts and their sources that it would have if
        its points were dropped where they are being dragged.
    drag_ended : Signal
        Nothing is being dragged any more.
    include_changed : Signal(bool)
    box_changed : Signal(bool)
        Whether a click and drag draws a box.
    noticed : Signal(str)
        Something the user should be told.
    layers_changed : Signal
        Our layers came or went; shortcuts have to be bound anew.
    together : Together
        Around a change of several layers, so that napari builds its scene once.
    """

    images_changed = Signal()
    work_changed = Signal()
    pixels_changed = Signal()
    plane_changed = Signal(tuple)
    edited = Signal(list)
    dragged = Signal(int, Prompts, list)
    drag_ended = Signal()
    include_changed = Signal(bool)
    box_changed = Signal(bool)
    noticed = Signal(str)
    layers_changed = Signal()

    def __init__(self, viewer: napari.Viewer) -> None:
        self._viewer = viewer
        self.work: Work | None = None
        self.plane: Plane = ()
        self.include = True
        self._works: list[Work] = []
        self._moving_layers = Guard()
        self.together = Together(viewer.layers)
        self._editing = Guard()
        self._shown: dict[int, ObjectRecord] = {}
        self._drag_preview: _DragPreview | None = None
        self._contrast = QTimer()
        self._contrast.setSingleShot(True)
        self._contrast.setInterval(CONTRAST_SETTLES_MS)
        self._contrast.timeout.connect(self._on_contrast_settled)
        self._disconnects: list[Callable[[], None]] = []
        self._image_disconnects: list[Callable[[], None]] = []
        self._listening: dict[Work, list[Callable[[], None]]] = {}
        layers, dims = viewer.layers.events, viewer.dims.events
        for emitter, handler in (
            (layers.inserted, self._on_layer_inserted),
            (layers.removed, self._on_layer_removed),
            (dims.point, self._on_dims),
            (dims.order, self._on_dims),
            (dims.ndisplay, self._on_dims),
        ):
            emitter.connect(handler)
            self._disconnects.append(_disconnector(emitter, handler))
        for layer in self.images():
            self._watch_name(layer)
        for layer in viewer.layers:
            # Left by a dock that was closed; its objects are still with the layers.
            earlier = Work.of(layer)
            if earlier is not None and not any(w is earlier for w in self._works):
                earlier.connect()
                self._connect_work(earlier)
                self._works.append(earlier)

    def close(self) -> None:
        """Let go of the viewer; the layers stay in it."""
        with contextlib.suppress(RuntimeError):  # gone with Qt, at the program's end
            self._contrast.stop()
        for disconnect in (*self._image_disconnects, *self._disconnects):
            disconnect()
        self._image_disconnects.clear()
        self._disconnects.clear()
        for work in self._works:
            self._disconnect_work(work)
        self._works.clear()
        self.work = None

    # -- images -------------------------------------------------------------------

    def images(self) -> list[Image]:
        """Image layers of the viewer that can be worked on, topmost first."""
        return [
            layer
            for layer in reversed(self._viewer.layers)
            if isinstance(layer, Image) and layer.ndim >= 2
        ]

    def likely_image(self) -> Image | None:
        """Return the image a person most likely means: the selected, else the top."""
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
            work = self._work_on(image)
            if work is None:
                work = Work(image)
                self._connect_work(work)
                self._works.append(work)
            self._enter(work)
        self.work_changed.emit()

    def open_work(self, work: Work, plane: Plane, active: int | None) -> None:
        """Put the image of a work into the viewer and go on with it.

        Nobody hears of the image before the plane and the active object are set.

        Parameters
        ----------
        work : Work
            Made elsewhere, with its objects and labels; its image need not be in the
            viewer yet.
        plane : tuple of int
            The plane to display.
        active : int or None
            Id of the object to make active.
        """
        self._leave()
        if not self._holds(work.image):
            self._viewer.layers.append(work.image)
        if not any(known is work for known in self._works):
            if work not in self._listening:
                self._connect_work(work)
            self._works.append(work)
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
        with self.together:
            if work is self.work:
                self._leave()
                self.work_changed.emit()
            if any(known is work for known in self._works):
                self._disconnect_work(work)
                self._works = [known for known in self._works if known is not work]
            self._take_out((*work.layers, work.image))

    def _take_out(self, layers: Iterable[Layer]) -> None:
        with self._moving_layers, self.together:
            for layer in layers:
                if self._holds(layer):
                    self._viewer.layers.remove(layer)

    def _work_on(self, image: Image) -> Work | None:
        """Work begun on this image, or on a lost one that it can stand in for."""
        for work in self._works:
            if work.image is image:
                return work
        for work in self._works:
            lost = not self._holds(work.image)
            if lost and len(work.document) and work.fits(image):
                work.move_to(image)
                return work
        return None

    def _leave(self) -> None:
        work, self.work = self.work, None
        if work is None:
            return
        for disconnect in self._image_disconnects:
            disconnect()
        self._image_disconnects.clear()
        self._contrast.stop()
        self._take_out(work.prompt_layers)
        self._shown.clear()

    def _enter(self, work: Work) -> None:
        self.work = work
        image = work.image
        events = [
            (getattr(image.events, n, None), work.move_along) for n in TRANSFORM_EVENTS
        ]
        events.append((image.events.contrast_limits, self._contrast.start))
        events.append((image.events.data, self._on_image_data))
        for emitter, handler in events:
            if emitter is not None:
                callback = _ignoring_event(handler)
                emitter.connect(callback)
                self._image_disconnects.append(_disconnector(emitter, callback))
        work.move_along()
        self.plane = plane_on_display(image, self._viewer.dims)
        self._show_layers()
        self._show_all()
        self.use_points()

    def _connect_work(self, work: Work) -> None:
        """Listen to a work, and go on listening while another image is worked on.

        Labels of another image can be painted in, and masks arrive late: each event
        has to reach the work it came from.
        """
        events = work.document.events
        self._listening[work] = []
        for signal, handler in (
            (work.points.edited, self._on_points_edited),
            (work.points.dragged, self._on_points_dragged),
            (work.boxes.edited, self._on_boxes_edited),
            (work.boxes.drawn, self._on_box_drawn),
            (work.result.painted, self._on_painted),
            (events.object_added, self._on_object_changed),
            (events.object_changed, self._on_object_changed),
            (events.object_removed, self._on_object_changed),
            (events.active_changed, self._on_active_changed),
            (events.labels_patched, self._on_labels_patched),
        ):
            callback = _telling_of(work, handler)
            signal.connect(callback)
            self._listening[work].append(_disconnector(signal, callback))

    def _disconnect_work(self, work: Work) -> None:
        work.disconnect()
        for disconnect in self._listening.pop(work):
            disconnect()

    # -- what the user sees -------------------------------------------------------

    def use_points(self) -> None:
        """Let the next click place a point."""
        if self.work is not None and self._holds(self.work.points.layer):
            self._viewer.layers.selection.active = self.work.points.layer
            self.work.points.layer.mode = "add"
        self.box_changed.emit(False)

    def use_boxes(self) -> None:
        """Let the next click and drag draw a box."""
        if self.work is None:
            return
        self._show_layers()
        self._viewer.layers.selection.active = self.work.boxes.layer
        self.work.boxes.layer.mode = "add_rectangle"
        self.box_changed.emit(True)

    def drawing_box(self) -> bool:
        """Whether a click and drag draws a box."""
        work = self.work
        return (
            work is not None
            and self._viewer.layers.selection.active is work.boxes.layer
            and work.boxes.layer.mode == "add_rectangle"
        )

    def set_include(self, include: bool) -> None:
        """Choose what the next point says."""
        changed = include != self.include
        self.include = include
        self._choose_next()
        if changed:
            self.include_changed.emit(include)

    def flip_selected(self) -> int:
        """Flip the selected points; returns how many there were."""
        return 0 if self.work is None else self.work.points.flip_selected()

    def go_to(self, plane: Plane) -> None:
        """Put a plane of the image on display."""
        if self.work is not None:
            point_dims_at(self.work.image, self._viewer.dims, plane)

    def labelled(self) -> list[tuple[Image, Labels, Work | None]]:
        """Images with the Labels that belong to them, and the work where it is ours.

        An image goes with its own committed objects; where it has none, with the
        topmost Labels layer of the same rows and columns, or called like it.
        """
        foreign = [
            layer
            for layer in reversed(self._viewer.layers)
            if isinstance(layer, Labels) and Work.of(layer) is None
        ]
        found: list[tuple[Image, Labels, Work | None]] = []
        for image in self.images():
            work = next((w for w in self._works if w.image is image), None)
            own = None if work is None else work.result.layer
            if own is not None and self._holds(own) and _may_hold_labels(work, own):
                found.append((image, own, work))
                continue
            alike = [
                layer
                for layer in foreign
                if tuple(
                    layer.level_shapes[0] if layer.multiscale else layer.data.shape
                )[-2:]
                == image_shape(image)[-2:]
            ]
            named = [layer for layer in alike if layer.name.startswith(str(image.name))]
            unnamed = [
                layer
                for layer in alike
                if not any(
                    layer.name.startswith(str(other.name))
                    for other in self.images()
                    if other is not image
                )
                and not any(layer is taken for _, taken, _ in found)
            ]
            for layer in (named or unnamed)[:1]:
                found.append((image, layer, None))
                break
        return found

    def label_colour(self, label: int) -> tuple[float, float, float, float]:
        """Colour of a label in the labels layer, RGBA."""
        if self.work is None:
            return (0.5, 0.5, 0.5, 1.0)
        colour = self.work.result.layer.get_color(label)
        if colour is None:
            return (0.5, 0.5, 0.5, 1.0)
        r, g, b, a = (float(v) for v in colour)
        return (r, g, b, a)

    def selected_label_mask(self) -> tuple[str, np.ndarray]:
        """Mask of the label selected in the Labels layer a person means.

        Returns
        -------
        str
            What it was taken from, in words.
        array, shape (H, W), bool
            In the pixels of the plane on display.

        Raises
        ------
        ValueError
            If there is no Labels layer, or the label is not on this plane.
        """
        work = self.work
        if work is None:
            raise ValueError("There is no image to work on; open one first.")
        layer = self._meant_labels(work)
        if layer is None:
            raise ValueError(
                "There is no Labels layer to take a mask from; paint or open one, and "
                "select it with the label you mean."
            )
        label = int(layer.selected_label)
        mask = plane_mask(layer, label, work.image, self.plane)
        if not mask.any():
            raise ValueError(
                f"Label {label} of “{layer.name}” has no pixel on this plane; select "
                "the Labels layer and pick the label you mean."
            )
        return f"label {label} of “{layer.name}”", mask

    def _meant_labels(self, work: Work) -> Labels | None:
        selected = [
            layer
            for layer in self._viewer.layers.selection
            if isinstance(layer, Labels) and layer is not work.preview.layer
        ]
        if selected:
            return selected[0]
        others = self.foreign_labels()
        if others:
            return others[-1]
        return work.result.layer if work.result.layer.data.any() else None

    def bindable(self) -> list[Any]:
        """Return the viewer and every layer one works in, for shortcuts."""
        if self.work is None:
            return [self._viewer]
        layers = [layer for layer in self.work.layers if self._holds(layer)]
        if self.has_image():
            layers.append(self.work.image)
        return [self._viewer, *layers]

    def foreign_labels(self) -> list[Labels]:
        """Labels layers a mask can be taken from, but our own."""
        work = self.work
        return [
            layer
            for layer in self._viewer.layers
            if isinstance(layer, Labels) and not (work and work.owns(layer))
        ]

    # -- layers come and go -------------------------------------------------------

    def _holds(self, layer: Layer) -> bool:
        return any(layer is other for other in self._viewer.layers)

    def _show_layers(self, *, labels: bool = True) -> bool:
        """Put our missing layers into the viewer; True if there were any."""
        work = self.work
        if work is None:
            return False
        wanted = work.layers if labels else work.prompt_layers
        missing = [layer for layer in wanted if not self._holds(layer)]
        if not missing:
            return False
        active = self._viewer.layers.selection.active
        with self._moving_layers:
            for layer in missing:
                # Below those of ours that belong above it.
                above = work.layers[work.layers.index(layer) + 1 :]
                held = enumerate(self._viewer.layers)
                places = [i for i, other in held if other in above]
                at = min(places, default=len(self._viewer.layers))
                self._viewer.layers.insert(at, layer)
        if active is not None and self._holds(active):
            self._viewer.layers.selection.active = active
        self.layers_changed.emit()
        return True

    def _on_layer_inserted(self, event: Any) -> None:
        layer = event.value
        if isinstance(layer, Image):
            self._watch_name(layer)
            self.images_changed.emit()
        elif isinstance(layer, Labels) and not self._moving_layers:
            self.layers_changed.emit()

    def _watch_name(self, layer: Image) -> None:
        callback = _ignoring_event(self.images_changed.emit)
        layer.events.name.connect(callback)
        self._disconnects.append(_disconnector(layer.events.name, callback))

    def _on_layer_removed(self, event: Any) -> None:
        layer, work = event.value, self.work
        if isinstance(layer, Image):
            self.images_changed.emit()
        if self._moving_layers or work is None:
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
            self._show_all()
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
        self._disconnect_work(work)
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
        if work is None:
            return
        plane = plane_on_display(work.image, self._viewer.dims)
        if plane == self.plane:
            return
        self.plane = plane
        document = work.document
        if document.active is None or document.active.plane != plane:
            document.active_id = edits.draft_on(document, plane)
        self.plane_changed.emit(plane)

    # -- edits in layers become prompts -------------------------------------------

    def _on_points_edited(
        self, work: Work, before: PointTable, after: PointTable
    ) -> None:
        if work is not self.work:
            return  # its layer is not in the viewer; the document is shown on return
        document = work.document
        good = edits.usable(after, work.shape)
        if not good.all():
            self.noticed.emit(
                "A point beside the image says nothing about it and was taken back."
            )
            after = after.take(good)
        changed: list[int] = []
        with self._editing, document.step(edits.edit_name(before, after)):
            keys = [(int(o), after.plane(i)) for i, o in enumerate(after.objects)]
            owners = edits.assign(document, keys)
            objects = np.array([owners[key] for key in keys], dtype=np.int64)
            rows = PointTable(
                after.data, objects, after.include, after.auto, after.scores
            )
            for object_id in changed_objects(before, rows):
                if object_id not in document:
                    continue
                record = document.get(object_id)
                prompts, sources = edits.with_points(record, rows.of(object_id))
                document.set_prompts(object_id, prompts, sources)
                changed.append(object_id)
            self._activate_edited(document, changed)
            self._await_dropped(document)
        self._after_edit(changed)

    def _on_points_dragged(
        self, work: Work, before: PointTable, now: PointTable
    ) -> None:
        if work is not self.work:
            return
        active = work.document.active
        if active is None or active.id not in changed_objects(before, now):
            self._drag_preview = None
            self._show_preview()
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
        if self.work is not None and document is self.work.document:
            revision = document.get(object_id).revision
            self._drag_preview = _DragPreview(object_id, revision, region)
            self._show_preview()

    def _await_dropped(self, document: Document) -> None:
        """Keep the drag preview until the mask of the dropped points is there."""
        drag_preview = self._drag_preview
        if drag_preview is not None and drag_preview.object_id in document:
            revision = document.get(drag_preview.object_id).revision
            self._drag_preview = replace(drag_preview, revision=revision, dropped=True)
        self.drag_ended.emit()

    def _on_boxes_edited(
        self, work: Work, before: tuple[Box, ...], after: tuple[Box, ...]
    ) -> None:
        if work is not self.work:
            return
        document = work.document
        after = edits.usable_boxes(after, work.shape)
        changed: list[int] = []
        name = "draw box" if len(after) > len(before) else "edit boxes"
        with self._editing, document.step(name):
            owners = edits.assign(document, [(b.object_id, b.plane) for b in after])
            corners: dict[int, list[tuple[float, ...]]] = {
                box.object_id: [] for box in before if box.object_id in document
            }
            for box in after:
                owner = owners[box.object_id, box.plane]
                corners.setdefault(owner, []).append(box.corners)
            for object_id, boxes in corners.items():
                record = document.get(object_id)
                prompts = record.prompts.replace(boxes=boxes)
                if prompts != record.prompts:
                    document.set_prompts(object_id, prompts)
                    changed.append(object_id)
            self._activate_edited(document, changed)
        self._after_edit(changed)

    def _activate_edited(self, document: Document, changed: list[int]) -> None:
        here = [i for i in changed if document.get(i).plane == self.plane]
        if here and document.active_id not in here:
            document.active_id = here[-1]

    def _after_edit(self, changed: list[int]) -> None:
        self._show_preview()
        if not self._show_prompts_in_place():
            # napari may be in the middle of telling others about the same edit, and
            # holds indices of rows: rows are taken out only when it is done.
            QTimer.singleShot(0, self._show_prompts)
        self._choose_next()
        if changed:
            self.edited.emit(changed)

    def _on_box_drawn(self, _work: Work) -> None:
        QTimer.singleShot(0, self.use_points)

    def _on_painted(self, work: Work, strokes: list[Stroke]) -> None:
        shape = (work.shape[-2], work.shape[-1])
        work.document.record_paint(
            LabelPatch.from_crops(s.plane, s.bbox[:2], s.before, s.after, shape)
            for s in strokes
        )
        highest = max(int(s.after.max()) for s in strokes)
        work.document.reserve(highest)

    def add_mask(self, mask: np.ndarray) -> int:
        """Make a mask the prompt of the object in work, or of a new one.

        Parameters
        ----------
        mask : array, shape (H, W), bool
            In the pixels of the plane on display.

        Returns
        -------
        int
            Id of the object.
        """
        assert self.work is not None
        document = self.work.document
        with document.step("take mask"):
            owner = edits.object_at(document, self.plane)
            if owner is None:
                owner = document.new_object(self.plane).id
            document.active_id = owner
            prompts = document.get(owner).prompts
            document.set_prompts(owner, prompts.replace(mask=mask))
        return owner

    # -- the document is shown in layers ------------------------------------------

    def _on_object_changed(self, work: Work, object_id: int) -> None:
        if work is not self.work or self._editing:
            return
        record = work.document.get(object_id) if object_id in work.document else None
        shown = self._shown.get(object_id)
        if record is None or shown is None or not _same_prompts(record, shown):
            self._show_prompts()
        if object_id == work.document.active_id or record is None:
            self._show_preview()

    def _on_active_changed(self, work: Work, object_id: int | None) -> None:
        if work is not self.work or self._editing:
            return
        self._show_all()
        if object_id is not None:
            label = work.result.layer
            if np.iinfo(label.data.dtype).max >= object_id:
                label.selected_label = object_id

    def _on_labels_patched(self, work: Work, patch: LabelPatch) -> None:
        if work is not self.work:
            pass  # its labels may be gone on purpose; the pixels are kept all the same
        elif self.has_image() or any(self._holds(layer) for layer in work.layers):
            self._show_layers()
        r0, c0, r1, c1 = patch.bbox
        values = np.array(work.result.plane(patch.plane)[r0:r1, c0:c1])
        values[patch.region.crop] = patch.after
        work.result.write(patch.plane, patch.bbox, values)

    def _show_all(self) -> None:
        self._show_prompts()
        self._show_preview()
        self._choose_next()

    def _show_prompts(self) -> None:
        work = self.work
        if work is None:
            return
        document = work.document
        records = self._open_records(document)
        self._shown = {record.id: record for record in document.objects}
        work.points.show(_arranged(work.points.agreed, records, len(work.shape)))
        work.points.set_foreground(document.active_id or UNASSIGNED)
        work.boxes.show(tuple(box for r in records for box in edits.boxes_of(r)))

    def _show_prompts_in_place(self) -> bool:
        """Show the prompts unless rows have to be added, taken out or moved."""
        work = self.work
        if work is None:
            return True
        records = self._open_records(work.document)
        now, boxes = work.points.agreed, work.boxes.agreed
        want = _arranged(now, records, len(work.shape))
        if not np.array_equal(now.data, want.data) or boxes != tuple(
            box for r in records for box in edits.boxes_of(r)
        ):
            return False
        self._show_prompts()
        return True

    @staticmethod
    def _open_records(document: Document) -> list[ObjectRecord]:
        return [r for r in document.objects if edits.is_open(r, document.active_id)]

    def _show_preview(self) -> None:
        work = self.work
        if work is None:
            return
        active = work.document.active
        if active is None:
            work.preview.show(self.plane, None)
            return
        if self._drag_preview is not None and not self._drag_preview.holds(active):
            self._drag_preview = None
        shown = active if self._drag_preview is None else self._drag_preview
        work.preview.show(active.plane, shown.region)

    def _choose_next(self) -> None:
        work = self.work
        if work is None:
            return
        owner = edits.object_at(work.document, self.plane) or UNASSIGNED
        work.points.set_next(owner, self.include)
        work.boxes.set_next(owner)


@dataclass(frozen=True)
class _DragPreview:
    """A mask shown for an object whose points are being dragged, or were just dropped.

    Attributes
    ----------
    object_id, revision : int
        The object, as it is while this may be shown.
    region : Region or None
    dropped : bool
        Whether the points were dropped: then it is shown until the object's own mask
        is there.
    """

    object_id: int
    revision: int
    region: Region | None
    dropped: bool = False

    def holds(self, record: ObjectRecord) -> bool:
        """Whether this is to be shown instead of the object's own mask."""
        same = (record.id, record.revision) == (self.object_id, self.revision)
        return same and not (self.dropped and record.is_answered)


def _same_prompts(record: ObjectRecord, shown: ObjectRecord) -> bool:
    def key(r: ObjectRecord) -> tuple[object, ...]:
        return r.sources, r.committed, r.written is None, r.plane

    first, second = record.prompts, shown.prompts
    return key(record) == key(shown) and (
        first is second or _points_and_boxes(first) == _points_and_boxes(second)
    )


def _points_and_boxes(prompts: Prompts) -> tuple[bytes, bytes, bytes]:
    return prompts.points.tobytes(), prompts.labels.tobytes(), prompts.boxes.tobytes()


def _arranged(now: PointTable, records: list[ObjectRecord], ndim: int) -> PointTable:
    """Rows of these objects, in the order they lie in now as far as they are there."""
    want = PointTable.concatenate([edits.rows_of(r) for r in records], ndim)
    place = {tuple(position): i for i, position in enumerate(now.data.tolist())}
    last = len(now)
    order = sorted(
        range(len(want)), key=lambda i: place.get(tuple(want.data[i].tolist()), last)
    )
    return want.take(np.array(order, dtype=np.intp))


def _disconnector(emitter: Any, handler: Callable[..., Any]) -> Callable[[], None]:
    def disconnect() -> None:
        emitter.disconnect(handler)

    return disconnect


def _telling_of(work: Work, handler: Callable[..., None]) -> Callable[..., None]:
    def call(*details: Any) -> None:
        handler(work, *details)

    return call


def _ignoring_event(handler: Callable[[], Any]) -> Callable[[Any], None]:
    def call(_event: Any = None) -> None:
        handler()

    return call


def _may_hold_labels(work: Work | None, labels: Labels) -> bool:
    """Whether it is worth asking somebody with more time what is labelled."""
    if work is not None and any(record.committed for record in work.document.objects):
        return True
    return bool(labels.data.size > _LOOKED_THROUGH or np.any(labels.data))
