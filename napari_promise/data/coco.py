"""Write labels as COCO instance annotations that give exactly the same masks back.

The format is that of ``pycocotools``.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_promise.data.labels import as_labels
from napari_promise.data.naming import stem_of
from napari_promise.files import PathLike, save_json, utc_now

__all__ = ["CATEGORIES", "CocoFile", "class_numbers", "save_coco"]

#: Beside the annotations: which number each class has.
CATEGORIES = "categories.json"
_NOTE = (
    "Objects do not overlap: pixels over which several were committed belong to one of "
    "them."
)
#: How an object without a class is called.
UNNAMED = "object"


def save_coco(
    path: PathLike,
    labels: npt.ArrayLike,
    *,
    classes: Mapping[int, str] | None = None,
    scores: Mapping[int, float] | None = None,
    file_name: str | Sequence[str] = "image.png",
    polygons: bool = False,
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write labels as COCO instance annotations, run-length encoded, so exact.

    A class keeps its number from export to export: numbers stand in the file
    ``categories.json`` beside the annotations, where they can be changed, too.

    Parameters
    ----------
    path : path
        A ``.json`` file.
    labels : (row, column) or (..., row, column) bool or integer
        Object ids, 0 the background. Every plane of a stack is an image of its own,
        and an object has one annotation on each plane that it reaches.
    classes : mapping of int to str, optional
        Each object's class; new ones are numbered in the order of their objects.
        Objects without one are of the class ``object``.
    scores : mapping of int to float, optional
        Each object's score.
    file_name : str or sequence of str
        The image's file name; for a stack one name a plane, or one name that gets the
        plane's number: ``scan.tif`` becomes ``scan_0000.tif``, ``scan_0001.tif``, …
    polygons : bool
        Outlines in place of masks, for programs that know no run-length encoding:
        about right, and without the holes.
    metadata : mapping, optional
        What `provenance` returned; becomes ``info.provenance``.
    overwrite : bool
        Whether a file already there may be replaced.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        If there are not as many names as planes, or an id is negative.

    Examples
    --------
    ``pycocotools.coco.COCO(path).annToMask(annotation)`` gives exactly
    ``labels == annotation["object_id"]``.
    """
    file = CocoFile(polygons=polygons)
    file.add(labels, classes=classes, scores=scores, file_name=file_name)
    return file.save(path, metadata=metadata, overwrite=overwrite)


class CocoFile:
    """Collects the annotations of any number of images for one file.

    Parameters
    ----------
    polygons : bool
        See `save_coco`.
    numbers : mapping of str to int, optional
        Numbers that classes have already.
    """

    def __init__(
        self, *, polygons: bool = False, numbers: Mapping[str, int] | None = None
    ) -> None:
        self._polygons = polygons
        self.numbers: dict[str, int] = dict(numbers or {})
        self._images: list[dict[str, Any]] = []
        self._annotations: list[dict[str, Any]] = []
        self._classes: list[str] = []  # one an annotation
        self._named: dict[str, None] = {}  # in order

    def add(
        self,
        labels: npt.ArrayLike,
        *,
        classes: Mapping[int, str] | None = None,
        scores: Mapping[int, float] | None = None,
        file_name: str | Sequence[str] = "image.png",
    ) -> None:
        """Add an image, or one for each plane of a stack.

        Parameters
        ----------
        labels, classes, scores, file_name
            See `save_coco`.

        Raises
        ------
        ValueError
            If there are not as many names as planes, or an id is negative.
        """
        array = as_labels(labels)
        if array.dtype.kind == "i":
            raise ValueError("COCO holds no negative ids: relabel the objects first.")
        indices = list(np.ndindex(array.shape[:-2]))
        names = _plane_names(file_name, indices)
        classes = {int(k): v or UNNAMED for k, v in (classes or {}).items()}
        self._named.update(dict.fromkeys(classes[key] for key in sorted(classes)))
        for index, name in zip(indices, names, strict=True):
            plane = array[index]
            image = {
                "id": len(self._images) + 1,
                "file_name": name,
                "height": plane.shape[0],
                "width": plane.shape[1],
            }
            self._images.append({**image, "plane": list(index)} if index else image)
            for object_id, window in _objects(plane):
                annotation = _annotation(plane, object_id, window, self._polygons)
                annotation.update(
                    id=len(self._annotations) + 1,
                    image_id=image["id"],
                    category_id=0,
                    object_id=object_id,
                )
                if scores and object_id in scores:
                    annotation["score"] = float(scores[object_id])
                self._annotations.append(annotation)
                self._classes.append(classes.get(object_id, UNNAMED))

    def save(
        self,
        path: PathLike,
        *,
        metadata: Mapping[str, Any] | None = None,
        overwrite: bool = False,
    ) -> Path:
        """Write the file, whole or not at all.

        Parameters
        ----------
        path, metadata, overwrite
            See `save_coco`.

        Returns
        -------
        pathlib.Path
        """
        path = Path(path)
        kept = path.with_name(CATEGORIES)
        numbers = dict(self.numbers)
        for name, number in class_numbers(kept).items():
            if number not in numbers.values():
                numbers.setdefault(name, number)
        for name in (*self._named, *dict.fromkeys(self._classes)):
            numbers.setdefault(name, max(numbers.values(), default=0) + 1)
        self.numbers = numbers
        for annotation, name in zip(self._annotations, self._classes, strict=True):
            annotation["category_id"] = numbers[name]
        info: dict[str, Any] = {
            "description": "Segmented with napari-promise",
            "version": "1.0",
            "date_created": utc_now(),
            "note": _NOTE,
        }
        if metadata is not None:
            info["provenance"] = dict(metadata)
        coco = {
            "info": info,
            "licenses": [],
            "images": self._images,
            "annotations": self._annotations,
            "categories": [
                {"id": number, "name": name, "supercategory": ""}
                for name, number in sorted(numbers.items(), key=lambda each: each[1])
            ],
        }
        saved = save_json(path, coco, overwrite=overwrite)
        if numbers != class_numbers(kept):
            save_json(kept, numbers, overwrite=True)
        return saved


