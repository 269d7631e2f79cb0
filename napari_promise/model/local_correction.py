"""Corrections that stay local: a click changes the mask only where it points.

A decoder redraws the whole mask after each click, and what was right elsewhere may
change with it. Where a new answer is much like the mask before, only the piece that the
click asked for is taken from it; where it is another mask altogether, the click meant
something else, and all of it is taken. Interactive methods call this progressive
merging [1]_. The module knows no models, prompts or images.

References
----------
.. [1] Chen et al., "FocalClick: Towards Practical Interactive Image Segmentation",
   CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

ALIKE = 0.8  # IoU from which a new answer corrects the mask before
REACH = 2  # cells: how far from a click its piece may begin, and how far it is blended


def corrected_locally(
    before: NDArray[np.float32],
    after: NDArray[np.float32],
    clicks: Iterable[tuple[int, int, int]],
) -> NDArray[np.float32]:
    """Take from a new answer what the clicks asked for, and keep the rest.

    Parameters
    ----------
    before, after : (h, w) float32
        Logits of the mask that was clicked on, and of the answer.
    clicks : iterable of (row, column, label)
        Cells of the clicks that were added, 1 include and 0 exclude.

    Returns
    -------
    (h, w) float32
        `before` with the pieces of `after` at the clicks; `after` itself where the two
        masks overlap by an IoU below `ALIKE`, or where nothing changed at a click.
    """
    old, new = before > 0, after > 0
    either = np.count_nonzero(old | new)
    if not either or np.count_nonzero(old & new) < ALIKE * either:
        return after
    taken = np.zeros(old.shape, bool)
    for row, column, label in clicks:
        pieces, _ = ndimage.label(new & ~old if label == 1 else old & ~new)
        piece = pieces[row, column]
        if not piece:
            top, left = max(0, row - REACH), max(0, column - REACH)
            near = pieces[top : row + REACH + 1, left : column + REACH + 1]
            piece = near.max(initial=0)
        if not piece:
            return after
        taken |= pieces == piece
    return np.where(ndimage.binary_dilation(taken, iterations=REACH), after, before)
