"""What belongs to one image: its document and the four layers that show and edit it.

The bridge puts the layers into a viewer and takes them out.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from napari_promise.document import Document
from napari_promise.widgets.layers.boxes import BoxPrompts
from napari_promise.widgets.layers.geometry import image_shape, is_large, place
from napari_promise.widgets.layers.large_result import LargeResult
from napari_promise.widgets.layers.points import PointPrompts
from napari_promise.widgets.layers.preview import MaskPreview
from napari_promise.widgets.layers.result import ResultLabels

if TYPE_CHECKING:
    from napari.layers import Image, Layer


#: Where our layers remember the work they belong to, so that a dock that is closed and
#: opened again finds it.
_ATTRIBUTE = "_napari_promise_work"


class Work:
    """The work on one image, kept while another image is worked on.

    Parameters
    ----------
    image : Image
        The layer worked on.
    document : Document, optional
        Objects that are known already; by default none are.
    labels : array, shape of the image, optional
        Labels that belong to them.

    Raises
    ------
    ValueError
        If labels of that size cannot be kept in memory.

    Attributes
    ----------
    document : Document
        Its objects.
    result : ResultLabels or LargeResult
        Committed objects, over the whole image.
    preview : MaskPreview
    boxes : BoxPrompts
    points : PointPrompts
    shown_beside : list of Layer
        What only shows something: in the 3-D view, or what the model saw.
    """

    def __init__(
        self,
        image: Image,
        document: Document | None = None,
        labels: np.ndarray | None = None,
    ) -> None:
        self.image = image
        self.shape = image_shape(image)
        self.document = Document() if document is None else document
        self.result: ResultLabels | LargeResult = (
            LargeResult(image)
            if labels is None and is_large(image)
            else ResultLabels(image, labels)
        )
        self.preview = MaskPreview(image)
        self.boxes = BoxPrompts(image)
        self.points = PointPrompts(image)
        self.shown_beside: list[Layer] = []
        for layer in self.layers:
            setattr(layer, _ATTRIBUTE, self)

    @classmethod
    def of(cls, layer: Layer) -> Work | None:
        """Return the work a layer belongs to, whoever opened it; None for others."""
        found = getattr(layer, _ATTRIBUTE, None)
        return found if isinstance(found, cls) else None

    @property
    def layers(self) -> tuple[Layer, ...]:
        """Our layers from the lowest to the topmost."""
        return (
            self.result.layer,
            self.preview.layer,
            self.boxes.layer,
            self.points.layer,
        )

    @property
    def prompt_layers(self) -> tuple[Layer, ...]:
        """Our layers but the labels, which are the user's product and stay."""
        return self.layers[1:]

    def owns(self, layer: Layer) -> bool:
        """Whether a layer is one of ours."""
        return any(layer is mine for mine in (*self.layers, *self.shown_beside))

    def fits(self, image: Image) -> bool:
        """Whether another image layer shows the very picture of this work again.

        The next frame of a series has the same shape: what counts is the same array,
        the same file, or the same pixels as far as they can be compared at once.
        """
        if image_shape(image) != self.shape or bool(image.rgb) != bool(self.image.rgb):
            return False
        mine, other = self.image.data, image.data
        path, other_path = self.image.source.path, image.source.path
        if mine is other or (path is not None and path == other_path):
            return True
        if not (isinstance(mine, np.ndarray) and isinstance(other, np.ndarray)):
            return False
        sample = tuple(slice(None, None, max(1, n // 64)) for n in mine.shape)
        equal_nan = mine.dtype.kind == "f" and other.dtype.kind == "f"
        return np.array_equal(mine[sample], other[sample], equal_nan=equal_nan)

    def move_to(self, image: Image) -> None:
        """Go on with this work over another image layer of the same shape."""
        self.image = image
        self.preview.image = image
        self.move_along()

    def move_along(self) -> None:
        """Follow the image after its transform changed."""
        for layer in (self.result.layer, self.boxes.layer, self.points.layer):
            place(layer, self.image)
        self.preview.move_along()

    def connect(self) -> None:
        """Watch the layers again after `disconnect`."""
        self.points.connect()
        self.boxes.connect()
        self.result.connect()

    def disconnect(self) -> None:
        """Stop watching the layers; they stay as they are."""
        self.points.disconnect()
        self.boxes.disconnect()
        self.result.disconnect()
