"""What is taken from napari's private parts, each looked for before it is used.

There is no public way to repaint a part of a layer, nor to tell a drag or a drawing
that is under way from one that ended. A napari that lacks one of these parts is served
as well as it can be: layers are repainted whole, and every step counts as an edit.
`missing` names what the installed napari lacks, and a test asks for it.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from napari.layers import Labels, Points, Shapes

#: A rectangle of a layer's data: one slice with explicit bounds per dimension.
Slices = tuple[slice, ...]

_LABELS = ("_slice", "_partial_labels_refresh", "_updated_slice")
_SLICE = ("slice_input", "image")
_POINTS = ("_drag_start",)
_SHAPES = ("_is_creating", "_slice_input")


def missing(labels: Labels, points: Points, shapes: Shapes) -> list[str]:
    """Name the private parts that this napari does not have.

    Parameters
    ----------
    labels, points, shapes : Layer
        A layer of each kind.

    Returns
    -------
    list of str
        ``"Points._drag_start"`` and the like; empty where all is there.
    """
    wanted: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
        ("Labels", labels, _LABELS),
        ("Labels._slice", getattr(labels, "_slice", None), _SLICE),
        ("Points", points, _POINTS),
        ("Shapes", shapes, _SHAPES),
    )
    return [
        f"{kind}.{name}"
        for kind, owner, names in wanted
        for name in names
        if not hasattr(owner, name)
    ]


def canvas_size(viewer: Any) -> tuple[int, int] | None:
    """Return the height and width of a viewer's canvas; None where it has none."""
    window = getattr(viewer, "window", None)
    canvas = getattr(getattr(window, "_qt_viewer", None), "canvas", None)
    size = getattr(canvas, "size", None)
    if size is None or len(size) != 2:
        return None
    return int(size[0]), int(size[1])


def is_dragging(points: Points) -> bool:
    """Whether the mouse is dragging points of a layer right now."""
    return getattr(points, "_drag_start", None) is not None


def is_drawing(shapes: Shapes) -> bool:
    """Whether a shape of a layer is being drawn and not finished yet."""
    return bool(getattr(shapes, "_is_creating", False))


def can_draw(shapes: Shapes) -> bool:
    """Whether shapes can be added now: not to a flat layer that is seen in 3-D."""
    displayed = getattr(getattr(shapes, "_slice_input", None), "ndisplay", 2)
    return int(displayed) <= shapes.ndim


def repaint(layer: Labels, slices: Slices) -> bool:
    """Repaint a rectangle of a Labels layer whose data was written already.

    Parameters
    ----------
    layer : Labels
        A visible layer backed by a numpy array.
    slices : tuple of slice
        Where the data changed.

    Returns
    -------
    bool
        False where this napari cannot, or not as the layer is displayed: then the
        caller refreshes the whole layer.
    """
    if layer.contour or any(not hasattr(layer, name) for name in _LABELS):
        return False
    try:
        slice_input = layer._slice.slice_input
        displayed = list(slice_input.displayed)
        view = layer._slice.image.view
        raw = layer._slice.image.raw
        to_texture = layer.colormap._data_to_texture
    except AttributeError:
        return False
    point = np.rint(layer.world_to_data(slice_input.world_slice.point))
    index: list[slice | int] = list(slices)
    for axis in slice_input.not_displayed:
        at = int(point[axis])
        if not slices[axis].start <= at < slices[axis].stop:
            return True  # Another plane is on display: nothing to repaint.
        index[axis] = at
    shown = tuple(slices[axis] for axis in displayed)
    if len(displayed) != 2 or view.shape != raw.shape or displayed != sorted(displayed):
        return False
    if not np.shares_memory(view, layer.data):
        pixels = np.asarray(layer.data[tuple(index)])
        raw[shown] = pixels
        view[shown] = to_texture(pixels)
    layer._updated_slice = slices
    layer._partial_labels_refresh()
    return True
