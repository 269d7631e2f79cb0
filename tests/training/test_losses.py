from __future__ import annotations

import torch

from napari_promise.training.losses import mask_loss


def test_a_perfect_mask_costs_nothing_and_a_confident_mistake_much() -> None:
    target = torch.zeros(1, 1, 8, 8)
    target[..., :4] = 1
    inside = torch.ones(1, 1, 8, 8)
    right = (target - 0.5) * 40
    assert mask_loss(right, target, inside) < 1e-3
    assert mask_loss(-right, target, inside) > 10


def test_a_confident_mistake_still_has_a_gradient() -> None:
    """The authors' code applies the sigmoid twice, and there it vanishes."""
    target, inside = torch.ones(1, 1, 8, 8), torch.ones(1, 1, 8, 8)
    logits = torch.full((1, 1, 8, 8), -20.0, requires_grad=True)
    mask_loss(logits, target, inside).backward()
    assert logits.grad is not None
    assert logits.grad.sum() < -0.9


def test_the_padding_does_not_count() -> None:
    target = torch.zeros(1, 1, 8, 8)
    inside = torch.ones(1, 1, 8, 8)
    inside[..., 4:, :] = 0
    logits = torch.full((1, 1, 8, 8), -20.0)
    clean = mask_loss(logits, target, inside)
    logits[..., 4:, :] = 20
    torch.testing.assert_close(mask_loss(logits, target, inside), clean)
