"""How large an object of a stack is: planes, volume, longest diameter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from napari_promise.document import ObjectRecord, longest_diameter, volume_ml

if TYPE_CHECKING:
    from napari.layers import Image

__all__ = ["Extent", "extent_of", "spacing_of"]

_MILLIMETRES = ("mm", "millimeter")


@dataclass(frozen=True)
class Extent:
    """How large an object is.

    Attributes
    ----------
    planes : int
        On how many it is.
    volume : float
        In millilitres, or voxels.
    diameter : float
        The longest distance between two of its points, in millimetres; 0 in voxels.
    is_known : bool
        Whether the image says how large a voxel is, so that these are millimetres.
    """

    planes: int
    volume: float
    diameter: float
    is_known: bool

    @property
    def volume_in_words(self) -> str:
        """The volume with its unit."""
        if not self.is_known:
            return f"{self.volume:.0f} voxels"
        return (
            f"{self.volume:.1f} ml" if self.volume < 1000 else f"{self.volume:.0f} ml"
        )

    @property
    def in_words(self) -> str:
        """The volume and the longest diameter."""
        if not self.is_known:
            return self.volume_in_words
        return f"{self.volume_in_words}, ⌀ {self.diameter:.0f} mm"


def extent_of(records: Sequence[ObjectRecord], image: Image) -> Extent | None:
    """Return how large an object is; None where it has no mask.

    Parameters
    ----------
    records : sequence of ObjectRecord
        Its planes.
    image : Image
        Says how large a voxel is.
    """
    drawn = [r for r in records if r.region is not None or r.written is not None]
    if not drawn:
        return None
    known = unit_of(image) in _MILLIMETRES
    # A voxel of ten by ten by ten millimetres is one millilitre.
    spacing = spacing_of(image) if known else (10.0, 10.0, 10.0)
    return Extent(
        len(drawn),
        volume_ml(tuple(drawn), spacing),
        longest_diameter(drawn, spacing) if known else 0.0,
        known,
    )


def unit_of(image: Image) -> str:
    """Return the unit of an image's scale; empty where it says none."""
    units = getattr(image, "units", None)  # not in the oldest naparis
    return "" if units is None else str(units[-1])


def spacing_of(image: Image) -> tuple[float, float, float]:
    """Return the size of a voxel; the same in all directions where nothing is said."""
    z, row, column = (abs(float(s)) or 1.0 for s in image.scale[-3:])
    return z, row, column
