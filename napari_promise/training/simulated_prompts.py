"""Prompts taken from the truth, and a simulated user who clicks on the largest error.

How an object is prompted in a measurement, and how many clicks were needed.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from napari_promise.training.metrics import Mask

#: What a user is asked to reach: number of clicks until this IoU.
WANTED_IOU = {"noc85": 0.85, "noc90": 0.90}
#: Clicks after which an object is given up, and what it then counts.
MOST_CLICKS = 20


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
    loose : bool
        Whether clicks fall anywhere in the inner half of the error, not in its centre.
    """

    automatic: bool = False
    clicks: int = 0
    points: int = 0
    box: bool = False
    noc: bool = False
    local: bool = False
    loose: bool = False

    @classmethod
    def parse(cls, text: str) -> PromptPlan:
        """Read one way of prompting.

        ``auto``, ``auto+click:K``, ``auto+noc``, ``click:K``, ``gt:P``, ``box`` or
        ``noc``; after those with clicks ``+local``, for corrections that stay local,
        and then ``+loose``, for clicks that do not hit the centre.

        Raises
        ------
        ValueError
            If it is none of these.
        """
        found = re.fullmatch(
            r"((?P<auto>auto)(\+click:(?P<more>[1-9]\d*)|\+(?P<then>noc))?"
            r"|click:(?P<clicks>[1-9]\d*)|gt:(?P<points>[1-9]\d*)|(?P<box>box)"
            r"|(?P<noc>noc))(?P<local>\+local)?(?P<loose>\+loose)?",
            text,
        )
        if found:
            noc = bool(found["noc"] or found["then"])
            clicks = int(found["more"] or found["clicks"] or 0)
            plan = cls(
                automatic=bool(found["auto"]),
                clicks=MOST_CLICKS if noc else clicks,
                points=int(found["points"] or 0),
                box=bool(found["box"]),
                noc=noc,
                local=bool(found["local"]),
                loose=bool(found["loose"]),
            )
            if plan.clicks or not (plan.local or plan.loose):
                return plan
        raise ValueError(
            f"prompts {text!r} are unknown: use auto, auto+click:K, auto+noc, "
            "click:K, gt:P, box or noc, after clicks also +local, +loose or "
            "+local+loose"
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


def next_click(
    mask: Mask, truth: Mask, rng: np.random.Generator | None = None
) -> tuple[tuple[int, int], int] | None:
    """Where a user would click next: the centre of the largest error.

    The centre is the maximum of the distance transform, the image's border counting
    as a border. With an empty mask this is the centre of the object.

    Parameters
    ----------
    mask, truth : numpy.ndarray
        (H, W) bool.
    rng : numpy.random.Generator, optional
        Draws the place instead, among those at least half as far from the error's
        border as its centre: not everyone hits the centre.

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
    if rng is None:
        at = int(np.argmax(depth))
    else:
        at = int(rng.choice(np.flatnonzero(depth >= depth.max() / 2)))
    row, column = np.unravel_index(at, depth.shape)
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
    """Tight box of a mask that is not empty, as a user draws it.

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


def _dice_of(iou: float) -> float:
    """Dice that an IoU means, a hair lower so that rounding does not decide."""
    return 2 * iou / (1 + iou) - 1e-12
