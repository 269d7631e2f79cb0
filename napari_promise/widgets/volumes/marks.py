"""What there is to see of an object on each plane of a stack."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from napari_promise.document import Document, Plane, is_propagated

__all__ = ["PlaneMark", "marks_of", "next_weakest"]


@dataclass(frozen=True)
class PlaneMark:
    """An object on one plane.

    Attributes
    ----------
    state : {"none", "propagated", "sure"}
        "sure" is what somebody prompted, corrected, confirmed or committed.
    confidence : float
        In [0, 1]; of a propagated plane.
    stopped : str
        Why propagation ended on this plane; empty where it did not.
    """

    state: Literal["none", "propagated", "sure"] = "none"
    confidence: float = 0.0
    stopped: str = ""

    def in_words(self, plane: int) -> str:
        """Say it in a line."""
        if self.stopped:
            return f"Plane {plane}: the object ends here, {self.stopped}."
        if self.state == "propagated":
            return f"Plane {plane}: propagated, confidence {self.confidence:.0%}."
        if self.state == "sure":
            return f"Plane {plane}: prompted, corrected or confirmed."
        return f"Plane {plane}: nothing of the object."


def marks_of(
    document: Document,
    label: int | None,
    before: Plane,
    count: int,
    stops: Mapping[int, str],
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
    stops : mapping of int to str
        Why propagation ended, by plane.
    """
    marks = [PlaneMark(stopped=stops.get(plane, "")) for plane in range(count)]
    for record in () if label is None else document.of_label(label):
        if record.plane[:-1] != before or record.is_blank:
            continue
        if is_propagated(record) and document.is_draft(record):
            mark = PlaneMark("propagated", record.score or 0.0)
        else:
            mark = PlaneMark("sure", 1.0)
        marks[record.plane[-1]] = mark
    return tuple(marks)


def next_weakest(marks: tuple[PlaneMark, ...], plane: int) -> int | None:
    """Return the propagated plane to look at next.

    Parameters
    ----------
    marks : tuple of PlaneMark
    plane : int
        On display: where it is a propagated plane, the next one up in confidence is
        returned, and after the surest the weakest again.

    Returns
    -------
    int or None
        None where nothing is propagated.
    """
    order = sorted(
        (mark.confidence, index)
        for index, mark in enumerate(marks)
        if mark.state == "propagated"
    )
    if not order:
        return None
    here = (marks[plane].confidence, plane)
    if marks[plane].state == "propagated":
        order = [one for one in order if one > here] or order
    return order[0][1]
