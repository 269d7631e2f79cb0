"""One object through planes: what is found on a plane that nobody drew, as a record.

Records that share a label are one object. On each plane it either was prompted, or was
propagated there from other planes: then all its points are of source "propagated".
"""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_promise.document.logits import MaskLogits
from napari_promise.document.records import ObjectRecord, Source
from napari_promise.document.regions import Plane, Region
from napari_promise.prompts import Prompts

__all__ = [
    "FoundPlane",
    "absent",
    "confirmed",
    "ending",
    "found_record",
    "is_absent",
    "is_propagated",
    "is_proposed",
    "unconfirmed_planes",
]


@dataclass(frozen=True, eq=False)
class FoundPlane:
    """An object as it was found on a plane that nobody drew.

    Attributes
    ----------
    plane : Plane
    region : Region or None
        None where the object is not on this plane.
    confidence : float
        In [0, 1].
    logits : (1, h, w) float32 or None
        The mask as the model takes it, for a click to correct.
    stopped : str
        Where the object ends before this plane, why, in words.
    """

    plane: Plane
    region: Region | None
    confidence: float
    logits: NDArray[np.float32] | None = None
    stopped: str = ""


def is_propagated(record: ObjectRecord) -> bool:
    """Whether a record was found from other planes, and nobody edited it since."""
    return bool(record.sources) and set(record.sources) == {"propagated"}


def is_proposed(record: ObjectRecord) -> bool:
    """Whether an adapter placed all points of a record, and nobody edited it since."""
    return bool(record.sources) and set(record.sources) == {"auto"}


def is_absent(record: ObjectRecord) -> bool:
    """Whether somebody said that the object is not on this plane."""
    return record.is_blank and record.answered_revision == record.revision


def absent(record: ObjectRecord, revision: int) -> ObjectRecord:
    """Return a record that says that the object is not on its plane."""
    return ObjectRecord(
        record.id,
        record.plane,
        record.class_name,
        revision=revision,
        answered_revision=revision,
        written=record.written,
        yielded=record.yielded,
        label=record.label,
    )


def found_record(
    found: FoundPlane, like: ObjectRecord, object_id: int, revisions: Iterator[int]
) -> ObjectRecord:
    """Return what was found as a record, with one point deep in it.

    Parameters
    ----------
    found : FoundPlane
        With a region.
    like : ObjectRecord
        The object on another plane: label and class are its.
    object_id : int
    revisions : iterator of int
        Gives a revision that was never used.
    """
    assert found.region is not None
    prompts = Prompts(points=[found.region.deepest], labels=[1])
    revision = next(revisions)
    return ObjectRecord(
        object_id,
        found.plane,
        like.class_name,
        prompts=prompts,
        sources=("propagated",),
        region=found.region,
        score=float(found.confidence),
        logits=None if found.logits is None else MaskLogits(found.logits),
        answered=prompts,
        answered_revision=revision,
        revision=revision,
        label=like.label,
    )


def ending(record: ObjectRecord, plane: Plane, why: str) -> ObjectRecord:
    """Return a record that says why its object does not go on to a plane beside it."""
    below, above = record.ends
    if plane[-1] < record.plane[-1]:
        return dataclasses.replace(record, ends=(why, above))
    return dataclasses.replace(record, ends=(below, why))


def confirmed(record: ObjectRecord) -> ObjectRecord:
    """Return a propagated or proposed record as the user's: its mask stays as it is.

    Of an adapter's points one deep in the mask is left: nobody placed the others.
    """
    user: Source = "user"
    if is_proposed(record) and record.region is not None:
        prompts = Prompts(points=[record.region.deepest], labels=[1])
        return dataclasses.replace(
            record, prompts=prompts, answered=prompts, sources=(user,), coarse=None
        )
    return dataclasses.replace(record, sources=(user,) * len(record.sources))


def unconfirmed_planes(
    records: Collection[ObjectRecord], labels: Collection[int] | None = None
) -> frozenset[Plane]:
    """Return the planes whose label pixels hold a mask that nobody has looked at.

    Those of an object that was carried through planes, where it was propagated, or
    proposed by an adapter, and neither corrected nor confirmed since. A proposal on a
    single plane was on display when it was committed.

    Parameters
    ----------
    records : collection of ObjectRecord
    labels : collection of int, optional
        Only of these objects.
    """
    carried = {record.label for record in records if is_propagated(record)}
    return frozenset(
        record.plane
        for record in records
        if record.written is not None
        and record.label in carried
        and (labels is None or record.label in labels)
        and (is_propagated(record) or is_proposed(record))
    )
