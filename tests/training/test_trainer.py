from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import nullcontext
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
from napari_promise.model.sam import encode_image
from napari_promise.segmenter import Segmenter
from napari_promise.training import embedder, trainer
from napari_promise.training.config import TrainConfig
from napari_promise.training.embedder import Embedder
from napari_promise.training.evaluate import evaluate
from napari_promise.training.split import split
from napari_promise.training.trainer import Progress, train
from napari_promise.training.view_cache import ViewCache


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


@pytest.mark.slow
def test_a_toy_domain_is_learned_above_chance(
    toy: tuple[Pair, ...], micro_sam: Any, tmp_path: Path
) -> None:
    """The encoder is random, yet the prompter finds the red discs, not the blue."""
    before = {k: v.clone() for k, v in micro_sam.state_dict().items()}
    phases: dict[str, list[Progress]] = {}
    config = _config(toy[:24], output=tmp_path / "toy", keep_cache=False)
    for progress in train(replace(config, cache=tmp_path), micro_sam):
        phases.setdefault(progress.phase, []).append(progress)
    assert list(phases) == ["embed", "apm", "ips", "score", "done"]
    assert "44 views to encode: 0.00 GB in" in phases["embed"][0].message
    assert all(p.eta is not None for p in phases["apm"])
    losses = [p.loss for p in phases["apm"] if p.loss is not None]
    assert losses[-1] < 0.7 * losses[0]
    after = micro_sam.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before)
    assert all(parameter.grad is None for parameter in micro_sam.parameters())
    files = ["adapter.json", "adapter.safetensors", "curves.csv", "curves.png"]
    assert sorted(path.name for path in (tmp_path / "toy").iterdir()) == files
    # of the cache that was not to be kept nothing is left
    assert not list(tmp_path.glob("promise-train-*"))

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


@pytest.mark.slow
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
    run = train(_config(toy[:12], output=tmp_path / "toy"), micro_sam)
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


def _resumed(config: TrainConfig, sam: Any) -> tuple[list[Progress], Adapter]:
    steps = list(train(replace(config, resume=True), sam))
    assert steps[-1].adapter is not None
    return steps, steps[-1].adapter


def _equal(first: Adapter, second: Adapter) -> bool:
    values = second.state_dict()
    return first.state_dict().keys() == values.keys() and all(
        torch.equal(value, values[name]) for name, value in first.state_dict().items()
    )


@pytest.mark.slow
@pytest.mark.parametrize("phase", ["apm", "ips"])
def test_a_run_that_died_goes_on_and_ends_in_the_same_adapter(
    toy: tuple[Pair, ...],
    micro_sam: Any,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    phase: str,
) -> None:
    config = _config(toy[:8], apm_epochs=3, ips_epochs=3, output=tmp_path / "whole")
    whole = _last(train(config, micro_sam))
    assert whole.adapter is not None
    died = replace(config, output=tmp_path / "died")
    run = train(died, micro_sam)
    for progress in run:
        # in the middle of a pass, after some of this phase
        if progress.phase == phase and progress.step > 0.7 * progress.total:
            break
    with monkeypatch.context() as patch:  # a killed process writes nothing any more
        patch.setattr(trainer._Run, "save", lambda *_, **__: None)
        run.close()  # type: ignore[attr-defined]
    assert not (tmp_path / "died" / "adapter.json").exists()
    steps, adapter = _resumed(died, micro_sam)
    assert any("resumed after pass" in step.message for step in steps)
    assert [step.step for step in steps if step.phase == "apm"][:1] != [1]
    assert _equal(adapter, whole.adapter)
    curves = [
        (tmp_path / name / "curves.csv").read_text() for name in ("whole", "died")
    ]
    assert curves[0] == curves[1]
    assert not list((tmp_path / "died").glob("*training.state*"))


#: A run in a process of its own; it says where it stands, one line a step.
PROCESS = """
import json, sys
from pathlib import Path
from napari_promise.data.pairs import Pair
from napari_promise.training.config import TrainConfig
from napari_promise.training.trainer import train
from tests.conftest import build_micro_sam

values = json.loads(sys.argv[1])
pairs = tuple(Pair(Path(image), Path(mask)) for image, mask in values.pop("pairs"))
output, cache = Path(values.pop("output")), Path(values.pop("cache"))
config = TrainConfig(pairs=pairs, output=output, cache=cache, **values)
for progress in train(config, build_micro_sam()):
    print(progress.phase, progress.step, flush=True)
"""


