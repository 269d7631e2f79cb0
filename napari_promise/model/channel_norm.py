"""Normalisation over the channels of a map, as segment_anything's, in fewer passes.

SAM's `LayerNorm2d` is written in elementary operations, each of which reads and writes
the whole map; over the hundreds of channels of an encoder's levels that took most of
a training step. The modules here give the same numbers up to rounding, and their
parameters carry the same names. SAM's own modules are left as they are.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import nn

from napari_promise.model import _torchvision  # noqa: F401  (before segment_anything)

# isort: split
from segment_anything.modeling.common import LayerNorm2d


class ChannelNorm(LayerNorm2d):
    """`LayerNorm2d` by torch's fused kernel.

    Parameters
    ----------
    num_channels : int
    eps : float
        Added to the variance.
    """

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, C, h, w) to the same shape, channels last in memory."""
        last = x.permute(0, 2, 3, 1)
        normed = F.layer_norm(last, self.weight.shape, self.weight, self.bias, self.eps)
        return normed.permute(0, 3, 1, 2)


class NormedProjection(nn.Sequential):
    """A `ChannelNorm` and a 1 x 1 convolution, computed together.

    With the norm's gain folded into the weights, and each row of weights centred, the
    convolution can be taken of x itself and divided by the deviation afterwards, on
    the few channels that come out. It is computed in float32, whatever autocast says:
    converting x costs more than it saves.

    Parameters
    ----------
    channels, width : int
        Channels that come in and go out.
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__(ChannelNorm(channels), nn.Conv2d(channels, width, 1))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, channels, h, w), of any precision, to (B, width, h, w) float32."""
        norm, convolution = self
        assert isinstance(norm, ChannelNorm)
        assert isinstance(convolution, nn.Conv2d)
        assert convolution.bias is not None
        with torch.autocast(x.device.type, enabled=False):
            x = x.float()
            with torch.set_grad_enabled(torch.is_grad_enabled() and x.requires_grad):
                variance = (
                    x.square().mean(1, keepdim=True) - x.mean(1, keepdim=True).square()
                ).clamp_min(0)
                scale = torch.rsqrt(variance + norm.eps)
            weight = convolution.weight * norm.weight[:, None, None]
            weight = weight - weight.mean(1, keepdim=True)
            bias = convolution.bias + convolution.weight[:, :, 0, 0] @ norm.bias
            return F.conv2d(x, weight) * scale + bias[:, None, None]
