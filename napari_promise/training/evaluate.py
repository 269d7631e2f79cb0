"""Measure a segmenter on images with truth: automatic, clicks, random points, box, NoC.

What a model finds by itself and what it draws when prompted from the truth are two
different things and never share a column; frozen SAM with the same prompts stands
beside both. The segmenter is called as a user's script would call it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_promise.data.images import plane_name
from napari_promise.data.pairs import SampleReader, planes_of
from napari_promise.document import Document, Region, Source
from napari_promise.prompts import Prompts
from napari_promise.proposing import iou
from napari_promise.training import metrics as measuring
from napari_promise.training.config import ImagePair
from napari_promise.training.metrics import Mask, Measures, dice
from napari_promise.training.scores import EvaluationReport, Example, Score
from napari_promise.training.simulated_prompts import (
    PromptPlan,
    bounding_box,
    next_click,
    objects,
    random_points,
)


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

    def segment(
        self,
        emb: Any,
        prompts: Prompts,
        *,
        ips: bool = True,
        local: bool | None = None,
    ) -> Drawn:
        """Draw the mask of one object."""

    def propose(self, emb: Any) -> Prompts:
        """Prompts of the auto-prompting module."""

    def probabilities(
        self, emb: Any, logits: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """(H, W) in [0, 1] of (1, h, w) logits; asked for when metrics are wanted."""


@dataclass(frozen=True)
class Drawing:
    """What prompts gave, and the clicks that were added to them.

    Attributes
    ----------
    steps : tuple of float
        Dice before the first click (automatic only) and after each.
    mask : numpy.ndarray
        (H, W) bool, the last one.
    logits : numpy.ndarray or None
        (1, h, w) of the last mask; None where nothing was prompted.
    prompts : Prompts
        The last ones.
    """

    steps: tuple[float, ...]
    mask: Mask
    logits: NDArray[np.float32] | None
    prompts: Prompts


def evaluate(
    pairs: Iterable[ImagePair],
    segmenter: Segments,
    prompts: str = "auto",
    *,
    seed: int = 0,
    metrics: bool = False,
    progress: Callable[[int, ImagePair], None] | None = None,
) -> EvaluationReport:
    """Measure a segmenter on image files with masks or instance labels.

    Parameters
    ----------
    pairs : iterable of ImagePair
        Stacks are measured plane by plane, see `pairs.planes_of`.
    segmenter : Segmenter
    prompts : str
        See `PromptPlan.parse`. Automatic prompts are scored against the whole
        foreground, all others against each instance.
    seed : int
        Of the random points.
    metrics : bool
        Whether to measure more than overlap, see `Measures`.
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
    return evaluate_all(
        pairs, segmenter, [prompts], seed=seed, metrics=metrics, progress=progress
    )[0]


