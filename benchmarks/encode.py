"""How long encoding and decoding take without any window, beside stock SAM.

- ``encode``: `Segmenter.encode` against `SamPredictor.set_image`;
- ``segment``: `Segmenter.segment` to the finished mask against
  `SamPredictor.predict`, for one click and for three with the logits fed back.

    python benchmarks/encode.py --sizes 512 1024 4096 --repeat 10 --json encode.json
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

from napari_promise import Prompts, Segmenter
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
    print(f"{'image':>6} {'what':>14} {'ours ms':>9} {'stock ms':>9}  (medians)")
    for row in rows:
        print(
            f"{row['size']:>6} {row['what']:>14} {row['ours_ms']:>9.1f} "
            f"{row['stock_ms']:>9.1f}"
        )
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
        size, what, ours_ms, stock_ms.
    """
    from segment_anything import SamPredictor

    image, truth = picture(size)
    predictor = SamPredictor(segmenter.sam)
    rows = [
        {
            "what": "encode",
            "ours_ms": _median(lambda: segmenter.encode(image), repeat),
            "stock_ms": _median(lambda: predictor.set_image(image), repeat),
        }
    ]
    emb = segmenter.encode(image)
    inside = np.argwhere(truth)
    click = Prompts(points=inside[[len(inside) // 2]])
    logits = segmenter.segment(emb, click).logits
    clicks = Prompts(points=inside[[len(inside) // 2, 10, -10]], before=Before(logits))
    for what, prompts in (("one click", click), ("three clicks", clicks)):
        rows.append(
            {
                "what": what,
                "ours_ms": _median(lambda p=prompts: segmenter.segment(emb, p), repeat),
                "stock_ms": _median(
                    lambda p=prompts: predictor.predict(
                        p.points_xy(),
                        p.labels,
                        mask_input=p.logits,
                        multimask_output=p.logits is None,
                    ),
                    repeat,
                ),
            }
        )
    return [{"size": size, **row} for row in rows]


def _median(work: Callable[[], Any], repeat: int) -> float:
    work()
    times = []
    for _ in range(repeat):
        began = time.perf_counter()
        work()
        times.append(time.perf_counter() - began)
    return float(np.median(times)) * 1e3


if __name__ == "__main__":
    main()
