"""Decode each prompt in a window of the embedding around it: small objects, fast.

The stock decoder costs the same for a nucleus as for a liver, and a batch of prompts is
no cheaper, for every prompt carries its own map of the whole grid. Here the stock
decoder's own parts see only the cells around the prompt. Positions, drawn prompts and
mask prompts are those of the whole grid, cut out, so that the answer of a window as
large as the grid is the stock decoder's but for rounding. A mask that reaches the edge
of its window is decoded again in a larger one, at last in the whole grid.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch
import torch.nn.functional as F

from napari_promise.model.dense_prompts import DensePromptEncoder
from napari_promise.model.promise import (
    choose_mask,
    dense_positions,
    takes_first,
    to_frame,
    wants_multimask,
)

# isort: split
from segment_anything.modeling import PromptEncoder

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

    from napari_promise.model.adapters import Adapter
    from napari_promise.model.sam import Embedding

__all__ = ["CELLS", "WindowLogits", "WindowPrompt", "decode_windowed"]

#: Sides of the windows that are tried, in cells; at last the whole grid.
CELLS = (24, 48)
#: The logit of what lies outside of a window: surely not the object.
OUTSIDE = -12.0


@dataclass(frozen=True, eq=False)
class WindowPrompt:
    """What is said of one object; see `promise.decode`, without the batch.

    Attributes
    ----------
    points_xy : torch.Tensor or None
        (N, 2) as (x, y) in the plane's pixels.
    labels : torch.Tensor or None
        (N,): 1 include, 0 exclude.
    box_xy : torch.Tensor or None
        (4,) as (x0, y0, x1, y1) in the plane's pixels.
    mask_logits : torch.Tensor or None
        (1, 4h, 4w) mask prompt over the whole padded frame.
    """

    points_xy: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    box_xy: torch.Tensor | None = None
    mask_logits: torch.Tensor | None = None


@dataclass(frozen=True, eq=False)
class WindowLogits:
    """The masks of one prompt, as far as its window reaches.

    Attributes
    ----------
    logits : torch.Tensor
        (C, 4n, 4n) of a window of n cells; C is 3 or 1, see `wants_multimask`.
    iou : torch.Tensor
        (C,) predicted quality.
    index : int
        Which of the C masks answers the prompt.
    first : (int, int)
        Row and column of the window's first pixel in the low-resolution masks.
    grid : int
        Rows and columns of these, 4h.
    """

    logits: torch.Tensor
    iou: torch.Tensor
    index: int
    first: tuple[int, int]
    grid: int

    @property
    def is_whole(self) -> bool:
        """Whether the window is the whole grid."""
        return self.logits.shape[-1] == self.grid

    @property
    def is_cut(self) -> bool:
        """Whether the mask reaches an edge of the window that is not the grid's."""
        if self.is_whole:
            return False
        mask, last = self.logits[self.index] > 0, self.grid - self.logits.shape[-1]
        edges = [
            mask[0].any() if self.first[0] > 0 else None,
            mask[-1].any() if self.first[0] < last else None,
            mask[:, 0].any() if self.first[1] > 0 else None,
            mask[:, -1].any() if self.first[1] < last else None,
        ]
        return any(bool(edge) for edge in edges if edge is not None)

    def whole(self) -> torch.Tensor:
        """Return the mask that answers, (4h, 4w), `OUTSIDE` where nobody looked."""
        size, (row, column) = self.logits.shape[-1], self.first
        below, right = self.grid - row - size, self.grid - column - size
        return F.pad(
            self.logits[self.index], (column, right, row, below), value=OUTSIDE
        )


