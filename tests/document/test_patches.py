"""Label patches: written, and taken back."""

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
    patch.inverse().apply(labels)
    np.testing.assert_array_equal(labels, before)
