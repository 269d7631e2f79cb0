"""Where an image lies: the size of its pixels, their unit, its place in the world."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

__all__ = ["Place"]


@dataclass(frozen=True, eq=False)
class Place:
    """What a file says of where its pixels lie.

    Axes are those of the array that was read, (plane, ..., row, column), but for the
    two that are named after the file.

    Attributes
    ----------
    scale : tuple of float or None
        Size of a pixel along each axis; None where the file does not state it.
    unit : str or None
        Of the scale: ``"mm"``, ``"um"``, ``"m"``.
    world : (ndim + 1, ndim + 1) float64 or None
        From data to world; NIfTI only.
    file_shape : tuple of int or None
        The file's own shape, axes of length 1 that were left out included.
    file_world : (n + 1, n + 1) float64 or None
        `world` for all n axes of `file_shape`.
    header : object or None
        The file's own header, from which labels in the same place are written: of
        NIfTI both transforms with their codes, the units and the time step.
    order : tuple of int or None
        Where the array was turned after it was read: which of the axes that were read
        each of its axes is.
    """

    scale: tuple[float, ...] | None = None
    unit: str | None = None
    world: NDArray[np.float64] | None = None
    file_shape: tuple[int, ...] | None = None
    file_world: NDArray[np.float64] | None = None
    header: Any | None = None
    order: tuple[int, ...] | None = None

    def turned(self, order: tuple[int, ...]) -> Place:
        """Return the place of an array whose axes were put into another order.

        Parameters
        ----------
        order : tuple of int
            As `numpy.transpose` takes it.
        """
        before = self.order or tuple(range(len(order)))
        return replace(
            self,
            scale=None if self.scale is None else tuple(self.scale[i] for i in order),
            order=tuple(before[i] for i in order),
        )

    def layer_options(self, ndim: int) -> dict[str, Any]:
        """Return keyword arguments of a napari layer that lies here.

        Parameters
        ----------
        ndim : int
            Number of the layer's axes.
        """
        options: dict[str, Any] = {"metadata": {"place": self}}  # labels go back there
        if self.scale is not None:
            options["scale"] = self.scale
        if self.unit is not None:
            options["units"] = (self.unit,) * ndim
        return options

    def labels_as_in_file(
        self, labels: NDArray[Any]
    ) -> tuple[NDArray[Any], dict[str, Any]]:
        """Return labels with the axes that the file has, and where they lie.

        Parameters
        ----------
        labels : (..., row, column) integer
            In the shape of the image that was read.

        Returns
        -------
        labels : (..., row, column) integer
            With the axes of length 1 that the file has.
        placement : dict
            ``affine`` or ``scale``, ``unit`` and ``header``, as `save_labels` takes
            them.
        """
        scale = self.scale
        if self.order is not None:
            back = tuple(np.argsort(self.order))
            labels = labels.transpose(back)
            scale = None if scale is None else tuple(scale[i] for i in back)
        if self.file_shape is not None and self.file_world is not None:
            placed = labels.reshape(self.file_shape)
            return placed, {
                "affine": self.file_world,
                "unit": self.unit,
                "header": self.header,
            }
        if scale is None:
            return labels, {}
        return labels, {"scale": scale, "unit": self.unit}

    def is_that_of(self, transforms: Mapping[str, Any]) -> bool:
        """Tell whether a layer lies where it was opened: nobody moved it.

        Parameters
        ----------
        transforms : mapping
            ``scale``, ``translate``, ``rotate``, ``shear``, ``affine`` of the layer.
        """
        scale = np.asarray(transforms.get("scale", ()), float)
        expected = np.ones(len(scale)) if self.scale is None else self.scale
        if not len(scale) or not np.array_equal(scale, expected):
            return False
        ndim = len(scale)
        return (
            not np.any(transforms.get("translate", 0))
            and _is_identity(transforms.get("shear", 0), ndim)
            and np.allclose(transforms.get("rotate", np.eye(ndim)), np.eye(ndim))
            and np.allclose(
                transforms.get("affine", np.eye(ndim + 1)), np.eye(ndim + 1)
            )
        )


def _is_identity(shear: Any, ndim: int) -> bool:
    """Tell whether a shear, a triangle or a whole matrix, leaves all as it is."""
    matrix = np.asarray(shear, float)
    if matrix.ndim == 2:
        return bool(np.allclose(matrix, np.eye(ndim)))
    return not matrix.any()
