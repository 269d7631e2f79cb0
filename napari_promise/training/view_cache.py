"""Encoded views on disk, made once and kept for every later run.

An entry is named by what decides it (`view_key`): the image file's bytes, the view,
the base model and its input. Up to four files share the name:

- ``KEY.image.safetensors``: the embedding after the neck, float16;
- ``KEY.levels.safetensors``: the encoder's levels, where a run needs them;
- ``KEY.detail.safetensors``: the stem's detail, for a prompter of many objects;
- ``KEY.MASK.target``: the mask brought to the same view, a few kilobytes; another mask
  of the same image is another file, so that correcting masks encodes nothing.

1. A file is written under a temporary name and renamed: a run killed at any moment
   leaves whole entries, and the next one goes on from there.
2. Every file carries a checksum, looked at once a run; what fails counts as absent.
3. Embeddings are read through memory maps, and reading touches them. Where the quota
   would be exceeded, the entries touched longest ago go first.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import time
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import safetensors.torch
import torch
from numpy.typing import NDArray
from safetensors import SafetensorError, safe_open

from napari_promise.data.disk_cache import CacheEntry, evict, sweep
from napari_promise.data.embeddings import default_folder as embeddings_folder
from napari_promise.files import one_line, write_whole

QUOTA = 20 * 10**9  # bytes
FORMAT = 1
#: Files used so recently (seconds) may belong to a run in another process.
_IN_USE = 3600.0
_PARTS = ("image", "levels", "detail")


def default_folder() -> Path:
    """Return the user's cache folder for training views (not created).

    It lies beside the embeddings of the viewer; ``NAPARI_PROMISE_CACHE`` overrides the
    user's cache.
    """
    return embeddings_folder().parent / "views"


def view_key(
    image_digest: str, view: str, base_sha256: str, image_size: int, recipe: int
) -> str:
    """Name of a view's entry.

    Parameters
    ----------
    image_digest : str
        Of the image file's bytes, hexadecimal.
    view : str
        Which view of the image, the precision of the encoder included.
    base_sha256 : str
        Of the base model.
    image_size : int
        Side of the model's square input.
    recipe : int
        Version of the code that makes views from images.

    Returns
    -------
    str
        40 hexadecimal digits.
    """
    parts = [FORMAT, image_digest, view, base_sha256, image_size, recipe]
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()[:40]


def file_digest(path: Path) -> str:
    """SHA-256 of a file's bytes, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()


@dataclass(frozen=True)
class Target:
    """The mask of one view.

    Attributes
    ----------
    size : tuple of int
        (height, width) of the scaled image in SAM's padded frame.
    share : numpy.ndarray
        (grid, grid) uint8 over the padded frame: share of foreground times 255.
    truth : numpy.ndarray
        (height, width) bool.
    """

    size: tuple[int, int]
    share: NDArray[np.uint8]
    truth: NDArray[np.bool_]

    def to_bytes(self) -> bytes:
        """Everything, compressed, with zlib's own checksum."""
        head = np.array([*self.size, len(self.share)], "<i4").tobytes()
        packed = np.packbits(self.truth).tobytes()
        return zlib.compress(head + self.share.tobytes() + packed, 1)

    @classmethod
    def from_bytes(cls, content: bytes) -> Target:
        """Rebuild from `to_bytes`.

        Raises
        ------
        zlib.error, ValueError
            If the bytes are damaged.
        """
        plain = zlib.decompress(content)
        height, width, grid = np.frombuffer(plain[:12], "<i4").tolist()
        cells = np.frombuffer(plain, np.uint8, grid * grid, 12)
        packed = np.frombuffer(plain, np.uint8, offset=12 + grid * grid)
        truth = np.unpackbits(packed, count=height * width).astype(bool)
        return cls(
            (height, width), cells.reshape(grid, grid), truth.reshape(height, width)
        )


