"""Prompts, losses and the schedule of the training of promise-tiny."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from napari_promise.depth import deepest
from napari_promise.training.simulated_prompts import bounding_box, next_click
from scripts.base.clicks import largest
from scripts.base.episodes import Sample
from scripts.base.prompting import (
    correct,
    episode_loss,
    first_prompt,
    mask_losses,
    phantom,
    to_xy,
)
from scripts.base.train_base import learning_rate


@pytest.fixture
def square():
    mask = np.zeros((64, 64), bool)
    mask[10:31, 20:41] = True
    return mask


def test_a_click_falls_on_the_centre_of_the_largest_error(square):
    assert deepest(square) == (20, 30)
    assert next_click(np.zeros_like(square), square) == ((20, 30), 1)
    too_much = square.copy()
    too_much[40:60, 40:60] = True
    point, label = next_click(too_much, square)
    assert label == 0
    assert too_much[point]
    assert not square[point]
    assert next_click(square, square) is None


def test_only_the_largest_part_counts(square):
    both = square.copy()
    both[50:53, 50:53] = True
    assert np.array_equal(largest(both), square)
    assert bounding_box(square) == (9.5, 19.5, 30.5, 40.5)


@pytest.mark.parametrize("seed", range(12))
def test_first_prompts_agree_with_the_truth(square, seed):
    truth = np.stack([square, square.T])
    prompt = first_prompt(np.random.default_rng(seed), truth)
    for mask, points, labels in zip(truth, prompt.points, prompt.labels, strict=True):
        for (x, y), label in zip(points.tolist(), labels.tolist(), strict=True):
            assert mask[int(y) // 2, int(x) // 2] == bool(label)
    if prompt.boxes is not None:
        x0, y0, x1, y1 = prompt.boxes[0].tolist()
        assert abs(x0 - 40) < 12
        assert abs(y0 - 20) < 12
        assert x1 > x0
        assert y1 > y0


def test_a_correction_adds_a_click_and_the_previous_logits(square):
    truth = np.stack([square, square])
    rng = np.random.default_rng(0)
    prompt = first_prompt(rng, truth)
    logits = torch.full((2, 1, 64, 64), -30.0)
    after = correct(rng, prompt, logits, truth)
    assert after.labels.shape[1] == prompt.labels.shape[1] + 1
    assert (after.labels[:, -1] == 1).all()
    assert after.logits.min() == -20
    assert to_xy((3, 5)) == (10.5, 6.5)


def test_a_right_mask_costs_less_than_a_wrong_one(square):
    truth = torch.from_numpy(square.astype(np.float32))[None]
    right = (truth * 2 - 1)[:, None] * 8
    losses = mask_losses(torch.cat([right, -right], 1), truth)
    assert losses[0, 0] < 0.05
    assert losses[0, 1] > 5


def test_of_the_ambiguous_masks_the_best_is_trained_most_and_none_is_forgotten(square):
    truth = torch.from_numpy(square.astype(np.float32))[None]
    masks = torch.stack([(truth * 2 - 1) * k for k in (1.0, 3.0, 1.0, -1.0)], 1)
    masks.requires_grad_()
    episode_loss(masks, torch.zeros(1, 4), truth, ambiguous=True).backward()
    pull = masks.grad.abs().sum((0, 2, 3))
    alone = masks.detach().clone().requires_grad_()
    mask_losses(alone, truth).sum().backward()
    share = (pull / alone.grad.abs().sum((0, 2, 3))).tolist()
    assert share[0] == pytest.approx(1, rel=1e-4)  # the single mask
    assert share[1] == pytest.approx(0.8 + 0.2 / 3, rel=1e-4)
    assert share[2] == pytest.approx(0.2 / 3, rel=1e-4)
    assert share[3] == pytest.approx(0.2 / 3, rel=1e-4)


def test_a_box_is_learnt_as_people_and_programs_draw_it(square):
    # the mask's cells are two input pixels; the picture's pixels are four
    rng = np.random.default_rng(0)
    drawn = [first_prompt(rng, square[None], "box", scale=4.0) for _ in range(60)]
    boxes = np.array([prompt.boxes[0].numpy() for prompt in drawn])
    x0, y0, x1, y1 = np.median(boxes, 0)
    # between outermost pixel centres, in SAM's scaling: from 40 to 82 - 4
    assert any(np.abs(box - [40, 20, 78, 58]).max() < 0.71 for box in boxes)
    # on the outer edges, as `bounding_box` has it
    assert any(np.abs(box - [38, 18, 80, 60]).max() < 0.71 for box in boxes)
    # half-open
    assert any(np.abs(box - [40, 20, 82, 62]).max() < 0.71 for box in boxes)
    assert 38 <= x0 <= 40
    assert 18 <= y0 <= 20
    assert 78 <= x1 <= 82
    assert 58 <= y1 <= 62


def test_the_rate_warms_up_and_ends_low():
    assert learning_rate(0.0, 0) < learning_rate(0.01, 99)
    assert (
        learning_rate(0.5, 1000) > learning_rate(0.9, 1000) > learning_rate(1.0, 1000)
    )
    assert learning_rate(1.0, 1000) == pytest.approx(0.02)


def test_a_phantom_stays_on_the_picture_and_is_not_empty():
    sample = Sample(
        np.zeros((128, 128, 3), np.uint8), (128, 80), np.zeros((3, 64, 64), np.float32)
    )
    rng = np.random.default_rng(0)
    for _ in range(20):
        truth = phantom(rng, sample).truth
        assert (truth.sum((1, 2)) >= 16).all()
        assert not truth[:, :, 40:].any()
    assert not sample.truth.any()


def test_the_kind_of_the_first_prompt_can_be_asked_for(square):
    prompt = first_prompt(np.random.default_rng(0), square[None], "box")
    assert prompt.boxes.shape == (1, 4)
    assert prompt.labels.numel() == 0
