"""Measures against PySODMetrics and MONAI, and what they say of empty masks."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from types import ModuleType
from typing import Any

import numpy as np
import pytest

from napari_promise.training import metrics
from napari_promise.training.metrics import bootstrap, hd95, measures


def _disc(centre: tuple[int, int], radius: float) -> np.ndarray:
    rows, columns = np.indices((48, 64))
    return np.hypot(rows - centre[0], columns - centre[1]) <= radius


def _map(seed: int, truth: np.ndarray, noise: float) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.clip(0.2 + 0.6 * truth + rng.normal(0, noise, truth.shape), 0, 1)


#: Probability maps and truths: good, poor, in a corner, small, certain, constant.
CASES = {
    "good": (_map(0, _disc((20, 30), 10), 0.1), _disc((22, 31), 10)),
    "poor": (_map(1, _disc((8, 50), 6), 0.3), _disc((30, 20), 12)),
    "in a corner": (_map(2, _disc((46, 60), 9), 0.2), _disc((45, 61), 8)),
    "one pixel": (_map(3, _disc((20, 30), 3), 0.1), _disc((20, 30), 0)),
    "certain": (_disc((20, 30), 9).astype(float), _disc((20, 33), 9)),
    "nothing drawn": (np.zeros((48, 64)), _disc((20, 33), 9)),
    "one value": (np.full((48, 64), 0.4), _disc((20, 33), 9)),
    "empty truth": (_map(4, _disc((20, 33), 9), 0.1), np.zeros((48, 64), bool)),
    "full truth": (_map(5, _disc((20, 33), 9), 0.1), np.ones((48, 64), bool)),
}


@pytest.fixture(scope="module")
def oracle() -> Any:
    """PySODMetrics' own module of these measures.

    Its pins would hold back NumPy and scikit-image, so it is installed without what it
    depends on; image library and nearest neighbours belong to other measures of it.
    """
    found = importlib.util.find_spec("py_sod_metrics")
    if found is None or found.submodule_search_locations is None:
        pytest.skip("pysodmetrics is missing: pip install --no-deps pysodmetrics")
    package = ModuleType("py_sod_metrics")
    package.__path__ = list(found.submodule_search_locations)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "py_sod_metrics", package)
        if importlib.util.find_spec("cv2") is None:
            patch.setitem(sys.modules, "cv2", ModuleType("cv2"))
        yield importlib.import_module("py_sod_metrics.sod_metrics")
        for name in [n for n in sys.modules if n.startswith("py_sod_metrics.")]:
            patch.delitem(sys.modules, name)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.filterwarnings("ignore:This class will be removed")
def test_the_measures_of_maps_are_those_of_pysodmetrics(case: str, oracle: Any) -> None:
    probability, truth = CASES[case]
    ours = measures(probability >= 0.5, probability, truth, distance=False)
    theirs = [oracle.MAE(), oracle.Smeasure(), oracle.Emeasure(), oracle.Fmeasure(0.3)]
    for each in theirs:
        each.step(np.rint(probability * 255).astype(np.uint8), truth * np.uint8(255))
    mae, s, e, f = (each.get_results() for each in theirs)
    assert ours.mae == pytest.approx(mae["mae"])
    assert ours.s_measure == pytest.approx(s["sm"])
    assert ours.e_adaptive == pytest.approx(e["em"]["adp"])
    assert ours.f_adaptive == pytest.approx(f["fm"]["adp"])
    np.testing.assert_allclose(ours.e_curve, e["em"]["curve"], atol=1e-12)
    np.testing.assert_allclose(ours.f_curve, f["fm"]["curve"], atol=1e-12)
    assert ours.e_mean == pytest.approx(e["em"]["curve"].mean())
    assert ours.f_mean == pytest.approx(f["fm"]["curve"].mean())


def test_recorded_values_of_pysodmetrics_stand_where_it_is_not_installed() -> None:
    found = measures(CASES["good"][0] > 0.5, *CASES["good"], distance=False)
    for name, value in {
        "mae": 0.215602,
        "s_measure": 0.6824073,
        "e_mean": 0.6273652,
        "e_adaptive": 0.9751188,
        "f_mean": 0.5314298,
        "f_adaptive": 0.8569691,
    }.items():
        assert getattr(found, name) == pytest.approx(value, abs=1e-6), name


def test_a_perfect_map_has_perfect_measures() -> None:
    truth = _disc((20, 30), 9)
    found = measures(truth, truth.astype(float), truth)
    assert found.mae == found.hd95 == 0
    assert found.s_measure == pytest.approx(1)
    assert found.e_adaptive == pytest.approx(1, abs=1e-3)
    assert found.f_adaptive == pytest.approx(1)


def test_an_object_in_the_last_column_has_an_s_measure() -> None:
    truth = np.zeros((20, 30), bool)
    truth[5:15, 29] = True
    found = measures(truth, truth.astype(float), truth, distance=False)
    assert found.s_measure == pytest.approx(1, abs=1e-2)


def test_maps_that_are_no_probabilities_or_of_another_shape_are_refused() -> None:
    truth = _disc((20, 30), 9)
    with pytest.raises(ValueError, match="apply the sigmoid"):
        measures(truth, truth * 3.0, truth)
    with pytest.raises(ValueError, match="differ in shape"):
        measures(truth, truth[:10].astype(float), truth)


def test_hd95_is_the_distance_by_which_a_disc_was_shifted() -> None:
    assert hd95(_disc((20, 20), 9), _disc((20, 25), 9)) == pytest.approx(5, abs=0.3)


def test_hd95_ignores_a_few_pixels_far_away_as_the_maximum_does_not() -> None:
    truth = _disc((20, 20), 9)
    mask = truth.copy()
    mask[45, 60] = True
    found = hd95(mask, truth)
    assert found is not None
    assert found < 2


def test_hd95_of_empty_masks_is_defined() -> None:
    empty, disc = np.zeros((48, 64), bool), _disc((20, 20), 9)
    assert hd95(empty, empty) == 0
    assert hd95(disc, empty) is None
    assert hd95(empty, disc) is None


def test_hd95_without_monai_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr(metrics, "has_monai", lambda: False)
    with pytest.raises(RuntimeError, match=r"pip install 'napari-promise\[metrics\]'"):
        hd95(_disc((20, 20), 9), _disc((20, 25), 9))


def test_an_interval_is_that_of_the_normal_distribution_where_objects_are_alone() -> (
    None
):
    values = np.random.default_rng(0).normal(0.7, 0.1, 400)
    low, high = bootstrap(values, range(400))
    assert (low, high) == pytest.approx((0.7 - 0.0098, 0.7 + 0.0098), abs=0.008)
    assert high - low == pytest.approx(2 * 1.96 * 0.1 / 20, rel=0.15)
    assert bootstrap(values, range(400)) == (low, high)
    assert bootstrap(values, range(400), seed=1) != (low, high)


def test_frames_of_one_sequence_do_not_narrow_an_interval() -> None:
    alone = np.random.default_rng(0).normal(0.7, 0.1, 20)
    repeated = np.repeat(alone, 50)
    by_sequence = bootstrap(repeated, np.repeat(np.arange(20), 50).tolist())
    by_image = bootstrap(repeated, range(1000))
    once = bootstrap(alone, range(20))
    assert by_sequence == pytest.approx(once)
    assert by_image[1] - by_image[0] < (by_sequence[1] - by_sequence[0]) / 3


def test_an_interval_needs_two_clusters_with_a_value() -> None:
    assert bootstrap(np.array([0.5, 0.6]), ["a", "a"]) is None
    assert bootstrap(np.array([0.5, np.nan]), ["a", "b"]) is None
    assert bootstrap(np.array([0.5, np.nan, 0.7]), "abc") is not None


def test_the_interval_of_a_maximum_is_that_of_the_mean_curve() -> None:
    curves = np.array([[0.1, 0.9], [0.9, 0.1]] * 20)
    low, high = bootstrap(curves, range(40), highest=True)
    assert 0.5 <= low < high < 0.75
