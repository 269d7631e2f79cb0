"""From an adapter's proposals on some planes to one object: the planes vote.

An adapter looks at one plane at a time, and finds something else on some. What the
proposals around a plane lead to there is compared with what was proposed: one that the
others speak against is left out.
"""

from __future__ import annotations

from collections.abc import Generator, Mapping
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_promise.propagation.propagator import Propagator

if TYPE_CHECKING:
    from napari_promise.model.sam import Embedding
    from napari_promise.segmenter import Segmenter

__all__ = ["agreeing", "planes_to_ask", "proposal", "voting"]

#: Dice with what the others find, from which on a proposal stands.
_AGREES = 0.5
#: Of so few proposals none can be outvoted.
_FEW = 2
#: Neighbours on either side that vote.
_REACH = 2
#: How many planes are asked, if the stack has so many.
_ASKED = 12


def planes_to_ask(first: int, last: int, every: int | None = None) -> list[int]:
    """Return every so manieth plane, in the middle of its share of the range.

    Parameters
    ----------
    first, last : int
        The first and the last plane of the range.
    every : int, optional
        Left out, so that about twelve planes are asked.
    """
    count = last - first + 1
    step = max(1, -(-count // _ASKED)) if every is None else max(1, every)
    return list(range(first + min(step // 2, count - 1), last + 1, step))


def proposal(segmenter: Segmenter, embedding: Embedding) -> NDArray[np.bool_] | None:
    """Return what the adapter finds on a plane, (H, W); None for nothing.

    Raises
    ------
    NoPrompterError
        If there is no adapter that places points.
    """
    prompts = segmenter.propose(embedding)
    if not prompts.has_target:
        return None
    mask = segmenter.segment(embedding, prompts).mask
    return mask if mask.any() else None


def agreeing(
    propagator: Propagator, label: int, proposals: Mapping[int, NDArray[np.bool_]]
) -> dict[int, float]:
    """Have proposals vote, and leave those drawn that are left.

    Parameters
    ----------
    propagator : Propagator
        Gets the proposals that agree as drawn planes of the object.
    label : int
        Of the object, of which nothing is drawn yet.
    proposals : mapping of int to (H, W) bool
        Plane -> what was found there.

    Returns
    -------
    dict of int to float
        See `voting`.
    """
    votes = voting(propagator, label, proposals)
    while True:
        try:
            next(votes)
        except StopIteration as over:
            left: dict[int, float] = over.value
            break
    for plane in left:
        propagator.set_plane(plane, label, proposals[plane])
    return left


def voting(
    propagator: Propagator, label: int, proposals: Mapping[int, NDArray[np.bool_]]
) -> Generator[int, None, dict[int, float]]:
    """Have proposals vote, plane by plane.

    Each is propagated by itself to the next two on either side: its vote for one of
    them is the Dice of what it finds with what was proposed there.

    Parameters
    ----------
    propagator, label, proposals
        See `agreeing`; the propagator is left as it was.

    Yields
    ------
    int
        The plane that is looked at next, so that it can be encoded where that may take
        its time.

    Returns
    -------
    dict of int to float
        The planes that are left, with the vote for them: the second best of their
        neighbours', so that one that is wrong itself neither makes nor breaks them. 1
        where there were too few to ask.
    """
    order = sorted(proposals)
    votes: dict[int, list[float]] = {plane: [] for plane in order}
    for at, plane in enumerate(order if len(order) > _FEW else ()):
        low, high = max(0, at - _REACH), min(len(order) - 1, at + _REACH)
        yield plane
        propagator.set_plane(plane, label, proposals[plane])
        run, found = propagator.run((order[low], order[high]), [label]), {}
        while True:
            if propagator.upcoming is not None:
                yield propagator.upcoming
            result = next(run, None)
            if result is None:
                break
            if result.label == label:
                found[result.plane] = result.mask
        propagator.remove_plane(plane, label)
        for other in order[low : high + 1]:
            if other != plane:
                mask = proposals[other]
                votes[other].append(_dice(found.get(other, np.zeros_like(mask)), mask))
    sure = {plane: _second(each) for plane, each in votes.items()}
    return {plane: vote for plane, vote in sure.items() if vote >= _AGREES}


def _second(votes: list[float]) -> float:
    """Return the second best of votes; of two the best, of none 1."""
    if not votes:
        return 1.0
    return sorted(votes)[-2] if len(votes) > _FEW else max(votes)


def _dice(found: NDArray[np.bool_], mask: NDArray[np.bool_]) -> float:
    both = int(np.count_nonzero(found)) + int(np.count_nonzero(mask))
    return 2 * int(np.count_nonzero(found & mask)) / max(1, both)
