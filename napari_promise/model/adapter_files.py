"""Adapters as files: put in place whole, renamed, removed, and as one file to pass on.

That one file (``NAME.promise-adapter``) is a zip of exactly two members, the record and
the tensors of the adapter. What comes from others is checked before anything is written
and never executed: names, sizes, record and tensors; pickles are not read.
"""

from __future__ import annotations

import io
import shutil
import tempfile
import uuid
import zipfile
import zlib
from dataclasses import replace
from pathlib import Path
from typing import Any

from napari_promise.files import NewerFileError, one_line, parse_json, write_whole
from napari_promise.model.adapters import (
    RECORD,
    TENSORS,
    WRITING,
    Adapter,
    AdapterInfo,
    check_free,
    list_adapters,
    load_adapter,
    read_info,
    save_adapter,
    user_dir,
)
from napari_promise.model.weights import MODELS, model_file, sha256_of

SUFFIX = ".promise-adapter"
#: The most that a member may hold, in bytes: the largest adapters have some megabytes.
LIMITS = {RECORD: 2**20, TENSORS: 512 * 2**20}
#: The largest number in a record: channels, points and scores stay far below.
_LARGEST = 65_536


def install(adapter: Adapter, *, force: bool = False) -> Path:
    """Put an adapter among the user's own, whole or not at all.

    Parameters
    ----------
    adapter : Adapter
        Its record says the name.
    force : bool
        Replace one of the user's own of this name.

    Returns
    -------
    pathlib.Path
        Its folder.

    Raises
    ------
    ValueError
        If the name is taken or cannot be a folder's.
    OSError
        If it cannot be written; one line with the remedy. What was there stays.
    """
    folder = check_free(adapter.info.name, force=force)
    part = folder.with_name(f"{WRITING}{uuid.uuid4().hex[:8]}")
    try:
        save_adapter(adapter, part)
        _swap(part, folder)
    except OSError as error:
        raise type(error)(
            f"Cannot write the adapter {folder} ({one_line(error)}): free disk space "
            "or make the folder writable, then try again."
        ) from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return folder


def free_name(wanted: str) -> str:
    """Return a name that no adapter has: the wanted one, or with a number after it."""
    taken = {item.info.name for item in list_adapters()}
    name, number = wanted, 2
    while name in taken or (user_dir() / name).exists():
        name, number = f"{wanted}-{number}", number + 1
    return name


def rename(name: str, new: str) -> Path:
    """Give one of the user's own adapters another name.

    Raises
    ------
    ValueError
        If it is bundled or unknown, or the new name is taken or unfit.
    """
    source = own_folder(name)
    adapter = load_adapter(source)
    check_free(new)
    adapter.info = replace(adapter.info, name=new)
    folder = install(adapter)
    shutil.rmtree(source)
    return folder


def remove(name: str) -> Path:
    """Remove one of the user's own adapters; returns where it was.

    Raises
    ------
    ValueError
        If it is bundled or unknown.
    """
    folder = own_folder(name)
    # renamed first: a folder of which half is removed must not be taken for an adapter
    doomed = folder.with_name(f"{WRITING}{uuid.uuid4().hex[:8]}")
    folder.rename(doomed)
    shutil.rmtree(doomed)
    return folder


def own_folder(name: str) -> Path:
    """Folder of one of the user's own adapters.

    Raises
    ------
    ValueError
        If it is bundled with the plugin, or there is none of this name.
    """
    found = [item for item in list_adapters() if item.info.name == name]
    for item in found:
        if not item.bundled:
            return item.path
    if found:
        raise ValueError(
            f"{name} is bundled with napari-promise: it can be neither renamed nor "
            "removed."
        )
    raise ValueError(f"{name} is no adapter here: choose one of the list.")


def export_file(source: str | Path, path: str | Path, *, force: bool = False) -> Path:
    """Write an adapter as one file.

    Parameters
    ----------
    source : str or pathlib.Path
        A name or a folder, as `load_adapter` takes it.
    path : str or pathlib.Path
        Ends in `SUFFIX`, which is added where it lacks; or a folder.
    force : bool
        Replace a file that is there.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError, OSError
        If there is no such adapter, or the file cannot be written.
    """
    adapter = load_adapter(source)  # whole, or not worth passing on
    folder = _folder_of(source)
    path = Path(path).expanduser()
    if path.is_dir():
        path = path / adapter.info.name
    if path.suffix != SUFFIX:
        path = path.with_name(path.name + SUFFIX)
    if path.exists() and not force:
        raise ValueError(f"{path} exists already: choose another name.")
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w", zipfile.ZIP_DEFLATED) as file:
        for name in (RECORD, TENSORS):
            file.write(folder / name, name)
    try:
        write_whole(path, content.getvalue())
    except OSError as error:
        raise type(error)(
            f"Cannot write {path} ({one_line(error)}): free disk space or choose "
            "another folder."
        ) from error
    return path


