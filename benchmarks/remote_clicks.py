"""What a click costs where the encoder is in another process, beside all in one.

The same model twice: encoding here, and on a worker of this computer over TLS. Clicks
are answered turn by turn on embeddings of the same image, so that both see the same
load; the masks are compared, too.

    python benchmarks/remote_clicks.py --clicks 60
"""

from __future__ import annotations

import argparse
import os
import time

import numpy as np
import torch
from click_latency import picture

from napari_promise import Prompts, Segmenter
from napari_promise.remote.serving import local_workers


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--clicks", type=int, default=60)
    parser.add_argument("--size", type=int, default=1024)
    parser.add_argument("--model", default="promise-tiny")
    given = parser.parse_args()
    torch.set_num_threads(1)
    image, truth = picture(given.size)
    inside = np.argwhere(truth)
    with local_workers(1) as (server, _cluster):
        both = {
            "here": Segmenter.load(given.model),
            "remote": Segmenter.on_server(server, given.model),
        }
        times: dict[str, list[float]] = {name: [] for name in both}
        embeddings = {}
        for name, segmenter in both.items():
            began = time.perf_counter()
            embeddings[name] = segmenter.encode(image)
            print(f"{name:>7} encode {time.perf_counter() - began:>7.2f} s")
        for number in range(given.clicks + 3):
            at = inside[number * 7919 % len(inside)][None]
            found = []
            for name, segmenter in both.items():
                began = time.perf_counter()
                answer = segmenter.segment(embeddings[name], Prompts(points=at))
                times[name].append(time.perf_counter() - began)
                found.append(answer.mask)
            assert (found[0] == found[1]).all()
        both["remote"].close()
    print(f"{'':>7} {'p50 ms':>8} {'p95 ms':>8}  ({given.clicks} clicks, same masks)")
    for name, seconds in times.items():
        kept = np.array(seconds[3:]) * 1e3  # the first ones warm up
        print(f"{name:>7} {np.median(kept):>8.1f} {np.percentile(kept, 95):>8.1f}")
    print(f"load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
