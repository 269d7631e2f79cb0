"""Auto-prompting for many objects: a centre, a point and a box for each of them.

`InstanceAPM` reads the frozen encoder's levels, its embedding and, where the base has
one, the stem's detail, and draws over SAM's padded frame: where centres are, where
foreground is, how deep inside its object a cell lies, and how far it is from there to
the four sides of the object's box. `find_objects` turns that into one point and one box
an object. A centre map with sides at the peaks is CenterNet's idea [1]_; the map of
depths, from which `watershed` draws outlines, is that of the distance transform [2]_.

References
----------
.. [1] Zhou et al., "Objects as Points", arXiv 1904.07850, 2019.
.. [2] Archit et al., "Segment Anything for Microscopy", Nature Methods 2025, whose
   automatic instance segmentation predicts distances as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from scipy import ndimage
from torch import nn

from napari_promise.model.auto_prompt import check_levels, resized
from napari_promise.model.channel_norm import ChannelNorm, NormedProjection

if TYPE_CHECKING:
    from napari_promise.model.sam import Embedding

__all__ = [
    "CHANNELS",
    "FoundObjects",
    "InstanceAPM",
    "InstanceMaps",
    "find_objects",
    "maps_of",
    "watershed",
]

#: What is drawn, in this order: centre and foreground (logits), depth, and the
#: logarithms of the distances to the left, top, right and bottom side.
CHANNELS = 7
#: The chance of a centre that the first step begins with.
_RARE = -3.0


class InstanceAPM(nn.Module):
    """Centres, foreground, depth and boxes from what the frozen encoder says.

    Parameters
    ----------
    level_channels : sequence of int
        Channels of each level, shallow to deep.
    neck_channels : int
        Channels of the embedding after the neck.
    detail_channels : int
        Channels of the stem's detail; 0 for a base without one.
    width : int
        Channels inside, at the grid of the levels; fewer at finer ones.
    blocks : int
        Further blocks at the grid of the embedding, by which a cell sees more of what
        lies around it. They begin as nothing.
    dropout : float
        Share of channels dropped in training, and of images whose detail is: an
        embedding that an earlier version kept has none.
    threshold : float
        Of the centre map, from which a peak is an object.
    trust : float
        How far the sides that the cells around a peak tell may differ, as a share of
        the box, for the box to be decoded; 0 for never.
    """

    def __init__(
        self,
        level_channels: Sequence[int],
        neck_channels: int,
        detail_channels: int = 0,
        width: int = 96,
        blocks: int = 0,
        dropout: float = 0.05,
        threshold: float = 0.3,
        trust: float = 0.1,
    ) -> None:
        super().__init__()
        self.level_channels = tuple(level_channels)
        self.neck_channels = neck_channels
        self.detail_channels = detail_channels
        self.width = width
        self.blocks = blocks
        self.dropout = dropout
        self.threshold = threshold
        self.trust = trust
        middle, fine = 2 * width // 3, width // 2
        self.project = nn.ModuleList(
            NormedProjection(channels, width) for channels in self.level_channels
        )
        self.coarse = nn.Sequential(
            Residual(width), nn.Dropout2d(dropout), nn.Conv2d(width, middle, 1)
        )
        self.neck = NormedProjection(neck_channels, middle)
        self.middle = nn.Sequential(Residual(middle), nn.Dropout2d(dropout))
        self.deeper = nn.Sequential(
            *(Residual(middle, begins_as_nothing=True) for _ in range(blocks))
        )
        self.enlarge = nn.ConvTranspose2d(middle, fine, 2, stride=2)
        self.detail = (
            NormedProjection(detail_channels, fine) if detail_channels else None
        )
        self.fine = nn.Sequential(
            Residual(fine), Residual(fine), ChannelNorm(fine), nn.GELU()
        )
        self.draw = nn.Conv2d(fine, CHANNELS, 3, padding=1)
        with torch.no_grad():
            assert self.draw.bias is not None
            self.draw.bias.zero_()
            self.draw.bias[0] = _RARE

    def forward(
        self,
        levels: Sequence[torch.Tensor],
        image: torch.Tensor,
        detail: torch.Tensor | None = None,
    ) -> torch.Tensor:
        """Draw the maps over SAM's padded frame.

        Parameters
        ----------
        levels : sequence of torch.Tensor
            (B, C_l, h_l, w_l) each, tokens before the neck, shallow to deep.
        image : torch.Tensor
            (B, C, h, w) embedding after the neck.
        detail : torch.Tensor, optional
            (B, C_d, 2 h, 2 w); left out, what is drawn is coarser.

        Returns
        -------
        torch.Tensor
            (B, 7, 2 h, 2 w) float32, see `CHANNELS`. Sides are logarithms of cells.

        Raises
        ------
        ValueError
            If levels are missing or have other channels.
        """
        check_levels(levels, self.level_channels)
        grid = max((level.shape[-2:] for level in levels), key=lambda size: size[0])
        x = torch.zeros((), device=levels[0].device)
        for project, level in zip(self.project, levels, strict=True):
            x = x + resized(project(level), grid)
        x = resized(self.coarse(x), image.shape[-2:]) + self.neck(image)
        x = self.enlarge(self.deeper(self.middle(x)))
        if self.detail is not None and detail is not None:
            seen = resized(self.detail(detail), x.shape[-2:])
            if self.training:
                kept = torch.rand(len(seen), 1, 1, 1, device=seen.device)
                seen = seen * (kept >= self.dropout)
            x = x + seen
        return self.draw(self.fine(x)).float()

    def further_blocks(self) -> dict[str, torch.Tensor]:
        """Return the part of the state that an earlier, shallower module may lack."""
        return {
            name: value
            for name, value in self.state_dict().items()
            if name.startswith("deeper.")
        }

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments that build this module again."""
        return {
            "level_channels": list(self.level_channels),
            "neck_channels": self.neck_channels,
            "detail_channels": self.detail_channels,
            "width": self.width,
            "blocks": self.blocks,
            "dropout": self.dropout,
            "threshold": self.threshold,
            "trust": self.trust,
        }


