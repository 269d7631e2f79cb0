from __future__ import annotations

import os
import time
from pathlib import Path

import numpy as np
import pytest
import torch

from napari_promise.training import view_cache
from napari_promise.training.view_cache import (
    Target,
    ViewCache,
    default_folder,
    view_key,
)


def _target() -> Target:
    rng = np.random.default_rng(0)
    share = rng.integers(0, 256, (8, 8)).astype(np.uint8)
    return Target((5, 7), share, rng.random((5, 7)) > 0.5)


def _fill(cache: ViewCache, key: str, age: float = 0.0) -> None:
    cache.put(key, "image", [torch.ones(4, 8, 8)])
    path = cache.folder / f"{key}.image.safetensors"
    os.utime(path, (time.time() - age,) * 2)


def test_what_was_kept_is_read_back_as_float16(tmp_path: Path) -> None:
    cache = ViewCache(tmp_path / "views")
    levels = [torch.randn(3, 4, 4), torch.randn(6, 2, 2)]
    cache.put("a", "levels", levels)
    assert cache.has("a", ["levels"])
    assert not cache.has("a", ["image", "levels"])
    again = ViewCache(tmp_path / "views").read("a", "levels")
    for found, wanted in zip(again, levels, strict=True):
        assert torch.equal(found, wanted.half())


def test_masks_are_kept_by_view_and_by_their_own_content(tmp_path: Path) -> None:
    cache, target = ViewCache(tmp_path), _target()
    cache.put_target("a", "f" * 64, target)
    found = cache.target("a", "f" * 64)
    assert found is not None
    assert found.size == (5, 7)
    assert np.array_equal(found.share, target.share)
    assert np.array_equal(found.truth, target.truth)
    assert cache.target("a", "0" * 64) is None


@pytest.mark.parametrize("how", ["cut", "changed", "emptied"])
def test_a_torn_entry_counts_as_absent_and_is_removed(tmp_path: Path, how: str) -> None:
    cache = ViewCache(tmp_path)
    _fill(cache, "a")
    cache.put_target("a", "f" * 64, _target())
    for path in list(tmp_path.iterdir()):
        content = bytearray(path.read_bytes())
        if how == "changed":
            content[-3] ^= 255
        path.write_bytes(content[: {"cut": -9, "changed": None, "emptied": 0}[how]])
    assert not cache.has("a", ["image"])
    assert cache.target("a", "f" * 64) is None
    assert not list(tmp_path.iterdir())


def test_an_entry_that_vanished_is_named_with_the_remedy(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.image\.safetensors is gone.*--resume"):
        ViewCache(tmp_path).read("a", "image")


def test_what_was_used_longest_ago_goes_first(tmp_path: Path) -> None:
    cache = ViewCache(tmp_path, quota=2200)
    for key, age in (("old", 9000), ("older", 10000), ("own", 20000), ("busy", 10)):
        _fill(cache, key, age)
    each = cache.used() // 4
    cache.quota = 4 * each
    cache.make_room(each, keep=["own", "next"])
    kept = [key for key in ("older", "old", "own", "busy") if cache.has(key, ["image"])]
    assert kept == ["old", "own", "busy"]


def test_files_in_use_by_another_run_stay(tmp_path: Path) -> None:
    cache = ViewCache(tmp_path)
    _fill(cache, "busy", age=10)
    cache.quota = cache.used()
    cache.make_room(cache.quota, keep=["next"])
    assert cache.has("busy", ["image"])


def test_a_run_larger_than_the_quota_is_refused_with_the_remedy(tmp_path: Path) -> None:
    cache = ViewCache(tmp_path, quota=10**9)
    with pytest.raises(ValueError, match=r"take 3\.00 GB.*--cache-quota"):
        cache.make_room(3 * 10**9, keep=[])
    ViewCache(tmp_path, quota=None).make_room(10**6, keep=[])


def test_a_full_disk_is_said_with_the_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    cache = ViewCache(tmp_path)
    monkeypatch.setattr(view_cache.os, "replace", full)
    with pytest.raises(ValueError, match="No space left on device.*--cache"):
        cache.put("a", "image", [torch.ones(2, 2, 2)])
    assert not list(tmp_path.iterdir())


def test_leftovers_of_dead_processes_are_swept(tmp_path: Path) -> None:
    dead, alive = tmp_path / ".writing-a", tmp_path / ".writing-b"
    for path, age in ((dead, 9000), (alive, 10)):
        path.write_bytes(b"half")
        os.utime(path, (time.time() - age,) * 2)
    assert ViewCache(tmp_path).used() == 0
    assert not dead.exists()
    assert alive.exists()


def test_a_folder_that_cannot_be_made_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match="choose another with --cache"):
        ViewCache(tmp_path / "file" / "views")


def test_keys_differ_wherever_the_embedding_would() -> None:
    values = ("ab", "0-float32", "cd", 512, 1)
    others = [
        ("ac", *values[1:]),
        ("ab", "1-float32", *values[2:]),
        (*values[:2], "ce", *values[3:]),
        (*values[:3], 1024, 1),
        (*values[:4], 2),
    ]
    keys = {view_key(*each) for each in [values, *others]}
    assert len(keys) == 6
    assert view_key(*values) in keys


def test_views_lie_in_the_users_cache(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NAPARI_PROMISE_CACHE", "/elsewhere")
    assert default_folder() == Path("/elsewhere/views")
