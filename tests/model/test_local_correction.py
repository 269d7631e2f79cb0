"""A click takes from the new answer only the piece that it asked for."""

import numpy as np
import pytest
from scipy import ndimage

from napari_promise.model.local_correction import SMOOTH, corrected_locally


def logits(*boxes: tuple[int, int, int, int], height: float = 4) -> np.ndarray:
    """Return (40, 40) logits, positive in the boxes (r0, c0, r1, c1)."""
    found = np.full((40, 40), -height, np.float32)
    for r0, c0, r1, c1 in boxes:
        found[r0:r1, c0:c1] = height
    return found


def assert_alike(found: np.ndarray, expected: np.ndarray, *, but: int = 8) -> None:
    """Smoothing rounds corners, and a click lifts the cells around it."""
    assert np.count_nonzero((found > 0) != (expected > 0)) <= but


BEFORE = logits((10, 10, 30, 30))


def test_what_changed_elsewhere_is_left_as_it_was() -> None:
    # more at the right, where the click is; less at the left, more at the bottom
    after = logits((10, 11, 30, 33), (30, 18, 32, 22), height=7)
    found = corrected_locally(BEFORE, after, [(20, 31, 1)])
    assert_alike(found, logits((10, 10, 30, 33)))
    assert found[20, 31] > 7, "the answer's, and surer at the click"
    np.testing.assert_array_equal(found[:, :26], BEFORE[:, :26])
    np.testing.assert_array_equal(found[34:], BEFORE[34:])


def test_an_excluding_click_takes_away_its_piece_alone() -> None:
    after = logits((10, 13, 30, 30), (8, 20, 10, 24))
    found = corrected_locally(BEFORE, after, [(20, 11, 0)])
    assert_alike(found, logits((10, 13, 30, 30)))
    np.testing.assert_array_equal(found[:, 18:], BEFORE[:, 18:])


def test_every_click_gets_its_piece() -> None:
    after = logits((10, 10, 30, 32), (7, 12, 10, 16), (30, 24, 33, 28))
    clicks = [(20, 30, 1), (8, 14, 1)]
    found = corrected_locally(BEFORE, after, clicks)
    assert_alike(found, logits((10, 10, 30, 32), (7, 12, 10, 16)))
    assert not (found[31:] > 0).any()


@pytest.mark.parametrize(
    ("before", "after", "click"),
    [
        (logits(), logits((10, 10, 30, 30)), (20, 20, 1)),
        (logits(), logits(), (20, 20, 0)),
        (BEFORE, logits((10, 10, 30, 32)), (20, 20, 1)),
        (BEFORE, logits((10, 10, 30, 28)), (35, 35, 0)),
    ],
    ids=["nothing before", "empty", "inside", "outside"],
)
def test_where_nothing_was_wrong_the_whole_answer_is_taken(
    before, after, click
) -> None:
    found = corrected_locally(before, after, [click])
    np.testing.assert_array_equal(found, ndimage.gaussian_filter(after, SMOOTH))


def test_another_mask_is_taken_whole() -> None:
    after = logits((2, 2, 38, 38))
    found = corrected_locally(BEFORE, after, [(5, 5, 1)])
    assert_alike(found, after, but=25)
    far = np.s_[20:, 20:]
    np.testing.assert_array_equal(
        found[far], ndimage.gaussian_filter(after, SMOOTH)[far]
    )


@pytest.mark.parametrize("label", [0, 1])
def test_a_click_that_was_passed_over_is_obeyed(label: int) -> None:
    click = (20, 12, 0) if label == 0 else (20, 6, 1)
    found = corrected_locally(BEFORE, BEFORE, [click])
    row, column, _ = click
    assert (found[row, column] > 0) == (label == 1)
    rows, columns = np.nonzero((found > 0) != (BEFORE > 0))
    assert 1 < len(rows) < 60
    assert np.hypot(rows - row, columns - column).max() < 5


def test_the_deeper_a_click_lies_the_more_it_means() -> None:
    sizes = [
        ((corrected_locally(BEFORE, BEFORE, [(20, at, 0)]) > 0) != (BEFORE > 0)).sum()
        for at in (10, 12, 15, 19)
    ]
    assert sizes == sorted(set(sizes))
    assert 1 <= sizes[0] < 10
    assert 100 < sizes[-1] < 300, "most of the mask's middle, not all of it"


def test_a_click_shifts_what_the_decoder_was_unsure_of() -> None:
    after = BEFORE.copy()
    after[15:25, 5:10] = -0.5  # nearly taken
    after[18:23, 8:10] = 4  # taken
    found = corrected_locally(BEFORE, after, [(20, 8, 1)]) > 0
    assert found[19:22, 7].all()
    assert not found[15:25, :5].any(), "what it was sure of stays"


def test_far_from_the_mask_a_piece_of_its_own_is_taken_as_it_is() -> None:
    """The distance to another object says nothing about the size of this one."""
    before = np.full((90, 90), -4, np.float32)
    before[40:80, 40:80] = 4
    after = before.copy()
    after[5:12, 5:12] = 4
    found = corrected_locally(before, after, [(8, 8, 1)])
    assert_alike(found, after)


def test_what_the_decoder_does_not_see_stays_small() -> None:
    before = np.full((90, 90), -4, np.float32)
    before[40:80, 40:80] = 4
    found = corrected_locally(before, before, [(8, 8, 1)]) > 0
    rows, columns = np.nonzero(found & ~(before > 0))
    assert 9 < len(rows)
    assert np.hypot(rows - 8, columns - 8).max() <= 12


@pytest.mark.parametrize(
    ("before", "after", "click"),
    [
        (logits(), logits(), (20, 20, 1)),
        (logits((0, 0, 40, 40)), logits((0, 0, 40, 40)), (0, 39, 0)),
        (BEFORE, logits(), (20, 20, 1)),
        (BEFORE, logits((0, 0, 40, 40), height=90), (3, 3, 0)),
    ],
    ids=["nothing at all", "everything", "gone", "very sure"],
)
def test_the_cell_of_a_click_is_always_as_it_says(before, after, click) -> None:
    row, column, label = click
    found = corrected_locally(before, after, [click])
    assert np.isfinite(found).all()
    assert (found[row, column] > 0) == (label == 1)
    assert found.dtype == np.float32


def test_a_click_a_little_beside_its_piece_still_takes_it() -> None:
    after = logits((10, 10, 30, 32), (30, 18, 32, 22))
    found = corrected_locally(BEFORE, after, [(20, 33, 1)]) > 0
    assert found[11:29, 10:32].all()
    assert found[20, 33]
    assert not found[30:].any(), "what changed elsewhere is left as it was"


def test_the_corner_of_the_grid_is_no_exception() -> None:
    before, after = logits((0, 0, 20, 20)), logits((0, 2, 20, 20))
    found = corrected_locally(before, after, [(0, 0, 0)])
    assert_alike(found, after, but=4)


def test_flecks_of_an_unsure_answer_are_gone() -> None:
    rng = np.random.default_rng(0)
    after = logits((2, 2, 38, 38), height=1)
    after[20:] = rng.choice([-1.0, 1.0], (20, 40), p=[0.9, 0.1])
    found = corrected_locally(BEFORE, after, [(5, 5, 1)]) > 0
    _, flecks = ndimage.label(after[22:] > 0)
    _, left = ndimage.label(found[22:])
    assert flecks > 30
    assert left < flecks / 3
