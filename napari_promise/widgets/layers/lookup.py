"""Which layers of a viewer belong together or are meant, found without changing any."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np
from napari.layers import Image, Labels, Layer

from napari_promise.document import Plane
from napari_promise.widgets.layers.geometry import image_shape
from napari_promise.widgets.layers.sources import LabelsSource
from napari_promise.widgets.layers.work import Work

#: Labels with more pixels are not looked through in the window's thread.
_LOOKED_THROUGH = 2**22

_GREY = (0.5, 0.5, 0.5, 1.0)


def images_in(layers: Sequence[Layer]) -> list[Image]:
    """Image layers that can be worked on, topmost first."""
    return [
        layer
        for layer in reversed(layers)
        if isinstance(layer, Image) and layer.ndim >= 2
    ]


def labelled(
    layers: Sequence[Layer], works: Iterable[Work]
) -> list[tuple[Image, Labels, Work | None]]:
    """Images with the Labels that belong to them, and the work where it is ours.

    An image goes with its own committed objects. Where it has none, it goes with the
    topmost Labels layer of the same rows and columns that is called after it, else with
    one that is called after no image.

    Parameters
    ----------
    layers : sequence of Layer
        Layers of a viewer, the topmost last.
    works : iterable of Work

    Returns
    -------
    list of (Image, Labels, Work or None)
        Topmost image first; images without labels are left out.
    """
    images = images_in(layers)
    of_image = {id(work.image): work for work in works}
    foreign = [
        layer
        for layer in reversed(layers)
        if isinstance(layer, Labels) and Work.of(layer) is None
    ]
    after = {id(layer): _named_after(layer, images) for layer in foreign}
    found: list[tuple[Image, Labels, Work | None]] = []
    for image in images:
        work = of_image.get(id(image))
        own = None if work is None else work.result.layer
        if own is not None and _holds(layers, own) and may_hold_labels(work, own):
            found.append((image, own, work))
            continue
        alike = [
            layer for layer in foreign if _plane_shape(layer) == image_shape(image)[-2:]
        ]
        named = [layer for layer in alike if after[id(layer)] == str(image.name)]
        unnamed = [
            layer
            for layer in alike
            if after[id(layer)] is None
            and not any(layer is taken for _, taken, _ in found)
        ]
        for layer in (named or unnamed)[:1]:
            found.append((image, layer, None))
    return found


def foreign_labels(layers: Iterable[Layer], work: Work | None) -> list[Labels]:
    """Labels layers that a mask can be taken from, but those of the work."""
    return [
        layer
        for layer in layers
        if isinstance(layer, Labels) and not (work is not None and work.owns(layer))
    ]


def selected_label_mask(
    layers: Iterable[Layer], selected: Iterable[Layer], work: Work, plane: Plane
) -> tuple[str, np.ndarray]:
    """Mask of the label selected in the Labels layer that the user means.

    Parameters
    ----------
    layers : iterable of Layer
        Layers of a viewer, the topmost last.
    selected : iterable of Layer
        Those of them that are selected.
    work : Work
    plane : tuple of int
        Leading indices into the image of the work.

    Returns
    -------
    str
        What it was taken from, in words.
    array, shape (H, W), bool
        In the pixels of the plane.

    Raises
    ------
    ValueError
        If there is no Labels layer, or the label is not on this plane.
    """
    layer = _meant_labels(layers, selected, work)
    if layer is None:
        raise ValueError(
            "There is no Labels layer to take a mask from; paint or open one, and "
            "select it with the label you mean."
        )
    label = int(layer.selected_label)
    mask = LabelsSource(layer, work.image).plane_labels(plane) == label
    if not mask.any():
        raise ValueError(
            f"Label {label} of “{layer.name}” has no pixel on this plane; select "
            "the Labels layer and pick the label you mean."
        )
    return f"label {label} of “{layer.name}”", mask


def label_colour(work: Work | None, label: int) -> tuple[float, float, float, float]:
    """Colour of a label in the labels layer of a work, RGBA."""
    colour = None if work is None else work.result.layer.get_color(label)
    if colour is None:
        return _GREY
    r, g, b, a = (float(v) for v in colour)
    return (r, g, b, a)


def may_hold_labels(work: Work | None, labels: Labels) -> bool:
    """Whether it is worth asking somebody with more time what is labelled."""
    if work is not None and any(record.committed for record in work.document.objects):
        return True
    if labels.multiscale:
        return Work.of(labels) is None  # of our own the document knows all there is
    return bool(labels.data.size > _LOOKED_THROUGH or np.any(labels.data))


def _meant_labels(
    layers: Iterable[Layer], selected: Iterable[Layer], work: Work
) -> Labels | None:
    for layer in selected:
        if isinstance(layer, Labels) and layer is not work.preview.layer:
            return layer
    others = foreign_labels(layers, work)
    if others:
        return others[-1]
    own = work.result.layer
    return own if may_hold_labels(work, own) else None


def _named_after(layer: Labels, images: Iterable[Image]) -> str | None:
    """Return the name of the image that a layer is called after.

    It is the longest that the layer's name begins with, as a whole word:
    ``cell_10 mask`` is called after ``cell_10``, and never after ``cell_1``.
    """
    name = str(layer.name)
    fitting = [
        str(image.name)
        for image in images
        if name.startswith(str(image.name)) and _ends_at(name, len(str(image.name)))
    ]
    return max(fitting, key=len, default=None)


def _ends_at(name: str, length: int) -> bool:
    return not name[length : length + 1].isalnum()


def _plane_shape(labels: Labels) -> tuple[int, ...]:
    shape = labels.level_shapes[0] if labels.multiscale else labels.data.shape
    return tuple(int(n) for n in shape[-2:])


def _holds(layers: Iterable[Layer], layer: Layer) -> bool:
    return any(layer is other for other in layers)
