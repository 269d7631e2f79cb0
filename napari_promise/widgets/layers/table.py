"""Rows of a Points layer as plain arrays, and what changed between two readings.

What is compared with every edit is compared as whole arrays: a layer holds the points
of thousands of objects, and an edit touches a few of its rows.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np

from napari_promise.document import SOURCES

#: Rows whose object is not chosen yet; they go to the active object.
UNASSIGNED = 0

#: Code of a point's source in a table, by its name.
CODES = {source: code for code, source in enumerate(SOURCES)}

USER = CODES["user"]


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
    sources : array, shape (N,), uint8
        Who placed each point, as an index into `SOURCES`; the user's, too, where
        somebody has touched it since.
    scores : array, shape (N,), float
        A model's confidence in its point; NaN for the user's.
    """

    data: np.ndarray
    objects: np.ndarray = field(default_factory=_empty_ints)
    include: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=bool))
    sources: np.ndarray = field(default_factory=lambda: np.zeros(0, dtype=np.uint8))
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0))

    def __len__(self) -> int:
        return len(self.data)

    def take(self, rows: np.ndarray | slice) -> PointTable:
        """Keep some rows, given as indices, as a slice or as a boolean mask."""
        return PointTable(
            self.data[rows],
            self.objects[rows],
            self.include[rows],
            self.sources[rows],
            self.scores[rows],
        )

    def of(self, object_id: int) -> PointTable:
        """Rows of one object, in their order."""
        return self.take(self.objects == object_id)

    def planes(self) -> np.ndarray:
        """Plane of every row: its leading coordinates, rounded, (N, D - 2) int."""
        return np.rint(self.data[:, :-2]).astype(np.int64)

    def keys(self) -> list[tuple[object, ...]]:
        """One hashable per row that stays equal as long as nobody touches the row."""
        return list(
            zip(
                self.objects.tolist(),
                self.include.tolist(),
                map(tuple, self.data.tolist()),
                strict=True,
            )
        )

    def same(self, other: PointTable) -> bool:
        """Whether both tables hold the same rows in the same order."""
        return (
            self.data.shape == other.data.shape
            and np.array_equal(self.data, other.data)
            and np.array_equal(self.objects, other.objects)
            and np.array_equal(self.include, other.include)
            and np.array_equal(self.sources, other.sources)
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
            np.concatenate([t.sources for t in tables]),
            np.concatenate([t.scores for t in tables]),
        )


def claim_touched(before: PointTable, after: PointTable) -> PointTable:
    """Make every point of a model that was moved, flipped or pasted the user's.

    Parameters
    ----------
    before, after : PointTable
        The rows as they were last agreed on, and as they are read now.

    Returns
    -------
    PointTable
        ``after``, with a source other than the user kept only where the very same
        point was already in ``before``; the score of a claimed point is NaN.
    """
    old, new = changed_part(before, after)
    sources = after.sources.copy()
    rows = np.flatnonzero(sources[new] != USER)
    if len(rows):
        models = before.take(old)
        models = models.take(models.sources != USER)
        known = Counter(zip(models.keys(), models.sources.tolist(), strict=True))
        touched = after.take(new).take(rows)
        found = zip(touched.keys(), touched.sources.tolist(), strict=True)
        for row, key in zip(rows + new.start, found, strict=True):
            if known[key] > 0:
                known[key] -= 1
            else:
                sources[row] = USER
    scores = np.where(sources == USER, np.nan, after.scores)
    return replace(after, sources=sources, scores=scores)


def changed_objects(before: PointTable, after: PointTable) -> list[int]:
    """Objects whose points differ between two tables, in ascending order."""
    old, new = changed_part(before, after)
    first, second = _by_object(before.take(old)), _by_object(after.take(new))
    changed = _differing_counts(first.objects, second.objects)
    # The others have as many rows here as there: row by row they have to be the same.
    first = first.take(~np.isin(first.objects, changed))
    second = second.take(~np.isin(second.objects, changed))
    differ = first.objects[~_equal_rows(first, second)]
    return np.union1d(changed, differ).astype(np.int64).tolist()


def exchanged(now: PointTable, objects: Iterable[int], want: PointTable) -> PointTable:
    """Exchange the rows of some objects, leaving all others where they are.

    Parameters
    ----------
    now : PointTable
        Rows that a layer holds.
    objects : iterable of int
        Objects whose rows are to go.
    want : PointTable
        Rows to come in their stead.

    Returns
    -------
    PointTable
        A row that lies where one lay takes its place, so that indices which napari
        holds stay right; other new ones come last.
    """
    gone = np.isin(now.objects, np.array(sorted(objects), dtype=np.int64))
    free: dict[tuple[float, ...], list[int]] = {}
    for row in np.flatnonzero(gone)[::-1].tolist():
        free.setdefault(tuple(now.data[row].tolist()), []).append(row)
    places = [
        rows.pop() if (rows := free.get(tuple(position))) else len(now)
        for position in want.data.tolist()
    ]
    ndim = now.data.shape[1]
    both = PointTable.concatenate([now.take(~gone), want], ndim)
    order = np.concatenate(
        [np.flatnonzero(~gone), np.array(places, dtype=np.intp)]
    ).argsort(kind="stable")
    return both.take(order)


def changed_part(before: PointTable, after: PointTable) -> tuple[slice, slice]:
    """Find the rows between what two tables have in common at beginning and end.

    Returns
    -------
    slice, slice
        Of ``before`` and of ``after``.
    """
    shorter = min(len(before), len(after))
    equal = _equal_rows(before.take(slice(0, shorter)), after.take(slice(0, shorter)))
    start = shorter if equal.all() else int(np.argmin(equal))
    left = shorter - start
    equal = _equal_rows(
        before.take(slice(len(before) - left, None)),
        after.take(slice(len(after) - left, None)),
    )[::-1]
    end = left if equal.all() else int(np.argmin(equal))
    return slice(start, len(before) - end), slice(start, len(after) - end)


def _equal_rows(first: PointTable, second: PointTable) -> np.ndarray:
    """Tell which rows of two tables of one length are the same, (N,) bool."""
    same: np.ndarray = (
        np.all(first.data == second.data, axis=1)
        & (first.objects == second.objects)
        & (first.include == second.include)
        & (first.sources == second.sources)
    )
    return same


def _by_object(table: PointTable) -> PointTable:
    return table.take(np.argsort(table.objects, kind="stable"))


def _differing_counts(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Objects that have another number of rows in one array than in the other."""
    ids = np.unique(np.concatenate([first, second]))
    here, there = (
        np.bincount(np.searchsorted(ids, some), minlength=len(ids))
        for some in (first, second)
    )
    differing: np.ndarray = ids[here != there]
    return differing
