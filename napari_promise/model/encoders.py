"""Image encoders beside segment_anything's own, and where to tap any of them.

`MobileEncoder` is MobileSAM's TinyViT [1]_ [2]_, composed of timm's blocks;
`level_blocks` names, for every encoder, the blocks whose tokens auto-prompting reads.

References
----------
.. [1] Wu et al., "TinyViT: Fast Pretraining Distillation for Small Vision
   Transformers", ECCV 2022.
.. [2] Zhang et al., "Faster Segment Anything: Towards Lightweight SAM for Mobile
   Applications", 2023.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import nn

from napari_promise.model import (
    _compiler,
    _torchvision,  # noqa: F401  (before timm, which needs it)
)

# isort: split
from segment_anything.modeling.common import LayerNorm2d

with _compiler.put_off():
    from timm.models.tiny_vit import ConvNorm, TinyVit

IMAGE_SIZE = 1024
OUT_DIM = 256


class MobileEncoder(nn.Module):
    """TinyViT-5M on 1024 pixels whose last stage keeps the 64 x 64 grid, and a neck.

    Attributes
    ----------
    img_size : int
        Side in pixels of the square input, as `segment_anything.Sam` expects.
    """

    img_size: int = IMAGE_SIZE

    def __init__(self) -> None:
        super().__init__()
        body = TinyVit(
            num_classes=0,
            embed_dims=(64, 128, 160, 320),
            depths=(2, 2, 6, 2),
            num_heads=(2, 4, 5, 10),
            window_sizes=(7, 7, 14, 7),
            drop_path_rate=0.0,
        )
        # MobileSAM's only change to TinyViT: the grid stays at 64 x 64.
        body.stages[3].downsample.conv2.conv.stride = (1, 1)
        self.patch_embed = body.patch_embed
        self.stages = body.stages
        self.neck = nn.Sequential(
            nn.Conv2d(320, OUT_DIM, 1, bias=False),
            LayerNorm2d(OUT_DIM),
            nn.Conv2d(OUT_DIM, OUT_DIM, 3, padding=1, bias=False),
            LayerNorm2d(OUT_DIM),
        )

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Encode normalised, padded images, (B, 3, 1024, 1024) -> (B, 256, 64, 64)."""
        return self.neck(self.stages(self.patch_embed(x)))


class LiteMedSamEncoder(MobileEncoder):
    """LiteMedSAM's TinyViT: 256 pixels, and a first layer that does not shrink them.

    All later layers are those of `MobileEncoder`, so the tokens and the embedding have
    its grid of 64 x 64; each cell covers 4 x 4 pixels instead of 16 x 16.
    """

    img_size: int = 256

    def __init__(self) -> None:
        super().__init__()
        self.patch_embed.conv1 = ConvNorm(3, 32, 1)
        self.patch_embed.conv2 = ConvNorm(32, 64, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Encode stretched, padded images, (B, 3, 256, 256) -> (B, 256, 64, 64).

        On a CPU the first stage, which still has every pixel, is computed in strips of
        rows: their 256 channels stay in the processor's cache, which takes a third of
        the stage's time away. The numbers are the same.
        """
        if torch.is_grad_enabled() or x.device.type != "cpu":
            return super().forward(x)
        first, *later = self.stages
        x = self.patch_embed(x)
        for block in first.blocks:
            x = in_strips(block, x)
        for stage in later:
            x = stage(x)
        return self.neck(x)


#: Rows of a strip, of the 256 of LiteMedSAM's first stage.
STRIP = 32


def in_strips(block: nn.Module, x: torch.Tensor) -> torch.Tensor:
    """Apply a block that looks one pixel around (an MBConv), strip by strip.

    Parameters
    ----------
    block : torch.nn.Module
    x : torch.Tensor
        (B, C, h, w).

    Returns
    -------
    torch.Tensor
        (B, C', h, w): what the block makes of the whole.
    """
    height = x.shape[2]
    drawn = []
    for row in range(0, height, STRIP):
        above, below = min(row, 1), min(height, row + STRIP + 1)
        strip = block(x[:, :, row - above : below])
        drawn.append(strip[:, :, above : above + min(STRIP, height - row)])
    return torch.cat(drawn, 2)


def fuse_norms(encoder: nn.Module) -> nn.Module:
    """Fold every batch norm into the convolution before it, in place.

    The numbers differ by rounding only; on a CPU the encoder of `LiteMedSamEncoder`
    takes three quarters of the time. Its tensors have other names afterwards.
    """
    for name, child in encoder.named_children():
        if isinstance(child, ConvNorm):
            setattr(encoder, name, child.fuse())
        else:
            fuse_norms(child)
    return encoder


#: MobileSAM's layer -> timm's stage: MobileSAM merges patches at the end of a layer,
#: timm at the start of the next stage.
_MOBILE_NAMES = (
    (r"^patch_embed\.seq\.0\.", "patch_embed.conv1."),
    (r"^patch_embed\.seq\.2\.", "patch_embed.conv2."),
    (r"^layers\.0\.downsample\.", "stages.1.downsample."),
    (r"^layers\.1\.downsample\.", "stages.2.downsample."),
    (r"^layers\.2\.downsample\.", "stages.3.downsample."),
    (r"^layers\.", "stages."),
    (r"\.c\.weight$", ".conv.weight"),
)
#: Tensors of MobileSAM's file that its forward pass never reads.
_MOBILE_UNUSED = re.compile(r"^(norm_head|head)\.|\.attention_bias_idxs$")


def from_mobile_sam(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Rename the tensors of MobileSAM's image encoder to those of `MobileEncoder`.

    Parameters
    ----------
    state : mapping of str to torch.Tensor
        Keys as in MobileSAM's checkpoint without the leading ``image_encoder.``.

    Returns
    -------
    dict of str to torch.Tensor
        The same tensors; the classifier (``norm_head``, ``head``) and the index
        buffers, which are computed from the window's size, are left out. A key of
        neither kind keeps its name, for a strict loader to complain about.
    """
    renamed = {}
    for key, tensor in state.items():
        if _MOBILE_UNUSED.search(key):
            continue
        for pattern, replacement in _MOBILE_NAMES:
            key = re.sub(pattern, replacement, key)
        renamed[key] = tensor
    return renamed


def transformer_blocks(encoder: nn.Module) -> list[nn.Module]:
    """Return the blocks of an image encoder in the order in which they run.

    Parameters
    ----------
    encoder : torch.nn.Module
        segment_anything's `ImageEncoderViT`, `MobileEncoder`, or an encoder that
        holds an `ImageEncoderViT` as ``vit`` (`promise-tiny`).
    """
    if isinstance(encoder, MobileEncoder):
        return [block for stage in encoder.stages for block in stage.blocks]
    blocks = getattr(encoder, "vit", encoder).blocks
    assert isinstance(blocks, nn.ModuleList)
    return list(blocks)


def level_blocks(encoder: nn.Module) -> tuple[int, ...]:
    """Return the blocks (from 0) whose tokens are an embedding's levels.

    An encoder may say so itself in an attribute ``level_blocks``; else they lie at a
    half, three quarters and the end of the depth (ViT-B: 5, 8, 11), as in ProMISe
    (Wang et al., arXiv 2403.04164). For all of them the tokens are (B, h, w, C).
    """
    own = getattr(encoder, "level_blocks", None)
    if own is not None:
        return tuple(own)
    depth = len(transformer_blocks(encoder))
    return (depth // 2 - 1, depth * 3 // 4 - 1, depth - 1)
