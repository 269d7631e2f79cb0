"""From one object to others like it."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_promise.document import Region
from napari_promise.jobs.alike import FindAlike, Place, _is_known

SHAPE = (96, 128)


class Pixels:
    """An image of dark discs on bright noise."""

    rgb = True
    contrast_limits = None
    shape = SHAPE
    name = "discs"

    def __init__(self, *discs: tuple[int, int, int]) -> None:
        rng = np.random.default_rng(0)
        y, x = np.mgrid[: SHAPE[0], : SHAPE[1]]
        self.masks = [(y - r) ** 2 + (x - c) ** 2 < s**2 for r, c, s in discs]
        pixels = rng.normal(180, 12, (*SHAPE, 3))
        for mask in self.masks:
            pixels[mask] -= (110, 130, 60)
        self.pixels = pixels.clip(0, 255).astype(np.uint8)


class Context:
    def __init__(self, segmenter: Any) -> None:
        self.segmenter = segmenter

    def embedding(self, source: Any, _tile: Any) -> tuple[Any, str]:
        return self.segmenter.encode(source.pixels), ""

    def must_give_way(self) -> bool:
        return False

    def deliver(self, call: Any) -> None:
        call()


@pytest.fixture(scope="module")
def segmenter() -> Any:
    from napari_promise.segmenter import Segmenter

    return Segmenter.load("promise-tiny", device="cpu")


def test_others_like_one_are_found_here_and_elsewhere(segmenter: Any) -> None:
    here = Pixels((28, 30, 15), (68, 95, 15))
    there = Pixels((60, 40, 15))
    told = SimpleNamespace(found=[], lines=[])
    job = FindAlike(
        here,  # type: ignore[arg-type]
        (),
        [Region.from_mask(here.masks[0])],
        [Place(here, (), here.masks[0], "here"), Place(there, (), None, "there")],  # type: ignore[arg-type]
        class_name="disc",
        found=lambda place, objects: told.found.append((place.tag, objects)),
        ended=told.lines.append,
    )
    while job.step(Context(segmenter)):  # type: ignore[arg-type]
        pass
    assert told.lines == [""]
    (tag, (second,)), (elsewhere, (third,)) = told.found
    assert (tag, elsewhere) == ("here", "there")
    for one, truth in ((second, here.masks[1]), (third, there.masks[0])):
        mask = one.region.mask
        assert 2 * (mask & truth).sum() / (mask.sum() + truth.sum()) > 0.75
        assert one.class_name == "disc"


def test_what_is_known_already_is_not_found_again() -> None:
    mask = np.zeros((10, 10), bool)
    mask[2:6, 2:6] = True
    region = Region.from_mask(mask)
    assert region is not None
    assert _is_known(region, mask)
    assert not _is_known(region, ~mask)
    assert not _is_known(region, None)
