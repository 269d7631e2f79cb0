"""What is taken from napari's private parts is there, and doing without it works."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Labels, Points, Shapes

from napari_promise.widgets.layers import napari_internals, repaint
from napari_promise.widgets.layers.napari_internals import (
    is_dragging,
    is_drawing,
    missing,
)
from napari_promise.widgets.layers.repaint import write_slices

SLICES = (slice(2, 5), slice(3, 8))


@pytest.fixture
def layer() -> Labels:
    return Labels(np.zeros((20, 30), np.uint8))


def test_the_installed_napari_has_every_part() -> None:
    labels = Labels(np.zeros((4, 4), np.uint8))
    assert missing(labels, Points(ndim=2), Shapes(ndim=2)) == []


def test_a_part_that_is_gone_is_named() -> None:
    class Other:
        pass

    labels = Labels(np.zeros((4, 4), np.uint8))
    assert missing(labels, Other(), Other()) == [
        "Points._drag_start",
        "Shapes._is_creating",
        "Shapes._slice_input",
    ]
    assert not is_dragging(Other())
    assert not is_drawing(Other())


def test_a_rectangle_is_repainted_without_the_rest(layer, monkeypatch) -> None:
    told: list[tuple] = []
    layer.events.labels_update.connect(
        lambda event: told.append((event.data.shape, tuple(event.offset)))
    )
    monkeypatch.setattr(layer, "refresh", lambda **_: told.append("whole"))
    write_slices(layer, SLICES, 1)
    assert told == [((3, 5), (2, 3))]
    assert layer.data[SLICES].all()


def test_without_these_parts_the_whole_layer_is_refreshed(layer, monkeypatch) -> None:
    told: list[str] = []
    monkeypatch.setattr(layer, "refresh", lambda **_: told.append("whole"))
    monkeypatch.setattr(napari_internals, "_LABELS", ("_part_of_no_napari",))
    assert repaint.repaint(layer, SLICES) is False
    write_slices(layer, SLICES, 1)
    assert told == ["whole"]
    assert layer.data[SLICES].all()
