"""Write labels as COCO instance annotations that give exactly the same masks back.

Knows arrays only; the format is that of ``pycocotools``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_promise.data.files import PathLike, save_json, utc_now
from napari_promise.data.labels import as_labels

__all__ = ["save_coco"]


def save_coco(
    path: PathLike,
    labels: npt.ArrayLike,
    *,
    classes: Mapping[int, str] | None = None,
    scores: Mapping[int, float] | None = None,
    file_name: str | Sequence[str] = "image.png",
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write labels as COCO instance annotations, run-length encoded, so exact.

    Parameters
    ----------
    path : path
        A ``.json`` file.
    labels : (row, column) or (..., row, column) bool or integer
        Object ids, 0 the background. Every plane of a stack is an image of its own,
        and an object has one annotation on each plane that it reaches.
    classes : mapping of int to str, optional
        Each object's class; the categories are these names in alphabetical order.
        Objects without one are of the class ``object``.
    scores : mapping of int to float, optional
        Each object's score.
    file_name : str or sequence of str
        The image's file name; for a stack one name a plane, or one name that gets the
        plane's number: ``scan.tif`` becomes ``scan_0000.tif``, ``scan_0001.tif``, …
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
    array = as_labels(labels)
    if array.dtype.kind == "i":
        raise ValueError("COCO holds no negative ids: relabel the objects first.")
    indices = list(np.ndindex(array.shape[:-2]))
    names = _plane_names(file_name, indices)
    classes = {int(k): v or "object" for k, v in (classes or {}).items()}
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    for number, (index, name) in enumerate(zip(indices, names, strict=True), start=1):
        plane = array[index]
        image = {
            "id": number,
            "file_name": name,
            "height": plane.shape[0],
            "width": plane.shape[1],
        }
        images.append({**image, "plane": list(index)} if index else image)
        for object_id, window in _objects(plane):
            annotation = _annotation(plane, object_id, window)
            annotation.update(
                id=len(annotations) + 1,
                image_id=number,
                category_id=0,
                object_id=object_id,
            )
            if scores and object_id in scores:
                annotation["score"] = float(scores[object_id])
            annotations.append(annotation)
    present = {classes.get(a["object_id"], "object") for a in annotations}
    categories = sorted(present | set(classes.values()))
    for annotation in annotations:
        name = classes.get(annotation["object_id"], "object")
        annotation["category_id"] = categories.index(name) + 1
    info: dict[str, Any] = {
        "description": "Segmented with napari-promise",
        "version": "1.0",
        "date_created": utc_now(),
    }
    if metadata is not None:
        info["provenance"] = dict(metadata)
    coco = {
        "info": info,
        "licenses": [],
        "images": images,
        "annotations": annotations,
        "categories": [
            {"id": number, "name": name, "supercategory": ""}
            for number, name in enumerate(categories, start=1)
        ],
    }
    return save_json(path, coco, overwrite=overwrite)


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
    name = Path(file_name)
    return [
        f"{name.stem}_{'_'.join(f'{i:04d}' for i in index)}{name.suffix}"
        for index in indices
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
    plane: npt.NDArray[Any], object_id: int, window: tuple[slice, slice]
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
        "segmentation": {
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
