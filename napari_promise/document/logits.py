"""The logits of a mask: whole while it is being corrected, small when it is not.

A mask's logits are 256 kB, and an image can hold thousands of objects. What a
correction needs of them is exact where the mask is and around it; far away it is
enough to know about how far below zero they lie.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.prompts import round_logits

__all__ = ["MaskLogits", "SmallLogits"]

#: Cells around the mask in which its logits stay exact: the mask drawn from them is
#: the same, and a correction at its edge sees what it saw.
_MARGIN = 8
#: Farther away, the mean of so many cells by so many stands for them.
_BLOCK = 4
#: Maps of no more cells than this are as small already.
_SMALL = 64 * 64


@dataclass(frozen=True, eq=False)
class SmallLogits:
    """Mask logits, exact around the mask only.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of the whole map; multiples of four.
    origin : (int, int)
        Row and column of the first cell of `crop`.
    crop : (a, b) float16
        The cells around the mask. No cell outside of them is above zero.
    around : (h / 4, w / 4) int8
        Means of blocks of four by four cells, in units of `step`.
    step : float
    """

    shape: tuple[int, int]
    origin: tuple[int, int]
    crop: NDArray[np.float16]
    around: NDArray[np.int8]
    step: float

    @classmethod
    def from_array(cls, logits: NDArray[np.float32]) -> SmallLogits | None:
        """Make logits small, (1, h, w); None where that would gain nothing."""
        cells = logits[0]
        height, width = cells.shape
        if cells.size <= _SMALL or height % _BLOCK or width % _BLOCK:
            return None
        positive = cells > 0
        rows = np.flatnonzero(positive.any(axis=1))
        r0 = c0 = r1 = c1 = 0
        if len(rows):
            r0 = max(int(rows[0]) - _MARGIN, 0)
            r1 = min(int(rows[-1]) + 1 + _MARGIN, height)
            columns = np.flatnonzero(positive[r0:r1].any(axis=0))
            c0 = max(int(columns[0]) - _MARGIN, 0)
            c1 = min(int(columns[-1]) + 1 + _MARGIN, width)
        # Slices are summed: many times quicker than short axes.
        tall: Any = sum(cells[at::_BLOCK] for at in range(_BLOCK))
        means: Any = sum(tall[:, at::_BLOCK] for at in range(_BLOCK)) / _BLOCK**2
        # A power of two, so that what comes back is what a float16 can hold.
        most = float(np.abs(means).max())
        step = 2.0 ** math.ceil(math.log2(most / 127)) if most else 1.0
        crop = round_logits(cells[r0:r1, c0:c1]).astype(np.float16)
        around = np.rint(means / step).astype(np.int8)
        for array in (crop, around):
            array.flags.writeable = False
        return cls((height, width), (r0, c0), crop, around, step)

    def to_array(self) -> NDArray[np.float32]:
        """Return the whole map again, (1, h, w) float32, read-only."""
        far = np.minimum(self.around.astype(np.float32), -0.5) * np.float32(self.step)
        cells = far.repeat(_BLOCK, axis=0).repeat(_BLOCK, axis=1)
        (r0, c0), (height, width) = self.origin, self.crop.shape
        cells[r0 : r0 + height, c0 : c0 + width] = self.crop
        cells.flags.writeable = False
        whole: NDArray[np.float32] = cells[None]
        return whole


class MaskLogits:
    """Holds the logits of one mask for all records that have this mask.

    The one thing of a record that changes: `shrink` makes them small for the record
    as it stands and for every step of the history at once.

    Parameters
    ----------
    held : (1, h, w) float32 or SmallLogits
        An array is shared, not copied.
    """

    __slots__ = ("_held",)

    def __init__(self, held: NDArray[np.float32] | SmallLogits) -> None:
        self._held = held

    @property
    def held(self) -> NDArray[np.float32] | SmallLogits:
        """The logits in the form in which they are kept."""
        return self._held

    @property
    def array(self) -> NDArray[np.float32]:
        """The logits, (1, h, w) float32; the very array while they are whole."""
        held = self._held
        return held.to_array() if isinstance(held, SmallLogits) else held

    def shrink(self) -> None:
        """Keep them small from now on."""
        held = self._held
        if not isinstance(held, SmallLogits):
            self._held = SmallLogits.from_array(held) or held
