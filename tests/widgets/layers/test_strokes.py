"""What napari says of a stroke, as patches; on layers without a window."""

from __future__ import annotations

import numpy as np
from napari.layers import Labels

from napari_promise.widgets.layers.strokes import strokes


def _listen(layer: Labels) -> list:
    heard: list = []
    layer.events.paint.connect(
        lambda event: heard.extend(strokes(event.value, layer.data))
    )
    return heard


def test_a_painted_disc_is_one_patch_with_the_labels_before_and_after() -> None:
    layer = Labels(np.full((40, 50), 3, np.uint16))
    heard = _listen(layer)
    before = layer.data.copy()
    layer.brush_size = 6
    layer.paint((20, 10), 7)
    (stroke,) = heard
    r0, c0, r1, c1 = stroke.bbox
    assert stroke.plane == ()
    np.testing.assert_array_equal(stroke.before, before[r0:r1, c0:c1])
    np.testing.assert_array_equal(stroke.after, layer.data[r0:r1, c0:c1])
    changed = before != layer.data
    assert changed.sum() == (stroke.before != stroke.after).sum() > 0


def test_a_stroke_of_several_dabs_is_taken_together() -> None:
    layer = Labels(np.zeros((40, 50), np.uint16))
    heard = _listen(layer)
    with layer.block_history():
        layer.paint((10, 10), 1)
        layer.paint((10, 14), 2)
    (stroke,) = heard
    r0, c0, r1, c1 = stroke.bbox
    assert not stroke.before.any()
    np.testing.assert_array_equal(stroke.after, layer.data[r0:r1, c0:c1])


def test_indices_with_values_are_read_like_masks() -> None:
    data = np.zeros((3, 8, 9), np.uint16)
    indices = (np.array([1, 1]), np.array([2, 5]), np.array([3, 3]))
    data[indices] = 4
    item = [(indices, np.zeros(2, np.uint16), np.array([4, 4], np.uint16))]
    (stroke,) = strokes(item, data)
    assert stroke.plane == (1,)
    assert stroke.bbox == (2, 3, 6, 4)
    assert stroke.after.ravel().tolist() == [4, 0, 0, 4]


def test_a_stroke_through_a_volume_has_a_patch_for_each_plane() -> None:
    layer = Labels(np.zeros((5, 20, 20), np.uint16))
    layer.n_edit_dimensions = 3
    layer.brush_size = 4
    heard = _listen(layer)
    layer.paint((2, 10, 10), 1)
    planes = np.flatnonzero(layer.data.any(axis=(1, 2)))
    assert len(planes) > 1
    assert [stroke.plane for stroke in heard] == [(plane,) for plane in planes]


def test_painting_what_is_there_already_is_no_stroke() -> None:
    layer = Labels(np.full((20, 20), 2, np.uint16))
    heard = _listen(layer)
    layer.paint((10, 10), 2)
    assert heard == []
