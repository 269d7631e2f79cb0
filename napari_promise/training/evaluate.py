"""Measure a segmenter on images with truth: automatic, clicks, random points, box.

What a model finds by itself and what it draws when prompted from the truth are two
different things and never share a column; frozen SAM with the same prompts stands
beside both. The module knows no torch: it calls a segmenter as a user's script would.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_promise.data import pairs as files
from napari_promise.prompts import Prompts
from napari_promise.training.config import ImagePair

Mask = NDArray[np.bool_]


class Drawn(Protocol):
    """What `Segments.segment` returns."""

    @property
    def mask(self) -> Mask:
        """(H, W) bool."""

    @property
    def logits(self) -> NDArray[np.float32]:
        """(1, h, w), ready as mask prompt."""


class Segments(Protocol):
    """The part of `Segmenter` that is measured."""

    def encode(self, image: Any) -> Any:
        """Embed an image."""

    def segment(self, emb: Any, prompts: Prompts, *, ips: bool = True) -> Drawn:
        """Draw the mask of one object."""

    def propose(self, emb: Any) -> Prompts:
        """Prompts of the auto-prompting module."""


@dataclass(frozen=True)
class PromptPlan:
    """Where prompts come from.

    Attributes
    ----------
    automatic : bool
        Start with the adapter's proposal.
    clicks : int
        Simulated clicks, each on the largest error.
    points : int
        Random points from the truth: ``points // 2`` inside, the rest outside.
    box : bool
        The object's bounding box.
    """

    automatic: bool = False
    clicks: int = 0
    points: int = 0
    box: bool = False

    @classmethod
    def parse(cls, text: str) -> PromptPlan:
        """Read ``auto``, ``auto+click:K``, ``click:K``, ``gt:P`` or ``box``.

        Raises
        ------
        ValueError
            If it is none of these.
        """
        found = re.fullmatch(
            r"(?P<auto>auto)(\+click:(?P<more>[1-9]\d*))?|click:(?P<clicks>[1-9]\d*)"
            r"|gt:(?P<points>[1-9]\d*)|(?P<box>box)",
            text,
        )
        if not found:
            raise ValueError(
                f"prompts {text!r} are unknown: use auto, auto+click:K, click:K, gt:P "
                "or box"
            )
        return cls(
            automatic=bool(found["auto"]),
            clicks=int(found["more"] or found["clicks"] or 0),
            points=int(found["points"] or 0),
            box=bool(found["box"]),
        )

    @property
    def column(self) -> str:
        """``automatic``, ``corrected`` (automatic, then clicks) or ``gt_prompted``."""
        if self.automatic:
            return "corrected" if self.clicks else "automatic"
        return "gt_prompted"


@dataclass(frozen=True)
class Score:
    """One object, or one image where prompts are automatic.

    Attributes
    ----------
    image : str
    instance : int or None
        Id in a label image with several.
    dice, iou : float
        With the adapter where there is one.
    frozen_dice, frozen_iou : float or None
        Frozen SAM with the same kind of prompts; None without an adapter.
    steps, frozen_steps : tuple of float
        Dice before the first click (automatic only) and after each.
    positives, positives_on_object : int
        Positive points of the proposal; those of them on the object.
    """

    image: str
    instance: int | None
    dice: float
    iou: float
    frozen_dice: float | None
    frozen_iou: float | None
    steps: tuple[float, ...] = ()
    frozen_steps: tuple[float, ...] = ()
    positives: int = 0
    positives_on_object: int = 0


@dataclass(frozen=True)
class EvaluationReport:
    """Scores of all objects.

    Attributes
    ----------
    prompts : str
        As asked for.
    model, adapter : str or None
    scores : tuple of Score
    skipped : tuple of str
        Images that could not be measured, each with the reason.
    """

    prompts: str
    model: str | None
    adapter: str | None
    scores: tuple[Score, ...]
    skipped: tuple[str, ...] = ()

    @property
    def summary(self) -> dict[str, Any]:
        """Means, with automatic and GT-prompted scores under different keys."""
        column = PromptPlan.parse(self.prompts).column
        result: dict[str, Any] = {
            "prompts": self.prompts,
            "objects": len(self.scores),
            "images": len({score.image for score in self.scores}),
            "skipped": len(self.skipped),
        }
        if not self.scores:
            return result
        result[f"{column}_dice"] = _mean(s.dice for s in self.scores)
        result[f"{column}_iou"] = _mean(s.iou for s in self.scores)
        if self.scores[0].frozen_dice is not None:
            result[f"frozen_{column}_dice"] = _mean(
                s.frozen_dice for s in self.scores if s.frozen_dice is not None
            )
            result[f"frozen_{column}_iou"] = _mean(
                s.frozen_iou for s in self.scores if s.frozen_iou is not None
            )
        for key, steps in (
            ("dice_by_step", [s.steps for s in self.scores]),
            ("frozen_dice_by_step", [s.frozen_steps for s in self.scores]),
        ):
            if any(steps):
                # a perfect mask needs no further click: its last score stays
                result[key] = [
                    _mean(each[min(i, len(each) - 1)] for each in steps)
                    for i in range(max(map(len, steps)))
                ]
        positives = sum(s.positives for s in self.scores)
        if positives:
            on_object = sum(s.positives_on_object for s in self.scores)
            result["positives_on_object"] = round(on_object / positives, 4)
        return result

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for `json.dump`."""
        return {
            "prompts": self.prompts,
            "model": self.model,
            "adapter": self.adapter,
            "summary": self.summary,
            "scores": [asdict(score) for score in self.scores],
            "skipped": list(self.skipped),
        }


