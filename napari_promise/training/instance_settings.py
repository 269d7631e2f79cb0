"""Choose how a prompter of many objects is used: its threshold, and whose boxes count.

Everything is looked at once at a low threshold; which objects are kept, and which of
their two masks, is worked out for each setting from that. Held-out images choose, the
test images never do.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import Region
from napari_promise.model.adapters import Adapter
from napari_promise.model.instance_prompter import InstanceAPM
from napari_promise.model.sam import Embedding
from napari_promise.proposing import best_first, label_image
from napari_promise.segmenter import Segmenter
from napari_promise.training.instance_metrics import (
    InstanceScore,
    mean_scores,
    score_instances,
)

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

__all__ = ["CHOOSING", "Chosen", "choose_settings"]

#: Fewer held-out images say too little: they choose no pass, and a threshold only where
#: those beside it do well, too.
CHOOSING = 5

THRESHOLDS = (0.15, 0.2, 0.25, 0.3, 0.35, 0.4, 0.5)
#: How far sides may differ; 0 decodes points only, the last every box.
TRUSTS = (0.0, 0.04, 0.08, 0.15, 9.0)


@dataclass(frozen=True)
class Chosen:
    """What was chosen, and the held-out scores with it.

    Attributes
    ----------
    threshold, trust : float
        See `InstanceAPM`.
    scores : dict of str to float
        Means over the held-out images, see `instance_metrics.InstanceScore`.
    """

    threshold: float
    trust: float
    scores: dict[str, float]


@dataclass(frozen=True, eq=False)
class _Image:
    """Everything that was found in an image, and both masks of each object."""

    truth: NDArray[np.int32]
    points: NDArray[np.float64]
    scores: NDArray[np.float64]
    spread: NDArray[np.float64]
    by_point: tuple[Region | None, ...]
    by_box: tuple[Region | None, ...]

    def score(self, threshold: float, trust: float) -> InstanceScore:
        chosen = np.flatnonzero(self.scores >= threshold)
        drawn = [
            (self.by_box if self.spread[at] <= trust else self.by_point)[at]
            for at in chosen
        ]
        kept = best_first(drawn)
        labels = label_image([drawn[at] for at in kept], self.truth.shape)
        return score_instances(self.truth, labels, self.points[chosen[kept]])


def choose_settings(
    sam: Sam,
    adapter: Adapter,
    images: Iterable[tuple[Embedding, NDArray[np.int32]]],
) -> Iterator[int | Chosen]:
    """Choose threshold and trust by the mean of AP@.5 and mSA.

    With few images that mean is taken over three thresholds, the one before and the one
    after with it.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
    adapter : Adapter
        With an `InstanceAPM`.
    images : iterable of (Embedding, (H, W) int32)
        Held out, with their labels.

    Yields
    ------
    int or Chosen
        The number of images looked at, after each; at last what was chosen.
    """
    apm = adapter.apm
    assert isinstance(apm, InstanceAPM)
    segmenter, known = Segmenter(sam, adapter), (apm.threshold, apm.trust)
    looked: list[_Image] = []
    for done, (emb, truth) in enumerate(images, start=1):
        try:
            apm.threshold, apm.trust = THRESHOLDS[0], TRUSTS[-1]
            looked.append(_look(segmenter, emb, truth))
        finally:
            apm.threshold, apm.trust = known
        yield done
    scores = {
        (threshold, trust): mean_scores(im.score(threshold, trust) for im in looked)
        for threshold in THRESHOLDS
        for trust in TRUSTS
    }
    judged = np.array(
        [[_judged(scores[at, trust]) for trust in TRUSTS] for at in THRESHOLDS]
    )
    if len(looked) < CHOOSING:
        padded = np.pad(judged, ((1, 1), (0, 0)))
        judged = (padded[:-2] + judged + padded[2:]) / 3
    row, column = np.unravel_index(judged.argmax(), judged.shape)
    best = THRESHOLDS[row], TRUSTS[column]
    yield Chosen(*best, {name: round(v, 4) for name, v in scores[best].items()})


def _judged(scores: dict[str, float]) -> float:
    return (scores["ap50"] + scores["msa"]) / 2


def _look(segmenter: Segmenter, emb: Embedding, truth: NDArray[np.int32]) -> _Image:
    found = segmenter.find_many(emb)
    proposals = segmenter.proposals(emb)
    by_box = segmenter.segment_many(emb, proposals)
    by_point = segmenter.segment_many(emb, [p.replace(boxes=()) for p in proposals])
    return _Image(
        truth,
        found.points_xy[:, ::-1],
        found.scores,
        found.spread,
        tuple(answer.region for answer in by_point),
        tuple(answer.region for answer in by_box),
    )
