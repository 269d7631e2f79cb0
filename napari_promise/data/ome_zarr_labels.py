"""Write labels of any size as an OME-Zarr label image (NGFF 0.4), by tile."""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_promise.data.label_store import STEP, LabelStore, tiles_of
from napari_promise.files import PathLike, save_json

__all__ = ["save_ome_zarr_labels"]

_UNITS = {"um": "micrometer", "mm": "millimeter", "m": "meter"}


def save_ome_zarr_labels(
    path: PathLike,
    labels: Any,
    *,
    scale: npt.ArrayLike | None = None,
    unit: str | None = None,
    classes: Mapping[int, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    overwrite: bool = False,
) -> Path:
    """Write labels as a pyramid.

    Parameters
    ----------
    path : path
        A folder that ends in ``.zarr``.
    labels : (..., row, column) integer
        An array or a `LabelStore`; read by tile. Three axes are slices, four frames
        of slices.
    scale : (ndim,), optional
        Size of a pixel.
    unit : str, optional
        Of the scale: ``"um"``, ``"mm"``, ``"m"``.
    classes : mapping of int to str, optional
        Each object's class, kept as a property of its label.
    metadata : mapping, optional
        What made the labels; written beside them as ``provenance.json``.
    overwrite : bool
        Whether a folder already there may be replaced.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    ValueError
        If there are more than four axes.
    FileExistsError
        If there is something and `overwrite` is false, or it is no zarr folder.
    OSError
        If it cannot be written; what was there is then as it was.
    """
    path = Path(path)
    shape = tuple(int(n) for n in labels.shape)
    if len(shape) > 4:
        raise ValueError(
            f"OME-Zarr holds frames of slices; these labels have {len(shape)} axes: "
            "export one channel."
        )
    if path.exists():
        is_zarr = any((path / name).is_file() for name in (".zgroup", "zarr.json"))
        if not overwrite or not is_zarr:
            remedy = "agree to replace it" if is_zarr else "choose another name"
            raise FileExistsError(f"{path} is there already: {remedy}.")
    beside = Path(tempfile.mkdtemp(prefix=f".{path.name}-", dir=path.parent))
    try:
        fresh = beside / "labels.zarr"
        _write(fresh, labels, shape, scale, unit, classes or {})
        if metadata is not None:
            save_json(fresh / "provenance.json", dict(metadata), overwrite=True)
        if path.exists():
            os.replace(path, beside / "replaced")
        try:
            os.replace(fresh, path)
        except OSError:
            if (beside / "replaced").exists():
                os.replace(beside / "replaced", path)
            raise
    finally:
        shutil.rmtree(beside, ignore_errors=True)
    return path


def _write(
    folder: Path,
    labels: Any,
    shape: tuple[int, ...],
    scale: npt.ArrayLike | None,
    unit: str | None,
    classes: Mapping[int, str],
) -> None:
    import zarr

    store = LabelStore(shape, folder)
    numbers: set[int] = set()
    for plane, bbox in tiles_of(shape):
        r0, c0, r1, c1 = bbox
        tile = np.asarray(labels[plane][r0:r1, c0:c1])
        if tile.any():
            numbers.update(np.unique(tile).tolist())
            store.write(plane, bbox, tile)
    numbers.discard(0)
    axes = "tzyx"[-len(shape) :]
    sizes = np.ones(len(shape)) if scale is None else np.asarray(scale, float)
    named: list[dict[str, str]] = []
    for axis in axes:
        kind = {"name": axis, "type": "time" if axis == "t" else "space"}
        if axis != "t" and unit in _UNITS:
            kind["unit"] = _UNITS[unit]
        named.append(kind)
    datasets = []
    for number, level in enumerate(store.levels):
        times = np.ones(len(shape))
        times[-2:] = STEP**number
        # The middle of the first block lies beyond that of the first pixel.
        shift = sizes * (times - 1) / 2
        transforms: list[dict[str, Any]] = [
            {"type": "scale", "scale": (sizes * times).tolist()}
        ]
        if number:
            transforms.append({"type": "translation", "translation": shift.tolist()})
        datasets.append(
            {"path": level.basename, "coordinateTransformations": transforms}
        )
    properties = [
        {"label-value": number, "class": classes[number]}
        for number in sorted(numbers)
        if classes.get(number)
    ]
    group = zarr.open_group(folder, mode="r+")
    image = {"version": "0.4", "name": "labels", "axes": named, "datasets": datasets}
    noted: dict[str, Any] = {
        "multiscales": [image],
        "image-label": {"version": "0.4", "properties": properties},
    }
    group.attrs.update(noted)
