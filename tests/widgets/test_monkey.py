"""Random things are done in a window with both docks; a long run is by command."""

from __future__ import annotations

import pytest

from scripts.checks import monkey


@pytest.mark.slow
def test_random_hands_break_nothing(has_screen, make_napari_viewer, tmp_path) -> None:
    viewer = make_napari_viewer(show=True)
    viewer.window._qt_viewer.canvas.native.hide()
    played = monkey.play(viewer, tmp_path / "images", acts=100, seed=1)
    assert played.faults == []
    assert sum(played.done.values()) == 100
