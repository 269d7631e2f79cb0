"""How long a cached embedding takes to come back from the disk.

An entry of the size and shapes that `promise-tiny` leaves, read by a cache that has
nothing in memory, beside writing it.

    python benchmarks/cache.py --repeat 20 --json cache.json
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path

import numpy as np

from napari_promise.data.embeddings import EmbeddingCache

KEY = ("digest", "model")
SHAPES = {"image": (1, 128, 64, 64), "level_0": (1, 192, 32, 32)}
SHAPES["level_1"] = SHAPES["level_0"]


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeat", type=int, default=20)
    parser.add_argument("--json", type=Path, help="also write the figures here")
    arguments = parser.parse_args()
    rng = np.random.default_rng(0)
    arrays = {
        name: rng.normal(size=shape).astype(np.float16)
        for name, shape in SHAPES.items()
    }
    times: dict[str, list[float]] = {"write": [], "read": []}
    for _ in range(arguments.repeat):
        with tempfile.TemporaryDirectory() as folder:
            began = time.perf_counter()
            EmbeddingCache(folder).put(KEY, arrays)
            times["write"].append(time.perf_counter() - began)
            cache = EmbeddingCache(folder)
            began = time.perf_counter()
            assert cache.get(KEY) is not None
            times["read"].append(time.perf_counter() - began)
    rows = {
        what: {
            "median_ms": 1e3 * float(np.median(seconds)),
            "max_ms": 1e3 * max(seconds),
        }
        for what, seconds in times.items()
    }
    megabytes = sum(array.nbytes for array in arrays.values()) / 1e6
    print(f"{megabytes:.1f} MB  {'median ms':>10} {'max ms':>8}")
    for what, row in rows.items():
        print(f"{what:>6}  {row['median_ms']:>10.1f} {row['max_ms']:>8.1f}")
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2) + "\n")


if __name__ == "__main__":
    main()
