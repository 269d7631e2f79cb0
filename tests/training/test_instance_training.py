"""Many objects: views and targets, the loss, and a whole run on phantoms."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from napari_promise.data.pairs import Pair
from napari_promise.model.adapters import load_adapter
from napari_promise.model.instance_prompter import InstanceAPM
from napari_promise.model.sam import load_sam
from napari_promise.segmenter import Segmenter
from napari_promise.training import instance_training
from napari_promise.training.config import TrainConfig
from napari_promise.training.evaluate_instances import evaluate_instances
from napari_promise.training.instance_settings import CHOOSING
from napari_promise.training.instance_training import instance_loss
from napari_promise.training.instance_views import targets_of, view_of
from napari_promise.training.trainer import train


def discs(seed: int, side: int = 96) -> tuple[np.ndarray, np.ndarray]:
    """An image of bright discs, and their labels."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[:side, :side]
    labels = np.zeros((side, side), np.uint16)
    for number, (row, column) in enumerate([(20, 22), (60, 30), (40, 70)], start=1):
        radius = rng.integers(7, 11)
        labels[(y - row) ** 2 + (x - column) ** 2 < radius**2] = number
    image = 40 + 150 * (labels > 0) + rng.integers(0, 20, labels.shape)
    return np.stack([image.astype(np.uint8)] * 3, axis=2), labels


def pairs_in(folder: Path, count: int) -> tuple[Pair, ...]:
    found = []
    for number in range(count):
        image, labels = discs(number)
        paths = folder / f"{number}.png", folder / f"{number}-labels.png"
        Image.fromarray(image).save(paths[0])
        Image.fromarray(labels).save(paths[1])
        found.append(Pair(*paths))
    return tuple(found)


def test_the_first_view_is_the_image_and_keeps_every_object() -> None:
    image, labels = discs(0)
    rgb, ids = view_of(image, labels, 128, None)
    assert rgb.shape == (128, 128, 3)
    assert set(np.unique(ids)) == {0, 1, 2, 3}


def test_other_views_enlarge_objects_and_keep_image_and_labels_together() -> None:
    image, labels = discs(0)
    for seed in range(8):
        rgb, ids = view_of(image, labels, 128, np.random.default_rng(seed))
        assert max(ids.shape) == 128
        assert rgb.shape[:2] == ids.shape
        if (ids > 0).any() and (ids == 0).any():
            grey = rgb.astype(float).mean(2)
            assert abs(grey[ids > 0].mean() - grey[ids == 0].mean()) > 20


def test_targets_tell_each_object_its_centre_and_its_box() -> None:
    labels = np.zeros((64, 128), np.int32)
    labels[8:24, 16:40] = 5
    labels[8:24, 40:64] = 6  # they touch
    target = targets_of(labels, 128, 32)
    assert target.shape == (9, 32, 32)
    assert (target[0] == 1).sum() == 2
    assert target[7].sum() == pytest.approx(2)
    for row, column in torch.nonzero(target[0] == 1).tolist():
        left, top, right, bottom = target[3:7, row, column].tolist()
        assert (left + right, top + bottom) == pytest.approx((24 / 4, 16 / 4))
        first = column + 0.5 - left
        assert first == pytest.approx(4) or first == pytest.approx(10)
    assert target[1].sum() == pytest.approx(2 * 16 * 24 / 16)
    assert target[8, 15].all()
    assert not target[8, 16].any()


def test_the_loss_falls_as_what_is_drawn_comes_closer() -> None:
    target = targets_of(discs(0, 128)[1].astype(np.int32), 128, 32)[None]
    right = torch.zeros(1, 7, 32, 32)
    right[:, 0] = torch.logit(target[:, 0].clamp(0.01, 0.99))
    right[:, 1] = torch.logit(target[:, 1].clamp(0.01, 0.99))
    right[:, 2], right[:, 3:] = target[:, 2], target[:, 3:7].log()
    wrong = torch.randn_like(right)
    near, far = instance_loss(right, target), instance_loss(wrong, target)
    assert near < 0.2
    assert far > 2
    assert instance_loss((right + wrong) / 2, target) < far


