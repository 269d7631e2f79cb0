"""How sure a propagated plane is: what speaks for it, as an expected Dice."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

__all__ = ["Signs", "expected_dice"]

#: Of `Signs.vector`, fitted by `scripts/volumes/fit_confidence.py`.
WEIGHTS = (-13.707, -0.646, 14.133, -0.037, 2.536)


@dataclass(frozen=True)
class Signs:
    """What speaks for and against the mask of a plane.

    Attributes
    ----------
    contrast : float
        How much higher the classifier of the drawn planes scores the object than a ring
        around it, as a share of the same on those planes.
    certainty : float
        Mean probability of the outline's logits inside the mask.
    area : float
        As a share of the area on the largest plane that was drawn.
    overlap : float
        Dice with the shape that was expected.
    """

    contrast: float
    certainty: float
    area: float
    overlap: float

    @property
    def vector(self) -> NDArray[np.float64]:
        """The signs as a linear model takes them, a constant first, (5,)."""
        return np.array(
            [
                1.0,
                np.clip(self.contrast, -0.5, 1.2),
                self.certainty,
                np.clip(np.log(max(self.area, 1e-3)), -4, 0),
                self.overlap,
            ]
        )


def expected_dice(signs: Signs) -> float:
    """Return the Dice to expect of a plane with these signs, 0 to 1."""
    return float(1 / (1 + np.exp(-signs.vector @ np.array(WEIGHTS))))
