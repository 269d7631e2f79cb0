"""Where an image lies in the world, and which of its planes is on display.

Functions of one Image layer and the viewer's dims. Planes are the leading indices
of an image whose last two axes are row, column.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.utils.transforms import Affine

from napari_promise.document import Plane

if TYPE_CHECKING:
    from napari.components import Dims
    from napari.layers import Image, Layer

#: Events of a layer after which everything laid over it has to move along.
TRANSFORM_EVENTS = ("scale", "translate", "rotate", "shear", "affine", "units")


def image_shape(image: Image) -> tuple[int, ...]:
    """Shape of an image at full resolution, without a channel axis.

    Parameters
    ----------
    image : Image
        Grey, RGB(A) or multiscale image layer.

    Returns
    -------
    tuple of int
        ``(…, rows, columns)``.
    """
    data = image.data[0] if image.multiscale else image.data
    shape = tuple(int(n) for n in data.shape)
    return shape[:-1] if image.rgb else shape


def placement(image: Image, plane: Plane = ()) -> dict[str, Any]:
    """Layer arguments that lay data over an image, or over one plane of it.

    Parameters
    ----------
    image : Image
        The layer to lie over.
    plane : tuple of int, optional
        Leading indices. With a plane given, index 0 of the new layer's leading axes
        lies on that plane; without, the axes coincide.

    Returns
    -------
    dict
        ``scale``, ``translate``, ``rotate``, ``shear``, ``affine`` and ``units``.
    """
    translate = np.asarray(image.translate, dtype=float)
    if plane:
        corner = np.zeros(image.ndim)
        corner[: len(plane)] = plane
        to_physical = Affine(
            scale=image.scale,
            rotate=image.rotate,
            shear=image.shear,
            translate=translate,
            ndim=image.ndim,
        )
        translate = np.asarray(to_physical(corner))
    arguments = {
        "scale": np.array(image.scale),
        "rotate": np.array(image.rotate),
        "shear": np.array(image.shear),
        "translate": translate,
        "affine": np.array(image.affine.affine_matrix),
    }
    units = getattr(image, "units", None)
    if units is not None:
        arguments["units"] = units
    return arguments


def place(layer: Layer, image: Image, plane: Plane = ()) -> None:
    """Lay an existing layer over an image, or over one plane of it.

    Parameters
    ----------
    layer : Layer
        A layer with as many dimensions as ``image``.
    image : Image
        The layer to lie over.
    plane : tuple of int, optional
        As in `placement`.
    """
    for name, value in placement(image, plane).items():
        now = getattr(layer, name)
        now = getattr(now, "affine_matrix", now)
        if name == "units":
            if tuple(now) != tuple(value):
                layer.units = value
        elif not np.array_equal(np.asarray(now), np.asarray(value)):
            setattr(layer, name, value)


def lies_flat(image: Image, dims: Dims) -> bool:
    """Whether the canvas shows the rows and columns of the image, and only them."""
    if dims.ndisplay != 2:
        return False
    shift = dims.ndim - image.ndim
    shown = {axis - shift for axis in dims.displayed}
    return shown == {image.ndim - 2, image.ndim - 1}


def plane_on_display(image: Image, dims: Dims) -> Plane:
    """Plane of an image that the viewer's sliders point at.

    Parameters
    ----------
    image : Image
        Image layer, anywhere in the world.
    dims : Dims
        The viewer's dims; ``dims.point`` is in world coordinates.

    Returns
    -------
    tuple of int
        Leading indices into the image's data, clipped to it; ``()`` for 2-D images.
    """
    leading = image_shape(image)[:-2]
    position = np.asarray(image.world_to_data(dims.point), dtype=float)
    indices = np.rint(position[: len(leading)]).astype(int)
    return tuple(
        int(np.clip(i, 0, n - 1)) for i, n in zip(indices, leading, strict=True)
    )


def point_dims_at(image: Image, dims: Dims, plane: Plane) -> None:
    """Move the viewer's sliders so that a plane of the image is on display.

    Parameters
    ----------
    image : Image
        Image layer.
    dims : Dims
        The viewer's dims, changed in place.
    plane : tuple of int
        Leading indices into the image.
    """
    if not plane or plane_on_display(image, dims) == plane:
        return
    position = np.asarray(image.world_to_data(dims.point), dtype=float)
    position[: len(plane)] = plane
    world = np.asarray(image.data_to_world(position), dtype=float)
    shift = dims.ndim - image.ndim
    axes = [axis + shift for axis in range(len(plane))]
    dims.set_point(axes, [float(world[axis]) for axis in range(len(plane))])


def camera_of(viewer: Any) -> Any:
    """Return the camera of a viewer, which napari 0.9 moved into its scene."""
    return getattr(viewer, "scene", viewer).camera
