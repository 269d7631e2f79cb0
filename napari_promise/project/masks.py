"""What labels say: how many objects, which, and how far they are what was proposed.

Also writes labels as a file to train on.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_promise.document import ObjectRecord, Region
from napari_promise.files import whole_file

__all__ = ["checked_labels", "compare", "count", "records_of", "write_exactly"]


def checked_labels(labels: NDArray[Any], path: Path) -> NDArray[Any]:
    """Return ids of a mask file in a type that a Labels layer can grow in.

    Parameters
    ----------
    labels : (..., H, W) integer
    path : Path
        For the error.

    Returns
    -------
    (..., H, W) uint16 or uint32

    Raises
    ------
    ValueError
        If an id is negative.
    """
    if labels.min(initial=0) < 0:
        raise ValueError(f"{path} holds negative ids: it is left out.")
    fits = labels.max(initial=0) <= np.iinfo(np.uint16).max
    return labels.astype(np.uint16 if fits else np.uint32)


def count(labels: NDArray[Any]) -> int:
    """Count the ids other than 0; planes without any cost one look."""
    ids: set[int] = set()
    for index in np.ndindex(labels.shape[:-2]):
        plane = labels[index]
        if not plane.any():
            continue
        if plane.dtype.itemsize <= 2 and plane.dtype.kind == "u":
            ids.update(np.flatnonzero(np.bincount(plane.reshape(-1))).tolist())
        else:
            ids.update(np.unique(plane).tolist())
    return len(ids - {0})


def records_of(labels: NDArray[Any], class_name: str) -> tuple[ObjectRecord, ...]:
    """Make an object of every id that lies in one plane only."""
    from scipy import ndimage

    records: dict[int, ObjectRecord | None] = {}
    for index in np.ndindex(labels.shape[:-2]):
        plane = labels[index]
        if not plane.any():
            continue
        ids, dense = np.unique(plane, return_inverse=True)
        dense = dense.reshape(plane.shape)
        for number, window in zip(ids, ndimage.find_objects(dense + 1), strict=True):
            key = int(number)
            if key == 0:
                continue
            if key in records:
                records[key] = None
                continue
            origin = (window[0].start, window[1].start)
            region = Region.from_crop(plane[window] == number, origin, plane.shape)
            records[key] = ObjectRecord(
                key,
                tuple(int(i) for i in index),
                class_name,
                region=region,
                committed=True,
                written=region,
            )
    return tuple(r for _, r in sorted(records.items()) if r is not None)


def compare(
    proposed: Iterable[ObjectRecord], labels: NDArray[Any] | None
) -> tuple[bool, float]:
    """Tell whether labels are what was proposed, and the Dice of both foregrounds."""
    both = sizes = differing = 0
    by_plane: dict[tuple[int, ...], NDArray[np.bool_]] = {}
    for record in proposed:
        if record.region is not None:
            mask = by_plane.get(record.plane)
            whole = record.region.mask
            by_plane[record.plane] = whole if mask is None else mask | whole
    leading = () if labels is None else labels.shape[:-2]
    planes = set(by_plane) | set(np.ndindex(leading))
    for plane in planes:
        mask = by_plane.get(plane)
        truth = None
        if labels is not None and len(plane) == len(leading):
            truth = labels[plane] > 0
        if mask is None and truth is None:
            continue
        mask = np.zeros_like(truth) if mask is None else mask
        truth = np.zeros_like(mask) if truth is None else truth
        if mask.shape != truth.shape:
            return False, 0.0
        both += int(np.count_nonzero(mask & truth))
        differing += int(np.count_nonzero(mask ^ truth))
        sizes += int(np.count_nonzero(mask)) + int(np.count_nonzero(truth))
    return differing == 0, 1.0 if sizes == 0 else 2 * both / sizes


def write_exactly(labels: NDArray[Any], stem: Path) -> Path:
    """Write labels as a file that `data.images.read_mask` reads exactly.

    Parameters
    ----------
    labels : (..., H, W) integer
    stem : Path
        The file without its ending.

    Returns
    -------
    Path
        ``.png`` where that holds them, else ``.npy``.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    small = labels.ndim == 2 and labels.max(initial=0) < 2**16
    path = stem.with_name(f"{stem.name}{'.png' if small else '.npy'}")
    with whole_file(path, overwrite=True) as part:
        if small:
            # 16 bits, even where 8 would do: 8 are taken for soft edges.
            Image.fromarray(labels.astype(np.uint16)).save(part, "PNG")
        else:
            with open(part, "wb") as file:
                np.save(file, labels, allow_pickle=False)
    return path
