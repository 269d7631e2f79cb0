"""What is known of one image, and what travels in and out of a project."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, get_args

from numpy.typing import NDArray

from napari_promise.document import ObjectRecord

__all__ = [
    "STATES",
    "Entry",
    "Item",
    "State",
    "Stored",
    "check_state",
]

#: new: nothing was done; proposed: a model's proposal, not reviewed yet;
#: in progress: started and saved; done: confirmed; skipped: set aside.
State = Literal["new", "proposed", "in progress", "done", "skipped"]
STATES: tuple[State, ...] = get_args(State)
#: What version 0.1 called them in its files.
_EARLIER: dict[str, State] = {"in work": "in progress"}


def check_state(state: str) -> None:
    """Refuse a word that is no state.

    Raises
    ------
    ValueError
    """
    if state not in STATES:
        raise ValueError(f"the state is {state!r}; it must be one of {STATES}.")


@dataclass(frozen=True)
class Item:
    """One image of a project as the table shows it; a stack is one image.

    Attributes
    ----------
    key : str
        Its path relative to the project's source, with slashes; never changes.
    path : Path
    group : str or None
        Patient, sequence or the like.
    state : State
    objects : int or None
        Objects in the labels; where the state is "proposed" proposed ones. None where
        nobody has counted yet: masks that were there already are first read when
        their image is opened.
    confidence : float or None
        In [0, 1], what the proposal is worth: the Dice to be expected of it where
        the project has a calibration. None without a proposal.
    by : str
        Who saved it last; empty for nobody.
    when : str
        When it changed last, ISO 8601 in UTC; empty for never.
    clicks : int
        Corrective clicks spent on it so far.
    untouched : bool or None
        Done: whether the proposal was accepted as it was; None without a proposal.
    """

    key: str
    path: Path
    group: str | None = None
    state: State = "new"
    objects: int | None = 0
    confidence: float | None = None
    by: str = ""
    when: str = ""
    clicks: int = 0
    untouched: bool | None = None


@dataclass(frozen=True)
class Entry:
    """What the index keeps of an image; see `Item` for the fields they share.

    Attributes
    ----------
    raw : float or None
        The proposal's confidence as the model states it, before calibration.
    dice : float or None
        Of the proposal with what the user confirmed, in [0, 1]; None unless both are
        there.
    proposed : int or None
        How many objects are proposed; None without a proposal.
    saved : bool
        Whether there is work of the user to be restored.
    series : str
        Which DICOM series it is, see `Found.mark`; empty for a file.
    revision : int
        Counts the changes, so that the later of two entries is known.
    """

    state: State = "new"
    objects: int | None = 0
    raw: float | None = None
    dice: float | None = None
    proposed: int | None = None
    by: str = ""
    when: str = ""
    clicks: int = 0
    untouched: bool | None = None
    saved: bool = False
    series: str = ""
    revision: int = 0

    def replace(self, **changes: Any) -> Entry:
        """Return a later entry with some fields replaced."""
        return dataclasses.replace(self, revision=self.revision + 1, **changes)

    def to_json(self) -> dict[str, Any]:
        """Return what differs from an entry of an untouched image."""
        return {
            name: value
            for name, value in vars(self).items()
            if value != _DEFAULTS[name]
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Entry:
        """Return the entry that `to_json` wrote, here or in an earlier version.

        Raises
        ------
        ValueError
            If a value is of the wrong kind; unknown fields are passed over.
        """
        known = {name: data[name] for name in _DEFAULTS if name in data}
        for name, value in known.items():
            if not isinstance(value, _KINDS[name]) or (
                isinstance(value, bool) and bool not in _KINDS[name]
            ):
                raise ValueError(f"{name} is {value!r}.")
        if "state" in known:
            known["state"] = _EARLIER.get(known["state"], known["state"])
            check_state(known["state"])
        return cls(**known)


_DEFAULTS = {field.name: field.default for field in dataclasses.fields(Entry)}
_NONE = type(None)
_KINDS: dict[str, tuple[type, ...]] = {
    "state": (str,),
    "objects": (int, _NONE),
    "raw": (float, int, _NONE),
    "dice": (float, int, _NONE),
    "proposed": (int, _NONE),
    "by": (str,),
    "when": (str,),
    "clicks": (int,),
    "untouched": (bool, _NONE),
    "saved": (bool,),
    "series": (str,),
    "revision": (int,),
}


@dataclass(frozen=True, eq=False)
class Stored:
    """What is kept of an image, without a document to put it into.

    Attributes
    ----------
    labels : (..., H, W) integer or None
    objects : tuple of ObjectRecord
    state : State
    """

    labels: NDArray[Any] | None
    objects: tuple[ObjectRecord, ...]
    state: State