def evaluate_all(
    pairs: Iterable[ImagePair],
    segmenter: Segments,
    prompts: Sequence[str],
    *,
    seed: int = 0,
    metrics: bool = False,
    examples: bool = False,
    progress: Callable[[int, ImagePair], None] | None = None,
) -> tuple[EvaluationReport, ...]:
    """Measure several ways of prompting, encoding every image once.

    Parameters
    ----------
    pairs : iterable of ImagePair
        Stacks are measured plane by plane, see `pairs.planes_of`.
    segmenter : Segmenter
    prompts : sequence of str
        Each as `evaluate` takes it, none twice.
    seed : int
        Of the random points.
    metrics : bool
        Whether to measure more than overlap, see `Measures`.
    examples : bool
        Whether scores keep what a page of examples shows.
    progress : callable, optional
        Called after each image with the number done and the pair.

    Returns
    -------
    tuple of EvaluationReport
        One for each of `prompts`.

    Raises
    ------
    ValueError
        If one of `prompts` is unknown or given twice, or automatic without an adapter
        that proposes.
    """
    plans = {text: PromptPlan.parse(text) for text in prompts}
    if len(plans) < len(prompts):
        raise ValueError(f"prompts {', '.join(prompts)}: give each of them once")
    scores: dict[str, list[Score]] = {text: [] for text in plans}
    skipped: dict[str, list[str]] = {text: [] for text in plans}
    files = SampleReader()
    for done, pair in enumerate(planes_of(pairs), start=1):
        name = plane_name(str(pair.image), pair.plane)
        try:
            sample = files.read(pair)
            truth = sample.mask
        except (OSError, ValueError) as error:
            for text in plans:
                skipped[text].append(f"{name}: {error}")
        else:
            emb = None
            for text, plan in plans.items():
                if not truth.any() and (plan.noc or not plan.automatic):
                    skipped[text].append(
                        f"{name}: nothing to prompt, its mask is empty"
                    )
                    continue
                emb = segmenter.encode(sample.rgb8) if emb is None else emb
                scores[text] += measure(
                    name,
                    emb,
                    truth,
                    segmenter,
                    plan,
                    seed=[seed, done],
                    group=pair.group,
                    metrics=metrics,
                    examples=examples,
                )
        if progress is not None:
            progress(done, pair)
    info = getattr(segmenter, "adapter_info", None)
    return tuple(
        EvaluationReport(
            prompts=text,
            model=getattr(segmenter, "model_id", None),
            adapter=None if info is None else info.name,
            scores=tuple(scores[text]),
            skipped=tuple(skipped[text]),
        )
        for text in plans
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
    group: str | None = None,
    metrics: bool = False,
    examples: bool = False,
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
    group : str, optional
        Patient or sequence of the image.
    metrics, examples : bool
        See `evaluate_all`.

    Yields
    ------
    Score
    """
    adapted = frozen_too and getattr(segmenter, "adapter_info", None) is not None
    metrics = metrics and not plan.noc
    for instance, target in objects(truth, together=plan.automatic):
        seeds = [*seed, instance or 0]
        start = _start(segmenter, emb, target, plan, seeds)
        drawn = _draw(segmenter, emb, target, start, plan, seeds, ips=True)
        frozen: Drawing | None = None
        if adapted:
            frozen = _draw(segmenter, emb, target, start, plan, seeds, ips=False)
        positive = start.points[start.labels == 1] if plan.automatic else None
        on_object = 0
        if positive is not None:
            cells = np.rint(positive).astype(int)
            limit = np.array(target.shape) - 1
            on_object = int(target[tuple(cells.clip(0, limit).T)].sum())
        yield Score(
            image=name,
            instance=instance,
            dice=dice(drawn.mask, target),
            iou=iou(drawn.mask, target),
            frozen_dice=None if frozen is None else dice(frozen.mask, target),
            frozen_iou=None if frozen is None else iou(frozen.mask, target),
            steps=drawn.steps if plan.clicks else (),
            frozen_steps=frozen.steps if plan.clicks and frozen is not None else (),
            positives=0 if positive is None else len(positive),
            positives_on_object=on_object,
            group=group,
            area=int(target.sum()),
            measures=_measured(segmenter, emb, target, drawn) if metrics else None,
            frozen_measures=(
                _measured(segmenter, emb, target, frozen)
                if metrics and frozen is not None
                else None
            ),
            shown=_shown(drawn, start, plan) if examples else None,
        )


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
    seed: Sequence[int],
    *,
    ips: bool,
) -> Drawing:
    """Answer the prompts, then click on the largest error again and again.

    A document keeps the prompts, so that a click is answered as a user's would be.
    """
    document = Document()
    object_id = document.new_object().id
    rng = np.random.default_rng(seed) if plan.loose else None
    mask = np.zeros(truth.shape, dtype=bool)
    steps: list[float] = []
    logits = None

    def answer() -> None:
        nonlocal mask, logits
        record = document.get(object_id)
        drawn = segmenter.segment(emb, record.prompts, ips=ips, local=plan.local)
        mask, logits = drawn.mask, drawn.logits
        region = Region.from_mask(mask)
        document.set_mask(
            object_id, region, score=0, logits=logits, revision=record.revision
        )

    if (prompts.labels == 1).any() or len(prompts.boxes):
        source: Source = "auto" if plan.automatic else "user"
        document.set_prompts(
            object_id,
            prompts,
            (source,) * len(prompts.points),
            keep_logits=True,
            coarse=prompts.logits,
        )
        answer()
    if plan.automatic:
        steps.append(dice(mask, truth))
    for _ in range(plan.clicks):
        click = next_click(mask, truth, rng)
        if click is None or (steps and steps[-1] >= plan.enough):
            break
        (at, label), prompts = click, document.get(object_id).prompts
        document.edit_prompts(
            object_id,
            points=np.concatenate([prompts.points, [at]]),
            labels=np.append(prompts.labels, label),
        )
        answer()
        steps.append(dice(mask, truth))
    return Drawing(tuple(steps), mask, logits, document.get(object_id).prompts)


def _measured(segmenter: Segments, emb: Any, truth: Mask, drawn: Drawing) -> Measures:
    if drawn.logits is None:
        probability = np.zeros(truth.shape, np.float32)
    else:
        probability = segmenter.probabilities(emb, drawn.logits)
    return measuring.measures(
        drawn.mask, probability, truth, distance=measuring.has_monai()
    )


def _shown(drawn: Drawing, start: Prompts, plan: PromptPlan) -> Example:
    return Example(
        Region.from_mask(drawn.mask),
        drawn.prompts.points,
        drawn.prompts.labels,
        drawn.prompts.boxes,
        len(start.points) if plan.automatic else 0,
    )
