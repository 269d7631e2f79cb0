"""Measure a segmenter on images with truth: automatic, clicks, random points, box, NoC.

What a model finds by itself and what it draws when prompted from the truth are two
different things and never share a column; frozen SAM with the same prompts stands
beside both. The module knows no torch: it calls a segmenter as a user's script would.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, fields
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_promise.data import pairs as files
from napari_promise.document import Document, Region, Source
from napari_promise.prompts import Prompts
from napari_promise.training import metrics as measuring
from napari_promise.training.config import ImagePair
from napari_promise.training.metrics import Mask as Mask
from napari_promise.training.metrics import Measures, bootstrap
from napari_promise.training.metrics import dice as dice
from napari_promise.training.metrics import iou as iou

#: What a user is asked to reach: number of clicks until this IoU.
WANTED_IOU = {"noc85": 0.85, "noc90": 0.90}
#: Clicks after which an object is given up, and what it then counts.
MOST_CLICKS = 20


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
        self, emb: Any, prompts: Prompts, *, ips: bool = True, local: bool = True
    ) -> Drawn:
        """Draw the mask of one object."""

    def propose(self, emb: Any) -> Prompts:
        """Prompts of the auto-prompting module."""

    def probabilities(
        self, emb: Any, logits: NDArray[np.float32]
    ) -> NDArray[np.float32]:
        """(H, W) in [0, 1] of (1, h, w) logits; asked for when metrics are wanted."""


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
    noc : bool
        Number of clicks: at most `MOST_CLICKS`, until the IoU is high enough.
    local : bool
        Whether clicks change the mask only where they point, as in the window with an
        adapter; else the decoder's whole answer is taken.
    """

    automatic: bool = False
    clicks: int = 0
    points: int = 0
    box: bool = False
    noc: bool = False
    local: bool = False

    @classmethod
    def parse(cls, text: str) -> PromptPlan:
        """Read one way of prompting.

        ``auto``, ``auto+click:K``, ``auto+noc``, ``click:K``, ``gt:P``, ``box`` or
        ``noc``; after those with clicks ``+local``, for corrections that stay local.

        Raises
        ------
        ValueError
            If it is none of these.
        """
        found = re.fullmatch(
            r"(?P<auto>auto)(\+click:(?P<more>[1-9]\d*)|\+(?P<then>noc))?"
            r"|click:(?P<clicks>[1-9]\d*)|gt:(?P<points>[1-9]\d*)|(?P<box>box)"
            r"|(?P<noc>noc)",
            text.removesuffix("+local"),
        )
        local = text.endswith("+local")
        if not found or (local and "click" not in text and "noc" not in text):
            raise ValueError(
                f"prompts {text!r} are unknown: use auto, auto+click:K, auto+noc, "
                "click:K, gt:P, box or noc, after clicks also +local"
            )
        noc = bool(found["noc"] or found["then"])
        return cls(
            automatic=bool(found["auto"]),
            clicks=MOST_CLICKS if noc else int(found["more"] or found["clicks"] or 0),
            points=int(found["points"] or 0),
            box=bool(found["box"]),
            noc=noc,
            local=local,
        )

    @property
    def column(self) -> str:
        """``automatic``, ``corrected`` (automatic, then clicks) or ``gt_prompted``."""
        if self.automatic:
            return "corrected" if self.clicks else "automatic"
        return "gt_prompted"

    @property
    def enough(self) -> float:
        """Dice from which nobody clicks on; infinite where clicks are counted out."""
        return _dice_of(max(WANTED_IOU.values())) if self.noc else np.inf

    def key(self, name: str) -> str:
        """Name of a figure in a summary: ``frozen_dice``, ``frozen_automatic_dice``."""
        bare = name.removeprefix("frozen_")
        return f"{name[: -len(bare)]}{self.column}_{bare}"


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


