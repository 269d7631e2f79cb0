"""The one forward pass: clicks, auto-prompts, training and evaluation meet here.

Prompts in the image's pixels go in, low-resolution logits come out, and the stock
prompt encoder and mask decoder of `segment_anything` do the work. An adapter may
shift the mask tokens (IPS [1]_) or propose prompts (APM [1]_); without one the
result is stock SAM's, bit for bit. Gradient mode and device are the caller's business.

References
----------
.. [1] Wang et al., "ProMISe: Promptable Medical Image Segmentation using SAM",
   arXiv 2403.04164, 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F
from torch import nn

from napari_promise.model.auto_prompt import HeatmapAPM, place_points
from napari_promise.model.instance_prompter import InstanceAPM
from napari_promise.model.instant_prompter import InstantAPM, parts_of_map
from napari_promise.model.lean_decoder import decode_lean, is_lean_possible
from napari_promise.model.pattern_shift import shifted_decode
from napari_promise.segmentation import NoPrompterError

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

    from napari_promise.model.adapters import Adapter
    from napari_promise.model.sam import Embedding


@dataclass(frozen=True)
class AutoPrompts:
    """What an auto-prompting module proposes for one image.

    Attributes
    ----------
    points_xy : numpy.ndarray
        (P', 2) float64, (x, y) in the plane's pixels, inside the encoded image;
        fewer than the adapter's slots where fewer good places were found.
    labels : numpy.ndarray
        (P',) int64, 1 include and 0 exclude; positives first, deepest first.
    scores : numpy.ndarray
        (P',) float64 in [0, 1], confidence that the label is right; NaN where the
        module states none.
    logits : torch.Tensor or None
        (1, 1, 4h, 4w) coarse foreground map in SAM's padded frame, ready as mask
        prompt; float16-rounded. None where the module draws no map.
    presence : float
        In [0, 1]: confidence that there is something to prompt at all; 1 where the
        module always sees something.
    """

    points_xy: np.ndarray
    labels: np.ndarray
    scores: np.ndarray
    logits: torch.Tensor | None
    presence: float


def to_frame(coords_xy: torch.Tensor, emb: Embedding) -> torch.Tensor:
    """Bring pixels of the plane to SAM's padded frame, as `ResizeLongestSide` does.

    Parameters
    ----------
    coords_xy : torch.Tensor
        (..., 2) as (x, y).
    emb : Embedding
        Says where in the plane the encoded image lies, and how it was scaled.

    Returns
    -------
    torch.Tensor
        (..., 2) float32. Differentiable.
    """
    (height, width), (new_h, new_w) = emb.original_size, emb.input_size
    scale = coords_xy.new_tensor([new_w / width, new_h / height], dtype=torch.float64)
    first = coords_xy.new_tensor(emb.origin[::-1], dtype=torch.float64)
    return ((coords_xy.to(torch.float64) - first) * scale).to(torch.float32)


def decode(
    sam: Sam,
    emb: Embedding,
    *,
    points_xy: torch.Tensor | None = None,
    labels: torch.Tensor | None = None,
    boxes_xy: torch.Tensor | None = None,
    mask_logits: torch.Tensor | None = None,
    multimask: bool,
    adapter: Adapter | None = None,
    ips: bool = True,
    lean: bool = False,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode masks for B prompts on one embedded image.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
        Frozen base model.
    emb : Embedding
        The image, embedded by the same model.
    points_xy : torch.Tensor, optional
        (B, N, 2) as (x, y) in the plane's pixels.
    labels : torch.Tensor, optional
        (B, N): 1 include, 0 exclude, -1 no point (padding).
    boxes_xy : torch.Tensor, optional
        (B, 4) as (x0, y0, x1, y1) in the plane's pixels.
    mask_logits : torch.Tensor, optional
        (B, 1, 4h, 4w) low-resolution logits as mask prompt.
    multimask : bool
        Three masks (tokens 1-3) or the single one (token 0).
    adapter : Adapter, optional
        Its IPS shifts the mask tokens, where it has one and `ips` is on.
    ips : bool
        Off, the adapter changes nothing here.
    lean : bool
        By `lean_decoder` where that can be, and B is 1: the same but for rounding.
        Without gradients.

    Returns
    -------
    logits : torch.Tensor
        (B, C, 4h, 4w), C = 3 with `multimask`, else 1.
    iou : torch.Tensor
        (B, C) predicted mask quality; not trained for shifted tokens.

    Raises
    ------
    ValueError
        If points come without labels or no prompt is given at all.
    """
    points, boxes = _in_frame(emb, points_xy, labels, boxes_xy, mask_logits)
    image = emb.image.float()
    delta = None
    if ips and adapter is not None and adapter.ips is not None:
        delta = adapter.ips(image)[0]  # (4, C)
    count = len(mask_logits) if mask_logits is not None else 1
    if points is not None:
        count = len(points[0])
    elif boxes is not None:
        count = len(boxes)
    decoded = decode_frame
    if lean and count == 1 and is_lean_possible(sam):
        decoded = partial(decode_lean, positions=dense_positions(sam.prompt_encoder))
    return decoded(
        sam,
        image,
        points=points,
        boxes=boxes,
        mask_logits=mask_logits,
        multimask=multimask,
        delta=delta,
    )


def decode_every_token(
    sam: Sam,
    emb: Embedding,
    *,
    points_xy: torch.Tensor | None = None,
    labels: torch.Tensor | None = None,
    boxes_xy: torch.Tensor | None = None,
    mask_logits: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode with all mask tokens of stock SAM in one pass; see `decode`.

    The decoder draws them all in any case and gives away the single one or the three.
    Tokens that an adapter shifts see other tokens beside them, which is another pass.

    Returns
    -------
    logits : torch.Tensor
        (B, 4, 4h, 4w): what `decode` returns without `multimask`, then with it.
    iou : torch.Tensor
        (B, 4) predicted mask quality.
    """
    points, boxes = _in_frame(emb, points_xy, labels, boxes_xy, mask_logits)
    decoder = sam.mask_decoder
    arguments, positions = _decoder_arguments(
        sam, emb.image.float(), points, boxes, mask_logits
    )
    with _cells_in_rows(decoder, positions):
        return decoder.predict_masks(**arguments)


def _in_frame(
    emb: Embedding,
    points_xy: torch.Tensor | None,
    labels: torch.Tensor | None,
    boxes_xy: torch.Tensor | None,
    mask_logits: torch.Tensor | None,
) -> tuple[tuple[torch.Tensor, torch.Tensor] | None, torch.Tensor | None]:
    """Check the prompts of `decode` and bring points and boxes to SAM's frame."""
    if (points_xy is None) != (labels is None):
        raise ValueError("points need labels: give both points_xy and labels")
    if points_xy is None and boxes_xy is None and mask_logits is None:
        raise ValueError("nothing to decode: give points, a box or mask logits")
    points = boxes = None
    if points_xy is not None and labels is not None:
        points = (to_frame(points_xy, emb), labels)
    if boxes_xy is not None:
        boxes = to_frame(boxes_xy.reshape(-1, 2, 2), emb).reshape(-1, 4)
    return points, boxes


def decode_frame(
    sam: Sam,
    image: torch.Tensor,
    *,
    points: tuple[torch.Tensor, torch.Tensor] | None = None,
    boxes: torch.Tensor | None = None,
    mask_logits: torch.Tensor | None = None,
    multimask: bool,
    delta: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Decode prompts already in SAM's padded frame; see `decode`.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
    image : torch.Tensor
        (1, C, h, w) embedding after the neck.
    points : tuple of torch.Tensor, optional
        (B, N, 2) as (x, y) in frame pixels, and (B, N) labels.
    boxes : torch.Tensor, optional
        (B, 4) as (x0, y0, x1, y1) in frame pixels.
    mask_logits : torch.Tensor, optional
        (B, 1, 4h, 4w).
    multimask : bool
    delta : torch.Tensor, optional
        (4, C) added to the mask tokens.

    Returns
    -------
    tuple of torch.Tensor
        (B, C, 4h, 4w) logits and (B, C) predicted quality.
    """
    arguments, positions = _decoder_arguments(sam, image, points, boxes, mask_logits)
    arguments["multimask_output"] = multimask
    with _cells_in_rows(sam.mask_decoder, positions):
        if delta is None:
            return sam.mask_decoder(**arguments)
        return shifted_decode(sam.mask_decoder, delta, arguments)


def _decoder_arguments(
    sam: Sam,
    image: torch.Tensor,
    points: tuple[torch.Tensor, torch.Tensor] | None,
    boxes: torch.Tensor | None,
    mask_logits: torch.Tensor | None,
) -> tuple[dict[str, Any], torch.Tensor]:
    """Return what the decoder is given, and its positional encoding once more."""
    sparse, dense = sam.prompt_encoder(points=points, boxes=boxes, masks=mask_logits)
    positions = dense_positions(sam.prompt_encoder)
    arguments = {
        "image_embeddings": image,
        "image_pe": positions,
        "sparse_prompt_embeddings": sparse,
        "dense_prompt_embeddings": dense,
    }
    return arguments, positions


#: For each prompt encoder the matrix of its frequencies, its version, and what
#: `dense_positions` made of it.
_Positions = tuple[torch.Tensor, int, torch.Tensor]
_POSITIONS: WeakKeyDictionary[nn.Module, _Positions] = WeakKeyDictionary()


def dense_positions(prompt_encoder: nn.Module) -> torch.Tensor:
    """Positional encoding of the embedding's grid, computed once per model.

    Parameters
    ----------
    prompt_encoder : segment_anything.modeling.PromptEncoder

    Returns
    -------
    torch.Tensor
        (1, C, h, w): what ``get_dense_pe`` returns, laid out cell by cell.
    """
    matrix = prompt_encoder.pe_layer.positional_encoding_gaussian_matrix  # type: ignore[union-attr]
    assert isinstance(matrix, torch.Tensor)
    known = _POSITIONS.get(prompt_encoder)
    if known is None or known[0] is not matrix or known[1] != matrix._version:
        with torch.no_grad():
            positions = _cell_by_cell(prompt_encoder.get_dense_pe())  # type: ignore[operator]
        known = _POSITIONS[prompt_encoder] = (matrix, matrix._version, positions)
    return known[2]


def _cell_by_cell(maps: torch.Tensor) -> torch.Tensor:
    """Lay (1, C, h, w) out in memory with the channels of a cell side by side."""
    _, channels, height, width = maps.shape
    cells = maps.reshape(channels, height * width).t().contiguous()  # (h w, C)
    return cells.t().view(1, channels, height, width)


@contextmanager
def _cells_in_rows(decoder: nn.Module, positions: torch.Tensor) -> Iterator[None]:
    """Hand the transformer its cells as rows that lie in one piece, while this lasts.

    The stock decoder hands it views across the rows of the map, and every addition
    and norm of the first layer then jumps through memory for each number: a sixth of
    the time of a click. The numbers stay the same, so does the result. Training is
    left alone, and so are accelerators, whose kernels depend on the layout.
    """
    if torch.is_grad_enabled() or positions.device.type != "cpu":
        yield
        return

    def lay_out(
        _transformer: nn.Module, given: tuple[torch.Tensor, ...]
    ) -> tuple[torch.Tensor, ...] | None:
        image, _, tokens = given
        if len(image) != 1:
            return None
        return _cell_by_cell(image), positions, tokens

    transformer: nn.Module = decoder.transformer  # type: ignore[assignment]
    hook = transformer.register_forward_pre_hook(lay_out)
    try:
        yield
    finally:
        hook.remove()


def takes_first(adapter: Adapter | None, ips: bool = True) -> bool:
    """Whether the mask is the first of the three, mask token 1, whatever its quality.

    With IPS, for the quality head never saw shifted tokens; and with an adapter whose
    `AdapterInfo.mask_choice` says so, because its points were learnt through that mask.

    Parameters
    ----------
    adapter : Adapter, optional
    ips : bool
        Off, the adapter changes nothing in decoding.

    Returns
    -------
    bool
    """
    if adapter is None or not ips:
        return False
    return adapter.ips is not None or adapter.info.mask_choice == "paper"


def wants_multimask(
    n_points: int,
    *,
    has_box: bool = False,
    has_logits: bool = False,
    first: bool = False,
) -> bool:
    """Whether to ask the decoder for three masks.

    Stock SAM is ambiguous for a single click only. With `first` (see `takes_first`)
    always, because token 1 is the first of the three.

    Returns
    -------
    bool
    """
    return first or (n_points == 1 and not has_box and not has_logits)


def choose_mask(logits: torch.Tensor, iou: torch.Tensor, first: bool) -> int:
    """Index of the mask to use among those of one prompt.

    Parameters
    ----------
    logits : torch.Tensor
        (C, 4h, 4w) masks.
    iou : torch.Tensor
        (C,) predicted quality.
    first : bool
        Take the first mask (token 1), see `takes_first`.

    Returns
    -------
    int
        In [0, C).
    """
    if first or logits.shape[0] == 1:
        return 0
    return int(iou.argmax())


def auto_prompts(adapter: Adapter, emb: Embedding, sam: Sam) -> AutoPrompts:
    """Let the adapter's APM propose points, and perhaps a coarse map, for one image.

    Parameters
    ----------
    adapter : Adapter
        With an APM.
    emb : Embedding
        With the encoder levels that the APM reads.
    sam : segment_anything.modeling.Sam
        The base model, asked for the size of its mask prompt.

    Returns
    -------
    AutoPrompts
        Without points when a map shows that nothing is there.

    Raises
    ------
    NoPrompterError
        If the adapter has no APM.
    ValueError
        If `emb` lacks the levels that it reads.
    """
    if adapter.apm is None:
        raise NoPrompterError(
            f"adapter {adapter.info.name!r} has no auto-prompting module; choose one "
            "that has, or click yourself"
        )
    with torch.no_grad():
        if isinstance(adapter.apm, InstanceAPM):
            raise ValueError("a prompter of many objects places no points for one")
        if not isinstance(adapter.apm, HeatmapAPM | InstantAPM):
            points = adapter.apm(emb.levels)[0]  # (P, 2)
            return prompts_from_points(points, adapter.apm.labels, emb)
        logits = adapter.apm(emb.levels, emb.image)  # (1, 1, m, m)
    size = tuple(sam.prompt_encoder.mask_input_size)
    return prompts_from_map(logits[0, 0], emb, adapter.info.points, size)


#: Points that a part of a map gets at most: it is small, beside a whole image.
_POINTS_OF_A_PART = 6


def auto_prompts_of_parts(
    adapter: Adapter, emb: Embedding, sam: Sam
) -> tuple[AutoPrompts, ...]:
    """Let an APM that draws one map propose each part of it as an object.

    Parameters
    ----------
    adapter, emb, sam
        See `auto_prompts`; the APM is an `InstantAPM`.

    Returns
    -------
    tuple of AutoPrompts
        The surest first; empty where nothing is there.
    """
    assert isinstance(adapter.apm, InstantAPM)
    with torch.no_grad():
        logits = adapter.apm(emb.levels, emb.image)[0, 0]
    frame, cells = max(emb.input_size), logits.shape[-1]
    rows, columns = (max(1, round(cells * used / frame)) for used in emb.input_size)
    size = tuple(sam.prompt_encoder.mask_input_size)
    points = min(adapter.info.points, _POINTS_OF_A_PART)
    return tuple(
        prompts_from_map(part, emb, points, size)
        for part in parts_of_map(logits, rows, columns)
    )


def prompts_from_map(
    logits: torch.Tensor, emb: Embedding, points: int, size: tuple[int, ...]
) -> AutoPrompts:
    """Place points on a coarse foreground map.

    Parameters
    ----------
    logits : torch.Tensor
        (m, m) foreground logits over SAM's padded frame.
    emb : Embedding
        Gives the sizes of frame and image.
    points : int
        Slots: the first ``max(1, points // 2)`` positive, the rest negative.
    size : tuple of int
        (4h, 4w) of the mask prompt.

    Returns
    -------
    AutoPrompts
    """
    (height, width), (new_h, new_w) = emb.original_size, emb.input_size
    frame = max(new_h, new_w)
    cells = logits.shape[-1]
    # cells whose centre lies in the image, not in the padding
    rows = max(1, round(cells * new_h / frame))
    columns = max(1, round(cells * new_w / frame))
    probability = torch.sigmoid(logits.float())[:rows, :columns].cpu().numpy()
    placed = place_points(probability, points, cells)
    # cell centre -> frame -> image -> plane, pixel centres at integers
    x = (placed.cells[:, 1] + 0.5) * frame / cells * width / new_w - 0.5
    y = (placed.cells[:, 0] + 0.5) * frame / cells * height / new_h - 0.5
    xy = np.stack([x.clip(0, width - 1), y.clip(0, height - 1)], axis=1)
    xy += emb.origin[::-1]
    prompt = F.interpolate(
        logits[None, None].float(), size=size, mode="bilinear", align_corners=False
    )
    return AutoPrompts(
        points_xy=xy,
        labels=placed.labels,
        scores=placed.scores,
        logits=prompt.half().float(),
        presence=placed.presence,
    )


def prompts_from_points(
    points: torch.Tensor, labels: Sequence[int], emb: Embedding
) -> AutoPrompts:
    """Bring predicted points from SAM's padded frame into the plane.

    Parameters
    ----------
    points : torch.Tensor
        (P, 2) as (x, y) in frame pixels.
    labels : sequence of int
        (P,) by slot.
    emb : Embedding
        Gives the sizes of frame and image.

    Returns
    -------
    AutoPrompts
        All P points, those in the padding moved to the encoded image's nearest pixel.
    """
    (height, width), (new_h, new_w) = emb.original_size, emb.input_size
    xy = points.detach().double().cpu().numpy() * (width / new_w, height / new_h)
    return AutoPrompts(
        points_xy=xy.clip(0, (width - 1, height - 1)) + emb.origin[::-1],
        labels=np.array(labels, dtype=np.int64),
        scores=np.full(len(xy), np.nan),
        logits=None,
        presence=1.0,
    )
