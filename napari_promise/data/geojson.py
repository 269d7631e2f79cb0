"""Write labels as GeoJSON polygons, as QuPath reads and writes annotations.

Corners of pixels are at the integers there, x to the right and y down: the outline of a
single pixel at (row 3, column 5) runs from (5, 3) to (6, 4). Outlines follow the edges
of the pixels, so that the polygons hold exactly what the labels hold.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.data.label_store import tiles_of
from napari_promise.document import BBox, Plane, union_bbox
from napari_promise.files import PathLike, whole_file

__all__ = ["extents", "rings_of", "save_geojson"]

#: A closed line of (x, y), the first point again at its end.
Ring = list[list[int]]


def save_geojson(
    path: PathLike,
    labels: Any,
    *,
    classes: Mapping[int, str] | None = None,
    scores: Mapping[int, float] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write the outlines of all objects, one feature an object and plane.

    Parameters
    ----------
    path : path
        Ends in ``.geojson``.
    labels : (..., row, column) integer
        Object ids, 0 the background; an array, or a `LabelStore`, which is read by
        tile.
    classes : mapping of int to str, optional
        Each object's class, which QuPath shows as its classification.
    scores : mapping of int to float, optional
        Each object's predicted quality, kept as a measurement.
    overwrite : bool
        Whether a file already there may be replaced.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileExistsError
        If there is a file and `overwrite` is false.
    OSError
        If it cannot be written; an earlier one is then as it was.
    """
    path = Path(path)
    with (
        whole_file(path, overwrite) as temporary,
        open(temporary, "w", encoding="utf-8") as file,
    ):
        # One feature at a time: the outlines of a whole slide are many.
        file.write('{"type": "FeatureCollection", "features": [')
        found = _features(labels, classes or {}, scores or {})
        for number, feature in enumerate(found):
            file.write(",\n" if number else "\n")
            json.dump(feature, file)
        file.write("\n]}\n")
    return path


def extents(labels: Any) -> dict[tuple[Plane, int], BBox]:
    """Find the bounding box of each object on each plane, reading by tile.

    Parameters
    ----------
    labels : (..., row, column) integer
        An array or a `LabelStore`.

    Returns
    -------
    dict of (plane, label) to (r0, c0, r1, c1)
    """
    from scipy import ndimage

    found: dict[tuple[Plane, int], BBox] = {}
    for plane, (r0, c0, r1, c1) in tiles_of(tuple(labels.shape)):
        tile = np.asarray(labels[plane][r0:r1, c0:c1])
        numbers, dense = np.unique(tile, return_inverse=True)
        if len(numbers) == 1 and numbers[0] == 0:
            continue
        windows = ndimage.find_objects(dense.reshape(tile.shape) + 1)
        for number, (rows, columns) in zip(numbers.tolist(), windows, strict=True):
            if number:
                box = (
                    r0 + rows.start,
                    c0 + columns.start,
                    r0 + rows.stop,
                    c0 + columns.stop,
                )
                whole = union_bbox(found.get((plane, number)), box)
                assert whole is not None
                found[plane, number] = whole
    return found


def rings_of(mask: NDArray[np.bool_]) -> list[list[Ring]]:
    """Trace the parts of a mask along the edges of its pixels.

    Parameters
    ----------
    mask : (h, w) bool

    Returns
    -------
    list of list of ring
        Of each part that hangs together by sides its outline, then those of its holes.

    Examples
    --------
    >>> rings_of(np.array([[True, True]]))
    [[[[0, 0], [2, 0], [2, 1], [0, 1], [0, 0]]]]
    """
    from scipy import ndimage

    parts, count = ndimage.label(mask)
    found = []
    for number, window in enumerate(ndimage.find_objects(parts), start=1):
        corner = (window[0].start, window[1].start)
        rings = _traced(parts[window] == number, corner)
        rings.sort(key=_area, reverse=True)  # the outline's is positive, a hole's not
        found.append(rings)
    assert len(found) == count
    return found


