"""A document beside the labels it writes, and small regions to put there."""

from __future__ import annotations

from functools import partial

import numpy as np

from napari_promise.document import Document, LabelPatch, Region
from tests import regions

SHAPE = (20, 30)
rectangle = partial(regions.rectangle, SHAPE)


def logits(value: float) -> np.ndarray:
    array = np.full((1, 4, 4), value, np.float32)
    array.flags.writeable = False
    return array


class Bench:
    """A document beside a Labels array that follows its patches."""

    def __init__(self, planes: tuple[int, ...] = ()) -> None:
        self.labels = np.zeros((*planes, *SHAPE), np.int32)
        self.document = Document()
        self.document.events.labels_patched.connect(
            lambda patch: patch.apply(self.labels)
        )

    def click(self, object_id: int, *points: tuple[float, float]) -> None:
        record = self.document.get(object_id)
        self.document.edit_prompts(
            object_id,
            points=[*record.prompts.points.tolist(), *points],
            labels=[*record.prompts.labels, *(1 for _ in points)],
        )

    def answer(self, object_id: int, region: Region | None, value: float = 1.0) -> bool:
        return self.document.set_mask(
            object_id,
            region,
            score=0.9,
            logits=logits(value),
            revision=self.document.get(object_id).revision,
        )

    def add(self, region: Region, *, commit: bool = True, **options) -> int:
        record = self.document.new_object()
        self.click(record.id, (float(record.id), 1.0))
        self.answer(record.id, region)
        if commit:
            self.commit(record.id, **options)
        return record.id

    def commit(self, object_id: int, **options) -> LabelPatch | None:
        plane = self.document.get(object_id).plane
        return self.document.commit(object_id, self.labels[plane], **options)

    def paint(self, window: tuple[slice, slice], value: int) -> None:
        before = self.labels.copy()
        self.labels[window] = value
        self.document.record_paint(
            [LabelPatch.from_crops((), (0, 0), before, self.labels, SHAPE)]
        )


def expected(**areas: tuple[slice, slice]) -> np.ndarray:
    labels = np.zeros(SHAPE, np.int32)
    for name, window in areas.items():
        labels[window] = int(name[1:])
    return labels
