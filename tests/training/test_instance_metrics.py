import itertools

import numpy as np
import pytest

from napari_promise.training.instance_metrics import (
    THRESHOLDS,
    mean_scores,
    overlaps,
    score_instances,
)


def brute_force(truth: np.ndarray, found: np.ndarray, threshold: float):
    """Try every way of matching: (TP, sum of IoUs), written from the definitions."""
    true = [truth == i for i in sorted(set(truth.ravel().tolist()) - {0})]
    drawn = [found == i for i in sorted(set(found.ravel().tolist()) - {0})]
    iou = {
        (i, j): (a & b).sum() / (a | b).sum()
        for (i, a), (j, b) in itertools.product(enumerate(true), enumerate(drawn))
    }
    best = (0, 0.0)

    def go(i: int, used: frozenset[int], hits: int, total: float) -> None:
        nonlocal best
        if i == len(true):
            best = max(best, (hits, total))
            return
        go(i + 1, used, hits, total)
        for j in range(len(drawn)):
            if j not in used and iou[i, j] >= threshold:
                go(i + 1, used | {j}, hits + 1, total + iou[i, j])

    go(0, frozenset(), 0, 0.0)
    return len(true), len(drawn), *best


def random_labels(rng: np.random.Generator, like: np.ndarray | None = None):
    labels = np.zeros((24, 24), int)
    if like is not None:
        labels = np.roll(like, tuple(rng.integers(-1, 2, 2)), (0, 1)).copy()
        labels[rng.random(labels.shape) < 0.05] = 0
        labels[labels == 1] = 0
    for number in range(10 if like is not None else 1, 6 if like is None else 12):
        r, c = rng.integers(0, 18, 2)
        labels[r : r + rng.integers(2, 7), c : c + rng.integers(2, 7)] = number
    return labels


@pytest.mark.parametrize("seed", range(12))
def test_scores_are_those_of_a_search_through_all_matchings(seed: int) -> None:
    rng = np.random.default_rng(seed)
    truth = random_labels(rng)
    found = random_labels(rng, truth)
    score = score_instances(truth, found)
    precisions = []
    for threshold in THRESHOLDS:
        n, m, hits, total = brute_force(truth, found, threshold)
        precisions.append(hits / (n + m - hits))
        if threshold == 0.5:
            assert (score.truth, score.found) == (n, m)
            assert score.pq == pytest.approx(total / (hits + (m + n - 2 * hits) / 2))
            assert score.f1 == pytest.approx(2 * hits / (n + m))
    assert score.ap50 == pytest.approx(precisions[0])
    assert score.ap75 == pytest.approx(precisions[5])
    assert score.msa == pytest.approx(np.mean(precisions))


def test_ids_need_not_be_consecutive_and_equal_labels_score_one() -> None:
    labels = np.zeros((9, 9), int)
    labels[:3, :3], labels[5:, 5:] = 40000, 7
    score = score_instances(labels, labels * 2)
    assert (score.ap50, score.ap75, score.msa, score.pq) == (1, 1, 1, 1)


def test_where_nothing_is_and_nothing_was_found_the_score_is_one() -> None:
    empty, one = np.zeros((4, 4), int), np.eye(4, dtype=int)
    assert score_instances(empty, empty).msa == 1
    assert score_instances(empty, one).ap50 == 0
    assert score_instances(one, empty).pq == 0


def test_points_count_once_for_each_object_they_lie_in() -> None:
    truth = np.zeros((10, 10), int)
    truth[:4, :4], truth[6:, 6:] = 1, 2
    score = score_instances(truth, truth, [(1, 1), (2, 2), (5, 5)])
    assert score.recall == 0.5
    assert score.precision == pytest.approx(1 / 3)
    assert mean_scores([score])["recall"] == 0.5


def test_labels_of_different_shapes_are_refused() -> None:
    with pytest.raises(ValueError, match="one image"):
        overlaps(np.zeros((2, 2), int), np.zeros((3, 2), int))
