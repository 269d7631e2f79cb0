"""The command of the layer menus, with a dock and without."""

from __future__ import annotations

import numpy as np

from napari_promise.widgets.layers import mask_prompt
from napari_promise.widgets.layers.mask_prompt import use_as_mask_prompt


def test_the_selected_label_becomes_the_mask_prompt(desk) -> None:
    data = np.zeros((90, 120), np.uint8)
    data[30:40, 50:70] = 5
    layer = desk.viewer.add_labels(data)
    layer.selected_label = 5
    desk.viewer.layers.selection = {layer}
    use_as_mask_prompt(desk.viewer)
    desk.settle()
    np.testing.assert_array_equal(desk.preview, data == 5)


def test_without_a_dock_the_user_is_told_how_to_open_one(monkeypatch) -> None:
    from napari.components import ViewerModel

    said: list[str] = []
    monkeypatch.setattr(mask_prompt, "show_warning", said.append)
    use_as_mask_prompt(ViewerModel())
    assert "open ProMISe" in said[0]