def decode_windowed(
    sam: Sam,
    emb: Embedding,
    prompts: Sequence[WindowPrompt],
    *,
    cells: Sequence[int] = CELLS,
    multimask: bool | None = None,
    batch: int = 16,
    adapter: Adapter | None = None,
    ips: bool = True,
) -> tuple[WindowLogits, ...]:
    """Decode many prompts on one embedded image, each in a window around it.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
        Frozen base model.
    emb : Embedding
        The image, embedded by the same model; a crop is fine.
    prompts : sequence of WindowPrompt
        One an object. Points, boxes and both may be mixed in one call.
    cells : sequence of int
        Sides of the windows to try, in cells of the embedding, ascending; each is kept
        inside the grid. A prompt begins with the first that holds its points and its
        box with half as much around them. The whole grid always comes last.
    multimask : bool, optional
        Three masks or one, for all; left out, as stock SAM: three for a single click.
    batch : int
        Prompts decoded in one pass.
    adapter : Adapter, optional
        Its IPS shifts the mask tokens, where it has one and `ips` is on.
    ips : bool
        Off, the adapter changes nothing here.

    Returns
    -------
    tuple of WindowLogits
        In the order of the prompts. With ``cells=()`` the stock decoder's answers:
        logits to about 2e-4, quality to 1e-5.

    Raises
    ------
    ValueError
        If a prompt has neither points nor a box, or points without labels.
    """
    with torch.no_grad():
        return _decode(sam, emb, prompts, cells, multimask, batch, adapter, ips)


def _decode(
    sam: Sam,
    emb: Embedding,
    prompts: Sequence[WindowPrompt],
    cells: Sequence[int],
    multimask: bool | None,
    batch: int,
    adapter: Adapter | None,
    ips: bool,
) -> tuple[WindowLogits, ...]:
    for prompt in prompts:
        if prompt.points_xy is None and prompt.box_xy is None:
            raise ValueError("a window needs a place: give points or a box")
        if (prompt.points_xy is None) != (prompt.labels is None):
            raise ValueError("points need labels: give both points_xy and labels")
    grid = int(sam.prompt_encoder.image_embedding_size[0])
    sizes = [size for size in cells if size < grid] + [grid]
    image = emb.image.float()
    tokens = sam.mask_decoder.mask_tokens.weight
    if ips and adapter is not None and adapter.ips is not None:
        tokens = tokens + adapter.ips(image)[0]
    first = takes_first(adapter, ips)
    stride = sam.image_encoder.img_size / grid
    found: list[WindowLogits | None] = [None] * len(prompts)
    spans = [_span(prompt, emb) / stride for prompt in prompts]
    waiting = {at: _first_size(span, sizes) for at, span in enumerate(spans)}
    while waiting:
        for members in _alike(waiting, prompts, batch):
            several = multimask
            if several is None:
                prompt = prompts[members[0]]
                several = wants_multimask(
                    0 if prompt.points_xy is None else len(prompt.points_xy),
                    has_box=prompt.box_xy is not None,
                    has_logits=prompt.mask_logits is not None,
                    first=first,
                )
            size = sizes[waiting[members[0]]]
            corners = [_corner(spans[at], size, grid) for at in members]
            some = [prompts[at] for at in members]
            logits, iou = _decode_batch(
                sam, emb, image, some, corners, size, several, tokens
            )
            for at, corner, masks, quality in zip(
                members, corners, logits, iou, strict=True
            ):
                found[at] = WindowLogits(
                    masks,
                    quality,
                    choose_mask(masks, quality, first),
                    (4 * corner[0], 4 * corner[1]),
                    4 * grid,
                )
        waiting = {
            at: size + 1
            for at, size in waiting.items()
            if (answer := found[at]) is not None and answer.is_cut
        }
    return tuple(answer for answer in found if answer is not None)


def _span(prompt: WindowPrompt, emb: Embedding) -> torch.Tensor:
    """Return (2, 2): the least and the greatest (x, y) of a prompt, in the frame."""
    places = []
    if prompt.points_xy is not None:
        places.append(to_frame(prompt.points_xy.reshape(-1, 2), emb))
    if prompt.box_xy is not None:
        places.append(to_frame(prompt.box_xy.reshape(2, 2), emb))
    every = torch.cat(places).cpu()
    return torch.stack([every.amin(0), every.amax(0)])


def _first_size(span: torch.Tensor, sizes: Sequence[int]) -> int:
    """Return which size holds a prompt with half as much around it."""
    wanted = 1.5 * float((span[1] - span[0]).max())
    return next((i for i, size in enumerate(sizes) if wanted <= size), len(sizes) - 1)


def _corner(span: torch.Tensor, size: int, grid: int) -> tuple[int, int]:
    """Return row and column of the first cell of a window around a prompt."""
    x, y = (span.mean(0) - size / 2).round().clamp(0, grid - size).int().tolist()
    return y, x


