"""Where an image lies: the size of its pixels, their unit, its place in the world."""

from __future__ import annotations

from dataclasses import dataclass
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
    """

    scale: tuple[float, ...] | None = None
    unit: str | None = None
    world: NDArray[np.float64] | None = None
    file_shape: tuple[int, ...] | None = None
    file_world: NDArray[np.float64] | None = None

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
            ``affine`` or ``scale``, and ``unit``, as `save_labels` takes them.
        """
        if self.file_shape is not None and self.file_world is not None:
            placed = labels.reshape(self.file_shape)
            return placed, {"affine": self.file_world, "unit": self.unit}
        if self.scale is None:
            return labels, {}
        return labels, {"scale": self.scale, "unit": self.unit}
