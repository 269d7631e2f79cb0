"""Auto-prompting: from features of the frozen encoder to point prompts.

`HeatmapAPM` draws a coarse foreground map from the encoder's tokens, and `place_points`
spreads positive points inside it and negative ones in a ring around it. The paper's
modules regress coordinates [1]_; supervising where the object is, and placing points
there, trains in seconds and puts more points on the object.

References
----------
.. [1] Wang et al., "ProMISe: Promptable Medical Image Segmentation using SAM",
   arXiv 2403.04164, 2024.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn

from napari_promise.model.channel_norm import ChannelNorm, NormedProjection

FOREGROUND = 0.5  # probability from which a cell of the map is foreground
FAINT = 0.2  # below this maximum nothing is there
DEEP = 1 / 2  # share of the largest depth from which a cell may take a positive
RING = (5 / 128, 30 / 128)  # distance of negatives to the object, in map sides


class HeatmapAPM(nn.Module):
    """A coarse foreground map from the levels of the encoder.

    Each level is normalised and projected, all are brought to the grid of the finest,
    summed and mixed, and two transposed convolutions enlarge the result four times.
    Blocks with large kernels let a cell see what lies around it; they begin as the
    identity.

    Parameters
    ----------
    level_channels : sequence of int
        Channels of each level, shallow to deep.
    width : int
        Channels inside.
    neck_channels : int
        Channels of the embedding after the neck, if it is to be read too; 0 if not.
    dropout : float
        Share of channels dropped in training.
    blocks : int
        Blocks of a 7 x 7 depth-wise and two point-wise convolutions after the mixing.
    """

    def __init__(
        self,
        level_channels: Sequence[int],
        width: int = 96,
        neck_channels: int = 0,
        dropout: float = 0.1,
        blocks: int = 0,
    ) -> None:
        super().__init__()
        self.blocks = blocks
        self.level_channels = tuple(level_channels)
        self.width = width
        self.neck_channels = neck_channels
        self.dropout = dropout
        self.project = nn.ModuleList(
            NormedProjection(channels, width) for channels in self.level_channels
        )
        self.neck = NormedProjection(neck_channels, width) if neck_channels else None
        self.mix = nn.Sequential(
            ChannelNorm(width),
            nn.GELU(),
            nn.Dropout2d(dropout),
            nn.Conv2d(width, width, 3, padding=1),
            *(ContextBlock(width, dropout) for _ in range(blocks)),
            ChannelNorm(width),
            nn.GELU(),
            nn.Dropout2d(dropout),
        )
        self.enlarge = nn.Sequential(
            nn.ConvTranspose2d(width, width // 2, 2, stride=2),
            ChannelNorm(width // 2),
            nn.GELU(),
            nn.ConvTranspose2d(width // 2, width // 4, 2, stride=2),
            nn.GELU(),
            nn.Conv2d(width // 4, 1, 3, padding=1),
        )

    def forward(
        self, levels: Sequence[torch.Tensor], image: torch.Tensor | None = None
    ) -> torch.Tensor:
        """Foreground logits over SAM's padded frame.

        Parameters
        ----------
        levels : sequence of torch.Tensor
            (B, C_l, h_l, w_l) each, tokens before the neck, shallow to deep.
        image : torch.Tensor, optional
            (B, C, h, w) embedding after the neck; read where `neck_channels` is set.

        Returns
        -------
        torch.Tensor
            (B, 1, 4 h, 4 w) for the finest level's (h, w).

        Raises
        ------
        ValueError
            If levels are missing or have other channels.
        """
        check_levels(levels, self.level_channels)
        grid = max((level.shape[-2:] for level in levels), key=lambda size: size[0])
        total = torch.zeros((), device=levels[0].device)
        for project, level in zip(self.project, levels, strict=True):
            total = total + resized(project(level), grid)
        if self.neck is not None:
            if image is None:
                raise ValueError("this prompter reads the image embedding; pass it")
            total = total + resized(self.neck(image), grid)
        return self.enlarge(self.mix(total))

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments that build this module again."""
        return {
            "level_channels": list(self.level_channels),
            "width": self.width,
            "neck_channels": self.neck_channels,
            "dropout": self.dropout,
            "blocks": self.blocks,
        }


