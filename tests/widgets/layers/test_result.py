"""The labels layer: labels of any number, sizes of any image, data of any tool."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image

from napari_promise.document import Document, LabelPatch, Region
from napari_promise.prompts import Prompts
from napari_promise.widgets.layers.result import ResultLabels

SHAPE = (20, 30)


class _Lazy:
    """An array that is computed when it is looked at, as those of dask are."""

    def __init__(self, data: np.ndarray, error: Exception | None = None) -> None:
        self._data, self._error = data, error
        self.shape, self.dtype, self.ndim = data.shape, data.dtype, data.ndim
        self.size = data.size

    def __array__(self, dtype=None, copy=None) -> np.ndarray:
        if self._error is not None and self._error_is_due:
            raise self._error
        return np.array(self._data, dtype=dtype)

    def __getitem__(self, index) -> np.ndarray:
        return self._data[index]

    def __len__(self) -> int:
        return len(self._data)

    _error_is_due = True


@pytest.fixture
def result() -> ResultLabels:
    return ResultLabels(Image(np.zeros(SHAPE, np.uint8)))


def test_a_label_beyond_16_bits_widens_the_layer_and_keeps_it(result) -> None:
    layer = result.layer
    result.write((), (0, 0, 2, 2), np.full((2, 2), 65_535))
    assert layer.data.dtype == np.uint16
    result.write((), (0, 2, 2, 4), np.full((2, 2), 65_536))
    assert result.layer is layer
    assert layer.data.dtype == np.uint32
    assert np.unique(layer.data).tolist() == [0, 65_535, 65_536]
    layer.undo()
    layer.undo()
    assert not layer.data.any()


def test_a_stack_is_widened_plane_by_plane() -> None:
    result = ResultLabels(Image(np.zeros((3, *SHAPE), np.uint8)))
    result.write((1,), (0, 0, 2, 2), np.full((2, 2), 7))
    result.write((2,), (0, 0, 2, 2), np.full((2, 2), 70_000))
    assert result.plane((1,)).max() == 7
    assert result.plane((2,)).max() == 70_000


def test_an_object_beyond_16_bits_is_committed_and_taken_back(result) -> None:
    document = Document()
    document.events.labels_patched.connect(result.apply)
    document.reserve(65_535)
    record = document.new_object()
    document.set_prompts(record.id, Prompts(points=[(5, 5)], labels=[1]))
    mask = np.zeros(SHAPE, bool)
    mask[3:9, 4:9] = True
    document.set_mask(
        record.id,
        Region.from_mask(mask),
        score=0.5,
        logits=None,
        revision=document.get(record.id).revision,
    )
    document.commit(record.id, result.plane(()))
    np.testing.assert_array_equal(result.layer.data == 65_536, mask)
    document.undo()
    assert not result.layer.data.any()
    document.redo()
    np.testing.assert_array_equal(result.layer.data == 65_536, mask)


def test_a_patch_of_a_narrow_type_is_written_into_a_wide_layer(result) -> None:
    before = np.zeros((2, 2), np.uint8)
    patch = LabelPatch.from_crops((), (1, 1), before, before + 3, SHAPE)
    result.layer.data = result.layer.data.astype(np.int64)
    result.apply(patch)
    assert (result.layer.data == 3).sum() == 4


def test_an_image_too_large_for_labels_is_named_with_a_remedy() -> None:
    class Endless(_Lazy):
        def __init__(self) -> None:
            self._data = np.zeros((1, 1, 64, 64), np.uint8)
            self.shape, self.dtype, self.ndim = (2**20, 2**20, 64, 64), np.uint8, 4
            self._error = None

    image = Image(np.zeros((1, 1, 64, 64), np.uint8))
    image._data = Endless()
    with pytest.raises(ValueError, match=r"too large for labels .* crop it"):
        ResultLabels(image)


def test_lazy_data_of_another_tool_is_taken_over(result) -> None:
    refused: list[str] = []
    result.refused.connect(refused.append)
    labels = np.zeros(SHAPE, np.int32)
    labels[4:6] = 9
    result.layer.data = _Lazy(labels)
    assert not refused
    assert isinstance(result.layer.data, np.ndarray)
    np.testing.assert_array_equal(result.layer.data, labels)
    result.write((), (0, 0, 2, 2), np.full((2, 2), 3))
    assert (result.layer.data == 3).sum() == 4


def test_data_of_another_shape_is_refused_and_the_labels_stay(result) -> None:
    refused: list[str] = []
    result.refused.connect(refused.append)
    result.write((), (0, 0, 2, 2), np.full((2, 2), 3))
    held = result.layer.data
    result.layer.data = np.zeros((5, 5), np.uint8)
    (line,) = refused
    assert "(5, 5)" in line
    assert result.layer.data is held
    assert (held == 3).sum() == 4


def test_data_that_cannot_be_read_is_refused(result) -> None:
    refused: list[str] = []
    result.refused.connect(refused.append)
    held = result.layer.data
    result.layer.data = _Lazy(np.zeros(SHAPE, np.uint8), OSError(5, "disk is gone"))
    assert "disk is gone" in refused[0]
    assert result.layer.data is held
