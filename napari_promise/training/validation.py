"""Score an adapter in training on the held-out views: what its passes are chosen by.

Each measurement is a generator: it yields None where somebody waits for the model, as
often as once a view, and returns what it found.
"""

from __future__ import annotations

from collections.abc import Callable, Generator, Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import torch

from napari_promise.model.adapters import Adapter
from napari_promise.model.auto_prompt import HeatmapAPM
from napari_promise.segmenter import Segmenter
from napari_promise.training.config import ImagePair
from napari_promise.training.embedder import Views
from napari_promise.training.evaluate import measure
from napari_promise.training.scores import EvaluationReport, Score
from napari_promise.training.simulated_prompts import PromptPlan

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

#: What early stopping and the choice of modules look at: what an adapter is used for.
KINDS = ("automatic", "refined")
#: What they look at where nothing prompts: random points from the truth.
PROMPTED = ("gt_prompted",)
#: Clicks after automatic prompts that make a mask ``refined``.
CLICKS = 3

#: The scores of every object, under the kind of prompts that they were drawn from.
Measured = Mapping[str, Sequence[Score]]


class Validation:
    """Measures on the held-out views of a run.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
    views : Views
        Held out.
    points : int
        So many points from the truth prompt, where prompts come from the truth.
    give_way : callable
        Asked before each view; where it answers True, None is yielded first.
    """

    def __init__(
        self, sam: Sam, views: Views, points: int, give_way: Callable[[], bool]
    ) -> None:
        self.sam = sam
        self.views = views
        self.points = points
        self.give_way = give_way

    def map_dice(self, apm: HeatmapAPM) -> Generator[None, None, float]:
        """Mean Dice of the coarse map itself."""
        found = []
        for at in range(self.views.count):
            if self.give_way():
                yield
            emb = self.views.embedding(at, self.sam.device)
            with torch.no_grad():  # not across a pause: the caller has its own mode
                logits = apm(emb.levels, emb.image)[0].cpu()
            target, inside = self.views.target_and_inside(at, logits.shape[-1])
            mask, truth = (logits > 0) & (inside > 0), target >= 0.5
            total = int(mask.sum() + truth.sum())
            found.append(2 * int((mask & truth).sum()) / total if total else 1.0)
        return float(np.mean(found))

    def measure(
        self, adapter: Adapter, most: int, *, frozen_too: bool
    ) -> Generator[None, None, Measured]:
        """Score each kind of prompt, on at most so many views.

        Parameters
        ----------
        adapter : Adapter
            Set to evaluation.
        most : int
            Views, spread evenly over all.
        frozen_too : bool
            Whether frozen SAM is scored beside it, from the same prompts.
        """
        views, segmenter = self.views, Segmenter(self.sam, adapter.eval())
        count = min(most, views.count)
        chosen = np.linspace(0, views.count - 1, count).round().astype(int)
        plans = [f"gt:{self.points}"]
        if adapter.apm is not None:
            plans.append(f"auto+click:{CLICKS}+local")
        found: dict[str, list[Score]] = {text: [] for text in plans}
        for text, scores in found.items():
            plan = PromptPlan.parse(text)
            for at in chosen:
                if self.give_way():
                    yield
                truth = views.truth(at)
                if truth.any() or plan.automatic:
                    scores += measure(
                        str(at),
                        views.embedding(int(at), self.sam.device),
                        truth,
                        segmenter,
                        plan,
                        seed=[0, int(at)],
                        frozen_too=frozen_too,
                        group=_domain(views.pairs[at]),
                    )
        return found


def dice(measured: Measured) -> dict[str, float]:
    """Mean Dice under the names of `trainer.Progress.held_out`."""
    result: dict[str, float] = {}
    for plan, scores in measured.items():
        summary = EvaluationReport(plan, None, None, tuple(scores)).summary
        for kind in ("", "frozen_"):
            if f"{kind}gt_prompted_dice" in summary:
                result[f"{kind}gt_prompted"] = summary[f"{kind}gt_prompted_dice"]
            steps = summary.get(f"{kind}dice_by_step")
            if steps:
                # where nobody had to click, the last score stays
                steps = [*steps, *steps[-1:] * (CLICKS + 1 - len(steps))]
                result[f"{kind}automatic"] = steps[0]
                result[f"{kind}corrected"] = steps[1]
                result[f"{kind}refined"] = steps[CLICKS]
        if "positives_on_object" in summary:
            result["positives_on_object"] = summary["positives_on_object"]
    return result


def dice_by_domain(measured: Measured) -> dict[str, dict[str, float]]:
    """`dice` of each set alone, where sets are told apart by their groups."""
    domains: dict[str, dict[str, list[Score]]] = {}
    for plan, scores in measured.items():
        for score in scores:
            if score.group:
                domains.setdefault(score.group, {}).setdefault(plan, []).append(score)
    return {domain: dice(domains[domain]) for domain in sorted(domains)}


def judged(scores: Mapping[str, float], kind: str = "") -> float:
    """Return the one number that passes are chosen by.

    Parameters
    ----------
    scores : mapping
        See `dice`.
    kind : str
        ``frozen_`` for that of frozen SAM.
    """
    kinds = [name for name in KINDS if name in scores] or list(PROMPTED)
    return float(np.mean([scores[kind + name] for name in kinds]))


def _domain(pair: ImagePair) -> str | None:
    """Name of the set, where groups are ``set/group``."""
    return pair.group.partition("/")[0] if pair.group and "/" in pair.group else None
