"""Embeddings found again: in memory, on disk, after damage, across processes."""

import errno
import json
import os
import subprocess
import sys
import threading
import time
import warnings

import numpy as np
import pytest

from napari_promise.data import embeddings
from napari_promise.data.embeddings import EmbeddingCache

KEY = ("a" * 32, "promise-tiny@0123456789ab")


def some_arrays(seed: int = 0, channels: int = 8) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "image": rng.normal(size=(1, channels, 16, 16)).astype(np.float32),
        "level_0": rng.normal(size=(1, channels, 8, 8)).astype(np.float16),
        "original_size": np.array([480, 640]),
        "model_id": np.array("promise-tiny"),
    }


def entry_of(folder):
    (entry,) = folder.glob("*.embedding")
    return entry


def same(found, arrays) -> bool:
    return found is not None and all(
        np.array_equal(found[name], array.astype(np.float16))
        if array.dtype.kind == "f"
        else np.array_equal(found[name], array)
        for name, array in arrays.items()
    )


def set_age(entry, seconds: float) -> None:
    then = time.time() - seconds
    os.utime(entry / "entry.json", (then, then))


def test_what_was_put_is_found_in_memory_as_float16():
    cache = EmbeddingCache()
    cache.put(KEY, some_arrays())
    found = cache.get(KEY)
    assert same(found, some_arrays())
    assert found["image"].dtype == np.float16
    assert found["model_id"].item() == "promise-tiny"


def test_another_session_finds_it_on_disk(tmp_path):
    EmbeddingCache(tmp_path / "cache").put(KEY, some_arrays(), {"image": "frame_012"})
    later = EmbeddingCache(tmp_path / "cache")
    assert KEY in later
    found = later.get(KEY)
    assert same(found, some_arrays())
    assert found["original_size"].dtype == some_arrays()["original_size"].dtype


