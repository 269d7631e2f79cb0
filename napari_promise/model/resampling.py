"""Between a plane's own pixels and the logits of SAM's padded frame, both ways."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

if TYPE_CHECKING:
    from napari_promise.document import BBox
    from napari_promise.model.sam import Embedding

__all__ = ["logits_of_tile", "mask_to_logits", "upsample"]

#: How sure a mask prompt is of its pixels; the logit of it is about 6.9.
_MASK_CONFIDENCE = 1 - 1e-3
#: Rows of the image taken at a time, so that a ragged mask needs little memory.
_CHUNK = 256


def upsample(
    logits: torch.Tensor, emb: Embedding
) -> tuple[tuple[int, int, int, int] | None, np.ndarray]:
    """Bring one mask to the image's resolution, computing only along its outline.

    The same two bilinear steps as `Sam.postprocess_masks` (to the padded frame, then
    to the image) and the same threshold. The second step dominates on large images;
    here only those pixels are interpolated whose four sources differ in sign. Where
    the four agree, so does whatever lies between them.

    Parameters
    ----------
    logits : torch.Tensor
        (4h, 4w) low-resolution logits.
    emb : Embedding
        Gives the sizes of frame and image.

    Returns
    -------
    bbox : tuple of int or None
        (r0, c0, r1, c1) in the plane, half-open and tight; None when the mask is empty.
    crop : numpy.ndarray
        (r1 - r0, c1 - c0) bool; (0, 0) when the mask is empty.
    """
    empty = np.zeros((0, 0), dtype=bool)
    new_h, new_w = emb.input_size
    frame = max(new_h, new_w)
    middle = F.interpolate(
        logits[None, None].float(), (frame, frame), mode="bilinear", align_corners=False
    )[0, 0, :new_h, :new_w]
    values = middle.cpu().numpy()
    positive = values > 0
    rows = _taps(np.any(positive, axis=1), emb.original_size[0])
    columns = _taps(np.any(positive, axis=0), emb.original_size[1])
    if rows is None or columns is None:
        return None, empty
    # What the four sources of each cell agree on, then one look-up per pixel.
    count = positive.astype(np.uint8)
    count = count + np.concatenate([count[1:], count[-1:]])
    count = count + np.concatenate([count[:, 1:], count[:, -1:]], axis=1)
    first = int(rows.low[0])
    wide = np.take(count[first : int(rows.low[-1]) + 1], columns.low, axis=1)
    crop = np.empty((len(rows.low), len(columns.low)), dtype=bool)
    for start in range(0, len(rows.low), _CHUNK):
        part = slice(start, start + _CHUNK)
        agreed = np.take(wide, rows.low[part] - first, axis=0)
        crop[part] = agreed == 4
        r, c = np.nonzero((agreed > 0) & (agreed < 4))
        crop[start + r, c] = _interpolated(values, rows, columns, start + r, c) > 0
    in_rows, in_columns = np.flatnonzero(crop.any(1)), np.flatnonzero(crop.any(0))
    if not len(in_rows):
        return None, empty
    r0, r1 = int(in_rows[0]), int(in_rows[-1]) + 1
    c0, c1 = int(in_columns[0]), int(in_columns[-1]) + 1
    top, left = rows.start + emb.origin[0], columns.start + emb.origin[1]
    bbox = (top + r0, left + c0, top + r1, left + c1)
    return bbox, np.ascontiguousarray(crop[r0:r1, c0:c1])


def mask_to_logits(
    mask: NDArray[np.bool_], emb: Embedding, size: tuple[int, int]
) -> torch.Tensor:
    """Turn a mask of the image into a mask prompt.

    Parameters
    ----------
    mask : (H, W) bool
        Of the whole plane.
    emb : Embedding
        Says which part of the plane was encoded, how it was scaled, and the device.
    size : (int, int)
        Rows and columns of the mask prompt.

    Returns
    -------
    torch.Tensor
        (1, 1, *size) logits in the padded frame: how much of each cell the mask
        covers, as the logit of a probability. Rounded as `round_logits` does.

    Raises
    ------
    ValueError
        If the mask does not have the plane's shape.
    """
    if mask.shape != emb.plane_shape:
        raise ValueError(
            f"the mask prompt has shape {mask.shape}, the image {emb.plane_shape}; "
            "pass a mask of this image."
        )
    frame = max(emb.input_size)
    rows, columns = (
        max(1, round(cells * used / frame))
        for cells, used in zip(size, emb.input_size, strict=True)
    )
    part = np.array(mask[emb.window], np.uint8)
    pixels = torch.from_numpy(part).to(emb.image.device)
    covered = F.adaptive_avg_pool2d(pixels[None, None].float(), (rows, columns))
    covered = F.pad(covered, (0, size[1] - columns, 0, size[0] - rows))
    logits = torch.logit(covered.clamp(1 - _MASK_CONFIDENCE, _MASK_CONFIDENCE))
    return logits.half().float()


def logits_of_tile(
    logits: torch.Tensor, tile: BBox | None, emb: Embedding
) -> torch.Tensor:
    """Bring the logits that one tile of a plane gave to the frame of another.

    Parameters
    ----------
    logits : torch.Tensor
        (1, h, w) low-resolution logits in the padded frame of a tile.
    tile : (int, int, int, int) or None
        The part of the plane that they cover; None for the whole plane.
    emb : Embedding
        Of the other tile.

    Returns
    -------
    torch.Tensor
        (1, h, w): the same mask seen through the other tile; the logits themselves
        where that is the same one. Beyond the first tile the values at its edge go on,
        but for those above zero: what nobody has seen is left open.
    """
    window = emb.bbox
    rows, columns = emb.plane_shape
    seen = tile or (0, 0, rows, columns)
    if seen == window:
        return logits
    size = logits.shape[-1]
    found, beyond = logits[0].float(), []
    for axis in (0, 1):
        at, step = _cells(window, axis, size), _step(window, size)
        from_step = _step(seen, size)
        source = (at - seen[axis]) / from_step - 0.5
        last = (seen[axis + 2] - seen[axis]) / from_step - 1
        beyond.append((source < -0.5) | (source > last + 0.5))
        weights = _tent(source.clip(0, last), max(1.0, step / from_step), size)
        taken = torch.from_numpy(weights).to(found)
        found = taken @ found if axis == 0 else found @ taken.T
    outside = torch.from_numpy(beyond[0][:, None] | beyond[1][None, :])
    found = torch.where(outside.to(found.device), found.clamp(max=0), found)
    return found[None].half().float()


def _step(bbox: BBox, size: int) -> float:
    """Pixels of the plane that a cell of a tile's padded frame covers."""
    return max(bbox[2] - bbox[0], bbox[3] - bbox[1]) / size


