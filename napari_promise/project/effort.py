"""What the user spends on each image, over time.

A log of JSON lines, appended as images are finished and adapters trained; nothing is
ever taken out of it, and a line that a crash cut off is passed over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_promise.files import parse_json

__all__ = ["FILE", "Effort", "Finished", "append", "read"]

#: The log's name in a project's folder.
FILE = "effort.jsonl"


@dataclass(frozen=True)
class Finished:
    """One image that the user confirmed.

    Attributes
    ----------
    key : str
    clicks : int
        Corrective clicks it took.
    untouched : bool or None
        Whether the proposal was accepted as it was; None without a proposal.
    when : str
        ISO 8601 in UTC.
    """

    key: str
    clicks: int
    untouched: bool | None
    when: str


@dataclass(frozen=True)
class Effort:
    """The course of the work.

    Attributes
    ----------
    finished : tuple of Finished
        In the order in which images were first finished; one that was opened
        again counts with what it took in the end.
    trained : tuple of (int, str)
        After how many finished images an adapter was trained, and its name.
    """

    finished: tuple[Finished, ...] = ()
    trained: tuple[tuple[int, str], ...] = ()

    @property
    def clicks(self) -> tuple[int, ...]:
        """Clicks an image, in order."""
        return tuple(one.clicks for one in self.finished)

    @property
    def mean_clicks(self) -> float | None:
        """Clicks an image on average; None before the first."""
        return sum(self.clicks) / len(self.finished) if self.finished else None

    @property
    def untouched_share(self) -> float | None:
        """Share of proposals accepted as they were; None where none was judged."""
        judged = [one.untouched for one in self.finished if one.untouched is not None]
        return sum(judged) / len(judged) if judged else None

    def rolling(self, window: int = 10) -> tuple[float, ...]:
        """Mean clicks of each image and those before it.

        Parameters
        ----------
        window : int
            How many images; fewer at the beginning.

        Returns
        -------
        tuple of float
            One an image.
        """
        clicks = self.clicks
        means = []
        for end in range(1, len(clicks) + 1):
            seen = clicks[max(0, end - window) : end]
            means.append(sum(seen) / len(seen))
        return tuple(means)


def append(path: Path, event: Mapping[str, Any]) -> None:
    """Add a line.

    Parameters
    ----------
    path : Path
        Made where missing.
    event : mapping
        ``{"done": key, "clicks": …, "untouched": …, "when": …}`` or
        ``{"trained": adapter, "when": …}``.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    line = json.dumps(dict(event), ensure_ascii=False, allow_nan=False).encode()
    with open(path, "ab+") as file:
        if file.tell():
            file.seek(-1, os.SEEK_END)
            if file.read(1) != b"\n":  # what a crash cut off stays a line of its own
                line = b"\n" + line
        file.write(line + b"\n")
        file.flush()
        os.fsync(file.fileno())


def read(path: Path) -> Effort:
    """Read the log; lines that make no sense are passed over."""
    try:
        lines = path.read_bytes().split(b"\n")
    except OSError:
        return Effort()
    finished: dict[str, Finished] = {}
    trained: list[tuple[int, str]] = []
    for line in lines:
        try:
            data = parse_json(line)
            if "trained" in data:
                trained.append((len(finished), str(data["trained"])))
                continue
            untouched = data.get("untouched")
            key = str(data["done"])
            finished[key] = Finished(
                key,
                int(data["clicks"]),
                None if untouched is None else bool(untouched),
                str(data.get("when", "")),
            )
        except (ValueError, TypeError, KeyError, AttributeError, OverflowError):
            continue
    return Effort(tuple(finished.values()), tuple(trained))
