"""Rows of a Points layer as plain arrays, and what changed between two readings.

Knows neither napari nor the document: arrays in, arrays out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace

import numpy as np

from napari_promise.document import Plane

#: Rows whose object is not chosen yet; they go to the object in work.
UNASSIGNED = 0


def _empty_ints() -> np.ndarray:
    return np.zeros(0, dtype=np.int64)


@dataclass(frozen=True, eq=False)
class PointTable:
    """Points of any number of objects, row by row.

    Parameters
    ----------
    data : array, shape (N, D)
        Positions ``(…, row, column)`` in the image's pixels.
    objects : array, shape (N,), int
        Object each point speaks for; 0 where nobody has said.
    include : array, shape (N,), bool
        True where the point says "inside the object".
    auto : array, shape (N,), bool
        True where a model wrote the point and nobody has touched it since.
    scores : array, shape (N,), float
        A model's confidence in its point; NaN for a person's.
    """

    data: np.ndarray
    objects: np.ndarray = field(default_factory=_empty_ints)
    include: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    auto: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.data)

    def take(self, rows: np.ndarray) -> PointTable:
        """Keep some rows, given as indices or as a boolean mask."""
        return PointTable(
            self.data[rows],
            self.objects[rows],
            self.include[rows],
            self.auto[rows],
            self.scores[rows],
        )

    def of(self, object_id: int) -> PointTable:
        """Rows of one object, in their order."""
        return self.take(self.objects == object_id)

    def plane(self, row: int) -> Plane:
        """Plane of one row: its leading coordinates, rounded."""
        return tuple(int(v) for v in np.rint(self.data[row, :-2]))

    def keys(self) -> list[tuple[object, ...]]:
        """One hashable per row that stays equal as long as nobody touches the row."""
        return [
            (int(o), bool(i), *(float(v) for v in position))
            for position, o, i in zip(
                self.data, self.objects, self.include, strict=True
            )
        ]

    def same(self, other: PointTable) -> bool:
        """Whether both tables hold the same rows in the same order."""
        return (
            self.data.shape == other.data.shape
            and np.array_equal(self.data, other.data)
            and np.array_equal(self.objects, other.objects)
            and np.array_equal(self.include, other.include)
            and np.array_equal(self.auto, other.auto)
        )

    @classmethod
    def empty(cls, ndim: int) -> PointTable:
        """Return a table without rows."""
        return cls(np.zeros((0, ndim)))

    @classmethod
    def concatenate(cls, tables: list[PointTable], ndim: int) -> PointTable:
        """Stack tables below each other."""
        if not tables:
            return cls.empty(ndim)
        return cls(
            np.concatenate([t.data for t in tables]),
            np.concatenate([t.objects for t in tables]),
            np.concatenate([t.include for t in tables]),
            np.concatenate([t.auto for t in tables]),
            np.concatenate([t.scores for t in tables]),
        )


def claim_touched(before: PointTable, after: PointTable) -> PointTable:
    """Make every automatic point that was moved, flipped or pasted the user's.

    Parameters
    ----------
    before, after : PointTable
        The rows as they were last agreed on, and as they are read now.

    Returns
    -------
    PointTable
        ``after``, with ``auto`` kept only where the very same automatic point was
        already in ``before``; the score of a claimed point is NaN.
    """
    known = Counter(
        key for key, auto in zip(before.keys(), before.auto, strict=True) if auto
    )
    auto = np.zeros(len(after), dtype=bool)
    for row, key in enumerate(after.keys()):
        if after.auto[row] and known[key] > 0:
            known[key] -= 1
            auto[row] = True
    scores = np.where(auto, after.scores, np.nan)
    return replace(after, auto=auto, scores=scores)


def changed_objects(before: PointTable, after: PointTable) -> list[int]:
    """Objects whose points differ between two tables, in ascending order."""
    ids = sorted({int(i) for i in np.concatenate([before.objects, after.objects])})
    return [i for i in ids if not before.of(i).same(after.of(i))]
