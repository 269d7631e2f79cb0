"""Regions to test with."""

from __future__ import annotations

import numpy as np

from napari_promise.document import Region


def rectangle(shape: tuple[int, int], r0: int, c0: int, r1: int, c1: int) -> Region:
    """A filled rectangle on a plane of this shape; half-open, as slices are."""
    mask = np.zeros(shape, bool)
    mask[r0:r1, c0:c1] = True
    region = Region.from_mask(mask)
    assert region is not None
    return region
