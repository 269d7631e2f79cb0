"""Labels as OME-Zarr, and the store that they are kept in."""

from __future__ import annotations

import json

import numpy as np
import pytest
import zarr

from napari_promise.data.label_store import LabelStore
from napari_promise.data.ome_zarr_labels import save_ome_zarr_labels
from napari_promise.data.pyramids import open_pyramid


def _store() -> LabelStore:
    store = LabelStore((5001, 3003))
    store.write((), (2040, 100, 2060, 140), np.full((20, 40), 5, np.uint32))
    store.write((), (5000, 3002, 5001, 3003), np.full((1, 1), 9, np.uint32))
    return store


def test_every_level_of_a_store_shows_every_object():
    store = _store()
    assert [level.shape for level in store.levels] == [(5001, 3003), (1251, 751)]
    for level in store.levels:
        assert set(np.unique(level[...])) == {0, 5, 9}
    store.write((), (2040, 100, 2060, 140), np.zeros((20, 40), np.uint32))
    assert set(np.unique(store.levels[1][...])) == {0, 9}


def test_a_copy_of_a_store_stays_as_it_was():
    store = _store()
    twin = store.copy()
    store.write((), (0, 0, 10, 10), np.full((10, 10), 4, np.uint32))
    assert not twin[()][0:10, 0:10].any()
    np.testing.assert_array_equal(
        twin[()][2030:2070, 90:150] > 0, np.pad(np.ones((20, 40), bool), 10)
    )


def test_labels_written_as_ome_zarr_open_again_where_they_were(tmp_path):
    store = _store()
    path = save_ome_zarr_labels(
        tmp_path / "a.labels.zarr",
        store,
        scale=(0.25, 0.25),
        unit="um",
        classes={5: "gland"},
        metadata={"model": "m"},
    )
    opened = open_pyramid(path)
    assert opened is not None
    assert (opened.place.scale, opened.place.unit) == ((0.25, 0.25), "um")
    np.testing.assert_array_equal(opened.plane_pixels(()), np.asarray(store))
    noted = dict(zarr.open_group(path, mode="r").attrs)
    assert noted["image-label"]["properties"] == [{"label-value": 5, "class": "gland"}]
    assert len(noted["multiscales"][0]["datasets"]) == 2
    assert json.loads((path / "provenance.json").read_text())["model"] == "m"
    assert [each.name for each in tmp_path.iterdir()] == ["a.labels.zarr"]


def test_a_folder_that_is_no_zarr_is_never_replaced(tmp_path):
    folder = tmp_path / "a.zarr"
    folder.mkdir()
    (folder / "mine.txt").write_text("mine")
    with pytest.raises(FileExistsError, match="choose another name"):
        save_ome_zarr_labels(folder, np.ones((4, 4), np.uint8), overwrite=True)
    assert (folder / "mine.txt").read_text() == "mine"


def test_labels_that_are_there_are_replaced_where_that_was_agreed_to(tmp_path):
    path = save_ome_zarr_labels(tmp_path / "a.zarr", np.ones((8, 8), np.uint8))
    with pytest.raises(FileExistsError, match="agree to replace it"):
        save_ome_zarr_labels(path, np.ones((4, 4), np.uint8))
    save_ome_zarr_labels(path, np.ones((4, 4), np.uint8), overwrite=True)
    assert zarr.open_group(path, mode="r")["0"].shape == (4, 4)
