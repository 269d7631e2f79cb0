"""Views of a training image: itself at SAM's size, and augmented ones.

Images are uint8 RGB, masks the share of each pixel that is foreground.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

#: Part of every cached view's name: raise it when the code here draws other views.
RECIPE = 1


def fit(
    rgb: NDArray[np.uint8], mask: NDArray[np.bool_], size: tuple[int, int]
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Scale an image as SAM's own transform does, and its mask by area.

    Parameters
    ----------
    rgb : numpy.ndarray
        (H, W, 3) uint8.
    mask : numpy.ndarray
        (H, W) bool.
    size : tuple of int
        (height, width) wanted.

    Returns
    -------
    tuple of numpy.ndarray
        (height, width, 3) uint8 and (height, width) float32 in [0, 1].
    """
    height, width = size
    scaled = Image.fromarray(rgb).resize((width, height), Image.Resampling.BILINEAR)
    share = Image.fromarray(mask.astype(np.float32)).resize(
        (width, height), Image.Resampling.BOX
    )
    return np.array(scaled), np.array(share, np.float32)


def augment(
    rgb: NDArray[np.uint8], share: NDArray[np.float32], rng: np.random.Generator
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Turn, mirror, zoom, shear and recolour an image, its mask with it.

    Views may zoom past the object: such a view teaches that nothing is there.

    Parameters
    ----------
    rgb : numpy.ndarray
        (h, w, 3) uint8.
    share : numpy.ndarray
        (h, w) float32 in [0, 1].
    rng : numpy.random.Generator

    Returns
    -------
    tuple of numpy.ndarray
        Of the same shapes and types.
    """
    height, width = share.shape
    grid = F.affine_grid(
        _affine(height, width, rng)[None], [1, 1, height, width], align_corners=False
    )
    both = np.concatenate([rgb.astype(np.float32) / 255, share[..., None]], axis=2)
    moved = F.grid_sample(
        torch.from_numpy(both).permute(2, 0, 1)[None], grid, align_corners=False
    )[0]
    coloured = recolour(moved[:3], rng)
    pixels = (coloured.permute(1, 2, 0).numpy() * 255).round().astype(np.uint8)
    return pixels, moved[3].numpy()


def _affine(height: int, width: int, rng: np.random.Generator) -> torch.Tensor:
    """(2, 3) from output to input, in the unit square of `affine_grid`."""
    limit = 180 if rng.random() < 0.5 else 30
    angle = math.radians(rng.uniform(-limit, limit))
    zoom = math.exp(rng.uniform(math.log(0.6), math.log(1.3)))  # below 1: closer
    mirror_x, mirror_y = rng.choice([-1, 1], size=2)
    cos, sin, aspect = math.cos(angle) * zoom, math.sin(angle) * zoom, width / height
    shear = rng.uniform(-0.12, 0.12)
    room = 0.8 * max(0.0, 1 - zoom)
    shift_x, shift_y = rng.uniform(-room, room, size=2)
    return torch.tensor(
        [
            [cos * mirror_x, -sin / aspect * mirror_y + shear, shift_x],
            [sin * aspect * mirror_x, cos * mirror_y, shift_y],
        ],
        dtype=torch.float32,
    )


def recolour(x: torch.Tensor, rng: np.random.Generator) -> torch.Tensor:
    """Brightness, contrast, saturation, tint and gamma; now and then blur or noise."""
    x = x * rng.uniform(0.75, 1.25) + rng.uniform(-0.08, 0.08)
    mean = x.mean((1, 2), keepdim=True)
    x = mean + (x - mean) * rng.uniform(0.75, 1.3)
    grey = x.mean(0, keepdim=True)
    x = grey + (x - grey) * rng.uniform(0.6, 1.4)
    x = x * torch.tensor(rng.uniform(0.9, 1.1, (3, 1, 1)), dtype=torch.float32)
    x = x.clamp(0, 1) ** math.exp(rng.uniform(-0.3, 0.3))
    if rng.random() < 0.25:
        line = torch.tensor([1.0, 4.0, 6.0, 4.0, 1.0]) / 16
        kernel = (line[:, None] * line).expand(3, 1, 5, 5)
        padded = F.pad(x[None], (2, 2, 2, 2), mode="replicate")
        x = F.conv2d(padded, kernel, groups=3)[0]
    if rng.random() < 0.25:
        noise = rng.normal(0, rng.uniform(0.01, 0.04), tuple(x.shape))
        x = x + torch.from_numpy(noise).float()
    return x.clamp(0, 1)
