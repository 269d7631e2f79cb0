"""What the session's signals carry: what its worker is at, and what was answered."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_promise.document import Document, Plane, Region

__all__ = ["DragAnswer", "SegmentResult", "State", "Status"]

#: What the worker can be at, see `Status`.
State = Literal[
    "idle", "loading", "downloading", "encoding", "waiting", "ready", "error"
]


@dataclass(frozen=True)
class Status:
    """What the worker is at.

    Attributes
    ----------
    state : str
        "idle" (no image), "loading" (a model), "downloading", "encoding",
        "waiting" (for another computer), "ready",
        "error".
    message : str
        One line for people.
    device : str
        Where the model computes; empty before there is one.
    cached : bool
        Whether the plane on display was encoded before.
    progress : float or None
        In [0, 1] where it is known.
    """

    state: State = "idle"
    message: str = ""
    device: str = ""
    cached: bool = False
    progress: float | None = None


@dataclass(frozen=True, eq=False)
class SegmentResult:
    """A mask that was written into the document.

    Attributes
    ----------
    document : Document
    object_id : int
    plane : Plane
        The plane of the request, not the one on display.
    seconds : float
        From the request to the mask.
    """

    document: Document
    object_id: int
    plane: Plane
    seconds: float


@dataclass(frozen=True, eq=False)
class DragAnswer:
    """The mask that an object would get with other prompts; the document has it not.

    Attributes
    ----------
    document : Document
    object_id : int
    revision : int
        What the object was when this was asked; it still is.
    plane : Plane
    region : Region or None
        None for an empty mask.
    """

    document: Document
    object_id: int
    revision: int
    plane: Plane
    region: Region | None
