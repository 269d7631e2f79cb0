"""From an answer to the document: does it still fit, and what is written of it.

Knows requests, prompts and documents; not where an answer comes from, nor who is told
of it. The worker calls `is_current` and `propose`; what writes is for the window's
thread.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_promise.document import Source
from napari_promise.prompts import Prompts
from napari_promise.session.contracts import EmbeddingLike, SegmenterLike
from napari_promise.session.requests import Request
from napari_promise.session.results import DragPreview, ProposeResult, SegmentResult

__all__ = [
    "Proposal",
    "drag_preview_of",
    "is_current",
    "propose",
    "write_mask",
    "write_proposal",
]


def is_current(request: Request) -> bool:
    """Whether the object still has the prompts that were asked about."""
    document, object_id = request.image.document, request.object_id
    if object_id is None or object_id not in document:
        return False
    record = document.get(object_id)
    return record.revision == request.revision and (
        request.again or not record.is_answered
    )


def drag_preview_of(request: Request, result: Any) -> DragPreview | None:
    """Return what a drag preview shows; None where the object has changed meanwhile.

    Parameters
    ----------
    request : Request
    result : Segmentation
        What `SegmenterLike.segment` returned.

    Returns
    -------
    DragPreview or None
    """
    if not is_current(request):
        return None
    assert request.object_id is not None
    return DragPreview(
        request.image.document,
        request.object_id,
        request.revision,
        request.plane,
        result.region,
    )


def write_mask(request: Request, result: Any) -> SegmentResult | None:
    """Write a mask into the document, unless the object has changed meanwhile.

    Parameters
    ----------
    request : Request
    result : Segmentation
        What `SegmenterLike.segment` returned.

    Returns
    -------
    SegmentResult or None
        None where nothing was written.
    """
    if not is_current(request):
        return None
    document, object_id = request.image.document, request.object_id
    assert object_id is not None
    taken = document.set_mask(
        object_id,
        result.region,
        score=result.score,
        logits=result.logits,
        revision=request.revision,
    )
    if not taken:
        return None
    seconds = time.monotonic() - request.asked
    return SegmentResult(document, object_id, request.plane, seconds)


# Auto-prompts ------------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Proposal:
    """What an auto-prompting module found, and the mask that answers it.

    Attributes
    ----------
    found : Prompts
        The module's own.
    prompts : Prompts
        Joined with the user's, as the object had them then; `result` answers these.
    sources : tuple of {"auto", "user"}
        Of the points of `prompts`.
    result : Segmentation
    """

    found: Prompts
    prompts: Prompts
    sources: tuple[Source, ...]
    result: Any


def propose(
    segmenter: SegmenterLike, embedding: EmbeddingLike, request: Request
) -> Proposal | None:
    """Find prompts and their mask; None where the module finds nothing.

    Parameters
    ----------
    segmenter : SegmenterLike
    embedding : EmbeddingLike
        Of the plane of the request.
    request : Request

    Returns
    -------
    Proposal or None
    """
    found = segmenter.propose(embedding)
    if not found.labels.any():
        return None
    prompts, sources = _joined(request, found)
    result = segmenter.segment(embedding, prompts, ips=request.ips)
    return Proposal(found, prompts, sources, result)


def write_proposal(request: Request, proposal: Proposal) -> ProposeResult | None:
    """Write auto-prompts into the document, and their mask where it still fits.

    One step of the document. Where the user has edited the object meanwhile it gets
    the prompts without the mask, which has to be asked for.

    Parameters
    ----------
    request : Request
    proposal : Proposal

    Returns
    -------
    ProposeResult or None
        None where the object was removed meanwhile.
    """
    document, object_id = request.image.document, request.object_id
    if object_id is not None and object_id not in document:
        return None
    prompts, sources = _joined(request, proposal.found)
    with document.step("auto-prompt"):
        if object_id is None:
            object_id = document.new_object(request.plane).id
        record = document.set_prompts(
            object_id,
            prompts,
            sources,
            keep_logits=True,
            coarse=proposal.found.logits,
            name="auto-prompt",
        )
        if prompts == proposal.prompts and sources == proposal.sources:
            document.set_mask(
                object_id,
                proposal.result.region,
                score=proposal.result.score,
                logits=proposal.result.logits,
                revision=record.revision,
            )
    return ProposeResult(document, object_id, request.plane, prompts)


def _joined(request: Request, found: Prompts) -> tuple[Prompts, tuple[Source, ...]]:
    """Join the found prompts with what the user said of the object."""
    document, object_id = request.image.document, request.object_id
    if object_id is None or object_id not in document:
        return found, _repeat("auto", len(found.points))
    record = document.get(object_id)
    of_user = np.array([s == "user" for s in record.sources], bool)
    unknown = np.full(int(of_user.sum()), np.nan)
    scores = None  # of a module that states none
    if found.scores is not None:
        scores = np.concatenate([unknown, found.scores])
    prompts = found.replace(
        points=np.concatenate([record.prompts.points[of_user], found.points]),
        labels=np.concatenate([record.prompts.labels[of_user], found.labels]),
        scores=scores,
        boxes=record.prompts.boxes,
        mask=record.prompts.mask,
    )
    sources = _repeat("user", len(unknown))
    return prompts, sources + _repeat("auto", len(found.points))


def _repeat(source: Source, count: int) -> tuple[Source, ...]:
    return (source,) * count
