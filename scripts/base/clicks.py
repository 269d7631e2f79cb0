"""Where a simulated person clicks while the base is trained; on masks alone, no model.

Training clicks at random inside an error or at its centre; measuring always takes the
centre, which is `training.simulated_prompts.next_click`.

All points are (row, column) in pixels of the mask they were computed on.
"""

from __future__ import annotations

import numpy as np
from scipy import ndimage

Point = tuple[int, int]


def largest(region: np.ndarray) -> np.ndarray:
    """Largest connected part of `region`, (H, W) bool; empty stays empty."""
    labels, count = ndimage.label(region)
    if count < 2:
        return region
    return labels == 1 + int(np.argmax(np.bincount(labels.ravel())[1:]))


def error_region(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray | None:
    """Largest connected region of false negatives or of false positives, or None."""
    missed, taken = largest(truth & ~predicted), largest(predicted & ~truth)
    if not missed.any() and not taken.any():
        return None
    return missed if missed.sum() >= taken.sum() else taken
