"""From an answer to the document: does it still fit, and what is written of it.

The worker calls `is_current` and `propose`; what writes is for the window's thread.
"""

from __future__ import annotations

import dataclasses
import itertools
import time
from collections.abc import Iterator, Sequence

import numpy as np

from napari_promise import proposing
from napari_promise.closer import answer_closer
from napari_promise.document import Source
from napari_promise.project.proposals import record_of
from napari_promise.prompts import Prompts
from napari_promise.proposing import ProposedObject
from napari_promise.segmentation import EmbeddingLike, Segmentation, SegmenterLike
from napari_promise.session.requests import Request
from napari_promise.session.results import DragAnswer, SegmentResult

__all__ = [
    "answer",
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
        request.again or request.rounds > 0 or not record.is_answered
    )


def answer(
    segmenter: SegmenterLike, embedding: EmbeddingLike, request: Request
) -> tuple[Segmentation, Prompts]:
    """Return the mask that answers a request, and what the model was asked.

    Parameters
    ----------
    segmenter : SegmenterLike
    embedding : EmbeddingLike
        Of the tile of the request.
    request : Request
    """
    prompts, ips, local = request.prompts, request.ips, request.local
    if request.farther is None:
        return segmenter.segment(embedding, prompts, ips=ips, local=local), prompts
    return answer_closer(
        segmenter, embedding, prompts, request.farther, ips=ips, local=local
    )


def drag_preview_of(request: Request, result: Segmentation) -> DragAnswer | None:
    """Return what a drag preview shows; None where the object has changed meanwhile.

    Parameters
    ----------
    request : Request
    result : Segmentation

    Returns
    -------
    DragAnswer or None
    """
    if not is_current(request):
        return None
    assert request.object_id is not None
    return DragAnswer(
        request.image.document,
        request.object_id,
        request.revision,
        request.plane,
        result.region,
    )


def write_mask(
    request: Request, result: Segmentation, asked: Prompts
) -> SegmentResult | None:
    """Write a mask into the document, unless the object has changed meanwhile.

    Parameters
    ----------
    request : Request
    result : Segmentation
    asked : Prompts
        What the model was asked, as `answer` says.

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
        tile=request.tile.bbox,
        prompts=asked,
        sharper=request.rounds > 0,
    )
    if not taken:
        return None
    seconds = time.monotonic() - request.asked
    return SegmentResult(document, object_id, request.plane, seconds)


# Auto-prompts ------------------------------------------------------------------------


def propose(
    segmenter: SegmenterLike, embedding: EmbeddingLike, request: Request
) -> tuple[ProposedObject, ...]:
    """Find prompts and their masks; those of the first join what the user prompted.

    Parameters
    ----------
    segmenter : SegmenterLike
    embedding : EmbeddingLike
        Of the tile of the request.
    request : Request

    Returns
    -------
    tuple of ProposedObject
        None at all where nothing was found.
    """
    many = getattr(segmenter, "finds_many", False)
    targets, joined = _targets(request, many), next(_targets(request, many))
    found = proposing.propose(
        segmenter,
        embedding,
        request.plane,
        ips=request.ips,
        join=lambda found: _joined(request, next(targets), found),
    )
    if request.tile.bbox is None:
        return found
    # The part on the screen overlaps with those that were looked at before.
    rows, columns = request.image.source.shape[-2:]
    here = request.image.document.on_plane(request.plane)
    known = [r.region or r.written for r in here if r.id != joined]
    return proposing.not_known(
        found, [r for r in known if r is not None], request.tile.bbox, (rows, columns)
    )


def write_proposal(request: Request, found: Sequence[ProposedObject]) -> list[int]:
    """Write auto-prompts into the document, and their masks where they still fit.

    One step of the document. Where the user has edited the object meanwhile it gets
    the prompts without the mask, which has to be asked for.

    Parameters
    ----------
    request : Request
    found : sequence of ProposedObject

    Returns
    -------
    list of int
        The objects that got prompts; none where the object was removed meanwhile.
    """
    document = request.image.document
    if request.object_id is not None and request.object_id not in document:
        return []
    written = []
    # of several, the first was joined, or is one of many that nobody has prompted
    alone = len(found) > 1 and "user" not in (found[0].sources or ())
    with document.step("auto-prompt"):
        # Only the first may join what is there: the others come all at once.
        for proposed, object_id in zip(
            found[:1], _targets(request, alone), strict=False
        ):
            prompts, sources = _joined(request, object_id, proposed.found)
            if object_id is None:
                object_id = document.new_object(request.plane).id
            record = document.set_prompts(
                object_id,
                prompts,
                sources,
                keep_logits=True,
                coarse=proposed.coarse,
                name="auto-prompt",
            )
            if prompts == proposed.prompts and sources == proposed.sources:
                assert proposed.score is not None
                document.set_mask(
                    object_id,
                    proposed.region,
                    score=proposed.score,
                    logits=proposed.logits,
                    revision=record.revision,
                    tile=proposed.tile,
                )
            written.append(object_id)
        if written:
            class_name = document.get(written[0]).class_name
            rest = [
                record_of(0, dataclasses.replace(one, class_name=class_name))
                for one in found[1:]
            ]
            written += [record.id for record in document.add_many(rest)]
    return written


def _targets(request: Request, many: bool) -> Iterator[int | None]:
    """Yield which object gets each proposal: the request's own, then fresh ones.

    One of many is hardly the object that the user has begun to prompt.
    """
    document, object_id = request.image.document, request.object_id
    if many and object_id is not None and object_id in document:
        if not document.get(object_id).prompts.is_empty:
            return itertools.repeat(None)
    return itertools.chain([request.object_id], itertools.repeat(None))


def _joined(
    request: Request, object_id: int | None, found: Prompts
) -> tuple[Prompts, tuple[Source, ...]]:
    """Join the found prompts with what the user said of the object."""
    document = request.image.document
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
        boxes=record.prompts.boxes if len(record.prompts.boxes) else found.boxes,
        mask=record.prompts.mask,
    )
    sources = _repeat("user", len(unknown))
    return prompts, sources + _repeat("auto", len(found.points))


def _repeat(source: Source, count: int) -> tuple[Source, ...]:
    return (source,) * count
