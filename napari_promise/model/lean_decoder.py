"""SAM's prompt encoder and mask decoder for one click: the same numbers, sooner.

The stock decoder walks over its 64 x 64 cells some forty times, each time through all
of memory, and between two steps its thread waits for Python. Here the cells are taken a
piece at a time through all that follows, while they lie in the processor's cache;
projections of thousands of cells become projections of the few tokens that meet them;
the transposed convolutions become products, for their strides are their sides. All of
it is one TorchScript function, which holds no lock of Python: the window's thread goes
on drawing meanwhile.

What comes out is stock SAM's answer but for the rounding of sums: logits to about 1e-5
of their range, tested. Weights are those of the model, read and never written.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import torch
import torch.nn.functional as F
from torch import nn

from napari_promise.model import _torchvision  # noqa: F401  (before segment_anything)
from napari_promise.model.dense_prompts import (
    BOX_MAPS,
    DensePromptEncoder,
    box_maps,
    point_maps,
)

# isort: split
from segment_anything.modeling import MaskDecoder, PromptEncoder, TwoWayTransformer

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

__all__ = ["decode_lean", "is_lean_possible", "prepare_lean"]

#: Cells that are taken at once: what is made of them stays in the second cache.
PIECE = 1024
#: Lists of weights of a layer of the transformer, see `_weights_of_decoder`.
PER_LAYER = 8


def is_lean_possible(sam: Sam) -> bool:
    """Whether a model has the parts that are known here, on the CPU."""
    decoder, encoder = sam.mask_decoder, sam.prompt_encoder
    return (
        type(decoder) is MaskDecoder
        and type(decoder.transformer) is TwoWayTransformer
        and len(decoder.transformer.layers) == 2
        and type(encoder) in (PromptEncoder, DensePromptEncoder)
        and torch.device(sam.device).type == "cpu"
    )


def prepare_lean(sam: Sam) -> None:
    """Compile, half a second, so that the first click need not wait for it."""
    if is_lean_possible(sam):
        _weights(sam)


def decode_lean(
    sam: Sam,
    image: torch.Tensor,
    *,
    positions: torch.Tensor,
    points: tuple[torch.Tensor, torch.Tensor] | None = None,
    boxes: torch.Tensor | None = None,
    mask_logits: torch.Tensor | None = None,
    multimask: bool,
    delta: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode the prompts of one object; see `promise.decode_frame`, with B = 1.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
        One that `is_lean_possible`.
    image : torch.Tensor
        (1, C, h, w) float32 embedding.
    positions : torch.Tensor
        (1, C, h, w), see `promise.dense_positions`.
    points, boxes, mask_logits, multimask, delta
        See `promise.decode_frame`.

    Returns
    -------
    logits : torch.Tensor
        (1, K, 4h, 4w), K = 3 with `multimask`, else 1.
    iou : torch.Tensor
        (1, K).
    """
    weights = _weights(sam)
    own = weights.tokens
    if delta is not None:
        own = torch.cat([own[:1], own[1:] + delta])
    none = image.new_zeros(0)
    coords = labels = none
    if points is not None:
        coords, labels = points[0][0].float(), points[1][0].float()
    # Unoptimized: the compiler would spend the first clicks on watching the shapes.
    with torch.no_grad(), torch.jit.optimized_execution(False):  # type: ignore[attr-defined]
        logits, iou = weights.answer(
            image[0].flatten(1).t(),
            positions[0].flatten(1).t(),
            coords.reshape(-1, 2),
            labels,
            none.reshape(0, 4) if boxes is None else boxes.reshape(-1, 4).float(),
            none if mask_logits is None else mask_logits[0].float(),
            own,
            weights.prompts,
            weights.decoder,
            weights.heads,
            [1, 2, 3] if multimask else [0],
            weights.side,
        )
    return logits[None], iou[None]


# Weights ---------------------------------------------------------------------------


class _Weights:
    """A model's weights in the order in which `_answer` wants them.

    Attributes
    ----------
    tokens : torch.Tensor
        (5, C), the token of quality and those of masks.
    prompts, decoder : list of list of torch.Tensor
    heads, side : int
        Of attention; of the padded frame in pixels.
    answer : callable
        `_answer`, compiled.
    """

    def __init__(self, sam: Sam) -> None:
        decoder = sam.mask_decoder
        tokens = [decoder.iou_token.weight, decoder.mask_tokens.weight]
        self.tokens = torch.cat(tokens).detach()
        self.prompts = _detached(_weights_of_prompts(sam.prompt_encoder))
        self.decoder = _detached(_weights_of_decoder(decoder))
        self.heads = int(decoder.transformer.num_heads)
        self.side = int(sam.image_encoder.img_size)
        self.answer = _compiled(_answer)


