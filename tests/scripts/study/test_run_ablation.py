"""Runs of the ablation: what is trained, measured and kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from napari_promise.prompts import Prompts
from napari_promise.segmenter import Segmenter
from scripts.study import datasets, run_ablation, runs


@pytest.fixture
def skin(tmp_path: Path, micro_sam: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A set of discs in the place of the skin lesions, and a tiny base."""
    rng = np.random.default_rng(0)
    rows, columns = np.indices((40, 56))
    pairs = []
    for index in range(9):
        centre = rng.integers(14, 26, 2)
        truth = np.hypot(rows - centre[0], columns - centre[1]) <= 9
        picture = np.repeat((50 + 150 * truth)[..., None], 3, axis=2)
        image, mask = tmp_path / f"{index}.png", tmp_path / f"{index}-mask.png"
        Image.fromarray(picture.astype(np.uint8)).save(image)
        Image.fromarray(truth.astype(np.uint8) * 255).save(mask)
        pairs.append(datasets.Pair(image, mask, str(index)))
    parts = {"train": pairs[:5], "val": pairs[5:7], "test": pairs[7:]}
    monkeypatch.setattr(datasets, "load_parts", lambda name: parts)
    monkeypatch.setattr(run_ablation, "load_sam", lambda model: micro_sam)


SMALL = "--views 1 --apm-epochs 1 --ips-epochs 1 --ips-images 3".split()


def _run(folder: Path, *words: str) -> list[dict[str, Any]]:
    run_ablation.main(["--domain", "skin", *words, "--results", str(folder), *SMALL])
    return runs.read_all(folder)


def test_a_run_is_measured_in_every_way_and_told_with_its_costs(
    skin: None, tmp_path: Path
) -> None:
    (record,) = _run(tmp_path / "out", "--variant", "apm+ips", "--points", "3")
    assert record["file"] == "ablation-skin-apm-heatmap+ips-p3-all-s0.json"
    assert list(record["test"]["ph2"]) == ["auto", "auto+click:1", "gt:3", "click:1"]
    automatic = record["test"]["ph2"]["auto"]
    assert automatic["bootstrap"]["by"] == "group"
    assert {"automatic_dice", "frozen_automatic_dice"} <= set(automatic["summary"])
    assert record["images"] == {"training": 5, "choosing": 2}
    assert record["parameters"]["apm"] > 0
    assert {"embed", "apm", "ips", "all", "cpu"} <= set(record["seconds"])
    assert str(tmp_path) not in json.dumps(record)


def test_every_set_of_a_domain_is_measured_in_every_way(
    skin: None, tmp_path: Path
) -> None:
    words = ["--variant", "ips", "--points", "3", "--results", str(tmp_path), *SMALL]
    run_ablation.main(["--domain", "polyp", *words])
    (record,) = runs.read_all(tmp_path)
    assert list(record["test"]) == ["kvasir-seg", "cvc-clinicdb"]
    assert all(list(ways) == ["gt:3", "click:1"] for ways in record["test"].values())


def test_few_labels_choose_among_themselves(skin: None, tmp_path: Path) -> None:
    words = ("--variant", "ips", "--labels", "3", "--option", "zero_init=false")
    (record,) = _run(tmp_path / "out", *words)
    assert record["file"] == "ablation-skin-ips-p16-3-s0-zero_init=False.json"
    assert record["options"] == {"zero_init": False}
    assert record["images"] == {"training": 3, "choosing": 0}
    assert list(record["test"]["ph2"]) == ["gt:16", "click:1"]


def test_frozen_sam_is_measured_with_the_best_of_its_masks(
    skin: None, tmp_path: Path
) -> None:
    (record,) = _run(tmp_path / "out", "--variant", "frozen", "--points", "3")
    best = record["best_mask"]["ph2"]
    assert len(best["val_dice"]) == 4
    assert best["val_dice"][best["mask"]] == max(best["val_dice"])
    assert "frozen_gt_prompted_dice" not in record["test"]["ph2"]["gt:3"]["summary"]


def test_a_run_that_is_there_is_not_made_again(
    skin: None, tmp_path: Path, monkeypatch
) -> None:
    words = ("--variant", "frozen", "--points", "3")
    _run(tmp_path / "out", *words)
    monkeypatch.setattr(run_ablation, "run_frozen", pytest.fail)
    _run(tmp_path / "out", *words)


