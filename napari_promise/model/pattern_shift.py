"""Incremental Pattern Shifting: what is added to SAM's mask tokens, and how.

The PaE module reads the image embedding and yields one shift for each mask token [1]_;
the stock decoder then runs with shifted tokens, its own parameters untouched.

References
----------
.. [1] Wang et al., "ProMISe: Promptable Medical Image Segmentation using SAM",
   arXiv 2403.04164, 2024.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import nn


class PatternEmbedding(nn.Module):
    """PaE: global average pool, then a two-layer MLP; zero at the start.

    Parameters
    ----------
    channels : int
        C of the image embedding and of the mask tokens.
    tokens : int
        Mask tokens of the decoder.
    zero_init : bool
        Start with a last layer of zeros, so that an untrained adapter is stock SAM.
        Off, the layer starts at random, as the authors' does.
    """

    def __init__(
        self, channels: int, tokens: int = 4, *, zero_init: bool = True
    ) -> None:
        super().__init__()
        self.channels = channels
        self.tokens = tokens
        self.lin1 = nn.Linear(channels, tokens * channels)
        self.activation = nn.GELU()
        self.lin2 = nn.Linear(tokens * channels, tokens * channels)
        if zero_init:
            nn.init.zeros_(self.lin2.weight)
            nn.init.zeros_(self.lin2.bias)

    def forward(self, image: torch.Tensor) -> torch.Tensor:
        """Shift of every mask token.

        Parameters
        ----------
        image : torch.Tensor
            (B, C, h, w) embedding after the neck.

        Returns
        -------
        torch.Tensor
            (B, tokens, C).
        """
        pooled = image.mean(dim=(2, 3))  # (B, C)
        shift = self.lin2(self.activation(self.lin1(pooled)))
        return shift.view(-1, self.tokens, self.channels)

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments that build this module again."""
        return {"channels": self.channels, "tokens": self.tokens}


def shifted_decode(
    decoder: nn.Module, delta: torch.Tensor, arguments: Mapping[str, Any]
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the stock mask decoder with shifted mask tokens.

    Parameters
    ----------
    decoder : segment_anything.modeling.MaskDecoder
    delta : torch.Tensor
        (tokens, C), added to ``mask_tokens.weight`` for this call only.
    arguments : mapping
        Keyword arguments of ``MaskDecoder.forward``.

    Returns
    -------
    tuple of torch.Tensor
        What the decoder returns. Gradients reach `delta` and the prompts.
    """
    tokens: torch.Tensor = decoder.mask_tokens.weight  # type: ignore[assignment,union-attr]
    return torch.func.functional_call(
        decoder, {"mask_tokens.weight": tokens + delta}, kwargs=dict(arguments)
    )
