"""Write labels, prompts and their provenance to files, and read prompts back.

Knows no window and no model: arrays, records and plain dictionaries in, files out.
Every file is written under a temporary name beside its place and then renamed, so it is
there whole or not at all, and what was there before survives a failure.

Positions and shapes are (plane, row, column) here as everywhere; only NIfTI files turn
them into their own (x, y, z).
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timezone
from importlib import metadata as distributions
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_promise.prompts import Prompts

__all__ = [
    "LABEL_SUFFIXES",
    "PromptsFile",
    "SavedObject",
    "load_prompts",
    "provenance",
    "save_coco",
    "save_json",
    "save_labels",
    "save_prompts",
    "sidecar",
    "whole_file",
    "world_matrix",
]

PathLike = str | os.PathLike[str]

#: The kinds of label files, and what each is good for.
LABEL_SUFFIXES = {
    ".tif": "TIFF with pixel size, any number of planes",
    ".tiff": "TIFF with pixel size, any number of planes",
    ".png": "PNG, one plane, ids up to 65535",
    ".npy": "NumPy array",
    ".nii": "NIfTI with the whole transform",
    ".nii.gz": "NIfTI with the whole transform, compressed",
}

_PROMPTS_SCHEMA = "napari-promise/prompts"
_PROMPTS_VERSION = 1
_RECORDED_PACKAGES = (
    "napari",
    "numpy",
    "scikit-image",
    "segment-anything",
    "timm",
    "torch",
)
_UNITS = {
    "µm": "um",
    "μm": "um",
    "micron": "um",
    "micrometer": "um",
    "millimeter": "mm",
    "meter": "m",
}
_OME_UNITS = {"um": "µm"}
_NIFTI_UNITS = {"um": "micron", "mm": "mm", "m": "meter"}


# Files, whole or not at all


@contextlib.contextmanager
def whole_file(path: PathLike, overwrite: bool = False) -> Iterator[Path]:
    """Give a temporary path to write to, and put the file in place if all went well.

    Parameters
    ----------
    path : path
        Where the file shall be. The temporary file lies in the same folder and ends
        in the same name, because many writers choose their format by the suffix.
    overwrite : bool
        Whether a file already there may be replaced.

    Yields
    ------
    pathlib.Path
        Write here. If the block raises, this is removed and `path` is as it was.

    Raises
    ------
    FileExistsError
        If there is a file and `overwrite` is false.
    OSError
        If the folder is missing or cannot be written; one line with the remedy.
    """
    path = Path(path)
    if path.is_symlink():
        path = path.resolve()
    _refuse_existing(path, overwrite)
    temporary = path.with_name(f".writing-{uuid.uuid4().hex[:8]}-{path.name}")
    try:
        # Tried here, so that an unwritable folder is told apart from a failed writer.
        temporary.touch()
    except OSError as error:
        reason = error.strerror or str(error)
        raise type(error)(
            f"Cannot write {path} ({reason}): choose a folder that exists and that "
            "you may write to."
        ) from error
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        _refuse_existing(path, overwrite)
        os.replace(temporary, path)
    except OSError as error:
        if error.errno is None or error.filename not in (None, str(temporary)):
            raise
        raise type(error)(
            f"Cannot write {path} ({error.strerror}): free disk space or choose "
            "another folder."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)


def save_json(path: PathLike, data: Any, *, overwrite: bool = False) -> Path:
    """Write plain data as JSON; arrays and NumPy numbers become lists and numbers.

    Parameters
    ----------
    path : path
    data : dict, list, …
    overwrite : bool
        Whether a file already there may be replaced.

    Returns
    -------
    pathlib.Path
        The file written.
    """
    text = json.dumps(data, indent=1, allow_nan=False, default=_as_plain)
    with whole_file(path, overwrite) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")
    return Path(path)


def sidecar(path: PathLike) -> Path:
    """Return where the provenance of a file is kept: ``<name>.provenance.json``."""
    path = Path(path)
    return path.with_name(path.name + ".provenance.json")


# Labels


def world_matrix(
    ndim: int,
    *,
    scale: npt.ArrayLike | None = None,
    translate: npt.ArrayLike | None = None,
    rotate: npt.ArrayLike | None = None,
    shear: npt.ArrayLike | None = None,
    affine: npt.ArrayLike | None = None,
) -> npt.NDArray[np.float64]:
    """Compose a napari layer's transforms into one matrix from data to world.

    ``affine @ [rotate @ shear @ diag(scale) | translate]``, as napari does it.

    Parameters
    ----------
    ndim : int
        Number of axes of the data.
    scale, translate : (ndim,), optional
    rotate : float or (ndim, ndim), optional
        Degrees for two axes, or the matrix that ``layer.rotate`` returns.
    shear : (ndim * (ndim - 1) / 2,) or (ndim, ndim), optional
        The upper triangle, row by row, or the whole matrix.
    affine : (ndim + 1, ndim + 1) or (ndim, ndim), optional
        Applied after the others, as ``layer.affine`` is.

    Returns
    -------
    (ndim + 1, ndim + 1) float64
        Homogeneous, in the order of the data's axes.

    Raises
    ------
    ValueError
        If a part does not fit the number of axes, is not finite, or the whole cannot
        be inverted.
    """
    linear = np.diag(_vector("scale", scale, ndim, 1.0))
    linear = _square("shear", _upper_triangle(shear, ndim), ndim) @ linear
    linear = _square("rotate", _rotation(rotate, ndim), ndim) @ linear
    matrix = np.eye(ndim + 1)
    matrix[:ndim, :ndim] = linear
    matrix[:ndim, ndim] = _vector("translate", translate, ndim, 0.0)
    if affine is not None:
        outer = np.asarray(affine, np.float64)
        if outer.shape == (ndim, ndim):
            outer = np.pad(outer, (0, 1))
            outer[ndim, ndim] = 1
        matrix = _square("affine", outer, ndim + 1) @ matrix
    if not np.isfinite(matrix).all() or np.linalg.det(matrix[:ndim, :ndim]) == 0:
        raise ValueError(
            "The layer's transform is not finite or flattens an axis: give every axis "
            "a scale other than zero."
        )
    return matrix


def save_labels(
    path: PathLike,
    labels: npt.ArrayLike,
    *,
    scale: npt.ArrayLike | None = None,
    translate: npt.ArrayLike | None = None,
    rotate: npt.ArrayLike | None = None,
    shear: npt.ArrayLike | None = None,
    affine: npt.ArrayLike | None = None,
    unit: str | None = None,
    classes: Mapping[int, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    image: str | Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write a label image in the format that its suffix names.

    Parameters
    ----------
    path : path
        Ends in ``.tif``, ``.tiff``, ``.png``, ``.npy``, ``.nii`` or ``.nii.gz``.
    labels : (..., row, column) bool or integer
        Object ids, 0 the background. The file's integer type is the smallest that
        holds every id.
    scale, translate, rotate, shear, affine
        The layer's transforms, see `world_matrix`. NIfTI holds them all; TIFF holds
        the pixel size; PNG and NPY hold none. The sidecar always holds the matrix.
    unit : str, optional
        Of the world coordinates, e.g. ``"um"`` or ``"mm"``; pixels by default.
    classes : mapping of int to str, optional
        Each object's class, for the sidecar.
    metadata : mapping, optional
        What `provenance` returned; written to `sidecar`.
    image : str or mapping, optional
        The image the labels belong to, for the sidecar.
    overwrite : bool
        Whether files already there may be replaced.

    Returns
    -------
    pathlib.Path
        The label file written.

    Raises
    ------
    ValueError
        If the suffix is none of these, or the format cannot hold these labels: the
        message says which can.
    FileExistsError
        If there is a file and `overwrite` is false.
    OSError
        If the file cannot be written; an earlier one is then as it was.

    Notes
    -----
    A PNG holds one plane. A stack is refused rather than spread over many files,
    because those could not be written whole or not at all.
    """
    path = Path(path)
    array = _as_labels(labels)
    matrix = world_matrix(
        array.ndim,
        scale=scale,
        translate=translate,
        rotate=rotate,
        shear=shear,
        affine=affine,
    )
    write = _writer(path)
    unit = _UNITS.get(unit or "", unit or "pixel")
    with whole_file(path, overwrite) as temporary:
        write(temporary, array, matrix, unit)
        if metadata is not None or image is not None:
            record = dict(metadata or {})
            if image is not None:
                record["image"] = image
            record["labels"] = {
                "file": path.name,
                "shape": array.shape,
                "type": str(array.dtype),
                "objects": int(np.count_nonzero(np.unique(array))),
                "classes": {str(k): v for k, v in (classes or {}).items()},
                "unit": unit,
                "data_to_world": matrix,
            }
            save_json(sidecar(path), record, overwrite=True)
    return path