def test_no_time_to_train_is_an_error_and_leaves_no_record(
    skin: None, tmp_path: Path
) -> None:
    with pytest.raises(ValueError, match="nothing was trained in 0.0 minutes"):
        _run(tmp_path / "out", "--variant", "apm", "--minutes", "0")
    assert list((tmp_path / "out").glob("*")) == []


def test_an_option_that_training_does_not_know_is_refused() -> None:
    assert run_ablation.parsed(["auxiliary=0", "schedule=constant"]) == {
        "auxiliary": 0,
        "schedule": "constant",
    }
    with pytest.raises(ValueError, match="a field of TrainConfig"):
        run_ablation.parsed(["speed=9"])


@pytest.mark.parametrize("token", range(4))
def test_a_fixed_mask_is_the_one_that_sam_draws_there(
    token: int, micro_sam: Any
) -> None:
    from napari_promise.model import promise

    segmenter = run_ablation.FixedMask(micro_sam)
    segmenter.token = token
    image = np.random.default_rng(0).integers(0, 255, (40, 56, 3), dtype=np.uint8)
    emb = Segmenter.encode(segmenter, image)
    prompts = Prompts(points=[(20, 30), (3, 4)], labels=[1, 0])
    drawn = segmenter.segment(emb, prompts)
    if token == 0:
        expected = Segmenter(micro_sam).segment(emb, prompts, multimask=False)
        np.testing.assert_array_equal(drawn.mask, expected.mask)
    low, _ = promise.decode(
        micro_sam,
        emb,
        points_xy=_tensor(prompts.points_xy()),
        labels=_tensor(prompts.labels),
        multimask=token > 0,
    )
    expected_low = low[0, max(0, token - 1)].detach().numpy()
    np.testing.assert_allclose(drawn.logits[0], expected_low, atol=1e-2)


def test_an_image_is_encoded_once_for_all_runs(micro_sam: Any, monkeypatch) -> None:
    encoded = []
    encode = Segmenter.encode
    monkeypatch.setattr(
        Segmenter, "encode", lambda *a, **k: encoded.append(1) or encode(*a, **k)
    )
    image = np.zeros((40, 56), np.uint8)
    for _ in range(2):
        emb = runs.CachedSegmenter(micro_sam).encode(image)
    assert len(encoded) == 1
    assert emb.original_size == (40, 56)


def _tensor(array: np.ndarray) -> Any:
    import torch

    return torch.tensor(array, dtype=torch.float32)[None]


def test_what_a_run_kept_can_be_shipped(
    skin: None, tmp_path: Path, micro_sam: Any
) -> None:
    from napari_promise.model.adapters import load_adapter
    from scripts.study import train_adapters

    kept = tmp_path / "kept"
    _run(tmp_path / "out", "--variant", "apm+ips", "--points", "3", "--keep", str(kept))
    (folder,) = kept.iterdir()
    train_adapters.take("skin", folder, micro_sam, tmp_path / "skin")
    info = load_adapter(tmp_path / "skin", micro_sam).info
    assert (info.name, info.class_name) == ("skin", "skin lesion")
    assert info.trained_on == "train parts: 5 ph2 images"
    assert "PH2" in info.licence


def test_frozen_sam_stands_beside_a_mask_that_looks_at_nothing(
    skin: None, tmp_path: Path
) -> None:
    (record,) = _run(tmp_path / "out", "--variant", "frozen", "--points", "3")
    constant = record["constant_mask"]["ph2"]
    assert 0.3 < constant < 1  # discs of one size near the middle


def test_few_labels_are_trained_on_as_the_dock_would(
    skin: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[Any] = []
    sound = run_ablation.train

    def spy(config: Any, sam: Any) -> Any:
        asked.append(config)
        return sound(config, sam)

    monkeypatch.setattr(run_ablation, "train", spy)
    _run(tmp_path / "out", "--variant", "ips", "--points", "3", "--labels", "4")
    (config,) = asked
    assert config.patience == 8  # of the recipe
    assert config.views == 1  # what was said goes first
