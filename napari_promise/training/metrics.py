"""What a drawn mask is worth beside the truth: one function a measure, numpy only.

Overlap (Dice, IoU) and distance (HD95) look at the mask. MAE, S-measure, E-measure and
F-beta look at the probability map, as the evaluation code of the ProMISe paper does
through PySODMetrics [1]_, and agree with that package. Means come with intervals from
`bootstrap`.

References
----------
.. [1] https://github.com/lartpang/PySODMetrics
.. [2] Fan et al., "Structure-measure: A new way to evaluate foreground maps",
   ICCV 2017.
.. [3] Fan et al., "Enhanced-alignment measure for binary foreground map evaluation",
   IJCAI 2018.
.. [4] Achanta et al., "Frequency-tuned salient region detection", CVPR 2009.
"""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Mask = NDArray[np.bool_]
Floats = NDArray[np.float64]

#: Weight of recall against precision in F-beta: the square of beta.
BETA_SQUARED = 0.3
#: Resamples and share of `bootstrap`.
RESAMPLES = 2000
CONFIDENCE = 0.95

_EPS = np.spacing(1)


@dataclass(frozen=True)
class Measures:
    """Measures of one object beyond its overlap; see the functions of this module.

    Attributes
    ----------
    mae, s_measure : float
    e_mean, e_adaptive : float
        E-measure: mean over 256 thresholds, and at twice the map's mean.
    f_mean, f_adaptive : float
        F-beta likewise.
    hd95 : float or None
        In pixels; None where it is undefined or was not asked for.
    e_curve, f_curve : numpy.ndarray
        (256,) by threshold, 255 first. The maximum that papers state is that of the
        mean curve of a data set, so it belongs to no single image.
    """

    mae: float
    s_measure: float
    e_mean: float
    e_adaptive: float
    f_mean: float
    f_adaptive: float
    hd95: float | None
    e_curve: Floats
    f_curve: Floats


def measures(
    mask: Mask, probability: NDArray[np.floating], truth: Mask, *, distance: bool = True
) -> Measures:
    """Measure one mask and its probability map.

    Parameters
    ----------
    mask : numpy.ndarray
        (H, W) bool, what was drawn.
    probability : numpy.ndarray
        (H, W) in [0, 1]. Of a method that gives none, the mask as 0 and 1: then the
        adaptive values are those of the mask, and curves mean nothing.
    truth : numpy.ndarray
        (H, W) bool.
    distance : bool
        Whether HD95 is wanted; it needs MONAI.

    Returns
    -------
    Measures

    Raises
    ------
    ValueError
        If shapes differ or probabilities leave [0, 1].
    RuntimeError
        If HD95 is wanted and MONAI is not installed.
    """
    if not mask.shape == probability.shape == truth.shape:
        raise ValueError(
            f"mask {mask.shape}, probabilities {probability.shape} and truth "
            f"{truth.shape} differ in shape: bring them to the image's pixels"
        )
    values = stretched(probability)
    inside, outside = _histograms(values, truth)
    e_curve = _e_measure(inside, outside)
    f_curve = _f_beta(inside, outside)
    return Measures(
        mae=float(np.abs(values - truth).mean()),
        s_measure=s_measure(values, truth),
        e_mean=float(e_curve.mean()),
        e_adaptive=float(_e_measure(*_adaptive(values, truth))[0]),
        f_mean=float(f_curve.mean()),
        f_adaptive=float(_f_beta(*_adaptive(values, truth))[0]),
        hd95=hd95(mask, truth) if distance else None,
        e_curve=e_curve,
        f_curve=f_curve,
    )


def dice(mask: Mask, truth: Mask) -> float:
    """Dice coefficient; 1 where both are empty."""
    total = int(mask.sum()) + int(truth.sum())
    return 2 * int((mask & truth).sum()) / total if total else 1.0


