"""Real images: stacks, scaled and turned ones, every kind of pixel and contrast."""

from __future__ import annotations

import numpy as np


def test_every_kind_of_image_is_encoded_and_clicked_on(make_desk, picture) -> None:
    rng = np.random.default_rng(1)
    noise = rng.normal(size=(90, 120)).astype(np.float32)
    noise[::7, ::5] = np.nan
    colour = rng.integers(0, 255, (90, 120, 4), dtype=np.uint8)
    desk = make_desk()
    for kind, (data, options) in {
        "bool": (picture > 100, {}),
        "uint16": (picture.astype(np.uint16) * 100, {}),
        "int32": (picture.astype(np.int32) - 100, {}),
        "float with NaN": (noise, {}),
        "rgb": (colour[..., :3], {"rgb": True}),
        "rgba": (colour, {"rgb": True}),
        "multiscale": ([picture, picture[::2, ::2]], {"multiscale": True}),
        "time and depth": (np.stack([[picture] * 3] * 2), {}),
    }.items():
        image = desk.viewer.add_image(data, name=kind, **options)
        desk.bridge.open(image)
        desk.until(lambda: desk.widget.session.status.state == "ready")
        desk.click(*desk.bridge.plane, 30, 40)
        assert desk.preview[30, 40], kind
        assert desk.preview.shape == (90, 120), kind
        desk.press("C")
        assert desk.labels.data[(*desk.bridge.plane, 30, 40)] == 1, kind


def test_a_stack_is_worked_on_plane_by_plane(make_desk, picture) -> None:
    desk = make_desk()
    stack = np.stack([np.roll(picture, 10 * i, 0) for i in range(5)])
    desk.open(stack, scale=(4, 1, 1), translate=(7, 0, 0))
    desk.viewer.dims.set_point(0, 7 + 4 * 1)
    assert desk.bridge.plane == (1,)
    desk.click(1, 30, 40)
    assert desk.document.active.plane == (1,)
    desk.viewer.dims.set_point(0, 7 + 4 * 3)
    assert desk.bridge.plane == (3,)
    assert desk.document.active_id is None
    desk.click(3, 60, 80)
    assert [r.plane for r in desk.document.objects] == [(1,), (3,)]
    desk.press("C")
    assert np.flatnonzero(desk.labels.data.any(axis=(1, 2))).tolist() == [3]
    desk.viewer.dims.set_point(0, 7 + 4 * 1)
    assert desk.document.active_id == 1  # the draft of this plane
    assert desk.preview[30, 40]
    desk.press("C")
    assert np.flatnonzero(desk.labels.data.any(axis=(1, 2))).tolist() == [1, 3]
    desk.qtbot.wait(1)
    desk.widget.objects_panel.table.selectRow(1)
    assert desk.bridge.plane == (3,)  # the viewer went there
    assert desk.preview[60, 80]
    assert desk.menu_rows()[1][4] == "3"
    desk.press("Ctrl+Z")
    assert desk.bridge.plane == (1,)


def test_a_result_goes_to_the_plane_it_was_asked_for(make_desk, picture) -> None:
    desk = make_desk()
    desk.model.hold()
    desk.open(np.stack([picture] * 4))
    desk.viewer.dims.set_point(0, 1)
    desk.points.add((1, 30, 40))
    desk.viewer.dims.set_point(0, 2)
    desk.model.release()
    desk.settle()
    record = desk.document.get(1)
    assert record.plane == (1,)
    assert record.region is not None
    assert not desk.preview.any()
    desk.viewer.dims.set_point(0, 1)
    assert desk.preview[30, 40]


def test_layers_lie_on_a_turned_and_scaled_image_and_follow_it(
    make_desk, picture
) -> None:
    desk = make_desk()
    turn = [[1, 0, 0], [0, 0.8, -0.6], [0, 0.6, 0.8]]
    image = desk.open(
        np.stack([picture] * 3),
        scale=(5, 0.5, 0.7),
        translate=(3, 9, -2),
        rotate=turn,
        affine=np.diag([1, 2, 1, 1]),
    )
    desk.viewer.dims.set_point(0, float(image.data_to_world((2, 0, 0))[0]))
    assert desk.bridge.plane == (2,)

    def together() -> None:
        world = image.data_to_world((2, 30, 40))
        for layer in (desk.points, desk.labels, desk.boxes):
            np.testing.assert_allclose(layer.world_to_data(world), (2, 30, 40))

    position = desk.points.world_to_data(image.data_to_world((2, 30, 40)))
    desk.click(*position)
    assert desk.preview[30, 40]
    together()
    image.translate = (1, 1, 1)
    image.scale = (2, 2, 2)
    desk.viewer.dims.set_point(0, float(image.data_to_world((2, 0, 0))[0]))
    together()
    preview = desk.bridge.work.preview.layer
    world = image.data_to_world((2, 30, 40))
    np.testing.assert_allclose(preview.world_to_data(world), (0, 30, 40), atol=1e-9)


def test_contrast_is_followed_once_it_has_settled(desk) -> None:
    image = desk.bridge.work.image
    before = desk.model.encoded
    settling = desk.bridge._contrast._timer
    settling.setInterval(600_000)
    for high in (200, 150, 100):
        image.contrast_limits = (10, high)
        desk.qtbot.wait(20)
    assert desk.model.encoded == before
    settling.setInterval(1)
    desk.until(lambda: desk.model.encoded == before + 1)
    desk.click(30, 40)
    image.data = 255 - image.data
    desk.until(lambda: desk.model.encoded == before + 2)
    assert len(desk.document) == 1


def test_a_picture_of_another_size_in_the_same_layer_begins_afresh(desk) -> None:
    desk.click(30, 40)
    desk.press("C")
    labels = desk.labels
    desk.bridge.work.image.data = np.zeros((50, 60), np.uint8)
    assert len(desk.document) == 0
    assert labels in desk.viewer.layers
    desk.click(20, 20)
    assert desk.preview.shape == (50, 60)
