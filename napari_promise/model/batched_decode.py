"""Decode one prompt for each of several images in one pass, for training.

`segment_anything`'s decoder takes many prompts of one image. This is the same
computation with the stock decoder's own parts, for B images with one prompt each, and
mask tokens shifted image by image where IPS asks for it. Gradient mode, precision and
device are the caller's business.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from segment_anything.modeling import Sam


def decode_images(
    sam: Sam,
    images: torch.Tensor,
    points: tuple[torch.Tensor, torch.Tensor],
    *,
    mask_logits: torch.Tensor | None = None,
    multimask: bool,
    delta: torch.Tensor | None = None,
) -> torch.Tensor:
    """Decode masks of B images, each with its own points.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
    images : torch.Tensor
        (B, C, h, w) embeddings after the neck.
    points : tuple of torch.Tensor
        (B, N, 2) as (x, y) in pixels of SAM's padded frame, and (B, N) labels.
    mask_logits : torch.Tensor, optional
        (B, 1, 4h, 4w) mask prompts.
    multimask : bool
        Tokens 1-3, or token 0 alone.
    delta : torch.Tensor, optional
        (B, 4, C) added to the mask tokens.

    Returns
    -------
    torch.Tensor
        (B, 3 or 1, 4h, 4w) logits; gradients reach points and `delta`.
    """
    decoder = sam.mask_decoder
    with torch.autocast(images.device.type, enabled=False):
        # in half precision a coordinate would be several pixels off
        sparse, dense = sam.prompt_encoder(points=points, boxes=None, masks=mask_logits)
        dense_position = sam.prompt_encoder.get_dense_pe()
    tokens = decoder.mask_tokens.weight.expand(len(images), -1, -1)  # (B, 4, C)
    if delta is not None:
        tokens = tokens + delta
    quality = decoder.iou_token.weight.expand(len(images), -1, -1)  # (B, 1, C)
    position = dense_position.expand(len(images), -1, -1, -1)
    read, cells = decoder.transformer(
        images + dense, position, torch.cat([quality, tokens, sparse], dim=1)
    )
    wanted = range(1, tokens.shape[1]) if multimask else range(1)
    pixels = decoder.output_upscaling(
        cells.transpose(1, 2).reshape(images.shape)  # (B, C / 8, 4h, 4w)
    )
    kernels = torch.stack(
        [decoder.output_hypernetworks_mlps[i](read[:, 1 + i]) for i in wanted], dim=1
    )
    return torch.einsum("bkc,bchw->bkhw", kernels, pixels)
