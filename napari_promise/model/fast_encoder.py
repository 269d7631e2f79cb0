"""SAM's image encoder (ViT-B, L, H, and promise-tiny's) faster, from its parameters.

What is done otherwise than in segment_anything:

- attention is one fused kernel, a few rows at a time, with the relative positions as
  its bias; the table of all scores is never written;
- only tokens of the image are projected: what pads the windows at the edges is known
  beforehand (a bias) and filled in;
- tokens lie channels last throughout, patches are cut without a convolution;
- matrix products may be in bfloat16 or float16, sums between them stay float32.

The numbers differ from segment_anything's by rounding, so this is a mode of its own,
never what stands for stock SAM, and its embeddings are kept under another key.
"""

from __future__ import annotations

import contextlib
import json
import os
import platform
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
import torch.nn.functional as F
from torch import nn

from napari_promise.files import parse_json, user_folder, write_whole
from napari_promise.model import _torchvision  # noqa: F401  (before segment_anything)

# isort: split
from segment_anything.modeling.image_encoder import (
    Attention,
    Block,
    ImageEncoderViT,
    get_rel_pos,
)

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

__all__ = [
    "MODES",
    "FastViT",
    "choose_mode",
    "fast_block",
    "measured",
    "speeds_file",
    "use_mode",
]

#: Mode -> what its matrix products are computed in. "auto" stands for the fastest.
MODES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}

#: Scores that are computed at a time: so many stay in the processor's cache.
_SCORES = 2**22
#: A mode has to be faster than stock by this factor to be chosen.
_WORTH = 1.1


