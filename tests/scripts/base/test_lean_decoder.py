"""The lean decoder says what segment_anything's says."""

from __future__ import annotations

import pytest
import torch

from napari_promise.model.litemedsam import build_promise_medical
from scripts.base.lean_decoder import answer, drawn, fine, whole
from scripts.base.prompting import Prompt


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    sam = build_promise_medical()
    torch.nn.init.normal_(sam.prompt_encoder.draw[2].weight, std=0.05)
    return sam


CLICKS = Prompt(torch.rand(2, 3, 2) * 256, torch.tensor([[1.0, 0.0, 1.0]] * 2))
BOXES = Prompt(
    torch.zeros(2, 0, 2),
    torch.zeros(2, 0),
    torch.tensor([[10.0, 20.0, 90.0, 70.0], [100.0, 30.0, 140.0, 200.0]]),
)
PROMPTS = {
    "clicks": CLICKS,
    "boxes": BOXES,
    "clicks in boxes": Prompt(CLICKS.points, CLICKS.labels, BOXES.boxes),
    "a mask": Prompt(BOXES.points, BOXES.labels, None, 4 * torch.randn(2, 1, 256, 256)),
    "clicks on a mask": CLICKS.clicked(
        torch.rand(2, 2) * 256, torch.ones(2), 4 * torch.randn(2, 1, 256, 256)
    ),
}


@pytest.mark.parametrize("kind", list(PROMPTS))
@torch.no_grad()
def test_it_draws_the_masks_of_the_stock_decoder(sam, kind):
    prompt = PROMPTS[kind]
    embedding = torch.randn(1, 256, 64, 64) * 0.2
    position = sam.prompt_encoder.get_dense_pe()
    points = (prompt.points, prompt.labels) if prompt.labels.numel() else None
    sparse, dense = sam.prompt_encoder(points, prompt.boxes, prompt.logits)
    masks, quality = sam.mask_decoder.predict_masks(embedding, position, sparse, dense)
    given = answer(sam, embedding, position, prompt)
    lean = drawn(sam, given)
    ours = torch.stack([whole(lean[:, token]) for token in range(4)], 1)
    assert torch.allclose(ours, masks, atol=1e-3, rtol=1e-3)
    assert torch.allclose(given.quality, quality, atol=1e-4)


@torch.no_grad()
def test_chosen_cells_are_drawn_as_among_all(sam):
    position = sam.prompt_encoder.get_dense_pe()
    given = answer(sam, torch.randn(1, 256, 64, 64), position, CLICKS)
    chosen = torch.tensor([[5, 4000, 77], [0, 1, 4095]])
    some, every = drawn(sam, given, chosen), drawn(sam, given)
    for row in range(2):
        assert torch.allclose(some[row], every[row][:, chosen[row]], atol=1e-4)


def test_finer_cells_come_back_to_their_place():
    grids = torch.arange(2 * 64 * 64).view(2, 64, 64)
    cells = fine(grids)
    assert cells.shape == (2, 256, 16)
    assert torch.equal(whole(cells), grids)
    assert set(cells[0, 0].tolist()) == {64 * r + c for r in range(4) for c in range(4)}
