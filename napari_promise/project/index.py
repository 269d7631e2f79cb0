"""The one file that says how every image of a project stands.

One JSON object a line, appended as images change; the last line of a key counts. On
opening it is read once and, where much of it is history, put in place anew, whole. A
line that a crash cut off is passed over; if the file is damaged beyond that it is set
aside and the rest comes from the images' own folders.

Chosen over a database because it can be read with any editor and needs no locks that
network drives do not keep.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

from napari_promise.files import (
    NewerFileError,
    check_version,
    one_line,
    parse_json,
    whole_file,
    written_by,
)
from napari_promise.project.items import Entry
from napari_promise.project.store import set_aside

__all__ = ["Index"]

_SCHEMA = "napari-promise/project"
#: 2: the states are those of `items.STATES`; 1: version 0.1 said "in work".
_VERSION = 2


class Index:
    """The entries of a project's images, in memory and in a file.

    Parameters
    ----------
    path : Path
        Read here; made at the first `append` where missing.

    Attributes
    ----------
    entries : dict of str to Entry
        By key. Untouched images have none.
    last_opened : str or None
        The key of the image that was opened last.
    unsure : set of str
        Images that may have been saved after their last line was written, because
        the program died: their own folder is to be asked.
    damaged : bool
        Whether lines are missing or cannot be read.
    notes : tuple of str
        What was set aside, one line each.

    Raises
    ------
    NewerFileError
        If the file is of a later version: it is left as it is.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: IO[str] | None = None
        self.entries: dict[str, Entry] = {}
        self.last_opened: str | None = None
        self.unsure: set[str] = set()
        self.damaged = False
        self.notes: tuple[str, ...] = ()
        self._lines = 0
        self._rewrite = self._read()

    def _read(self) -> bool:
        """Read the file; whether it wants to be written anew."""
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            self.damaged = True  # or a new project: then there is nothing to find
            return True
        lines = raw.split(b"\n")
        cut_off = lines.pop()
        bad = 0
        headed = current = False
        for number, line in enumerate(lines):
            if not line:
                continue
            try:
                data = parse_json(line)
                if number == 0 and data.get("schema") == _SCHEMA:
                    version = check_version(data, _VERSION, self._path)
                    current = (version, data.get("written_by")) == (
                        _VERSION,
                        written_by(),
                    )
                    headed = True
                else:
                    self._take(data)
            except NewerFileError:
                raise
            except (ValueError, TypeError, AttributeError, KeyError, OverflowError):
                bad += 1
        self._lines = len(lines)
        if bad or not headed:
            self.damaged = True
            aside = set_aside(self._path)
            self.notes = (
                f"{self._path} is damaged in {max(bad, 1)} of {len(lines) or 1} lines "
                f"and was set aside as {aside.name}; what is missing comes from the "
                "images' own folders.",
            )
        return (
            self.damaged
            or not current
            or bool(cut_off)
            or self._lines > 100 + 2 * len(self.entries)
        )

    def _take(self, data: Mapping[str, Any]) -> None:
        if "closed" in data:
            self.unsure.clear()
        elif "opened" in data:
            self.last_opened = str(data["opened"])
            self.unsure.add(self.last_opened)
        else:
            key = str(data["key"])
            self.entries[key] = Entry.from_json(data)
            self.unsure.add(key)

    def put(self, key: str, entry: Entry) -> None:
        """Store an entry and append its line.

        Raises
        ------
        OSError
            If it cannot be written; the entry counts in memory all the same.
        """
        self.put_all({key: entry})

    def put_all(self, entries: Mapping[str, Entry]) -> None:
        """Store several entries, and wait for the disk once.

        Raises
        ------
        OSError
            See `put`.
        """
        self.entries.update(entries)
        self.unsure.update(entries)
        lines = [{"key": key, **entry.to_json()} for key, entry in entries.items()]
        self._append(*lines)

    def announce(self, key: str, entry: Entry) -> None:
        """Say that an image is about to be saved, where no line says so yet.

        Without, a crash between the work and its line would hide the work.
        """
        if key not in self.unsure:
            self.put(key, entry)

    def amend(self, entries: Mapping[str, Entry]) -> None:
        """Take over what the images' own folders say; the file follows later."""
        self.entries.update(entries)
        self._rewrite = self._rewrite or bool(entries)

    def opened(self, key: str) -> None:
        """Remember which image is open."""
        self.last_opened = key
        self.unsure.add(key)
        self._append({"opened": key})

    def close(self) -> None:
        """Say that nothing is in the air any more."""
        try:
            self._append({"closed": True})
        finally:
            if self._file is not None:
                self._file.close()
                self._file = None

    def _append(self, *lines: Mapping[str, Any]) -> None:
        try:
            if self._rewrite:
                self._compact()
            if self._file is None:
                self._file = open(self._path, "a", encoding="utf-8")
            self._file.writelines(map(_line, lines))
            self._file.flush()
            os.fsync(self._file.fileno())
        except OSError as error:
            # A line that was written in part must not run into the next one.
            if self._file is not None:
                self._file.close()
            self._file, self._rewrite = None, True
            if error.errno is None:
                raise
            raise type(error)(
                error.errno,
                f"Cannot write {self._path} ({one_line(error)}): free disk space, and "
                "see that you may write there.",
            ) from error

    def _compact(self) -> None:
        with (
            whole_file(self._path, overwrite=True) as part,
            open(part, "w", encoding="utf-8") as file,
        ):
            head = {"schema": _SCHEMA, "version": _VERSION, "written_by": written_by()}
            file.write(_line(head))
            for key, entry in self.entries.items():
                file.write(_line({"key": key, **entry.to_json()}))
            # All lines stand for what may be unsure later: only these are asked then.
            file.write(_line({"closed": True}))
            for key in self.unsure & self.entries.keys():
                file.write(_line({"key": key, **self.entries[key].to_json()}))
            if self.last_opened is not None:
                file.write(_line({"opened": self.last_opened}))
        self._rewrite = False


def _line(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, allow_nan=False) + "\n"
