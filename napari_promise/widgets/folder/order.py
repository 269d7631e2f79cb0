"""Which image of a folder comes next: pure functions of the table's rows and states."""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Protocol

from napari_promise.project import State

#: An image in one of these states waits for nobody.
FINISHED: frozenset[State] = frozenset({"done", "skipped"})

StateOf = Callable[[str], State]


class ByConfidence(Protocol):
    """What knows the confidence of proposals, see `project.ledger.Ledger`."""

    def by_confidence(self) -> Sequence[str]:
        """Return the images that are not finished, the weakest first."""

    def next_uncertain(self, after: str | None = None) -> str | None:
        """Return the weakest that waits; after a given one, the next stronger one."""


def row_of(order: Sequence[str], key: str | None) -> int:
    """Return the row of an image; -1 where it is not shown."""
    return order.index(key) if key is not None and key in order else -1


def to_do_after(order: Sequence[str], key: str | None, state_of: StateOf) -> list[str]:
    """Return the images that wait, from below a row to the end and on from the top.

    Parameters
    ----------
    order : sequence of str
        Keys of the table's rows, from the top.
    key : str or None
        Of a row; it is left out. None, or one that is not shown: from the top.
    state_of : callable
        Returns the state of an image.
    """
    row = row_of(order, key)
    turned = [*order[row + 1 :], *order[: max(row, 0)]]
    return [other for other in turned if state_of(other) not in FINISHED]


def first_to_do(order: Sequence[str], state_of: StateOf) -> str | None:
    """Return the topmost image that waits, else the topmost; None without rows."""
    waiting = to_do_after(order, None, state_of)
    return waiting[0] if waiting else (order[0] if order else None)


def beside(order: Sequence[str], key: str | None, by: int) -> str | None:
    """Return the image so many rows below; None beyond either end.

    From an image that is not shown it is the first row.
    """
    row = row_of(order, key)
    target = row + by if row >= 0 else 0
    return order[target] if 0 <= target < len(order) else None


def after_finished(
    order: Sequence[str],
    key: str | None,
    state_of: StateOf,
    weakest_first: ByConfidence | None,
    unreadable: Collection[str] = (),
) -> str | None:
    """Return what follows on an image that is done or skipped; None for nothing.

    Parameters
    ----------
    order, key, state_of
        As for `to_do_after`.
    weakest_first : ByConfidence or None
        Given, the weakest proposal follows instead of the next row.
    unreadable : collection of str
        Images that could not be opened: they are passed over.
    """
    if weakest_first is not None:
        found = _uncertain(weakest_first, key, unreadable)
    else:
        waiting = to_do_after(order, key, state_of)
        found = next((other for other in waiting if other not in unreadable), None)
    return None if found == key else found


def weakest(
    proposals: ByConfidence,
    key: str | None,
    shown_before: str | None,
    unreadable: Collection[str] = (),
) -> str | None:
    """Return the image with the weakest proposal that waits; None for nothing new.

    Parameters
    ----------
    proposals : ByConfidence
    key : str or None
        The image on display, or on its way.
    shown_before : str or None
        What this returned last: asked again from there it is the next stronger one.
    unreadable : collection of str
        Images that could not be opened: they are passed over.
    """
    walked = key is not None and key == shown_before
    found = _uncertain(proposals, key if walked else None, unreadable)
    if found == key:
        found = _uncertain(proposals, found, unreadable)
    return None if found == key else found


def _uncertain(
    proposals: ByConfidence, after: str | None, unreadable: Collection[str]
) -> str | None:
    found = proposals.next_uncertain(after)
    for _ in unreadable:
        if found in unreadable:
            found = proposals.next_uncertain(found)
    return None if found in unreadable else found


def coming(
    order: Sequence[str],
    key: str,
    state_of: StateOf,
    weakest_first: ByConfidence | None,
    ahead: int,
) -> list[str]:
    """Return the images that are likely to be opened after this one.

    Parameters
    ----------
    order, key, state_of, weakest_first
        As for `after_finished`.
    ahead : int
        So many of those that wait; the row below comes with them in any case.
    """
    if weakest_first is not None:
        waiting = [k for k in weakest_first.by_confidence() if k != key]
    else:
        waiting = to_do_after(order, key, state_of)
    found = waiting[:ahead]
    below = beside(order, key, +1) if key in order else None
    if below is not None and below not in found:
        found.append(below)
    return found