@pytest.mark.slow
def test_a_process_killed_at_any_moment_can_be_resumed(
    toy: tuple[Pair, ...], micro_sam: Any, tmp_path: Path
) -> None:
    config = _config(toy[:8], apm_epochs=3, ips=False, output=tmp_path / "killed")
    config = replace(config, cache=tmp_path / "views")
    values = {
        name: getattr(config, name)
        for name in ("points", "views", "apm_epochs", "apm_batch", "apm_rate")
    }
    values |= {"ips": False, "ips_epochs": 2, "ips_images": 8, "seed": 3}
    values |= {"output": str(config.output), "cache": str(config.cache)}
    values |= {"pairs": [(str(p.image), str(p.mask)) for p in config.pairs]}
    values |= {"name": "toy", "model": "micro"}
    command = [sys.executable, "-c", PROCESS, json.dumps(values)]
    root = Path(__file__).parents[2]
    with subprocess.Popen(
        command, stdout=subprocess.PIPE, text=True, cwd=root
    ) as process:
        assert process.stdout is not None
        for line in process.stdout:
            if line == "apm 6\n":  # of nine: in the second of three passes
                process.kill()
    assert process.returncode != 0
    assert not (tmp_path / "killed" / "adapter.json").exists()
    steps, adapter = _resumed(config, micro_sam)
    assert any("resumed after pass" in step.message for step in steps)
    whole = _last(train(replace(config, output=None), micro_sam)).adapter
    assert whole is not None
    assert _equal(adapter, whole)


def test_a_run_with_other_settings_does_not_go_on(
    toy: tuple[Pair, ...], micro_sam: Any, tmp_path: Path
) -> None:
    config = _config(toy[:6], apm_epochs=2, ips=False, output=tmp_path / "toy")
    run = train(config, micro_sam)
    for progress in run:
        if progress.phase == "apm" and progress.held_out:
            break
    run.close()  # type: ignore[attr-defined]
    for changes in ({"seed": 9}, {"pairs": toy[:5]}):
        other = replace(config, resume=True, **changes)
        with pytest.raises(ValueError, match="other images, settings or base model"):
            _last(train(other, micro_sam))
    anew = replace(config, output=tmp_path / "new")
    steps, _ = _resumed(anew, micro_sam)
    assert any("nothing to resume" in step.message for step in steps)


