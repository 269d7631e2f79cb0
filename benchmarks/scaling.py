"""What more workers are worth: images a second, efficiency, the scheduler's share.

Two parts, each through `RemoteEncoder` as the command line uses it, over TLS:

- ``--real 1 2``: workers of this computer encode with a model;
- ``--simulated 1 2 4 … 64``: workers wait for about a second instead, and send back as
  many bytes as an embedding of ViT-B has. They are threads of few processes, since they
  only wait. What is measured is everything else: the scheduler, the connection, this
  process.

``efficiency`` is images a second, divided by workers times those of one worker alone.
``process`` is the share of one core that the scheduler and the client take together;
both run in this process.

    python benchmarks/scaling.py --real 1 2 --simulated 1 2 4 8 16 32 64 --images 40
"""

from __future__ import annotations

import argparse
import json
import os
import time
from pathlib import Path
from typing import Any

import numpy as np

from napari_promise.remote import working
from napari_promise.remote.encoder import RemoteEncoder, Server
from napari_promise.remote.security import checked_address, make_credentials
from napari_promise.remote.serving import local_workers, serving


class Waiting(RemoteEncoder):
    """Has workers wait for a second instead of encoding."""

    def _task(self, rgb: np.ndarray) -> tuple[Any, tuple[Any, ...]]:
        """See `RemoteEncoder`."""
        seed = int(rgb[0, 0, 0])
        return working.encode_slowly, (1.0, seed, *working.pack({"rgb": rgb})["rgb"])


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--real", type=int, nargs="*", default=[1, 2])
    parser.add_argument(
        "--simulated", type=int, nargs="*", default=[1, 2, 4, 8, 16, 32, 64]
    )
    parser.add_argument("--images", type=int, default=40, help="at least, a row")
    parser.add_argument("--model", default="promise-tiny")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    given = parser.parse_args()
    print(
        f"{'kind':>9} {'workers':>7} {'images/s':>9} {'efficiency':>10} "
        f"{'process':>8} {'MB sent':>8} {'MB back':>8}"
    )
    rows: list[dict[str, Any]] = []
    for kind, counts in (("real", given.real), ("simulated", given.simulated)):
        one = 0.0
        for count in counts:
            row = measure(kind, count, given.images, given.model)
            one = one or row["images_per_s"] / count
            row["efficiency"] = row["images_per_s"] / count / one
            rows.append(row)
            print(
                f"{kind:>9} {count:>7} {row['images_per_s']:>9.3f} "
                f"{row['efficiency']:>10.2f} {row['process']:>8.2f} "
                f"{row['sent_mb']:>8.2f} {row['back_mb']:>8.2f}",
                flush=True,
            )
    print(f"load {os.getloadavg()[0]:.1f}, {os.cpu_count()} cores")
    if given.json:
        given.json.write_text(json.dumps(rows, indent=1) + "\n")


def measure(kind: str, count: int, images: int, model: str) -> dict[str, Any]:
    """Have so many workers encode, each of them three images at least."""
    images = max(images, 3 * count)
    if kind == "real":
        with local_workers(count) as (server, _cluster):
            encoder = RemoteEncoder(server, model)
            encoder.load()
            return run(encoder, kind, count, images, warm=2 * count)
    own, client = make_credentials()
    processes = max(1, min(2, count))
    with serving(
        "127.0.0.1", 0, own, workers=processes, threads=1, slots=-(-count // processes)
    ) as cluster:
        server = Server(checked_address(cluster.scheduler_address), client)
        return run(Waiting(server), kind, count, images, warm=processes)


def run(
    encoder: RemoteEncoder, kind: str, count: int, images: int, warm: int
) -> dict[str, Any]:
    """Encode as a folder is encoded, and look at clock and processor."""
    for number in range(warm):
        encoder.encode(picture(10_000 + number))
    encoder.feed(iter(picture(number) for number in range(images)), ahead=2 * count)
    sizes = working.pack({"rgb": picture(0)})["rgb"]
    began, worked = time.perf_counter(), time.process_time()
    for number in range(images):
        found = encoder.encode(picture(number))
    seconds = time.perf_counter() - began
    process = (time.process_time() - worked) / seconds
    back = sum(len(content) for *_, content in working.pack(found).values())
    encoder.close()
    return {
        "kind": kind,
        "workers": count,
        "images": images,
        "images_per_s": images / seconds,
        "process": process,
        "sent_mb": len(sizes[2]) / 1e6,
        "back_mb": back / 1e6,
    }


def picture(number: int) -> np.ndarray:
    """Return an image of SAM's size that compresses as photographs do."""
    rng = np.random.default_rng(number)
    coarse = rng.integers(0, 200, (32, 32, 3))
    smooth = np.kron(coarse, np.ones((24, 32, 1), int))
    return (smooth + rng.integers(0, 12, smooth.shape)).astype(np.uint8)


if __name__ == "__main__":
    main()
