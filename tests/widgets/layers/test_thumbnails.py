"""Thumbnails are drawn when a layer rests."""

from __future__ import annotations

from typing import Any

import numpy as np
from napari.layers import Points

from napari_promise.widgets.layers.thumbnails import draw_thumbnail_later


def test_many_changes_draw_one_thumbnail_once_they_end(qtbot: Any) -> None:
    layer = Points(np.zeros((0, 2)), ndim=2)
    draw_thumbnail_later(layer)
    drawn: list[Any] = []
    layer.events.thumbnail.connect(drawn.append)
    before = np.array(layer.thumbnail)
    for at in range(5):
        layer.add((at, 2 * at))
    assert not drawn
    qtbot.waitUntil(lambda: bool(drawn), timeout=60_000)
    assert len(drawn) == 1
    assert not np.array_equal(layer.thumbnail, before)
