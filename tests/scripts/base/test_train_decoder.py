"""The trainer of promise-medical's decoder: its losses, its rounds, its resumption."""

from __future__ import annotations

import argparse
import json

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from napari_promise.model.litemedsam import build_promise_medical
from scripts.base import train_decoder, view_store
from scripts.base.lean_decoder import fine
from scripts.base.prompting import Prompt, episode_loss
from scripts.base.train_decoder import (
    Recipe,
    on_pixels,
    round_loss,
    share_of_rate,
    some_cells,
    train,
)


@pytest.fixture
def truth():
    masks = torch.zeros(2, 256, 256)
    masks[0, 30:90, 40:100] = 1
    masks[1, 100:140, 100:220] = 1
    return masks


def chosen_of(masks: torch.Tensor, cells: train_decoder.Cells) -> torch.Tensor:
    """Masks (N, 4, S, S) on some cells."""
    every = torch.stack([fine(masks[:, token]) for token in range(4)], 1)
    index = cells.chosen[:, None, :, None].expand(-1, 4, -1, 16)
    return every.gather(2, index)


@pytest.mark.parametrize("ambiguous", [False, True])
def test_on_all_cells_the_loss_is_that_of_whole_masks(truth, ambiguous):
    torch.manual_seed(0)
    masks = torch.randn(2, 4, 256, 256) + 2 * truth[:, None] - 1
    quality = torch.rand(2, 4)
    cells = some_cells(np.random.default_rng(0), truth, None, 4096)
    ours = round_loss(chosen_of(masks, cells), quality, cells, ambiguous, 0.0)
    assert ours == pytest.approx(
        float(episode_loss(masks, quality, truth, ambiguous)), rel=1e-4
    )


def test_on_some_cells_it_is_nearly_that(truth):
    torch.manual_seed(0)
    masks = torch.randn(2, 4, 256, 256) + 2 * truth[:, None] - 1
    quality = torch.zeros(2, 4)
    whole = float(episode_loss(masks, quality, truth, False))
    losses = []
    for seed in range(5):
        cells = some_cells(np.random.default_rng(seed), truth, None, 1024)
        assert cells.weight.sum(1).flatten().tolist() == pytest.approx([4096, 4096])
        assert all(len(set(row)) == 1024 for row in cells.chosen.tolist())
        losses.append(
            float(round_loss(chosen_of(masks, cells), quality, cells, False, 0))
        )
    assert np.mean(losses) == pytest.approx(whole, rel=0.03)


def test_what_the_guess_took_wrongly_is_among_the_cells(truth):
    guess = torch.zeros(2, 256, 256, dtype=torch.bool)
    guess[:, 240:, 240:] = True
    cells = some_cells(np.random.default_rng(0), truth, guess, 1024)
    corner = 64 * 62 + 62
    assert all(corner in row for row in cells.chosen.tolist())


def test_choosing_the_better_of_three_masks_costs_less(truth):
    masks = torch.stack([8 * (2 * truth - 1) * k for k in (1, 1, -1, -1)], 1)
    cells = some_cells(np.random.default_rng(0), truth, None, 1024)
    drawn = chosen_of(masks, cells)
    right, wrong = torch.zeros(2, 4), torch.zeros(2, 4)
    right[:, 1], wrong[:, 2] = 0.5, 0.5
    costs = [float(round_loss(drawn, q, cells, True, 1.0)) for q in (right, wrong)]
    assert costs[0] < costs[1] - 1


def test_a_click_lands_on_a_pixel_of_the_picture():
    prompt = Prompt(torch.tensor([[[10.0, 21.0]]]), torch.ones(1, 1))
    enlarged = on_pixels(prompt, 4.0).points[0, 0].tolist()
    assert enlarged == [8, 20]  # pixels 2 and 5, four of the encoder's each
    reduced = on_pixels(prompt, 0.5).points[0, 0].tolist()
    assert reduced == pytest.approx([10.5, 21.5])


def test_the_rate_warms_up_and_ends_low():
    assert share_of_rate(0, 900) < share_of_rate(60, 900) > share_of_rate(500, 900)
    assert share_of_rate(900, 900) == pytest.approx(0.02)


@pytest.fixture
def views(tmp_path, monkeypatch):
    """Two views with random embeddings, and weights to start from."""
    store = view_store.open_store(tmp_path / "views", capacity=2)
    rng = np.random.default_rng(0)
    for index in range(2):
        store.embeddings[index] = rng.normal(0, 0.2, (256, 64, 64))
        store.layers[index, 50 : 90 + 20 * index, 60:120] = 1
        store.facts[index] = (256, 256, 0.5, 0)
    (tmp_path / "views" / "count.json").write_text(json.dumps({"views": 2}))
    torch.manual_seed(0)
    full = build_promise_medical().state_dict()
    own = {k: v.half() for k, v in full.items() if not k.startswith("image_encoder.")}
    save_file(own, tmp_path / "start.safetensors")
    return tmp_path


def test_a_run_goes_on_from_its_step_and_keeps_its_average(views, monkeypatch):
    monkeypatch.setattr(train_decoder, "build_promise_medical", _without_encoder)
    args = argparse.Namespace(
        views=views / "views",
        held_out=None,
        measure_every=9,
        start=views / "start.safetensors",
        out=views / "run",
        resume=False,
        stop_after=None,
    )
    train(args, Recipe(steps=1, batch=1, objects=1, cells=256))
    first = json.loads((views / "run" / "recipe.json").read_text())
    assert first["steps_done"] == 1
    args.resume = True
    train(args, Recipe(steps=2, batch=1, objects=1, cells=256))
    second = json.loads((views / "run" / "recipe.json").read_text())
    assert second["steps_done"] == 2
    args.stop_after = 0
    train(args, Recipe(steps=9, batch=1, objects=1, cells=256))
    third = json.loads((views / "run" / "recipe.json").read_text())
    assert third["steps_done"] == 2
    weights = load_file(views / "run" / "promise-medical.safetensors")
    before = load_file(views / "start.safetensors")
    assert weights.keys() == before.keys()
    assert all(tensor.dtype == torch.float16 for tensor in weights.values())
    name = "mask_decoder.mask_tokens.weight"
    assert not torch.equal(weights[name], before[name])


def _without_encoder():
    sam = build_promise_medical()
    sam.image_encoder = torch.nn.Identity()
    return sam
