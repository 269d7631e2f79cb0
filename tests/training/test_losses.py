from __future__ import annotations

import torch

from napari_promise.training.losses import mask_loss, point_loss, signed_distance


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


def _disc() -> tuple[torch.Tensor, torch.Tensor]:
    """Disc of radius 12 at (row 20, column 40) of 64 cells, in a frame with padding."""
    rows, columns = torch.meshgrid(torch.arange(64), torch.arange(64), indexing="ij")
    target = ((rows - 20) ** 2 + (columns - 40) ** 2 <= 144).float()[None, None]
    inside = torch.ones(1, 1, 64, 64)
    inside[..., 48:, :] = 0
    return target, inside


def test_points_where_they_should_be_cost_nothing() -> None:
    distance = signed_distance(*_disc())
    labels = torch.tensor([1, 1, 0, 0])
    right = torch.tensor([[[40, 20], [44, 24], [20, 20], [40, 40]]]) / 64
    wrong = torch.tensor([[[10, 20], [44, 60], [40, 20], [38, 22]]]) / 64
    assert point_loss(right, labels, distance) == 0
    assert point_loss(wrong, labels, distance) > 0.1


def test_a_positive_point_is_drawn_towards_the_object_and_a_negative_one_away() -> None:
    distance = signed_distance(*_disc())
    points = (torch.tensor([[[10.0, 20.0], [34.0, 20.0]]]) / 64).requires_grad_()
    point_loss(points, torch.tensor([1, 0]), distance).backward()
    assert points.grad is not None
    assert points.grad[0, 0, 0] < 0  # against the gradient is to the right
    assert points.grad[0, 1, 0] > 0  # to the left, where the outline is near


def test_points_of_a_kind_are_kept_apart_and_empty_images_left_out() -> None:
    target, inside = _disc()
    distance = signed_distance(target, inside)
    labels = torch.tensor([1, 1])
    together = torch.tensor([[[0.62, 0.31], [0.63, 0.31]]])
    apart = torch.tensor([[[0.58, 0.31], [0.67, 0.31]]])
    assert point_loss(together, labels, distance) > point_loss(apart, labels, distance)
    nothing = signed_distance(torch.zeros_like(target), inside)
    points = together.clone().requires_grad_()
    loss = point_loss(points, labels, nothing)
    loss.backward()
    assert loss == 0
    assert torch.isfinite(signed_distance(target, inside)).all()
