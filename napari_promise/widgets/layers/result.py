"""The Labels layer that committed objects are written to, and the user paints in."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from napari.utils.colormaps import CyclicLabelColormap
from psygnal import Signal

from napari_promise.document import BBox, LabelPatch, Plane
from napari_promise.files import one_line
from napari_promise.widgets.layers.geometry import image_shape, placement
from napari_promise.widgets.layers.guard import Guard
from napari_promise.widgets.layers.strokes import strokes

if TYPE_CHECKING:
    from napari.layers import Image

#: Memory of a large stack is taken only where something is written.
_allocate = np.zeros

#: Objects take turns in these: apart from each other, from tissue and from the preview.
_COLOURS = (
    "#f0e442",
    "#cc79a7",
    "#0072b2",
    "#e69f00",
    "#8fd14f",
    "#9467bd",
    "#17becf",
    "#ff6f61",
    "#b8b8ff",
    "#2ca02c",
    "#ffb6c1",
    "#c49c94",
)


def label_colours() -> CyclicLabelColormap:
    """Return the colours that objects take turns in."""
    return CyclicLabelColormap(colors=["transparent", *_COLOURS])


class ResultLabels:
    """One Labels layer over the whole image, written through ``data_setitem``.

    Parameters
    ----------
    image : Image
        The layer the labels belong over.
    data : array, shape of the image, optional
        Labels to begin with; where none are given zeros, uint16.

    Raises
    ------
    ValueError
        If labels of that size cannot be kept in memory.

    Attributes
    ----------
    layer : Labels
        The layer; adding it to a viewer and taking it out is the caller's business.
    painted : Signal
        A list of `strokes.Stroke`, for everything somebody painted.
    replaced : Signal(int)
        Somebody gave the layer other data; the highest label in it.
    refused : Signal(str)
        Why data that somebody gave the layer was not taken.
    """

    painted = Signal(list)
    replaced = Signal(int)
    refused = Signal(str)

    def __init__(self, image: Image, data: np.ndarray | None = None) -> None:
        if data is None:
            data = _no_labels(image)
        self.layer = Labels(
            data,
            name="ProMISe labels",
            opacity=0.55,
            colormap=label_colours(),
            **placement(image),
        )
        self._data: np.ndarray = self.layer.data
        self._writing = Guard()
        self.connect()

    def connect(self) -> None:
        """Watch the layer."""
        self.layer.events.paint.connect(self._on_paint)
        self.layer.events.data.connect(self._on_data)
        self._on_data()

    def disconnect(self) -> None:
        """Stop watching the layer; it stays as it is."""
        self.layer.events.paint.disconnect(self._on_paint)
        self.layer.events.data.disconnect(self._on_data)

    @property
    def labels(self) -> np.ndarray:
        """The labels, (..., H, W); a plane is ``labels[plane]``."""
        data: np.ndarray = self.layer.data
        return data

    def plane(self, plane: Plane) -> np.ndarray:
        """Return the labels of one plane, (H, W), as a view."""
        view: np.ndarray = self.layer.data[tuple(plane)] if plane else self.layer.data
        return view

    def write(self, plane: Plane, bbox: BBox, values: np.ndarray) -> None:
        """Write labels into a rectangle of one plane.

        Parameters
        ----------
        plane : tuple of int
            Leading indices.
        bbox : tuple of int
            ``(r0, c0, r1, c1)``, half open.
        values : array, shape (r1 - r0, c1 - c0)
            Labels; only the pixels that differ are touched. Where one does not fit
            the type of the layer, the layer gets a wider one.

        Raises
        ------
        ValueError
            If labels of a wider type cannot be kept in memory.
        """
        r0, c0, r1, c1 = bbox
        now = self.plane(plane)[r0:r1, c0:c1]
        rows, columns = np.nonzero(now != values)
        if not len(rows):
            return
        self._widen(int(np.max(values)))
        indices = (
            *(np.full(len(rows), index, dtype=np.intp) for index in plane),
            rows + r0,
            columns + c0,
        )
        with self._writing:
            self.layer.data_setitem(indices, np.asarray(values)[rows, columns])

    def apply(self, patch: LabelPatch) -> None:
        """Write the pixels of a patch."""
        r0, c0, r1, c1 = patch.bbox
        now = self.plane(patch.plane)[r0:r1, c0:c1]
        values = now.astype(np.result_type(now, patch.after))
        values[patch.region.crop] = patch.after
        self.write(patch.plane, patch.bbox, values)

    def select(self, label: int) -> None:
        """Paint with this label next, where the layer can hold it."""
        if label <= np.iinfo(self.layer.data.dtype).max:
            self.layer.selected_label = label

    def _widen(self, label: int) -> None:
        """Give the layer a type that holds a label; its history stays."""
        data = self._data
        if label <= np.iinfo(data.dtype).max:
            return
        needed = np.promote_types(data.dtype, np.min_scalar_type(label))
        wide = _zeros(data.shape, np.promote_types(needed, np.uint32))
        # Plane by plane: pages of a large stack that hold nothing take no memory.
        for plane in np.ndindex(data.shape[:-2]):
            if data[plane].any():
                wide[plane] = data[plane]
        with self._writing:
            self.layer.data = wide
        self._data = wide

    def _on_data(self, _event: Any = None) -> None:
        """Take over what another tool gave the layer, or put back what it held."""
        data: Any = self.layer.data
        if self._writing or data is self._data:
            return
        line = ""
        try:
            if tuple(data.shape) != self._data.shape:
                line = (
                    f"The labels of this image have the shape {self._data.shape}, and "
                    f"data of the shape {tuple(data.shape)} cannot stand in for them: "
                    "they were left as they are. Add the data as a layer of its own."
                )
            elif not isinstance(data, np.ndarray):
                data = np.array(data)
        except Exception as error:  # whatever a lazy array meets when it is computed
            line = (
                "The new data of the labels layer could not be read, and the labels "
                f"were left as they are: {one_line(error)}"
            )
        if line:
            data = self._data
        if data is not self.layer.data:
            with self._writing:
                self.layer.data = data
        self._data = data
        if line:
            self.refused.emit(line)
        else:
            self.replaced.emit(int(data.max(initial=0)))

    def _on_paint(self, event: Any) -> None:
        if not self._writing:
            found = strokes(event.value, np.asarray(self.layer.data))
            if found:
                self.painted.emit(found)


def _no_labels(image: Image) -> np.ndarray:
    return _zeros(image_shape(image), np.dtype(np.uint16))


def _zeros(shape: tuple[int, ...], kind: np.dtype[Any]) -> np.ndarray:
    try:
        return _allocate(shape, kind)
    except (MemoryError, ValueError):  # a size beyond what the system can count, too
        size = float(np.prod([float(n) for n in shape])) * kind.itemsize
        raise ValueError(
            f"An image of {' × '.join(map(str, shape))} is too large for labels "
            f"({size / 2**30:,.0f} GB of memory): take one channel or one time point, "
            "or crop it."
        ) from None
