"""What a document of thousands of objects costs the window's thread, and the memory.

Objects of eight points each lie on one plane, as a proposal of many leaves them, with
the 256 x 256 logits of their masks. Measured, without a window and a model:

- ``click``: a point is added to one of them: the rows of the Points layer before and
  after are compared, and the object's prompts exchanged (``table`` and ``document``);
- ``commit``: all are written into the labels; ``undo`` and ``redo`` of it; ``remove``;
- ``memory``: kB an object, committed, the history included; `tracemalloc` counts them.

Each count runs in a process of its own, and once more for the memory. Run it with
another checkout in PYTHONPATH to have that one's figures: what it cannot do for many
objects at once is done one by one.

    python benchmarks/many_objects.py --objects 1000 2000 --json many.json
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_promise import document as documents
from napari_promise.document import Document, ObjectRecord, Region
from napari_promise.prompts import Prompts

SHAPE = (1024, 1024)
POINTS = 8
RADIUS = 8  # pixels: of a mask
CLICKS = 20


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--objects", type=int, nargs="+", default=[1000, 2000])
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--memory", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        found = (weigh if arguments.memory else measure)(arguments.child)
        print(json.dumps(found))
        return
    rows = [
        in_a_process(count) | in_a_process(count, "--memory")
        for count in arguments.objects
    ]
    names = [name for name in rows[0] if name != "objects"]
    print("".rjust(16), *(f"{row['objects']:>8} objects" for row in rows))
    for name in names:
        print(name.rjust(16), *(f"{row[name]:16.2f}" for row in rows))
    if arguments.json:
        arguments.json.write_text(json.dumps(rows, indent=2))


def in_a_process(count: int, *options: str) -> dict[str, float]:
    """Measure in a fresh process."""
    command = [sys.executable, __file__, "--child", str(count), *options]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def _rows_of(records: Sequence[ObjectRecord]) -> Any:
    """Return the rows of the points layer of some objects."""
    from napari_promise.widgets.layers import edits, table

    try:
        return edits.rows_of(records, 2)
    except TypeError:  # version 0.1 knows rows of one object
        return table.PointTable.concatenate([edits.rows_of(r) for r in records], 2)


def measure(count: int) -> dict[str, float]:
    """Return the figures of so many objects."""
    from napari_promise.widgets.layers import edits, table

    labels = np.zeros(SHAPE, np.uint16)
    document = Document(history_limit=max(500, 4 * count))
    document.events.labels_patched.connect(lambda patch: patch.apply(labels))
    rng = np.random.default_rng(0)
    texture = rng.normal(0, 1, (256, 256)).astype(np.float32)
    pick(document, labels, rng, texture, 10)  # warm up: imports, caches
    document = Document(history_limit=max(500, 4 * count))
    document.events.labels_patched.connect(lambda patch: patch.apply(labels))
    labels[:] = 0
    found: dict[str, float] = {"objects": count}
    found["add ms"] = pick(document, labels, rng, texture, count)

    before = _rows_of(document.objects)
    table_ms, document_ms = [], []
    for record in document.objects[count // 2 : count // 2 + CLICKS]:
        one = _rows_of([record]).take(np.array([0]))
        moved = one.take(np.array([0]))
        moved.data[:] += 1
        after = table.PointTable.concatenate([before, moved], 2)
        began = time.perf_counter()
        after = table.claim_touched(before, after)
        changed = table.changed_objects(before, after)
        compared = time.perf_counter()
        for object_id in changed:
            held = document.get(object_id)
            document.set_prompts(
                object_id, *edits.with_points(held, after.of(object_id))
            )
        table_ms.append(1e3 * (compared - began))
        document_ms.append(1e3 * (time.perf_counter() - compared))
        assert changed == [record.id]
    found["click, table ms"] = float(np.median(table_ms))
    found["click, doc. ms"] = float(np.median(document_ms))
    for _ in range(CLICKS):
        document.undo()

    ids = [record.id for record in document.objects]
    many = hasattr(document, "commit_many")
    steps = 1 if many else count
    found["commit ms"] = timed(lambda: commit(document, labels))
    assert len(np.unique(labels)) == count + 1
    found["undo ms"] = timed(lambda: [document.undo() for _ in range(steps)])
    assert not labels.any()
    found["redo ms"] = timed(lambda: [document.redo() for _ in range(steps)])
    began = time.perf_counter()
    if many:
        document.remove_many(ids, labels)
    else:
        for object_id in ids[:20]:
            document.remove(object_id, labels)
    spent = 1e3 * (time.perf_counter() - began)
    found["remove ms"] = spent if many else spent * count / 20
    return found


def weigh(count: int) -> dict[str, float]:
    """Return the memory of so many objects."""
    rng = np.random.default_rng(0)
    labels = np.zeros(SHAPE, np.uint16)
    texture = rng.normal(0, 1, (256, 256)).astype(np.float32)
    document = Document(history_limit=max(500, 4 * count))
    document.events.labels_patched.connect(lambda patch: patch.apply(labels))
    tracemalloc.start()
    pick(document, labels, rng, texture, count)
    commit(document, labels)
    gc.collect()
    return {"memory kB": tracemalloc.get_traced_memory()[0] / count / 1024}


def commit(document: Document, labels: np.ndarray) -> None:
    """Write all objects into the labels."""
    ids = [record.id for record in document.objects]
    if hasattr(document, "commit_many"):
        document.commit_many(ids, labels)
    else:
        for object_id in ids:
            document.commit(object_id, labels)


def pick(
    document: Document,
    labels: np.ndarray,
    rng: np.random.Generator,
    texture: np.ndarray,
    count: int,
) -> float:
    """Fill a document with answered objects; return the milliseconds it took."""
    disc = np.hypot(*np.ogrid[-RADIUS : RADIUS + 1, -RADIUS : RADIUS + 1]) <= RADIUS
    across = int(np.ceil(np.sqrt(count)))
    cells = np.linspace(RADIUS, SHAPE[0] - RADIUS - 1, across).astype(int)
    spent = 0.0
    pending: list[ObjectRecord] = []
    for number in range(count):
        row, column = cells[number // across], cells[number % across]
        at = (row, column) + rng.uniform(-RADIUS / 2, RADIUS / 2, (POINTS, 2))
        region = Region.from_crop(disc, (row - RADIUS, column - RADIUS), SHAPE)
        grid = np.hypot(*np.ogrid[-row / 4 : 256 - row / 4, -column / 4 : 256])
        grid = grid[:256, :256]
        logits = np.clip(RADIUS / 4 - grid, -12, 8)[None] + texture * (grid > 6)
        logits = np.minimum(logits, np.where(grid > RADIUS / 4, -0.5, 9))
        logits = logits.astype(np.float16).astype(np.float32)
        logits.flags.writeable = False
        prompts = Prompts(points=at)
        sources = ("auto",) * POINTS
        began = time.perf_counter()
        if hasattr(document, "add_many"):
            pending.append(
                ObjectRecord(
                    number + 1,
                    prompts=prompts,
                    sources=sources,
                    region=region,
                    score=0.9,
                    logits=documents.MaskLogits(logits),
                    answered_revision=0,
                )
            )
            # As a job delivers them, some at a time.
            if len(pending) == 64 or number == count - 1:
                document.add_many(pending)
                pending = []
        else:
            document.active_id = None
            record = document.new_object()
            record = document.set_prompts(record.id, prompts, sources)
            document.set_mask(
                record.id, region, score=0.9, logits=logits, revision=record.revision
            )
        spent += time.perf_counter() - began
    return 1e3 * spent


def timed(call: Callable[[], Any]) -> float:
    """Return the milliseconds a call takes."""
    began = time.perf_counter()
    call()
    return 1e3 * (time.perf_counter() - began)


if __name__ == "__main__":
    main()
