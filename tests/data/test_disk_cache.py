"""What keeps a folder of remade things small: eviction, sweeping, whole removal."""

import os
import time

import pytest

from napari_promise.data.disk_cache import (
    CacheEntry,
    discard,
    evict,
    sweep,
    temporary_name,
)


@pytest.fixture
def entries(tmp_path) -> list[CacheEntry]:
    """Three of 10 bytes; a folder, used longest ago, and two files."""
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "part").write_bytes(b"0123456789")
    for name in "bc":
        (tmp_path / name).write_bytes(b"0123456789")
    return [CacheEntry(float(at), 10, tmp_path / name) for at, name in enumerate("abc")]


def left(folder) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_what_was_used_longest_ago_is_removed_until_the_rest_fits(tmp_path, entries):
    assert evict(reversed(entries), 29) == 20
    assert left(tmp_path) == ["b", "c"]
    assert evict(entries[1:], 20) == 20
    assert left(tmp_path) == ["b", "c"]


def test_what_has_to_stay_stays_though_it_does_not_fit(tmp_path, entries):
    assert evict(entries, 5, stays=lambda entry: entry.path.name == "a") == 10
    assert left(tmp_path) == ["a"]


def test_only_old_leftovers_are_swept(tmp_path, entries):
    old, young = temporary_name(tmp_path), temporary_name(tmp_path)
    old.mkdir()
    (old / "half").write_bytes(b"0")
    young.write_bytes(b"0")
    os.utime(old, (time.time() - 9000,) * 2)
    sweep(tmp_path)
    assert left(tmp_path) == sorted(["a", "b", "c", young.name])
    sweep(tmp_path / "missing")


def test_what_is_gone_already_can_be_removed(tmp_path):
    discard(tmp_path / "gone")
    assert left(tmp_path) == []
