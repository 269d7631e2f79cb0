"""The architecture of `promise-tiny`, the small promptable SAM inside the wheel.

Everything but the fusion of features and the drawn prompts is segment_anything's own
code: the image encoder (at the size of DeiT-Tiny [1]_), the prompt tokens, the two-way
transformer and the mask decoder [2]_.

References
----------
.. [1] Touvron et al., "Training data-efficient image transformers & distillation
   through attention", ICML 2021.
.. [2] Kirillov et al., "Segment Anything", ICCV 2023.
"""

from __future__ import annotations

from functools import partial

import torch
import torch.nn.functional as F
from torch import nn

from napari_promise.model import _torchvision  # noqa: F401  (before segment_anything)

# isort: split
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    Sam,
    TwoWayTransformer,
)
from segment_anything.modeling.common import LayerNorm2d

from napari_promise.model.dense_prompts import DensePromptEncoder

IMAGE_SIZE = 512
PATCH = 16
STRIDE = 8  # of the embedding: two cells for every patch of the transformer
EMBED_DIM = 192
PROMPT_DIM = 128


class TinyEncoder(nn.Module):
    """A DeiT-Tiny whose neck is joined with an earlier level and with the pixels.

    The transformer sees 16-pixel patches, which is too coarse for nuclei and sharp
    borders. Its neck is therefore enlarged twice and fused with the tokens of an
    earlier block and with a small convolutional stem on the pixels.

    Attributes
    ----------
    img_size : int
        Side in pixels of the square input, as `segment_anything.Sam` expects.
    level_blocks : tuple of int
        Blocks (from 0) of ``vit.blocks`` whose tokens, (B, 32, 32, 192), an
        auto-prompting module may read through forward hooks.
    """

    level_blocks: tuple[int, ...] = (5, 11)
    img_size: int = IMAGE_SIZE

    def __init__(self) -> None:
        super().__init__()
        self.vit = ImageEncoderViT(
            img_size=IMAGE_SIZE,
            patch_size=PATCH,
            embed_dim=EMBED_DIM,
            depth=12,
            num_heads=3,
            out_chans=PROMPT_DIM,
            use_rel_pos=False,
            window_size=0,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
        )
        self.stem = PixelStem(PROMPT_DIM)
        self.lateral = nn.Sequential(
            LayerNorm2d(EMBED_DIM), nn.Conv2d(EMBED_DIM, PROMPT_DIM, 1)
        )
        self.enlarge = nn.ConvTranspose2d(PROMPT_DIM, PROMPT_DIM, 2, stride=2)
        self.fuse = nn.Sequential(
            LayerNorm2d(PROMPT_DIM),
            nn.Conv2d(PROMPT_DIM, PROMPT_DIM, 3, padding=1),
            MixBlock(PROMPT_DIM),
            MixBlock(PROMPT_DIM),
            nn.Conv2d(PROMPT_DIM, PROMPT_DIM, 1),
            LayerNorm2d(PROMPT_DIM),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Encode normalised, padded images.

        Parameters
        ----------
        x : torch.Tensor
            (B, 3, S, S) float, ImageNet-normalised; S is `img_size`, or another
            multiple of 16, for which the position embedding is resampled.

        Returns
        -------
        torch.Tensor
            (B, 128, S / 8, S / 8) image embedding.
        """
        vit = self.vit
        tokens = vit.patch_embed(x)  # (B, S / 16, S / 16, 192)
        tokens = tokens + self._positions(tokens.shape[1]).to(tokens.dtype)
        early = tokens
        for index, block in enumerate(vit.blocks):
            tokens = block(tokens)
            if index == self.level_blocks[0]:
                early = tokens
        coarse = vit.neck(tokens.permute(0, 3, 1, 2))
        coarse = coarse + self.lateral(early.permute(0, 3, 1, 2))
        return self.fuse(self.enlarge(coarse) + self.stem(x))

    def _positions(self, side: int) -> torch.Tensor:
        positions = self.vit.pos_embed  # (1, 32, 32, 192)
        assert positions is not None
        if positions.shape[1] == side:
            return positions
        resampled = F.interpolate(
            positions.permute(0, 3, 1, 2),
            size=(side, side),
            mode="bicubic",
            align_corners=False,
            antialias=True,
        )
        return resampled.permute(0, 2, 3, 1)


class PixelStem(nn.Module):
    """Edges and colour at stride 8, with stride-4 detail folded into channels."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.detail = nn.Sequential(
            nn.Conv2d(3, 32, 4, stride=2, padding=1),
            LayerNorm2d(32),
            nn.GELU(),
            nn.Conv2d(32, 48, 4, stride=2, padding=1),
            LayerNorm2d(48),
            nn.GELU(),
        )
        self.fold = nn.Conv2d(48, dim, 2, stride=2)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, 3, S, S) pixels to (B, dim, S / 8, S / 8)."""
        return self.fold(self.detail(x))


class MixBlock(nn.Module):
    """Depth-wise 5x5 and point-wise mixing, residual (ConvNeXt's block)."""

    def __init__(self, dim: int) -> None:
        super().__init__()
        self.mix = nn.Sequential(
            nn.Conv2d(dim, dim, 5, padding=2, groups=dim),
            LayerNorm2d(dim),
            nn.Conv2d(dim, 2 * dim, 1),
            nn.GELU(),
            nn.Conv2d(2 * dim, dim, 1),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """(B, dim, H, W) to the same shape."""
        return x + self.mix(x)


def build_promise_tiny() -> Sam:
    """Compose `promise-tiny` with random weights, in evaluation mode.

    Returns
    -------
    segment_anything.modeling.Sam
        512-pixel input, (128, 64, 64) embedding, 256 x 256 low-resolution masks.
    """
    grid = IMAGE_SIZE // STRIDE
    return Sam(
        image_encoder=TinyEncoder(),
        prompt_encoder=DensePromptEncoder(
            embed_dim=PROMPT_DIM,
            image_embedding_size=(grid, grid),
            input_image_size=(IMAGE_SIZE, IMAGE_SIZE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=PROMPT_DIM, num_heads=4, mlp_dim=1024
            ),
            transformer_dim=PROMPT_DIM,
            iou_head_depth=3,
            iou_head_hidden_dim=PROMPT_DIM,
        ),
    ).eval()
