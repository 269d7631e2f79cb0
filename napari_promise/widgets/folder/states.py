"""The states of an image as the user reads them, with their signs."""

from __future__ import annotations

from typing import NamedTuple

from napari_promise.project import State

#: Somebody began, and it is saved.
IN_PROGRESS: State = "in progress"


class Sign(NamedTuple):
    """How a state is shown."""

    text: str
    shape: str
    colour: str


#: Shape and colour both say the state; Okabe and Ito's colours, apart for everybody. In
#: the order in which an image goes through them.
SIGNS: dict[str, Sign] = {
    "new": Sign("new", "ring", "#999999"),
    "proposed": Sign("proposed", "dotted", "#56b4e9"),
    IN_PROGRESS: Sign("in progress", "half", "#e69f00"),
    "done": Sign("done", "disc", "#009e73"),
    "skipped": Sign("skipped", "bar", "#cc79a7"),
}
