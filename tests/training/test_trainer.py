from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from napari_promise.data.pairs import Pair
from napari_promise.model.adapters import (
    Adapter,
    AdapterInfo,
    load_adapter,
    save_adapter,
)
from napari_promise.model.auto_prompt import HeatmapAPM
from napari_promise.segmenter import Segmenter
from napari_promise.training.config import TrainConfig
from napari_promise.training.evaluate import evaluate
from napari_promise.training.trainer import Progress, divide, train


def _write(folder: Path, name: str, rng: np.random.Generator) -> Pair:
    """Write a red disc on noise, beside a blue one that is not meant."""
    rows, columns = np.mgrid[:64, :64]
    image = rng.integers(60, 120, (64, 64, 3))
    centres = np.array([[16, 16], [16, 48], [48, 16], [48, 48]])
    (r, c), (r2, c2) = rng.permutation(centres)[:2] + rng.integers(-3, 4, (2, 2))
    disc = (rows - r) ** 2 + (columns - c) ** 2 <= rng.integers(8, 12) ** 2
    image[disc] += (120, -40, -40)
    image[(rows - r2) ** 2 + (columns - c2) ** 2 <= 100] += (-40, -40, 120)
    pair = Pair(folder / f"{name}.png", folder / f"{name}-mask.png")
    Image.fromarray(image.clip(0, 255).astype(np.uint8)).save(pair.image)
    Image.fromarray(disc.astype(np.uint8) * 255).save(pair.mask)
    return pair


@pytest.fixture(scope="module")
def toy(tmp_path_factory: pytest.TempPathFactory) -> tuple[Pair, ...]:
    folder, rng = tmp_path_factory.mktemp("toy"), np.random.default_rng(0)
    return tuple(_write(folder, str(i), rng) for i in range(30))


def _config(pairs: tuple[Pair, ...], **changes: Any) -> TrainConfig:
    values: dict[str, Any] = {
        "pairs": pairs,
        "name": "toy",
        "model": "micro",
        "points": 6,
        "views": 2,
        "apm_epochs": 12,
        "apm_batch": 6,
        "apm_rate": 5e-3,
        "ips_epochs": 2,
        "ips_images": 8,
        "seed": 3,
    }
    return TrainConfig(**{**values, **changes})


def _last(progress: Iterator[Progress]) -> Progress:
    *_, last = progress
    return last


def test_a_toy_domain_is_learned_above_chance(
    toy: tuple[Pair, ...], micro_sam: Any, tmp_path: Path
) -> None:
    """The encoder is random, yet the prompter finds the red discs, not the blue."""
    before = {k: v.clone() for k, v in micro_sam.state_dict().items()}
    phases: dict[str, list[Progress]] = {}
    for progress in train(
        _config(toy[:24], output=tmp_path / "toy", cache=tmp_path), micro_sam
    ):
        phases.setdefault(progress.phase, []).append(progress)
    assert list(phases) == ["embed", "apm", "ips", "score", "done"]
    assert "GB while training" in phases["embed"][0].message
    assert all(p.eta is not None for p in phases["apm"])
    losses = [p.loss for p in phases["apm"] if p.loss is not None]
    assert losses[-1] < 0.7 * losses[0]
    after = micro_sam.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in micro_sam.parameters())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy"]

    adapter = load_adapter(tmp_path / "toy", micro_sam)
    scores = adapter.info.scores["held out in training"]
    assert {"automatic", "gt_prompted", "frozen_automatic", "frozen_gt_prompted"} <= (
        scores.keys()
    )
    assert scores["map"] > 0.5
    segmenter = Segmenter(micro_sam, adapter)
    report = evaluate(toy[24:], segmenter, "auto")
    # discs cover about 8 % of the image
    assert report.summary["positives_on_object"] > 0.5


