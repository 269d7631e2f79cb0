"""What an edit of an object's prompts keeps of what was there before.

Which mask is fed back, which points it answers already, whose points they are.
"""

from __future__ import annotations

import dataclasses
import itertools
from collections import Counter
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.document.records import ObjectRecord, Source
from napari_promise.prompts import Before, Prompts

__all__ = ["answered_points", "feedback", "inherit"]

#: A point prompt as (row, column, label).
_PointKey = tuple[float, float, int]


def feedback(
    record: ObjectRecord, prompts: Prompts, sources: Sequence[Source]
) -> Prompts:
    """Choose what edited prompts send: the mask prompt, and which points go with it.

    When points were only added to an object with a mask, the mask's own logits are
    fed back, as interactive SAM does. The automatic points that this mask answers
    are then marked as answered and not sent again, because many of them outvote a
    corrective click. One stays, as the first click of a session would: the first
    to include that lies on the mask, which a module that orders its points puts
    deepest in the object. Without it, later clicks would shrink the mask to what
    lies around them. What the user placed is always sent, and what was added since
    the mask was drawn is marked.

    Where only what was added last was moved or flipped, its correction is redone, from
    the mask that it corrected. After any other point was moved, deleted or flipped, or
    a box or mask changed, the mask would hold on to what was taken back, so everything
    restarts: all points, and the auto-prompting module's map where there is one.

    Parameters
    ----------
    record : ObjectRecord
        The object before the edit.
    prompts : Prompts
        The prompts after it; the mask before is not looked at.
    sources : sequence of Source
        Who placed each point of `prompts`.

    Returns
    -------
    Prompts
        The same prompts, with `before` set.
    """
    earlier = record.answered
    prompts = prompts.replace(before=None)
    if prompts.is_empty or (earlier is None and prompts.mask is not None):
        return prompts
    if earlier is None:
        return prompts.replace(before=_only(record.coarse))
    same_mask = earlier.mask is prompts.mask or (
        earlier.mask is not None
        and prompts.mask is not None
        and np.array_equal(prompts.mask, earlier.mask)
    )
    there, before = _point_counts(prompts), _point_counts(earlier)
    automatic = np.array([source == "auto" for source in sources], bool)
    same = same_mask and np.array_equal(prompts.boxes, earlier.boxes)
    old = before if earlier.added is None else _point_counts(earlier, ~earlier.added)
    if same and old <= there and len(prompts.points) == len(earlier.points):
        if earlier.before is None:
            return prompts
        left_out = before - _point_counts(earlier.to_send())
        redone = dataclasses.replace(
            earlier.before,
            answered=_among(left_out, prompts, automatic),
            added=~_among(old, prompts),
        )
        return prompts.replace(before=redone)
    if not (same and before <= there) or record.region is None or record.logits is None:
        coarse = None if prompts.mask is not None else record.coarse
        return prompts.replace(before=_only(coarse))
    answered = answered_points(
        _among(before, prompts, automatic),
        prompts.labels,
        record.region.covers(prompts.points),
    )
    fed_back = Before(
        record.logits.array, answered, ~_among(before, prompts), record.tile
    )
    return prompts.replace(before=fed_back)


def answered_points(
    automatic: NDArray[np.bool_], labels: NDArray[Any], on_mask: NDArray[np.bool_]
) -> NDArray[np.bool_]:
    """Tell which points a mask answers, so that they are not sent with it again.

    The automatic ones but one, see `feedback`.

    Parameters
    ----------
    automatic : (N,) bool
        Points that an auto-prompting module placed and the mask has answered.
    labels : (N,) integer
        1 include, 0 exclude.
    on_mask : (N,) bool
        Points that lie on the mask.

    Returns
    -------
    (N,) bool
    """
    answered = np.array(automatic, bool)
    included = answered & (np.asarray(labels) == 1)
    kept = included & on_mask
    answered[np.flatnonzero(kept if kept.any() else included)[:1]] = False
    return answered


def _only(logits: NDArray[np.float32] | None) -> Before | None:
    """Return logits that answer none of the points and that none was added to."""
    return None if logits is None else Before(logits)


def inherit(
    record: ObjectRecord, prompts: Prompts
) -> tuple[tuple[Source, ...], NDArray[np.float64] | None]:
    """Return each point's source and score; one moved or added is the user's."""
    known: dict[_PointKey, tuple[Source, float]] = {}
    scores = record.prompts.scores
    for index, source in enumerate(record.sources):
        row, column = record.prompts.points[index].tolist()
        score = np.nan if scores is None else float(scores[index])
        known[row, column, int(record.prompts.labels[index])] = (source, score)
    found = [known.get(key, ("user", np.nan)) for key in _point_keys(prompts)]
    inherited = np.array([score for _, score in found])
    return (
        tuple(source for source, _ in found),
        None if np.isnan(inherited).all() else inherited,
    )


def _point_keys(prompts: Prompts) -> list[_PointKey]:
    return [
        (row, column, label)
        for (row, column), label in zip(
            prompts.points.tolist(), prompts.labels.tolist(), strict=True
        )
    ]


def _point_counts(
    prompts: Prompts, chosen: NDArray[np.bool_] | None = None
) -> Counter[_PointKey]:
    keys = _point_keys(prompts)
    return Counter(keys if chosen is None else itertools.compress(keys, chosen))


def _among(
    known: Counter[_PointKey],
    prompts: Prompts,
    eligible: NDArray[np.bool_] | None = None,
) -> NDArray[np.bool_]:
    """Tell which of the eligible points are among the known, each counted once."""
    left = known.copy()
    found = np.zeros(len(prompts.points), bool)
    for index, key in enumerate(_point_keys(prompts)):
        if (eligible is None or eligible[index]) and left[key] > 0:
            left[key] -= 1
            found[index] = True
    return found
