"""Kill a program that annotates a folder, at random moments; count what was lost.

A child process opens a project and annotates image after image as the widget does it:
a document, an `Autosaver`, labels that follow the document; clicks with their masks,
commits, strokes, undo, states. Right after every edit it writes into a journal of its
own what there should be. The parent kills it with SIGKILL at a random moment, opens
the project again and compares: how old is the oldest edit that is not there?

    python -m scripts.checks.kill_project --kills 20 --json kills.json

The loss is the time from that edit to the kill, in seconds; 0 where nothing is lost.
What is found must also be a state that there was: labels and objects that belong
together, at one moment of the session.
"""

from __future__ import annotations

import argparse
import hashlib
import heapq
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from napari_promise.document import Document, LabelPatch, ObjectRecord, Region
from napari_promise.project import Autosaver, Project

IMAGES, SHAPE = 8, (480, 640)
LOGITS = (1, 256, 256)
TARGET = 2.0


class Loop:
    """A window's event loop without a window."""

    def __init__(self) -> None:
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def schedule(self, milliseconds: int, call: Callable[[], None]) -> None:
        """Call something later."""
        due = time.monotonic() + milliseconds / 1000
        heapq.heappush(self._queue, (due, next(self._numbers), call))

    def run(self, seconds: float) -> None:
        """Call what is due, for a while."""
        end = time.monotonic() + seconds
        while (now := time.monotonic()) < end:
            if self._queue and self._queue[0][0] <= now:
                heapq.heappop(self._queue)[2]()
            else:
                time.sleep(0.001)


def fingerprint(document: Document, labels: np.ndarray) -> str:
    """Name a state of the work: labels, objects with masks and points, history."""
    state = hashlib.blake2b(np.ascontiguousarray(labels, np.uint16), digest_size=8)
    for record in document.objects:
        state.update(repr((record.id, record.committed, record.sources)).encode())
        state.update(record.prompts.points.tobytes())
        state.update(record.prompts.labels.tobytes())
        if record.region is not None:
            state.update(repr(record.region.bbox).encode() + record.region.bits)
    state.update(repr((document.undo_name, document.redo_name)).encode())
    state.update(repr(sorted(document.pending)).encode())
    return state.hexdigest()


# The child


def annotate(folder: Path, journal: Path, seed: int) -> None:
    """Annotate for ever, and write into the journal what there should be."""
    rng = np.random.default_rng(seed)
    loop = Loop()
    project = Project.open(folder)
    saver = Autosaver(project, loop.schedule)
    # Unbuffered and not synced: what a process wrote outlives its SIGKILL.
    with open(journal, "ab", buffering=0) as file:

        def note(**event: Any) -> None:
            file.write(json.dumps({"at": time.time(), **event}).encode() + b"\n")

        for number in itertools.count():
            key = project.keys[number % len(project.keys)]
            document = Document()
            labels = project.restore(key, document)
            if labels is None:
                labels = np.zeros(SHAPE, np.uint16)
            document.events.labels_patched.connect(lambda p, to=labels: p.apply(to))
            saver.watch(key, document, lambda to=labels: to)
            note(key=key, state=fingerprint(document, labels), opened=True)
            for _ in range(int(rng.integers(4, 14))):
                edit(document, labels, rng)
                note(key=key, state=fingerprint(document, labels))
                loop.run(float(rng.exponential(0.25)))
            if rng.random() < 0.7:
                saver.flush("done")


def edit(document: Document, labels: np.ndarray, rng: np.random.Generator) -> None:
    """Make one edit of the kinds that a person makes, as often as a person does."""
    kind = rng.choice(
        ["click", "commit", "commit early", "answer", "paint", "undo"],
        p=[0.5, 0.15, 0.1, 0.05, 0.1, 0.1],
    )
    row, column = (int(rng.integers(30, n - 30)) for n in SHAPE)
    active = document.active
    if kind == "undo" and document.can_undo:
        document.undo()
    elif kind == "commit" and active is not None and active.region is not None:
        document.commit(active.id, labels)
        document.active_id = None
    elif kind == "commit early":  # its mask is still being computed
        record = document.new_object()
        document.edit_prompts(record.id, points=[(row, column)], labels=[1])
        document.commit_later(record.id)
        document.active_id = None
    elif kind == "answer" and document.pending:
        for object_id in document.pending:
            _answer(document, document.get(object_id), rng)
        document.carry_out(lambda _plane: labels)
    elif kind == "paint":
        window = labels[row : row + 6, column : column + 6]
        painted = np.full_like(window, 9)
        patch = LabelPatch.from_crops((), (row, column), window, painted, SHAPE)
        window[:] = 9
        document.record_paint([patch])
    else:
        record = document.new_object() if active is None else active
        points = [*record.prompts.points.tolist(), (row, column)]
        record = document.edit_prompts(
            record.id, points=points, labels=[1] * len(points)
        )
        _answer(document, record, rng)


def _answer(document: Document, record: ObjectRecord, rng: np.random.Generator) -> None:
    mask = np.zeros(SHAPE, bool)
    for r, c in record.prompts.points:
        mask[int(r) - 20 : int(r) + 20, int(c) - 20 : int(c) + 20] = True
    logits = rng.normal(size=LOGITS).astype(np.float16).astype(np.float32)
    logits.flags.writeable = False
    document.set_mask(
        record.id,
        Region.from_mask(mask),
        score=0.9,
        logits=logits,
        revision=record.revision,
    )


