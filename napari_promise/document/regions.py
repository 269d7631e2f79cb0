"""Regions: some pixels of one plane, kept small."""

from __future__ import annotations

import zlib
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_promise.depth import deepest

__all__ = ["BBox", "Plane", "Region", "Tile", "union_bbox"]

#: The indices of the axes that are not displayed; () for a 2-D image.
Plane = tuple[int, ...]
#: Row 0, column 0, row 1, column 1; half open.
BBox = tuple[int, int, int, int]


def union_bbox(*boxes: BBox | None) -> BBox | None:
    """Return the smallest bounding box around all given ones.

    Parameters
    ----------
    *boxes : BBox or None
        None stands for nothing.

    Returns
    -------
    BBox or None
    """
    given = [box for box in boxes if box is not None]
    if not given:
        return None
    r0, c0, r1, c1 = zip(*given, strict=True)
    return min(r0), min(c0), max(r1), max(c1)


@dataclass(frozen=True)
class Tile:
    """The part of a plane that a model sees at once.

    Attributes
    ----------
    plane : Plane
        The plane it lies in.
    bbox : BBox or None
        The part, in the plane's pixels; None for the whole plane.
    """

    plane: Plane = ()
    bbox: BBox | None = None


@dataclass(frozen=True)
class Region:
    """Some pixels of one plane, as a bounding box and compressed bits.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of the whole plane.
    bbox : BBox
        The tight bounding box of the pixels.
    bits : bytes
        The pixels inside the box, packed and compressed.
    """

    shape: tuple[int, int]
    bbox: BBox
    bits: bytes = field(repr=False)

    @classmethod
    def from_crop(
        cls, crop: ArrayLike, origin: tuple[int, int], shape: tuple[int, int]
    ) -> Region | None:
        """Make a region from a part of a plane.

        Parameters
        ----------
        crop : array_like, (h, w) bool
            Part of the plane's mask.
        origin : (int, int)
            Row and column of the part's first pixel.
        shape : (int, int)
            Rows and columns of the whole plane.

        Returns
        -------
        Region or None
            None if no pixel is set.
        """
        pixels = np.asarray(crop, bool)
        rows = np.flatnonzero(pixels.any(axis=1))
        if len(rows) == 0:
            return None
        columns = np.flatnonzero(pixels.any(axis=0))
        tight = pixels[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        r0, c0 = origin[0] + int(rows[0]), origin[1] + int(columns[0])
        bbox = (r0, c0, r0 + tight.shape[0], c0 + tight.shape[1])
        if r0 < 0 or c0 < 0 or bbox[2] > shape[0] or bbox[3] > shape[1]:
            raise ValueError(
                f"the box {bbox} leaves the plane of shape {tuple(shape)}; pass the "
                "mask of this plane."
            )
        bits = zlib.compress(np.packbits(tight).tobytes(), 1)
        return cls((int(shape[0]), int(shape[1])), bbox, bits)

    @classmethod
    def from_mask(cls, mask: ArrayLike) -> Region | None:
        """Make a region from the mask of a whole plane, (H, W) bool."""
        pixels = np.asarray(mask, bool)
        return cls.from_crop(pixels, (0, 0), (pixels.shape[0], pixels.shape[1]))

    @property
    def crop(self) -> NDArray[np.bool_]:
        """The pixels inside the bounding box, (r1 - r0, c1 - c0) bool."""
        height, width = self.bbox[2] - self.bbox[0], self.bbox[3] - self.bbox[1]
        packed = np.frombuffer(zlib.decompress(self.bits), np.uint8)
        flat = np.unpackbits(packed, count=height * width)
        return flat.view(bool).reshape(height, width)

    @property
    def mask(self) -> NDArray[np.bool_]:
        """The mask of the whole plane, (H, W) bool; costly for large planes."""
        return self.window((0, 0, *self.shape))

    @property
    def area(self) -> int:
        """The number of pixels."""
        return int(np.count_nonzero(self.crop))

    @property
    def deepest(self) -> tuple[int, int]:
        """The pixel farthest from the outline, (row, column) of the plane."""
        row, column = deepest(self.crop)
        return self.bbox[0] + row, self.bbox[1] + column

    def covers(self, points: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Tell which points lie on the mask.

        Parameters
        ----------
        points : (N, 2) float64
            (row, column) in the plane's pixels, pixel centres at the integers.

        Returns
        -------
        (N,) bool
        """
        low, high = np.array(self.bbox[:2]), np.array(self.bbox[2:])
        cells = np.rint(points).astype(np.int64)
        inside = (cells >= low) & (cells < high)
        covered: NDArray[np.bool_] = inside[:, 0] & inside[:, 1]
        covered[covered] = self.crop[tuple((cells[covered] - low).T)]
        return covered

    def window(self, bbox: BBox) -> NDArray[np.bool_]:
        """Return the pixels as seen through another bounding box.

        Parameters
        ----------
        bbox : BBox
            A box inside the plane.

        Returns
        -------
        (r1 - r0, c1 - c0) bool
        """
        if bbox == self.bbox:
            return self.crop
        seen = np.zeros((bbox[2] - bbox[0], bbox[3] - bbox[1]), bool)
        r0, c0 = max(bbox[0], self.bbox[0]), max(bbox[1], self.bbox[1])
        r1, c1 = min(bbox[2], self.bbox[2]), min(bbox[3], self.bbox[3])
        if r0 < r1 and c0 < c1:
            top, left = self.bbox[:2]
            seen[r0 - bbox[0] : r1 - bbox[0], c0 - bbox[1] : c1 - bbox[1]] = self.crop[
                r0 - top : r1 - top, c0 - left : c1 - left
            ]
        return seen
