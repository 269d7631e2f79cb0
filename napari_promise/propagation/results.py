"""What propagation says of one object on one plane."""

from __future__ import annotations

from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import Region

__all__ = ["PlaneResult", "Source"]

#: Who drew a plane: a person or the answer to a person's prompts; the classifier going
#: outward; the classifier between two planes that a person drew; an adapter, whose
#: proposal the other planes agreed with.
Source = Literal["prompted", "propagated", "interpolated", "proposed"]


@dataclass(frozen=True)
class PlaneResult:
    """One object on one plane.

    Attributes
    ----------
    plane : int
        Index along the axis that is propagated along.
    label : int
        Which object.
    shape : (int, int)
        Rows and columns of the plane.
    region : Region or None
        The object's pixels; None where it is not on this plane.
    confidence : float
        0 to 1: how well the classifier tells the object from what is around it, beside
        the planes that were drawn. 1 for those.
    source : {"prompted", "propagated", "interpolated", "proposed"}
    stopped : str or None
        On the first plane beyond the object, why it ends there, in words. Such a plane
        is empty.
    """

    plane: int
    label: int
    shape: tuple[int, int]
    region: Region | None = field(repr=False)
    confidence: float
    source: Source
    stopped: str | None = None

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """The mask of the whole plane, (rows, columns) bool."""
        if self.region is None:
            return np.zeros(self.shape, bool)
        return self.region.mask
