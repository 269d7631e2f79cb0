"""A small network that draws the outline from what is known of a plane.

It looks at the crop around the object: the picture, the classifier's score, the shape
that is expected, and the plane that this comes from with its mask. It was trained on
propagated objects of many kinds, scaled to one size, and adds to what `draft` says; so
a fresh one changes nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from safetensors.torch import load_file
from torch import nn

T = TypeVar("T", torch.Tensor, NDArray[np.float32])

__all__ = ["REACH", "Look", "OutlineNet", "draft", "load_outline", "prepared"]

#: Side of the square that has an object's area, in the network's cells.
_SIZE = 20.0
_ZOOMS = (0.25, 3.0)
#: The network's levels halve the crop so often.
_HALVINGS = 3
_CHANNELS = 7
#: What a classifier's score counts in a draft, and the most that the shape does.
SCORE, REACH = 3.0, 4.0

#: Where the network's weights lie.
BUNDLED = Path(__file__).parents[1] / "model" / "bundled" / "outline.safetensors"


@dataclass(frozen=True, eq=False)
class Look:
    """What is known of an object on a plane, on the cells around it.

    Attributes
    ----------
    picture : (h, w) float32
        0 to 1.
    score : (h, w) float32
        The classifier's.
    prior : (h, w) float32
        The expected shape as signed distances, in units of the softness.
    source_picture : (h, w) float32
        Of the plane that the shape comes from.
    source_mask : (h, w) bool
    far : float
        Planes to the nearest one that somebody drew.
    between : bool
        Whether the shape is interpolated between two.
    plane : int
    window : (int, int, int, int)
        Which cells of the plane's grid, half open.
    """

    picture: NDArray[np.float32]
    score: NDArray[np.float32]
    prior: NDArray[np.float32]
    source_picture: NDArray[np.float32]
    source_mask: NDArray[np.bool_]
    far: float
    between: bool
    plane: int
    window: tuple[int, int, int, int]


def draft(score: T, prior: T) -> T:
    """Return what the classifier and the shape say together, object above zero."""
    return SCORE * score + prior.clip(-REACH, REACH)


def prepared(look: Look) -> torch.Tensor:
    """Return a look as the network takes it, (1, 7, H, W) float32.

    Scaled so that the object has one size. The first channel is the score and the
    second the prior, as they are.
    """
    area = max(1, int(np.count_nonzero(look.prior > 0)))
    zoom = float(np.clip(_SIZE / np.sqrt(area), *_ZOOMS))
    near = look.source_picture
    level, spread = float(near.mean()), float(near.std()) + 0.03
    planes = np.stack(
        [
            look.score,
            look.prior,
            (look.picture - level) / spread,
            (look.source_picture - level) / spread,
            look.source_mask.astype(np.float32),
        ]
    ).astype(np.float32)
    size = tuple(max(4, round(side * zoom)) for side in look.score.shape)
    scaled = F.interpolate(
        torch.from_numpy(planes)[None], size, mode="bilinear", antialias=True
    )
    said = torch.tensor([np.log1p(look.far), float(look.between)], dtype=torch.float32)
    said = said[None, :, None, None].expand(1, 2, *size)
    return torch.cat([scaled, said], dim=1)


class OutlineNet(nn.Module):
    """A U-shaped network of three halvings, with 82,000 weights."""

    def __init__(self, width: int = 12) -> None:
        super().__init__()
        widths = [width, width + 8, width + 16, width + 24]
        self.down = nn.ModuleList(
            _block(a, b) for a, b in zip([_CHANNELS, *widths[:-1]], widths, strict=True)
        )
        self.up = nn.ModuleList(
            _block(a + b, b) for a, b in zip(widths[:0:-1], widths[-2::-1], strict=True)
        )
        self.last = nn.Conv2d(width, 1, 1)
        nn.init.zeros_(self.last.weight)
        nn.init.zeros_(self.last.bias)  # type: ignore[arg-type]

    def forward(self, looks: torch.Tensor) -> torch.Tensor:
        """Return logits, (N, 1, H, W) of (N, 7, H, W) of any size."""
        height, width = looks.shape[-2:]
        step = 2**_HALVINGS
        x = F.pad(looks, (0, -width % step, 0, -height % step), mode="replicate")
        x = torch.cat([x[:, :1], x[:, 1:2].clamp(-6, 6), x[:, 2:].clamp(-5, 5)], 1)
        kept = []
        for number, block in enumerate(self.down):
            x = block(F.max_pool2d(x, 2) if number else x)
            kept.append(x)
        kept.pop()
        for block in self.up:
            x = F.interpolate(x, scale_factor=2, mode="nearest")
            x = block(torch.cat([x, kept.pop()], dim=1))
        found = self.last(x)[..., :height, :width]
        return found + draft(looks[:, :1], looks[:, 1:2])

    @torch.no_grad()
    def draw(self, look: Look) -> NDArray[np.float32]:
        """Return logits of a look's own cells, (h, w) float32, object above zero."""
        found = self(prepared(look))
        back = F.interpolate(found, look.score.shape, mode="bilinear", antialias=True)
        drawn: NDArray[np.float32] = back[0, 0].numpy()
        return drawn


def _block(before: int, after: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(before, after, 3, padding=1),
        nn.GroupNorm(4, after),
        nn.SiLU(),
        nn.Conv2d(after, after, 3, padding=1),
        nn.GroupNorm(4, after),
        nn.SiLU(),
    )


def load_outline(path: Path = BUNDLED) -> OutlineNet:
    """Load the network's weights, frozen."""
    network = OutlineNet()
    state = {name: value.float() for name, value in load_file(path).items()}
    network.load_state_dict(state)
    return network.eval().requires_grad_(False)