def _as_labels(labels: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return the labels in the smallest integer type that holds every id."""
    array = np.asarray(labels)
    if array.dtype.kind not in "bui":
        raise ValueError(
            f"Labels must be integers, not {array.dtype}: round them first."
        )
    if array.ndim < 2 or array.size == 0:
        raise ValueError(
            f"Labels must have rows and columns; their shape is {array.shape}."
        )
    least, greatest = int(array.min()), int(array.max())
    for kind in ("i",) if least < 0 else ("u",):
        for size in (1, 2, 4, 8):
            info = np.iinfo(f"{kind}{size}")
            if info.min <= least and greatest <= info.max:
                return np.ascontiguousarray(array, dtype=info.dtype)
    raise AssertionError("no integer type holds the values of an integer array")


LabelWriter = Callable[[Path, npt.NDArray[Any], npt.NDArray[np.float64], str], None]


def _writer(path: Path) -> LabelWriter:
    name = path.name.lower()
    for suffix, write in _WRITERS.items():
        if name.endswith(suffix):
            return write
    raise ValueError(
        f"{path.name} names no label format: end it in {', '.join(_WRITERS)}."
    )


def _write_tiff(
    path: Path,
    labels: npt.NDArray[Any],
    matrix: npt.NDArray[np.float64],
    unit: str,
) -> None:
    """Write what Fiji opens: ImageJ's flavour where it holds the type, else OME."""
    import tifffile

    axes = {2: "YX", 3: "ZYX", 4: "TZYX"}.get(labels.ndim)
    size = np.linalg.norm(matrix[:-1, :-1], axis=0)  # of a pixel along each data axis
    resolution = (1 / float(size[-1]), 1 / float(size[-2]))
    common: dict[str, Any] = {"photometric": "minisblack", "resolution": resolution}
    if axes and labels.dtype in (np.uint8, np.uint16) and labels.nbytes < 2**31:
        description: dict[str, Any] = {"axes": axes, "unit": unit}
        if "Z" in axes:
            description["spacing"] = float(size[-3])
        tifffile.imwrite(path, labels, imagej=True, metadata=description, **common)
    elif axes and labels.dtype.itemsize <= 4:
        description = {"axes": axes}
        for name, length in zip(axes[::-1], size[::-1], strict=True):
            if name in "XYZ":
                description[f"PhysicalSize{name}"] = float(length)
                description[f"PhysicalSize{name}Unit"] = _OME_UNITS.get(unit, unit)
        tifffile.imwrite(
            path, labels, ome=True, metadata=description, compression="zlib", **common
        )
    else:
        tifffile.imwrite(
            path, labels, bigtiff=labels.nbytes > 2**31, compression="zlib", **common
        )


def _write_png(
    path: Path,
    labels: npt.NDArray[Any],
    matrix: npt.NDArray[np.float64],
    unit: str,
) -> None:
    from PIL import Image

    if labels.ndim != 2:
        raise ValueError(
            f"A PNG holds one plane, these labels have the shape {labels.shape}: "
            "export them as .tif or .nii.gz."
        )
    if labels.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"A PNG holds ids from 0 to 65535, these reach from {labels.min()} to "
            f"{labels.max()}: export them as .tif or .npy."
        )
    Image.fromarray(labels).save(path, format="PNG")


