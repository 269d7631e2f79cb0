"""Somebody who works on a project without a window, and small pictures to work on."""

from __future__ import annotations

import heapq
import itertools
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from napari_promise.document import Document, Region
from napari_promise.project import Project
from tests import regions

SHAPE = (40, 60)
rectangle = partial(regions.rectangle, SHAPE)


def write_image(path: Path, seed: int = 0) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 255, (*SHAPE, 3), np.uint8)
    Image.fromarray(pixels).save(path)
    return path


def write_mask(path: Path, labels: np.ndarray | None = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    if labels is None:
        labels = np.zeros(SHAPE, np.uint8)
        labels[5:10, 5:15], labels[20:30, 30:50] = 1, 2
    Image.fromarray(labels).save(path)
    return path


def states(project: Project) -> dict[str, str]:
    return {item.key: item.state for item in project.items}


def items_folder(project: Project) -> Path:
    (found,) = (project.root / "items").iterdir()
    return found


class Person:
    """Opens an image of a project, clicks, commits, undoes and saves.

    What the widget does with layers: the labels follow the document's patches.
    """

    def __init__(self, project: Project, key: str) -> None:
        self.project, self.key = project, key
        self.document = Document()
        found = project.restore(key, self.document)
        if found is None:
            found = np.zeros(project.read_image(key).shape, np.uint16)
        self.labels = found
        self.clicks = 0
        self.document.events.labels_patched.connect(lambda p: p.apply(self.labels))

    def click(self, row: float, column: float, region: Region | None = None) -> int:
        """Add a point to the active object, or to a new one; a mask answers it."""
        active = self.document.active
        record = self.document.new_object() if active is None else active
        points = [*record.prompts.points.tolist(), (row, column)]
        record = self.document.edit_prompts(
            record.id, points=points, labels=[1] * len(points)
        )
        if region is None:
            r, c = int(row), int(column)
            region = rectangle(max(r - 4, 0), max(c - 4, 0), r + 4, c + 5)
        noise = np.random.default_rng(record.revision).normal(size=(1, 16, 16))
        logits = noise.astype(np.float16).astype(np.float32)
        logits.flags.writeable = False
        self.document.set_mask(
            record.id, region, score=0.9, logits=logits, revision=record.revision
        )
        self.clicks += 1
        return record.id

    def commit(self) -> None:
        active = self.document.active
        assert active is not None
        self.document.commit(active.id, self.labels[active.plane])

    def new(self) -> None:
        self.document.new_object()

    def save(self, **options: Any) -> None:
        self.project.save(self.key, self.document, self.labels, **options)


class Loop:
    """Calls what was scheduled, by a clock that the test moves."""

    def __init__(self) -> None:
        self.now = 0.0
        self._queue: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = itertools.count()

    def schedule(self, milliseconds: int, call: Callable[[], None]) -> None:
        due = self.now + milliseconds / 1000
        heapq.heappush(self._queue, (due, next(self._numbers), call))

    def clock(self) -> float:
        return self.now

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self._queue and self._queue[0][0] <= end:
            self.now, _, call = heapq.heappop(self._queue)
            call()
        self.now = end