def _alike(
    waiting: dict[int, int], prompts: Sequence[WindowPrompt], batch: int
) -> Iterator[list[int]]:
    """Yield prompts that fit into one pass: of a size, with as many tokens."""
    groups: dict[tuple[int, int, bool, bool], list[int]] = defaultdict(list)
    for at, size in waiting.items():
        given = prompts[at]
        points = 0 if given.points_xy is None else len(given.points_xy)
        kind = (size, points, given.box_xy is None, given.mask_logits is None)
        groups[kind].append(at)
    for members in groups.values():
        for start in range(0, len(members), batch):
            yield members[start : start + batch]


def _decode_batch(
    sam: Sam,
    emb: Embedding,
    image: torch.Tensor,
    prompts: Sequence[WindowPrompt],
    corners: Sequence[tuple[int, int]],
    size: int,
    multimask: bool,
    tokens: torch.Tensor,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Run the stock decoder's parts on windows of one size: (B, C, 4n, 4n), (B, C)."""
    decoder, count = sam.mask_decoder, len(prompts)
    points = boxes = None
    if prompts[0].points_xy is not None:
        coords = torch.stack([p.points_xy for p in prompts])  # type: ignore[misc]
        labels = torch.stack([p.labels for p in prompts])  # type: ignore[misc]
        points = (to_frame(coords, emb), labels)
    if prompts[0].box_xy is not None:
        corners_xy = torch.stack([p.box_xy for p in prompts])  # type: ignore[misc]
        boxes = to_frame(corners_xy.reshape(-1, 2, 2), emb).reshape(-1, 4)
    given = [p.mask_logits for p in prompts if p.mask_logits is not None]
    sparse, dense = _prompted(sam, points, boxes, given, corners, size)
    seen = _windows(image, corners, size)
    position = _windows(dense_positions(sam.prompt_encoder), corners, size)
    quality = decoder.iou_token.weight
    asked = torch.cat([quality, tokens]).expand(count, -1, -1)  # (B, 5, C)
    read, cells = decoder.transformer(
        seen + dense, position, torch.cat([asked, sparse], dim=1)
    )
    pixels = decoder.output_upscaling(cells.transpose(1, 2).reshape(seen.shape))
    wanted = range(1, len(tokens)) if multimask else range(1)
    kernels = torch.stack(
        [decoder.output_hypernetworks_mlps[i](read[:, 1 + i]) for i in wanted], dim=1
    )
    logits = torch.einsum("bkc,bchw->bkhw", kernels, pixels)
    return logits, decoder.iou_prediction_head(read[:, 0])[:, list(wanted)]


def _windows(
    maps: torch.Tensor, corners: Sequence[tuple[int, int]], size: int
) -> torch.Tensor:
    """Cut (B, C, size, size) out of the (1, C, h, w) that all prompts share."""
    cut = [maps[0, :, r : r + size, c : c + size] for r, c in corners]
    return torch.stack(cut)


def _prompted(
    sam: Sam,
    points: tuple[torch.Tensor, torch.Tensor] | None,
    boxes: torch.Tensor | None,
    mask_logits: Sequence[torch.Tensor],
    corners: Sequence[tuple[int, int]],
    size: int,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Embed prompts as the whole grid's, (B, N, C) and (B, C, size, size) of it.

    A mask prompt is embedded by blocks of 4 x 4 pixels, a drawn one cell by cell:
    what lies outside of the window changes nothing in it.
    """
    encoder = sam.prompt_encoder
    sparse, dense = PromptEncoder.forward(encoder, points, boxes, None)
    if mask_logits:
        cut = [
            mask[:, 4 * r : 4 * (r + size), 4 * c : 4 * (c + size)]
            for mask, (r, c) in zip(mask_logits, corners, strict=True)
        ]
        dense = encoder.mask_downscaling(torch.stack(cut))
    else:
        dense = dense[..., :size, :size]  # the same for every cell
    if isinstance(encoder, DensePromptEncoder):
        first = torch.tensor(corners, device=dense.device).flip(1)  # (column, row)
        dense = dense + encoder.drawn(points, boxes, first, size)
    return sparse, dense
