"""Objects measured from label images, and their table."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest

from napari_promise.data.measurements import COLUMNS, measured, save_measurements


def stack() -> np.ndarray:
    labels = np.zeros((6, 20, 30), np.uint16)
    labels[1:5, 2:12, 3:13] = 4
    labels[3, 15:17, 20:25] = 9
    return labels


def test_an_object_on_several_planes_is_one_row_with_its_volume() -> None:
    first, second = measured(stack(), scale=(5, 2, 1), unit="mm", classes={4: "liver"})
    assert (first["object"], first["class"]) == (4, "liver")
    assert (first["planes"], first["first_plane"], first["last_plane"]) == (4, 1, 4)
    assert first["volume_ml"] == pytest.approx(4.0)
    # Corners 3 planes, 9 rows and 9 columns apart.
    across = float(np.hypot(15, np.hypot(18, 9)))
    assert first["longest_diameter_mm"] == pytest.approx(across, abs=0.01)
    assert second["area_mm2"] == pytest.approx(20)


def test_without_a_unit_of_length_only_pixels_are_counted() -> None:
    first, _ = measured(stack(), scale=(5, 2, 1), unit="pixel")
    assert first["pixels"] == 400
    assert first["volume_ml"] == first["longest_diameter_mm"] == ""


def test_a_picture_has_areas_and_no_volumes() -> None:
    (row,) = measured(stack()[1], scale=(0.2, 0.1), unit="cm")
    assert row["area_mm2"] == pytest.approx(200)
    assert row["volume_ml"] == ""


def test_a_table_is_written_whole_and_replaces_nothing_unasked(
    tmp_path: Path,
) -> None:
    path = save_measurements(tmp_path / "sizes.csv", stack(), scores={9: 0.5})
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert tuple(rows[0]) == COLUMNS
    assert [row["score"] for row in rows] == ["", "0.5"]
    with pytest.raises(FileExistsError):
        save_measurements(path, stack())
