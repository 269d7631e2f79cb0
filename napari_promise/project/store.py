"""What is kept of one image: a folder with its work, one earlier generation, a pack.

    work.zip           labels, objects and history as plain data, what the table shows
    work.previous.zip  the same, as it was one save earlier
    proposal.zip       what a model proposed; never mixed with the work
    pack-NAME.bin      arrays of the history, appended only

Saving appends the arrays that are new to the pack and then puts ``work.zip`` in place
whole, which says where in the pack its arrays lie: whatever moment the program dies
at, the one or the other generation can be read with all that it needs. A pack that
is mostly out of use is left behind for a new one.
"""

from __future__ import annotations

import hashlib
import io
import itertools
import json
import os
import re
import shutil
import time
import uuid
import zipfile
import zlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import Snapshot
from napari_promise.files import (
    NewerFileError,
    check_version,
    one_line,
    parse_json,
    whole_file,
    written_by,
)
from napari_promise.project import codec
from napari_promise.project.codec import Ref

__all__ = ["ItemStore", "ItemStores", "Saved", "slug"]

WORK, PREVIOUS, PROPOSAL = "work.zip", "work.previous.zip", "proposal.zip"
#: Of the zip files; version 0.1 wrote no number into its own, which are of version 1.
_VERSION = 2
#: Folders of images kept at hand: the one that is open, and the one just left.
_STORES = 3
#: A plane of the labels among the members of a file: labels.npy, labels/3.npy, …
_PLANE = re.compile(r"labels((?:/\d+)*)\.npy")
_PACK_HEAD = b"napari-promise pack 1\n"
#: A pack with more bytes out of use than in use is left behind when above this size.
_PACK_SLACK = 1_000_000


def slug(key: str) -> str:
    """Name the folder of an image: readable, and unlike that of any other."""
    mark = hashlib.blake2b(key.encode(), digest_size=6).hexdigest()
    readable = re.sub(r"[^A-Za-z0-9.-]+", "_", key.rsplit("/", 1)[-1])[:40]
    return f"{readable}-{mark}"


@dataclass(frozen=True, eq=False)
class Saved:
    """What `ItemStore.read` found.

    Attributes
    ----------
    entry : dict
        What the table shows of the image, as it was saved.
    labels : (..., H, W) integer or None
    data : dict or None
        The document, see `codec.encode`.
    notes : tuple of str
        What was damaged and what was used instead, one line each.
    """

    entry: dict[str, Any]
    labels: NDArray[Any] | None
    data: dict[str, Any] | None
    pack: str = ""
    notes: tuple[str, ...] = field(default=())