#: Of each mask decoder its weights, and the versions of what was copied of them.
_KNOWN: WeakKeyDictionary[nn.Module, tuple[tuple[Any, ...], _Weights]]
_KNOWN = WeakKeyDictionary()


def _weights(sam: Sam) -> _Weights:
    decoder = sam.mask_decoder
    up = decoder.output_upscaling
    copied = (decoder.iou_token, decoder.mask_tokens, up[0], up[3])
    state = tuple((id(m.weight), m.weight._version) for m in copied)
    known = _KNOWN.get(decoder)
    if known is None or known[0] != state:
        known = _KNOWN[decoder] = state, _Weights(sam)
    return known[1]


def _detached(lists: list[list[torch.Tensor]]) -> list[list[torch.Tensor]]:
    return [[tensor.detach() for tensor in some] for some in lists]


def _of(*layers: Any) -> list[torch.Tensor]:
    return [t for layer in layers for t in (layer.weight, layer.bias)]


def _weights_of_prompts(encoder: Any) -> list[list[torch.Tensor]]:
    """List what embeds points and boxes, no mask, masks, and what draws prompts."""
    kinds = [encoder.not_a_point_embed, *encoder.point_embeddings]
    first, norm, _, second, norm2, _, last = encoder.mask_downscaling
    # (quarter, channel) -> as the second convolution reads it: channel, row, column
    gathered = second.weight.flatten(2).transpose(1, 2).flatten(1)
    drawing: list[Any] = []
    if isinstance(encoder, DensePromptEncoder):
        drawing = list(encoder.draw)
    return [
        [encoder.pe_layer.positional_encoding_gaussian_matrix],
        [torch.cat([kind.weight for kind in kinds])],
        [encoder.no_mask_embed.weight],
        [first.weight.flatten(1), first.bias, norm.weight, norm.bias]
        + [gathered, second.bias, norm2.weight, norm2.bias]
        + [last.weight.flatten(1), last.bias],
        [t for layer in drawing[::2] for t in (layer.weight.flatten(1), layer.bias)],
    ]


def _weights_of_decoder(decoder: Any) -> list[list[torch.Tensor]]:
    """List the layers, what reads at last, what draws, the heads of quality, masks."""

    def attention(part: Any) -> list[torch.Tensor]:
        return _of(part.q_proj, part.k_proj, part.v_proj, part.out_proj)

    def as_linear(layer: nn.ConvTranspose2d) -> list[torch.Tensor]:
        assert layer.bias is not None
        flat = layer.weight.permute(2, 3, 1, 0).flatten(0, 2)  # (4 * out, in)
        return [flat.contiguous(), layer.bias.repeat(4)]

    transformer, lists = decoder.transformer, []
    for layer in transformer.layers:
        lists += [
            attention(layer.self_attn),
            _of(layer.norm1),
            attention(layer.cross_attn_token_to_image),
            _of(layer.norm2),
            _of(layer.mlp.lin1, layer.mlp.lin2),
            _of(layer.norm3),
            attention(layer.cross_attn_image_to_token),
            _of(layer.norm4),
        ]
    first, norm, _, second, _ = decoder.output_upscaling
    return [
        *lists,
        attention(transformer.final_attn_token_to_image),
        _of(transformer.norm_final_attn),
        [*as_linear(first), norm.weight, norm.bias, *as_linear(second)],
        _of(*decoder.iou_prediction_head.layers),
        *[_of(*head.layers) for head in decoder.output_hypernetworks_mlps],
    ]


_COMPILED: dict[Callable[..., Any], Callable[..., Any]] = {}


def _compiled(function: Callable[..., Any]) -> Callable[..., Any]:
    """Compile a function with TorchScript; itself where that is not to be had."""
    if function not in _COMPILED:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # newer torch would rather export
            try:
                _COMPILED[function] = torch.jit.script(function)
            except Exception:  # whatever keeps a compiler from it: only time is lost
                _COMPILED[function] = function
    return _COMPILED[function]


# In TorchScript, which knows no globals ----------------------------------------------


def _normed(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, two_d: bool = False
) -> torch.Tensor:
    """Norm of the last axis, with the epsilon of `LayerNorm` or of `LayerNorm2d`."""
    return F.layer_norm(x, [x.shape[-1]], weight, bias, 1e-6 if two_d else 1e-5)