def test_the_same_seed_gives_the_same_adapter(
    toy: tuple[Pair, ...], micro_sam: Any
) -> None:
    config = _config(toy[:8], apm_epochs=1, ips_epochs=1)
    found = []
    for _ in range(2):
        steps = []
        for progress in train(config, micro_sam):
            steps.append(progress)
            torch.rand(3)  # what the caller draws does not matter
        assert steps[-1].adapter is not None
        found.append(steps[-1].adapter.state_dict())
    other = _last(
        train(_config(toy[:8], apm_epochs=1, ips_epochs=1, seed=4), micro_sam)
    )
    assert other.adapter is not None
    assert all(torch.equal(found[0][name], found[1][name]) for name in found[0])
    assert any(
        not torch.equal(value, found[0][name])
        for name, value in other.adapter.state_dict().items()
    )


@pytest.mark.parametrize("how", ["closed", "interrupted"])
def test_an_interrupted_run_keeps_the_best_so_far(
    toy: tuple[Pair, ...], micro_sam: Any, tmp_path: Path, how: str
) -> None:
    run = train(_config(toy[:12], output=tmp_path / "toy", cache=tmp_path), micro_sam)
    for progress in run:
        if progress.phase == "apm" and progress.held_out:
            break
    if how == "closed":
        run.close()  # type: ignore[attr-defined]
    else:
        with pytest.raises(KeyboardInterrupt):
            run.throw(KeyboardInterrupt())  # type: ignore[attr-defined]
    adapter = load_adapter(tmp_path / "toy", micro_sam)
    assert "interrupted" in adapter.info.note
    assert adapter.apm is not None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toy"]


def test_closing_before_anything_is_learned_writes_nothing(
    toy: tuple[Pair, ...], micro_sam: Any, tmp_path: Path
) -> None:
    run = train(_config(toy[:8], output=tmp_path / "toy", cache=tmp_path), micro_sam)
    next(run)
    run.close()  # type: ignore[attr-defined]
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("changes", "apm", "ips"),
    [({"apm": "none"}, False, True), ({"ips": False}, True, False)],
)
def test_either_module_can_be_trained_alone(
    toy: tuple[Pair, ...],
    micro_sam: Any,
    changes: dict[str, Any],
    apm: bool,
    ips: bool,
) -> None:
    config = _config(toy[:8], apm_epochs=1, ips_epochs=1, views=1, **changes)
    done = _last(train(config, micro_sam))
    assert done.adapter is not None
    assert (done.adapter.apm is not None) == apm
    assert (done.adapter.ips is not None) == ips
    assert ("automatic" in done.held_out) == apm


def test_broken_files_are_named_and_left_out(
    toy: tuple[Pair, ...], micro_sam: Any, tmp_path: Path
) -> None:
    broken = tmp_path / "broken.png"
    broken.write_bytes(b"no image")
    swapped = Pair(toy[0].image, tmp_path / "small.png")
    Image.fromarray(np.ones((5, 5), np.uint8)).save(swapped.mask)
    pairs = (Pair(broken, toy[0].mask), swapped, *toy[1:8])
    config = _config(pairs, apm_epochs=1, ips=False, held_out=toy[8:10])
    messages = [p.message for p in train(config, micro_sam) if "left out" in p.message]
    assert len(messages) == 2
    assert "broken.png" in messages[0]
    assert "its mask" in messages[1]


def test_empty_masks_teach_that_nothing_is_there(
    toy: tuple[Pair, ...], micro_sam: Any, tmp_path: Path
) -> None:
    empty = tmp_path / "empty.png"
    Image.fromarray(np.zeros((64, 64), np.uint8)).save(empty)
    nothing = tuple(Pair(pair.image, empty) for pair in toy[:4])
    config = _config(nothing + toy[4:8], held_out=toy[8:10], apm_epochs=1, ips_epochs=1)
    assert _last(train(config, micro_sam)).phase == "done"
    with pytest.raises(ValueError, match="every mask is empty"):
        _last(train(_config(nothing, held_out=toy[8:10]), micro_sam))


