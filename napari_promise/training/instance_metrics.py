"""Scores of many objects in an image: average precision, panoptic quality, centres.

True and found objects are matched one to one where they overlap enough. Average
precision is TP / (TP + FP + FN) at one threshold of IoU, as the Data Science Bowl and
StarDist [1]_ define it; ``msa`` is its mean over .5, .55, ..., .95. Panoptic quality
[2]_ is the sum of the matched IoUs over TP + FP / 2 + FN / 2 at .5.

References
----------
.. [1] Schmidt et al., "Cell Detection with Star-convex Polygons", MICCAI 2018.
.. [2] Kirillov et al., "Panoptic Segmentation", CVPR 2019.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray
from scipy.optimize import linear_sum_assignment

__all__ = ["THRESHOLDS", "InstanceScore", "mean_scores", "overlaps", "score_instances"]

#: Of IoU, whose precisions are averaged.
THRESHOLDS = tuple(round(0.5 + 0.05 * i, 2) for i in range(10))


@dataclass(frozen=True)
class InstanceScore:
    """Scores of one image.

    Attributes
    ----------
    truth, found : int
        Objects.
    ap50, ap75, msa : float
        Average precision at IoU .5 and .75, and its mean over `THRESHOLDS`; 1 where
        there is nothing and nothing was found.
    pq : float
        Panoptic quality.
    f1 : float
        TP / (TP + FP / 2 + FN / 2) at IoU .5.
    recall, precision : float
        Of the objects' points, where these are known: the share of true objects that
        hold a point, and the share of points that are the first in a true object. NaN
        where there is nothing to count.
    """

    truth: int
    found: int
    ap50: float
    ap75: float
    msa: float
    pq: float
    f1: float
    recall: float = float("nan")
    precision: float = float("nan")

    def to_json(self) -> dict[str, Any]:
        """Everything, NaN as None."""
        return {k: None if v != v else v for k, v in asdict(self).items()}


def score_instances(
    truth: ArrayLike, found: ArrayLike, points: ArrayLike | None = None
) -> InstanceScore:
    """Compare two label images.

    Parameters
    ----------
    truth, found : array_like, (H, W) int
        Ids, 0 for background; ids need not be consecutive.
    points : array_like, (N, 2), optional
        (row, column), one for each object that was proposed.

    Returns
    -------
    InstanceScore

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    true, drawn = np.asarray(truth), np.asarray(found)
    iou = overlaps(true, drawn)
    counts = {at: _matched(iou, at) for at in THRESHOLDS}
    total = iou.shape[0] + iou.shape[1]

    def precision(at: float) -> float:
        hits = counts[at][0]
        return hits / (total - hits) if total else 1.0

    hits, quality = counts[0.5]
    recall, right = _points_score(true, points, iou.shape[0])
    return InstanceScore(
        truth=iou.shape[0],
        found=iou.shape[1],
        ap50=precision(0.5),
        ap75=precision(0.75),
        msa=float(np.mean([precision(at) for at in THRESHOLDS])),
        pq=2 * quality / total if total else 1.0,
        f1=2 * hits / total if total else 1.0,
        recall=recall,
        precision=right,
    )


def overlaps(truth: NDArray[Any], found: NDArray[Any]) -> NDArray[np.float64]:
    """Return the IoU of every true object (rows) with every found one (columns).

    Raises
    ------
    ValueError
        If the shapes differ.
    """
    if truth.shape != found.shape:
        raise ValueError(
            f"the labels have the shapes {truth.shape} and {found.shape}: compare "
            "labels of one image"
        )
    _, true = np.unique(np.append(truth.ravel(), 0), return_inverse=True)
    _, drawn = np.unique(np.append(found.ravel(), 0), return_inverse=True)
    true, drawn = true[:-1], drawn[:-1]
    rows, columns = int(true.max(initial=0)) + 1, int(drawn.max(initial=0)) + 1
    both = np.bincount(true * columns + drawn, minlength=rows * columns)
    shared = both.reshape(rows, columns)[1:, 1:].astype(np.float64)
    area = np.bincount(true, minlength=rows)[1:, None]
    other = np.bincount(drawn, minlength=columns)[None, 1:]
    return np.asarray(shared / np.maximum(area + other - shared, 1))


def _matched(iou: NDArray[np.float64], threshold: float) -> tuple[int, float]:
    """Match as many as can be; return how many, and the sum of their IoUs."""
    enough = iou >= threshold
    if not enough.any():
        return 0, 0.0
    # a match counts more than any overlap, so that as many as can be are matched
    rows, columns = linear_sum_assignment(-(enough + iou / (2 * min(iou.shape))))
    kept = enough[rows, columns]
    return int(kept.sum()), float(iou[rows, columns][kept].sum())


def _points_score(
    truth: NDArray[Any], points: ArrayLike | None, objects: int
) -> tuple[float, float]:
    if points is None:
        return float("nan"), float("nan")
    at = np.rint(np.asarray(points, np.float64).reshape(-1, 2)).astype(int)
    at = at.clip(0, np.array(truth.shape) - 1)
    under = truth[at[:, 0], at[:, 1]]
    hit = len(np.unique(under[under != 0]))
    nan = float("nan")
    return hit / objects if objects else nan, hit / len(at) if len(at) else nan


def mean_scores(scores: Iterable[InstanceScore]) -> dict[str, float]:
    """Return the mean of every score over images; of points where they are known."""
    rows = [asdict(score) for score in scores]
    result: dict[str, float] = {}
    for name in ("ap50", "ap75", "msa", "pq", "f1", "recall", "precision"):
        known = [row[name] for row in rows if row[name] == row[name]]
        if known:
            result[name] = float(np.mean(known))
    return result
