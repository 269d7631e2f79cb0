"""What a brush stroke on a Labels layer changed, as plain patches per plane.

Reads the history items napari announces with its ``paint`` event: tuples of
``(indices, before, after)`` and, from 0.9 on, masks inside a slice.
"""

from __future__ import annotations

from collections.abc import Iterable
from itertools import product
from typing import Any, NamedTuple

import numpy as np

from napari_promise.document import BBox, Plane


class Stroke(NamedTuple):
    """Pixels of one plane before and after a stroke.

    Attributes
    ----------
    plane : tuple of int
        Leading indices.
    bbox : tuple of int
        ``(r0, c0, r1, c1)``, half open.
    before, after : array, shape (r1 - r0, c1 - c0)
        Labels inside the box.
    """

    plane: Plane
    bbox: BBox
    before: np.ndarray
    after: np.ndarray


def strokes(item: Iterable[Any], data: np.ndarray) -> list[Stroke]:
    """Read a napari history item.

    Parameters
    ----------
    item : iterable
        History atoms in the order they were painted.
    data : array, shape (…, H, W)
        The labels, whether the atoms are in them already or not: napari announces a
        stroke of the mouse after it painted, and a painting script before.

    Returns
    -------
    list of Stroke
        One for each plane that really changed.
    """
    atoms = list(item)
    boxes = [box for box in map(_bounds, atoms) if box is not None]
    if not boxes:
        return []
    low = np.min([box[0] for box in boxes], axis=0)
    high = np.max([box[1] for box in boxes], axis=0)
    region = tuple(slice(int(a), int(b)) for a, b in zip(low, high, strict=True))
    before = np.array(data[region])
    for atom in reversed(atoms):
        _write(before, atom, low, undo=True)
    after = before.copy()
    for atom in atoms:
        _write(after, atom, low, undo=False)
    return [
        stroke
        for leading in product(*(range(n) for n in after.shape[:-2]))
        if (stroke := _on_plane(leading, low, before, after)) is not None
    ]


def _bounds(atom: Any) -> tuple[np.ndarray, np.ndarray] | None:
    """Lowest index and one past the highest that an atom touches."""
    key = getattr(atom, "slice_key", None)
    if key is not None:
        return np.array([s.start for s in key]), np.array([s.stop for s in key])
    indices = [np.asarray(axis).reshape(-1) for axis in atom[0]]
    if not indices or not indices[0].size:
        return None
    return (
        np.array([axis.min() for axis in indices]),
        np.array([axis.max() + 1 for axis in indices]),
    )


def _write(region: np.ndarray, atom: Any, low: np.ndarray, *, undo: bool) -> None:
    """Write what an atom's pixels were before or after it into a region at `low`."""
    key = getattr(atom, "slice_key", None)
    if key is None:
        indices, before, after = atom
        local = tuple(
            np.asarray(axis) - int(a) for axis, a in zip(indices, low, strict=True)
        )
        region[local] = before if undo else after
        return
    local_key = tuple(
        slice(s.start - int(a), s.stop - int(a)) for s, a in zip(key, low, strict=True)
    )
    values = atom.old_values if undo else atom.new_value
    if atom.mask is None:
        region[local_key] = values
    else:
        region[local_key][atom.mask] = values


def _on_plane(
    leading: tuple[int, ...], low: np.ndarray, before: np.ndarray, after: np.ndarray
) -> Stroke | None:
    old, new = before[leading], after[leading]
    rows, columns = np.nonzero(old != new)
    if not len(rows):
        return None
    r0, r1 = int(rows.min()), int(rows.max()) + 1
    c0, c1 = int(columns.min()), int(columns.max()) + 1
    top, left = int(low[-2]), int(low[-1])
    return Stroke(
        tuple(int(a) + int(i) for a, i in zip(low[:-2], leading, strict=True)),
        (top + r0, left + c0, top + r1, left + c1),
        old[r0:r1, c0:c1].copy(),
        new[r0:r1, c0:c1].copy(),
    )
