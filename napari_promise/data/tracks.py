"""Tracked objects as the Cell Tracking Challenge and napari's Tracks layer want them.

Labels are the tracks: one number is one object through time.

References
----------
.. [1] Ulman et al., "An objective comparison of cell-tracking algorithms", Nature
   Methods 14, 2017; file formats: https://celltrackingchallenge.net
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import tifffile
from numpy.typing import NDArray

from napari_promise.files import PathLike, whole_file

__all__ = ["napari_tracks", "save_tracks", "track_table"]


def track_table(
    labels: NDArray[Any], parents: Mapping[int, int] | None = None
) -> NDArray[np.int64]:
    """Return each track's life.

    Parameters
    ----------
    labels : (moments, ..., row, column) integer
        0 is background.
    parents : mapping of int to int, optional
        Track -> the track that divided into it.

    Returns
    -------
    (N, 4) int64
        Label, first moment, last moment, parent or 0: a row of ``res_track.txt``.

    Raises
    ------
    ValueError
        If a parent is no track, or does not end before its daughter begins.
    """
    first: dict[int, int] = {}
    last: dict[int, int] = {}
    for moment, frame in enumerate(labels):
        for label in np.unique(frame):
            if label:
                first.setdefault(int(label), moment)
                last[int(label)] = moment
    parents = {k: v for k, v in (parents or {}).items() if k in first}
    for daughter, parent in parents.items():
        if parent not in last or last[parent] >= first[daughter]:
            raise ValueError(
                f"track {daughter} begins at {first[daughter]}, but its parent "
                f"{parent} does not end before: end the parent where it divides."
            )
    rows = [(k, first[k], last[k], parents.get(k, 0)) for k in sorted(first)]
    return np.array(rows, np.int64).reshape(-1, 4)


def save_tracks(
    folder: PathLike, labels: NDArray[Any], parents: Mapping[int, int] | None = None
) -> Path:
    """Write ``mask000.tif`` and so on, and ``res_track.txt``.

    A track that is interrupted is allowed there only if it continues under another
    label whose parent it is; it is written so.

    Parameters
    ----------
    folder : path
        Made where it is not there; has to be empty.
    labels : (moments, ..., row, column) integer
        At most 65,535 tracks.
    parents : mapping of int to int, optional
        See `track_table`.

    Returns
    -------
    pathlib.Path
        The table.

    Raises
    ------
    ValueError
        If the folder holds something, there are too many tracks, or a parent does not
        fit.
    """
    folder = Path(folder)
    if folder.exists() and any(folder.iterdir()):
        raise ValueError(f"{folder} is not empty: choose another folder for tracks.")
    pieces, lineage = _without_gaps(np.asarray(labels), dict(parents or {}))
    table = track_table(pieces, lineage)
    if len(table) and table[:, 0].max() > np.iinfo(np.uint16).max:
        raise ValueError("a track's label is beyond 65,535: number the tracks anew.")
    folder.mkdir(parents=True, exist_ok=True)
    digits = max(3, len(str(len(pieces) - 1)))
    for moment, frame in enumerate(pieces):
        with whole_file(folder / f"mask{moment:0{digits}d}.tif") as part:
            tifffile.imwrite(part, frame.astype(np.uint16), compression="zlib")
    path = folder / "res_track.txt"
    with whole_file(path) as part:
        text = "".join(" ".join(map(str, row)) + "\n" for row in table.tolist())
        part.write_text(text, encoding="ascii")
    return path


def napari_tracks(
    labels: NDArray[Any], parents: Mapping[int, int] | None = None
) -> tuple[NDArray[np.float64], dict[int, list[int]]]:
    """Return tracks as a napari Tracks layer takes them.

    Parameters
    ----------
    labels : (moments, ..., row, column) integer
    parents : mapping of int to int, optional
        See `track_table`.

    Returns
    -------
    data : (N, 2 + D) float64
        Track, moment and the centroid's position, by track and moment.
    graph : dict
        Track -> its parents.
    """
    rows = []
    for moment, frame in enumerate(labels):
        for label in np.unique(frame):
            if label:
                centre = [axis.mean() for axis in np.nonzero(frame == label)]
                rows.append([float(label), float(moment), *centre])
    rows.sort()
    known = {int(row[0]) for row in rows}
    graph = {k: [v] for k, v in (parents or {}).items() if {k, v} <= known}
    width = 1 + np.ndim(labels)
    return np.array(rows, np.float64).reshape(-1, width), graph


def _without_gaps(
    labels: NDArray[Any], parents: dict[int, int]
) -> tuple[NDArray[Any], dict[int, int]]:
    """Let a track that is interrupted continue as its own daughter."""
    pieces = labels.copy()
    following = int(labels.max(initial=0)) + 1
    for label in [int(v) for v in np.unique(labels) if v]:
        moments = np.flatnonzero([bool((frame == label).any()) for frame in labels])
        runs = np.split(moments, np.flatnonzero(np.diff(moments) > 1) + 1)
        before = label
        for run in runs[1:]:
            for moment in run:
                pieces[moment][labels[moment] == label] = following
            parents[following] = before
            for daughter, parent in list(parents.items()):
                if parent in (label, before):
                    begins = [m for m, f in enumerate(labels) if (f == daughter).any()]
                    if begins and begins[0] > run[-1]:
                        parents[daughter] = following
            before, following = following, following + 1
    return pieces, parents