def test_a_second_run_encodes_nothing(
    toy: tuple[Pair, ...], micro_sam: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded = []

    def counted(sam: Any, rgb: Any, **options: Any) -> Any:
        encoded.append(rgb.shape)
        return encode_image(sam, rgb, **options)

    monkeypatch.setattr(embedder, "encode_image", counted)
    config = _config(toy[:6], held_out=toy[6:8], apm_epochs=1, ips=False)
    first = _last(train(config, micro_sam)).adapter
    # two views of six images and two held-out ones
    assert len(encoded) == 14
    second = _last(train(config, micro_sam)).adapter
    assert len(encoded) == 14
    assert first is not None
    assert second is not None
    assert _equal(first, second)
    # IPS reads the embedding after the neck too, of which training views had none
    _last(train(replace(config, ips=True, ips_epochs=1), micro_sam))
    assert len(encoded) == 14 + 12
    # another mask of the same image changes no embedding
    shifted = Pair(toy[0].image, toy[1].mask)
    _last(train(replace(config, pairs=(shifted, *toy[1:6])), micro_sam))
    assert len(encoded) == 14 + 12
    micro_sam.sha256 = "3" * 64
    _last(train(config, micro_sam))
    assert len(encoded) == 14 + 12 + 14


def test_more_than_half_broken_is_an_error(
    toy: tuple[Pair, ...], micro_sam: Any, tmp_path: Path
) -> None:
    broken = tuple(Pair(tmp_path / f"{i}.png", toy[0].mask) for i in range(4))
    config = _config(broken + toy[:2], held_out=toy[2:3])
    with pytest.raises(ValueError, match=r"4 of 7 pairs cannot be used.*0\.png"):
        _last(train(config, micro_sam))


def test_labels_of_any_depth_are_foreground_and_empty_masks_are_counted(
    toy: tuple[Pair, ...], micro_sam: Any, tmp_path: Path
) -> None:
    mask = np.asarray(Image.open(toy[0].mask)) > 0
    instances = mask * (1 + np.indices(mask.shape)[0] // 20 * 400)
    deep = Pair(toy[0].image, tmp_path / "deep.png")
    Image.fromarray(instances.astype(np.uint16)).save(deep.mask)
    empty = Pair(toy[1].image, tmp_path / "empty.png")
    Image.fromarray(np.zeros_like(mask, np.uint8)).save(empty.mask)
    sam = micro_sam
    options = {"training_parts": ("levels",), "held_out_parts": ("levels",)}
    found = Embedder(
        sam,
        ViewCache(tmp_path / "views"),
        views_each=2,
        autocast=nullcontext,
        precision="float32",
        **options,  # type: ignore[arg-type]
    )
    assert [step.done for step in found.run([toy[0], deep, empty], [toy[2]])][-1] == 7
    plain, labels = (found.training.target_and_inside(at, 32)[0] for at in (0, 1))
    assert torch.equal(plain, labels)
    assert set(found.training.with_object) <= {0, 1, 3, 4}
    assert "1 of 3 training masks are empty" in found.summary()


def test_time_left_is_that_of_the_whole_run(
    toy: tuple[Pair, ...], micro_sam: Any
) -> None:
    config = _config(toy[:6], apm_epochs=1, ips_epochs=1)
    last: dict[str, Progress] = {}
    for progress in train(config, micro_sam):
        if not progress.message:
            last[progress.phase] = progress
    # at the end of a phase the phases after it are still to come
    assert last["apm"].step == last["apm"].total
    assert last["apm"].eta is not None
    assert last["apm"].eta > 0
    assert last["ips"].eta is not None


def test_sets_named_by_their_groups_are_scored_alone_too(
    toy: tuple[Pair, ...], micro_sam: Any, tmp_path: Path
) -> None:
    held_out = tuple(
        Pair(pair.image, pair.mask, f"{'left' if i < 2 else 'right'}/{i}")
        for i, pair in enumerate(toy[:4])
    )
    config = _config(
        toy[4:8], held_out=held_out, apm_epochs=1, ips=False, output=tmp_path / "toy"
    )
    _last(train(config, micro_sam))
    scores = load_adapter(tmp_path / "toy").info.scores
    both = scores["held out in training"]
    left, right = (scores[f"held out in training, {s}"] for s in ("left", "right"))
    for kind in ("automatic", "frozen_gt_prompted"):
        assert abs((left[kind] + right[kind]) / 2 - both[kind]) < 1e-3


@pytest.mark.slow
@pytest.mark.parametrize(
    ("apm", "changes"),
    [
        ("cross", {"points": 3}),
        ("cross", {"points": 5, "ips": False, "mask_choice": "paper"}),
        ("resnet", {"schedule": "constant", "auxiliary": 0.0, "double_sigmoid": True}),
    ],
)
def test_the_papers_prompters_learn_through_the_decoder(
    toy: tuple[Pair, ...],
    micro_sam: Any,
    apm: str,
    changes: dict[str, Any],
) -> None:
    config = _config(toy[:5], apm=apm, apm_rate=None, views=1, ips_epochs=1)
    done = _last(train(replace(config, apm_epochs=1, **changes), micro_sam))
    adapter = done.adapter
    assert adapter is not None
    assert adapter.info.apm == apm
    assert "automatic" in done.held_out
    assert "map" not in done.held_out
    emb = encode_image(micro_sam, np.zeros((64, 48, 3), np.uint8))
    found = Segmenter(micro_sam, adapter).propose(emb)
    assert len(found.points) == changes.get("points", 6)


def test_closing_before_anything_is_learned_writes_nothing(
    toy: tuple[Pair, ...], micro_sam: Any, tmp_path: Path
) -> None:
    run = train(_config(toy[:8], output=tmp_path / "toy"), micro_sam)
    next(run)
    run.close()  # type: ignore[attr-defined]
    assert not (tmp_path / "toy").exists()


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
    steps = list(train(config, micro_sam))
    messages = [p.message for p in steps if p.message.startswith("left out")]
    assert len(messages) == 2
    assert "broken.png" in messages[0]
    assert "64 x 64 pixels" in messages[1]
    assert "small.png 5 x 5" in messages[1]
    assert "2 pairs were left out" in steps[-1].message


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


def test_masks_that_look_wrong_are_told_from_those_that_are_empty(
    toy: tuple[Pair, ...], micro_sam: Any, tmp_path: Path
) -> None:
    full, small = np.ones((64, 64), np.uint8), np.zeros((64, 64), np.uint8)
    small[30, 31] = 1
    pairs = []
    for name, mask in (("full", full), ("small", small)):
        pairs.append(Pair(toy[0].image, tmp_path / f"{name}.png"))
        Image.fromarray(mask).save(pairs[-1].mask)
    config = _config((*pairs, toy[1]), held_out=toy[8:9], apm_epochs=1, ips=False)
    message = _last(train(config, micro_sam)).message
    assert "1 of 3 training masks are foreground for more than 80%" in message
    assert "on 1 of 3 training images every object is too small" in message
    assert "empty" not in message
    with pytest.raises(ValueError, match="every object is too small"):
        _last(train(_config(tuple(pairs[1:]), held_out=toy[8:9]), micro_sam))


def test_a_group_is_never_divided(toy: tuple[Pair, ...]) -> None:
    pairs = tuple(
        Pair(pair.image, pair.mask, f"patient-{i // 5}") for i, pair in enumerate(toy)
    )
    training, held_out = split(_config(pairs))
    assert {p.group for p in training}.isdisjoint(p.group for p in held_out)
    assert len(held_out) == 5
    one = tuple(Pair(pair.image, pair.mask, "one") for pair in toy)
    with pytest.raises(ValueError, match="one group"):
        split(_config(one))


def test_too_small_a_disk_is_said_before_embedding(
    toy: tuple[Pair, ...], micro_sam: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    from napari_promise.training import view_cache

    class Usage:
        free = 1000

    monkeypatch.setattr(view_cache.shutil, "disk_usage", lambda _: Usage)
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
    worse = {
        "automatic": 0.5,
        "frozen_automatic": 0.7,
        "corrected": 0.6,
        "frozen_corrected": 0.8,
        "gt_prompted": 0.9,  # not what an adapter that prompts is used for
        "frozen_gt_prompted": 0.6,
    }

    monkeypatch.setattr(trainer, "dice", lambda _: dict(worse))
    config = _config(toy[:8], apm_epochs=1, ips_epochs=1, output=tmp_path / "toy")
    done = _last(train(config, micro_sam))
    assert "left out" in done.message
    adapter = load_adapter(tmp_path / "toy", micro_sam)
    assert adapter.ips is None
    assert not adapter.info.ips
    assert done.held_out["automatic"] == 0.7
    assert done.held_out["corrected"] == 0.8


@pytest.mark.slow
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


@pytest.mark.slow
def test_a_run_that_gives_way_yields_soon_and_ends_in_the_same_adapter(
    toy: tuple[Pair, ...], micro_sam: Any, tmp_path: Path
) -> None:
    config = _config(toy[:8], apm_epochs=2, ips_epochs=1, cache=tmp_path / "calm")
    calm = list(train(config, micro_sam))
    asked = 0

    def now_and_then() -> bool:
        nonlocal asked
        asked += 1
        # somebody who waits for ever would keep the encoder from ever ending
        return asked < 100 and asked % 3 == 0

    config = replace(config, cache=tmp_path / "busy")
    busy = list(train(config, micro_sam, give_way=now_and_then))
    assert len(busy) > len(calm)
    assert busy[-1].held_out == calm[-1].held_out
    assert [p.row for p in busy if p.row] == [p.row for p in calm if p.row]
    assert any(p.adapter is not None for p in busy[:-1])
    assert busy[-1].adapter is not None
    assert calm[-1].adapter is not None
    assert _equal(busy[-1].adapter, calm[-1].adapter)


def test_a_better_pass_hands_out_a_snapshot_that_later_passes_leave_alone(
    toy: tuple[Pair, ...], micro_sam: Any
) -> None:
    """Compared with the mask in use while the run goes on, it must not move."""
    config = _config(toy[:8], apm_epochs=3, ips_epochs=1)
    kept: list[tuple[Adapter, dict[str, Any]]] = []
    for progress in train(config, micro_sam):
        if progress.adapter is not None and progress.phase != "done":
            state = progress.adapter.state_dict()
            kept.append(
                (progress.adapter, {name: v.clone() for name, v in state.items()})
            )
    assert kept
    for adapter, then in kept:
        now = adapter.state_dict()
        assert all(torch.equal(value, now[name]) for name, value in then.items())
