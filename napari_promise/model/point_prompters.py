"""The paper's two auto-prompting modules: encoder levels to point coordinates.

`ResNetAPM` is the convolutional one, `CrossAPM` the Transformer [1]_. Both regress P
points whose labels are fixed by slot (`auto_prompt.slot_labels`), and learn where to
put them through the frozen decoder alone. Architecture and constants follow the
authors' published code, so that their weights can be loaded.

References
----------
.. [1] Wang et al., "ProMISe: Promptable Medical Image Segmentation using SAM",
   arXiv 2403.04164, 2024.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from napari_promise.model.auto_prompt import check_levels, resized, slot_labels

FRAME = 1024  # side in pixels of SAM's padded input frame
BLOCKS = (3, 4, 6, 3)  # of the four stages of a ResNet-34


class PointAPM(nn.Module):
    """What the paper's two modules share: P points, their labels, and their frame.

    Parameters
    ----------
    level_channels : sequence of int
        Channels of each level, shallow to deep.
    points : int
        P, see `slot_labels`.
    frame : int
        Side in pixels of SAM's padded square input frame.

    Raises
    ------
    ValueError
        If `points` is below 1.
    """

    def __init__(self, level_channels: Sequence[int], points: int, frame: int) -> None:
        super().__init__()
        self.level_channels = tuple(level_channels)
        self.labels = slot_labels(points)
        self.frame = frame

    @property
    def points(self) -> int:
        """Slots."""
        return len(self.labels)

    def forward(self, levels: Sequence[torch.Tensor]) -> torch.Tensor:
        """Predict the points.

        Parameters
        ----------
        levels : sequence of torch.Tensor
            (B, C_l, h_l, w_l) each, tokens before the neck, shallow to deep.

        Returns
        -------
        torch.Tensor
            (B, P, 2) float32 as (x, y) in (0, frame): pixels of SAM's padded frame,
            and so possibly in the padding.

        Raises
        ------
        ValueError
            If levels are missing or have other channels.
        """
        check_levels(levels, self.level_channels)
        head, features = self._read(levels)
        # float32 even under autocast: bfloat16 has 8 bits
        with torch.autocast(features.device.type, enabled=False):
            found = torch.sigmoid(head(features.float())) * self.frame
        return found.reshape(len(found), -1, 2)

    def _read(self, levels: Sequence[torch.Tensor]) -> tuple[nn.Linear, torch.Tensor]:
        """Return the last layer, and the features that it turns into coordinates."""
        raise NotImplementedError

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments that build this module again."""
        return {
            "level_channels": list(self.level_channels),
            "points": self.points,
            "frame": self.frame,
        }


