"""The Shapes layer that holds box prompts: read, shown, and watched for edits.

Scribbles and lassos are drawn in it too, with napari's own tools. A line that is
finished is taken out again and reported: what it becomes are points or a mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from napari.layers import Shapes
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_promise.document import Plane
from napari_promise.freehand import Freehand
from napari_promise.widgets.layers.geometry import image_shape, placement
from napari_promise.widgets.layers.guard import Guard
from napari_promise.widgets.layers.napari_internals import can_draw, is_drawing
from napari_promise.widgets.layers.table import UNASSIGNED

if TYPE_CHECKING:
    from napari.layers import Image

#: Okabe and Ito's yellow: neither polarity, and visible on bright and dark images.
_EDGE = "#f0e442"

#: The tool that draws a line, by napari's word for the shape.
_TOOLS: dict[str, Literal["scribble", "lasso"]] = {
    "path": "scribble",
    "polygon": "lasso",
}


@dataclass(frozen=True)
class Box:
    """One box prompt as it lies in the layer.

    Parameters
    ----------
    object_id : int
        Object the box is around; 0 where nobody has said.
    plane : tuple of int
        Leading indices.
    corners : tuple of float
        ``(r0, c0, r1, c1)`` in the image's pixels, sorted.
    """

    object_id: int
    plane: Plane
    corners: tuple[float, float, float, float]


class BoxPrompts:
    """One Shapes layer with the feature ``object``.

    Parameters
    ----------
    image : Image
        The layer whose pixels the boxes are in.

    Attributes
    ----------
    layer : Shapes
        The layer; adding it to a viewer and taking it out is the caller's business.
    agreed : tuple of Box
        The boxes as last shown or reported.
    edited : Signal
        ``(before, after)``, tuples of `Box`, once an edit has settled.
    drawn : Signal
        Somebody finished a new box with the mouse or a script.
    lined : Signal(Freehand, tuple)
        Somebody finished a scribble (a path) or a lasso (a polygon), which is not in
        the layer any more; the plane it was drawn on.
    """

    edited = Signal(tuple, tuple)
    drawn = Signal()
    lined = Signal(Freehand, tuple)

    def __init__(self, image: Image) -> None:
        self.layer = Shapes(
            None,
            ndim=image.ndim,
            name="ProMISe boxes",
            features={"object": np.zeros(0, dtype=np.int64)},
            edge_color=_EDGE,
            face_color="transparent",
            edge_width=max(1.0, min(image_shape(image)[-2:]) / 250),
            **placement(image),
        )
        self.agreed: tuple[Box, ...] = ()
        self._writing = Guard()
        # What could not be shown in the view there is, and is as soon as it can.
        self._later: tuple[Box, ...] | None = None
        self._connections = (
            (self.layer.events.data, self._on_data),
            (self.layer.events.features, self._on_settled),
            (self.layer.events.set_data, self._on_refreshed),
        )
        self.connect()
        self.set_next(UNASSIGNED)

    def connect(self) -> None:
        """Watch the layer."""
        for emitter, handler in self._connections:
            emitter.connect(handler)

    def disconnect(self) -> None:
        """Stop watching the layer; it stays as it is."""
        for emitter, handler in self._connections:
            emitter.disconnect(handler)

    def read(self) -> tuple[Box, ...]:
        """Read the layer's shapes at this moment, each as its bounding box."""
        if self._later is not None:
            return self._later
        features = self.layer.features
        named = list(features["object"]) if "object" in features else []
        # napari keeps the features of shapes that a script replaced by fewer.
        named += [UNASSIGNED] * (len(self.layer.data) - len(named))
        boxes = []
        for owner, vertices in zip(named, self.layer.data, strict=False):
            vertices = np.asarray(vertices, dtype=float)
            low, high = vertices[:, -2:].min(axis=0), vertices[:, -2:].max(axis=0)
            plane = _plane_of(vertices)
            known = int(owner) if np.isfinite(owner) else UNASSIGNED
            corners = (float(low[0]), float(low[1]), float(high[0]), float(high[1]))
            boxes.append(Box(known, plane, corners))
        return tuple(boxes)

    def show(self, boxes: tuple[Box, ...]) -> None:
        """Make the layer hold exactly these boxes, as our own doing."""
        if self.read() != boxes or self._later is not None:
            self._later = None
            with self._writing:
                self.layer.selected_data = set()
                self.layer.data = []
                if boxes and not can_draw(self.layer):
                    self._later = boxes
                elif boxes:
                    self.layer.add_rectangles(
                        [_vertices(box) for box in boxes], edge_color=_EDGE
                    )
                if self._later is None:
                    owners = [box.object_id for box in boxes]
                    self.layer.features = {"object": owners}
        self.agreed = boxes

    def set_next(self, object_id: int) -> None:
        """Choose whose the next drawn box is."""
        defaults = self.layer.feature_defaults
        if "object" in defaults and defaults["object"].iloc[0] == object_id:
            return
        with self._writing:
            self.layer.feature_defaults = {"object": object_id}

    def _settle_later(self) -> None:
        if not self._writing and not is_drawing(self.layer):
            self._take_out_lines()
        self._settle()

    def _take_out_lines(self) -> None:
        """Take lines that were drawn out of the layer, and report them."""
        new = self._new_lines()
        if not new:
            return
        lines = [
            Freehand(_TOOLS[self.layer.shape_type[index]], vertices[:, -2:])
            for index, vertices in new
        ]
        planes = [_plane_of(vertices) for _, vertices in new]
        with self._writing:
            self.layer.selected_data = {index for index, _ in new}
            self.layer.remove_selected()
        for line, plane in zip(lines, planes, strict=True):
            self.lined.emit(line, plane)

    def _new_lines(self) -> list[tuple[int, np.ndarray]]:
        # An old rectangle whose corners are pulled becomes a polygon, and stays a box.
        kinds = self.layer.shape_type
        shown = len(self.agreed) if self._later is None else 0
        return [
            (index, np.asarray(self.layer.data[index], dtype=float))
            for index in range(shown, len(kinds))
            if kinds[index] in _TOOLS
        ]

    def _settle(self) -> None:
        # A rectangle being drawn is in the layer from the first pixel on; a line is
        # taken out first, when napari is done with it.
        if self._writing or is_drawing(self.layer) or self._new_lines():
            return
        before, after = self.agreed, self.read()
        if before == after:
            return
        self.agreed = after
        self.edited.emit(before, after)
        if len(after) > len(before):
            self.drawn.emit()

    def _show_later(self) -> None:
        if self._later is not None:
            self.show(self._later)

    def _on_data(self, event: Any) -> None:
        action = str(getattr(event.action, "value", event.action))
        if self._writing or action not in ("added", "removed", "changed"):
            return
        # napari announces a drawn rectangle while it still counts as being drawn.
        QTimer.singleShot(0, self._settle_later)
        self._settle()

    def _on_settled(self, _event: Any) -> None:
        self._settle()

    def _on_refreshed(self, _event: Any) -> None:
        if self._writing:
            return
        if self._later is not None:
            if can_draw(self.layer):
                QTimer.singleShot(0, self._show_later)
        elif len(self.layer.data) != len(self.agreed):
            QTimer.singleShot(0, self._settle_later)


def _plane_of(vertices: np.ndarray) -> Plane:
    leading = np.nan_to_num(vertices[:, :-2].mean(axis=0), nan=-1.0)
    return tuple(int(v) for v in np.rint(leading))


def _vertices(box: Box) -> np.ndarray:
    r0, c0, r1, c1 = box.corners
    corners = np.array([(r0, c0), (r0, c1), (r1, c1), (r1, c0)], dtype=float)
    leading = np.empty((4, len(box.plane)))
    leading[:] = box.plane
    return np.concatenate([leading, corners], axis=1)
