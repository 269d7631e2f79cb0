"""A click takes from the new answer only the piece that it asked for."""

import numpy as np
import pytest

from napari_promise.model.local_correction import corrected_locally


def logits(*boxes: tuple[int, int, int, int], height: float = 4) -> np.ndarray:
    """Return (40, 40) logits, positive in the boxes (r0, c0, r1, c1)."""
    found = np.full((40, 40), -height, np.float32)
    for r0, c0, r1, c1 in boxes:
        found[r0:r1, c0:c1] = height
    return found


BEFORE = logits((10, 10, 30, 30))


def test_what_changed_elsewhere_is_left_as_it_was() -> None:
    # more at the right, where the click is; less at the left, more at the bottom
    after = logits((10, 11, 30, 33), (30, 18, 32, 22), height=7)
    found = corrected_locally(BEFORE, after, [(20, 31, 1)])
    np.testing.assert_array_equal(found > 0, logits((10, 10, 30, 33)) > 0)
    assert found[20, 31] == 7, "the piece is the answer's"
    assert found[20, 10] == 4, "the rest is the earlier mask's"


def test_an_excluding_click_takes_away_its_piece_alone() -> None:
    after = logits((10, 13, 30, 30), (8, 20, 10, 24))
    found = corrected_locally(BEFORE, after, [(20, 11, 0)])
    np.testing.assert_array_equal(found > 0, logits((10, 13, 30, 30)) > 0)


def test_every_click_gets_its_piece() -> None:
    after = logits((10, 10, 30, 32), (7, 12, 10, 16), (30, 24, 33, 28))
    clicks = [(20, 31, 1), (8, 14, 1)]
    expected = logits((10, 10, 30, 32), (7, 12, 10, 16)) > 0
    found = corrected_locally(BEFORE, after, clicks)
    np.testing.assert_array_equal(found > 0, expected)


@pytest.mark.parametrize(
    ("before", "after", "click"),
    [
        (BEFORE, logits((2, 2, 38, 38)), (5, 5, 1)),
        (logits(), logits((10, 10, 30, 30)), (20, 20, 1)),
        (logits(), logits(), (20, 20, 0)),
        (BEFORE, logits((10, 10, 30, 32)), (20, 20, 1)),
        (BEFORE, logits((10, 10, 30, 28)), (35, 35, 0)),
    ],
    ids=["another mask", "nothing before", "empty", "inside", "outside"],
)
def test_otherwise_the_whole_answer_is_taken(before, after, click) -> None:
    assert corrected_locally(before, after, [click]) is after


@pytest.mark.parametrize(
    ("after", "kept", "click"),
    [
        (logits((10, 10, 30, 32)), BEFORE, (3, 3, 1)),
        (logits((12, 10, 32, 30)), BEFORE, (20, 12, 0)),
        (logits((2, 2, 38, 38)), logits((2, 2, 38, 38)), (5, 5, 0)),
        (logits(), logits(), (0, 39, 1)),
    ],
    ids=["beside the mask", "at its edge", "another mask", "nothing left"],
)
def test_a_click_that_was_passed_over_is_obeyed_around_itself(
    after, kept, click
) -> None:
    found = corrected_locally(BEFORE, after, [click])
    row, column, label = click
    assert (found[row, column] > 0) == (label == 1)
    rows, columns = np.nonzero(found != kept)
    assert 1 < len(rows) <= 49
    assert np.hypot(rows - row, columns - column).max() <= 4


def test_deep_in_the_mask_excluding_takes_away_more_but_not_to_its_edge() -> None:
    found = corrected_locally(BEFORE, BEFORE, [(20, 20, 0)])
    gone = (BEFORE > 0) & (found <= 0)
    assert 150 < gone.sum() < 200, "three quarters of ten cells around"
    assert not gone[10:13].any()
    deeper = corrected_locally(BEFORE, BEFORE, [(20, 14, 0)])
    assert ((BEFORE > 0) & (deeper <= 0)).sum() < gone.sum() / 2


def test_obeying_prefers_the_likeliest_cells() -> None:
    after = BEFORE.copy()
    after[4, 5:9] = -1  # nearly taken by the decoder, and only that
    found = corrected_locally(BEFORE, after, [(4, 6, 1)])
    assert (found[4, 5:9] > 0).all()
    assert not found[7, 6] > 0


def test_a_click_a_little_beside_its_piece_still_takes_it() -> None:
    after = logits((10, 10, 30, 32), (30, 18, 32, 22))
    found = corrected_locally(BEFORE, after, [(20, 33, 1)]) > 0
    assert found[10:30, 10:32].all()
    assert found[20, 33]
    assert not found[30:].any(), "what changed elsewhere is left as it was"


def test_the_corner_of_the_grid_is_no_exception() -> None:
    before, after = logits((0, 0, 20, 20)), logits((0, 2, 20, 20))
    found = corrected_locally(before, after, [(0, 0, 0)])
    np.testing.assert_array_equal(found, after)
