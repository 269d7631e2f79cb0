"""What a model proposes, as records of objects, and into the document of a person.

Knows proposed objects, records and documents; no files.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable

import numpy as np

from napari_promise.document import Document, MaskLogits, ObjectRecord, Source
from napari_promise.project.items import ProposedObject

__all__ = ["record_of", "take_up"]


def record_of(number: int, proposed: ProposedObject) -> ObjectRecord:
    """Return a proposed object as the record that is kept of it."""
    sources = proposed.sources
    if sources is None:
        automatic: list[Source] = ["auto"] * len(proposed.prompts.points)
        sources = tuple(automatic)
    return ObjectRecord(
        number,
        tuple(proposed.plane),
        proposed.class_name,
        proposed.prompts,
        sources,
        region=proposed.region,
        score=proposed.score,
        logits=None if proposed.logits is None else MaskLogits(proposed.logits),
        answered=proposed.prompts,
        answered_revision=0,
        coarse=proposed.coarse,
    )


def take_up(records: Iterable[ObjectRecord], document: Document) -> tuple[int, ...]:
    """Put proposed objects into a document, not committed, as one step of its history.

    Parameters
    ----------
    records : iterable of ObjectRecord
        As `record_of` made them; their ids are not kept.
    document : Document

    Returns
    -------
    tuple of int
        The objects' ids.
    """
    ids = []
    with document.step("take up proposal"):
        for proposed in records:
            record = document.add_saved(
                dataclasses.replace(proposed, id=document.next_id, label=0)
            )
            if proposed.region is not None:
                document.set_mask(
                    record.id,
                    proposed.region,
                    score=np.nan if proposed.score is None else proposed.score,
                    logits=None if proposed.logits is None else proposed.logits.array,
                    revision=record.revision,
                )
            ids.append(record.id)
    return tuple(ids)
