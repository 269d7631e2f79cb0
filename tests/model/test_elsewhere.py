from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from napari_promise.model.elsewhere import EncoderElsewhere
from napari_promise.model.sam import encode_image
from napari_promise.segmenter import Segmenter


class Neighbour:
    """Encodes with a model of its own, and notes what it was told and asked."""

    address = "tls://neighbour:1"

    def __init__(self, sam: Any) -> None:
        self.sam = sam
        self.description: dict[str, Any] = {}
        self.told: list[np.ndarray] = []
        self.asked: list[np.ndarray] = []
        self.closed = False

    def encode(self, rgb: np.ndarray, cancel: Any = None) -> dict[str, np.ndarray]:
        self.asked.append(rgb)
        return encode_image(self.sam, rgb).to_arrays()

    def feed(self, images: Iterator[np.ndarray], ahead: int = 0) -> None:
        self.told += list(images)

    def close(self) -> None:
        self.closed = True


@pytest.fixture
def apart(micro_sam: Any) -> tuple[Any, Any, Neighbour]:
    """A model, and the same one whose encoder is with the neighbour."""
    neighbour = Neighbour(micro_sam)
    other = copy.deepcopy(micro_sam)
    other.image_encoder = EncoderElsewhere(neighbour, micro_sam.image_encoder.img_size)
    return micro_sam, other, neighbour


def picture(shape: tuple[int, int] = (100, 130)) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (*shape, 3), np.uint8)


def test_pixels_go_in_the_size_of_the_frame_and_the_same_numbers_come_back(
    apart: Any,
) -> None:
    sam, other, neighbour = apart
    here, there = encode_image(sam, picture()), encode_image(other, picture())
    assert neighbour.asked[0].shape == (49, 64, 3)
    assert torch.equal(here.image, there.image)
    assert all(
        torch.equal(a, b) for a, b in zip(here.levels, there.levels, strict=True)
    )
    assert here.original_size == there.original_size == (100, 130)
    assert here.plane_shape == there.plane_shape


def test_an_exact_embedding_cannot_be_had(apart: Any) -> None:
    with pytest.raises(ValueError, match="float16"):
        encode_image(apart[1], picture(), exact=True)


def test_an_embedding_of_another_image_is_refused(apart: Any, monkeypatch: Any) -> None:
    _, other, neighbour = apart
    wrong = neighbour.encode(picture((64, 64)))
    monkeypatch.setattr(neighbour, "encode", lambda rgb, cancel=None: wrong)
    with pytest.raises(ValueError, match="same version"):
        encode_image(other, picture())


def test_a_segmenter_says_where_it_encodes_and_lets_go(apart: Any) -> None:
    sam, other, neighbour = apart
    assert Segmenter(sam).encodes_on == ""
    segmenter = Segmenter(other)
    assert segmenter.encodes_on == "tls://neighbour:1"
    segmenter.feed(iter([picture()]))
    assert neighbour.told[0].shape == (49, 64, 3)
    segmenter.close()
    assert neighbour.closed


def test_training_says_ahead_exactly_what_it_will_have_encoded(
    apart: Any, tmp_path: Any
) -> None:
    import contextlib

    from PIL import Image

    from napari_promise.data.pairs import Pair
    from napari_promise.training.embedder import Embedder
    from napari_promise.training.view_cache import ViewCache

    _, other, neighbour = apart
    pairs = []
    for number in range(4):
        pair = Pair(tmp_path / f"{number}.png", tmp_path / f"{number}-mask.png")
        Image.fromarray(picture() // (number + 1)).save(pair.image)
        mask = np.zeros((100, 130), np.uint8)
        mask[20:70, 30:90] = 255
        Image.fromarray(mask).save(pair.mask)
        pairs.append(pair)
    pairs[1].image.write_bytes(b"no picture")
    embedder = Embedder(
        other,
        ViewCache(tmp_path / "views", None),
        training_parts=("image", "levels"),
        held_out_parts=("image", "levels"),
        views_each=2,
        autocast=contextlib.nullcontext,
        precision="bfloat16",
    )
    for _ in embedder.run(pairs[:3], pairs[3:]):
        pass
    assert len(neighbour.asked) == 5
    for told, asked in zip(neighbour.told, neighbour.asked, strict=True):
        np.testing.assert_array_equal(told, asked)