def _write_npy(
    path: Path,
    labels: npt.NDArray[Any],
    matrix: npt.NDArray[np.float64],
    unit: str,
) -> None:
    with open(path, "wb") as file:
        np.save(file, labels, allow_pickle=False)


def _write_nifti(
    path: Path,
    labels: npt.NDArray[Any],
    matrix: npt.NDArray[np.float64],
    unit: str,
) -> None:
    """Write (plane, row, column) as (x, y, z), the world's axes reversed likewise.

    NIfTI's world is (x, y, z) too, so reversing the axes on both sides of the matrix
    is all: nothing is mirrored, and a NIfTI image that was opened with its axes
    reversed comes back into its own space. One plane gets a third axis of length 1.
    """
    import nibabel
    from nibabel.spatialimages import HeaderDataError

    if labels.ndim > 4 or max(labels.shape) > 32767:
        raise ValueError(
            f"A NIfTI file holds up to 4 axes of up to 32767 pixels, not "
            f"{labels.shape}: export these labels as .tif or .npy."
        )
    if labels.dtype == np.int8:
        labels = labels.astype(np.int16)
    if labels.dtype == np.uint32 and labels.max() < 2**31:
        labels = labels.astype(np.int32)  # more readers know it than uint32
    spatial = min(labels.ndim, 3)
    first = labels.ndim - spatial
    affine = np.eye(4)
    affine[:spatial, :spatial] = matrix[first:-1, first:-1][::-1, ::-1]
    affine[:spatial, 3] = matrix[first:-1, -1][::-1]
    data = labels.T
    if labels.ndim == 2:
        data = data[..., None]
    file = nibabel.Nifti1Image(data, affine, dtype=labels.dtype)
    if labels.ndim == 4:
        zooms = (*file.header.get_zooms()[:3], np.linalg.norm(matrix[:-1, 0]))
        file.header.set_zooms(zooms)
    try:
        # Only a rotation with scales fits there; readers that ignore the sform need it.
        file.set_qform(affine, code=2, strip_shears=False)
    except HeaderDataError:
        file.set_qform(None)
    file.set_sform(affine, code=2)
    file.header.set_xyzt_units(_NIFTI_UNITS.get(unit, "unknown"))
    nibabel.save(file, path)


