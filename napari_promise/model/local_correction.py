"""Corrections that stay local: a click changes the mask only where it points.

A decoder redraws the whole mask after each click, and what was right elsewhere may
change with it. Where a new answer is much like the mask before, only the piece that the
click asked for is taken from it; where it is another mask altogether, the click meant
something else, and all of it is taken. Interactive methods call this progressive
merging [1]_. A decoder may also pass over a click: then a piece around it is changed
all the same. The module knows no models, prompts or images.

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
REACH = 2  # cells: how far from a click its piece may begin, and how far it is blended
LEAST = 4  # cells around a click that the decoder passed over, changed for it
INWARD = 0.75  # of the way to the mask's edge, where the click excludes: the same
SURE = 2.0  # logit given to them


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
        `before` with the pieces of `after` at the clicks; all of `after` where the two
        masks overlap by an IoU below `ALIKE`, or where a click says of its cell what
        was so before. The cell of every click is on the side that its label says.
    """
    found = _merged(before, after, clicks)
    for click in clicks:
        found = _obeyed(found, after, click)
    return found


def _merged(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    clicks: Sequence[tuple[int, int, int]],
) -> NDArray[np.float32]:
    """Keep `before` but for the pieces at the clicks, where the masks are alike."""
    old, new = before > 0, after > 0
    either = np.count_nonzero(old | new)
    if not either or np.count_nonzero(old & new) < ALIKE * either:
        return after
    taken = np.zeros(old.shape, bool)
    for row, column, label in clicks:
        pieces, _ = ndimage.label(new & ~old if label == 1 else old & ~new)
        piece = pieces[row, column]
        if not piece:
            near = pieces[_around(row, REACH), _around(column, REACH)]
            piece = near.max(initial=0)
        if piece:
            taken |= pieces == piece
        elif (before[row, column] > 0) == (label == 1):
            return after
    return np.where(ndimage.binary_dilation(taken, iterations=REACH), after, before)


def _obeyed(
    found: NDArray[np.float32], after: NDArray[np.float32], click: tuple[int, int, int]
) -> NDArray[np.float32]:
    """Change the cells around a click that was passed over.

    Of what is to be included nothing is known but the click: few cells, the likeliest.
    What is to be excluded lies in the mask, and the deeper, the more is meant.
    """
    row, column, label = click
    sign = 1 if label == 1 else -1
    if found[row, column] * sign > 0:
        return found
    wrong = found * sign <= 0
    rows, columns = np.ogrid[: found.shape[0], : found.shape[1]]
    distance = np.hypot(rows - row, columns - column)
    near = wrong & (distance <= LEAST)
    if label == 1:
        likely, _ = ndimage.label(near & (after >= after[row, column]))
        piece = ndimage.binary_dilation(likely == likely[row, column]) & near
    else:
        depth = ndimage.distance_transform_edt(wrong)[row, column]
        piece = near | (wrong & (distance <= INWARD * depth))
    return np.where(piece, np.float32(sign * SURE), found)


def _around(at: int, reach: int) -> slice:
    return slice(max(0, at - reach), at + reach + 1)
