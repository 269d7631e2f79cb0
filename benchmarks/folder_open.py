"""How a project of thousands of images feels: opening, looking up, going on.

Generates a folder of small pictures, works on some, and measures in a process of its
own, so that the memory is the project's: the first opening and the next, the table's
rows, the next image with its labels, prompts and undo, thumbnails drawn and found.

    python benchmarks/folder_open.py --images 5000 --json folder.json
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np

SHAPE = (96, 128)


def generate(folder: Path, count: int) -> None:
    """Write pictures in a hundred folders, every tenth with a mask."""
    from PIL import Image

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 255, (*SHAPE, 3), np.uint8)
    mask = np.zeros(SHAPE, np.uint8)
    mask[20:50, 30:80] = 1
    for number in range(count):
        group = folder / f"patient {number * 100 // count:02d}"
        group.mkdir(parents=True, exist_ok=True)
        pixels[:, 0] = number % 256
        name = f"frame {number:05d}"
        suffix = ".jpg" if number % 2 else ".png"
        Image.fromarray(pixels).save(group / f"{name}{suffix}")
        if number % 10 == 0:
            (group / "masks").mkdir(exist_ok=True)
            Image.fromarray(mask).save(group / "masks" / f"{name}.png")


def timed(calls: Iterable[Callable[[], Any]]) -> dict[str, float]:
    """Return median and largest milliseconds."""
    seconds = []
    for call in calls:
        began = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - began)
    return {
        "median_ms": 1e3 * float(np.median(seconds)),
        "max_ms": 1e3 * max(seconds),
    }


def resident() -> float:
    """Return the memory of this process, in MB."""
    import os

    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def measure(folder: Path, touched: int) -> dict[str, Any]:
    """Open the project and use it as a table does."""
    from napari_promise.document import Document, Region
    from napari_promise.project import Project
    from napari_promise.prompts import Prompts
    from napari_promise.proposing import ProposedObject

    before = resident()
    began = time.perf_counter()
    project = Project.open(folder)
    rows = project.items
    found: dict[str, Any] = {
        "images": len(rows),
        "open_s": time.perf_counter() - began,
        "memory_mb": resident() - before,
    }
    rng = np.random.default_rng(0)
    keys = [project.keys[i] for i in rng.permutation(len(rows))]
    found["row"] = timed(lambda k=key: project.item(k) for key in keys[:1000])
    found["by_confidence"] = timed([project.by_confidence] * 5)

    def work(key: str) -> None:
        project.read_image(key)
        document = Document()
        labels = project.restore(key, document)
        if labels is None:
            labels = np.zeros(SHAPE, np.uint16)
        document.events.labels_patched.connect(lambda patch: patch.apply(labels))
        for number in range(5):
            document.active_id = None
            record = document.new_object()
            record = document.edit_prompts(
                record.id, points=[(20 + number, 30)], labels=[1]
            )
            mask = np.zeros(SHAPE, bool)
            mask[10 : 20 + number, 20:40] = True
            logits = rng.normal(size=(1, 256, 256)).astype(np.float16)
            document.set_mask(
                record.id,
                Region.from_mask(mask),
                score=0.9,
                logits=logits.astype(np.float32),
                revision=record.revision,
            )
            document.commit(record.id, labels)
        project.save(key, document, labels, state="done", clicks=5)

    def propose(key: str) -> None:
        if project.item(key).state == "new":
            region = Region.from_mask(np.ones(SHAPE, bool))
            proposed = ProposedObject(Prompts(points=[(5, 5)]), region, 0.5)
            project.save_proposal(key, [proposed], float(rng.random()), {})

    if touched:
        found["save"] = timed(lambda k=key: work(k) for key in keys[:touched])
        found["propose"] = timed(
            lambda k=key: propose(k) for key in keys[touched : 3 * touched]
        )
    else:

        def show(key: str) -> None:
            project.read_image(key)
            project.restore(key, Document())

        worked = [r.key for r in rows if r.state == "done" and r.clicks][:200]
        found["next_image"] = timed(lambda k=key: show(k) for key in worked)
        found["next_new_image"] = timed(lambda k=key: show(k) for key in keys[:200])
        for name in ("thumbnail_drawn", "thumbnail_found"):
            found[name] = timed(
                lambda k=key: project.thumbnail(k) for key in keys[:500]
            )
    found["memory_in_use_mb"] = resident() - before
    project.close()
    return found


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--images", type=int, default=5000)
    parser.add_argument("--touched", type=int, default=500, help="images worked on")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--measure", nargs=2, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.measure:
        folder, touched = arguments.measure
        print(json.dumps(measure(Path(folder), int(touched))))
        return
    figures = {}
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "images"
        generate(folder, arguments.images)
        for name, touched in (("first", arguments.touched), ("again", 0)):
            command = [sys.executable, __file__, "--measure", str(folder), str(touched)]
            answer = subprocess.run(command, check=True, capture_output=True, text=True)
            figures[name] = json.loads(answer.stdout.splitlines()[-1])
        index = folder / ".promise" / "index.jsonl"
        figures["index_mb"] = index.stat().st_size / 1e6
    for name in ("first", "again"):
        row = figures[name]
        print(
            f"opened {name}: {row['images']} images in {row['open_s']:.2f} s, "
            f"{row['memory_mb']:.1f} MB, {row['memory_in_use_mb']:.1f} MB in use"
        )
        for what, times in row.items():
            if isinstance(times, dict):
                print(
                    f"  {what:<16} {times['median_ms']:8.2f} ms median "
                    f"{times['max_ms']:8.2f} ms at most"
                )
    print(f"index: {figures['index_mb']:.2f} MB")
    if arguments.json:
        arguments.json.write_text(json.dumps(figures, indent=2) + "\n")


if __name__ == "__main__":
    main()