def _features(
    labels: Any, classes: Mapping[int, str], scores: Mapping[int, float]
) -> Iterator[dict[str, Any]]:
    boxes = extents(labels)
    colours = _colours(sorted({classes.get(label, "") for _, label in boxes}))
    for (plane, label), (r0, c0, r1, c1) in sorted(boxes.items()):
        mask = np.asarray(labels[plane][r0:r1, c0:c1]) == label
        parts = [
            [[[x + c0, y + r0] for x, y in ring] for ring in part]
            for part in rings_of(mask)
        ]
        geometry: dict[str, Any] = (
            {"type": "Polygon", "coordinates": parts[0]}
            if len(parts) == 1
            else {"type": "MultiPolygon", "coordinates": parts}
        )
        if plane:
            frame = plane[-2] if len(plane) > 1 else 0
            geometry["plane"] = {"c": -1, "z": plane[-1], "t": frame}
        properties: dict[str, Any] = {"objectType": "annotation", "name": str(label)}
        name = classes.get(label, "")
        if name:
            properties["classification"] = {"name": name, "color": colours[name]}
        if label in scores:
            properties["measurements"] = {"score": float(scores[label])}
        yield {"type": "Feature", "geometry": geometry, "properties": properties}


def _colours(names: Sequence[str]) -> dict[str, list[int]]:
    """Give each class a bright colour, apart from those of its neighbours."""
    colours = {}
    for number, name in enumerate(names):
        turn = (0.13 + number * 0.61803398875) % 1.0
        waves = 0.5 + 0.5 * np.cos(2 * np.pi * (turn - np.array([0, 1, 2]) / 3))
        colours[name] = np.rint(55 + 200 * waves).astype(int).tolist()
    return colours


def _traced(part: NDArray[np.bool_], corner: tuple[int, int]) -> list[Ring]:
    """Return the outlines of one part; (x, y) from a corner at (row, column).

    1. Every side between a pixel inside and one outside is an arrow, with the inside
       on its right.
    2. Arrows are followed until they come back.
    3. Where a line meets itself at a corner it is cut in two, so that none touches
       itself.
    """
    padded = np.pad(part, 1)
    inside = padded[1:-1, 1:-1]
    starts: list[NDArray[np.int64]] = []
    ends: list[NDArray[np.int64]] = []
    for outside, start, end in (
        (~padded[:-2, 1:-1], (0, 0), (0, 1)),  # above: to the right
        (~padded[1:-1, 2:], (0, 1), (1, 1)),  # right: down
        (~padded[2:, 1:-1], (1, 1), (1, 0)),  # below: to the left
        (~padded[1:-1, :-2], (1, 0), (0, 0)),  # left: up
    ):
        at = np.argwhere(inside & outside)
        starts.append(at + start)
        ends.append(at + end)
    leads: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for a, b in zip(
        np.concatenate(starts).tolist(), np.concatenate(ends).tolist(), strict=True
    ):
        leads.setdefault((a[0], a[1]), []).append((b[0], b[1]))
    rings = []
    while leads:
        first = next(iter(leads))
        line, places = [first], {first: 0}
        while True:
            here = line[-1]
            following = leads[here].pop()
            if not leads[here]:
                del leads[here]
            if following in places:
                loop = line[places[following] :]
                rings.append(_straightened(loop, corner))
                for point in loop[1:]:
                    del places[point]
                del line[places[following] + 1 :]
                if len(line) == 1:
                    break
            else:
                places[following] = len(line)
                line.append(following)
    return rings


def _straightened(loop: list[tuple[int, int]], corner: tuple[int, int]) -> Ring:
    """Leave out the points that a straight line passes, and close the line."""
    points = np.array(loop)
    before, after = np.roll(points, 1, axis=0), np.roll(points, -1, axis=0)
    turns = np.any(points - before != after - points, axis=1)
    ring: Ring = (points[turns] + corner)[:, ::-1].tolist()
    return [*ring, ring[0]]


def _area(ring: Ring) -> float:
    """Return the area of a ring, positive where the inside is on its right."""
    x, y = np.array(ring, float).T
    return float(np.sum(x[:-1] * y[1:] - x[1:] * y[:-1]) / 2)
