"""A random number generator and labels drawn with it."""

from __future__ import annotations

import numpy as np
import pytest


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def labels(rng) -> np.ndarray:
    return rng.integers(0, 7, (20, 30)).astype(np.int32)
