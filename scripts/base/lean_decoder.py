"""segment_anything's decoder as training wants it: the same numbers in half the time.

After its transformer SAM's decoder treats every cell of the grid by itself: two
transposed convolutions of stride 2 make 4 x 4 finer cells of each. Written as linear
layers on the cells they need no change of layout, and a loss that is taken on some
cells only need not draw the others. Forward values equal the stock decoder's but for
rounding; a test holds them together.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call

from napari_promise.model.dense_prompts import BOX_MAPS, box_maps, point_maps
from scripts.base.prompting import Prompt

FINE = 4  # finer cells along a side of a cell of the grid


@dataclass(frozen=True, eq=False)
class Answer:
    """What the transformer says, before any mask is drawn.

    Attributes
    ----------
    cells : Tensor
        (N, G * G, C), row by row.
    weights : Tensor
        (N, 4, C / 8), what makes masks of the finer cells' channels.
    quality : Tensor
        (N, 4) float32 predicted IoU.
    """

    cells: Tensor
    weights: Tensor
    quality: Tensor


def answer(
    sam: nn.Module, embedding: Tensor, position: Tensor, prompt: Prompt
) -> Answer:
    """Run prompt encoder and transformer.

    Parameters
    ----------
    embedding, position : Tensor
        (1, C, G, G).
    """
    decoder = sam.mask_decoder
    with torch.autocast("cpu", enabled=False):
        sparse, dense = _embedded(sam.prompt_encoder, prompt)
    count, side = len(sparse), embedding.shape[-1]
    own = torch.cat([decoder.iou_token.weight, decoder.mask_tokens.weight])
    tokens = torch.cat([own[None].expand(count, -1, -1), sparse], 1)
    kind = torch.bfloat16 if torch.is_autocast_enabled("cpu") else torch.float32
    source = embedding.flatten(2).transpose(1, 2).to(kind) + dense.to(kind)
    where = position.flatten(2).transpose(1, 2).to(kind).expand(count, -1, -1)

    def as_grid(cells: Tensor) -> Tensor:
        return cells.transpose(1, 2).unflatten(2, (side, side))

    # Wholly in one type: mixed with float32 half the time goes into conversion.
    own_weights = {k: v.to(kind) for k, v in decoder.transformer.named_parameters()}
    given = (as_grid(source), as_grid(where), tokens.to(kind))
    with torch.autocast("cpu", enabled=False):
        said, cells = functional_call(decoder.transformer, own_weights, given)
    hypers = decoder.output_hypernetworks_mlps
    weights = torch.stack([mlp(said[:, 1 + i]) for i, mlp in enumerate(hypers)], 1)
    return Answer(cells, weights, decoder.iou_prediction_head(said[:, 0]).float())


def drawn(sam: nn.Module, given: Answer, chosen: Tensor | None = None) -> Tensor:
    """Draw all four masks.

    Parameters
    ----------
    chosen : Tensor, optional
        (N, M) numbers of the cells to draw; all without it.

    Returns
    -------
    Tensor
        (N, 4, M, 16) float32 logits; the last axis runs over a cell's finer cells as
        `fine` has them.
    """
    first, norm, _, second, _ = sam.mask_decoder.output_upscaling
    cells = given.cells
    if chosen is not None:
        cells = cells.gather(1, chosen[..., None].expand(-1, -1, cells.shape[-1]))
    # (C, out, 2, 2) -> finer cells first, so that channels stay last
    finer = F.linear(cells, *_as_linear(first)).unflatten(2, (4, -1))
    finer = F.gelu(
        F.layer_norm(finer, finer.shape[-1:], norm.weight, norm.bias, norm.eps)
    )
    finest = F.gelu(F.linear(finer, *_as_linear(second)).unflatten(3, (4, -1)))
    count = len(cells)
    masks = finest.flatten(1, 3) @ given.weights.transpose(1, 2).to(finest.dtype)
    return masks.view(count, -1, 16, masks.shape[-1]).permute(0, 3, 1, 2).float()


def fine(grids: Tensor) -> Tensor:
    """Bring (N, S, S) to (N, G * G, 16), as `drawn` has it.

    The finer cells of a cell: its four quarters row by row, each by its quarters.
    """
    side = grids.shape[-1] // FINE
    parts = grids.unflatten(2, (side, 2, 2)).unflatten(1, (side, 2, 2))
    # N, row, upper, row in it, column, left, column in it
    return parts.permute(0, 1, 4, 2, 5, 3, 6).reshape(len(grids), side * side, 16)


def whole(cells: Tensor) -> Tensor:
    """Bring (N, G * G, 16) back to (N, S, S)."""
    side = round(cells.shape[1] ** 0.5)
    parts = cells.view(len(cells), side, side, 2, 2, 2, 2)
    parts = parts.permute(0, 1, 3, 5, 2, 4, 6)
    return parts.reshape(len(cells), side * FINE, side * FINE)


def _as_linear(layer: nn.ConvTranspose2d) -> tuple[Tensor, Tensor]:
    weight = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4 * out, in)
    return weight, layer.bias.repeat(4)


def _embedded(encoder: nn.Module, prompt: Prompt) -> tuple[Tensor, Tensor]:
    """Tokens (N, P, C) and dense embedding (N, G * G or 1, C) of prompts."""
    count = len(prompt.points)
    grid, side = encoder.image_embedding_size[0], encoder.input_image_size[0]
    points = prompt.points.float()
    sparse = [points.new_zeros(count, 0, encoder.embed_dim)]
    if prompt.labels.numel():
        alone = prompt.boxes is None
        sparse.append(encoder._embed_points(points, prompt.labels, pad=alone))
    if prompt.boxes is not None:
        sparse.append(encoder._embed_boxes(prompt.boxes))
    if prompt.logits is None:
        dense = encoder.no_mask_embed.weight[None].expand(count, 1, -1)
    else:
        dense = _mask_cells(encoder.mask_downscaling, prompt.logits[:, 0])
    if prompt.labels.numel() or prompt.boxes is not None:
        clicks = point_maps((points + 0.5) / side, prompt.labels, grid)
        if prompt.boxes is None:
            frame = clicks.new_zeros(count, BOX_MAPS, grid, grid)
        else:
            frame = box_maps((prompt.boxes + 0.5) / side, grid)
        maps = torch.cat([clicks, frame], 1).flatten(2).transpose(1, 2)
        first, act, last = encoder.draw
        hidden = act(F.linear(maps, first.weight[:, :, 0, 0], first.bias))
        dense = dense + F.linear(hidden, last.weight[:, :, 0, 0], last.bias)
    return torch.cat(sparse, 1), dense


def _mask_cells(layers: nn.Module, logits: Tensor) -> Tensor:
    """SAM's down-scaling of mask prompts as linear layers, (N, G * G, C)."""
    first, norm, act, second, norm2, act2, last = layers
    cells = fine(logits).unflatten(2, (4, 4))
    cells = F.linear(cells, first.weight.flatten(1), first.bias)
    cells = act(F.layer_norm(cells, cells.shape[-1:], norm.weight, norm.bias, norm.eps))
    # (quarter, channel) -> as the second convolution reads it: channel, row, column
    weight = second.weight.flatten(2).transpose(1, 2).flatten(1)
    cells = F.linear(cells.flatten(2), weight, second.bias)
    cells = act2(
        F.layer_norm(cells, cells.shape[-1:], norm2.weight, norm2.bias, norm2.eps)
    )
    return F.linear(cells, last.weight[:, :, 0, 0], last.bias)