class ItemStore:
    """The folder of one image.

    Parameters
    ----------
    folder : Path
        Made at the first write.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._pack: _Pack | None = None

    # -- the work -----------------------------------------------------------------

    def read(self) -> Saved | None:
        """Read the latest generation that is whole.

        A damaged file is set aside: it stays beside, under another name.

        Returns
        -------
        Saved or None
            None where nothing was saved, or nothing of it can be read.

        Raises
        ------
        NewerFileError
            If a later version of the program wrote it.
        """
        notes: list[str] = []
        for name in (WORK, PREVIOUS):
            path = self.folder / name
            try:
                found = _read_work(path)
            except FileNotFoundError:
                continue
            except NewerFileError:
                raise
            except MemoryError as error:  # no damage: it stays where it is
                raise _too_large(path) from error
            except _DAMAGES as error:
                notes.append(
                    f"{path} is damaged ({_reason(error)}) and was set aside as "
                    f"{set_aside(path).name}."
                )
                continue
            if name == PREVIOUS and notes:
                notes[-1] += " The version saved before it is used."
            return Saved(*found, notes=tuple(notes))
        return Saved({}, None, None, notes=tuple(notes)) if notes else None

    def read_entry(self) -> dict[str, Any] | None:
        """Return what the table shows, without labels and history; None if unknown.

        Raises
        ------
        NewerFileError
            If a later version of the program wrote it.
        """
        for name in (WORK, PREVIOUS):
            path = self.folder / name
            try:
                with zipfile.ZipFile(path) as file:
                    return _read_about(file, path)
            except NewerFileError:
                raise
            except (MemoryError, *_DAMAGES):
                continue
        return None

    def decode(self, saved: Saved) -> Snapshot:
        """Return the document with its history.

        Raises
        ------
        ValueError
            If an array is lost or damaged; see `codec.salvage`.
        NewerFileError
            If a later version of the program wrote it.
        """
        if saved.data is None:
            return Snapshot()
        pack = _Pack(self.folder / saved.pack)
        try:
            snapshot, owners = codec.decode(saved.data, pack.get)
        except NewerFileError as error:
            raise NewerFileError(f"{self.folder / WORK}: {error}") from error
        except OSError as error:
            raise ValueError(
                f"{self.folder / saved.pack} cannot be read ({_reason(error)})."
            ) from error
        pack.remember(owners)
        if not pack.is_mostly_unused:
            self._pack = pack
        return snapshot

    def write(
        self,
        entry: Mapping[str, Any],
        labels: NDArray[Any] | None,
        snapshot: Snapshot | None,
    ) -> None:
        """Write a generation, whole or not at all.

        Parameters
        ----------
        entry : mapping
            What the table shows.
        labels : (..., H, W) integer or None
        snapshot : Snapshot or None

        Raises
        ------
        OSError
            If the disk is full or the folder cannot be written; what was saved
            before is as it was.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        data = None
        if snapshot is not None:
            pack = self._pack
            if pack is None or pack.is_mostly_unused:
                pack = self._pack = _Pack(
                    self.folder / f"pack-{uuid.uuid4().hex[:8]}.bin"
                )
            try:
                data = codec.encode(snapshot, pack.put)
                pack.flush()
            except OSError as error:
                self._pack = None  # what it holds is not known any more: a new one
                raise type(error)(
                    error.errno,
                    f"Cannot write {pack.path} ({one_line(error)}): free disk space.",
                ) from error
        path = self.folder / WORK
        with whole_file(path, overwrite=True) as part:
            _write_work(
                part,
                entry,
                labels,
                data,
                "" if data is None or self._pack is None else self._pack.path.name,
            )
            _keep_previous(path)
        self._forget_packs()

    def _forget_packs(self) -> None:
        """Remove packs that neither generation names."""
        packs = set(self.folder.glob("pack-*.bin"))
        if len(packs) < 2:
            return
        named = {self._pack.path.name} if self._pack is not None else set()
        for name in (WORK, PREVIOUS):
            try:
                with zipfile.ZipFile(self.folder / name) as file:
                    named.add(file.comment.decode("utf-8", "replace"))
            except FileNotFoundError:
                continue
            except _DAMAGES:
                return
        for pack in packs:
            if pack.name not in named:
                pack.unlink(missing_ok=True)

    # -- the proposal -------------------------------------------------------------

    def write_proposal(self, entry: Mapping[str, Any], snapshot: Snapshot) -> None:
        """Write a proposal, whole or not at all; an earlier one is replaced."""
        self.folder.mkdir(parents=True, exist_ok=True)
        blobs: list[bytes] = []

        def put(_owner: Any, make: Callable[[], bytes]) -> Ref:
            blobs.append(make())
            return [len(blobs) - 1]

        data = codec.encode(snapshot, put)
        with (
            whole_file(self.folder / PROPOSAL, overwrite=True) as part,
            zipfile.ZipFile(part, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file,
        ):
            file.writestr("item.json", _json(_stamped(entry)))
            file.writestr("history.json", _json(data))
            for number, blob in enumerate(blobs):
                file.writestr(f"blobs/{number}", blob, zipfile.ZIP_STORED)

    def read_proposal(self) -> tuple[dict[str, Any], Snapshot] | None:
        """Read the proposal.

        Returns
        -------
        entry : dict
        snapshot : Snapshot
            None instead of both where there is no proposal.

        Raises
        ------
        ValueError
            If it is damaged; it is set aside then.
        NewerFileError
            If a later version of the program wrote it.
        """
        path = self.folder / PROPOSAL
        try:
            with zipfile.ZipFile(path) as file:
                entry = _read_about(file, path)
                data = parse_json(file.read("history.json"))
                snapshot, _ = codec.decode(
                    data, lambda ref: file.read(f"blobs/{ref[0]}")
                )
        except FileNotFoundError:
            return None
        except NewerFileError:
            raise
        except MemoryError as error:
            raise _too_large(path) from error
        except _DAMAGES as error:
            raise ValueError(
                f"{path} is damaged ({_reason(error)}) and was set aside as "
                f"{set_aside(path).name}: propose again."
            ) from error
        return entry, snapshot


class ItemStores:
    """The folders of a project's images; the latest few are kept at hand.

    Parameters
    ----------
    folder : Path
        They lie in it, each under its `slug`.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._latest: OrderedDict[str, ItemStore] = OrderedDict()

    def of(self, key: str) -> ItemStore:
        """Return the folder of one image."""
        store = self._latest.get(key)
        if store is None:
            store = self._latest[key] = ItemStore(self._folder / slug(key))
            while len(self._latest) > _STORES:
                self._latest.popitem(last=False)
        self._latest.move_to_end(key)
        return store

    def clear(self) -> None:
        """Forget what is held in memory."""
        self._latest.clear()


#: What reading a damaged file of ours may raise, from any of the layers below.
_DAMAGES = (
    OSError,
    ValueError,
    KeyError,
    TypeError,
    EOFError,
    NotImplementedError,
    RuntimeError,
    OverflowError,
    IndexError,
    zipfile.BadZipFile,
    zlib.error,
)


def set_aside(path: Path) -> Path:
    """Give a damaged file another name, which nothing reads and nothing overwrites.

    Returns
    -------
    Path
        The new one; the old one where it cannot be renamed.
    """
    stamp = time.strftime("%Y%m%dT%H%M%S", time.gmtime())
    for number in itertools.count():
        more = f"-{number}" if number else ""
        aside = path.with_name(f"{path.name}.damaged-{stamp}{more}")
        if not aside.exists():
            break
    try:
        os.replace(path, aside)
    except OSError:
        return path
    return aside


def _too_large(path: Path) -> ValueError:
    return ValueError(
        f"{path} needs more memory than there is and was left as it is: close other "
        "programs, then open the image again."
    )


def _reason(error: BaseException) -> str:
    return one_line(error).rstrip(".")


def _json(data: Any) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False)


def _stamped(entry: Mapping[str, Any]) -> dict[str, Any]:
    return {"version": _VERSION, "written_by": written_by(), **entry}


def _read_about(file: zipfile.ZipFile, path: Path) -> dict[str, Any]:
    """Return what a file says of its image; NewerFileError where it is too new."""
    about = dict(parse_json(file.read("item.json")))
    check_version({"version": 1, **about}, _VERSION, path)
    return about


def _write_work(
    path: Path,
    entry: Mapping[str, Any],
    labels: NDArray[Any] | None,
    data: Mapping[str, Any] | None,
    pack: str,
) -> None:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=1) as file:
        file.comment = pack.encode()
        file.writestr("item.json", _json(_stamped(entry)))
        if data is not None:
            file.writestr("history.json", _json(data))
        if labels is None:
            return
        about = {"shape": labels.shape, "type": labels.dtype.newbyteorder("<").str}
        file.writestr("labels.json", _json(about))
        # Most planes of a stack are empty most of the time: those are left out.
        for index in np.ndindex(labels.shape[:-2]):
            plane = labels[index]
            if plane.any():
                name = "/".join(("labels", *map(str, index))) + ".npy"
                with file.open(name, "w") as member:
                    little = plane.astype(plane.dtype.newbyteorder("<"), copy=False)
                    np.lib.format.write_array(member, little, allow_pickle=False)


def _read_work(
    path: Path,
) -> tuple[dict[str, Any], NDArray[Any] | None, dict[str, Any] | None, str]:
    with zipfile.ZipFile(path) as file:
        names = set(file.namelist())
        entry = _read_about(file, path)
        data = None
        if "history.json" in names:
            data = dict(parse_json(file.read("history.json")))
        labels = None
        if "labels.json" in names:
            about = parse_json(file.read("labels.json"))
            shape = tuple(int(n) for n in about["shape"])
            kind = np.dtype(about["type"]).newbyteorder("=")
            if kind.kind not in "iu" or min(shape, default=0) < 0:
                raise ValueError(f"labels of type {kind} and shape {shape}")
            labels = np.zeros(shape, kind)
            # By what is there: a damaged shape may name planes without end.
            for name in names:
                index = _PLANE.fullmatch(name)
                if index is None:
                    continue
                at = tuple(int(n) for n in index[1].split("/")[1:])
                if len(at) != len(shape) - 2:
                    raise ValueError(f"{name} does not fit labels of shape {shape}")
                plane = np.lib.format.read_array(
                    io.BytesIO(file.read(name)), allow_pickle=False
                )
                if plane.shape != shape[-2:]:
                    raise ValueError(f"{name} does not fit labels of shape {shape}")
                labels[at] = plane
        return entry, labels, data, file.comment.decode("utf-8")


def _keep_previous(path: Path) -> None:
    """Make the present file the previous one, without a moment in which it is gone."""
    if not path.exists():
        return
    previous = path.with_name(PREVIOUS)
    spare = path.with_name(f".writing-{uuid.uuid4().hex[:8]}-{PREVIOUS}")
    try:
        try:
            os.link(path, spare)
        except OSError:  # file systems without hard links
            shutil.copyfile(path, spare)
        os.replace(spare, previous)
    finally:
        spare.unlink(missing_ok=True)


class _Pack:
    """A file that blobs are appended to, found again by who owns them."""

    def __init__(self, path: Path) -> None:
        self.path = path
        # Owners are held, so that none can be mistaken for another of the same id.
        self._known: dict[int, tuple[Any, Ref]] = {}
        self._used: dict[int, tuple[Any, Ref]] = {}
        self._fresh: list[bytes] = []
        self._size = path.stat().st_size if path.exists() else 0
        self._end = self._size

    @property
    def is_mostly_unused(self) -> bool:
        """Whether a new pack would be less than half as large."""
        live = sum({ref[0]: ref[1] for _, ref in self._known.values()}.values())
        return self._end > max(_PACK_SLACK, 2 * live)

    def remember(self, owners: list[tuple[Any, Ref]]) -> None:
        self._known = {id(owner): (owner, ref) for owner, ref in owners}

    def put(self, owner: Any, make: Callable[[], bytes]) -> Ref:
        known = self._known.get(id(owner))
        if known is None:
            if self._end == 0:
                self._append(_PACK_HEAD)
            blob = make()
            known = (owner, [self._end, len(blob), zlib.crc32(blob)])
            self._append(blob)
            self._known[id(owner)] = known
        self._used[id(owner)] = known
        return list(known[1])

    def _append(self, blob: bytes) -> None:
        self._fresh.append(blob)
        self._end += len(blob)

    def flush(self) -> None:
        """Write what is new; only what was put since the last flush stays known."""
        fresh, self._fresh = self._fresh, []
        if fresh:
            with open(self.path, "ab") as file:
                if file.tell() != self._size:
                    # An append that was cut off left a rest behind.
                    file.truncate(self._size)
                file.writelines(fresh)
                file.flush()
                os.fsync(file.fileno())
            self._size = self._end
        self._known, self._used = self._used, {}

    def get(self, ref: Ref) -> bytes:
        at, length, checksum = ref
        with open(self.path, "rb") as file:
            file.seek(at)
            blob = file.read(length)
        if len(blob) != length or zlib.crc32(blob) != checksum:
            raise ValueError(f"{self.path} is damaged at byte {at}.")
        return blob