class ContextBlock(nn.Module):
    """A ConvNeXt block: 7 x 7 depth-wise, then two point-wise; identity at the start.

    Parameters
    ----------
    width : int
        Channels.
    dropout : float
        Share of the added channels dropped in training.
    """

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.around = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = ChannelNorm(width)
        self.widen = nn.Conv2d(width, 2 * width, 1)
        self.narrow = nn.Conv2d(2 * width, width, 1)
        self.dropout = nn.Dropout2d(dropout)
        nn.init.zeros_(self.narrow.weight)
        if self.narrow.bias is not None:
            nn.init.zeros_(self.narrow.bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, width, h, w) to the same shape."""
        added = self.narrow(F.gelu(self.widen(self.norm(self.around(x)))))
        return x + self.dropout(added)


def check_levels(levels: Sequence[torch.Tensor], channels: tuple[int, ...]) -> None:
    """Refuse encoder levels that a prompter was not built for.

    Parameters
    ----------
    levels : sequence of torch.Tensor
        (B, C_l, h_l, w_l) each.
    channels : tuple of int
        C_l of each level that the prompter reads.

    Raises
    ------
    ValueError
        If levels are missing or have other channels.
    """
    found = tuple(level.shape[1] for level in levels)
    if found != channels:
        raise ValueError(
            f"this prompter reads encoder levels of {channels} channels,"
            f" the embedding has {found}; embed with the model it was trained on"
        )


def resized(x: torch.Tensor, grid: torch.Size) -> torch.Tensor:
    """Bring (B, C, h, w) features to a grid: averaged down or interpolated up."""
    if x.shape[-2:] == grid:
        return x
    if x.shape[-1] > grid[-1]:
        return F.adaptive_avg_pool2d(x, (grid[0], grid[1]))
    return F.interpolate(x, grid, mode="bilinear", align_corners=False)


@dataclass(frozen=True)
class PlacedPoints:
    """Points on a map.

    Attributes
    ----------
    cells : numpy.ndarray
        (P', 2) int64 as (row, column) of the map; positives first.
    labels : numpy.ndarray
        (P',) int64, 1 or 0.
    scores : numpy.ndarray
        (P',) float64, probability that the label is right.
    presence : float
        Largest probability of the map.
    """

    cells: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    presence: float


def slot_labels(points: int) -> tuple[int, ...]:
    """Labels of the slots: the first half positive, the rest negative.

    Parameters
    ----------
    points : int
        At least 1; one point is a positive one.

    Returns
    -------
    tuple of int
        3 points are 1 + 2, 5 are 2 + 3, 16 are 8 + 8 [1]_.

    Raises
    ------
    ValueError
        If `points` is below 1.
    """
    if points < 1:
        raise ValueError(f"points must be at least 1, got {points}")
    positives = max(1, points // 2)
    return (1,) * positives + (0,) * (points - positives)


def place_points(probability: np.ndarray, points: int, side: int) -> PlacedPoints:
    """Spread points over a foreground map.

    Positives lie where the distance to the background is at least half of its maximum
    (from a third on, more of them miss the object), the deepest first; negatives lie
    in a ring around the object. Both are spread by farthest-point sampling. Slots that
    find no place are dropped.

    Parameters
    ----------
    probability : numpy.ndarray
        (h, w) in [0, 1], the part of the map that lies in the image.
    points : int
        Slots, see `slot_labels`.
    side : int
        Cells along the whole map's side: the ring's distances scale with it.

    Returns
    -------
    PlacedPoints
        Without points when the map is faint everywhere.
    """
    presence = float(probability.max(initial=0.0))
    if presence < FAINT:
        nothing = np.zeros(0)
        return PlacedPoints(
            np.zeros((0, 2), np.int64), nothing.astype(np.int64), nothing, presence
        )
    labels = slot_labels(points)
    # a timid map still has a most likely place
    foreground = probability >= min(FOREGROUND, 0.6 * presence)
    # the border of the image is a border of the object too
    depth = ndimage.distance_transform_edt(np.pad(foreground, 1))[1:-1, 1:-1]
    inside = np.argwhere(depth >= max(DEEP * depth.max(), 1e-6))
    start = int(np.argmax(depth[tuple(inside.T)]))
    positives = inside[_farthest(inside, sum(labels), start)]
    order = np.argsort(-depth[tuple(positives.T)], kind="stable")
    positives = positives[order]

    away = ndimage.distance_transform_edt(~foreground)
    ring = (away >= RING[0] * side) & (away <= RING[1] * side)
    outside = np.argwhere(ring)
    negatives = np.zeros((0, 2), np.int64)
    if len(outside):
        start = int(np.argmin(probability[tuple(outside.T)]))
        negatives = outside[_farthest(outside, len(labels) - sum(labels), start)]
    cells = np.concatenate([positives, negatives]).astype(np.int64)
    chosen = np.array([1] * len(positives) + [0] * len(negatives), dtype=np.int64)
    here = probability[tuple(cells.T)].astype(np.float64)
    return PlacedPoints(cells, chosen, np.where(chosen == 1, here, 1 - here), presence)


def _farthest(candidates: np.ndarray, count: int, start: int) -> np.ndarray:
    """Choose up to `count` candidates, each the farthest from those before."""
    if count <= 0:
        return np.zeros(0, np.int64)
    chosen = [start]
    nearest = ((candidates - candidates[start]) ** 2).sum(1)
    while len(chosen) < min(count, len(candidates)):
        chosen.append(int(np.argmax(nearest)))
        nearest = np.minimum(
            nearest, ((candidates - candidates[chosen[-1]]) ** 2).sum(1)
        )
    return np.array(chosen, np.int64)
