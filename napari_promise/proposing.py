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
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_promise.document import BBox, Plane, Region, Source
from napari_promise.many_tiles import (
    drawing_tiles,
    found_closer,
    seen_again,
    surest_first,
)
from napari_promise.prompts import Prompts
from napari_promise.segmentation import EmbeddingLike, Segmentation, SegmenterLike
from napari_promise.tiles import is_cut

__all__ = [
    "BestFirst",
    "ProposedObject",
    "best_first",
    "iou",
    "label_image",
    "not_known",
    "points_right",
    "propose",
    "proposed_closer",
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
    tile : BBox or None
        The part of the plane that the model saw, which the logits cover; None for all.
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
    tile: BBox | None = None

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
    found: Sequence[Prompts] | None = None,
    shape: tuple[int, int] | None = None,
    embed: Callable[[BBox], EmbeddingLike] | None = None,
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
    found : sequence of Prompts, optional
        What was found already, the surest first, as by `found_closer`.
    shape : (int, int), optional
        Rows and columns of the plane, with `embed`.
    embed : callable, optional
        Returns the embedding of a tile; small objects are then looked at again in
        enlarged tiles, and drawn from them, see `many_tiles`.

    Returns
    -------
    tuple of ProposedObject
        None at all where nothing was found. Of many objects those are left out that
        surer ones hold already, see `best_first`.

    Raises
    ------
    NoPrompterError
        If there is no adapter, or it places no points.
    """
    found = segmenter.proposals(embedding) if found is None else found
    tiles: list[BBox | None] = [None] * len(found)
    if embed is not None and shape is not None:
        tiles = drawing_tiles(found, shape)
    drawn: dict[int, ProposedObject] = {}
    rank: dict[int, float] = {}
    for tile in dict.fromkeys(tiles):
        asked = {at: found[at] for at, each in enumerate(tiles) if each == tile}
        seen = embedding if tile is None or embed is None else embed(tile)
        if any(tiles):
            again = seen_again(segmenter, seen, list(asked.values()))
            asked = {
                at: each
                for at, each in zip(asked, again, strict=True)
                if each is not None
            }
        joined = [
            (each, _automatic(each)) if join is None else join(each)
            for each in asked.values()
        ]
        answers = segmenter.segment_many(
            seen,
            [prompts for prompts, _ in joined],
            ips=ips,
            local=local,
            alternatives=signals,
        )
        for (at, each), (prompts, sources), answer in zip(
            asked.items(), joined, answers, strict=True
        ):
            rank[at] = surest_first(each)
            drawn[at] = ProposedObject(
                prompts,
                answer.region,
                answer.score,
                answer.logits,
                each.logits,
                plane,
                class_name,
                sources,
                signals_of(prompts, answer) if signals else {},
                getattr(answer, "tile", None),
            )
    order = sorted(drawn)
    if any(tiles):  # scores are others after a closer look
        order.sort(key=rank.__getitem__)
    proposed = tuple(drawn[at] for at in order)
    if len(proposed) < 2:
        return proposed
    kept = best_first([each.region for each in proposed])
    return tuple(proposed[at] for at in kept)


def proposed_closer(
    segmenter: SegmenterLike,
    embedding: EmbeddingLike,
    plane: Plane = (),
    *,
    shape: tuple[int, int],
    embed: Callable[[BBox], EmbeddingLike],
    **options: Any,
) -> tuple[ProposedObject, ...]:
    """Propose many objects that are looked for, and drawn, in enlarged tiles.

    Parameters
    ----------
    segmenter, embedding, shape, embed
        See `found_closer`.
    plane, **options
        See `propose`.

    Returns
    -------
    tuple of ProposedObject
        Each with the tile that it was drawn from.
    """
    found = found_closer(segmenter, embedding, shape, embed)
    return propose(
        segmenter, embedding, plane, found=found, shape=shape, embed=embed, **options
    )


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
    kept = BestFirst()
    return [at for at, region in enumerate(regions) if kept.keeps(region)]


class BestFirst:
    """Takes masks of one plane one after another, the surest first.

    Parameters
    ----------
    regions : iterable of Region or None, optional
        Of objects that are there already.
    """

    def __init__(self, regions: Iterable[Region | None] = ()) -> None:
        self._taken: NDArray[np.bool_] | None = None
        for region in regions:
            if region is not None:
                self._under(region)[region.crop] = True

    def _under(self, region: Region) -> NDArray[np.bool_]:
        """Return the pixels that are taken in a region's box; a view."""
        if self._taken is None:
            self._taken = np.zeros(region.shape, bool)
        r0, c0, r1, c1 = region.bbox
        return self._taken[r0:r1, c0:c1]

    def holds(self, row: float, column: float) -> bool:
        """Whether a position lies in what is taken."""
        if self._taken is None:
            return False
        rows, columns = self._taken.shape
        at = min(max(round(row), 0), rows - 1), min(max(round(column), 0), columns - 1)
        return bool(self._taken[at])

    def keeps(self, region: Region | None) -> bool:
        """Take a mask, unless it is empty or more than half of it is taken already."""
        if region is None:
            return False
        under, crop = self._under(region), region.crop
        if np.count_nonzero(crop & under) > _TAKEN * region.area:
            return False
        under |= crop
        return True


def not_known(
    found: Sequence[ProposedObject],
    known: Sequence[Region],
    tile: BBox | None,
    shape: tuple[int, int],
) -> tuple[ProposedObject, ...]:
    """Leave out what is known already, and what the edge of a tile cuts.

    Parameters
    ----------
    found : sequence of ProposedObject
        Of one tile.
    known : sequence of Region
        Of the objects of the plane.
    tile : BBox or None
        Where they were looked for; None for the whole plane.
    shape : (int, int)
        Rows and columns of the plane.

    Returns
    -------
    tuple of ProposedObject
        In their order: no more than half of each lies in one that is known.
    """
    boxes = np.array([region.bbox for region in known]).reshape(-1, 4)
    kept = []
    for one in found:
        region = one.region
        if region is None or is_cut(region.bbox, tile, shape):
            continue
        r0, c0, r1, c1 = region.bbox
        near = (
            (boxes[:, 0] < r1)
            & (boxes[:, 2] > r0)
            & (boxes[:, 1] < c1)
            & (boxes[:, 3] > c0)
        )
        crop, area = region.crop, region.area
        if any(
            np.count_nonzero(crop & known[at].window(region.bbox)) > _TAKEN * area
            for at in np.flatnonzero(near).tolist()
        ):
            continue
        kept.append(one)
    return tuple(kept)


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
    apart = zip(a.bbox[:2] + b.bbox[:2], b.bbox[2:] + a.bbox[2:], strict=True)
    if any(first >= end for first, end in apart):
        return 0.0
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
