"""Measure automatic prompts of many objects on images with instance labels.

What is found by itself is compared object by object, see `instance_metrics`; scores of
masks that were prompted from the truth are `evaluate`'s and never stand in this table.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_promise.data.images import plane_name
from napari_promise.data.pairs import SampleReader, planes_of
from napari_promise.document import BBox
from napari_promise.proposing import label_image, propose, proposed_closer
from napari_promise.segmentation import EmbeddingLike, SegmenterLike
from napari_promise.training.config import ImagePair
from napari_promise.training.instance_metrics import (
    InstanceScore,
    mean_scores,
    score_instances,
)
from napari_promise.training.metrics import RESAMPLES, bootstrap

__all__ = ["InstanceReport", "MeasuredImage", "evaluate_instances"]

#: What is shown of an `InstanceScore`, and as what.
NAMES = {
    "ap50": "AP at IoU .5",
    "ap75": "AP at IoU .75",
    "msa": "AP, mean of .5 to .95",
    "pq": "panoptic quality",
    "f1": "F1 at IoU .5",
    "recall": "points, recall",
    "precision": "points, precision",
}


class Finds(SegmenterLike, Protocol):
    """A segmenter whose adapter may look for many objects."""

    @property
    def finds_many(self) -> bool:
        """Whether it does."""


@dataclass(frozen=True)
class MeasuredImage:
    """One image's scores.

    Attributes
    ----------
    image : str
        Its name.
    group : str or None
        Patient or sequence.
    score : InstanceScore
    seconds : float
        From the embedding to the masks; with the encoding of tiles, where there are.
    """

    image: str
    group: str | None
    score: InstanceScore
    seconds: float


@dataclass(frozen=True)
class InstanceReport:
    """Scores of many images.

    Attributes
    ----------
    model, adapter : str
    images : tuple of MeasuredImage
    skipped : tuple of str
        Files that could not be read, and why.
    """

    model: str
    adapter: str
    images: tuple[MeasuredImage, ...]
    skipped: tuple[str, ...] = ()

    @property
    def summary(self) -> dict[str, float]:
        """Mean of each score over the images."""
        return mean_scores(one.score for one in self.images)

    def intervals(self) -> dict[str, tuple[float, float]]:
        """95 % bootstrap intervals of the means, by group where there are groups."""
        groups = [one.group or one.image for one in self.images]
        result: dict[str, tuple[float, float]] = {}
        for name in self.summary:
            values = np.array([getattr(one.score, name) for one in self.images])
            known = ~np.isnan(values)
            ends = bootstrap(
                values[known].tolist(),
                [group for group, k in zip(groups, known, strict=True) if k],
            )
            if ends is not None:
                result[name] = ends
        return result

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for `json.dump`."""
        return {
            "prompts": "auto",
            "scored": "instances",
            "model": self.model,
            "adapter": self.adapter,
            "summary": {"images": len(self.images), **self.summary},
            "intervals": {name: list(ends) for name, ends in self.intervals().items()},
            "bootstrap": {"resamples": RESAMPLES},
            "scores": [
                {
                    "image": one.image,
                    "group": one.group,
                    "seconds": round(one.seconds, 3),
                    **one.score.to_json(),
                }
                for one in self.images
            ],
            "skipped": list(self.skipped),
        }

    def table(self) -> tuple[tuple[str, ...], list[tuple[str, ...]]]:
        """Header and rows: each measure, its mean and interval."""
        summary, ends = self.summary, self.intervals()
        rows: list[tuple[str, ...]] = [("images", str(len(self.images)))]
        for name, label in NAMES.items():
            if name not in summary:
                continue
            text = f"{summary[name]:.3f}"
            if name in ends:
                low, high = ends[name]
                text += f" [{low:.3f}, {high:.3f}]"
            rows.append((label, text))
        truth = sum(one.score.truth for one in self.images)
        found = sum(one.score.found for one in self.images)
        rows.append(("objects, true and found", f"{truth}, {found}"))
        return ("measure, object by object", "auto"), rows


def evaluate_instances(
    pairs: Iterable[ImagePair],
    segmenter: Finds,
    *,
    closer: bool = False,
    progress: Callable[[int, ImagePair], None] | None = None,
) -> InstanceReport:
    """Measure what an adapter of many objects finds by itself.

    Parameters
    ----------
    pairs : iterable of ImagePair
        With instance labels: 0 for background, another number for each object.
    segmenter : Segmenter
    closer : bool
        Whether small objects are looked for in enlarged tiles, see
        `proposing.found_closer`.
    progress : callable, optional
        Called after each image with the number done and the pair.

    Returns
    -------
    InstanceReport
        Files that cannot be read are named in ``skipped``.

    Raises
    ------
    ValueError
        If the adapter does not look for many objects.
    """
    info = segmenter.adapter_info
    if info is None or not segmenter.finds_many:
        raise ValueError(
            "objects are scored one by one with an adapter that finds many: train one "
            "with --apm instances."
        )
    files, measured, skipped = SampleReader(), [], []
    for done, pair in enumerate(planes_of(pairs), start=1):
        name = plane_name(str(pair.image), pair.plane)
        try:
            sample = files.read(pair)
        except (OSError, ValueError) as error:
            skipped.append(f"{name}: {error}")
        else:
            emb = segmenter.encode(sample.rgb8)
            started = time.perf_counter()
            rgb = sample.rgb8
            found = (
                proposed_closer(
                    segmenter,
                    emb,
                    shape=(rgb.shape[0], rgb.shape[1]),
                    embed=partial(_tile_of, segmenter, rgb),
                )
                if closer
                else propose(segmenter, emb)
            )
            seconds = time.perf_counter() - started
            labels = label_image([one.region for one in found], sample.mask.shape)
            points = [one.prompts.points[0] for one in found]
            score = score_instances(sample.mask, labels, np.reshape(points, (-1, 2)))
            measured.append(MeasuredImage(name, pair.group, score, seconds))
        if progress is not None:
            progress(done, pair)
    return InstanceReport(
        segmenter.model_id, info.name, tuple(measured), tuple(skipped)
    )


def _tile_of(
    segmenter: SegmenterLike, image: NDArray[np.uint8], tile: BBox
) -> EmbeddingLike:
    return segmenter.encode(image, region=tile)