class Residual(nn.Module):
    """Two 3 x 3 convolutions beside a shortcut, normalised before each."""

    def __init__(self, width: int, *, begins_as_nothing: bool = False) -> None:
        super().__init__()
        self.body = nn.Sequential(
            ChannelNorm(width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
            ChannelNorm(width),
            nn.GELU(),
            nn.Conv2d(width, width, 3, padding=1),
        )
        if begins_as_nothing:
            for parameter in self.body[-1].parameters():
                nn.init.zeros_(parameter)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Map (B, width, h, w) to the same shape."""
        return x + self.body(x)


# From maps to objects ----------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class InstanceMaps:
    """What an `InstanceAPM` draws for one image, cut to the image.

    Attributes
    ----------
    centre, foreground, depth : (h, w) float32
        Probabilities, and the distance to the border as a share of the object's
        largest.
    sides : (4, h, w) float32
        Distances to the left, top, right and bottom side of the object's box, in cells.
    """

    centre: NDArray[np.float32]
    foreground: NDArray[np.float32]
    depth: NDArray[np.float32]
    sides: NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class FoundObjects:
    """Objects of one image, the surest first.

    Attributes
    ----------
    points_xy : (N, 2) float64
        (x, y) in the plane's pixels, inside their objects.
    boxes_xy : (N, 4) float64
        (x0, y0, x1, y1) in the plane's pixels.
    scores : (N,) float64
        Of the centres, in [0, 1].
    spread : (N,) float64
        How far the cells around a centre disagree about the sides, as a share of the
        box: small for a box to be trusted.
    """

    points_xy: NDArray[np.float64]
    boxes_xy: NDArray[np.float64]
    scores: NDArray[np.float64]
    spread: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.scores)


def maps_of(drawn: torch.Tensor, emb: Embedding) -> InstanceMaps:
    """Turn what the module draws of one image into maps.

    Parameters
    ----------
    drawn : torch.Tensor
        (7, s, s) of `InstanceAPM.forward`.
    emb : Embedding
        Says which part of SAM's padded frame is image.
    """
    rows, columns = _used(drawn.shape[-1], emb)
    values = drawn[:, :rows, :columns].float().cpu()
    return InstanceMaps(
        torch.sigmoid(values[0]).numpy(),
        torch.sigmoid(values[1]).numpy(),
        values[2].numpy(),
        torch.exp(values[3:].clamp(-4, 6)).numpy(),
    )


def _used(cells: int, emb: Embedding) -> tuple[int, int]:
    """Rows and columns of cells whose centres lie in the image, not in the padding."""
    (new_h, new_w) = emb.input_size
    frame = max(new_h, new_w)
    return max(1, round(cells * new_h / frame)), max(1, round(cells * new_w / frame))


def find_objects(
    maps: InstanceMaps, emb: Embedding, threshold: float, most: int = 2000
) -> FoundObjects:
    """Find the peaks of the centre map, and the box at each.

    Parameters
    ----------
    maps : InstanceMaps
    emb : Embedding
        Says how cells lie in the plane.
    threshold : float
        A peak's least probability.
    most : int
        Objects kept, the surest.

    Returns
    -------
    FoundObjects
    """
    peaks = find_peaks(maps.centre, threshold)[:most]
    points, boxes, scores, spread = [], [], [], []
    for row, column in peaks:
        box, apart = _box_at(maps, row, column)
        points.append((column + 0.5, row + 0.5))
        boxes.append(box)
        scores.append(float(maps.centre[row, column]))
        spread.append(apart)
    (height, width), (rows, columns) = emb.original_size, maps.centre.shape
    scale = np.array([width / columns, height / rows])
    shift = np.array(emb.origin[::-1], np.float64)
    last = np.array([width, height]) - 1.0
    at = np.array(points, np.float64).reshape(-1, 2) * scale - 0.5
    edges = np.array(boxes, np.float64).reshape(-1, 2, 2) * scale
    edges = edges.clip(0, last + 1) - 0.5
    return FoundObjects(
        at.clip(0, last) + shift,
        (edges + shift).reshape(-1, 4),
        np.array(scores, np.float64),
        np.array(spread, np.float64),
    )


def find_peaks(centre: NDArray[np.float32], threshold: float) -> list[tuple[int, int]]:
    """Return the cells that are the largest of their 3 x 3, the surest first."""
    largest = ndimage.maximum_filter(centre, size=3, mode="constant")
    rows, columns = np.nonzero((centre == largest) & (centre >= threshold))
    order = np.argsort(-centre[rows, columns], kind="stable")
    return [(int(rows[i]), int(columns[i])) for i in order]


def _box_at(
    maps: InstanceMaps, row: int, column: int
) -> tuple[tuple[float, ...], float]:
    """Mean of the boxes that the cells around a peak tell, and how far they differ.

    Each cell counts as much as it is a centre.
    """
    rows, columns = maps.centre.shape
    r0, r1 = max(0, row - 1), min(rows, row + 2)
    c0, c1 = max(0, column - 1), min(columns, column + 2)
    left, top, right, bottom = maps.sides[:, r0:r1, c0:c1]
    y, x = np.mgrid[r0:r1, c0:c1] + 0.5
    told = np.stack([x - left, y - top, x + right, y + bottom]).reshape(4, -1)
    weight = maps.centre[r0:r1, c0:c1].ravel() + 1e-6
    weight = weight / weight.sum()
    box = told @ weight
    apart = np.sqrt(((told - box[:, None]) ** 2) @ weight)
    size = np.array([box[2] - box[0], box[3] - box[1]]).clip(0.5)
    return tuple(box.tolist()), float((apart / np.tile(size, 2)).max())


def watershed(
    maps: InstanceMaps,
    emb: Embedding,
    threshold: float,
    *,
    foreground: float = 0.5,
) -> NDArray[np.int32]:
    """Draw the outlines from the maps alone: flood the depth from the peaks.

    Returns
    -------
    (H, W) int32
        Ids of the encoded image's pixels, 0 for background; in the order of
        `find_objects`.
    """
    from skimage.segmentation import watershed as flood

    height, width = emb.original_size
    both = torch.from_numpy(np.stack([maps.foreground, maps.depth]))[None]
    fine = F.interpolate(both, (height, width), mode="bilinear", align_corners=False)
    share, depth = fine[0].numpy()
    markers = np.zeros((height, width), np.int32)
    rows, columns = maps.centre.shape
    for number, (row, column) in enumerate(find_peaks(maps.centre, threshold), 1):
        y = min(height - 1, int((row + 0.5) * height / rows))
        x = min(width - 1, int((column + 0.5) * width / columns))
        markers[y, x] = number
    mask = (share >= foreground) | (markers > 0)
    return flood(-depth, markers, mask=mask).astype(np.int32)