class ViewCache:
    """A folder of encoded views with a quota; several processes may share it.

    Parameters
    ----------
    folder : pathlib.Path
        Made where missing.
    quota : int, optional
        Bytes; None for as much as the disk holds.

    Raises
    ------
    ValueError
        If the folder cannot be made.
    """

    def __init__(self, folder: Path, quota: int | None = QUOTA) -> None:
        self.folder = folder.expanduser()
        self.quota = quota
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise ValueError(
                f"the cache folder {folder} cannot be made ({one_line(error)}): choose "
                "another with --cache"
            ) from error

    # Embeddings

    def has(self, key: str, parts: Iterable[str]) -> bool:
        """Whether all parts of an entry are there and whole; torn ones are removed.

        Parameters
        ----------
        key : str
        parts : iterable of str
            Of ``image`` and ``levels``.
        """
        return all(self._is_whole(self._path(key, part)) for part in parts)

    def put(self, key: str, part: str, tensors: Sequence[torch.Tensor]) -> None:
        """Keep one part of an entry, as float16.

        Parameters
        ----------
        key : str
        part : str
            ``image`` or ``levels``.
        tensors : sequence of torch.Tensor
            (C, h, w) each.

        Raises
        ------
        ValueError
            If the disk is full; the folder is named.
        """
        named = {
            str(index): tensor.detach().to("cpu", torch.float16).contiguous()
            for index, tensor in enumerate(tensors)
        }
        record = {"crc": str(_checksum(named))}
        self._write(self._path(key, part), safetensors.torch.save(named, record))

    def read(self, key: str, part: str) -> tuple[torch.Tensor, ...]:
        """Read one part through a memory map.

        Returns
        -------
        tuple of torch.Tensor
            (C, h, w) float16 each.

        Raises
        ------
        ValueError
            If it is gone.
        """
        path = self._path(key, part)
        try:
            with safe_open(path, "pt") as file:
                tensors = tuple(
                    file.get_tensor(str(i)) for i in range(len(file.keys()))
                )
            os.utime(path)
        except (OSError, SafetensorError) as error:
            raise ValueError(
                f"{path} is gone or damaged since this run began: train again, what is "
                "missing is encoded again (add --resume to go on where it stopped)"
            ) from error
        return tensors

    # Targets

    def target(self, key: str, mask_digest: str) -> Target | None:
        """Read a view's mask; None where it is absent or damaged."""
        path = self.folder / f"{key}.{mask_digest[:16]}.target"
        try:
            found = Target.from_bytes(path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValueError, zlib.error):
            path.unlink(missing_ok=True)
            return None
        os.utime(path)
        return found

    def put_target(self, key: str, mask_digest: str, target: Target) -> None:
        """Keep a view's mask."""
        path = self.folder / f"{key}.{mask_digest[:16]}.target"
        self._write(path, target.to_bytes())

    def labels(self, key: str, mask_digest: str) -> NDArray[np.int32] | None:
        """Read a view's label image, (h, w); None where it is absent or damaged."""
        path = self.folder / f"{key}.{mask_digest[:16]}.labels.target"
        try:
            plain = zlib.decompress(path.read_bytes())
            height, width = np.frombuffer(plain[:8], "<i4").tolist()
            found = np.frombuffer(plain, "<i4", offset=8).reshape(height, width)
        except FileNotFoundError:
            return None
        except (OSError, ValueError, zlib.error):
            path.unlink(missing_ok=True)
            return None
        os.utime(path)
        return found.astype(np.int32)

    def put_labels(self, key: str, mask_digest: str, labels: NDArray[np.int32]) -> None:
        """Keep a view's label image, (h, w)."""
        path = self.folder / f"{key}.{mask_digest[:16]}.labels.target"
        head = np.array(labels.shape, "<i4").tobytes()
        self._write(path, zlib.compress(head + labels.astype("<i4").tobytes(), 1))

    # Room

    def make_room(self, needed: int, keep: Iterable[str]) -> None:
        """See to it that so many more bytes fit, evicting what was used longest ago.

        Parameters
        ----------
        needed : int
            Bytes about to be written.
        keep : iterable of str
            Keys that this run uses; they stay.

        Raises
        ------
        ValueError
            If they cannot fit, in the quota or on the disk; the message says how much
            there is and what to do.
        """
        kept, now = set(keep), time.time()
        entries = self._entries()
        own = sum(entry.size for entry in entries if _key(entry) in kept)
        if self.quota is not None:
            if own + needed > self.quota:
                raise ValueError(
                    f"the views of this run take {(own + needed) / 1e9:.2f} GB, the "
                    f"cache's quota is {self.quota / 1e9:.2f} GB: use fewer views, "
                    "raise it with --cache-quota, or add --no-keep-cache"
                )
            evict(
                entries,
                self.quota - needed,
                lambda entry: _key(entry) in kept or now - entry.used < _IN_USE,
            )
        free = shutil.disk_usage(self.folder).free
        if needed > 0.9 * free:
            raise ValueError(
                f"the views would take {needed / 1e9:.2f} GB, {self.folder} has "
                f"{free / 1e9:.2f} GB free: use fewer views or another cache folder "
                "(--cache)"
            )

    def used(self) -> int:
        """Bytes in the folder."""
        return sum(entry.size for entry in self._entries())

    def _entries(self) -> list[CacheEntry]:
        """Return every entry's files; leftovers are removed."""
        sweep(self.folder)
        found = []
        for path in self.folder.iterdir():
            if path.suffix in (".safetensors", ".target"):
                with contextlib.suppress(FileNotFoundError):  # another's eviction
                    status = path.stat()
                    found.append(CacheEntry(status.st_mtime, status.st_size, path))
        return found

    def _path(self, key: str, part: str) -> Path:
        assert part in _PARTS
        return self.folder / f"{key}.{part}.safetensors"

    def _is_whole(self, path: Path) -> bool:
        try:
            with safe_open(path, "pt") as file:
                named = {name: file.get_tensor(name) for name in file.keys()}
                wanted = file.metadata()["crc"]
            if str(_checksum(named)) == wanted:
                os.utime(path)
                return True
        except FileNotFoundError:
            return False
        except (OSError, SafetensorError, KeyError, TypeError):
            pass
        path.unlink(missing_ok=True)
        return False

    def _write(self, path: Path, content: bytes) -> None:
        try:
            write_whole(path, content)
        except OSError as error:
            reason = one_line(error.__cause__ or error)  # without the file's name
            raise ValueError(
                f"the view cache {self.folder} cannot be written ({reason}): "
                "make room, or choose another folder with --cache; what is there stays "
                "good"
            ) from error


def _key(entry: CacheEntry) -> str:
    return entry.path.name.partition(".")[0]


def _checksum(tensors: Mapping[str, torch.Tensor]) -> int:
    crc = 0
    for name in sorted(tensors):
        crc = zlib.crc32(tensors[name].numpy().tobytes(), crc)
    return crc
