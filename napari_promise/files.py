"""Files: written whole or not at all, versions, the user's folders, one-line errors."""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
import os
import uuid
from collections.abc import Iterator, Mapping
from datetime import datetime, timezone
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

import numpy as np
import platformdirs

__all__ = [
    "NewerFileError",
    "PathLike",
    "as_plain",
    "check_version",
    "duration",
    "one_line",
    "parse_json",
    "save_json",
    "user_folder",
    "utc_now",
    "whole_file",
    "write_whole",
    "written_by",
]

PathLike = str | os.PathLike[str]

_NAME = "napari-promise"


@contextlib.contextmanager
def whole_file(path: PathLike, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path to write to, and put the file in place if all went well.

    Parameters
    ----------
    path : path
        Where the file shall be. The temporary file lies in the same folder and ends
        in the same name, because many writers choose their format by the suffix.
    overwrite : bool
        Whether a file already there may be replaced.

    Yields
    ------
    pathlib.Path
        Write here. If the block raises, this is removed and `path` is as it was.

    Raises
    ------
    FileExistsError
        If there is a file and `overwrite` is false.
    OSError
        If the folder is missing or cannot be written; one line with the remedy.
    """
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()
    _refuse_existing(path, overwrite)
    temporary = path.with_name(f".writing-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        # Tried here, so that an unwritable folder is told apart from a failed writer.
        temporary.touch()
    except OSError as error:
        raise type(error)(
            f"Cannot write {path} ({one_line(error)}): choose a folder that exists "
            "and that you may write to."
        ) from error
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        _refuse_existing(path, overwrite)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise type(error)(
            f"Cannot write {path} ({one_line(error)}): free disk space or choose "
            "another folder."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def write_whole(path: PathLike, content: bytes) -> None:
    """Write a file whole or not at all, in place of one that is there.

    Parameters
    ----------
    path : path
    content : bytes

    Raises
    ------
    OSError
        See `whole_file`.
    """
    with whole_file(path, overwrite=True) as temporary:
        temporary.write_bytes(content)


def save_json(path: PathLike, data: Any, *, overwrite: bool = False) -> Path:
    """Write plain data as JSON; arrays and NumPy numbers become lists and numbers.

    Parameters
    ----------
    path : path
    data : dict, list, …
    overwrite : bool
        Whether a file already there may be replaced.

    Returns
    -------
    pathlib.Path
        The file written.
    """
    text = json.dumps(data, indent=1, allow_nan=False, default=as_plain)
    with whole_file(path, overwrite) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return Path(path)


def as_plain(value: Any) -> Any:
    """Return dataclasses, mappings, arrays and paths as what JSON knows.

    Raises
    ------
    TypeError
        If it is none of these.
    """
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def one_line(error: BaseException | str) -> str:
    """Return what went wrong as one line; the name of the error where it says nothing.

    Parameters
    ----------
    error : Exception or str
        Of an `OSError` the reason is told, without number and path.

    Returns
    -------
    str
    """
    if isinstance(error, OSError) and error.strerror:
        return error.strerror
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0] if lines else type(error).__name__


def parse_json(text: str | bytes) -> Any:
    """Return what JSON says; whatever is wrong with it is a ValueError.

    Parameters
    ----------
    text : str or bytes

    Returns
    -------
    dict, list, …

    Raises
    ------
    ValueError
        If it is no JSON, or nested deeper than anything that is written here.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deep") from None


class NewerFileError(ValueError):
    """A file is of a later version than this program reads: it is left as it is."""


@functools.cache
def written_by() -> str:
    """Return what a file says of its writer: the program with its version."""
    try:
        return f"{_NAME} {metadata.version(_NAME)}"
    except metadata.PackageNotFoundError:  # run from a folder, not installed
        return _NAME


def check_version(
    data: Mapping[str, Any], newest: int, what: object, *, key: str = "version"
) -> int:
    """Return the version of a file's format; refuse one that is not known yet.

    Parameters
    ----------
    data : mapping
        What the file says of itself: its version, and perhaps ``written_by``.
    newest : int
        The latest version that is read; all earlier ones are read too.
    what : object
        Names the file in the error.
    key : str
        Where `data` holds the version.

    Returns
    -------
    int
        From 1 to `newest`.

    Raises
    ------
    NewerFileError
        If the file is of a later version; one line with the remedy.
    ValueError
        If it says no version.
    """
    found = data.get(key)
    if not isinstance(found, int) or isinstance(found, bool) or found < 1:
        raise ValueError(
            f"{what} is damaged: it says {found!r} where its version should be."
        )
    if found > newest:
        writer = data.get("written_by")
        if not isinstance(writer, str) or not writer:
            writer = f"a later {_NAME}"
        raise NewerFileError(
            f"{what} was written by {one_line(writer)} in version {found} of its "
            f"format, and {written_by()} reads up to version {newest}: update {_NAME}."
        )
    return found


def user_folder(kind: Literal["cache", "config", "data"]) -> Path:
    r"""Return the user's folder of this program (it need not exist).

    Parameters
    ----------
    kind : {"cache", "config", "data"}
        What can be made again, what was set, or what is the user's own.

    Returns
    -------
    pathlib.Path
        Windows: ``…\napari-promise``. Version 0.1 put a folder of that name into
        another for "config" and "data"; where that one is there it is used.
    """
    find = {
        "cache": platformdirs.user_cache_path,
        "config": platformdirs.user_config_path,
        "data": platformdirs.user_data_path,
    }[kind]
    earlier = find(_NAME)
    if kind != "cache" and earlier.is_dir():
        return earlier
    return find(_NAME, appauthor=False)


def duration(seconds: float) -> str:
    """Say how long something takes in everyday words.

    Examples
    --------
    >>> duration(5), duration(130), duration(8000)
    ('5 s', '2 min', '2 h 13 min')
    """
    if seconds < 90:
        return f"{max(1, round(seconds))} s"
    minutes = round(seconds / 60)
    if minutes < 90:
        return f"{minutes} min"
    return f"{minutes // 60} h {minutes % 60:02d} min"


def utc_now() -> str:
    """Return the date and time in UTC, ISO 8601."""
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give a file name in it.")
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists already: choose another name or allow overwriting."
        )
