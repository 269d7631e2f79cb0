"""Volumes and longest diameters of objects through planes."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.document import (
    ObjectRecord,
    Region,
    farthest_apart,
    longest_diameter,
    volume_ml,
)


def record(plane: int, mask: np.ndarray) -> ObjectRecord:
    return ObjectRecord(plane + 1, (plane,), region=Region.from_mask(mask), label=1)


def test_the_volume_counts_the_voxels_of_all_planes_in_millilitres() -> None:
    mask = np.zeros((20, 30), bool)
    mask[4:14, 6:16] = True
    records = tuple(record(n, mask) for n in range(4))
    assert volume_ml(records, (5.0, 2.0, 1.0)) == pytest.approx(4.0)


def test_the_longest_diameter_is_that_of_the_spaced_pixels() -> None:
    mask = np.zeros((20, 30), bool)
    mask[2, 3] = mask[6, 6] = True
    records = [record(0, mask), record(6, mask)]
    # (2, 3) on plane 0 to (6, 6) on plane 6: 12, 4 and 3 apart.
    assert longest_diameter(records, (2.0, 1.0, 1.0)) == pytest.approx(13.0)


def test_the_longest_diameter_of_a_large_object_is_right_to_a_thousandth() -> None:
    z, r, c = np.ogrid[:41, :101, :81]
    solid = ((z - 20) / 18) ** 2 + ((r - 50) / 45) ** 2 + ((c - 40) / 31) ** 2 <= 1
    records = [record(n, plane) for n, plane in enumerate(solid) if plane.any()]
    assert longest_diameter(records, (1.0, 1.0, 1.0)) == pytest.approx(90, rel=1e-3)


def test_nothing_has_no_diameter() -> None:
    assert longest_diameter([], (1.0, 1.0, 1.0)) == 0
    assert farthest_apart(np.zeros((1, 3))) == 0