def _cells(bbox: BBox, axis: int, size: int) -> NDArray[np.float64]:
    """Middles of the cells of a tile's padded frame, in the plane's pixels."""
    steps = np.arange(size, dtype=np.float64) + 0.5
    return (bbox[axis] + steps * _step(bbox, size)).astype(np.float64)


def _tent(source: NDArray[np.float64], width: float, size: int) -> NDArray[np.float64]:
    """Weights of bilinear interpolation, widened where many cells become one.

    Parameters
    ----------
    source : (n,) float64
        Where each output cell lies among the input cells.
    width : float
        Half width of the tent, in input cells.
    size : int
        Number of input cells.

    Returns
    -------
    (n, size) float64
        Each row sums to one.
    """
    apart = np.abs(np.arange(size)[None, :] - source[:, None])
    weights = np.maximum(0, 1 - apart / width)
    return np.asarray(weights / weights.sum(axis=1, keepdims=True), np.float64)


@dataclass(frozen=True)
class _Taps:
    """Two source indices and weights for a run of output indices of one axis."""

    start: int
    low: np.ndarray
    high: np.ndarray
    low_weight: np.ndarray
    high_weight: np.ndarray


def _taps(positive: np.ndarray, size: int) -> _Taps | None:
    """Bilinear taps (align_corners=False) of the outputs that can be positive.

    An interpolated value is positive only where one of its two sources is.
    """
    source = len(positive)
    found = np.flatnonzero(positive)
    if not len(found):
        return None
    scale = np.float32(source) / np.float32(size)
    half = np.float32(0.5)
    at = np.maximum((np.arange(size, dtype=np.float32) + half) * scale - half, 0)
    low = np.minimum(at.astype(np.int64), source - 1)
    high = np.minimum(low + 1, source - 1)
    reached = np.flatnonzero((high >= found[0]) & (low <= found[-1]))
    if not len(reached):
        return None
    run = slice(int(reached[0]), int(reached[-1]) + 1)
    high_weight = np.clip(at[run] - low[run].astype(np.float32), 0, 1)
    return _Taps(run.start, low[run], high[run], 1 - high_weight, high_weight)


def _interpolated(
    values: np.ndarray, rows: _Taps, columns: _Taps, r: np.ndarray, c: np.ndarray
) -> np.ndarray:
    """Bilinear values of single outputs, columns first as torch's own kernel does."""
    low, high = columns.low[c], columns.high[c]
    low_weight, high_weight = columns.low_weight[c], columns.high_weight[c]

    def along(row: np.ndarray) -> np.ndarray:
        return values[row, low] * low_weight + values[row, high] * high_weight

    return (
        along(rows.low[r]) * rows.low_weight[r]
        + along(rows.high[r]) * rows.high_weight[r]
    )