def class_numbers(path: Path) -> dict[str, int]:
    """Read the numbers of classes; what is no such file says nothing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
        numbers = {str(name): int(number) for name, number in found.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        return {}
    distinct = len(set(numbers.values())) == len(numbers)
    return numbers if distinct and min(numbers.values(), default=1) > 0 else {}


def _plane_names(
    file_name: str | Sequence[str], indices: list[tuple[int, ...]]
) -> list[str]:
    if not isinstance(file_name, str):
        names = [str(name) for name in file_name]
        if len(names) != len(indices):
            raise ValueError(
                f"{len(names)} file names for {len(indices)} planes: give one a plane."
            )
        return names
    if indices == [()]:
        return [file_name]
    stem, suffix = stem_of(file_name), Path(file_name).suffix
    suffix = suffix if suffix.lower() in (".png", ".jpg", ".tif", ".tiff") else ".png"
    return [
        f"{stem}_{'_'.join(f'{i:04d}' for i in index)}{suffix}" for index in indices
    ]


def _objects(
    plane: npt.NDArray[Any],
) -> Iterator[tuple[int, tuple[slice, slice]]]:
    """Yield every id of a plane with its bounding box; ids may be large and sparse."""
    from scipy import ndimage

    ids, dense = np.unique(plane, return_inverse=True)
    dense = dense.reshape(plane.shape)
    # find_objects skips 0, the least id that is there, so shift by one.
    for object_id, window in zip(ids, ndimage.find_objects(dense + 1), strict=True):
        if object_id != 0:
            yield int(object_id), window


def _annotation(
    plane: npt.NDArray[Any],
    object_id: int,
    window: tuple[slice, slice],
    polygons: bool = False,
) -> dict[str, Any]:
    """Encode one object, reading its bounding box's columns only."""
    from pycocotools import mask as coco_mask

    rows, columns = window
    height, width = plane.shape
    inside = plane[:, columns] == object_id
    # Runs in column-major order, beginning with a run of background.
    changes = np.diff(inside.ravel(order="F"), prepend=False, append=False)
    edges = np.flatnonzero(changes) + columns.start * height
    runs = np.diff(edges, prepend=0, append=height * width)
    encoded = coco_mask.frPyObjects(
        {"counts": runs.tolist(), "size": [height, width]}, height, width
    )
    return {
        "segmentation": _outlines(plane[window] == object_id, rows, columns)
        if polygons
        else {
            "size": [height, width],
            "counts": encoded["counts"].decode("ascii"),
        },
        "bbox": [
            columns.start,
            rows.start,
            columns.stop - columns.start,
            rows.stop - rows.start,
        ],
        "area": int(np.count_nonzero(inside)),
        "iscrowd": 0,
    }


def _outlines(
    inside: npt.NDArray[np.bool_], rows: slice, columns: slice
) -> list[list[float]]:
    """Return the outline of each part, [x, y, x, y, ...], holes filled."""
    from scipy import ndimage
    from skimage.measure import find_contours

    parts, count = ndimage.label(inside)
    found = []
    for number in range(1, count + 1):
        part = np.pad(ndimage.binary_fill_holes(parts == number), 1)
        outline = max(find_contours(part.astype(np.float32), 0.1), key=len)
        # The middle of a pixel is at one half in COCO's polygons.
        at = outline[:-1, ::-1] - 0.5 + (columns.start, rows.start)
        found.append(np.round(at, 2).reshape(-1).tolist())
    return found
