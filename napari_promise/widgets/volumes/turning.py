"""The commands that open a stack with planes cut in another direction.

Objects and propagation know the planes across a file's first axis. Rolling the viewer's
axes shows others; to work on those, the pixels are shown once more, turned, without a
copy. What is exported as NIfTI or DICOM has the file's own directions again.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from napari import Viewer
from napari.layers import Image
from napari.utils.notifications import show_info, show_warning

from napari_promise.data.place import Place
from napari_promise.widgets.layers.geometry import image_shape

__all__ = ["across_columns", "across_rows", "turned"]


def across_rows(viewer: Viewer) -> None:
    """Show the selected stack with its planes across the rows: coronal, as a rule."""
    _show(viewer, -2, "rows")


def across_columns(viewer: Viewer) -> None:
    """Show the selected stack with its planes across the columns: sagittal."""
    _show(viewer, -1, "columns")


def turned(image: Image, axis: int, name: str) -> Image:
    """Return an image layer of the same pixels, with planes across another axis.

    Parameters
    ----------
    image : Image
        Of three axes or more, colour aside.
    axis : int
        -2 for the rows, -1 for the columns: which becomes the axis of the planes.
    name : str
        Of the new layer.

    Raises
    ------
    ValueError
        If the layer has no planes, was rotated, or cannot be turned without a copy.
    """
    ndim = len(image_shape(image))
    if ndim < 3:
        raise ValueError(f"{image.name} is a single plane: open a stack.")
    if not np.allclose(image.affine.affine_matrix, np.eye(ndim + 1)) or not np.allclose(
        image.rotate, np.eye(ndim)
    ):
        raise ValueError(
            f"{image.name} was rotated: reset its transform, then turn it."
        )
    order = [i for i in range(ndim) if i != ndim + axis]
    order.insert(ndim - 3, ndim + axis)
    levels = list(image.data) if image.multiscale else [image.data]
    if not all(hasattr(level, "transpose") for level in levels):
        raise ValueError(
            f"{image.name} is read piece by piece and cannot be turned: open it as an "
            "array."
        )
    axes = (*order, ndim) if image.rgb else tuple(order)
    data: list[Any] = [level.transpose(axes) for level in levels]
    metadata = dict(image.metadata)
    place = metadata.get("place")
    if isinstance(place, Place):
        metadata["place"] = place.turned(tuple(order))
    options: dict[str, Any] = {}
    if not image.rgb:
        options = {"contrast_limits": image.contrast_limits, "colormap": image.colormap}
    return Image(
        data if image.multiscale else data[0],
        multiscale=image.multiscale,
        rgb=image.rgb,
        name=name,
        scale=np.asarray(image.scale)[order],
        translate=np.asarray(image.translate)[order],
        units=tuple(image.units[i] for i in order),
        metadata=metadata,
        **options,
    )


def _show(viewer: Viewer, axis: int, across: str) -> None:
    """Put the selected image's turned layer into the viewer."""
    chosen = [each for each in viewer.layers.selection if isinstance(each, Image)]
    if len(chosen) != 1:
        show_warning("Select one image in the list of layers, then turn it.")
        return
    (image,) = chosen
    try:
        layer = turned(image, axis, f"{image.name}, across the {across}")
    except ValueError as error:
        show_warning(str(error))
        return
    viewer.dims.order = tuple(range(viewer.dims.ndim))
    for other in viewer.layers:
        other.visible = False  # it lies across what is shown now
    viewer.add_layer(layer)
    show_info(f"{layer.name}: choose it under *Image* in ProMISe to work on it.")
