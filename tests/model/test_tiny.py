"""The architecture of promise-tiny, with random weights."""

from __future__ import annotations

import pytest
import torch

from napari_promise.model.tiny import TinyEncoder, build_promise_tiny


@pytest.fixture(scope="module")
def sam():
    torch.manual_seed(0)
    return build_promise_tiny()


@torch.no_grad()
def test_the_embedding_has_one_cell_for_eight_pixels(sam):
    encoder = sam.image_encoder
    assert encoder(torch.zeros(1, 3, 512, 512)).shape == (1, 128, 64, 64)
    assert encoder(torch.zeros(2, 3, 256, 256)).shape == (2, 128, 32, 32)


@torch.no_grad()
def test_masks_are_drawn_on_a_grid_of_256(sam):
    sparse, dense = sam.prompt_encoder(
        (torch.tensor([[[100.0, 200.0]]]), torch.ones(1, 1)), None, None
    )
    masks, quality = sam.mask_decoder(
        image_embeddings=torch.zeros(1, 128, 64, 64),
        image_pe=sam.prompt_encoder.get_dense_pe(),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense,
        multimask_output=True,
    )
    assert masks.shape == (1, 3, 256, 256)
    assert quality.shape == (1, 3)


def test_hooks_on_the_named_blocks_see_the_tokens(sam):
    encoder = sam.image_encoder
    seen = []
    hooks = [
        encoder.vit.blocks[i].register_forward_hook(lambda *a: seen.append(a[2].shape))
        for i in TinyEncoder.level_blocks
    ]
    with torch.no_grad():
        encoder(torch.zeros(1, 3, 512, 512))
    for hook in hooks:
        hook.remove()
    assert seen == [(1, 32, 32, 192)] * 2


@torch.no_grad()
def test_every_part_of_the_encoder_moves_the_embedding(sam):
    """The early level and the pixels reach the embedding, not the neck alone."""
    encoder = sam.image_encoder
    picture = torch.randn(1, 3, 256, 256)
    before = encoder(picture)
    for part in (encoder.stem.fold, encoder.lateral[1], encoder.vit.neck[2]):
        kept = part.weight.clone()
        part.weight.zero_()
        assert not torch.allclose(encoder(picture), before)
        part.weight.copy_(kept)
    assert torch.equal(encoder(picture), before)


def test_it_fits_into_24_megabytes_of_float16(sam):
    count = sum(tensor.numel() for tensor in sam.state_dict().values())
    assert 2 * count < 24e6
