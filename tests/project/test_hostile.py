"""Work with a right checksum and absurd content is set aside, never followed."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.document import Document
from napari_promise.project import store as store_module
from napari_promise.project.store import ItemStore
from tests.project.test_versions import rewrite


@pytest.fixture
def store(tmp_path) -> ItemStore:
    labels = np.zeros((3, 20, 30), np.uint16)
    labels[1, 2:5, 2:5] = 7
    store = ItemStore(tmp_path)
    store.write({"key": "a.tif"}, labels, Document().snapshot())
    return store


def test_planes_come_back_where_they_were(store):
    saved = store.read()
    assert saved is not None
    assert saved.labels is not None
    assert saved.labels.shape == (3, 20, 30)
    assert np.unique(saved.labels[1]).tolist() == [0, 7]
    assert not saved.labels[[0, 2]].any()


@pytest.mark.parametrize(
    "about",
    [
        {"shape": [3, 4, 20, 30], "type": "<u2"},
        {"shape": [3, 20, 31], "type": "<u2"},
        {"shape": [10**15, 0, 0], "type": "<u2"},
        {"shape": [1, 20, 30], "type": "<u2"},
        {"shape": [3, 20, 30], "type": "|O"},
        {"shape": [-1, 20, 30], "type": "<u2"},
        [[[]]],
    ],
)
def test_a_shape_that_the_planes_do_not_have_is_damage(store, about):
    path = store.folder / "work.zip"
    rewrite(path, "labels.json", lambda _: about)
    saved = store.read()
    assert saved is not None
    assert saved.labels is None
    assert "was set aside" in saved.notes[0]


def test_work_too_large_for_the_memory_stays_where_it_is(store, monkeypatch):
    def allocate(*_: object) -> None:
        raise MemoryError

    monkeypatch.setattr(store_module.np, "zeros", allocate)
    with pytest.raises(ValueError, match=r"work\.zip needs more memory .* left as it"):
        store.read()
    assert [path.name for path in store.folder.glob("work.zip*")] == ["work.zip"]


def test_a_record_that_is_no_record_is_damage(store):
    path = store.folder / "work.zip"
    rewrite(path, "item.json", lambda _: 1)
    saved = store.read()
    assert saved is not None
    assert "was set aside" in saved.notes[0]
