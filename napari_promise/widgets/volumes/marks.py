"""What there is to see of an object on each plane of a stack."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from napari_promise.document import (
    Document,
    Plane,
    is_absent,
    is_propagated,
    is_proposed,
)

__all__ = ["PlaneMark", "marks_of", "next_weakest"]

#: States of planes that nobody has looked at.
_UNSEEN = ("propagated", "proposed")


@dataclass(frozen=True)
class PlaneMark:
    """An object on one plane.

    Attributes
    ----------
    state : {"none", "propagated", "proposed", "sure", "absent"}
        "proposed" is what an adapter found and nobody has looked at; "sure" what
        somebody prompted, corrected, confirmed or committed; "absent" where somebody
        said that the object is not there.
    confidence : float
        In [0, 1]; of a propagated or proposed plane.
    stopped : str
        Why propagation ended on this plane; empty where it did not.
    """

    state: Literal["none", "propagated", "proposed", "sure", "absent"] = "none"
    confidence: float = 0.0
    stopped: str = ""

    def in_words(self, plane: int) -> str:
        """Say it in a line."""
        if self.stopped:
            return f"Plane {plane}: the object ends here, {self.stopped}."
        if self.state == "propagated":
            return f"Plane {plane}: propagated, confidence {self.confidence:.0%}."
        if self.state == "proposed":
            return f"Plane {plane}: the adapter's, confidence {self.confidence:.0%}."
        if self.state == "sure":
            return f"Plane {plane}: prompted, corrected or confirmed."
        if self.state == "absent":
            return f"Plane {plane}: the object is not here, as you said."
        return f"Plane {plane}: nothing of the object."


def marks_of(
    document: Document, label: int | None, before: Plane, count: int
) -> tuple[PlaneMark, ...]:
    """Return what there is of an object on each plane.

    Parameters
    ----------
    document : Document
    label : int or None
        The object's; None for none.
    before : Plane
        The indices in front of the axis of the planes.
    count : int
        How many planes there are.
    """
    marks = [PlaneMark()] * count
    whole = () if label is None else document.of_label(label)
    here = [
        record
        for record in whole
        if record.plane[:-1] == before and (is_absent(record) or not record.is_blank)
    ]
    for record in here:
        for beside, why in zip((-1, 1), record.ends, strict=True):
            if why and 0 <= record.plane[-1] + beside < count:
                marks[record.plane[-1] + beside] = PlaneMark(stopped=why)
    for record in here:
        if is_absent(record):
            mark = PlaneMark("absent")
        elif is_propagated(record) and document.is_draft(record):
            mark = PlaneMark("propagated", record.score or 0.0)
        elif is_proposed(record) and document.is_draft(record):
            mark = PlaneMark("proposed", record.score or 0.0)
        else:
            mark = PlaneMark("sure", 1.0)
        marks[record.plane[-1]] = mark
    return tuple(marks)


def next_weakest(marks: tuple[PlaneMark, ...], plane: int) -> int | None:
    """Return the propagated or proposed plane to look at next.

    Parameters
    ----------
    marks : tuple of PlaneMark
    plane : int
        On display: where nobody has looked at it yet, the next one up in confidence is
        returned, and after the surest the weakest again.

    Returns
    -------
    int or None
        None where nothing is propagated or proposed.
    """
    order = sorted(
        (mark.confidence, index)
        for index, mark in enumerate(marks)
        if mark.state in _UNSEEN
    )
    if not order:
        return None
    here = (marks[plane].confidence, plane)
    if marks[plane].state in _UNSEEN:
        order = [one for one in order if one > here] or order
    return order[0][1]