def test_disk_and_memory_return_the_same_bits(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.put(KEY, some_arrays())
    in_memory = cache.get(KEY)
    on_disk = EmbeddingCache(tmp_path).get(KEY)
    for name, array in in_memory.items():
        assert array.dtype == on_disk[name].dtype
        assert array.tobytes() == on_disk[name].tobytes()


def test_another_image_or_model_is_not_found(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.put(KEY, some_arrays())
    assert cache.get(("b" * 32, KEY[1])) is None
    assert cache.get((KEY[0], "vit_b@0123456789ab")) is None


def test_cached_arrays_cannot_be_changed_by_a_caller(tmp_path):
    cache = EmbeddingCache(tmp_path)
    arrays = some_arrays()
    cache.put(KEY, arrays)
    arrays["image"][:] = 0
    for source in (cache, EmbeddingCache(tmp_path)):
        with pytest.raises(ValueError, match="read-only"):
            source.get(KEY)["image"][:] = 1
    assert same(cache.get(KEY), some_arrays())


def test_memory_drops_what_was_used_longest_ago():
    cache = EmbeddingCache()
    cache.put(KEY, some_arrays())
    size = cache.size()[0]
    cache = EmbeddingCache(memory_bytes=2 * size)
    for name in "ab":
        cache.put((name, "m"), some_arrays())
    cache.get(("a", "m"))
    cache.put(("c", "m"), some_arrays())
    assert cache.get(("a", "m")) is not None
    assert cache.get(("b", "m")) is None
    assert cache.size() == (2 * size, 0)


def test_putting_twice_counts_once():
    cache = EmbeddingCache()
    cache.put(KEY, some_arrays())
    before = cache.size()
    cache.put(KEY, some_arrays(1))
    assert cache.size() == before
    assert same(cache.get(KEY), some_arrays(1))


def test_an_entry_larger_than_the_memory_quota_lives_on_disk(tmp_path):
    cache = EmbeddingCache(tmp_path, memory_bytes=10)
    cache.put(KEY, some_arrays())
    assert cache.size()[0] == 0
    assert same(cache.get(KEY), some_arrays())


def test_the_disk_quota_evicts_what_was_used_longest_ago(tmp_path):
    cache = EmbeddingCache(tmp_path, memory_bytes=0)
    sizes, previous = {}, 0
    for name in "abcd":
        cache.put((name, "m"), some_arrays())
        sizes[name] = cache.size()[1] - previous
        previous = cache.size()[1]
    for age, name in enumerate("dcba"):
        set_age(cache._entry((name, "m")), 100 + age)
    assert cache.get(("a", "m")) is not None  # the oldest is used again
    cache.disk_bytes = previous - 1
    assert ("b", "m") not in cache
    assert all((name, "m") in cache for name in "acd")
    cache.disk_bytes = 2 * max(sizes.values())
    cache.put(("e", "m"), some_arrays())
    assert [name for name in "abcde" if (name, "m") in cache] == ["a", "e"]
    assert cache.size()[1] <= cache.disk_bytes


def test_use_from_memory_counts_as_use_on_disk(tmp_path):
    cache = EmbeddingCache(tmp_path)
    cache.put(KEY, some_arrays())
    set_age(entry_of(tmp_path), 1000)
    cache.get(KEY)
    assert time.time() - (entry_of(tmp_path) / "entry.json").stat().st_mtime < 100


def test_clear_removes_entries_and_nothing_else(tmp_path):
    cache = EmbeddingCache(tmp_path)
    (tmp_path / "notes.txt").write_text("mine")
    cache.put(KEY, some_arrays())
    assert min(cache.size()) > 0
    cache.clear()
    assert cache.size() == (0, 0)
    assert cache.get(KEY) is None
    assert [path.name for path in tmp_path.iterdir()] == ["notes.txt"]


def chunk_of(entry):
    files = [path for path in (entry / "image").rglob("*") if path.is_file()]
    return max(files, key=lambda path: path.stat().st_size)


def truncate_chunk(entry):
    chunk = chunk_of(entry)
    chunk.write_bytes(chunk.read_bytes()[:-100])


def flip_a_bit(entry):
    data = bytearray(chunk_of(entry).read_bytes())
    data[40] ^= 1
    chunk_of(entry).write_bytes(data)


def drop_chunk(entry):
    chunk_of(entry).unlink()


def drop_description(entry):
    (entry / "entry.json").unlink()


def garble_description(entry):
    (entry / "entry.json").write_text('{"format": 1, "key"')


def rename_key(entry):
    described = json.loads((entry / "entry.json").read_text())
    described["key"][1] = "vit_h@000000000000"
    (entry / "entry.json").write_text(json.dumps(described))


def change_a_size(entry):
    described = json.loads((entry / "entry.json").read_text())
    name = next(k for k, v in described["arrays"].items() if "values" in v)
    described["arrays"][name]["dtype"] = "<U9"
    (entry / "entry.json").write_text(json.dumps(described))


@pytest.mark.parametrize(
    "damage",
    [
        change_a_size,
        truncate_chunk,
        flip_a_bit,
        drop_chunk,
        drop_description,
        garble_description,
        rename_key,
    ],
)
def test_a_damaged_entry_is_ignored_removed_and_replaced(tmp_path, damage):
    EmbeddingCache(tmp_path).put(KEY, some_arrays())
    damage(entry_of(tmp_path))
    cache = EmbeddingCache(tmp_path)
    assert cache.get(KEY) is None
    assert list(tmp_path.iterdir()) == []
    cache.put(KEY, some_arrays())
    assert same(EmbeddingCache(tmp_path).get(KEY), some_arrays())


def test_writing_cut_short_leaves_no_entry(tmp_path, monkeypatch):
    def dies(folder, *args):
        (folder / "image").mkdir()
        raise KeyboardInterrupt

    monkeypatch.setattr(embeddings, "_write_entry", dies)
    with pytest.raises(KeyboardInterrupt):
        EmbeddingCache(tmp_path).put(KEY, some_arrays())
    monkeypatch.undo()
    cache = EmbeddingCache(tmp_path)
    assert cache.get(KEY) is None
    assert KEY not in cache


def test_what_a_dead_process_left_is_swept_when_old(tmp_path):
    fresh, old = tmp_path / ".writing-1-a", tmp_path / ".writing-2-b"
    fresh.mkdir()
    old.mkdir()
    os.utime(old, (0, 0))
    EmbeddingCache(tmp_path).put(KEY, some_arrays())
    assert fresh.exists()
    assert not old.exists()


def test_a_full_disk_warns_once_and_goes_on_in_memory(tmp_path, monkeypatch):
    def full(*args):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(embeddings, "_write_entry", full)
    messages = []
    cache = EmbeddingCache(tmp_path, on_warning=messages.append)
    cache.put(KEY, some_arrays())
    cache.put(("b", "m"), some_arrays(1))
    assert same(cache.get(KEY), some_arrays())
    assert same(cache.get(("b", "m")), some_arrays(1))
    assert len(messages) == 1
    assert "No space left" in messages[0]
    assert str(tmp_path) in messages[0]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_cannot_be_made_warns_by_default(tmp_path):
    (tmp_path / "file").write_text("")
    cache = EmbeddingCache(tmp_path / "file" / "cache")
    with pytest.warns(RuntimeWarning, match="stay in memory only"):
        cache.put(KEY, some_arrays())
    assert same(cache.get(KEY), some_arrays())


def test_threads_share_one_cache(tmp_path):
    cache = EmbeddingCache(tmp_path, memory_bytes=20_000, disk_bytes=60_000)
    failures = []

    def work(seed: int) -> None:
        try:
            for step in range(8):
                key = (str((seed + step) % 5), "m")
                cache.put(key, some_arrays((seed + step) % 5))
                found = cache.get(key)
                if found is not None and not same(found, some_arrays(int(key[0]))):
                    failures.append(key)
        except Exception as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(4)]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert sum(a.nbytes for arrays in cache._memory.values() for a in arrays.values())
    assert cache.size()[0] <= 20_000


PROCESS = """
import sys, numpy as np
from napari_promise.data.embeddings import EmbeddingCache
cache = EmbeddingCache(sys.argv[1], memory_bytes=0, disk_bytes=200_000,
                       on_warning=lambda message: sys.exit(message))
for step in range(25):
    value = step % 6
    key = (str(value), "m")
    cache.put(key, {"image": np.full((1, 8, 32, 32), value, np.float16)})
    found = cache.get(key)
    assert found is None or (found["image"] == value).all()
    if step == 12:
        cache.clear()
"""


@pytest.mark.slow
def test_processes_share_one_folder(tmp_path):
    workers = [
        subprocess.Popen([sys.executable, "-c", PROCESS, str(tmp_path)])
        for _ in range(2)
    ]
    assert [worker.wait() for worker in workers] == [0, 0]
    cache = EmbeddingCache(tmp_path)
    found = [cache.get((str(value), "m")) for value in range(6)]
    for value, arrays in enumerate(found):
        assert arrays is None or (arrays["image"] == value).all()
    assert any(arrays is not None for arrays in found)


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"../evil": np.zeros(3)}, "named like a variable"),
        ({"image": np.zeros(3, complex)}, "cannot be cached"),
    ],
)
def test_what_cannot_be_stored_is_refused(tmp_path, arrays, message):
    with pytest.raises(ValueError, match=message):
        EmbeddingCache(tmp_path).put(KEY, arrays)
    assert list(tmp_path.iterdir()) == []


def test_the_default_folder_follows_the_environment(tmp_path, monkeypatch):
    monkeypatch.setenv("NAPARI_PROMISE_CACHE", str(tmp_path))
    assert embeddings.default_folder() == tmp_path / "embeddings"
    assert not embeddings.default_folder().exists()


def test_the_disk_can_be_left_and_taken_up_again(tmp_path):
    cache = EmbeddingCache(tmp_path / "a", memory_bytes=0)
    cache.put(KEY, some_arrays())
    cache.folder = None
    assert cache.get(KEY) is None
    cache.put(("b", "m"), some_arrays())
    cache.folder = tmp_path / "a"
    assert same(cache.get(KEY), some_arrays())
    assert cache.get(("b", "m")) is None


def test_another_folder_is_tried_after_one_that_failed(tmp_path):
    (tmp_path / "file").write_text("")
    messages = []
    cache = EmbeddingCache(tmp_path / "file" / "no", 0, on_warning=messages.append)
    cache.put(KEY, some_arrays())
    cache.folder = tmp_path / "yes"
    cache.put(KEY, some_arrays())
    assert len(messages) == 1
    assert same(cache.get(KEY), some_arrays())