def _through(x: torch.Tensor, w: list[torch.Tensor]) -> torch.Tensor:
    """Linear layers with rectifiers between them."""
    for i in range(len(w) // 2):
        if i > 0:
            x = torch.relu(x)
        x = F.linear(x, w[2 * i], w[2 * i + 1])
    return x


def _heads_of(
    x: torch.Tensor, weight: torch.Tensor, bias: torch.Tensor, heads: int
) -> torch.Tensor:
    """Project tokens and bring them to (heads, N, d)."""
    return F.linear(x, weight, bias).view(x.shape[0], heads, -1).transpose(0, 1)


def _among_tokens(
    q: torch.Tensor, v: torch.Tensor, w: list[torch.Tensor], heads: int
) -> torch.Tensor:
    asks = _heads_of(q, w[0], w[1], heads)
    keys = _heads_of(q, w[2], w[3], heads)
    scores = asks @ keys.transpose(1, 2) / math.sqrt(asks.shape[2])
    read = torch.softmax(scores, -1) @ _heads_of(v, w[4], w[5], heads)
    return F.linear(read.transpose(0, 1).reshape(q.shape[0], -1), w[6], w[7])


def _asked(q: torch.Tensor, w: list[torch.Tensor], heads: int) -> torch.Tensor:
    """Turn tokens that ask cells into vectors over the cells' own channels, (hN, C).

    The keys' bias adds the same to all scores of a token, which softmax takes out.
    """
    asks = _heads_of(q, w[0], w[1], heads) / math.sqrt(w[0].shape[0] // heads)
    channels = w[2].shape[1]
    return (asks @ w[2].view(heads, -1, channels)).reshape(-1, channels)


def _read(
    sums: list[torch.Tensor], asks: torch.Tensor, cells: torch.Tensor, at: torch.Tensor
) -> list[torch.Tensor]:
    """Add a piece of cells to a softmax-weighted mean: its maximum, weight and sum."""
    scores = torch.mm(asks, (cells + at).t())
    most = torch.maximum(sums[0], scores.amax(1, True))
    scores = scores.sub_(most).exp_()
    fade = (sums[0] - most).exp()
    weight = sums[1] * fade + scores.sum(1, True)
    return [most, weight, torch.addmm(sums[2] * fade, scores, cells)]


def _nothing_read(asks: torch.Tensor) -> list[torch.Tensor]:
    most = torch.full([asks.shape[0], 1], -1e30)
    return [most, torch.zeros_like(most), torch.zeros_like(asks)]


def _told(sums: list[torch.Tensor], w: list[torch.Tensor], heads: int) -> torch.Tensor:
    """Bring what was read of the cells to the tokens, (N, C)."""
    channels = w[4].shape[1]
    mean = (sums[2] / sums[1]).view(heads, -1, channels)
    read = mean @ w[4].view(heads, -1, channels).transpose(1, 2)  # (heads, N, d)
    rows = read.transpose(0, 1).reshape(mean.shape[1], -1) + w[5]
    return F.linear(rows, w[6], w[7])


def _drawn_prompts(
    points: torch.Tensor,
    labels: torch.Tensor,
    boxes: torch.Tensor,
    w: list[torch.Tensor],
    grid: int,
    side: int,
    box_maps_in_all: int = BOX_MAPS,
) -> torch.Tensor:
    """Return what two layers make of the maps of prompts, (cells, C)."""
    clicks = point_maps(((points + 0.5) / side)[None], labels[None], grid)
    if boxes.shape[0] > 0:
        frame = box_maps((boxes + 0.5) / side, grid)
    else:
        frame = clicks.new_zeros([1, box_maps_in_all, grid, grid])
    maps = torch.cat([clicks, frame], 1)[0].flatten(1).t()
    return F.linear(F.gelu(F.linear(maps, w[0], w[1])), w[2], w[3])


def _tokens(
    points: torch.Tensor,
    labels: torch.Tensor,
    boxes: torch.Tensor,
    w: list[list[torch.Tensor]],
    side: int,
) -> torch.Tensor:
    """Return the tokens of points and boxes, (N, C); points alone get one of none."""
    kinds = labels.long() + 1  # none, exclude, include
    where = points
    if boxes.shape[0] > 0:
        corners = boxes.view(-1, 2)
        kinds = torch.cat([kinds, torch.tensor([3, 4]).repeat(boxes.shape[0])])
        where = torch.cat([where, corners])
    elif points.shape[0] > 0:
        kinds = torch.cat([kinds, torch.zeros([1], dtype=torch.long)])
        where = torch.cat([where, torch.zeros([1, 2])])
    coded = 2 * math.pi * ((2 * ((where + 0.5) / side) - 1) @ w[0][0])
    coded = torch.cat([torch.sin(coded), torch.cos(coded)], -1)
    return coded * (kinds > 0)[:, None] + w[1][0][kinds]


def _mask_cells(logits: torch.Tensor, w: list[torch.Tensor], grid: int) -> torch.Tensor:
    """Return SAM's down-scaling of a mask prompt, (cells, C)."""
    # row, upper half, row in it, column, left half, column in it
    parts = logits.view(grid, 2, 2, grid, 2, 2).permute(0, 3, 1, 4, 2, 5)
    x = F.linear(parts.reshape(-1, 4), w[0], w[1])
    x = F.gelu(_normed(x, w[2], w[3], True))
    x = F.linear(x.view(grid * grid, -1), w[4], w[5])
    x = F.gelu(_normed(x, w[6], w[7], True))
    return F.linear(x, w[8], w[9])


def _answer(
    image: torch.Tensor,
    positions: torch.Tensor,
    points: torch.Tensor,
    labels: torch.Tensor,
    boxes: torch.Tensor,
    mask: torch.Tensor,
    own: torch.Tensor,
    prompts: list[list[torch.Tensor]],
    w: list[list[torch.Tensor]],
    heads: int,
    wanted: list[int],
    side: int,
    step: int = PIECE,
    per: int = PER_LAYER,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return masks (K, 4g, 4g) and their quality (K,); image is (g * g, C)."""
    count, channels = image.shape
    grid = int(math.sqrt(count))
    tokens = torch.cat([own, _tokens(points, labels, boxes, prompts, side)])
    if mask.numel() > 0:
        dense = _mask_cells(mask, prompts[3], grid)
    else:
        dense = prompts[2][0].expand(count, channels)
    if len(prompts[4]) > 0 and points.shape[0] + boxes.shape[0] > 0:
        drawn = _drawn_prompts(points, labels, boxes, prompts[4], grid, side)
        dense = dense + drawn

    q = _normed(_among_tokens(tokens, tokens, w[0], heads), w[1][0], w[1][1])
    asks = _asked(q + tokens, w[2], heads)
    sums, pieces = _nothing_read(asks), [image[:0]]
    pieces.clear()
    for start in range(0, count, step):
        piece = (image[start : start + step] + dense[start : start + step]).contiguous()
        pieces.append(piece)
        sums = _read(sums, asks, piece, positions[start : start + step])
    for layer in range(2):
        at = per * layer
        q = _normed(q + _told(sums, w[at + 2], heads), w[at + 3][0], w[at + 3][1])
        q = _normed(q + _through(q, w[at + 4]), w[at + 5][0], w[at + 5][1])
        # The cells ask the tokens: what a token answers, as the cells' own channels.
        ways = w[at + 6]
        keys = _heads_of(q + tokens, ways[2], ways[3], heads)
        keys = keys / math.sqrt(keys.shape[2])
        meets = (keys @ ways[0].view(heads, -1, channels)).reshape(-1, channels)
        extra = (keys @ ways[1].view(heads, -1, 1)).reshape(-1, 1)
        says = _heads_of(q, ways[4], ways[5], heads)
        out = ways[6].view(channels, heads, -1).permute(1, 2, 0)  # (heads, d, C)
        gives = (says @ out).reshape(-1, channels)
        if layer == 0:
            p = q + tokens
            q = _normed(
                q + _among_tokens(p, q, w[per], heads), w[at + 9][0], w[at + 9][1]
            )
            asks = _asked(q + tokens, w[per + 2], heads)
        else:
            asks = _asked(q + tokens, w[2 * per], heads)
        sums = _nothing_read(asks)
        for i in range(len(pieces)):
            piece = pieces[i]
            here = positions[step * i : step * (i + 1)]
            scores = torch.addmm(extra, meets, (piece + here).t())
            shares = torch.softmax(scores.view(heads, tokens.shape[0], -1), 1)
            given = torch.addmm(piece + ways[7], shares.flatten(0, 1).t(), gives)
            piece = _normed(given, w[at + 7][0], w[at + 7][1])
            pieces[i] = piece
            sums = _read(sums, asks, piece, here)
    q = _normed(
        q + _told(sums, w[2 * per], heads), w[2 * per + 1][0], w[2 * per + 1][1]
    )

    last = 2 * per + 2
    kernels = torch.stack([_through(q[1 + i], w[last + 2 + i]) for i in wanted])
    up, quality = w[last], _through(q[0], w[last + 1])[wanted]
    masks = torch.empty([len(wanted), 16 * count])
    for i in range(len(pieces)):
        x = F.linear(pieces[i], up[0], up[1]).view(-1, up[2].shape[0])
        x = F.gelu(_normed(x, up[2], up[3], True))
        x = F.gelu(F.linear(x, up[4], up[5])).view(-1, kernels.shape[1])
        first = 16 * step * i
        masks[:, first : first + x.shape[0]] = torch.mm(kernels, x.t())
    # row, column, upper half, left half, row in it, column in it
    fine = masks.view(len(wanted), grid, grid, 2, 2, 2, 2).permute(0, 1, 3, 5, 2, 4, 6)
    return fine.reshape(len(wanted), 4 * grid, 4 * grid), quality
