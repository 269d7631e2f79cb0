"""Label pixels that change, and how to change them back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.document.regions import BBox, Plane, Region

__all__ = ["LabelPatch"]


@dataclass(frozen=True, eq=False)
class LabelPatch:
    """Pixels of one plane of a Labels layer that change their label.

    Attributes
    ----------
    plane : Plane
        The plane the pixels lie in.
    region : Region
        The pixels that change.
    before, after : () or (n,) integer array
        Their labels, in row-major order inside the region; a single number where
        all are equal.
    """

    plane: Plane
    region: Region
    before: NDArray[Any]
    after: NDArray[Any]

    @classmethod
    def from_crops(
        cls,
        plane: Plane,
        origin: tuple[int, int],
        before: NDArray[Any],
        after: NDArray[Any],
        shape: tuple[int, int],
    ) -> LabelPatch | None:
        """Make a patch from the labels of a part of a plane before and after.

        Parameters
        ----------
        plane : Plane
        origin : (int, int)
            Row and column of the part's first pixel.
        before, after : (h, w) integer
        shape : (int, int)
            Rows and columns of the whole plane.

        Returns
        -------
        LabelPatch or None
            None if nothing changes.
        """
        changed = np.asarray(before) != np.asarray(after)
        region = Region.from_crop(changed, origin, shape)
        if region is None:
            return None
        return cls(
            tuple(plane),
            region,
            _compact(np.asarray(before)[changed]),
            _compact(np.asarray(after)[changed]),
        )

    @property
    def bbox(self) -> BBox:
        """The bounding box of the pixels that change."""
        return self.region.bbox

    def inverse(self) -> LabelPatch:
        """Return the patch that takes this one back."""
        return LabelPatch(self.plane, self.region, self.after, self.before)

    def apply(self, labels: NDArray[Any]) -> None:
        """Write the patch into an array, in place.

        Parameters
        ----------
        labels : (..., H, W) integer
        """
        r0, c0, r1, c1 = self.bbox
        labels[self.plane][r0:r1, c0:c1][self.region.crop] = self.after

    def rebased(self, labels: NDArray[Any]) -> LabelPatch:
        """Return the patch as it would have been made on other labels.

        Parameters
        ----------
        labels : (H, W) integer
            The plane's labels before the patch.
        """
        r0, c0, r1, c1 = self.bbox
        before = labels[r0:r1, c0:c1][self.region.crop]
        return LabelPatch(self.plane, self.region, _compact(before), self.after)

    def write(self, labels: NDArray[Any]) -> None:
        """Write the patch into the labels of its plane, (H, W), in place."""
        r0, c0, r1, c1 = self.bbox
        labels[r0:r1, c0:c1][self.region.crop] = self.after


def _compact(values: NDArray[Any]) -> NDArray[Any]:
    if len(values) and (values == values[0]).all():
        values = values[0].copy()
    compact = np.asarray(values)
    compact.flags.writeable = False
    return compact
