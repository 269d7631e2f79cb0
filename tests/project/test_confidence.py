"""What speaks for a proposal is measured, combined, and set against the truth."""

from __future__ import annotations

import numpy as np
import pytest

from napari_promise.project import confidence
from napari_promise.project.confidence import Calibration, raw_confidence


def test_one_signal_near_zero_is_not_outvoted():
    high = {"score": 0.95, "stability": 0.95, "tokens": 0.95}
    assert raw_confidence(high) == pytest.approx(0.95)
    assert raw_confidence({**high, "points": 0.01}) < 0.5
    assert raw_confidence({**high, "points": 0}) == 0


def test_objects_of_an_image_count_by_their_mean_and_what_is_unknown_not_at_all():
    assert raw_confidence({"score": [0.6, 0.8], "points": None}) == pytest.approx(0.7)
    assert raw_confidence({"score": [np.nan, 0.8]}) == pytest.approx(0.8)
    assert raw_confidence({"score": 1.7}) == 1
    assert raw_confidence({}) is None
    assert raw_confidence({"score": []}) is None


def test_a_calibration_never_falls_and_keeps_to_what_was_seen():
    rng = np.random.default_rng(0)
    raw = rng.uniform(0.4, 1, 200)
    dice = np.clip(raw**2 + rng.normal(0, 0.05, 200), 0, 1)
    found = Calibration.fit(list(zip(raw, dice, strict=True)))
    assert (np.diff(found.fitted) >= 0).all()
    assert found(0.7) == pytest.approx(0.49, abs=0.05)
    assert found(0.0) == found.fitted[0]
    assert found.error_after < found.error_before / 2
    assert found.rank_correlation > 0.9


def test_the_fit_and_the_ranks_are_those_of_scipy():
    optimize = pytest.importorskip("scipy.optimize")
    if not hasattr(optimize, "isotonic_regression"):
        pytest.skip("SciPy before 1.12")
    from scipy.stats import spearmanr

    rng = np.random.default_rng(1)
    for count in (8, 9, 100):
        raw, dice = rng.uniform(size=count).round(1), rng.uniform(size=count).round(1)
        found = Calibration.fit(list(zip(raw, dice, strict=True)))
        levels, where, counts = np.unique(raw, return_inverse=True, return_counts=True)
        means = np.bincount(where, dice) / counts
        expected = optimize.isotonic_regression(means, weights=counts).x
        assert np.allclose([found(level) for level in levels], expected)
        assert found.rank_correlation == pytest.approx(spearmanr(raw, dice).statistic)


def test_equal_confidences_get_one_value():
    found = Calibration.fit([(0.5, 0.2), (0.5, 0.8)] * 4)
    assert found(0.5) == pytest.approx(0.5)
    assert found.rank_correlation == 0


def test_a_few_images_make_no_calibration():
    assert Calibration.fit([(0.5, 0.5)] * 7) is None
    assert Calibration.fit([]) is None


def test_a_calibration_can_be_drawn():
    pairs = [(0.5 + n / 20, 0.4 + n / 20) for n in range(9)]
    picture = np.asarray(confidence.draw_calibration(Calibration.fit(pairs)))
    assert picture.shape == (360, 420, 3)
    assert (picture == confidence._LINE).all(axis=-1).sum() > 100
