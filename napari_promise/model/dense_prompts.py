"""Prompts drawn as maps, beside SAM's prompt tokens, for `promise-tiny`.

SAM's decoder has to learn from positional codes alone which pixels lie near a click or
inside a box. Meta's models had millions of masks for that; a model trained in an hour
does not learn it well enough (its boxes stayed behind an ellipse drawn into the box).
Interactive segmentation before SAM drew clicks as distance maps that are added to the
image's features [1]_; that needs next to no training. Here both go together: sparse
tokens as in segment_anything, and the same prompts once more as a dense embedding.

References
----------
.. [1] Sofiiuk et al., "Reviving Iterative Training with Mask Guidance for Interactive
   Segmentation", ICIP 2022.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn

from napari_promise.model import _torchvision  # noqa: F401  (before segment_anything)

# isort: split
from segment_anything.modeling import PromptEncoder

#: Distances, in sides of the input, over which a click's influence falls to 1 / e.
REACH = (0.01, 0.03, 0.1, 0.3)
FAR = 2.0  # of a click that is not there, in sides

POINT_MAPS = 2 * len(REACH) + 1
BOX_MAPS = 11


def point_maps(
    points: torch.Tensor,
    labels: torch.Tensor,
    grid: int,
    size: int | None = None,
    reaches: tuple[float, float, float, float] = REACH,
    none: float = FAR,
) -> torch.Tensor:
    """Nearness of every cell to the clicks of either kind.

    Parameters
    ----------
    points : torch.Tensor
        (B, N, 2) float, (x, y) in sides of the input; N may be 0. Differentiable.
    labels : torch.Tensor
        (B, N), 1 include, 0 exclude; anything else counts as no click.
    grid : int
        Cells a side.
    size : int, optional
        Draw only so many cells a side, from the first one; left out, all.
    reaches, none
        `REACH` and `FAR`: arguments, for TorchScript, which compiles this for
        `lean_decoder`, knows no globals.

    Returns
    -------
    torch.Tensor
        (B, 9, size, size): nearness over the distances of `REACH` to the nearest
        included and to the nearest excluded click, and which of the two is nearer,
        from -1 to 1.
    """
    side = grid if size is None else size
    cells = (torch.arange(side, device=points.device) + 0.5) / grid
    square = (cells - points[..., :1]).square()[:, :, None, :]  # (B, N, 1, grid)
    square = square + (cells - points[..., 1:]).square()[..., None]
    distance = (square + 1e-8).sqrt()  # (B, N, size, size)
    nearest = []
    for kind in (1, 0):
        absent = (labels != kind)[..., None, None]
        alike = distance.masked_fill(absent, none)
        far = alike.new_full([points.shape[0], 1, side, side], none)
        nearest.append(torch.cat([alike, far], 1).amin(1).clamp(max=none))
    positive, negative = nearest[0], nearest[1]
    maps = []
    for near in nearest:
        for reach in reaches:
            maps.append((-near / reach).exp())
    maps.append((negative - positive) / (negative + positive))
    return torch.stack(maps, 1)


def box_maps(boxes: torch.Tensor, grid: int, size: int | None = None) -> torch.Tensor:
    """Where every cell lies in its box.

    Parameters
    ----------
    boxes : torch.Tensor
        (B, 4) float, (x0, y0, x1, y1) in sides of the input.
    grid : int
        Cells a side.
    size : int, optional
        Draw only so many cells a side, from the first one; left out, all.

    Returns
    -------
    torch.Tensor
        (B, 11, size, size): position from the centre in half sides of the box and its
        size, inside the inscribed ellipse, inside the box, distance to the border over
        two scales, the box's width and height, and ones.
    """
    side = grid if size is None else size
    cells = (torch.arange(side, device=boxes.device) + 0.5) / grid
    centre = (boxes[:, :2] + boxes[:, 2:]) / 2
    half = ((boxes[:, 2:] - boxes[:, :2]) / 2).abs().clamp(min=0.5 / 1024)
    shape = [boxes.shape[0], side, side]
    x, y = centre[:, :1, None], centre[:, 1:, None]
    wide, high = half[:, :1, None], half[:, 1:, None]
    across = cells[None, None, :] - x  # (B, 1, size)
    down = cells[None, :, None] - y  # (B, grid, 1)
    u, v = (across / wide).expand(shape), (down / high).expand(shape)
    radius = (u.square() + v.square() + 1e-8).sqrt()
    edge = torch.minimum(wide - across.abs(), high - down.abs())  # inside positive
    maps = [
        u.clamp(-2, 2) / 2,
        v.clamp(-2, 2) / 2,
        u.abs().clamp(max=2) / 2,
        v.abs().clamp(max=2) / 2,
        (4 * (1 - radius)).tanh(),
        (4 * (1 - torch.maximum(u.abs(), v.abs()))).tanh(),
        (edge / 0.01).tanh(),
        (edge / 0.04).tanh(),
        (4 * wide).log().expand(shape) / 3,
        (4 * high).log().expand(shape) / 3,
        torch.ones(shape, device=boxes.device),
    ]
    return torch.stack(maps, 1)


class DensePromptEncoder(PromptEncoder):
    """segment_anything's prompt encoder that also draws its points and boxes.

    The tokens are those of the parent; to its dense embedding is added what two
    point-wise layers make of `point_maps` and `box_maps`. Freshly built it equals its
    parent: the last layer starts at zero.
    """

    def __init__(self, *args: Any, hidden: int = 64, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        last = nn.Conv2d(hidden, self.embed_dim, 1)
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)  # type: ignore[arg-type]
        self.draw = nn.Sequential(
            nn.Conv2d(POINT_MAPS + BOX_MAPS, hidden, 1), nn.GELU(), last
        )

    def forward(
        self,
        points: tuple[torch.Tensor, torch.Tensor] | None,
        boxes: torch.Tensor | None,
        masks: torch.Tensor | None,
    ) -> tuple[torch.Tensor, torch.Tensor]:
        """Embed prompts.

        Parameters
        ----------
        points : tuple of torch.Tensor, optional
            (B, N, 2) coordinates, (x, y) in pixels of the input, and (B, N) labels.
        boxes : torch.Tensor, optional
            (B, 4), (x0, y0, x1, y1) in pixels of the input.
        masks : torch.Tensor, optional
            (B, 1, 4 * grid, 4 * grid) logits.

        Returns
        -------
        sparse : torch.Tensor
            (B, tokens, C), as of the parent.
        dense : torch.Tensor
            (B, C, grid, grid).
        """
        sparse, dense = super().forward(points, boxes, masks)
        if points is None and boxes is None:
            return sparse, dense
        return sparse, dense + self.drawn(points, boxes)

    def drawn(
        self,
        points: tuple[torch.Tensor, torch.Tensor] | None,
        boxes: torch.Tensor | None,
        first: torch.Tensor | None = None,
        size: int | None = None,
    ) -> torch.Tensor:
        """Draw prompts over the grid, or over a window of it.

        Parameters
        ----------
        points, boxes : optional
            As for `forward`; at least one of them.
        first : torch.Tensor, optional
            (B, 2), (column, row) of each window's first cell; left out, the grid's.
        size : int, optional
            Cells a side of the windows; left out, those of the grid.

        Returns
        -------
        torch.Tensor
            (B, C, size, size), to be added to the dense embedding.
        """
        grid, side = self.image_embedding_size[0], self.input_image_size[0]
        size = grid if size is None else size
        # In double they come from segment_anything's SamAutomaticMaskGenerator.
        if points is not None:
            points = points[0].float(), points[1]
        if boxes is not None:
            boxes = boxes.float()

        def seen(frame_xy: torch.Tensor) -> torch.Tensor:
            """Bring (B, N, 2) pixels of the input to sides, from the first cell."""
            at = (frame_xy + 0.5) / side
            return at if first is None else at - first[:, None] / grid

        given = boxes if points is None else points[0]
        assert given is not None
        count = len(given)
        if points is None:
            none = given.new_zeros(count, 0)
            clicks = point_maps(none[..., None].expand(-1, -1, 2), none, grid, size)
        else:
            clicks = point_maps(seen(points[0]), points[1], grid, size)
        if boxes is None:
            frame = given.new_zeros(count, BOX_MAPS, size, size)
        else:
            corners = seen(boxes.reshape(-1, 2, 2)).reshape(-1, 4)
            frame = box_maps(corners, grid, size)
        drawn: torch.Tensor = self.draw(torch.cat([clicks, frame], 1))
        return drawn