_WRITERS: dict[str, LabelWriter] = {
    ".tif": _write_tiff,
    ".tiff": _write_tiff,
    ".png": _write_png,
    ".npy": _write_npy,
    ".nii": _write_nifti,
    ".nii.gz": _write_nifti,
}


# COCO


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
    array = _as_labels(labels)
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
        "date_created": _now(),
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


# Prompts


@dataclass(frozen=True, eq=False)
class SavedObject:
    """One object as a prompts file holds it: what replays it to the same mask.

    Attributes
    ----------
    id : int
    prompts : Prompts
        With the logits that served as mask prompt.
    plane : tuple of int
        The plane's leading indices, ``()`` for a 2-D image.
    class_name : str
    sources : tuple of str
        ``"auto"`` or ``"user"``, one a point.
    score : float or None
    committed : bool
    coarse : (1, h, w) float32 or None
        The auto-prompting module's map, which further editing restarts from.
    """

    id: int
    prompts: Prompts
    plane: tuple[int, ...] = ()
    class_name: str = ""
    sources: tuple[str, ...] = ()
    score: float | None = None
    committed: bool = False
    coarse: npt.NDArray[np.float32] | None = None


@dataclass(frozen=True)
class PromptsFile:
    """What `load_prompts` read.

    Attributes
    ----------
    objects : tuple of SavedObject
    image : dict
        What was said of the image: name, digests, contrast limits.
    provenance : dict
        The model, adapter and versions, see `provenance`.
    """

    objects: tuple[SavedObject, ...]
    image: dict[str, Any]
    provenance: dict[str, Any]


