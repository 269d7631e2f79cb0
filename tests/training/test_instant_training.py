"""An instant adapter from image files: scored on what it did not see, no passes."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_promise.data.pairs import Pair
from napari_promise.model.adapters import load_adapter
from napari_promise.training.config import TrainConfig
from napari_promise.training.trainer import train

SHAPE = (40, 60)


@pytest.fixture
def pairs(tmp_path: Path) -> tuple[Pair, ...]:
    """Bright squares; the third image has none."""
    rng = np.random.default_rng(0)
    found = []
    for number in range(4):
        mask = np.zeros(SHAPE, np.uint8)
        if number != 2:
            mask[8:26, 4 + 8 * number : 22 + 8 * number] = 255
        pixels = rng.integers(0, 40, (*SHAPE, 3)) + (mask > 0)[..., None] * 180
        image, label = tmp_path / f"{number}.png", tmp_path / f"{number}-mask.png"
        Image.fromarray(pixels.astype(np.uint8)).save(image)
        Image.fromarray(mask).save(label)
        found.append(Pair(image, label))
    return tuple(found)


def made(sam: Any, pairs: tuple[Pair, ...], **changes: Any) -> Any:
    config = TrainConfig(pairs=pairs, apm="instant", name="mine", **changes)
    *_, last = train(config, sam)
    assert last.phase == "done"
    return last.adapter


def test_it_is_written_as_any_adapter_and_says_how_it_was_scored(
    micro_sam: Any, pairs: tuple[Pair, ...], tmp_path: Path
) -> None:
    adapter = made(micro_sam, pairs, output=tmp_path / "mine", class_name="square")
    kept = load_adapter(tmp_path / "mine", micro_sam)
    assert np.array_equal(kept.apm.weight, adapter.apm.weight)  # type: ignore[union-attr]
    info = kept.info
    assert (info.apm, info.ips, info.class_name) == ("instant", False, "square")
    assert 0 <= info.scores["held out in training"]["automatic"] <= 1
    assert "what the others taught" in info.note
    assert (tmp_path / "mine" / "curves.csv").exists()


def test_the_same_images_give_the_same_adapter(
    micro_sam: Any, pairs: tuple[Pair, ...]
) -> None:
    first, again = made(micro_sam, pairs), made(micro_sam, pairs[::-1])
    assert np.array_equal(first.apm.weight, again.apm.weight)


def test_one_image_is_enough_and_has_no_score(
    micro_sam: Any, pairs: tuple[Pair, ...]
) -> None:
    info = made(micro_sam, pairs[:1]).info
    assert info.scores == {"held out in training": {}}


def test_images_of_one_group_do_not_answer_each_other(
    micro_sam: Any, pairs: tuple[Pair, ...]
) -> None:
    alike = tuple(Pair(p.image, p.mask, "patient") for p in pairs)
    assert made(micro_sam, alike).info.scores == {"held out in training": {}}


def test_images_that_are_held_out_are_measured_and_not_learnt(
    micro_sam: Any, pairs: tuple[Pair, ...]
) -> None:
    adapter = made(micro_sam, pairs[:2], held_out=pairs[3:])
    alone = made(micro_sam, pairs[:2])
    assert np.array_equal(adapter.apm.weight, alone.apm.weight)
    assert "automatic" in adapter.info.scores["held out in training"]
    assert adapter.info.note == ""


def test_masks_without_an_object_are_refused(
    micro_sam: Any, pairs: tuple[Pair, ...]
) -> None:
    with pytest.raises(ValueError, match="no mask holds an object"):
        made(micro_sam, pairs[2:3])


def test_there_is_nothing_to_resume(pairs: tuple[Pair, ...], tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="nothing to resume"):
        TrainConfig(pairs=pairs, apm="instant", output=tmp_path, resume=True)