def evaluate(
    pairs: Iterable[ImagePair],
    segmenter: Segments,
    prompts: str = "auto",
    *,
    seed: int = 0,
    progress: Callable[[int, ImagePair], None] | None = None,
) -> EvaluationReport:
    """Measure a segmenter on image files with masks or instance labels.

    Parameters
    ----------
    pairs : iterable of ImagePair
    segmenter : Segmenter
    prompts : str
        See `PromptPlan.parse`. Automatic prompts are scored against the whole
        foreground, all others against each instance.
    seed : int
        Of the random points.
    progress : callable, optional
        Called after each image with the number done and the pair.

    Returns
    -------
    EvaluationReport
        Files that cannot be read are named in ``skipped``.

    Raises
    ------
    ValueError
        If `prompts` is unknown, or automatic without an adapter that proposes.
    """
    plan = PromptPlan.parse(prompts)
    scores: list[Score] = []
    skipped: list[str] = []
    for done, pair in enumerate(pairs, start=1):
        try:
            image, truth = files.read_image(pair.image), files.read_mask(pair.mask)
        except (OSError, ValueError) as error:
            skipped.append(f"{pair.image}: {error}")
        else:
            if image.shape[:2] != truth.shape:
                skipped.append(
                    f"{pair.image}: {image.shape[:2]} pixels, its mask {truth.shape}"
                )
            elif not plan.automatic and not truth.any():
                skipped.append(f"{pair.image}: nothing to prompt, its mask is empty")
            else:
                emb = segmenter.encode(image)
                scores += measure(
                    str(pair.image), emb, truth, segmenter, plan, seed=[seed, done]
                )
        if progress is not None:
            progress(done, pair)
    info = getattr(segmenter, "adapter_info", None)
    return EvaluationReport(
        prompts=prompts,
        model=getattr(segmenter, "model_id", None),
        adapter=None if info is None else info.name,
        scores=tuple(scores),
        skipped=tuple(skipped),
    )


def measure(
    name: str,
    emb: Any,
    truth: NDArray[Any],
    segmenter: Segments,
    plan: PromptPlan,
    *,
    seed: Sequence[int] = (0,),
    frozen_too: bool = True,
) -> Iterator[Score]:
    """Score the objects of one embedded image.

    Parameters
    ----------
    name : str
        Of the image.
    emb : Embedding
    truth : numpy.ndarray
        (H, W) bool or integer ids.
    segmenter : Segmenter
    plan : PromptPlan
    seed : sequence of int
    frozen_too : bool
        Whether frozen SAM is asked as well, where there is an adapter.

    Yields
    ------
    Score
    """
    adapted = frozen_too and getattr(segmenter, "adapter_info", None) is not None
    for instance, target in objects(truth, together=plan.automatic):
        start = _start(segmenter, emb, target, plan, [*seed, instance or 0])
        steps, mask = _draw(segmenter, emb, target, start, plan, ips=True)
        frozen: Mask | None = None
        frozen_steps: tuple[float, ...] = ()
        if adapted:
            frozen_steps, frozen = _draw(segmenter, emb, target, start, plan, ips=False)
        positive = start.points[start.labels == 1] if plan.automatic else None
        on_object = 0
        if positive is not None:
            cells = np.rint(positive).astype(int)
            limit = np.array(target.shape) - 1
            on_object = int(target[tuple(cells.clip(0, limit).T)].sum())
        yield Score(
            image=name,
            instance=instance,
            dice=dice(mask, target),
            iou=iou(mask, target),
            frozen_dice=None if frozen is None else dice(frozen, target),
            frozen_iou=None if frozen is None else iou(frozen, target),
            steps=steps if plan.clicks else (),
            frozen_steps=frozen_steps if plan.clicks else (),
            positives=0 if positive is None else len(positive),
            positives_on_object=on_object,
        )


def objects(
    truth: NDArray[Any], *, together: bool = False
) -> Iterator[tuple[int | None, Mask]]:
    """Objects of a mask or label image.

    Parameters
    ----------
    truth : numpy.ndarray
        (H, W) bool or integer ids, 0 for background.
    together : bool
        The whole foreground as one object, even an empty one.

    Yields
    ------
    tuple
        Id (None where there is only one object) and (H, W) bool mask.
    """
    ids = [int(i) for i in np.unique(truth) if i != 0]
    if together or len(ids) == 1:
        yield None, truth != 0
        return
    for i in ids:
        yield i, truth == i