def save_prompts(
    path: PathLike,
    objects: Iterable[Any],
    *,
    image: Mapping[str, Any] | None = None,
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write objects' prompts so that `load_prompts` replays them to the same masks.

    Parameters
    ----------
    path : path
        A ``.json`` file.
    objects : iterable of SavedObject or document.ObjectRecord
        Anything with the attributes of `SavedObject`.
    image : mapping, optional
        The image's name, ``digest`` (see `planes.digest`), contrast limits.
    metadata : mapping, optional
        What `provenance` returned.
    overwrite : bool
        Whether a file already there may be replaced.

    Returns
    -------
    pathlib.Path
    """
    return save_json(
        path,
        {
            "schema": _PROMPTS_SCHEMA,
            "version": _PROMPTS_VERSION,
            "axes": "points are (row, column), boxes (r0, c0, r1, c1), in pixels",
            "image": dict(image or {}),
            "objects": [_object_to_json(record) for record in objects],
            "provenance": dict(metadata or {}),
        },
        overwrite=overwrite,
    )


def load_prompts(path: PathLike) -> PromptsFile:
    """Read a file that `save_prompts` wrote.

    Parameters
    ----------
    path : path

    Returns
    -------
    PromptsFile

    Raises
    ------
    ValueError
        If it is no such file, or of a later version: the message names the file.
    FileNotFoundError
        If there is none.
    """
    path = Path(path)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ValueError(
            f"{path} is no prompts file, it cannot be read as JSON ({error}): choose "
            "a file that was exported as prompts."
        ) from error
    if not isinstance(data, dict) or data.get("schema") != _PROMPTS_SCHEMA:
        raise ValueError(
            f"{path} is no prompts file: choose one that was exported as prompts."
        )
    version = data.get("version")
    if version != _PROMPTS_VERSION:
        raise ValueError(
            f"{path} is a prompts file of version {version}, this napari-promise reads "
            f"version {_PROMPTS_VERSION}: update napari-promise."
        )
    try:
        return PromptsFile(
            objects=tuple(_object_from_json(entry) for entry in data["objects"]),
            image=dict(data.get("image") or {}),
            provenance=dict(data.get("provenance") or {}),
        )
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"{path} is damaged ({type(error).__name__}: {error}): export it again."
        ) from error


def _object_to_json(record: Any) -> dict[str, Any]:
    score = record.score
    data = {
        "id": int(record.id),
        "class": record.class_name,
        "plane": [int(index) for index in record.plane],
        "sources": list(record.sources),
        "score": None if score is None or not np.isfinite(score) else float(score),
        "committed": bool(record.committed),
        "prompts": record.prompts.to_json(),
    }
    coarse = getattr(record, "coarse", None)
    if coarse is not None:
        data["coarse"] = Prompts(logits=coarse).to_json()["logits"]
    return data


def _object_from_json(data: dict[str, Any]) -> SavedObject:
    coarse = data.get("coarse")
    score = data.get("score")
    return SavedObject(
        id=int(data["id"]),
        prompts=Prompts.from_json(data["prompts"]),
        plane=tuple(int(index) for index in data.get("plane", ())),
        class_name=str(data.get("class", "")),
        sources=tuple(str(source) for source in data.get("sources", ())),
        score=None if score is None else float(score),
        committed=bool(data.get("committed", False)),
        coarse=(
            None if coarse is None else Prompts.from_json({"logits": coarse}).logits
        ),
    )


# Provenance


def provenance(
    *,
    model: str,
    model_sha256: str,
    adapter: Any | None = None,
    adapter_sha256: str | None = None,
    ips: bool | None = None,
    image: Mapping[str, Any] | None = None,
    **settings: Any,
) -> dict[str, Any]:
    """Say what made a result: enough to make it again, nothing about the machine.

    Parameters
    ----------
    model, model_sha256 : str
        The model's id and the hash of its weights.
    adapter : mapping or dataclass, optional
        What ``adapter.json`` says; paths are left out.
    adapter_sha256 : str, optional
        The hash of the adapter's weights.
    ips : bool, optional
        Whether Incremental Pattern Shifting was on.
    image : mapping, optional
        The image's name and digest.
    **settings
        Anything else that shapes the result.

    Returns
    -------
    dict
        Plain data with the keys ``model``, ``adapter``, ``software``, ``created``
        (UTC), and ``image`` and ``settings`` where given.
    """
    from napari_promise import __version__

    software = {"napari-promise": __version__}
    for name in _RECORDED_PACKAGES:
        with contextlib.suppress(distributions.PackageNotFoundError):
            software[name] = distributions.version(name)
    record: dict[str, Any] = {
        "model": {"name": model, "sha256": model_sha256},
        "adapter": None,
        "software": software,
        "created": _now(),
    }
    if adapter is not None:
        described = _as_plain(adapter)
        record["adapter"] = {
            **{k: v for k, v in described.items() if not isinstance(v, os.PathLike)},
            "sha256": adapter_sha256,
        }
    if ips is not None:
        settings["ips"] = bool(ips)
    if image is not None:
        record["image"] = dict(image)
    if settings:
        record["settings"] = settings
    return record


# Small parts


def _refuse_existing(path: Path, overwrite: bool) -> None:
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: give a file name in it.")
    if path.exists() and not overwrite:
        raise FileExistsError(
            f"{path} exists already: choose another name or allow overwriting."
        )


def _as_plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return dataclasses.asdict(value)
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, np.ndarray | np.generic):
        return value.tolist()
    if isinstance(value, os.PathLike):
        return os.fspath(value)
    raise TypeError(f"{type(value).__name__} cannot be written as JSON")


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="seconds")


def _vector(
    name: str, values: npt.ArrayLike | None, ndim: int, default: float
) -> npt.NDArray[np.float64]:
    if values is None:
        return np.full(ndim, default)
    vector = np.asarray(values, np.float64)
    if vector.shape != (ndim,):
        raise ValueError(
            f"{name} must have one number for each of the {ndim} axes, not "
            f"{vector.shape}."
        )
    return vector


def _square(name: str, matrix: npt.ArrayLike, size: int) -> npt.NDArray[np.float64]:
    square = np.asarray(matrix, np.float64)
    if square.shape != (size, size):
        raise ValueError(
            f"{name} must be a matrix of {size} by {size}, not {square.shape}."
        )
    return square


def _rotation(rotate: npt.ArrayLike | None, ndim: int) -> npt.NDArray[np.float64]:
    if rotate is None:
        return np.eye(ndim)
    array = np.asarray(rotate, np.float64)
    if array.ndim == 0 and ndim == 2:
        angle = np.deg2rad(float(array))
        return np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )
    return array


def _upper_triangle(shear: npt.ArrayLike | None, ndim: int) -> npt.NDArray[np.float64]:
    if shear is None:
        return np.eye(ndim)
    array = np.asarray(shear, np.float64)
    if array.ndim == 1 and array.size == ndim * (ndim - 1) // 2:
        matrix = np.eye(ndim)
        matrix[np.triu_indices(ndim, 1)] = array
        return matrix
    return array
