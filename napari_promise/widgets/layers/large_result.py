"""The labels of an image too large for one array: shown as a pyramid, written by tile.

The twin of `result` for planes beyond `geometry.LARGE`. napari lets nobody paint in a
layer of several levels: these labels change by commits, undo and redo alone.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from psygnal import Signal

from napari_promise.data.label_store import LabelPlane, LabelStore
from napari_promise.document import BBox, LabelPatch, Plane
from napari_promise.widgets.layers.geometry import image_shape, placement
from napari_promise.widgets.layers.guard import Guard
from napari_promise.widgets.layers.result import label_colours

if TYPE_CHECKING:
    from napari.layers import Image


class LargeResult:
    """One multiscale Labels layer over the whole image; parts as of `ResultLabels`.

    Parameters
    ----------
    image : Image
        The layer the labels belong over.

    Attributes
    ----------
    layer : Labels
    labels : LabelStore
        Its labels: a plane is ``labels[plane]``.
    painted, replaced, refused : Signal
        See `ResultLabels`; the first two are never emitted.
    """

    painted = Signal(list)
    replaced = Signal(int)
    refused = Signal(str)

    def __init__(self, image: Image) -> None:
        self.labels = LabelStore(image_shape(image))
        self.layer = Labels(
            self.labels.levels,
            multiscale=True,
            name="ProMISe labels",
            opacity=0.55,
            colormap=label_colours(),
            **placement(image),
        )
        self._writing = Guard()
        self.connect()

    def connect(self) -> None:
        """Watch the layer."""
        self.layer.events.data.connect(self._on_data)
        self._on_data()

    def disconnect(self) -> None:
        """Stop watching the layer; it stays as it is."""
        self.layer.events.data.disconnect(self._on_data)

    def plane(self, plane: Plane) -> LabelPlane:
        """Return the labels of one plane, (H, W), read where they are cut."""
        return self.labels[plane]

    def write(self, plane: Plane, bbox: BBox, values: np.ndarray) -> None:
        """Write labels into a rectangle of one plane; see `ResultLabels.write`."""
        self.labels.write(plane, bbox, values)
        with self._writing:
            # A refresh alone would show the coarsest level as napari remembers it.
            self.layer.data = self.labels.levels

    def apply(self, patch: LabelPatch) -> None:
        """Write the pixels of a patch."""
        r0, c0, r1, c1 = patch.bbox
        values = self.plane(patch.plane)[r0:r1, c0:c1]
        values[patch.region.crop] = patch.after
        self.write(patch.plane, patch.bbox, values)

    def select(self, label: int) -> None:
        """Name this label as the one meant."""
        self.layer.selected_label = label

    def _on_data(self, _event: Any = None) -> None:
        """Put back what the layer held: other data would be no pyramid of ours."""
        if self._writing or self.layer.data[0] is self.labels.levels[0]:
            return
        with self._writing:
            self.layer.data = self.labels.levels
        self.refused.emit(
            "The labels of an image of this size are kept on disk, and were left as "
            "they are: add the data as a layer of its own."
        )