def read_file(path: str | Path) -> Adapter:
    """Read an adapter from one file, trusting nothing in it.

    Raises
    ------
    ValueError
        If it is no such file, holds anything but the two members, is too large, or
        record and tensors are damaged or disagree. Nothing was written then.
    """
    path = Path(path).expanduser()
    try:
        with zipfile.ZipFile(path) as file:
            members = file.infolist()
            names = sorted(member.filename for member in members)
            if names != sorted((RECORD, TENSORS)):
                there = ", ".join(map(_shown, names[:4])) or "nothing"
                raise ValueError(
                    f"{path} is no adapter file: it must hold {RECORD} and {TENSORS} "
                    f"and nothing else, not {there}."
                )
            contents = {m.filename: _member(file, m, path) for m in members}
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist: check the name.") from error
    except OSError as error:
        raise ValueError(f"{path} cannot be read ({one_line(error)}).") from error
    except (
        zipfile.BadZipFile,
        zlib.error,
        RuntimeError,
        NotImplementedError,
        EOFError,
    ) as error:
        raise ValueError(
            f"{path} is no adapter file or damaged ({error}): get it again."
        ) from error
    return _checked(contents, path)


def import_file(path: str | Path, *, force: bool = False) -> Path:
    """Take an adapter from one file to the user's own; see `read_file`, `install`."""
    return install(read_file(path), force=force)


def _shown(name: str) -> str:
    """Return a member's name as it may stand in a line."""
    return name[:60] if name.isprintable() else repr(name[:60])


def _member(file: zipfile.ZipFile, member: zipfile.ZipInfo, path: Path) -> bytes:
    """Read a member that is no larger than it may be, whatever its header says."""
    limit = LIMITS[member.filename]
    too_large = ValueError(
        f"{path}: {member.filename} holds more than {limit >> 20} MB, which no adapter "
        "does: do not trust this file."
    )
    if member.file_size > limit:
        raise too_large
    with file.open(member) as stream:
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise too_large
    return content


def _checked(contents: dict[str, bytes], path: Path) -> Adapter:
    try:
        record = parse_json(contents[RECORD].decode("utf-8"))
        _check_sizes(record)
        info = AdapterInfo.from_json(record)
        if not isinstance(info.modules, dict) or not isinstance(info.scores, dict):
            raise ValueError("modules and scores must be objects")
        for text in (info.base_model, info.class_name, info.note, info.licence):
            if not isinstance(text, str):
                raise ValueError(f"{text!r} is no text")
    except NewerFileError as error:
        raise NewerFileError(f"{path}: {error}") from error
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        raise ValueError(f"{path}: {RECORD} is damaged: {one_line(error)}") from error
    _check_base(info, path)
    with tempfile.TemporaryDirectory(prefix="promise-import-") as name:
        folder = Path(name)
        for member, content in contents.items():
            (folder / member).write_bytes(content)
        try:
            return load_adapter(folder)
        except ValueError as error:
            raise ValueError(str(error).replace(str(folder), str(path))) from error


def _check_sizes(value: Any) -> None:
    """Refuse a record whose numbers would build something enormous."""
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, list):
        if len(value) > 4096:
            raise ValueError(f"a list of {len(value)} values")
        for item in value:
            _check_sizes(item)
    elif isinstance(value, int | float) and not abs(value) <= _LARGEST:
        raise ValueError(f"{value} is larger than any number that an adapter has")


def _check_base(info: AdapterInfo, path: Path) -> None:
    """Refuse an adapter for another version of a model that is known by name."""
    if info.base_model not in MODELS:
        return
    kind, _, digest = MODELS[info.base_model].hash.partition(":")
    if kind != "sha256":
        here = model_file(info.base_model)
        if here is None:
            return
        digest = sha256_of(here)
    if digest != info.base_sha256:
        raise ValueError(
            f"{path}: {info.name} was trained on {info.base_model} "
            f"({info.base_sha256[:12]}), this {info.base_model} is {digest[:12]}: get "
            "the adapter for this version, or train it again."
        )


def _folder_of(source: str | Path) -> Path:
    for item in list_adapters():
        if source == item.info.name:
            return item.path
    read_info(source)
    return Path(source)


def _swap(part: Path, folder: Path) -> None:
    """Put a folder in the place of another; that one stays if this fails."""
    if not folder.exists():
        part.rename(folder)
        return
    earlier = folder.with_name(f"{WRITING}{uuid.uuid4().hex[:8]}")
    folder.rename(earlier)
    try:
        part.rename(folder)
    except OSError:
        earlier.rename(folder)
        raise
    shutil.rmtree(earlier, ignore_errors=True)