class ResNetAPM(PointAPM):
    """The paper's CNN: levels concatenated, fused, and read by a ResNet-34.

    The levels are concatenated from deep to shallow (ViT-B: blocks 12, 9, 6), brought
    to the grid of the finest where they differ.

    Parameters
    ----------
    level_channels : sequence of int
        Channels of each level, shallow to deep.
    points : int
        P, see `slot_labels`.
    frame : int
        Side in pixels of SAM's padded square input frame.
    width : int
        Channels of the first stage; the fusion has four times, the last stage eight
        times as many. The paper's is 64.

    Raises
    ------
    ValueError
        If `points` is below 1.
    """

    def __init__(
        self,
        level_channels: Sequence[int],
        points: int = 16,
        frame: int = FRAME,
        width: int = 64,
    ) -> None:
        super().__init__(level_channels, points, frame)
        self.width = width
        fused = 4 * width
        self.fusion = nn.Sequential(
            nn.Conv2d(sum(self.level_channels), fused, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(fused, fused, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(fused, fused, 3, padding=1),
        )
        self.resnet = ResNet34(fused, width, 2 * points)

    def _read(self, levels: Sequence[torch.Tensor]) -> tuple[nn.Linear, torch.Tensor]:
        grid = max((level.shape[-2:] for level in levels), key=lambda size: size[0])
        deep_first = [resized(level.float(), grid) for level in reversed(levels)]
        features = self.resnet(self.fusion(torch.cat(deep_first, dim=1)))
        return self.resnet.fc, features

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments that build this module again."""
        return super().settings | {"width": self.width}


class ResNet34(nn.Module):
    """The authors' ResNet-34: a stem that keeps the grid, and pooled features.

    The last block's shortcut is a projection although its shape does not change.

    Parameters
    ----------
    channels : int
        Of the input.
    width : int
        Channels of the first stage.
    outputs : int
        Of the linear layer `fc`, which `forward` leaves to the caller.
    """

    def __init__(self, channels: int, width: int, outputs: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, width, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.relu = nn.ReLU(inplace=True)
        self.maxpool = nn.MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(width, width, BLOCKS[0], stride=1)
        self.layer2 = _stage(width, 2 * width, BLOCKS[1], stride=2)
        self.layer3 = _stage(2 * width, 4 * width, BLOCKS[2], stride=2)
        self.layer4 = _stage(4 * width, 8 * width, BLOCKS[3], stride=2, project=True)
        self.fc = nn.Linear(8 * width, outputs)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Pool features, (B, channels, h, w) -> (B, 8 width)."""
        x = self.maxpool(self.relu(self.bn1(self.conv1(x))))
        x = self.layer4(self.layer3(self.layer2(self.layer1(x))))
        return x.mean(dim=(2, 3))


class BasicBlock(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, which is a projection if asked for."""

    def __init__(self, channels: int, out: int, stride: int, project: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(out)
        self.relu = nn.ReLU(inplace=True)
        self.shortcut = nn.Sequential()
        if project:
            self.shortcut.append(nn.Conv2d(channels, out, 1, stride, bias=False))
            self.shortcut.append(nn.BatchNorm2d(out))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, channels, h, w) to (B, out, h / stride, w / stride)."""
        y = self.bn2(self.conv2(self.relu(self.bn1(self.conv1(x)))))
        return self.relu(y + self.shortcut(x))


def _stage(
    channels: int, out: int, count: int, stride: int, project: bool = False
) -> nn.Sequential:
    """Blocks of one stage; `project` gives the last one a projection in any case."""
    first = BasicBlock(channels, out, stride, project=stride > 1 or channels != out)
    middle = [BasicBlock(out, out, 1, project=False) for _ in range(count - 2)]
    return nn.Sequential(first, *middle, BasicBlock(out, out, 1, project=project))


class CrossAPM(PointAPM):
    """The paper's Transformer: learned queries look at one level after the other.

    One layer for each level, from deep to shallow: cross-attention, then a small MLP;
    no self-attention. The k-th level of that order is enlarged k times before.

    Parameters
    ----------
    level_channels : sequence of int
        Channels of each level, shallow to deep.
    points : int
        P, see `slot_labels`.
    frame : int
        Side in pixels of SAM's padded square input frame.
    width : int, optional
        Channels of the queries, a multiple of 4; by default those of the deepest
        level. Levels of other channels are projected.
    heads : int, optional
        Of the attention, a divisor of `width`; by default the largest up to the
        paper's 12.
    upsample : bool
        Whether levels are enlarged. As published, and heavy: a grid of 64 x 64 becomes
        62,500 tokens at the third level. Off, every level is read as it is.

    Raises
    ------
    ValueError
        If `points` is below 1, or `width` or `heads` do not fit.
    """

    def __init__(
        self,
        level_channels: Sequence[int],
        points: int = 16,
        frame: int = FRAME,
        width: int | None = None,
        heads: int | None = None,
        upsample: bool = True,
    ) -> None:
        super().__init__(level_channels, points, frame)
        width = width or self.level_channels[-1]
        heads = heads or max(n for n in range(1, 13) if width % n == 0)
        if width % 4 or width % heads:
            raise ValueError(
                f"width {width} does not fit: use a multiple of 4 and of the number of "
                f"heads ({heads})"
            )
        self.width = width
        self.heads = heads
        self.upsample = upsample
        deep_first = self.level_channels[::-1]
        self.query_position = nn.Embedding(points, width)
        self.query_content = nn.Embedding(points, width)
        self.level = nn.Embedding(len(deep_first), width)
        self.project = nn.ModuleList(
            nn.Identity() if channels == width else nn.Conv2d(channels, width, 1)
            for channels in deep_first
        )
        self.enlarge = nn.ModuleList(
            nn.Sequential(*(_enlargement(width) for _ in range(index * upsample)))
            for index in range(len(deep_first))
        )
        self.layers = nn.ModuleList(CrossLayer(width, heads) for _ in deep_first)
        self.head = nn.Linear(width, 2)

    def _read(self, levels: Sequence[torch.Tensor]) -> tuple[nn.Linear, torch.Tensor]:
        position = self.query_position.weight[None]  # (1, P, C)
        queries = self.query_content.weight.expand(len(levels[0]), -1, -1)
        for index, level in enumerate(reversed(levels)):
            grid = self.enlarge[index](self.project[index](level.float()))
            tokens = grid.flatten(2).transpose(1, 2)  # (B, h w, C)
            tokens = tokens + self.level.weight[index]
            where = sine_positions(grid).flatten(1).T  # (h w, C)
            queries = self.layers[index](queries, position, tokens, where)
        return self.head, queries

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments that build this module again."""
        return super().settings | {
            "width": self.width,
            "heads": self.heads,
            "upsample": self.upsample,
        }


class CrossLayer(nn.Module):
    """Cross-attention and an MLP of four times the width, each with a LayerNorm."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.attention = nn.MultiheadAttention(width, heads, batch_first=True)
        self.norm1 = nn.LayerNorm(width)
        self.mlp = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )
        self.norm2 = nn.LayerNorm(width)

    def forward(
        self,
        queries: torch.Tensor,
        query_position: torch.Tensor,
        tokens: torch.Tensor,
        token_position: torch.Tensor,
    ) -> torch.Tensor:
        """Let the queries read the tokens; positions go into queries and keys only.

        Parameters
        ----------
        queries : torch.Tensor
            (B, P, C).
        query_position : torch.Tensor
            (1, P, C).
        tokens : torch.Tensor
            (B, N, C).
        token_position : torch.Tensor
            (N, C).

        Returns
        -------
        torch.Tensor
            (B, P, C).
        """
        read, _ = self.attention(
            queries + query_position,
            tokens + token_position,
            tokens,
            need_weights=False,
        )
        queries = self.norm1(queries + read)
        return self.norm2(queries + self.mlp(queries))


def _enlargement(width: int) -> nn.Sequential:
    """Twice the grid, less two cells: the convolution has no padding."""
    return nn.Sequential(
        nn.ConvTranspose2d(width, width, 2, stride=2),
        nn.Conv2d(width, width, 3),
        nn.BatchNorm2d(width),
        nn.ReLU(),
    )


def sine_positions(grid: torch.Tensor) -> torch.Tensor:
    """Sines and cosines of the place in a grid, rows first, columns second.

    As in the authors' code the angle, up to one full turn over the grid, is divided by
    1, 2, 3, ... instead of by powers of 10000.

    Parameters
    ----------
    grid : torch.Tensor
        (B, C, h, w), C a multiple of 4; asked for its shape and device only.

    Returns
    -------
    torch.Tensor
        (C, h, w) float32.
    """
    channels, height, width = grid.shape[1:]
    half = channels // 2
    divisor = torch.arange(1, half + 1, dtype=torch.float32, device=grid.device)

    def along(size: int) -> torch.Tensor:  # (half, size)
        turn = torch.arange(1, size + 1, dtype=torch.float32, device=grid.device)
        angle = (turn / (size + 1e-6) * (2 * math.pi)) / divisor[:, None]
        return torch.stack([angle[0::2].sin(), angle[1::2].cos()], dim=1).flatten(0, 1)

    rows = along(height)[:, :, None].expand(-1, -1, width)
    columns = along(width)[:, None, :].expand(-1, height, -1)
    return torch.cat([rows, columns])
