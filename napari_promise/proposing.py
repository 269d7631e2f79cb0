"""What an adapter proposes for one view: prompts, masks, and what speaks for them.

1. The auto-prompting module places prompts, one set for each object that it finds.
2. Whoever asks may join them with prompts that are there already.
3. The segmenter answers each set; the masks that the signals compare come from the same
   call.
4. `signals_of` says what speaks for each mask; `project.confidence` sums it up.

Session, folder job and command line all propose by `propose`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_promise.document import Plane, Region, Source
from napari_promise.prompts import Prompts
from napari_promise.segmentation import EmbeddingLike, Segmentation, SegmenterLike

__all__ = [
    "ProposedObject",
    "best_first",
    "iou",
    "label_image",
    "points_right",
    "propose",
    "region_iou",
    "signals_of",
    "stability",
]

#: Prompts to be answered in place of the found ones, and who placed each point.
Join = Callable[[Prompts], tuple[Prompts, tuple[Source, ...]]]


@dataclass(frozen=True, eq=False)
class ProposedObject:
    """One object that a model proposes.

    Attributes
    ----------
    prompts : Prompts
        What the mask answers: the model's prompts, and what they were joined with.
    region : Region or None
        The mask; None where it is empty.
    score : float or None
        The predicted quality.
    logits : (1, h, w) float32 or None
        The mask's low-resolution logits.
    coarse : (1, h, w) float32 or None
        The auto-prompting module's map.
    plane : Plane
    class_name : str
    sources : tuple of {"auto", "user"} or None
        One a point; None: all are automatic.
    signals : mapping of str to float
        What speaks for the mask, see `signals_of`; empty where nobody asked.
    """

    prompts: Prompts
    region: Region | None
    score: float | None = None
    logits: NDArray[np.float32] | None = field(default=None, repr=False)
    coarse: NDArray[np.float32] | None = field(default=None, repr=False)
    plane: Plane = ()
    class_name: str = ""
    sources: tuple[Source, ...] | None = None
    signals: Mapping[str, float] = field(default_factory=dict)

    @property
    def found(self) -> Prompts:
        """The module's own prompts, without those they were joined with.

        Its map stays, on which both are answered; so does the box that it told, where
        nobody placed a point beside its own.
        """
        if self.sources is None:
            return self.prompts
        if all(source == "auto" for source in self.sources):
            return self.prompts.replace(mask=None)
        own = np.array([source == "auto" for source in self.sources], bool)
        scores = self.prompts.scores
        return self.prompts.replace(
            points=self.prompts.points[own],
            labels=self.prompts.labels[own],
            scores=None if scores is None else scores[own],
            boxes=(),
            mask=None,
        )


def propose(
    segmenter: SegmenterLike,
    embedding: EmbeddingLike,
    plane: Plane = (),
    *,
    ips: bool = True,
    local: bool = True,
    class_name: str = "",
    join: Join | None = None,
    signals: bool = False,
) -> tuple[ProposedObject, ...]:
    """Propose the objects of one view.

    Parameters
    ----------
    segmenter : SegmenterLike
        With an adapter that places points.
    embedding : EmbeddingLike
        Of the view.
    plane : Plane
        Where the view lies.
    ips, local : bool
        See `Segmenter.segment`.
    class_name : str
        Class of the objects.
    join : callable, optional
        Given found prompts, returns those that are answered, and their sources.
    signals : bool
        Whether to note what speaks for each mask.

    Returns
    -------
    tuple of ProposedObject
        None at all where nothing was found.

    Raises
    ------
    NoPrompterError
        If there is no adapter, or it places no points.
    """
    found = segmenter.proposals(embedding)
    joined = [
        (each, _automatic(each)) if join is None else join(each) for each in found
    ]
    answers = segmenter.segment_many(
        embedding,
        [prompts for prompts, _ in joined],
        ips=ips,
        local=local,
        alternatives=signals,
    )
    proposed = tuple(
        ProposedObject(
            prompts,
            answer.region,
            answer.score,
            answer.logits,
            each.logits,
            plane,
            class_name,
            sources,
            signals_of(prompts, answer) if signals else {},
        )
        for each, (prompts, sources), answer in zip(found, joined, answers, strict=True)
    )
    if len(proposed) < 2:
        return proposed
    kept = best_first([each.region for each in proposed])
    return tuple(proposed[at] for at in kept)


#: Share of a mask that may lie in masks of surer objects, for it to be another object.
_TAKEN = 0.5


def best_first(regions: Sequence[Region | None]) -> list[int]:
    """Leave out the objects that surer ones hold already, and those without a mask.

    Parameters
    ----------
    regions : sequence of Region or None
        Masks of one plane, the surest first.

    Returns
    -------
    list of int
        Indices of those kept: at most half of a mask lies in surer ones.
    """
    kept: list[int] = []
    taken: NDArray[np.bool_] | None = None
    for at, region in enumerate(regions):
        if region is None:
            continue
        if taken is None:
            taken = np.zeros(region.shape, bool)
        r0, c0, r1, c1 = region.bbox
        crop, under = region.crop, taken[r0:r1, c0:c1]
        if np.count_nonzero(crop & under) > _TAKEN * region.area:
            continue
        under |= crop
        kept.append(at)
    return kept


def label_image(
    regions: Sequence[Region | None], shape: tuple[int, int]
) -> NDArray[np.int32]:
    """Draw masks into one plane; a pixel that several claim goes to the first.

    Parameters
    ----------
    regions : sequence of Region or None
        The surest first.
    shape : (int, int)
        Rows and columns of the plane.

    Returns
    -------
    (H, W) int32
        0 for background, else one more than the index of the mask.
    """
    labels = np.zeros(shape, np.int32)
    for number, region in enumerate(regions, start=1):
        if region is not None:
            r0, c0, r1, c1 = region.bbox
            window = labels[r0:r1, c0:c1]
            window[region.crop & (window == 0)] = number
    return labels


def _automatic(prompts: Prompts) -> tuple[Source, ...]:
    return tuple("auto" for _ in prompts.points)


# What speaks for a mask --------------------------------------------------------------


def signals_of(prompts: Prompts, result: Segmentation) -> dict[str, float]:
    """Say what speaks for a mask that answers automatic prompts.

    Parameters
    ----------
    prompts : Prompts
    result : Segmentation
        What the segmenter answered, with the alternatives.

    Returns
    -------
    dict of str to float
        By the names of `confidence.SIGNALS`, in [0, 1], high is good: ``score``,
        ``stability``, ``points`` where there are any, and ``tokens``: the mean IoU of
        the mask with the alternatives.
    """
    told = {
        "score": float(np.clip(result.score, 0, 1)),
        "stability": stability(result.logits),
    }
    right = points_right(prompts, result.region)
    if right is not None:
        told["points"] = right
    told["tokens"] = _mean(region_iou(result.region, o) for o in result.alternatives)
    return told


def _mean(values: Iterable[float]) -> float:
    return float(np.mean(list(values)))


def iou(a: ArrayLike, b: ArrayLike) -> float:
    """Return the intersection over union of two masks of one shape; 1 of two empty."""
    first, second = np.asarray(a, bool), np.asarray(b, bool)
    union = np.count_nonzero(first | second)
    return 1.0 if union == 0 else float(np.count_nonzero(first & second) / union)


def region_iou(a: Region | None, b: Region | None) -> float:
    """Return the intersection over union of two regions of one plane.

    Parameters
    ----------
    a, b : Region or None
        None for an empty mask; two of them agree.
    """
    if a is None or b is None:
        return float(a is b)
    r0, c0 = (min(x, y) for x, y in zip(a.bbox[:2], b.bbox[:2], strict=True))
    r1, c1 = (max(x, y) for x, y in zip(a.bbox[2:], b.bbox[2:], strict=True))
    return iou(a.window((r0, c0, r1, c1)), b.window((r0, c0, r1, c1)))


def stability(logits: ArrayLike, offset: float = 1.0) -> float:
    """Return how little a mask changes with its threshold.

    Parameters
    ----------
    logits : array_like, (..., h, w)
    offset : float

    Returns
    -------
    float
        IoU of the masks at ``+offset`` and ``-offset``.
    """
    values = np.asarray(logits)
    return iou(values > offset, values > -offset)


def points_right(prompts: Prompts, region: Region | None) -> float | None:
    """Return the share of points that lie on the right side of a mask.

    Parameters
    ----------
    prompts : Prompts
    region : Region or None
        The mask; None where it is empty.

    Returns
    -------
    float or None
        None without points.
    """
    if len(prompts.points) == 0:
        return None
    inside = np.zeros(len(prompts.points), bool)
    if region is not None:
        inside = region.covers(prompts.points)
    return float(np.mean(inside == (prompts.labels == 1)))
