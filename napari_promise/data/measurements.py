"""How large objects are, as a table: one row an object, whatever planes it is on."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_promise.document import farthest_apart, outermost
from napari_promise.files import whole_file

__all__ = ["COLUMNS", "measured", "save_measurements"]

#: Of the table. Lengths are in the unit of the scale; empty where there is none.
COLUMNS = (
    "object",
    "class",
    "score",
    "planes",
    "first_plane",
    "last_plane",
    "pixels",
    "volume_ml",
    "area_mm2",
    "longest_diameter_mm",
)
_MILLIMETRES = {"mm": 1.0, "millimeter": 1.0, "cm": 10.0, "um": 1e-3, "µm": 1e-3}


def measured(
    labels: Any,
    *,
    scale: Sequence[float] | None = None,
    unit: str | None = None,
    classes: Mapping[int, str] | None = None,
    scores: Mapping[int, float] | None = None,
) -> list[dict[str, Any]]:
    """Measure every object of a label image.

    Parameters
    ----------
    labels : array-like, (..., H, W) integer
        Read plane by plane.
    scale : sequence of float, optional
        The size of a pixel along each axis.
    unit : str, optional
        Of the scale. Left out, or none of length, only pixels are counted.
    classes, scores : mapping, optional
        By label.

    Returns
    -------
    list of dict
        With the keys of `COLUMNS`, by label. Objects on one plane have an area, those
        on several a volume. Of leading axes beyond three, as channels and moments, the
        last one counts as the planes; the same label elsewhere is the same object.
    """
    shape = tuple(int(n) for n in labels.shape)
    factor = _MILLIMETRES.get(unit or "", None)
    size = np.ones(len(shape)) if scale is None else np.abs(np.asarray(scale, float))
    steps = np.ones(3)
    steps[3 - min(3, len(shape)) :] = size[-min(3, len(shape)) :]
    known = scale is not None and factor is not None
    steps = steps * (factor or 1.0)
    counts: dict[int, int] = {}
    planes: dict[int, set[int]] = {}
    outlines: dict[int, list[Any]] = {}
    for index in np.ndindex(shape[:-2]):
        plane = np.asarray(labels[index] if index else labels)
        at = index[-1] if index else 0
        for label in np.unique(plane[plane > 0]).tolist():
            mask = plane == label
            counts[label] = counts.get(label, 0) + int(np.count_nonzero(mask))
            planes.setdefault(label, set()).add(at)
            outlines.setdefault(label, []).append(np.insert(outermost(mask), 0, at, 1))
    rows = []
    for label in sorted(counts):
        on, pixels = planes[label], counts[label]
        flat = len(on) == 1
        row: dict[str, Any] = dict.fromkeys(COLUMNS, "")
        row |= {
            "object": label,
            "class": (classes or {}).get(label, ""),
            "planes": len(on),
            "first_plane": min(on),
            "last_plane": max(on),
            "pixels": pixels,
        }
        if scores and label in scores:
            row["score"] = round(float(scores[label]), 4)
        if known:
            points = np.concatenate(outlines[label]) * steps
            row["longest_diameter_mm"] = round(farthest_apart(points), 2)
            if len(shape) > 2:
                row["volume_ml"] = round(float(pixels * np.prod(steps) / 1000), 4)
            if flat:
                row["area_mm2"] = round(float(pixels * steps[1] * steps[2]), 3)
        rows.append(row)
    return rows


def save_measurements(
    path: str | os.PathLike[str],
    labels: Any,
    *,
    overwrite: bool = False,
    **about: Any,
) -> Path:
    """Write what `measured` returns as a CSV file, whole or not at all.

    Parameters
    ----------
    path : path
    labels, **about
        As of `measured`.
    overwrite : bool

    Returns
    -------
    Path

    Raises
    ------
    FileExistsError
        If the file is there and may not be replaced.
    """
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(measured(labels, **about))
    with whole_file(path, overwrite) as part:
        part.write_text(text.getvalue(), encoding="utf-8")
    return Path(path)
