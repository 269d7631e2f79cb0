"""Outlines as QuPath reads them."""

from __future__ import annotations

import json

import numpy as np
import pytest
from skimage.draw import polygon2mask

from napari_promise.data.geojson import extents, rings_of, save_geojson
from napari_promise.data.label_store import LabelStore


def area(ring) -> float:
    x, y = np.array(ring, float).T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)


@pytest.mark.parametrize("seed", range(5))
def test_the_polygons_of_a_ragged_mask_hold_exactly_its_pixels(seed):
    mask = np.random.default_rng(seed).random((23, 31)) < 0.6
    drawn = np.zeros(mask.shape, bool)
    for part in rings_of(mask):
        outline, *holes = part
        assert area(outline) > 0
        assert all(area(hole) < 0 for hole in holes)
        for ring in part:
            assert ring[0] == ring[-1]
            inner = [tuple(point) for point in ring[:-1]]
            assert len(set(inner)) == len(inner)  # touches itself nowhere
            # Corners at the integers: the middle of a pixel is half a pixel inside.
            corners = np.array(ring, float)[:, ::-1] - 0.5
            drawn ^= polygon2mask(mask.shape, corners)
    np.testing.assert_array_equal(drawn, mask)
    total = sum(area(ring) for part in rings_of(mask) for ring in part)
    assert total == mask.sum()


def _labels() -> np.ndarray:
    labels = np.zeros((60, 50), np.uint16)
    labels[10:30, 5:25] = 3
    labels[15:20, 10:15] = 0  # a hole
    labels[40:44, 30:36] = labels[50:52, 30:36] = 7  # two parts
    return labels


def test_features_carry_classes_holes_and_parts(tmp_path):
    path = save_geojson(
        tmp_path / "a.geojson", _labels(), classes={3: "Tumor"}, scores={7: 0.75}
    )
    features = json.loads(path.read_text())["features"]
    first, second = features
    assert first["properties"]["objectType"] == "annotation"
    assert first["properties"]["classification"]["name"] == "Tumor"
    assert len(first["properties"]["classification"]["color"]) == 3
    outline, hole = first["geometry"]["coordinates"]
    assert sorted(map(tuple, outline[:-1])) == [(5, 10), (5, 30), (25, 10), (25, 30)]
    assert len(hole) == 5
    assert second["geometry"]["type"] == "MultiPolygon"
    assert second["properties"]["measurements"] == {"score": 0.75}


def test_an_object_across_tiles_is_one_feature(tmp_path):
    store = LabelStore((5000, 4000))
    store.write((), (2000, 2000, 2100, 2100), np.full((100, 100), 2, np.uint32))
    assert extents(store) == {((), 2): (2000, 2000, 2100, 2100)}
    path = save_geojson(tmp_path / "a.geojson", store)
    (feature,) = json.loads(path.read_text())["features"]
    (ring,) = feature["geometry"]["coordinates"]
    assert area(ring) == 100 * 100


def test_planes_of_a_stack_are_named(tmp_path):
    labels = np.stack([np.zeros((60, 50), np.uint16), _labels()])
    path = save_geojson(tmp_path / "a.geojson", labels)
    planes = [f["geometry"]["plane"] for f in json.loads(path.read_text())["features"]]
    assert planes == [{"c": -1, "z": 1, "t": 0}] * 2


def test_a_file_that_is_there_is_left_as_it_was(tmp_path):
    path = tmp_path / "a.geojson"
    path.write_text("mine")
    with pytest.raises(FileExistsError):
        save_geojson(path, _labels())
    assert path.read_text() == "mine"
