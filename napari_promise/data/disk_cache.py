"""Folders of what can be made again: kept under a quota, cleared of leftovers.

What is kept is an entry, a file or a folder. Whoever keeps it says which entries there
are, with the time of their last use; here the ones used longest ago are removed.
Several processes may share a folder, so anything may be gone when it is looked at.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

__all__ = ["CacheEntry", "discard", "evict", "sweep", "temporary_name"]

#: What `files.whole_file` writes to begins so too.
_TEMPORARY = ".writing-"
#: A temporary file or folder this old (seconds) was left by a process that died.
_ABANDONED_AFTER = 3600.0


@dataclass(frozen=True, order=True)
class CacheEntry:
    """Something that is kept.

    Attributes
    ----------
    used : float
        Seconds since the epoch, of its last use.
    size : int
        Bytes.
    path : pathlib.Path
        A file or a folder.
    """

    used: float
    size: int
    path: Path


def evict(
    entries: Iterable[CacheEntry],
    most: int,
    stays: Callable[[CacheEntry], bool] = lambda entry: False,
) -> int:
    """Remove what was used longest ago, until at most so many bytes are left.

    Parameters
    ----------
    entries : iterable of CacheEntry
        All that there are.
    most : int
        Bytes.
    stays : callable, optional
        Where it answers True, the entry is not removed.

    Returns
    -------
    int
        Bytes that are left; more than `most` where too much has to stay.
    """
    oldest_first = sorted(entries)
    used = sum(entry.size for entry in oldest_first)
    for entry in oldest_first:
        if used <= most:
            break
        if not stays(entry):
            discard(entry.path)
            used -= entry.size
    return used


def sweep(folder: Path) -> None:
    """Remove what dead processes left; what another is writing now is younger."""
    with contextlib.suppress(OSError):  # no such folder: nothing to sweep
        for path in folder.iterdir():
            if path.name.startswith(_TEMPORARY):
                with contextlib.suppress(OSError):
                    if time.time() - path.stat().st_mtime >= _ABANDONED_AFTER:
                        discard(path)


def discard(path: Path) -> None:
    """Remove an entry so that no other process ever reads a half of it."""
    with contextlib.suppress(OSError):  # gone, or held open (Windows): the next time
        if not path.is_dir():
            path.unlink()
            return
        doomed = path
        if not path.name.startswith(_TEMPORARY):
            doomed = temporary_name(path.parent)
            path.rename(doomed)
        shutil.rmtree(doomed, ignore_errors=True)


def temporary_name(folder: Path) -> Path:
    """Return a free name in a folder that `sweep` clears away one day."""
    return folder / f"{_TEMPORARY}{os.getpid()}-{uuid.uuid4().hex}"
