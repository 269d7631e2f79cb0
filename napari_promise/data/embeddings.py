"""Keep image embeddings in memory and on disk, so that nothing is encoded twice.

Named arrays in, named arrays out, under a key of two strings: the digest of the pixels
SAM saw (`planes.digest`) and the model that saw them.

On disk an entry is one folder, ``<digest>-<model>.embedding``, with one zarr array a
name and an ``entry.json`` that holds the key, the checksums and the small values:

1. It is written under a temporary name in the same folder, then renamed, so a reader
   in any process finds the whole entry or none.
2. It is checked when read: zarr fills missing chunks with zeros without a word, so each
   array carries a CRC-32. What fails is removed and counts as absent.
3. Reading it touches ``entry.json``; where the quota is exceeded, the entries touched
   longest ago go first.

Arrays are stored as one uncompressed chunk: float16 embeddings shrink by 5 % at most,
and reading 2 MB takes about 3 ms so, 5 ms with zstd (two cores, page cache warm).
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
import warnings
import zlib
from collections import OrderedDict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_promise.data.disk_cache import (
    CacheEntry,
    discard,
    evict,
    sweep,
    temporary_name,
)
from napari_promise.files import one_line, parse_json, user_folder

__all__ = ["EmbeddingCache", "Key", "default_folder", "key_of"]

Key = tuple[str, str]
Arrays = dict[str, npt.NDArray[Any]]

MEGABYTE = 2**20
_SUFFIX = ".embedding"
_FORMAT = 1
#: After this many writes the folder is measured again, other processes write there too.
_MEASURE_EVERY = 32


def default_folder() -> Path:
    """Return the user's cache folder for embeddings (not created).

    The environment variable ``NAPARI_PROMISE_CACHE`` overrides the user's cache.
    """
    override = os.environ.get("NAPARI_PROMISE_CACHE")
    base = Path(override).expanduser() if override else user_folder("cache")
    return base / "embeddings"


class HasWeights(Protocol):
    """What makes embeddings, as far as their name is concerned."""

    @property
    def model_id(self) -> str:
        """The model's name."""

    @property
    def sha256(self) -> str:
        """The hash of the model's file."""


def key_of(digest: str, segmenter: HasWeights) -> Key:
    """Return the key of an embedding.

    Parameters
    ----------
    digest : str
        Of the pixels, see `planes.digest`.
    segmenter : Segmenter
        Or anything that knows its model's name and hash, and perhaps in which mode it
        encodes: embeddings of another mode have other numbers.
    """
    name = f"{segmenter.model_id}-{segmenter.sha256[:12]}"
    mode = getattr(segmenter, "encoder_mode", "stock")
    return digest, name if mode == "stock" else f"{name}-{mode}"


