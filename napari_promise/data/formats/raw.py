"""What every format gives: the array as it is stored, its colours and its place."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_promise.data.place import Place

__all__ = ["Levels", "Raw", "Unreadable", "has_colours", "no_notes", "no_place"]


class Unreadable(ValueError):
    """A file that cannot be read, for a reason that names the file and the remedy."""


@dataclass(frozen=True, eq=False)
class Raw:
    """A file's pixels.

    Attributes
    ----------
    array : (..., row, column) or (..., row, column, channel)
        Values and type as they are stored.
    rgb : bool
        Whether the last axis holds 3 or 4 channels of colour.
    place : Place
    notes : tuple of str
        What somebody who opens it should know, a sentence each.
    limits : (float, float) or None
        The values of a grey image shown black and white, where the file says so.
    lossy : bool
        Whether it was compressed by a method that changes values.
    """

    array: NDArray[Any]
    rgb: bool = False
    place: Place = Place()
    notes: tuple[str, ...] = ()
    limits: tuple[float, float] | None = None
    lossy: bool = False


@dataclass(frozen=True)
class Levels:
    """What a file says of an image whose pixels stay in it; attributes as of `Raw`."""

    rgb: bool = False
    place: Place = Place()
    notes: tuple[str, ...] = ()
    limits: tuple[float, float] | None = None


def no_place(_path: Path) -> Place:
    """Say nothing of where an image lies: for formats of which nothing is read yet."""
    return Place()


def no_notes(_path: Path) -> tuple[str, ...]:
    """Say nothing: for formats that have nothing odd to tell before they are read."""
    return ()


def has_colours(shape: tuple[int, ...]) -> bool:
    """Tell from a shape whether its last axis are the channels of colours."""
    return len(shape) >= 3 and shape[-1] in (3, 4)