def dice(mask: Mask, truth: Mask) -> float:
    """Dice coefficient; 1 where both are empty."""
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def iou(mask: Mask, truth: Mask) -> float:
    """Intersection over union; 1 where both are empty."""
    union = int((mask | truth).sum())
    return int((mask & truth).sum()) / union if union else 1.0


def next_click(mask: Mask, truth: Mask) -> tuple[tuple[int, int], int] | None:
    """Where a person would click next: the centre of the largest error.

    The centre is the maximum of the distance transform, the image's border counting
    as a border. With an empty mask this is the centre of the object.

    Parameters
    ----------
    mask, truth : numpy.ndarray
        (H, W) bool.

    Returns
    -------
    tuple or None
        ((row, column), label), label 1 where the object was missed and 0 where
        background was taken; None when there is no error.
    """
    best: tuple[int, Mask, tuple[slice, slice], int] | None = None
    for label, error in ((1, truth & ~mask), (0, mask & ~truth)):
        parts, count = ndimage.label(error)
        if not count:
            continue
        sizes = np.bincount(parts.ravel())[1:]
        largest = int(np.argmax(sizes))
        if best is None or sizes[largest] > best[0]:
            box = ndimage.find_objects(parts)[largest]
            best = int(sizes[largest]), parts[box] == largest + 1, box, label
    if best is None:
        return None
    _, region, (rows, columns), label = best
    depth = ndimage.distance_transform_edt(np.pad(region, 1))[1:-1, 1:-1]
    row, column = np.unravel_index(int(np.argmax(depth)), depth.shape)
    return (int(row) + rows.start, int(column) + columns.start), label


def random_points(
    truth: Mask, points: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Points drawn from the truth, as the paper's IPS was trained and measured.

    Parameters
    ----------
    truth : numpy.ndarray
        (H, W) bool, not empty.
    points : int
        ``max(1, points // 2)`` inside and the rest outside, with replacement.
    rng : numpy.random.Generator

    Returns
    -------
    points : numpy.ndarray
        (N, 2) float64 as (row, column).
    labels : numpy.ndarray
        (N,) int64. Fewer than asked where there is no background.
    """
    inside, outside = np.argwhere(truth), np.argwhere(~truth)
    positives = max(1, points // 2)
    chosen = [inside[rng.integers(len(inside), size=positives)]]
    if len(outside):
        chosen.append(outside[rng.integers(len(outside), size=points - positives)])
    at = np.concatenate(chosen)
    labels = np.array([1] * positives + [0] * (len(at) - positives), np.int64)
    return at.astype(np.float64), labels


def bounding_box(truth: Mask) -> tuple[float, float, float, float]:
    """(r0, c0, r1, c1) of the outermost pixels of a mask that is not empty."""
    rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
    return float(rows[0]), float(columns[0]), float(rows[-1]), float(columns[-1])


def _start(
    segmenter: Segments, emb: Any, truth: Mask, plan: PromptPlan, seed: Sequence[int]
) -> Prompts:
    """Prompts before the first simulated click."""
    if plan.automatic:
        return segmenter.propose(emb)
    if plan.points:
        at, labels = random_points(truth, plan.points, np.random.default_rng(seed))
        return Prompts(points=at, labels=labels)
    if plan.box:
        return Prompts(boxes=np.array([bounding_box(truth)]))
    return Prompts()


def _draw(
    segmenter: Segments,
    emb: Any,
    truth: Mask,
    prompts: Prompts,
    plan: PromptPlan,
    *,
    ips: bool,
) -> tuple[tuple[float, ...], Mask]:
    """Dice before the first click (automatic only) and after each; the last mask."""
    mask = np.zeros(truth.shape, dtype=bool)
    steps: list[float] = []
    logits = None
    if (prompts.labels == 1).any() or len(prompts.boxes):
        drawn = segmenter.segment(emb, prompts, ips=ips)
        mask, logits = drawn.mask, drawn.logits
    if plan.automatic:
        steps.append(dice(mask, truth))
    for _ in range(plan.clicks):
        click = next_click(mask, truth)
        if click is None:
            break
        at, label = click
        prompts = Prompts(
            points=np.concatenate([prompts.points, [at]]),
            labels=np.concatenate([prompts.labels, [label]]),
            boxes=prompts.boxes,
            logits=logits,
        )
        drawn = segmenter.segment(emb, prompts, ips=ips)
        mask, logits = drawn.mask, drawn.logits
        steps.append(dice(mask, truth))
    return tuple(steps), mask


def _mean(values: Iterable[float]) -> float:
    return round(float(np.mean(list(values))), 4)
