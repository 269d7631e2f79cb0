"""Two adapters on many labelled images."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_promise.data.pairs import Pair
from napari_promise.document import Region
from napari_promise.jobs.comparing import Tally, TallyJob
from napari_promise.jobs.training_sources import PairsSource
from napari_promise.prompts import Prompts


class Segmenter:
    """Finds the bright with one adapter, and everything with the other."""

    adapter: Any = None

    def with_adapter(self, adapter: Any) -> Any:
        other = Segmenter()
        other.adapter = adapter
        return other

    def propose(self, emb: Any) -> Prompts:
        return Prompts(points=[(1, 1)], labels=[1])

    def segment(self, emb: Any, prompts: Prompts) -> Any:
        mask = emb > 100 if self.adapter == "good" else np.ones_like(emb, bool)
        return SimpleNamespace(region=Region.from_mask(mask))


class Bench:
    def __init__(self) -> None:
        self.segmenter = Segmenter()
        self.asked: list[tuple[str, Any]] = []

    def embedding(self, source: Any, tile: Any) -> tuple[Any, str]:
        self.asked.append((source.name, tile.plane))
        return source.plane_pixels(tile.plane), "digest"

    def feed(self, views: Any) -> None:
        """Nobody else encodes."""

    def must_give_way(self) -> bool:
        return False

    def deliver(self, call: Any) -> None:
        call()


@pytest.fixture
def source(tmp_path: Path) -> PairsSource:
    pairs = []
    for number in range(3):
        picture = np.zeros((20, 20), np.uint8)
        picture[:10] = 200
        image, mask = tmp_path / f"{number}.png", tmp_path / f"{number}-mask.png"
        Image.fromarray(picture).save(image)
        Image.fromarray((picture > 100).astype(np.uint8)).save(mask)
        pairs.append(Pair(image, mask))
    return PairsSource(tuple(pairs), "pictures")


def test_an_adapter_that_is_refused_is_no_fault_of_the_images(
    source: PairsSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(self: Segmenter, adapter: Any) -> None:
        if adapter is not None:
            raise ValueError("it belongs to another model")

    monkeypatch.setattr(Segmenter, "adapter", property(lambda self: None, refuse))
    job = TallyJob(source, ("a", "b"), ("a", "b"), lambda _: None, lambda _: None)
    with pytest.raises(ValueError, match="another model"):
        job.step(Bench())  # type: ignore[arg-type]
    job.close()


def _run(source: PairsSource) -> Tally:
    told: list[Tally] = []
    names = ("good", "bad")
    job = TallyJob(source, names, names, told.append, lambda line: pytest.fail(line))
    bench = Bench()
    while job.step(bench):  # type: ignore[arg-type]
        pass
    job.close()
    assert bench.segmenter.adapter is None  # nobody else saw another adapter
    return told[-1]


def test_both_are_told_with_how_often_each_was_ahead(source: PairsSource) -> None:
    tally = _run(source)
    assert tally.dices == ((1.0, pytest.approx(2 / 3)),) * 3
    assert tally.told() == (
        "3 labelled images of pictures, automatic Dice: good 1.000, bad 0.667. "
        "bad is better on 0, worse on 3."
    )


def test_what_cannot_be_read_is_left_out_and_counted(source: PairsSource) -> None:
    source.pairs[1].image.write_bytes(b"no picture")
    tally = _run(source)
    assert (len(tally.dices), tally.left_out) == (2, 1)
    assert tally.told().endswith("1 could not be read.")
