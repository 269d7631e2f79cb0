"""Time the lean and the windowed decode beside the stock decoder, on one thread.

    python benchmarks/windowed_decode.py [prompts]

Prints milliseconds of the processor a prompt (median of five) and the least IoU of the
masks with the stock decoder's, on a drawn image of many small discs.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from napari_promise.model import promise
from napari_promise.model.lean_decoder import prepare_lean
from napari_promise.model.sam import encode_image, load_sam
from napari_promise.model.windowed_decode import CELLS, WindowPrompt, decode_windowed

REPEATS = 5


def drawn(side: int = 512, step: int = 32) -> tuple[np.ndarray, torch.Tensor]:
    """Return an image of discs, (side, side, 3) uint8, and centres as (x, y)."""
    grey = np.full((side, side), 30, np.uint8)
    rows, columns = np.ogrid[:side, :side]
    centres = [
        (x, y)
        for y in range(step // 2, side, step)
        for x in range(step // 2, side, step)
    ]
    for x, y in centres:
        grey[np.hypot(rows - y, columns - x) < step / 4] = 210
    return np.repeat(grey[..., None], 3, 2), torch.tensor(centres, dtype=torch.float64)


def milliseconds(work: Callable[[], Any], prompts: int) -> float:
    """Return the median processor time of a prompt."""
    taken = []
    for _ in range(REPEATS):
        began = time.thread_time()
        work()
        taken.append(1000 * (time.thread_time() - began) / prompts)
    return statistics.median(taken)


def alike_masks(one: torch.Tensor, other: torch.Tensor) -> float:
    """Return the IoU of two masks."""
    return float((one & other).sum() / (one | other).sum())


@torch.no_grad()
def main() -> None:
    """Measure and print."""
    torch.set_num_threads(1)
    count = int(sys.argv[1]) if len(sys.argv) > 1 else 16
    sam = load_sam("promise-tiny")
    pixels, centres = drawn()
    emb = encode_image(sam, pixels)
    chosen = centres[:: max(1, len(centres) // count)][:count]
    prompts = [WindowPrompt(c[None], torch.ones(1)) for c in chosen]

    def one_by_one(lean: bool) -> list[torch.Tensor]:
        masks = []
        for p in prompts:
            logits, iou = promise.decode(
                sam,
                emb,
                points_xy=p.points_xy[None],
                labels=p.labels[None],
                multimask=True,
                lean=lean,
            )
            masks.append(logits[0, promise.choose_mask(logits[0], iou[0], False)] > 0)
        return masks

    prepare_lean(sam)
    wanted, found = one_by_one(False), one_by_one(True)
    stock_ms = milliseconds(lambda: one_by_one(False), len(prompts))
    lean_ms = milliseconds(lambda: one_by_one(True), len(prompts))
    print(f"stock, one by one: {stock_ms:.1f} ms a click, {len(prompts)} clicks")
    alike = [alike_masks(f, w) for f, w in zip(found, wanted, strict=True)]
    print(
        f"lean, one by one: {lean_ms:.1f} ms, {stock_ms / lean_ms:.1f} x; mask IoU "
        f"with stock, least {min(alike):.4f}"
    )
    for cells in ((), (48,), CELLS):
        found = decode_windowed(sam, emb, prompts, cells=cells)
        drawn_masks = [each.whole() > 0 for each in found]
        alike = [alike_masks(f, w) for f, w in zip(drawn_masks, wanted, strict=True)]
        again = sum(f.logits.shape[-1] > 4 * min((*cells, 64)) for f in found)
        ms = milliseconds(
            lambda c=cells: decode_windowed(sam, emb, prompts, cells=c), len(prompts)
        )
        print(
            f"windows {cells or 'whole grid'}: {ms:.1f} ms, {stock_ms / ms:.1f} x; "
            f"mask IoU with stock, median {statistics.median(alike):.4f}, "
            f"least {min(alike):.4f}; {again} decoded again"
        )


if __name__ == "__main__":
    main()
