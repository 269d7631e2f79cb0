"""Which ids and labels objects get that come from elsewhere: theirs where free."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Iterator, Sequence
from typing import Any

from napari_promise.document.records import ObjectRecord
from napari_promise.document.regions import Plane

__all__ = ["numbered"]


def numbered(
    objects: Sequence[Any],
    known: Collection[ObjectRecord],
    highest: int,
    revisions: Iterator[int],
    *,
    masks: bool,
) -> list[ObjectRecord]:
    """Return objects as records of a document, with numbers of their own.

    Parameters
    ----------
    objects : sequence of export.SavedObject or ObjectRecord
        Those that share a label go on sharing one, on planes of their own.
    known : collection of ObjectRecord
        The document's objects.
    highest : int
        The highest id or label that was given so far.
    revisions : iterator of int
        Gives a revision that was never used.
    masks : bool
        Whether an `ObjectRecord` brings its mask.

    Returns
    -------
    list of ObjectRecord
        In the order given, not committed.
    """
    taken = {record.id for record in known}
    labels = {record.label for record in known}
    ids: list[int] = []
    for saved in objects:
        object_id = int(saved.id)
        if object_id in taken or object_id in labels or object_id <= 0:
            object_id = highest + 1
        taken.add(object_id)
        highest = max(highest, object_id)
        ids.append(object_id)
    # A label goes with the object whose id it is.
    names: dict[int, int] = {}
    used: set[tuple[int, Plane]] = set()
    for saved, object_id in zip(objects, ids, strict=True):
        if saved.label == saved.id:
            names.setdefault(saved.label, object_id)
            used.add((object_id, tuple(saved.plane)))
    records = []
    for saved, object_id in zip(objects, ids, strict=True):
        plane = tuple(int(index) for index in saved.plane)
        label = object_id
        if saved.label != saved.id:
            if saved.label not in names:
                free = saved.label not in taken and saved.label not in labels
                names[saved.label] = saved.label if free else object_id
            label = names[saved.label]
            if (label, plane) in used:
                label = object_id
            used.add((label, plane))
        revision = next(revisions)
        record = ObjectRecord(
            object_id,
            plane,
            saved.class_name,
            saved.prompts,
            tuple(saved.sources),
            coarse=saved.coarse,
            revision=revision,
            label=label,
            tile=getattr(saved, "tile", None),
            pinned=True,
        )
        if masks and isinstance(saved, ObjectRecord) and saved.region is not None:
            is_answered = saved.is_answered
            record = dataclasses.replace(
                record,
                region=saved.region,
                score=saved.score,
                logits=saved.logits,
                answered=saved.prompts if is_answered else saved.answered,
                answered_revision=revision if is_answered else None,
            )
        records.append(record)
    return records
