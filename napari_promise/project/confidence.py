"""The confidence of a proposal: how good its mask probably is, before a review.

Five signals say something of a mask without knowing the truth, each in [0, 1]:

score      the IoU that the decoder predicts
stability  IoU of the mask drawn at logits of +1 and of -1: a mask whose edge moves far
           for a small change was a close call (as Segment Anything's automatic
           generator filters by it)
tokens     how far the decoder's mask tokens agree
points     the share of points on the right side of the mask
adapters   IoU of this adapter's mask with the one before

`proposing.signals_of` notes the first four. `raw_confidence` combines all by their
geometric mean, so that one signal near zero is not outvoted by four that are high. All
count alike: weights were tried on validation images and are not worth their while.
Spearman's correlation with the Dice there (``scripts/checks/measure_confidence.py``,
bundled adapter *polyp*): on 90 frames of kvasir-seg 0.75 for the score, 0.76 for
stability, 0.63 for the tokens and 0.79 for the mean; on 61 of three sequences of
cvc-clinicdb 0.54, 0.39, 0.18 and 0.50.

That orders images, but is no Dice: `Calibration` learns from images that the user
confirmed afterwards which Dice such a number meant, by isotonic regression, which
keeps the order and assumes no shape.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from PIL.Image import Image as Picture

__all__ = [
    "SIGNALS",
    "Calibration",
    "draw_calibration",
    "raw_confidence",
]

SIGNALS = ("score", "stability", "tokens", "points", "adapters")
#: With fewer images a calibration would say more about chance than about the model.
MIN_PAIRS = 8


def raw_confidence(details: Mapping[str, Any]) -> float | None:
    """Combine what is known of a proposal.

    Parameters
    ----------
    details : mapping
        Any of `SIGNALS`, each a number or, for an image with several objects, a
        sequence of numbers, which count by their mean. None and what is no number
        do not count.

    Returns
    -------
    float or None
        Geometric mean of the signals, in [0, 1]; None where there is none.
    """
    found = []
    for name in SIGNALS:
        values = details.get(name)
        if values is None:
            continue
        numbers = np.asarray(values, np.float64).reshape(-1)
        numbers = numbers[np.isfinite(numbers)]
        if len(numbers):
            found.append(float(np.clip(numbers, 0, 1).mean()))
    if not found:
        return None
    if min(found) == 0:
        return 0.0
    return float(np.exp(np.mean(np.log(found))))


@dataclass(frozen=True, eq=False)
class Calibration:
    """Which Dice a confidence stands for.

    Attributes
    ----------
    raw, dice : (n,) float64
        What it was fitted to, by ascending confidence.
    fitted : (n,) float64
        The Dice expected at each; never falling.
    """

    raw: NDArray[np.float64]
    dice: NDArray[np.float64]
    fitted: NDArray[np.float64]

    @classmethod
    def fit(cls, pairs: Sequence[tuple[float, float]]) -> Calibration | None:
        """Fit one to images whose truth is known.

        Parameters
        ----------
        pairs : sequence of (float, float)
            Raw confidence of a proposal, and its Dice with what the user confirmed.

        Returns
        -------
        Calibration or None
            None with fewer than `MIN_PAIRS`.
        """
        if len(pairs) < MIN_PAIRS:
            return None
        raw, dice = np.asarray(pairs, np.float64).T
        levels, where, counts = np.unique(raw, return_inverse=True, return_counts=True)
        # Equal confidences get one value, whatever their order.
        means = np.bincount(where, dice) / counts
        fitted = _isotonic(means, counts)[where]
        order = np.lexsort((dice, raw))
        return cls(raw[order], dice[order], np.clip(fitted, 0, 1)[order])

    def __call__(self, raw: float) -> float:
        """Return the Dice to be expected at a raw confidence.

        Between the images that are known linearly; beyond them as at the last.
        """
        return float(np.interp(raw, self.raw, self.fitted))

    @property
    def error_before(self) -> float:
        """Mean distance of the raw confidence from the Dice."""
        return float(np.abs(self.raw - self.dice).mean())

    @property
    def error_after(self) -> float:
        """Mean distance of the fitted Dice from the Dice, on the same images."""
        return float(np.abs(self.fitted - self.dice).mean())

    @property
    def rank_correlation(self) -> float:
        """Spearman's correlation of confidence and Dice; 0 where either is constant.

        What the order *weakest first* is worth.
        """
        a, b = _ranks(self.raw), _ranks(self.dice)
        if np.ptp(a) == 0 or np.ptp(b) == 0:
            return 0.0
        return float(np.corrcoef(a, b)[0, 1])


def _isotonic(
    values: NDArray[np.float64], weights: NDArray[np.integer[Any]]
) -> NDArray[np.float64]:
    """Fit what never falls, by pooling neighbours that do.

    `scipy.optimize.isotonic_regression` gives the same; its first import would hold up
    a window for half a second.
    """
    pools: list[tuple[float, float, int]] = []  # mean, weight, how many
    for value, weight in zip(values.tolist(), weights.tolist(), strict=True):
        pool = (value, weight, 1)
        while pools and pools[-1][0] >= pool[0]:
            mean, heavy, count = pools.pop()
            total = heavy + pool[1]
            mean = (mean * heavy + pool[0] * pool[1]) / total
            pool = (mean, total, count + pool[2])
        pools.append(pool)
    means, _, counts = zip(*pools, strict=True)
    return np.repeat(np.array(means), counts)


def _ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rank values from 1; equal ones share their mean rank."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    ranks: NDArray[np.float64] = (np.cumsum(counts) - (counts - 1) / 2)[where]
    return ranks


_SIZE, _LEFT, _RIGHT, _TOP, _BOTTOM = (420, 360), 56, 16, 44, 46
_GREY, _BLACK = (220, 220, 220), (30, 30, 30)
_POINT, _LINE = (31, 119, 180), (214, 39, 40)


def draw_calibration(calibration: Calibration) -> Picture:
    """Draw the Dice over the raw confidence: images as dots, the fit as a line.

    Parameters
    ----------
    calibration : Calibration

    Returns
    -------
    PIL.Image.Image
        RGB.
    """
    from PIL import Image, ImageDraw, ImageFont

    picture = Image.new("RGB", _SIZE, "white")
    draw = ImageDraw.Draw(picture)
    font = ImageFont.load_default(13)
    width = _SIZE[0] - _LEFT - _RIGHT
    height = _SIZE[1] - _TOP - _BOTTOM

    def place(raw: float, dice: float) -> tuple[float, float]:
        return _LEFT + width * raw, _TOP + height * (1 - dice)

    for tick in (0, 0.25, 0.5, 0.75, 1):
        for ends in (((tick, 0), (tick, 1)), ((0, tick), (1, tick))):
            draw.line([place(*end) for end in ends], fill=_GREY)
        x, y = place(tick, 0)
        draw.text((x, y + 12), f"{tick:g}", _BLACK, font, anchor="mm")
        x, y = place(0, tick)
        draw.text((x - 6, y), f"{tick:g}", _BLACK, font, anchor="rm")
    title = (
        f"{len(calibration.raw)} images, rank correlation "
        f"{calibration.rank_correlation:.2f}"
    )
    draw.text((_LEFT, 12), "Dice with what was confirmed", _BLACK, font, anchor="lm")
    draw.text((_LEFT, 28), title, _BLACK, font, anchor="lm")
    middle = (_LEFT + width / 2, _SIZE[1] - 14)
    draw.text(middle, "confidence before calibration", _BLACK, font, anchor="mm")
    for raw, dice in zip(calibration.raw, calibration.dice, strict=True):
        x, y = place(raw, dice)
        draw.ellipse([x - 3, y - 3, x + 3, y + 3], outline=_POINT)
    line = [
        place(raw, fitted)
        for raw, fitted in zip(calibration.raw, calibration.fitted, strict=True)
    ]
    line = [(_LEFT, line[0][1]), *line, (_LEFT + width, line[-1][1])]
    draw.line(line, fill=_LINE, width=2)
    return picture
