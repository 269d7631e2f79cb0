"""Proposed objects in the 3-D view."""

from __future__ import annotations

import numpy as np

from napari_promise.document import Document, FoundPlane, Region
from napari_promise.prompts import Prompts
from napari_promise.widgets.volumes.solid import block_of

SHAPE = (20, 30)


def disc(row: int, column: int, side: int) -> Region:
    mask = np.zeros(SHAPE, bool)
    mask[row : row + side, column : column + side] = True
    region = Region.from_mask(mask)
    assert region is not None
    return region


def proposed() -> Document:
    document = Document()
    record = document.new_object((4,))
    changed = document.set_prompts(record.id, Prompts(points=[(6, 8)], labels=[1]))
    document.set_mask(
        record.id, disc(5, 7, 4), score=0.9, logits=None, revision=changed.revision
    )
    found = [FoundPlane((plane,), disc(5, 7, 6), 0.8) for plane in (3, 5)]
    document.put_propagated(1, found, run=object())
    return document


def test_the_block_is_as_large_as_what_is_proposed() -> None:
    corner, block = block_of(proposed(), ())
    assert corner == (3, 5, 7)
    assert block.shape == (3, 6, 6)
    assert [np.count_nonzero(plane == 1) for plane in block] == [36, 16, 36]


def test_what_is_committed_is_left_to_the_labels() -> None:
    document = proposed()
    labels = np.zeros((9, *SHAPE), np.uint16)
    document.commit_many([record.id for record in document.of_label(1)], labels)
    assert block_of(document, ()) is None


def test_the_layer_is_there_in_the_3d_view_alone_and_follows_the_work(
    make_desk,
) -> None:
    desk = make_desk()
    volume = np.random.default_rng(0).integers(0, 255, (5, 90, 120), np.uint8)
    desk.open(volume, name="stack", scale=(5, 2, 1))
    desk.until(lambda: desk.widget.session.status.state == "ready")
    desk.click(desk.bridge.plane[0], 45, 60)
    solid, layers = desk.widget.desk.solid, desk.viewer.layers
    assert solid.layer is None
    desk.viewer.dims.ndisplay = 3
    assert solid.layer in layers
    region = desk.document.objects[0].region
    assert np.count_nonzero(solid.layer.data) == region.area
    middle = solid.layer.data_to_world(np.argwhere(solid.layer.data)[0])
    on_image = desk.bridge.work.image.world_to_data(middle)
    assert region.mask[tuple(np.rint(on_image[1:]).astype(int))]
    assert desk.bridge.foreign_labels() == []
    plane = desk.document.objects[0].plane
    beside = FoundPlane((plane[0] + 1,), region, 0.8)
    desk.document.put_propagated(1, [beside], run=object())
    desk.until(lambda: solid.layer.data.shape[0] == 2)
    desk.widget.actions.commit()
    desk.until(lambda: solid.layer is None)
    assert np.count_nonzero(desk.labels.data) == 2 * region.area
    desk.press("Control-Z")
    desk.until(lambda: solid.layer is not None)
    desk.viewer.dims.ndisplay = 2
    assert solid.layer is None
    assert not any(layer.name == "ProMISe proposal" for layer in layers)