def stretched(probability: NDArray[np.floating]) -> Floats:
    """Return a probability map as PySODMetrics reads one.

    Parameters
    ----------
    probability : numpy.ndarray
        (H, W) in [0, 1].

    Returns
    -------
    numpy.ndarray
        (H, W) float64: rounded to 8 bits, then stretched to the whole of [0, 1]; a
        map of one value stays as it is.

    Raises
    ------
    ValueError
        If values leave [0, 1].
    """
    values = np.asarray(probability, np.float64)
    if values.size == 0 or not (values.min() >= 0 and values.max() <= 1):
        raise ValueError("probabilities must lie in [0, 1]: apply the sigmoid first")
    values = np.rint(values * 255) / 255
    low, high = values.min(), values.max()
    return values if low == high else (values - low) / (high - low)


def s_measure(values: Floats, truth: Mask) -> float:
    """Structure measure [2]_, alpha 0.5: half objects, half quadrants.

    Parameters
    ----------
    values : numpy.ndarray
        (H, W) of `stretched`.
    truth : numpy.ndarray
        (H, W) bool.

    Returns
    -------
    float
        Up to 1. With an empty truth one minus the map's mean, with a full one its
        mean. A quadrant without pixels counts nothing (PySODMetrics: not a number).
    """
    share = truth.mean()
    if share == 0:
        return float(1 - values.mean())
    if share == 1:
        return float(values.mean())
    of_objects = share * _object_score(values[truth])
    of_objects += (1 - share) * _object_score(1 - values[~truth])
    centre = np.argwhere(truth).mean(axis=0).round().astype(int) + 1
    of_quadrants = 0.0
    for rows in (slice(None, centre[0]), slice(centre[0], None)):
        for columns in (slice(None, centre[1]), slice(centre[1], None)):
            part = truth[rows, columns]
            if part.size:
                similarity = _similarity(values[rows, columns], part)
                of_quadrants += part.size / truth.size * similarity
    return float(max(0.0, 0.5 * of_objects + 0.5 * of_quadrants))


def hd95(mask: Mask, truth: Mask) -> float | None:
    """95th percentile of the Hausdorff distance between two outlines, by MONAI.

    Parameters
    ----------
    mask, truth : numpy.ndarray
        (H, W) bool.

    Returns
    -------
    float or None
        In pixels, the larger of the two directions. 0 where both are empty, None
        where one is: there is no outline to measure to.

    Raises
    ------
    RuntimeError
        If MONAI is not installed.
    """
    if not mask.any() or not truth.any():
        return None if mask.any() or truth.any() else 0.0
    if not has_monai():
        raise RuntimeError(
            "HD95 needs MONAI, which is not installed: pip install "
            "'napari-promise[metrics]'"
        )
    from monai.metrics.hausdorff_distance import compute_hausdorff_distance

    with warnings.catch_warnings():
        # MONAI warns of an argument that it passes itself
        warnings.simplefilter("ignore", FutureWarning)
        found = compute_hausdorff_distance(
            mask[None, None], truth[None, None], include_background=True, percentile=95
        )
    return float(found[0, 0])


def has_monai() -> bool:
    """Tell whether MONAI is installed, without loading it."""
    return importlib.util.find_spec("monai") is not None


def bootstrap(
    values: Floats,
    clusters: Sequence[Hashable],
    *,
    highest: bool = False,
    seed: int = 0,
    resamples: int = RESAMPLES,
) -> tuple[float, float] | None:
    """95 % percentile interval of a mean, by resampling whole clusters.

    Parameters
    ----------
    values : numpy.ndarray
        (N,) of single objects, or (N, K) curves. NaN is left out.
    clusters : sequence
        (N,) what each object belongs to: its image, or its patient or sequence.
        Objects of one cluster are alike, and are drawn together.
    highest : bool
        The maximum of the mean curve instead of a mean.
    seed : int
    resamples : int

    Returns
    -------
    tuple of float or None
        Lower and upper end; None where fewer than two clusters have a value.
    """
    values = np.asarray(values, np.float64)
    values = values[:, None] if values.ndim == 1 else values
    usable: Mask = np.isnan(values).sum(axis=1) == 0
    ids: dict[Hashable, int] = {}
    members = [
        ids.setdefault(cluster, len(ids))
        for cluster, used in zip(clusters, usable.tolist(), strict=True)
        if used
    ]
    if len(ids) < 2:
        return None
    sums = np.zeros((len(ids), values.shape[1]))
    np.add.at(sums, members, values[usable])
    sizes = np.bincount(members, minlength=len(ids))
    rng = np.random.default_rng(seed)
    drawn = rng.multinomial(len(ids), np.full(len(ids), 1 / len(ids)), size=resamples)
    means = (drawn @ sums) / (drawn @ sizes)[:, None]
    tail = 100 * (1 - CONFIDENCE) / 2
    low, high = np.percentile(
        means.max(axis=1) if highest else means[:, 0], [tail, 100 - tail]
    )
    return float(low), float(high)