def test_a_group_is_never_divided(toy: tuple[Pair, ...]) -> None:
    pairs = tuple(
        Pair(pair.image, pair.mask, f"patient-{i // 5}") for i, pair in enumerate(toy)
    )
    training, held_out = divide(_config(pairs))
    assert {p.group for p in training}.isdisjoint(p.group for p in held_out)
    assert len(held_out) == 5
    one = tuple(Pair(pair.image, pair.mask, "one") for pair in toy)
    with pytest.raises(ValueError, match="one group"):
        divide(_config(one))


def test_too_small_a_disk_is_said_before_embedding(
    toy: tuple[Pair, ...], micro_sam: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_promise.training import trainer

    class Usage:
        free = 1000

    monkeypatch.setattr(trainer.shutil, "disk_usage", lambda _: Usage)
    with pytest.raises(ValueError, match="use fewer views or another cache folder"):
        _last(train(_config(toy), micro_sam))


def test_the_record_says_what_a_user_needs(
    toy: tuple[Pair, ...], micro_sam: Any, tmp_path: Path
) -> None:
    config = _config(
        toy[:8],
        output=tmp_path / "toy",
        apm_epochs=1,
        ips=False,
        class_name="disc",
        licence="toy use",
    )
    _last(train(config, micro_sam))
    record = json.loads((tmp_path / "toy" / "adapter.json").read_text())
    assert record["base_model"] == "micro"
    assert record["class_name"] == "disc"
    assert record["licence"] == "toy use"
    assert record["trained_on"] == "8 images"
    assert record["created"].endswith("+00:00")


def test_a_shift_that_does_not_help_is_left_out(
    toy: tuple[Pair, ...],
    micro_sam: Any,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    from napari_promise.training import trainer

    worse = {
        "automatic": 0.5,
        "frozen_automatic": 0.7,
        "gt_prompted": 0.6,
        "frozen_gt_prompted": 0.6,
    }
    monkeypatch.setattr(trainer._Run, "_scores", lambda *_, **__: dict(worse))
    config = _config(toy[:8], apm_epochs=1, ips_epochs=1, output=tmp_path / "toy")
    done = _last(train(config, micro_sam))
    assert "left out" in done.message
    adapter = load_adapter(tmp_path / "toy", micro_sam)
    assert adapter.ips is None
    assert not adapter.info.ips
    assert done.held_out["automatic"] == 0.7


def test_training_goes_on_from_an_earlier_adapter(
    toy: tuple[Pair, ...], micro_sam: Any, tmp_path: Path
) -> None:
    """An earlier adapter may come from another base: only shapes must fit."""
    first = _config(toy[:6], apm_epochs=1, ips_epochs=1, output=tmp_path / "toy")
    before = _last(train(first, micro_sam)).adapter
    micro_sam.sha256 = "1" * 64
    config = replace(
        first,
        output=None,
        start=tmp_path / "toy",
        seed=9,
        apm_rate=1e-9,
        ips_rate=1e-9,
    )
    after = _last(train(config, micro_sam)).adapter
    assert before is not None
    assert after is not None
    assert after.info.base_sha256 == "1" * 64
    assert after.apm is not None
    for name, value in after.apm.state_dict().items():
        torch.testing.assert_close(value, before.state_dict()[f"apm.{name}"])


def test_an_earlier_adapter_of_other_shapes_is_refused(
    toy: tuple[Pair, ...], micro_sam: Any, tmp_path: Path
) -> None:
    info = AdapterInfo("other", "vit_b", "2" * 64, ips=False)
    save_adapter(Adapter(info, HeatmapAPM([768] * 3)), tmp_path / "other")
    config = _config(toy[:4], start=tmp_path / "other")
    with pytest.raises(ValueError, match="built for vit_b"):
        _last(train(config, micro_sam))
