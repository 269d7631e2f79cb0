"""Make an instant adapter from images with masks: encode each, add up, solve.

The run, as `train_instant` tells it:

1. *embed*: each image is encoded and its lesson taken (`model.instant_learner`).
2. *score*: each image, or each held-out one where some were given, is answered by
   what the others teach; images of one group never teach each other's answer.
3. *done*: the adapter knows all images.

There are no passes; the same images give the same adapter.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_promise.data.pairs import SampleReader, planes_of
from napari_promise.files import one_line
from napari_promise.model.adapters import save_adapter
from napari_promise.model.instant_learner import InstantLearner, info_for, lesson_of
from napari_promise.model.sam import Embedding, encode_image
from napari_promise.model.weights import Cancelled
from napari_promise.segmenter import Segmenter
from napari_promise.training.config import ImagePair, TrainConfig
from napari_promise.training.curves import Row, write_curves
from napari_promise.training.evaluate import measure
from napari_promise.training.progress import Outlook, Progress
from napari_promise.training.simulated_prompts import PromptPlan

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

__all__ = ["train_instant"]

#: Images that are answered to say how good the adapter is, spread over all.
_SCORED = 40


@dataclass(frozen=True, eq=False)
class _Seen:
    """An image that was encoded; its embedding is kept where it will be scored."""

    name: str
    group: str
    mask: NDArray[np.bool_]
    emb: Embedding | None


def train_instant(
    config: TrainConfig,
    sam: Sam,
    held_out: Sequence[ImagePair] = (),
    give_way: Callable[[], bool] = lambda: False,
) -> Iterator[Progress]:
    """Learn from all pairs, yielding progress; see `trainer.train`, which calls this.

    Parameters
    ----------
    config : TrainConfig
        With ``apm`` "instant".
    sam : segment_anything.modeling.Sam
        Frozen base model.
    held_out : sequence of ImagePair
        Only measured; empty: each image is answered by what the others teach.
    give_way : callable, optional
        Asked often; where it answers True, progress is yielded as soon as can be.

    Yields
    ------
    Progress
        The last one has phase ``done`` and the adapter.

    Raises
    ------
    ValueError
        If more than half of the pairs cannot be used, or no mask holds an object.
    """
    learnt, kept = list(planes_of(config.pairs)), list(planes_of(held_out))
    jobs = [(pair, True) for pair in learnt] + [(pair, False) for pair in kept]
    scored = _spread(kept or learnt)
    outlook = Outlook({"embed": len(jobs), "score": len(scored)})
    files = SampleReader()
    learner: InstantLearner | None = None
    seen: list[_Seen] = []
    left_out: list[str] = []
    for done, (pair, teaches) in enumerate(jobs, start=1):
        message = ""
        try:
            sample = files.read(pair)
            while True:
                try:
                    emb = encode_image(sam, sample.rgb8, cancel=give_way)
                    break
                except Cancelled:
                    yield Progress("embed", done - 1, len(jobs))
        except (OSError, ValueError) as error:
            message = f"left out: {one_line(error)}"
            left_out.append(one_line(error))
            if 2 * len(left_out) > len(jobs):
                raise ValueError(
                    f"{len(left_out)} of {len(jobs)} pairs cannot be used, which is "
                    f"more than half; the first: {left_out[0]}"
                ) from error
        else:
            mask = np.asarray(sample.mask) > 0
            learner = learner or InstantLearner.like(emb)
            name, group = f"{done}", pair.group or f"{pair.image}"
            if teaches:
                learner.learn(name, lesson_of(learner.apm, emb, mask))
            score_it = any(pair is one for one in scored)
            seen.append(_Seen(name, group, mask, emb if score_it else None))
        left = outlook.left(len(jobs) - done)
        yield Progress("embed", done, len(jobs), eta=left, message=message)
    if learner is None or not any(one.mask.any() for one in seen):
        raise ValueError(
            "no mask holds an object: masks are 0 for background and another number "
            "for the object"
        )
    info = info_for(
        sam,
        config.name,
        class_name=config.class_name,
        trained_on=config.trained_on or f"{len(config.pairs)} images",
        licence=config.licence,
        note=config.note,
        points=config.points,
    )
    info = replace(info, version=config.version)
    outlook.begin("score")
    found: list[float] = []
    judged = [one for one in seen if one.emb is not None and one.mask.any()]
    for done, one in enumerate(judged, start=1):
        alike = {other.name for other in seen if other.group == one.group}
        if set(learner.names) - alike:
            adapter = learner.adapter(info, alike).to(sam.device)
            segmenter = Segmenter(sam, adapter)
            plan = PromptPlan.parse("auto")
            scores = measure(
                one.name, one.emb, one.mask, segmenter, plan, frozen_too=False
            )
            found += [score.dice for score in scores]
        left = outlook.left(len(judged) - done)
        yield Progress("score", done, len(judged), eta=left)
    told = {"automatic": round(float(np.mean(found)), 4)} if found else {}
    row: Row = {"epoch": 1, "phase": "score", **told}
    note = config.note
    if found and not kept:
        said = "Scored on each image by what the others taught."
        note = f"{note} {said}".strip()
    info = replace(info, scores={"held out in training": told}, note=note)
    adapter = learner.adapter(info).to(sam.device)
    if config.output is not None:
        save_adapter(adapter, config.output)
        write_curves(config.output, [row])
    yield Progress(
        "done",
        1,
        1,
        held_out=told,
        eta=0.0,
        message=f"{len(left_out)} pairs were left out" if left_out else "",
        adapter=adapter,
        row=row,
    )


def _spread(pairs: Sequence[ImagePair]) -> list[ImagePair]:
    """Choose at most `_SCORED`, evenly spread."""
    at = np.linspace(0, len(pairs) - 1, min(len(pairs), _SCORED)).round().astype(int)
    return [pairs[i] for i in at]
