"""Corrections that stay local: a click changes the mask only where it points.

A decoder redraws the whole mask after each click, and what was right elsewhere may
change with it. Where a new answer is much like the mask before, only the piece that the
click asked for is taken from it; where it is another mask altogether, the click meant
something else, and all of it is taken. Interactive methods call this progressive
merging [1]_. A decoder may also make too little of a click, or pass over it: people
click in the middle of what is wrong, so that a click far from the mask's edge means
more than one beside it, and the answer's logits are lifted around it accordingly. Where
it is unsure it scatters flecks, which smoothing takes away.

References
----------
.. [1] Chen et al., "FocalClick: Towards Practical Interactive Image Segmentation",
   CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

ALIKE = 0.8  # IoU from which a new answer corrects the mask before
BLEND = 2  # cells around a piece that are the answer's too
SMOOTH = 1.0  # cells: deviation of the Gaussian that answers are smoothed with

# How logits are lifted around a click, chosen with `scripts.checks.measure_corrections`
LIFT = 8.0  # at the click, falling to nothing at its reach
WIDTH = 1.5  # reach of a click, in distances to the mask's edge
FAR = 20  # cells: the most that counts of this distance
UNSEEN = 8  # the same where the decoder sees nothing to include
SURE = 2.0  # the least logit of the click's own cell


def corrected_locally(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    clicks: Sequence[tuple[int, int, int]],
) -> NDArray[np.float32]:
    """Take from a new answer what the clicks asked for, and keep the rest.

    Parameters
    ----------
    before, after : (h, w) float32
        Logits of the mask that was clicked on, and of the answer.
    clicks : sequence of (row, column, label)
        Cells of the clicks that were added, 1 include and 0 exclude.

    Returns
    -------
    (h, w) float32
        `before` with the pieces of `after` at the clicks, smoothed and lifted around
        them; all of it where the two masks overlap by an IoU below `ALIKE`, or where a
        click says of its cell what was so before. The cell of a click is on the side
        that its label says; of two that contradict each other, the later one's.
    """
    lifted = after = ndimage.gaussian_filter(after, SMOOTH)
    for click in clicks:
        lifted = _lifted(before, lifted, click)
    old, new, drawn = before > 0, after > 0, lifted > 0
    either = np.count_nonzero(old | new)
    if not either or np.count_nonzero(old & new) < ALIKE * either:
        return lifted
    taken = np.zeros(old.shape, bool)
    for row, column, label in clicks:
        pieces, _ = ndimage.label(drawn & ~old if label == 1 else old & ~drawn)
        if not pieces[row, column]:
            return lifted
        taken |= pieces == pieces[row, column]
    return np.where(ndimage.binary_dilation(taken, iterations=BLEND), lifted, before)


def _lifted(
    before: NDArray[np.float32], after: NDArray[np.float32], click: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Raise or lower an answer around a click, the wider the deeper it was wrong."""
    row, column, label = click
    sign = 1 if label == 1 else -1
    wrong = before * sign <= 0
    obeyed = after[row, column] * sign > 0
    if obeyed and (
        not wrong[row, column] or (label == 1 and _apart(before, after, click))
    ):
        return after
    most = UNSEEN if label == 1 and not obeyed else FAR
    depth = ndimage.distance_transform_edt(np.pad(wrong, 1))  # the border is an edge
    reach = max(1.0, WIDTH * min(depth[row + 1, column + 1], most))
    rows, columns = np.ogrid[: after.shape[0], : after.shape[1]]
    share = 1 - np.hypot(rows - row, columns - column) / reach
    height = max(LIFT, SURE - sign * after[row, column])
    return after + (sign * height * share.clip(0)).astype(np.float32)


def _apart(
    before: NDArray[np.float32], after: NDArray[np.float32], click: tuple[int, int, int]
) -> bool:
    """Whether the answer has a piece of its own at a click, beside the mask before.

    Then the distance to the mask says nothing about the size of what is meant.
    """
    row, column, _ = click
    pieces, _ = ndimage.label((before > 0) | (after > 0))
    return not (before[pieces == pieces[row, column]] > 0).any()
