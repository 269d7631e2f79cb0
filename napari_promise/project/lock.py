"""Let one window at a time work on a project.

The system holds the lock for the process, so that it is gone whatever the process died
of. Where a file system knows no locks, the process that is named in the file decides.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
from pathlib import Path
from typing import IO

from napari_promise.files import parse_json, utc_now

__all__ = ["ProjectInUseError", "ProjectLock"]

#: Locks of this very process: the system grants a process its own locks again, and
#: drops them all as soon as it closes any one opening of the file.
_HELD: set[Path] = set()


class ProjectInUseError(ValueError):
    """Another window works on the project."""


class ProjectLock:
    """Holds a project for this process, from the making to `release`.

    Parameters
    ----------
    path : Path
        The lock file; it stays when the lock is released.
    what : str
        Names the project in the error.

    Raises
    ------
    ProjectInUseError
        If another window, here or elsewhere, holds it.
    OSError
        If the file cannot be written.
    """

    def __init__(self, path: Path, what: str) -> None:
        self._path = path.resolve()
        if self._path in _HELD:
            raise ProjectInUseError(_refusal(what, "this napari"))
        self._file: IO[str] = open(self._path, "a+", encoding="utf-8")
        try:
            self._take(what)
            self._file.seek(0)
            self._file.truncate()
            json.dump(
                {"pid": os.getpid(), "host": socket.gethostname(), "since": utc_now()},
                self._file,
            )
            self._file.flush()
        except BaseException:
            self._file.close()
            raise
        _HELD.add(self._path)

    def _take(self, what: str) -> None:
        try:
            if os.name == "nt":  # pragma: no cover
                import msvcrt

                # Far behind the text, which others may read then.
                self._file.seek(1 << 20)
                msvcrt.locking(self._file.fileno(), msvcrt.LK_NBLCK, 1)  # type: ignore[attr-defined,unused-ignore]
            else:
                import fcntl

                fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            raise ProjectInUseError(
                _refusal(what, self._holder() or "another")
            ) from None
        except OSError:  # no locks here: ask for the process instead
            holder = self._holder(alive=True)
            if holder:
                raise ProjectInUseError(
                    f"{_refusal(what, holder)} If it is gone, delete {self._path}."
                ) from None

    def _holder(self, alive: bool = False) -> str:
        """Name the process in the file; where asked, only one that still lives."""
        self._file.seek(0)
        try:
            found = parse_json(self._file.read())
            pid, host = int(found["pid"]), str(found["host"])
        except (ValueError, KeyError, TypeError, OSError, OverflowError):
            return ""
        if alive and host == socket.gethostname() and os.name != "nt":
            try:
                os.kill(pid, 0)
            except (ProcessLookupError, OverflowError):
                return ""
            except PermissionError:
                pass
        return f"process {pid} on {host}"

    def release(self) -> None:
        """Let others have it."""
        if self._path in _HELD:
            _HELD.discard(self._path)
            with contextlib.suppress(OSError):
                self._file.seek(0)
                self._file.truncate()
            self._file.close()


def _refusal(what: str, holder: str) -> str:
    return (
        f"{what} is open in another window ({holder}): close it there first, or work "
        "there."
    )