class _FastAttention(nn.Module):
    """Attention of one block; shares the parameters where the type is float32."""

    def __init__(self, attention: Attention, side: int, kind: torch.dtype) -> None:
        super().__init__()
        self.heads = attention.num_heads
        self.scale = float(attention.scale)
        self.kind = kind
        self.qkv_weight = _as(attention.qkv.weight, kind)
        self.qkv_bias = _as(attention.qkv.bias, kind)
        self.proj_weight = _as(attention.proj.weight, kind)
        self.proj_bias = _as(attention.proj.bias, kind)
        self.side = side
        self.rows: nn.Parameter | None = None
        self.columns: nn.Parameter | None = None
        if attention.use_rel_pos:
            # (side, side, C): of each row of queries and of keys; of columns likewise
            self.rows = _as(get_rel_pos(side, side, attention.rel_pos_h), kind)
            self.columns = _as(get_rel_pos(side, side, attention.rel_pos_w), kind)

    def project(self, x: torch.Tensor) -> torch.Tensor:
        """(..., C) -> (..., 3C): queries, keys and values."""
        return F.linear(x, self.qkv_weight, self.qkv_bias)

    def attend(self, qkv: torch.Tensor) -> torch.Tensor:
        """(n, side * side, 3C) -> (n, side * side, C), each n by itself."""
        count, tokens, width = qkv.shape
        channels = width // 3 // self.heads
        # the only copy: kernels are several times as slow on tokens that lie apart
        q, k, v = (
            qkv.view(count, tokens, 3, self.heads, channels)
            .permute(2, 0, 3, 1, 4)
            .contiguous()
        )
        out = qkv.new_empty(count, tokens, self.heads, channels)
        grid = q.view(count, self.heads, self.side, self.side, channels)
        # rows of queries that are computed together
        step = max(1, min(self.side, _SCORES // (self.side * tokens)))
        together = max(1, _SCORES // (self.heads * tokens * tokens))
        for first in range(0, count, together):
            some = slice(first, first + together)
            heads = self.heads if together > 1 or step == self.side else 1
            for head in range(0, self.heads, heads):
                h = slice(head, head + heads)
                for row in range(0, self.side, step):
                    r = slice(row, row + step)
                    asked = grid[some, h, r]
                    bias = self._bias(asked, r)
                    n, m, rows = asked.shape[:3]
                    found = F.scaled_dot_product_attention(
                        asked.reshape(n, m, rows * self.side, channels),
                        k[some, h],
                        v[some, h],
                        attn_mask=bias,
                        scale=self.scale,
                    )
                    at = slice(row * self.side, (row + rows) * self.side)
                    out[some, at, h] = found.transpose(1, 2)
        return out.view(count, tokens, width // 3)

    def _bias(self, asked: torch.Tensor, rows: slice) -> torch.Tensor | None:
        """(n, m, r, side, C) queries -> (n, m, r * side, tokens) relative positions."""
        if self.rows is None or self.columns is None:
            return None
        n, m, count, side, _ = asked.shape
        by_row = torch.einsum("nmrcd,rkd->nmrck", asked, self.rows[rows])
        by_column = torch.einsum("nmrcd,ckd->nmrck", asked, self.columns)
        both = asked.new_empty(n, m, count, side, side, side)
        torch.add(by_row[..., :, None], by_column[..., None, :], out=both)
        return both.view(n, m, count * side, side * side)


class _FastBlock(nn.Module):
    """One block: (B, h, w, C) float32 in and out."""

    def __init__(self, block: Block, grid: int, kind: torch.dtype) -> None:
        super().__init__()
        self.window = int(block.window_size)
        self.kind = kind
        self.norm1, self.norm2 = block.norm1, block.norm2
        self.attention = _FastAttention(block.attn, self.window or grid, kind)
        self.up_weight = _as(block.mlp.lin1.weight, kind)
        self.up_bias = _as(block.mlp.lin1.bias, kind)
        self.down_weight = _as(block.mlp.lin2.weight, kind)
        self.down_bias = _as(block.mlp.lin2.bias, kind)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Attend, then the perceptron, each added to what came in."""
        attention = self.attention
        qkv = attention.project(self.norm1(x).to(self.kind))
        batch, height, width, three = qkv.shape
        if not self.window:
            seen = attention.attend(qkv.view(batch, height * width, three))
            seen = seen.view(batch, height, width, -1)
        else:
            seen = self._in_windows(qkv)
        x = x + F.linear(seen, attention.proj_weight, attention.proj_bias)
        hidden = F.linear(self.norm2(x).to(self.kind), self.up_weight, self.up_bias)
        hidden = F.gelu(hidden)
        return x.add_(F.linear(hidden, self.down_weight, self.down_bias))

    def _in_windows(self, qkv: torch.Tensor) -> torch.Tensor:
        """Attend within windows; those at the edges are padded, as in SAM.

        SAM pads before it projects, with zeros: of them the projection is its bias.
        """
        side, (batch, height, width, three) = self.window, qkv.shape
        down, across = -(-height // side), -(-width // side)
        padded = qkv.new_empty(batch, down * side, across * side, three)
        padded[:, :height, :width] = qkv
        padded[:, height:] = self.attention.qkv_bias
        padded[:, :height, width:] = self.attention.qkv_bias
        windows = padded.view(batch, down, side, across, side, three)
        windows = windows.transpose(2, 3).reshape(-1, side * side, three)
        seen = self.attention.attend(windows)
        seen = seen.view(batch, down, across, side, side, three // 3).transpose(2, 3)
        whole = seen.reshape(batch, down * side, across * side, three // 3)
        return whole[:, :height, :width]


class FastViT(nn.Module):
    """Stands where a SAM's `ImageEncoderViT` stood.

    Parameters
    ----------
    encoder : ImageEncoderViT
        Its parameters are shared, or copied where the mode has another type.
    mode : str
        A key of `MODES`.

    Raises
    ------
    ValueError
        If the mode is unknown.
    """

    def __init__(self, encoder: ImageEncoderViT, mode: str) -> None:
        super().__init__()
        if mode not in MODES:
            raise ValueError(f"unknown mode {mode!r}: use {', '.join(MODES)} or stock")
        self.img_size: int = encoder.img_size
        self.mode, kind = mode, MODES[mode]
        projection = encoder.patch_embed.proj
        self.patch = int(projection.kernel_size[0])
        self.patch_weight = _as(projection.weight.flatten(1), kind)
        self.patch_bias = _as(projection.bias, kind)
        self.position = encoder.pos_embed
        self.blocks = _fast_blocks(encoder, mode)
        self.neck = encoder.neck

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Encode normalised, padded images, (B, 3, s, s) -> (B, 256, s/16, s/16)."""
        batch, _, height, width = x.shape
        side = self.patch
        cut = x.view(batch, 3, height // side, side, width // side, side)
        cut = cut.permute(0, 2, 4, 1, 3, 5).flatten(3)
        tokens = F.linear(
            cut.to(self.patch_weight.dtype), self.patch_weight, self.patch_bias
        ).float()
        if self.position is not None:
            tokens = tokens + self.position
        for block in self.blocks:
            tokens = block(tokens)
        return cast("torch.Tensor", self.neck(tokens.permute(0, 3, 1, 2)))


def fast_block(encoder: ImageEncoderViT, at: int, mode: str) -> nn.Module:
    """Return a block of an encoder as it is in a mode; parameters as in `FastViT`."""
    grid = encoder.img_size // int(encoder.patch_embed.proj.kernel_size[0])
    return _FastBlock(encoder.blocks[at], grid, MODES[mode])


def _fast_blocks(encoder: ImageEncoderViT, mode: str) -> nn.ModuleList:
    count = len(encoder.blocks)
    return nn.ModuleList([fast_block(encoder, at, mode) for at in range(count)])


def _as(tensor: torch.Tensor, kind: torch.dtype) -> nn.Parameter:
    """Return a tensor in another type, frozen; itself where it has the type."""
    return nn.Parameter(tensor.detach().to(kind), requires_grad=False)


# Which mode ----------------------------------------------------------------------


def use_mode(sam: Sam, mode: str = "auto") -> str:
    """Have a model encode in a mode from now on.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
        Frozen, and not in a mode yet. Encoders that are no `ImageEncoderViT`, and hold
        none as ``vit``, are left as they are.
    mode : str
        A key of `MODES`, "auto" for the fastest here, or "stock".

    Returns
    -------
    str
        The mode in use; also in the model's attribute ``encoder_mode``.

    Raises
    ------
    ValueError
        See `FastViT`.
    """
    encoder, inner = sam.image_encoder, getattr(sam.image_encoder, "vit", None)
    if mode not in ("auto", "stock", *MODES):
        raise ValueError(
            f"unknown mode {mode!r}: use {', '.join(MODES)}, auto or stock"
        )
    vit = inner if isinstance(inner, ImageEncoderViT) else encoder
    sam.encoder_mode = "stock"
    if isinstance(vit, ImageEncoderViT) and mode != "stock":
        if mode == "auto":
            mode = choose_mode(vit)
        if mode != "stock":
            if vit is encoder:
                sam.image_encoder = FastViT(vit, mode)
            else:
                vit.blocks = _fast_blocks(vit, mode)
            sam.encoder_mode = mode
    return str(sam.encoder_mode)


def choose_mode(encoder: ImageEncoderViT, file: Path | None = None) -> str:
    """Return the fastest mode for an encoder here: measured once, then remembered.

    Parameters
    ----------
    encoder : ImageEncoderViT
    file : pathlib.Path, optional
        Where it is remembered; by default `speeds_file`.
    """
    file = speeds_file() if file is None else file
    width = encoder.patch_embed.proj.out_channels
    here = "/".join(
        [
            _processor(encoder.patch_embed.proj.weight.device),
            f"torch {torch.__version__}",
            f"{torch.get_num_threads()} threads",
            f"ViT of {width}",
        ]
    )
    known: dict[str, Any] = {}
    with contextlib.suppress(OSError, ValueError):
        found = parse_json(file.read_bytes())
        known = found if isinstance(found, dict) else {}
    seconds = known.get(here)
    if not isinstance(seconds, dict) or not seconds:
        seconds = measured(encoder)
        with contextlib.suppress(OSError):  # it is measured again next time
            file.parent.mkdir(parents=True, exist_ok=True)
            text = json.dumps(known | {here: seconds}, indent=1)
            write_whole(file, text.encode())
    best = min(seconds, key=lambda mode: float(seconds[mode]))
    return best if seconds[best] * _WORTH < seconds.get("stock", 0.0) else "stock"


def speeds_file() -> Path:
    """Return where measured speeds are kept (the file may not exist)."""
    return user_folder("cache") / "encoder-speeds.json"


def measured(encoder: ImageEncoderViT) -> dict[str, float]:
    """Time one block, where there are windows one of those, in each native mode.

    Returns
    -------
    dict of str to float
        Mode, or "stock" -> seconds.
    """
    device = encoder.patch_embed.proj.weight.device
    block = next((b for b in encoder.blocks if b.window_size), encoder.blocks[0])
    grid = encoder.img_size // int(encoder.patch_embed.proj.kernel_size[0])
    width = encoder.patch_embed.proj.out_channels
    x = torch.zeros(1, grid, grid, width, device=device)
    seconds = {"stock": _seconds(partial(block, x), device)}
    for mode in _native(device):
        fast = _FastBlock(block, grid, MODES[mode]).to(device)
        seconds[mode] = _seconds(partial(fast, x), device)
    return {mode: round(value, 6) for mode, value in seconds.items()}


def _native(device: torch.device) -> Iterator[str]:
    """Modes worth timing: an emulated type takes minutes, and a matrix tells."""
    yield "float32"
    if device.type != "cpu":
        yield from ("float16", "bfloat16") if device.type == "cuda" else ()
        return
    times = {}
    for kind in (torch.float32, torch.bfloat16):
        a = torch.ones(256, 768, dtype=kind)
        b = torch.ones(768, 768, dtype=kind)
        times[kind] = _seconds(partial(torch.matmul, a, b), device)
    if times[torch.bfloat16] < times[torch.float32]:
        yield "bfloat16"


@torch.no_grad()
def _seconds(work: Callable[[], Any], device: torch.device) -> float:
    """Return the best of three, after one that warms up."""
    times = []
    for _ in range(4):
        began = time.perf_counter()
        work()
        if device.type == "cuda":
            torch.cuda.synchronize(device)
        times.append(time.perf_counter() - began)
    return min(times[1:])


def _processor(device: torch.device) -> str:
    """Name what computes, as exactly as the system does."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    name = platform.processor() or platform.machine()
    with contextlib.suppress(OSError):
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        found = [
            x.split(":", 1)[1].strip() for x in lines if x.startswith("model name")
        ]
        name = found[0] if found else name
    capability = torch.backends.cpu.get_cpu_capability()
    return f"{name}, {capability}, {os.cpu_count()} cores"