@pytest.mark.slow
def test_a_run_makes_an_adapter_that_proposes_each_object(tmp_path: Path) -> None:
    pairs = pairs_in(tmp_path, 4)
    config = TrainConfig(
        pairs=pairs[:3],
        held_out=pairs[3:],
        apm="instances",
        views=4,
        apm_epochs=12,
        apm_batch=4,
        name="discs",
        output=tmp_path / "discs",
        cache=tmp_path / "cache",
    )
    sam = load_sam("promise-tiny")
    before = {name: value.clone() for name, value in sam.state_dict().items()}
    steps = list(train(config, sam))
    assert steps[-1].phase == "done"
    losses = [s.loss for s in steps if s.row and s.phase == "apm"]
    assert losses[-1] < losses[0]
    assert all(torch.equal(before[k], v) for k, v in sam.state_dict().items())
    assert not any(p.requires_grad for p in sam.parameters())

    adapter = load_adapter(tmp_path / "discs", sam)
    assert isinstance(adapter.apm, InstanceAPM)
    segmenter = Segmenter(sam, adapter)
    emb = segmenter.encode(discs(3)[0])
    proposals = segmenter.proposals(emb)
    assert [len(p.points) for p in proposals] == [1] * len(proposals)
    many = segmenter.segment_many(emb, proposals)
    for prompts, answer in zip(proposals, many, strict=True):
        alone = segmenter.segment(emb, prompts)
        assert (answer.mask == alone.mask).mean() > 0.999
    report = evaluate_instances(pairs[3:], segmenter)
    assert report.images[0].score.truth == 3
    assert {"ap50", "ap75", "msa", "pq"} <= set(report.to_json()["summary"])


@pytest.mark.slow
@pytest.mark.parametrize("held_out", [1, CHOOSING])
def test_few_held_out_images_choose_no_pass(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, held_out: int
) -> None:
    falling = iter([0.9, 0.5, 0.4, 0.3])
    judged: list[InstanceAPM] = []

    def judge(_run: object, module: InstanceAPM) -> Iterator[float]:
        judged.append(copy.deepcopy(module))
        yield next(falling)

    monkeypatch.setattr(instance_training._Run, "_judge", judge)
    pairs = pairs_in(tmp_path, 2 + held_out)
    config = TrainConfig(
        pairs=pairs[:2],
        held_out=pairs[2:],
        apm="instances",
        views=1,
        apm_epochs=4,
        patience=2,
        cache=tmp_path / "cache",
    )
    *_, done = train(config, load_sam("promise-tiny"))
    assert done.adapter is not None
    # of a score that falls: the last pass, or the first
    assert len(judged) == (4 if held_out == 1 else 3)
    kept = judged[-1] if held_out == 1 else judged[0]
    weights = done.adapter.apm.draw.weight
    assert torch.equal(weights, kept.draw.weight.half().float())


@pytest.mark.slow
def test_what_is_trained_further_keeps_its_shape_and_may_get_deeper(
    tmp_path: Path,
) -> None:
    sam = load_sam("promise-tiny")

    def trained(name: str, **options: Any) -> InstanceAPM:
        pairs = pairs_in(tmp_path, 2)
        folder = tmp_path / name
        config = TrainConfig(
            pairs=pairs[:1],
            held_out=pairs[1:],
            apm="instances",
            views=1,
            apm_epochs=1,
            output=folder,
            cache=tmp_path / "cache",
            **options,
        )
        list(train(config, sam))
        apm = load_adapter(folder, sam).apm
        assert isinstance(apm, InstanceAPM)
        return apm

    shallow = trained("shallow", apm_width=24)
    deeper = trained("deeper", start=tmp_path / "shallow", apm_blocks=1)
    again = trained("again", start=tmp_path / "deeper")
    shapes = [(apm.width, apm.blocks) for apm in (shallow, deeper, again)]
    assert shapes == [(24, 0), (24, 1), (24, 1)]


def test_labels_without_objects_are_refused(tmp_path: Path) -> None:
    pairs = pairs_in(tmp_path, 2)
    for pair in pairs:
        Image.fromarray(np.zeros((96, 96), np.uint8)).save(pair.mask)
    config = TrainConfig(
        pairs=pairs, apm="instances", views=1, cache=tmp_path, held_out_share=0.5
    )
    with pytest.raises(ValueError, match="no label image holds an object"):
        list(train(config, load_sam("promise-tiny")))
