"""Prompts drawn as maps: where they are, how they compare, what they add."""

from __future__ import annotations

import pytest
import torch

from napari_promise.model.dense_prompts import (
    BOX_MAPS,
    POINT_MAPS,
    DensePromptEncoder,
    box_maps,
    point_maps,
)

# isort: split
from segment_anything.modeling import PromptEncoder

GRID, SIDE = 16, 128
SIZES = {
    "embed_dim": 8,
    "image_embedding_size": (GRID, GRID),
    "input_image_size": (SIDE, SIDE),
    "mask_in_chans": 4,
}
CLICKS = (
    torch.tensor([[[20.0, 60.0], [90.0, 30.0]]]),
    torch.tensor([[1.0, 0.0]]),
)
BOX = torch.tensor([[16.0, 32.0, 80.0, 64.0]])


@pytest.fixture
def encoder():
    torch.manual_seed(0)
    return DensePromptEncoder(**SIZES)


@pytest.fixture
def trained(encoder):
    torch.nn.init.normal_(encoder.draw[2].weight)
    return encoder


def test_nearness_is_greatest_in_the_cell_of_the_click():
    maps = point_maps(torch.tensor([[[0.3, 0.8]]]), torch.ones(1, 1), 10)
    assert maps.shape == (1, POINT_MAPS, 10, 10)
    for scale in range(4):
        row, column = divmod(int(maps[0, scale].argmax()), 10)
        assert row in (7, 8)
        assert column in (2, 3)
    assert maps[0, 4:8].max() < 0.01  # no click excludes anything


def test_the_nearer_of_two_clicks_claims_a_cell():
    points = torch.tensor([[[0.2, 0.5], [0.8, 0.5]]])
    claimed = point_maps(points, torch.tensor([[1.0, 0.0]]), 10)[0, -1]
    assert (claimed[:, :5] > 0).all()
    assert (claimed[:, 5:] < 0).all()


def test_padding_points_leave_no_trace():
    padding = torch.cat([CLICKS[0], torch.zeros(1, 1, 2)], 1) / SIDE
    with_it = point_maps(padding, torch.tensor([[1.0, 0.0, -1.0]]), GRID)
    without = point_maps(CLICKS[0] / SIDE, CLICKS[1], GRID)
    assert torch.equal(with_it, without)


def test_points_are_moved_by_gradients():
    points = (CLICKS[0] / SIDE).requires_grad_()
    point_maps(points, CLICKS[1], GRID).sum().backward()
    assert points.grad.isfinite().all()
    assert (points.grad.abs().sum(-1) > 0).all()


def test_a_box_knows_its_ellipse_and_its_border():
    maps = box_maps(torch.tensor([[0.25, 0.0, 0.75, 1.0]]), 20)
    assert maps.shape == (1, BOX_MAPS, 20, 20)
    cells = (torch.arange(20) + 0.5) / 20
    x, y = cells[None, :], cells[:, None]
    ellipse = ((x - 0.5) / 0.25) ** 2 + ((y - 0.5) / 0.5) ** 2 < 1
    assert torch.equal(maps[0, 4] > 0, ellipse)
    inside = ((x - 0.5).abs() < 0.25).expand(20, 20)
    assert torch.equal(maps[0, 5] > 0, inside)
    assert torch.equal(maps[0, 6] > 0, inside)


def test_an_empty_box_gives_finite_maps():
    assert box_maps(torch.tensor([[0.5, 0.5, 0.5, 0.5]]), GRID).isfinite().all()


@pytest.mark.parametrize("boxes", [None, BOX])
@pytest.mark.parametrize("points", [None, CLICKS])
@torch.no_grad()
def test_untrained_it_is_the_encoder_of_segment_anything(encoder, points, boxes):
    parent = PromptEncoder(**SIZES)
    parent.load_state_dict(encoder.state_dict(), strict=False)
    for mine, theirs in zip(
        encoder(points, boxes, None), parent(points, boxes, None), strict=True
    ):
        assert torch.equal(mine, theirs)


@torch.no_grad()
def test_drawn_prompts_join_a_mask_prompt(trained):
    logits = torch.randn(1, 1, 4 * GRID, 4 * GRID)
    _, mask_alone = trained(None, None, logits)
    _, both = trained(CLICKS, None, logits)
    _, clicks_alone = trained(CLICKS, None, None)
    none = trained.no_mask_embed.weight.reshape(1, -1, 1, 1)
    torch.testing.assert_close(both - mask_alone, clicks_alone - none)


@torch.no_grad()
def test_tokens_stay_those_of_segment_anything(trained):
    parent = PromptEncoder(**SIZES)
    parent.load_state_dict(trained.state_dict(), strict=False)
    assert torch.equal(trained(CLICKS, BOX, None)[0], parent(CLICKS, BOX, None)[0])


@torch.no_grad()
def test_every_object_of_a_batch_is_drawn_by_itself(trained):
    boxes = torch.cat([BOX, BOX + 20])
    _, together = trained(None, boxes, None)
    for index in range(2):
        _, alone = trained(None, boxes[index : index + 1], None)
        torch.testing.assert_close(together[index : index + 1], alone)


def test_prompts_in_double_are_those_in_single(trained):
    # as SamAutomaticMaskGenerator gives them
    points, box = (CLICKS[0].double(), CLICKS[1]), BOX.double()
    for mine, same in zip(
        trained(points, box, None), trained(CLICKS, BOX, None), strict=True
    ):
        assert torch.equal(mine, same)
