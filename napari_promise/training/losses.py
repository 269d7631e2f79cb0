"""Losses on logits, restricted to the part of SAM's frame where the image is.

The module knows no models or prompts.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F


def mask_loss(
    logits: torch.Tensor, target: torch.Tensor, inside: torch.Tensor
) -> torch.Tensor:
    """Binary cross-entropy plus soft Dice, averaged over the batch.

    Both act on logits through one sigmoid. An image whose target is empty is pushed
    to nothing by both terms.

    Parameters
    ----------
    logits : torch.Tensor
        (B, 1, h, w).
    target : torch.Tensor
        (B, 1, h, w) in [0, 1]: share of each cell that is foreground.
    inside : torch.Tensor
        (B, 1, h, w), 1 where the image is, 0 in the padding.

    Returns
    -------
    torch.Tensor
        Scalar.
    """
    axes = (1, 2, 3)
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    entropy = (entropy * inside).sum(axes) / inside.sum(axes).clamp(min=1)
    probability, target = torch.sigmoid(logits) * inside, target * inside
    overlap = (probability * target).sum(axes)
    # one cell smooths: keeps the gradient finite where both are empty
    dice = (2 * overlap + 1) / (probability.sum(axes) + target.sum(axes) + 1)
    return (entropy + 1 - dice).mean()