# The parent


def kill_once(folder: Path, seed: int, wait: float) -> dict[str, Any]:
    """Let a child annotate, kill it so long after its first edit, and look.

    Parameters
    ----------
    folder : pathlib.Path
    seed : int
    wait : float
        Seconds.
    """
    journal = folder.parent / f"journal-{seed}.jsonl"
    command = [sys.executable, "-m", "scripts.checks.kill_project", "--child"]
    child = subprocess.Popen([*command, str(folder), str(journal), str(seed)])
    while not journal.exists() or journal.read_bytes().count(b"\n") < 2:
        if child.poll() is not None:
            raise SystemExit(f"the child ended with {child.returncode}")
        time.sleep(0.01)
    time.sleep(wait)
    os.kill(child.pid, signal.SIGKILL)
    killed = time.time()
    child.wait()
    lines = journal.read_bytes().splitlines()
    events = [json.loads(line) for line in lines]
    began = time.perf_counter()
    with Project.open(folder) as project:
        opened = time.perf_counter() - began
        key = events[-1]["key"]
        notes: list[str] = list(project.notes)
        project.events.noted.connect(notes.append)
        document = Document()
        labels = project.restore(key, document)
        if labels is None:
            labels = np.zeros(SHAPE, np.uint16)
        found = fingerprint(document, labels)
        reopen_key = project.reopen_key
        # Images that were left before are there to the last edit.
        left = _left_behind(project, events, key)
    mine = [event for event in events if event["key"] == key]
    visit = max(n for n, event in enumerate(mine) if event.get("opened"))
    mine = mine[visit:]
    there = [n for n, event in enumerate(mine) if event["state"] == found]
    lost = mine[there[-1] + 1 :] if there else mine
    return {
        "seed": seed,
        "after_s": round(wait, 2),
        "edits": len(events),
        "lost_edits": len(lost),
        "lost_s": round(killed - lost[0]["at"], 3) if lost else 0.0,
        "whole": bool(there),
        "others_whole": left,
        "reopened": reopen_key == key,
        "open_s": round(opened, 3),
        "notes": notes,
    }


def _left_behind(project: Project, events: list[dict[str, Any]], key: str) -> bool:
    last: dict[str, str] = {event["key"]: event["state"] for event in events}
    for other, state in last.items():
        if other == key:
            continue
        document = Document()
        labels = project.restore(other, document)
        if labels is None:
            labels = np.zeros(SHAPE, np.uint16)
        if fingerprint(document, labels) != state:
            return False
    # What was looked at last must stay what the next child goes on with.
    project.restore(key, Document())
    return True


def run(kills: int, seed: int, longest: float) -> list[dict[str, Any]]:
    """Kill again and again, on one and the same project.

    Parameters
    ----------
    kills : int
    seed : int
    longest : float
        Seconds that a session lasts at most.

    Returns
    -------
    list of dict
        One a kill.
    """
    rng = np.random.default_rng(seed)
    rows = []
    with tempfile.TemporaryDirectory() as base:
        folder = Path(base) / "images"
        folder.mkdir()
        for number in range(IMAGES):
            pixels = rng.integers(0, 255, (*SHAPE, 3), np.uint8)
            Image.fromarray(pixels).save(folder / f"{number}.png")
        for number in range(kills):
            wait = float(rng.uniform(0.05, longest))
            rows.append(kill_once(folder, seed + number, wait))
            print(_line(number + 1, rows[-1]), flush=True)
    return rows


_HEAD = " kill  after s  edits  lost edits  lost s  whole  others  reopened  open s"


def _line(number: int, row: dict[str, Any]) -> str:
    yes = {True: "yes", False: "NO"}
    return (
        f"{number:5d}  {row['after_s']:7.2f}  {row['edits']:5d}  "
        f"{row['lost_edits']:10d}  {row['lost_s']:6.2f}  {yes[row['whole']]:>5}  "
        f"{yes[row['others_whole']]:>6}  {yes[row['reopened']]:>8}  "
        f"{row['open_s']:6.3f}" + "".join(f"\n       {note}" for note in row["notes"])
    )


def main() -> int:
    """Run the kills and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--longest", type=float, default=8.0, help="seconds a session")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--child", nargs=3, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.child:
        folder, journal, seed = arguments.child
        annotate(Path(folder), Path(journal), int(seed))
    print(_HEAD)
    rows = run(arguments.kills, arguments.seed, arguments.longest)
    lost = [row["lost_s"] for row in rows]
    sound = all(row["whole"] and row["others_whole"] for row in rows)
    print(
        f"lost: median {np.median(lost):.2f} s, most {max(lost):.2f} s (aim "
        f"{TARGET:g} s); opened again and whole {sum(r['whole'] for r in rows)} of "
        f"{len(rows)} times"
    )
    if arguments.json:
        summary = {
            "median_lost_s": float(np.median(lost)),
            "most_lost_s": max(lost),
            "kills": rows,
        }
        arguments.json.write_text(json.dumps(summary, indent=2) + "\n")
    return 0 if sound and max(lost) <= TARGET else 1


if __name__ == "__main__":
    sys.exit(main())
