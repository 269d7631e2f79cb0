"""What a measurement found: of each object, and of all of them.

Automatic and GT-prompted scores never share a key.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import Region
from napari_promise.training.metrics import CONFIDENCE, RESAMPLES, Measures, bootstrap
from napari_promise.training.simulated_prompts import (
    MOST_CLICKS,
    WANTED_IOU,
    PromptPlan,
    clicks_needed,
)

#: The measures of one object that are one number.
_SINGLE = tuple(f.name for f in fields(Measures) if not f.name.endswith("_curve"))


@dataclass(frozen=True)
class Example:
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
    shown : Example or None
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
    shown: Example | None = field(default=None, repr=False)

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
        self, *, seed: int = 0, resamples: int = RESAMPLES
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
                "confidence": CONFIDENCE,
                "resamples": RESAMPLES,
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
            if not more or any(each is None for each in more):
                continue
            for name in ("e", "f"):
                curves = np.stack([getattr(each, f"{name}_curve") for each in more])
                result[self.plan.key(f"{prefix}{name}_max")] = curves, True
        return result


def _mean(values: Iterable[float]) -> float:
    """Mean of what is there, rounded; NaN stands for what is not."""
    return round(float(np.nanmean(list(values))), 4)