class EmbeddingCache:
    """A least-recently-used cache in memory with a second one on disk.

    Safe to use from several threads, and several processes may share the folder.

    Parameters
    ----------
    folder : path, optional
        Where entries are kept between sessions; ``None`` keeps them in memory only.
        Created on the first write.
    memory_bytes, disk_bytes : int
        Quotas. An entry larger than a quota is not kept there.
    on_warning : callable, optional
        Called once with one line when the disk cannot be written; the cache then goes
        on in memory. By default a `RuntimeWarning` is issued.

    Examples
    --------
    >>> cache = EmbeddingCache()
    >>> cache.put(("pixels", "model"), {"image": np.zeros((1, 4, 2, 2), np.float32)})
    >>> cache.get(("pixels", "model"))["image"].dtype
    dtype('float16')
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        memory_bytes: int = 512 * MEGABYTE,
        disk_bytes: int = 4096 * MEGABYTE,
        on_warning: Callable[[str], None] | None = None,
    ) -> None:
        self._folder = None if folder is None else Path(folder)
        self.memory_bytes = int(memory_bytes)
        self._disk_bytes = int(disk_bytes)
        self._on_warning = on_warning or _warn
        self._memory: OrderedDict[Key, Arrays] = OrderedDict()
        self._memory_used = 0
        self._disk_used: int | None = None
        self._writes_until_measured = 0
        self._disk_failed = False
        self._lock = threading.RLock()

    @property
    def folder(self) -> Path | None:
        """Where entries are kept; ``None`` for memory only. May be set at any time."""
        return self._folder

    @folder.setter
    def folder(self, folder: str | os.PathLike[str] | None) -> None:
        with self._lock:
            self._folder = None if folder is None else Path(folder)
            self._disk_used = None
            self._disk_failed = False

    @property
    def disk_bytes(self) -> int:
        """The quota on disk; lowering it evicts at once."""
        return self._disk_bytes

    @disk_bytes.setter
    def disk_bytes(self, value: int) -> None:
        with self._lock:
            self._disk_bytes = int(value)
            self._keep_disk_quota(measure=True)

    def get(self, key: Key) -> Arrays | None:
        """Return the arrays under a key, or ``None``.

        Parameters
        ----------
        key : (str, str)
            See `key_of`.

        Returns
        -------
        dict of str to array, or None
            Floats as float16. The arrays are read-only: they are shared with every
            later caller.
        """
        with self._lock:
            found = self._memory.get(key)
            if found is not None:
                self._memory.move_to_end(key)
        if found is not None:
            # On disk too this was a use: what is worked on must not be evicted there.
            _touch(self._entry(key))
            return dict(found)
        found = self._read(key)
        if found is not None:
            with self._lock:
                self._remember(key, found)
            return dict(found)
        return None

    def put(
        self,
        key: Key,
        arrays: Mapping[str, npt.ArrayLike],
        meta: Mapping[str, Any] | None = None,
    ) -> None:
        """Keep arrays under a key, in memory and on disk.

        Parameters
        ----------
        key : (str, str)
            See `get`.
        arrays : mapping of str to array
            Floats are rounded to float16; integers, bools and strings stay as they
            are. Names must be usable as file names.
        meta : mapping, optional
            Anything JSON can hold, written beside the arrays for people to read (the
            image's name, say).

        Raises
        ------
        ValueError
            If a name is no file name or a type cannot be stored.
        """
        stored = {name: _as_stored(name, array) for name, array in arrays.items()}
        with self._lock:
            self._remember(key, stored)
        self._write(key, stored, dict(meta or {}))

    def __contains__(self, key: Key) -> bool:
        with self._lock:
            if key in self._memory:
                return True
        entry = self._entry(key)
        return entry is not None and (entry / "entry.json").is_file()

    def size(self) -> tuple[int, int]:
        """Return how many bytes are used in memory and on disk."""
        with self._lock:
            return self._memory_used, sum(entry.size for entry in self._entries())

    def clear(self) -> None:
        """Forget everything, in memory and on disk (entries only, nothing else)."""
        with self._lock:
            self._memory.clear()
            self._memory_used = 0
            for entry in self._entries():
                discard(entry.path)
            if self._folder is not None:
                sweep(self._folder)
            self._disk_used = None
            self._disk_failed = False

    # Memory

    def _remember(self, key: Key, arrays: Arrays) -> None:
        size = sum(array.nbytes for array in arrays.values())
        previous = self._memory.pop(key, None)
        if previous is not None:
            self._memory_used -= sum(array.nbytes for array in previous.values())
        if size > self.memory_bytes:
            return
        self._memory[key] = arrays
        self._memory_used += size
        while self._memory_used > self.memory_bytes:
            _, oldest = self._memory.popitem(last=False)
            self._memory_used -= sum(array.nbytes for array in oldest.values())

    # Disk

    def _entry(self, key: Key) -> Path | None:
        folder = self._folder  # another thread may change it
        if folder is None:
            return None
        pixels, model = (
            hashlib.blake2b(part.encode(), digest_size=8).hexdigest() for part in key
        )
        return folder / f"{pixels}-{model}{_SUFFIX}"

    def _read(self, key: Key) -> Arrays | None:
        entry = self._entry(key)
        if entry is None:
            return None
        try:
            arrays = _read_entry(entry, key)
        except FileNotFoundError:
            if not entry.exists():
                return None
            arrays = None
        except PermissionError:
            return None
        except Exception:
            # Whatever zarr or JSON make of damaged bytes: the entry is worth nothing.
            arrays = None
        if arrays is None:
            discard(entry)
            return None
        _touch(entry)
        return arrays

    def _write(self, key: Key, arrays: Arrays, meta: dict[str, Any]) -> None:
        entry = self._entry(key)
        if entry is None or self._disk_failed:
            return
        folder = entry.parent
        if sum(array.nbytes for array in arrays.values()) > self._disk_bytes:
            return
        temporary = temporary_name(folder)
        try:
            temporary.mkdir(parents=True)
            size = _write_entry(temporary, key, arrays, meta)
            _replace_folder(temporary, entry)
        except OSError as error:
            discard(temporary)
            with self._lock:
                warned, self._disk_failed = self._disk_failed, True
            if not warned:
                self._on_warning(
                    f"Embeddings cannot be kept in {folder} "
                    f"({one_line(error)}) and stay in memory only: free disk "
                    "space there or choose another folder."
                )
            return
        with self._lock:
            if self._disk_used is not None:
                self._disk_used += size
            self._writes_until_measured -= 1
            self._keep_disk_quota(measure=self._writes_until_measured <= 0)

    def _keep_disk_quota(self, measure: bool) -> None:
        """Evict what was used longest ago; call with the lock held."""
        if self.folder is None:
            return
        known = self._disk_used
        if not measure and known is not None and known <= self._disk_bytes:
            return
        sweep(self.folder)
        self._disk_used = evict(self._entries(), self._disk_bytes)
        self._writes_until_measured = _MEASURE_EVERY

    def _entries(self) -> Iterator[CacheEntry]:
        """Yield every entry on disk."""
        folder = self._folder
        try:
            paths = [] if folder is None else list(folder.glob(f"*{_SUFFIX}"))
        except OSError:
            return
        for path in paths:
            try:
                status = (path / "entry.json").stat()
                size = sum(
                    file.stat().st_size for file in path.rglob("*") if file.is_file()
                )
            except OSError:  # being removed by another process, or damaged
                if path.exists():
                    yield CacheEntry(0.0, 0, path)
                continue
            yield CacheEntry(status.st_mtime, size, path)


def _warn(message: str) -> None:
    warnings.warn(message, RuntimeWarning, stacklevel=2)


def _as_stored(name: str, array: npt.ArrayLike) -> npt.NDArray[Any]:
    if not name.isidentifier():
        raise ValueError(f"An array must be named like a variable, not {name!r}.")
    stored = np.array(array)
    if stored.dtype.kind == "f":
        stored = stored.astype(np.float16)
    elif stored.dtype.kind not in "biuU":
        raise ValueError(
            f"The array {name!r} of type {stored.dtype} cannot be cached: pass "
            "numbers, bools or strings."
        )
    stored = np.ascontiguousarray(stored).reshape(stored.shape)
    stored.setflags(write=False)
    return stored


def _write_entry(folder: Path, key: Key, arrays: Arrays, meta: dict[str, Any]) -> int:
    """Write every file of an entry; return their bytes, the file system's own aside."""
    described: dict[str, Any] = {}
    for name, array in arrays.items():
        if array.dtype.kind != "f":
            described[name] = {"dtype": array.dtype.str, "values": array.tolist()}
            continue
        described[name] = {"crc32": zlib.crc32(array.reshape(-1).view(np.uint8).data)}
        _write_array(folder / name, array)
    text = json.dumps(
        {
            "format": _FORMAT,
            "key": list(key),
            "arrays": described,
            "crc32": _sum_of(described),
            "meta": meta,
        }
    )
    (folder / "entry.json").write_text(text, encoding="utf-8")
    return sum(array.nbytes for array in arrays.values()) + len(text)


def _write_array(path: Path, array: npt.NDArray[Any]) -> None:
    import zarr

    # A chunk holds at least one element, even of an axis of length zero.
    chunks = tuple(max(1, length) for length in array.shape)
    layout: dict[str, Any] = {
        "shape": array.shape,
        "chunks": chunks,
        "dtype": array.dtype,
    }
    if hasattr(zarr, "create_array"):
        target = zarr.create_array(str(path), compressors=None, **layout)
    else:  # zarr 2, the last one for Python 3.10
        target = zarr.open_array(str(path), mode="w", compressor=None, **layout)
    target[...] = array


def _read_entry(folder: Path, key: Key) -> Arrays | None:
    """Return an entry's arrays, or ``None`` where they are not what was written."""
    import zarr

    entry = parse_json((folder / "entry.json").read_text(encoding="utf-8"))
    if not 1 <= entry["format"] <= _FORMAT or entry["key"] != list(key):
        return None
    # Version 0.1 wrote none; a size that is wrong by a digit puts masks elsewhere.
    if entry.get("crc32", _sum_of(entry["arrays"])) != _sum_of(entry["arrays"]):
        return None
    arrays: Arrays = {}
    for name, described in entry["arrays"].items():
        if "values" in described:
            array = np.array(described["values"], dtype=described["dtype"])
        else:
            array = np.asarray(zarr.open_array(str(folder / name), mode="r")[...])
            flat = np.ascontiguousarray(array).reshape(-1)
            if zlib.crc32(flat.view(np.uint8).data) != described["crc32"]:
                return None
        array.setflags(write=False)
        arrays[name] = array
    return arrays


def _sum_of(described: Mapping[str, Any]) -> int:
    return zlib.crc32(json.dumps(described, sort_keys=True).encode())


def _replace_folder(temporary: Path, entry: Path) -> None:
    """Put a whole entry in place; where another process was faster, keep either."""
    try:
        temporary.rename(entry)
    except OSError:
        # No system renames onto a folder that has content. The key names the content,
        # so what is there is the same arrays, unless it is damaged.
        if not entry.exists():
            raise
        discard(entry)
        try:
            temporary.rename(entry)
        except OSError:
            if not entry.exists():
                raise
            discard(temporary)


def _touch(entry: Path | None) -> None:
    if entry is None:
        return
    try:
        os.utime(entry / "entry.json")
    except OSError:  # not on disk, or read-only: then nothing is evicted either
        return
