"""Choose how to train on few images: views, passes, patience, the share held out.

Pure functions of the number of images.
"""

from __future__ import annotations

import math
from typing import Any

from napari_promise.training.config import TrainConfig
from napari_promise.training.progress import COST_OF_MANY, COSTS

#: Views that a training set shall have at least, augmented ones included.
_VIEWS = 96
#: Steps that the prompter shall take at least.
_STEPS = 240
#: Where it finds many objects: so many an image, and at least and at most so many. More
#: steps on few images teach it those alone.
_STEPS_AN_IMAGE, _LEAST_OF_MANY, _STEPS_OF_MANY = 60, 160, 480
#: Passes that it shall make at least, where they are short: with half as many, a
#: hundred polyps taught it less than fifty.
_PASSES = 24
#: Of fewer images a narrow prompter of many objects learns more than a wide one.
_NARROW_BELOW, _NARROW = 20, 48
#: From this many images on the settings of `TrainConfig` are right as they are.
MANY = 400
#: Below this, what is held out says next to nothing.
FEW = 5


def recipe_for(
    count: int, *, continuing: bool = False, many: bool = False
) -> dict[str, Any]:
    """Return settings that fit a number of images.

    Parameters
    ----------
    count : int
        Images with masks, those to be held out included.
    continuing : bool
        Whether an earlier adapter is trained further: with fewer passes and smaller
        steps, so that it does not forget what it knew.
    many : bool
        Whether many objects an image are learnt: in smaller batches and more steps,
        for each image teaches more; from few images by a narrower prompter.

    Returns
    -------
    dict
        Changes of `TrainConfig`.

    Raises
    ------
    ValueError
        If there are fewer than two images.
    """
    if count < 2:
        raise ValueError(
            f"{count} labelled image{'' if count == 1 else 's'}: training needs at "
            "least 2, one of which is held out; 5 and more are worth it."
        )
    held_out = held_out_of(count)
    learnt = count - held_out
    changes: dict[str, Any] = {"held_out_share": min(0.5, max(0.05, held_out / count))}
    if count < MANY:
        views = min(16, max(2, round(_VIEWS / learnt)))
        batch = 8 if learnt * views < 256 else 16
        each_pass = math.ceil(learnt * views / batch)
        changes |= {
            "views": views,
            "apm_batch": batch,
            "apm_epochs": min(40, max(_PASSES, math.ceil(_STEPS / each_pass))),
            "ips_epochs": 8,
            "ips_images": min(300, max(24, learnt * views)),
            # a score of one or two images jumps: wait longer before giving up
            "patience": 8 if count < 14 else 5,
        }
    if many and count < MANY:
        batch, views = 4, changes["views"]
        each_pass = math.ceil(learnt * views / batch)
        steps = min(_STEPS_OF_MANY, max(_LEAST_OF_MANY, _STEPS_AN_IMAGE * learnt))
        passes = min(60, max(12, math.ceil(steps / each_pass)))
        changes |= {"apm_batch": batch, "apm_epochs": passes, "patience": 12}
        if count < _NARROW_BELOW:
            changes["apm_width"] = _NARROW
    if continuing:
        for name in ("apm_epochs", "ips_epochs"):
            changes[name] = max(2, changes.get(name, getattr(TrainConfig, name)) // 2)
        changes |= {"apm_rate": 3e-4, "ips_rate": 3e-4}
    return changes


def held_out_of(count: int) -> int:
    """Return how many of so many images are held out: few, but at least one."""
    return 1 if count < 8 else 2 if count < 14 else round(0.15 * count)


def warning_for(count: int) -> str:
    """Return one line where so many images are too few to expect much; else empty."""
    if 2 <= count < FEW:
        return (
            f"Only {count} labelled images: {count - 1} to learn from and 1 held out. "
            "Expect little, and do not trust the score; 5 and more are worth it."
        )
    return ""


def expected_seconds(
    count: int, changes: dict[str, Any], encode: float, *, many: bool = False
) -> float:
    """Return the seconds that a run takes at most, if nothing is encoded yet.

    Parameters
    ----------
    count : int
        Images.
    changes : dict
        Of `recipe_for`.
    encode : float
        Seconds to encode one image.
    many : bool
        Whether many objects an image are learnt: by a larger prompter, and no shift.
    """
    held_out = held_out_of(count)

    def value(name: str) -> Any:
        return changes.get(name, getattr(TrainConfig, name))

    views = (count - held_out) * value("views")
    work = {
        "embed": views + held_out,
        "apm": value("apm_epochs") * views,
        "ips": value("ips_epochs") * (min(value("ips_images"), views) + held_out),
        "score": 2 * held_out,
    }
    if many:
        work["apm"] *= COST_OF_MANY
        del work["ips"]
    return float(encode * sum(COSTS[phase] * images for phase, images in work.items()))
