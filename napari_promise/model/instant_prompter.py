"""Auto-prompting in closed form: a linear classifier of the frozen encoder's tokens.

`InstantAPM` draws a coarse foreground map, as `HeatmapAPM` does, from which points are
placed. It is not trained in passes: its weights solve a ridge regression, see
`instant_learner`. This module knows features and the map; nothing of how it learns.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from scipy import ndimage
from torch import nn

from napari_promise.model.auto_prompt import check_levels, resized

__all__ = ["InstantAPM", "parts_of_map"]

#: Levels with more channels are projected to so many, that equations stay small.
_WIDEST = 192
#: Length of each part of a feature vector: of each level, and of the embedding.
_LENGTH = 4.0
#: From a score, about 1 in the object and -1 around it, to a logit of the map.
_GAIN, _OFFSET = 3.0, 0.15
#: Cells of the map that a part has at least, and parts that are looked at.
_SMALLEST, _MOST_PARTS = 3, 60
#: Logit of the other parts on the map of one.
_ELSEWHERE = -4.0


class InstantAPM(nn.Module):
    """A coarse foreground map as a weighted sum of features.

    Each level and the embedding are brought to the embedding's grid, and each cell's
    part to one length. Levels of wide encoders are projected by a fixed random matrix
    first, which the adapter's file holds.

    Parameters
    ----------
    level_channels : sequence of int
        Channels of each level, shallow to deep.
    neck_channels : int
        Channels of the embedding after the neck.
    widest : int
        A level with more channels is projected to so many.
    many : bool
        Whether each part of the map is an object of its own, see `parts_of_map`.
    """

    def __init__(
        self,
        level_channels: Sequence[int],
        neck_channels: int,
        widest: int = _WIDEST,
        many: bool = False,
    ) -> None:
        super().__init__()
        self.level_channels = tuple(level_channels)
        self.neck_channels = neck_channels
        self.widest = widest
        self.many = many
        chance = torch.Generator().manual_seed(0)
        for number, channels in enumerate(self.level_channels):
            if channels > widest:
                with torch.device("cpu"):  # also where the rest is built without memory
                    drawn = torch.randn(widest, channels, generator=chance)
                self.register_buffer(f"projection_{number}", drawn / channels**0.5)
        widths = [min(widest, channels) for channels in self.level_channels]
        self.weight = nn.Parameter(torch.zeros(sum(widths) + neck_channels + 1))

    @property
    def features(self) -> int:
        """Length of a feature vector."""
        return len(self.weight)

    @property
    def settings(self) -> dict[str, Any]:
        """Arguments that build this module again."""
        return {
            "level_channels": list(self.level_channels),
            "neck_channels": self.neck_channels,
            "widest": self.widest,
            "many": self.many,
        }

    def describe(
        self, levels: Sequence[torch.Tensor], image: torch.Tensor
    ) -> torch.Tensor:
        """Return the feature vector of each cell.

        Parameters
        ----------
        levels : sequence of torch.Tensor
            (B, C_l, h_l, w_l) each, tokens before the neck, shallow to deep.
        image : torch.Tensor
            (B, C, h, w) embedding after the neck.

        Returns
        -------
        torch.Tensor
            (B, h, w, F) float32. The last feature is constant.

        Raises
        ------
        ValueError
            If levels are missing or have other channels.
        """
        check_levels(levels, self.level_channels)
        if image.shape[1] != self.neck_channels:
            raise ValueError(
                f"this prompter reads an embedding of {self.neck_channels} channels, "
                f"not {image.shape[1]}; embed with the model it was made for"
            )
        grid = image.shape[-2:]
        parts = []
        for number, level in enumerate(levels):
            seen = level.float()
            if self.level_channels[number] > self.widest:
                matrix = getattr(self, f"projection_{number}")
                seen = torch.einsum("oc,bchw->bohw", matrix, seen)
            parts.append(_LENGTH * F.normalize(resized(seen, grid), dim=1))
        parts.append(_LENGTH * F.normalize(image.float(), dim=1))
        parts.append(torch.ones_like(parts[-1][:, :1]))
        return torch.cat(parts, dim=1).permute(0, 2, 3, 1)

    def forward(
        self, levels: Sequence[torch.Tensor], image: torch.Tensor
    ) -> torch.Tensor:
        """Foreground logits over SAM's padded frame, (B, 1, 2 h, 2 w).

        Parameters
        ----------
        levels, image
            See `describe`.
        """
        score = self.describe(levels, image) @ self.weight
        return F.interpolate(
            _GAIN * (score - _OFFSET)[:, None],
            scale_factor=2,
            mode="bilinear",
            align_corners=False,
        )


def parts_of_map(
    logits: torch.Tensor, rows: int, columns: int
) -> tuple[torch.Tensor, ...]:
    """Divide a map into one for each part that hangs together.

    Parameters
    ----------
    logits : torch.Tensor
        (m, m) foreground logits over SAM's padded frame.
    rows, columns : int
        Cells that lie in the image.

    Returns
    -------
    tuple of torch.Tensor
        (m, m) each, the surest part first; the others are background on it.
    """
    found, count = ndimage.label((logits[:rows, :columns] > 0).cpu().numpy())
    maps = []
    for number in range(1, count + 1):
        part = found == number
        if np.count_nonzero(part) < _SMALLEST:
            continue
        others = np.zeros(tuple(logits.shape), bool)
        others[:rows, :columns] = (found > 0) & ~part
        drawn = logits.clone()
        here = torch.from_numpy(others).to(logits.device)
        drawn[here] = drawn[here].clamp(max=_ELSEWHERE)
        inside = torch.from_numpy(part).to(logits.device)
        maps.append((float(logits[:rows, :columns][inside].mean()), drawn))
    maps.sort(key=lambda one: -one[0])
    return tuple(drawn for _, drawn in maps[:_MOST_PARTS])
