"""Label patches: written, taken back, made of strokes."""

from __future__ import annotations

import numpy as np

from napari_promise.document import LabelPatch
from tests.document.bench import SHAPE


def test_a_patch_writes_only_its_pixels_and_its_inverse_takes_them_back() -> None:
    rng = np.random.default_rng(0)
    before = rng.integers(0, 3, (4, *SHAPE))
    after = before.copy()
    after[2, 5:9, 7:12] = rng.integers(0, 3, (4, 5))
    patch = LabelPatch.from_crops((2,), (0, 0), before[2], after[2], SHAPE)
    labels = before.copy()
    patch.apply(labels)
    np.testing.assert_array_equal(labels, after)
    assert (labels[patch.indices] == patch.after).all()
    patch.inverse().apply(labels)
    np.testing.assert_array_equal(labels, before)


def test_a_stroke_that_crosses_itself_keeps_the_first_before_and_last_after() -> None:
    patch = LabelPatch.from_pixels(
        (), [3, 3, 3], [4, 5, 4], [1, 2, 7], [7, 7, 9], SHAPE
    )
    labels = np.zeros(SHAPE, int)
    patch.apply(labels)
    assert labels[3, 4:6].tolist() == [9, 7]
    patch.inverse().apply(labels)
    assert labels[3, 4:6].tolist() == [1, 2]
    assert LabelPatch.from_pixels((), [], [], [], [], SHAPE) is None