def _histograms(values: Floats, truth: Mask) -> tuple[Floats, Floats]:
    """Pixels at or above each of 256 thresholds, 255 first: on the object, beside it.

    Each is (256 + 1,): the last entry counts all.
    """
    cells = (values * 255).astype(np.uint8)
    both = (np.bincount(cells[part], minlength=256) for part in (truth, ~truth))
    inside, outside = (np.cumsum(counts[::-1]).astype(np.float64) for counts in both)
    return np.append(inside, truth.sum()), np.append(outside, (~truth).sum())


def _adaptive(values: Floats, truth: Mask) -> tuple[Floats, Floats]:
    """`_histograms` at the one threshold of twice the map's mean."""
    taken = values >= min(2 * values.mean(), 1)
    inside, outside = (taken & truth).sum(), (taken & ~truth).sum()
    return (
        np.array([inside, truth.sum()], np.float64),
        np.array([outside, (~truth).sum()], np.float64),
    )


def _f_beta(inside: Floats, outside: Floats) -> Floats:
    """F-beta [4]_ at each threshold; 0 where nothing of the object is taken."""
    hit, taken = inside[:-1], inside[:-1] + outside[:-1]
    precision = hit / np.maximum(taken, 1)
    recall = hit / max(inside[-1], 1)
    product = precision * recall
    weighted = BETA_SQUARED * precision + recall
    return (1 + BETA_SQUARED) * product / np.where(product == 0, 1, weighted)


def _e_measure(inside: Floats, outside: Floats) -> Floats:
    """E-measure [3]_ at each threshold.

    With an empty truth the share of background, with a full one that of foreground.
    """
    total, objects = inside[-1] + outside[-1], inside[-1]
    hit, false = inside[:-1], outside[:-1]
    taken = hit + false
    if objects == 0:
        aligned = total - taken
    elif objects == total:
        aligned = taken
    else:
        drawn, true = taken / total, objects / total
        aligned = np.zeros(len(hit))
        for count, a, b in (
            (hit, 1 - drawn, 1 - true),
            (false, 1 - drawn, -true),
            (objects - hit, -drawn, 1 - true),
            (outside[-1] - false, -drawn, -true),
        ):
            aligned += count * (2 * a * b / (a**2 + b**2 + _EPS) + 1) ** 2 / 4
    result: Floats = aligned / (total - 1 + _EPS)
    return result


def _object_score(values: Floats) -> float:
    spread = values.std(ddof=1) if values.size > 1 else 0.0
    mean = values.mean()
    return float(2 * mean / (mean**2 + 1 + spread + _EPS))


def _similarity(values: Floats, truth: Mask) -> float:
    """Structural similarity of one quadrant, without the usual constants."""
    x, y, freedom = values.mean(), truth.mean(), values.size - 1 + _EPS
    variances = (((values - x) ** 2).sum() + ((truth - y) ** 2).sum()) / freedom
    covariance = ((values - x) * (truth - y)).sum() / freedom
    above, below = 4 * x * y * covariance, (x**2 + y**2) * variances
    if above != 0:
        return float(above / (below + _EPS))
    return 1.0 if below == 0 else 0.0