@dataclass(frozen=True)
class Shown:
    """What a page of examples shows of a score.

    Attributes
    ----------
    region : Region or None
        The predicted mask; None where it is empty.
    points : numpy.ndarray
        (N, 2) as (row, column).
    labels : numpy.ndarray
        (N,) 1 include, 0 exclude.
    boxes : numpy.ndarray
        (M, 4) as (r0, c0, r1, c1).
    automatic : int
        So many of the points are the adapter's, the first ones.
    """

    region: Region | None
    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    boxes: NDArray[np.float64]
    automatic: int


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
    group : str or None
        Patient or sequence of the image.
    area : int
        Pixels of the truth.
    measures, frozen_measures : Measures or None
        Where they were asked for.
    shown : Shown or None
        Where examples were asked for.
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
    group: str | None = None
    area: int = 0
    measures: Measures | None = None
    frozen_measures: Measures | None = None
    shown: Shown | None = field(default=None, repr=False)

    def figures(self, plan: PromptPlan) -> dict[str, float | None]:
        """Every figure of this object by its name, frozen SAM's with ``frozen_``.

        Parameters
        ----------
        plan : PromptPlan
            By which it was measured; of number of clicks nothing else is told,
            because the mask is that of the last click, however many there were.
        """
        result: dict[str, float | None] = {}
        for prefix, overlap, steps, more in (
            ("", (self.dice, self.iou), self.steps, self.measures),
            (
                "frozen_",
                (self.frozen_dice, self.frozen_iou),
                self.frozen_steps,
                self.frozen_measures,
            ),
        ):
            if overlap[0] is None:
                continue
            if plan.noc:
                for name, wanted in WANTED_IOU.items():
                    needed = clicks_needed(steps, wanted, automatic=plan.automatic)
                    result[prefix + name] = needed
                continue
            result |= {f"{prefix}dice": overlap[0], f"{prefix}iou": overlap[1]}
            if more is not None:
                result |= {prefix + name: getattr(more, name) for name in _SINGLE}
        return result

    def to_json(self) -> dict[str, Any]:
        """Everything but curves and examples, ready for `json.dump`."""
        left_out = ("measures", "frozen_measures", "shown")
        result = {
            f.name: getattr(self, f.name)
            for f in fields(self)
            if f.name not in left_out
        }
        for prefix, more in (
            ("", self.measures),
            ("frozen_", self.frozen_measures),
        ):
            if more is not None:
                result |= {prefix + name: getattr(more, name) for name in _SINGLE}
        return result


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
    def plan(self) -> PromptPlan:
        """What `prompts` says."""
        return PromptPlan.parse(self.prompts)

    @property
    def summary(self) -> dict[str, Any]:
        """Means, with automatic and GT-prompted scores under different keys.

        Objects that no number of clicks brought to the IoU wanted count
        `MOST_CLICKS` and are counted in ``…_failures``; where HD95 is undefined it is
        left out of the mean and counted in ``…_hd95_undefined``; images without an
        object are told apart where prompts are automatic.
        """
        plan = self.plan
        result: dict[str, Any] = {
            "prompts": self.prompts,
            "objects": len(self.scores),
            "images": len({score.image for score in self.scores}),
            "skipped": len(self.skipped),
        }
        if not self.scores:
            return result
        for key, (values, highest) in self._columns().items():
            if highest:
                result[key] = round(float(values.mean(axis=0).max()), 4)
                continue
            result[key] = _mean(values)
            name = key.removesuffix("_hd95")
            if name != key and np.isnan(values).any():
                result[f"{key}_undefined"] = int(np.isnan(values).sum())
        if plan.noc:
            for key, found in self._figures().items():
                result[f"{key}_failures"] = sum(value is None for value in found)
            return result
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
        empty = [s for s in self.scores if not s.area]
        if empty and plan.automatic:
            result["images_without_object"] = len(empty)
            result["of_these_left_unprompted"] = _mean(not s.positives for s in empty)
            if len(empty) < len(self.scores):
                result[f"{plan.column}_dice_where_object"] = _mean(
                    s.dice for s in self.scores if s.area
                )
        return result

    def intervals(
        self, *, seed: int = 0, resamples: int = measuring.RESAMPLES
    ) -> dict[str, tuple[float, float]]:
        """95 % bootstrap intervals of the means, under the keys of `summary`.

        Images are resampled, or groups where images have them. Missing where there is
        only one.

        Parameters
        ----------
        seed, resamples : int
            See `bootstrap`.
        """
        clusters = [score.group or score.image for score in self.scores]
        result = {}
        for key, (values, highest) in self._columns().items():
            found = bootstrap(
                values, clusters, highest=highest, seed=seed, resamples=resamples
            )
            if found is not None:
                result[key] = (round(found[0], 4), round(found[1], 4))
        return result

    def to_json(self) -> dict[str, Any]:
        """Everything, ready for `json.dump`."""
        return {
            "prompts": self.prompts,
            "model": self.model,
            "adapter": self.adapter,
            "summary": self.summary,
            "intervals": {key: list(ends) for key, ends in self.intervals().items()},
            "bootstrap": {
                "confidence": measuring.CONFIDENCE,
                "resamples": measuring.RESAMPLES,
                "seed": 0,
                "by": "group" if any(s.group for s in self.scores) else "image",
            },
            "scores": [score.to_json() for score in self.scores],
            "skipped": list(self.skipped),
        }

    def _figures(self) -> dict[str, list[float | None]]:
        """Each figure of all objects, named as in `summary`."""
        found = [score.figures(self.plan) for score in self.scores]
        return {
            self.plan.key(name): [each.get(name) for each in found]
            for name in (found[0] if found else ())
        }

    def _columns(self) -> dict[str, tuple[NDArray[np.float64], bool]]:
        """Values whose mean is told, and whether they are curves and it is the top."""
        missing = float(MOST_CLICKS) if self.plan.noc else np.nan
        result: dict[str, tuple[NDArray[np.float64], bool]] = {}
        for key, found in self._figures().items():
            values = np.array([missing if v is None else v for v in found], np.float64)
            if not np.isnan(values).all():
                result[key] = values, False
        if self.plan.noc:
            return result
        for prefix in ("", "frozen_"):
            more = [getattr(score, f"{prefix}measures") for score in self.scores]
            if any(each is None for each in more):
                continue
            for name in ("e", "f"):
                curves = np.stack([getattr(each, f"{name}_curve") for each in more])
                result[self.plan.key(f"{prefix}{name}_max")] = curves, True
        return result


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
    for done, pair in enumerate(pairs, start=1):
        try:
            image, truth = files.read_image(pair.image), files.read_mask(pair.mask)
            if image.shape[:2] != truth.shape:
                raise ValueError(f"{image.shape[:2]} pixels, its mask {truth.shape}")
        except (OSError, ValueError) as error:
            for text in plans:
                skipped[text].append(f"{pair.image}: {error}")
        else:
            emb = None
            for text, plan in plans.items():
                if not truth.any() and (plan.noc or not plan.automatic):
                    skipped[text].append(
                        f"{pair.image}: nothing to prompt, its mask is empty"
                    )
                    continue
                emb = segmenter.encode(image) if emb is None else emb
                scores[text] += measure(
                    str(pair.image),
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
        start = _start(segmenter, emb, target, plan, [*seed, instance or 0])
        drawn = _draw(segmenter, emb, target, start, plan, ips=True)
        frozen: Drawing | None = None
        if adapted:
            frozen = _draw(segmenter, emb, target, start, plan, ips=False)
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


def clicks_needed(
    steps: Sequence[float], wanted: float, *, automatic: bool = False
) -> int | None:
    """Count the clicks until an IoU was reached for the first time.

    Parameters
    ----------
    steps : sequence of float
        Dice after each click; with `automatic` one more before the first. Of binary
        masks one determines the other: IoU = Dice / (2 - Dice).
    wanted : float
        IoU.
    automatic : bool
        Then no click at all may be enough.

    Returns
    -------
    int or None
        None if it was never reached.
    """
    enough = _dice_of(wanted)
    for count, reached in enumerate(steps, start=0 if automatic else 1):
        if reached >= enough:
            return count
    return None


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
    """Tight box of a mask that is not empty, as a person draws it.

    Parameters
    ----------
    truth : (H, W) bool

    Returns
    -------
    tuple of float
        (r0, c0, r1, c1) on the outer edges of the outermost pixels; pixel centres are
        at the integers, so a single pixel at the origin has (-.5, -.5, .5, .5). A box
        between outermost centres would cut half a pixel off each side, which on a
        nucleus of 20 pixels is a tenth of its area.
    """
    rows, columns = np.flatnonzero(truth.any(1)), np.flatnonzero(truth.any(0))
    edges = rows[0] - 0.5, columns[0] - 0.5, rows[-1] + 0.5, columns[-1] + 0.5
    r0, c0, r1, c1 = map(float, edges)
    return r0, c0, r1, c1


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
) -> Drawing:
    """Answer the prompts, then click on the largest error again and again.

    A document keeps the prompts, so that a click is answered as a user's would be.
    """
    document = Document()
    object_id = document.new_object().id
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
        click = next_click(mask, truth)
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


def _shown(drawn: Drawing, start: Prompts, plan: PromptPlan) -> Shown:
    return Shown(
        Region.from_mask(drawn.mask),
        drawn.prompts.points,
        drawn.prompts.labels,
        drawn.prompts.boxes,
        len(start.points) if plan.automatic else 0,
    )


#: The measures of one object that are one number.
_SINGLE = tuple(f.name for f in fields(Measures) if not f.name.endswith("_curve"))


def _dice_of(iou: float) -> float:
    """Dice that an IoU means, a hair lower so that rounding does not decide."""
    return 2 * iou / (1 + iou) - 1e-12


def _mean(values: Iterable[float]) -> float:
    """Mean of what is there, rounded; NaN stands for what is not."""
    return round(float(np.nanmean(list(values))), 4)
