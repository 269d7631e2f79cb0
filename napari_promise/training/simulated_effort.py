"""Count the clicks of a simulated person who outlines every object of an image.

The person sees all masks at once, and

1. rejects each proposal that lies on no object, or on one that another holds: a click;
2. adds each object that has none, by a click on its deepest point;
3. corrects each outline that is not good enough, by clicks where it is most wrong.

Until every object is good enough, or so many clicks are spent. Clicks are answered as
in the window: through a document, corrections upon the mask before.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import Document, Region, Source
from napari_promise.proposing import ProposedObject, region_iou
from napari_promise.segmentation import EmbeddingLike, SegmenterLike
from napari_promise.training.simulated_prompts import next_click

__all__ = ["Effort", "clicks_needed"]

ENOUGH = 0.7  # of IoU
MOST = 60  # clicks an image
CORRECTIONS = 5  # of one object
#: A proposal with less IoU than this with every object is rejected, not corrected.
_HOPELESS = 0.2


@dataclass(frozen=True)
class Effort:
    """What an image took.

    Attributes
    ----------
    objects : int
        True ones.
    good : int
        Those with an IoU above `ENOUGH` in the end.
    at_once : int
        Those before the first click.
    rejected, added, corrected : int
        Clicks of each kind.
    """

    objects: int
    good: int
    at_once: int
    rejected: int
    added: int
    corrected: int

    @property
    def clicks(self) -> int:
        """All clicks."""
        return self.rejected + self.added + self.corrected


def clicks_needed(
    segmenter: SegmenterLike,
    embedding: EmbeddingLike,
    truth: NDArray[np.integer],
    proposed: Sequence[ProposedObject] = (),
    *,
    most: int = MOST,
    closer: Callable[[Region | ProposedObject], EmbeddingLike] | None = None,
) -> Effort:
    """Let the person work on one image.

    Parameters
    ----------
    segmenter : SegmenterLike
    embedding : EmbeddingLike
        Of the image.
    truth : (H, W) int
        Ids, 0 for background.
    proposed : sequence of ProposedObject
        What is there to begin with; none: from scratch.
    most : int
        Clicks after which the person stops.
    closer : callable, optional
        Returns the embedding in which an object is clicked, of its true mask or, where
        it begins with one, of its proposal; left out, that is the image's.

    Returns
    -------
    Effort
    """
    labels = np.unique(truth, return_inverse=True)[1].reshape(truth.shape)
    labels = labels.astype(np.int32) + int(truth.min() > 0)  # background stays 0
    true = [
        region
        for number in range(1, int(labels.max(initial=0)) + 1)
        if (region := Region.from_mask(labels == number)) is not None
    ]
    held, spare = _matched(labels, true, proposed)
    quality = [
        region_iou(proposed[held[at]].region, region) if at in held else 0.0
        for at, region in enumerate(true)
    ]
    at_once = sum(value > ENOUGH for value in quality)
    rejected = min(spare, most)
    added = corrected = 0
    for at, region in enumerate(true):
        left = most - rejected - added - corrected
        if left <= 0:
            break
        if quality[at] > ENOUGH:
            continue
        begun = proposed[held[at]] if at in held else None
        seen = embedding if closer is None else closer(begun or region)
        person = _Person(segmenter, seen, region)
        if begun is not None:
            person.take(begun)
        else:
            person.add()
            added += 1
            left -= 1
        corrected += person.correct(min(left, CORRECTIONS))
        quality[at] = person.quality
    good = sum(value > ENOUGH for value in quality)
    return Effort(len(true), good, at_once, rejected, added, corrected)


def _matched(
    labels: NDArray[np.int32],
    true: Sequence[Region],
    proposed: Sequence[ProposedObject],
) -> tuple[dict[int, int], int]:
    """Say which proposal each object keeps, and how many have to be rejected."""
    best: dict[int, tuple[float, int]] = {}
    for number, one in enumerate(proposed):
        if one.region is None:
            continue
        r0, c0, r1, c1 = one.region.bbox
        under = np.bincount(labels[r0:r1, c0:c1][one.region.crop])
        under[:1] = 0
        if not under.any():
            continue
        at = int(under.argmax()) - 1
        value = region_iou(one.region, true[at])
        if value >= _HOPELESS:
            best[at] = max(best.get(at, (0.0, -1)), (value, number))
    return {at: number for at, (_, number) in best.items()}, len(proposed) - len(best)


class _Person:
    """Works on one object."""

    def __init__(
        self, segmenter: SegmenterLike, embedding: EmbeddingLike, truth: Region
    ) -> None:
        self.segmenter, self.embedding, self.truth = segmenter, embedding, truth
        self.document = Document()
        self.id = self.document.new_object().id

    @property
    def quality(self) -> float:
        """IoU of the mask there is."""
        return region_iou(self.document.get(self.id).region, self.truth)

    def take(self, proposal: ProposedObject) -> None:
        """Begin with a proposal."""
        automatic: list[Source] = ["auto" for _ in proposal.prompts.points]
        sources = proposal.sources or automatic
        record = self.document.set_prompts(self.id, proposal.prompts, sources)
        self.document.set_mask(
            self.id,
            proposal.region,
            score=proposal.score or 0.0,
            logits=proposal.logits,
            revision=record.revision,
            tile=proposal.tile,
        )

    def add(self) -> None:
        """Click the deepest point of the object."""
        self._click(self.truth.deepest, 1)

    def correct(self, most: int) -> int:
        """Click where the mask is most wrong until it is good; return the clicks."""
        for clicks in range(most):
            if self.quality > ENOUGH:
                return clicks
            region = self.document.get(self.id).region
            drawn = np.zeros(self.truth.shape, bool) if region is None else region.mask
            click = next_click(drawn, self.truth.mask)
            if click is None:
                return clicks
            (row, column), label = click
            self._click((row, column), label)
        return most

    def _click(self, at: tuple[float, float], label: int) -> None:
        prompts = self.document.get(self.id).prompts
        self.document.edit_prompts(
            self.id,
            points=np.concatenate([prompts.points, [at]]),
            labels=np.append(prompts.labels, label),
        )
        record = self.document.get(self.id)
        drawn = self.segmenter.segment(self.embedding, record.prompts)
        self.document.set_mask(
            self.id,
            drawn.region,
            score=drawn.score,
            logits=drawn.logits,
            revision=record.revision,
            tile=getattr(self.embedding, "tile", None),
        )
