from __future__ import annotations

from typing import Any

import pytest
import torch

from napari_promise.model.batched_decode import decode_images
from napari_promise.model.promise import decode_frame


@pytest.mark.parametrize("multimask", [True, False])
@pytest.mark.parametrize("shifted", [True, False])
@pytest.mark.parametrize("with_mask", [True, False])
def test_a_batch_of_images_is_decoded_as_one_by_one(
    micro_sam: Any, multimask: bool, shifted: bool, with_mask: bool
) -> None:
    generator = torch.Generator().manual_seed(0)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator)

    images, points = draw(3, 32, 8, 8), 20 * draw(3, 5, 2) + 32
    labels = torch.tensor([[1, 1, 0, 0, -1]]).expand(3, -1)
    logits = draw(3, 1, 32, 32) if with_mask else None
    delta = draw(3, 4, 32) if shifted else None
    found = decode_images(
        micro_sam,
        images,
        (points, labels),
        mask_logits=logits,
        multimask=multimask,
        delta=delta,
    )
    for at in range(3):
        wanted, _ = decode_frame(
            micro_sam,
            images[at : at + 1],
            points=(points[at : at + 1], labels[at : at + 1]),
            mask_logits=None if logits is None else logits[at : at + 1],
            multimask=multimask,
            delta=None if delta is None else delta[at],
        )
        torch.testing.assert_close(found[at : at + 1], wanted, atol=1e-4, rtol=1e-4)


def test_gradients_reach_points_and_shift_but_no_parameter(micro_sam: Any) -> None:
    images = torch.randn(2, 32, 8, 8)
    points = torch.full((2, 3, 2), 30.0, requires_grad=True)
    delta = torch.zeros(2, 4, 32, requires_grad=True)
    labels = torch.tensor([[1, 0, 0]]).expand(2, -1)
    masks = decode_images(
        micro_sam, images, (points, labels), multimask=True, delta=delta
    )
    masks[:, :1].square().mean().backward()
    assert points.grad is not None
    assert points.grad.abs().sum() > 0
    assert delta.grad is not None
    assert delta.grad.abs().sum() > 0
    assert all(parameter.grad is None for parameter in micro_sam.parameters())
