"""Which labels belong to which image; on layers without a window."""

from __future__ import annotations

import numpy as np
import pytest
from napari.layers import Image, Labels

from napari_promise.widgets.layers.lookup import (
    foreign_labels,
    labelled,
    selected_label_mask,
)
from napari_promise.widgets.layers.work import Work


def _image(name: str, shape=(20, 30)) -> Image:
    return Image(np.zeros(shape, np.uint8), name=name)


def _labels(name: str, shape=(20, 30)) -> Labels:
    return Labels(np.ones(shape, np.uint8), name=name)


def _named(layers, works=()) -> dict[str, str]:
    return {image.name: labels.name for image, labels, _work in labelled(layers, works)}


def test_an_image_does_not_take_labels_of_another_whose_name_begins_alike() -> None:
    layers = [
        _image("cell_1"),
        _image("cell_10"),
        _labels("cell_1_labels"),
        _labels("cell_10_labels"),
    ]
    wanted = {"cell_1": "cell_1_labels", "cell_10": "cell_10_labels"}
    assert _named(layers) == wanted
    assert _named([layers[1], layers[0], layers[3], layers[2]]) == wanted


def test_names_that_napari_numbers_are_told_apart() -> None:
    layers = [
        _image("image"),
        _image("image [1]"),
        _image("image [10]"),
        _labels("image [10] mask"),
        _labels("image [1] mask"),
        _labels("image mask"),
    ]
    assert _named(layers) == {
        name: f"{name} mask" for name in ("image", "image [1]", "image [10]")
    }


def test_an_image_without_labels_of_its_name_takes_none_of_another() -> None:
    layers = [_image("a"), _image("b"), _labels("b mask")]
    assert _named(layers) == {"b": "b mask"}


def test_labels_called_after_no_image_go_to_the_topmost_of_their_size() -> None:
    layers = [_image("a"), _image("b"), _labels("truth"), _labels("x", (5, 5))]
    assert _named(layers) == {"b": "truth"}


def test_committed_objects_come_before_labels_of_others() -> None:
    image = _image("a")
    work = Work(image)
    layers = [image, work.result.layer, _labels("a mask")]
    assert _named(layers, [work]) == {"a": "a mask"}
    work.result.write((), (0, 0, 2, 2), np.ones((2, 2), int))
    assert labelled(layers, [work]) == [(image, work.result.layer, work)]


def test_a_mask_is_taken_from_the_selected_labels_else_from_the_topmost() -> None:
    image = _image("a")
    work = Work(image)
    lower, upper = _labels("lower"), _labels("upper")
    lower.selected_label = upper.selected_label = 1
    layers = [image, lower, upper, *work.layers]
    assert foreign_labels(layers, work) == [lower, upper]
    words, mask = selected_label_mask(layers, [], work, ())
    assert words == "label 1 of “upper”"
    assert mask.all()
    words, _ = selected_label_mask(layers, [image, lower], work, ())
    assert words == "label 1 of “lower”"
    upper.selected_label = 7
    with pytest.raises(ValueError, match="no pixel on this plane"):
        selected_label_mask(layers, [upper], work, ())
    with pytest.raises(ValueError, match="no Labels layer"):
        selected_label_mask([image, *work.layers], [], work, ())
