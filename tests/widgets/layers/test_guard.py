"""The guard that tells our own doing from somebody else's."""

from __future__ import annotations

import pytest

from napari_promise.widgets.layers.guard import Guard


def test_a_guard_is_up_until_the_outermost_block_ends() -> None:
    guard = Guard()
    assert not guard
    with guard:
        with guard:
            assert guard
        assert guard
    assert not guard


def test_a_guard_is_down_again_after_an_error() -> None:
    guard = Guard()
    with pytest.raises(ValueError, match="oops"), guard:
        raise ValueError("oops")
    assert not guard
