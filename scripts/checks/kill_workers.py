"""Kill workers while a folder is being segmented: nothing may be lost or different.

Segments generated images in this process, then once more on workers of which a random
one is killed again and again, and compares every file. The table says what each run
took.

    python -m scripts.checks.kill_workers --images 200 --workers 2 --kills 10
"""

from __future__ import annotations

import argparse
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the check; 0 where all files are there and alike."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=200)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--kills", type=int, default=10)
    parser.add_argument("--model", default="promise-tiny")
    parser.add_argument("--adapter", default="polyp")
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_images(folder / "in", given.images, given.seed)
        command = ["segment", str(folder / "in"), "--no-cache"]
        command += ["--model", given.model, "--adapter", given.adapter]
        began = time.monotonic()
        run([*command, "-o", str(folder / "here")])
        here = time.monotonic() - began
        killed: list[float] = []
        began = time.monotonic()
        run(
            [*command, "-o", str(folder / "there"), "--workers", str(given.workers)],
            lambda process: kill_again_and_again(
                process, given.kills, folder / "there", given.images, killed, given.seed
            ),
        )
        there = time.monotonic() - began
        first, second = contents(folder / "here"), contents(folder / "there")
    lost = sorted(first.keys() - second.keys())
    different = sorted(n for n in first.keys() & second.keys() if first[n] != second[n])
    print(f"{'images':>8} {'workers':>8} {'kills':>6} {'lost':>5} {'different':>10}")
    print(
        f"{given.images:>8} {given.workers:>8} {len(killed):>6} {len(lost):>5} "
        f"{len(different):>10}"
    )
    print(f"{here:.0f} s in this process, {there:.0f} s on workers that were killed")
    return int(bool(lost or different or len(killed) < given.kills))


def make_images(folder: Path, count: int, seed: int) -> None:
    """Write so many pictures of discs."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(seed)
    rows, columns = np.indices((96, 128))
    for number in range(count):
        image = rng.integers(60, 120, (96, 128, 3))
        row, column = rng.integers(24, 72), rng.integers(24, 104)
        image[(rows - row) ** 2 + (columns - column) ** 2 < 300] += 90
        Image.fromarray(image.astype(np.uint8)).save(folder / f"{number:04}.png")


def run(command: list[str], meanwhile: object = None) -> None:
    """Run the command line in a process of its own; raise where it fails."""
    process = subprocess.Popen(
        [sys.executable, "-m", "napari_promise.cli", *command],
        stdout=subprocess.DEVNULL,
        start_new_session=True,
    )
    if callable(meanwhile):
        thread = threading.Thread(target=meanwhile, args=(process,), daemon=True)
        thread.start()
    if process.wait():
        raise SystemExit(f"{command[0]} failed with status {process.returncode}")


def kill_again_and_again(
    process: subprocess.Popen[bytes],
    kills: int,
    output: Path,
    images: int,
    killed: list[float],
    seed: int,
) -> None:
    """Kill a random worker whenever a share of the images is done."""
    rng = random.Random(seed)
    for number in range(kills):
        due = (number + rng.random()) / kills * images * 0.9
        while process.poll() is None:
            done = len(list(output.glob("*.png"))) if output.exists() else 0
            workers = [pid for pid in children_of(process.pid) if is_worker(pid)]
            if done >= due and workers:
                os.kill(rng.choice(workers), signal.SIGKILL)
                killed.append(time.monotonic())
                break
            time.sleep(0.2)


def children_of(pid: int) -> list[int]:
    """Return the processes that a process started, those of theirs included."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
        threads = [p.name for p in Path(f"/proc/{pid}/task").iterdir()]
        for thread in threads:
            if thread != str(pid):
                text += " " + Path(f"/proc/{pid}/task/{thread}/children").read_text()
    except OSError:
        return []
    found = [int(child) for child in text.split()]
    return found + [one for child in found for one in children_of(child)]


def is_worker(pid: int) -> bool:
    """Whether a process is one of dask's workers: it was spawned to run something."""
    try:
        line = Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False
    return b"spawn_main" in line


def contents(folder: Path) -> dict[str, bytes]:
    """Return every file, without the time at which it was written."""
    return {
        path.name: re.sub(rb'"created": "[^"]*"', b"", path.read_bytes())
        for path in folder.iterdir()
    }


if __name__ == "__main__":
    raise SystemExit(main())
