"""Completing a step of the history after later ones were made, as if it had been first.

A commit that waits for its mask is a step without pixels. Once the mask is there the
commit is worked out on the labels as they were at that step, and what was done since
is laid over it again, in its order.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.document.history import Step
from napari_promise.document.patches import LabelPatch
from napari_promise.document.records import ObjectRecord
from napari_promise.document.regions import Plane

__all__ = ["Late", "settle_late"]


@dataclass(frozen=True)
class Late:
    """What completing a step changes now.

    Attributes
    ----------
    records : dict of int to ObjectRecord
        The objects concerned, as they stand from now on.
    patch : LabelPatch or None
        The label pixels that are others now.
    """

    records: dict[int, ObjectRecord]
    patch: LabelPatch | None


def settle_late(
    step: Step,
    done: Sequence[Step],
    undone: Sequence[Step],
    plane: Plane,
    labels: NDArray[Any],
    settle: Callable[[NDArray[Any]], tuple[dict[int, ObjectRecord], LabelPatch | None]],
    records: Mapping[int, ObjectRecord],
) -> Late:
    """Complete a step; the steps given are brought in line with it, in place.

    Nothing that was done since has committed or removed an object with its pixels: of
    the objects concerned only prompts, masks and classes may have changed.

    Parameters
    ----------
    step : Step
        Gets the pixels and the records of the commit.
    done, undone : sequence of Step
        What was done after it, and what would be redone then, in their order.
    plane : Plane
    labels : (H, W) integer
        The labels of the plane as they are now.
    settle : callable
        Given the labels as they were at that step, returns which records the commit
        changes, and the pixels.
    records : mapping of int to ObjectRecord
        The objects as they stand.

    Returns
    -------
    Late
    """
    then = np.array(labels)
    for later in reversed(done):
        for patch in reversed(later.patches):
            if patch.plane == plane:
                then = _written(then, patch.inverse())
    changed, pixels = settle(then)
    if pixels is not None:
        step.patches.append(pixels)
        then = _written(then, pixels)
    for object_id, after in changed.items():
        now = records[object_id]
        first = _first_known(object_id, done, now)
        before, _ = step.records.get(object_id, (first, None))
        step.records[object_id] = (before, _with_pixels(first, now, after))
        for later in (*done, *undone):
            if object_id in later.records:
                old, new = later.records[object_id]
                later.records[object_id] = (
                    None if old is None else _with_pixels(old, now, after),
                    None if new is None else _with_pixels(new, now, after),
                )
    then = _laid_over(then, done, plane)
    net = LabelPatch.from_crops(plane, (0, 0), labels, then, then.shape[-2:])
    _laid_over(then, undone, plane)
    return Late(changed, net)


def _laid_over(
    labels: NDArray[Any], steps: Sequence[Step], plane: Plane
) -> NDArray[Any]:
    """Return the labels with steps done on them, which are made to fit, in place."""
    labels = labels.copy()
    for step in steps:
        for index, patch in enumerate(step.patches):
            if patch.plane == plane:
                step.patches[index] = patch.rebased(labels)
                labels = _written(labels, patch)
    return labels


def _written(labels: NDArray[Any], patch: LabelPatch) -> NDArray[Any]:
    labels = labels.astype(np.result_type(labels, patch.after), copy=False)
    patch.write(labels)
    return labels


def _first_known(
    object_id: int, steps: Sequence[Step], now: ObjectRecord
) -> ObjectRecord:
    """Return an object as it was before the first of some steps that changed it."""
    for step in steps:
        if object_id in step.records:
            before = step.records[object_id][0]
            return now if before is None else before
    return now


def _with_pixels(
    version: ObjectRecord, now: ObjectRecord, after: ObjectRecord
) -> ObjectRecord:
    """Return a version of an object with the pixels that a commit left to it."""
    newly = after.committed and not now.committed
    return dataclasses.replace(
        version,
        written=after.written,
        yielded=after.yielded,
        committed=version.committed or (newly and version.revision == now.revision),
    )
