"""The rival: what it sees, how long it trains, and that it learns."""

from __future__ import annotations

import itertools
import json
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from napari_promise.data.pairs import Pair
from scripts.study import datasets, runs, train_unet
from scripts.study.train_unet import Sample


def _disc(at: tuple[int, int], shape: tuple[int, int] = (40, 64)) -> np.ndarray:
    rows, columns = np.indices(shape)
    return np.hypot(rows - at[0], columns - at[1]) <= 11


@pytest.fixture
def skin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[Pair]:
    """A set of bright discs on dark ground, in the place of the skin lesions."""
    rng = np.random.default_rng(0)
    pairs = []
    for index in range(12):
        truth = _disc((int(rng.integers(12, 28)), int(rng.integers(12, 52))))
        picture = np.clip(60 + 120 * truth + rng.normal(0, 10, truth.shape), 0, 255)
        image, mask = tmp_path / f"{index}.png", tmp_path / f"{index}-mask.png"
        Image.fromarray(picture.astype(np.uint8)).save(image)
        Image.fromarray(truth.astype(np.uint8) * 255).save(mask)
        pairs.append(datasets.Pair(image, mask, str(index)))
    parts = {"train": pairs[:6], "val": pairs[6:8], "test": pairs[8:]}
    monkeypatch.setattr(datasets, "load_parts", lambda name: parts)
    return [Pair(p.image, p.target, p.group) for p in pairs]


@pytest.mark.slow
def test_the_rival_has_as_many_parameters_as_the_bundled_model() -> None:
    count = sum(p.numel() for p in train_unet.build().parameters())
    assert count == pytest.approx(7.3e6, rel=0.01)


def test_images_are_padded_as_sam_pads_and_the_padding_is_known() -> None:
    sample = Sample(np.full((3, 4, 3), 255, np.uint8), np.ones((3, 4), np.float32))
    pixels, target, inside = train_unet.batch_of([sample], 4)
    assert (pixels[0, :, :3] == 1).all()
    assert (pixels[0, :, 3] == 0).all()
    assert inside[0, 0, 3].sum() == target[0, 0, 3].sum() == 0
    assert inside.sum() == target.sum() == 12


def test_it_stops_when_the_time_is_over_and_keeps_what_held_out_images_chose(
    skin: list[Pair], monkeypatch: pytest.MonkeyPatch
) -> None:
    torch.manual_seed(0)
    net = train_unet.build((4, 8, 16))
    samples = train_unet.load(skin[:8], 32)
    before = train_unet.held_out_dice(net, samples[6:], 32, quick=False)
    # a clock that ticks when it is asked: a hundred steps on any machine
    clock = SimpleNamespace(monotonic=itertools.count(0, 0.04).__next__)
    monkeypatch.setattr(train_unet, "time", clock)
    lines = list(
        train_unet.fit(
            net, samples[:6], samples[6:], seconds=4, side=32, batch=2, rate=1e-2
        )
    )
    assert 50 < lines[-1]["step"] < 120
    dices = [line["held_out_dice"] for line in lines]
    after = train_unet.held_out_dice(net, samples[6:], 32, quick=lines[0]["bfloat16"])
    assert after == pytest.approx(max(dices), abs=1e-4)
    assert after > before


def test_a_prediction_has_the_images_own_size(skin: list[Pair]) -> None:
    net = train_unet.build((4, 8))
    probability = train_unet.predict(net, np.zeros((50, 90), np.uint8), 32)
    assert probability.shape == (50, 90)
    assert 0 <= probability.min() <= probability.max() <= 1


def test_few_labels_are_divided_for_choosing(skin: list[Pair]) -> None:
    training, held_out = train_unet.divide(skin, seed=0)
    assert (len(training), len(held_out)) == (10, 2)
    assert not set(training) & set(held_out)


def test_few_labels_are_a_part_of_more(skin: list[Pair]) -> None:
    few, none = runs.labelled("skin", 3, seed=0)
    more, _ = runs.labelled("skin", 5, seed=0)
    assert none == []
    assert set(few) < set(more)
    every, choosing = runs.labelled("skin", None, seed=0)
    assert (len(every), len(choosing)) == (6, 2)
    with pytest.raises(ValueError, match="2 to 6"):
        runs.labelled("skin", 7, seed=0)


def test_a_record_is_written_with_its_scores_costs_and_curve(
    skin: list[Pair], tmp_path: Path, monkeypatch
) -> None:
    net = train_unet.build((4, 8))
    monkeypatch.setattr(train_unet, "build", lambda: net)
    like = tmp_path / "like.json"
    like.write_text(
        json.dumps({"domain": "skin", "labels": 4, "seed": 1, "seconds": {"all": 2.0}})
    )
    folder = tmp_path / "results"
    train_unet.main(
        ["--like", str(like), "--side", "32", "--batch", "2", "--results", str(folder)]
    )
    (record,) = runs.read_all(folder)
    assert record["file"] == "unet-skin-4-s1.json"
    assert record["like"] == "like.json"
    assert record["images"] == {"training": 3, "choosing": 1}
    summary = record["test"]["ph2"]["auto"]["summary"]
    assert summary["images"] == 4
    assert 0 <= summary["automatic_s_measure"] <= 1
    assert record["curve"][-1]["seconds"] <= record["seconds"]["all"]
