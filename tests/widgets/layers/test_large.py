"""Images beyond one array: their labels and masks in the window."""

from __future__ import annotations

import dask.array
import numpy as np
import pytest
from napari.components import ViewerModel
from napari.layers import Image

from napari_promise.document import Region
from napari_promise.prompts import Prompts
from napari_promise.widgets.layers import geometry
from napari_promise.widgets.layers.large_result import LargeResult
from napari_promise.widgets.layers.preview import MaskPreview
from napari_promise.widgets.layers.work import Work

SIDE = 20_000


@pytest.fixture
def image() -> Image:
    levels = [
        dask.array.zeros((SIDE // f, SIDE // f), np.uint8, chunks=1024)
        for f in (1, 4, 16)
    ]
    return Image(levels, multiscale=True, contrast_limits=(0, 255), scale=(0.5, 0.5))


def disc(row: int, column: int, radius: int) -> Region:
    across = np.arange(-radius, radius + 1)
    crop = across[:, None] ** 2 + across[None] ** 2 <= radius**2
    region = Region.from_crop(crop, (row - radius, column - radius), (SIDE, SIDE))
    assert region is not None
    return region


def test_labels_of_a_huge_image_are_written_by_tile_and_taken_back(image):
    work = Work(image)
    assert isinstance(work.result, LargeResult)
    document = work.document
    document.events.labels_patched.connect(work.result.apply)
    record = document.new_object()
    document.set_prompts(record.id, Prompts(points=[(15_000, 9_000)], labels=[1]))
    region = disc(15_000, 9_000, 300)
    revision = document.get(record.id).revision
    document.set_mask(record.id, region, score=0.9, logits=None, revision=revision)
    document.commit(record.id, work.result.plane(()))
    part = work.result.plane(())[14_600:15_400, 8_600:9_400]
    np.testing.assert_array_equal(
        part == record.label, region.window((14_600, 8_600, 15_400, 9_400))
    )
    coarse = np.asarray(work.result.labels.levels[-1])
    assert (coarse == record.label).any()
    document.undo()
    assert not work.result.plane(())[14_600:15_400, 8_600:9_400].any()
    assert not np.asarray(work.result.labels.levels[-1]).any()


def test_labels_written_over_a_huge_image_are_seen(image):
    result = LargeResult(image)
    viewer = ViewerModel()
    viewer.add_layer(image)
    layer = viewer.add_layer(result.layer)
    assert not layer.get_value((5_000, 5_000), world=True)[1]
    result.write((), (9_000, 9_000, 12_000, 12_000), np.full((3_000, 3_000), 3))
    assert layer.get_value((5_000, 5_000), world=True)[1] == 3
    assert not layer.get_value((500, 500), world=True)[1]


def test_other_data_for_the_labels_of_a_huge_image_are_refused(image):
    result = LargeResult(image)
    said: list[str] = []
    result.refused.connect(said.append)
    result.layer.data = [np.zeros((SIDE // f, SIDE // f), np.uint8) for f in (100, 200)]
    assert result.layer.data[0] is result.labels.levels[0]
    assert len(said) == 1


def test_the_mask_of_a_huge_image_is_a_small_layer_where_it_lies(image):
    preview = MaskPreview(image)
    preview.show((), disc(12_000, 7_000, 50))
    assert preview.layer.data.shape == (101, 101)
    assert preview.layer.data[50, 50] == 1
    world = preview.layer.data_to_world((50, 50))
    np.testing.assert_allclose(image.world_to_data(world), (12_000, 7_000))
    preview.show((), None)
    assert not preview.layer.data.any()


def test_a_mask_over_much_of_a_huge_image_is_thinned_to_be_shown(image):
    preview = MaskPreview(image)
    crop = np.zeros((9_000, 9_000), bool)
    crop[:, 4_000:] = crop[0, 0] = True
    preview.show((), Region.from_crop(crop, (1_000, 2_000), (SIDE, SIDE)))
    assert max(preview.layer.data.shape) <= 4096
    where = preview.layer.world_to_data(image.data_to_world((5_000, 8_000)))
    row, column = np.rint(where).astype(int)
    assert preview.layer.data[row, column] == 1
    where = preview.layer.world_to_data(image.data_to_world((5_000, 4_000)))
    row, column = np.rint(where).astype(int)
    assert preview.layer.data[row, column] == 0


def test_the_preview_of_a_huge_image_moves_along_with_it(image):
    preview = MaskPreview(image)
    preview.show((), disc(500, 600, 20))
    image.translate = (100, 50)
    preview.move_along()
    world = preview.layer.data_to_world((20, 20))
    np.testing.assert_allclose(image.world_to_data(world), (500, 600))


def test_an_image_of_ordinary_size_has_labels_that_can_be_painted():
    image = Image(np.zeros((64, 48), np.uint8))
    assert not geometry.is_large(image)
    assert isinstance(Work(image).result.labels, np.ndarray)
    assert Work(image).preview.layer.data.shape == (64, 48)
