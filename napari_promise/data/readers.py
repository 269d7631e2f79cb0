"""What napari opens through this plugin: scans, images of any size, prompts.

Each reader takes a path, or the list of a stack, and returns a function that makes
layers of it, or None where it is nothing for us. Pictures and TIFF are left to napari.
"""

from __future__ import annotations

import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from napari_promise.data.images import (
    OpenedImage,
    dicom_series_in,
    is_dicom,
    read_image,
    read_mask,
    read_series,
    stem_of,
)
from napari_promise.data.naming import names_a_mask
from napari_promise.data.prompts_file import SavedObject, load_prompts
from napari_promise.data.pyramids import open_pyramid

__all__ = ["image_reader", "prompts_reader", "pyramid_reader"]

#: ``(data, keyword arguments of the layer, type of the layer)``, as napari takes them.
LayerData = tuple[Any, dict[str, Any], str]
Reader = Callable[[Any], list[LayerData]]

#: Okabe and Ito's bluish green and vermillion, as in the prompting dock.
_COLOURS = {"include": "#009e73", "exclude": "#d55e00"}
_SYMBOLS = {"include": "disc", "exclude": "x"}
_BOX = "#f0e442"


def image_reader(path: str | Sequence[str]) -> Reader | None:
    """Return what reads scans: NIfTI, a DICOM file, or a folder of DICOM files.

    Parameters
    ----------
    path : str or sequence of str
        A sequence is to become one stack.
    """
    paths = _paths(path)
    if paths[0].is_dir():
        if len(paths) > 1 or not any(map(is_dicom, sorted(paths[0].iterdir()))):
            return None
        return _read_folder
    return _read_files


def pyramid_reader(path: str | Sequence[str]) -> Reader | None:
    """Return what opens an OME-Zarr folder, or a tiled TIFF, without reading it.

    Small TIFF files, and those in one resolution, are left to napari.
    """
    (first, *more) = _paths(path)
    if more or not first.exists():
        return None
    try:
        image = open_pyramid(first)
    except ValueError:  # other readers may know what it is
        return None
    if image is None:
        return None

    def layers(_path: str | Sequence[str]) -> list[LayerData]:
        for note in image.notes:
            warnings.warn(f"{image.name}: {note}", stacklevel=2)
        return [(list(image.levels), image.layer_options, "image")]

    return layers


def prompts_reader(path: str | Sequence[str]) -> Reader | None:
    """Return what reads a prompts file, as points and boxes to look at.

    To go on working with them, open their image and load them in the ProMISe dock.
    """
    (first, *more) = _paths(path)
    return None if more or not first.is_file() else _read_prompts


def _paths(path: str | Sequence[str]) -> list[Path]:
    several = not isinstance(path, (str, os.PathLike))
    return [Path(each) for each in path] if several else [Path(str(path))]


def _read_files(path: str | Sequence[str]) -> list[LayerData]:
    paths = _paths(path)
    if len(paths) > 1 and all(map(is_dicom, paths)):
        return [_image_layer(read_series(paths))]
    return [_layer_of(each) for each in paths]


def _read_folder(path: str | Sequence[str]) -> list[LayerData]:
    """Make a layer of each series, the longest first."""
    (folder,) = _paths(path)
    layers = []
    for number, series in enumerate(dicom_series_in(folder)):
        data, options, kind = _image_layer(read_series(series))
        name = folder.name if not number else f"{folder.name} {number + 1}"
        layers.append((data, {**options, "name": name}, kind))
    return layers


def _layer_of(path: Path) -> LayerData:
    image = read_image(path)
    whole = image.array.dtype.kind in "bui" and not image.rgb
    if not (whole and names_a_mask(stem_of(path))):
        return _image_layer(image)
    data, options, _ = _image_layer(image)
    kept = {k: v for k, v in options.items() if k not in ("rgb", "contrast_limits")}
    return read_mask(path), kept, "labels"


def _image_layer(image: OpenedImage) -> LayerData:
    for note in image.notes:
        warnings.warn(f"{image.name}: {note}", stacklevel=2)  # napari shows it
    return image.array, image.layer_options, "image"


def _read_prompts(path: str | Sequence[str]) -> list[LayerData]:
    (file,) = _paths(path)
    saved = load_prompts(file)
    name = saved.image.get("name") or stem_of(file)
    layers = [*_points(saved.objects, name), *_boxes(saved.objects, name)]
    if not layers:
        raise ValueError(
            f"{file} holds neither points nor boxes: load it in the ProMISe dock, "
            "which shows its masks."
        )
    return layers


def _points(objects: Sequence[SavedObject], name: str) -> list[LayerData]:
    at: list[tuple[float, ...]] = []
    features: dict[str, list[Any]] = {
        key: [] for key in ("object", "class", "polarity", "source")
    }
    for each in objects:
        prompts = each.prompts
        for number, (point, label) in enumerate(
            zip(prompts.points, prompts.labels, strict=True)
        ):
            at.append((*each.plane, *point))
            features["object"].append(each.id)
            features["class"].append(each.class_name)
            features["polarity"].append("include" if label == 1 else "exclude")
            known = number < len(each.sources)
            features["source"].append(each.sources[number] if known else "")
    if not at:
        return []
    options = {
        "name": f"{name} prompts",
        "features": features,
        "face_color": [_COLOURS[polarity] for polarity in features["polarity"]],
        "symbol": [_SYMBOLS[polarity] for polarity in features["polarity"]],
    }
    return [(np.array(at), options, "points")]


def _boxes(objects: Sequence[SavedObject], name: str) -> list[LayerData]:
    corners, features = [], {"object": [], "class": []}  # type: ignore[var-annotated]
    for each in objects:
        for r0, c0, r1, c1 in each.prompts.boxes:
            around = ((r0, c0), (r0, c1), (r1, c1), (r1, c0))
            corners.append(np.array([(*each.plane, *corner) for corner in around]))
            features["object"].append(each.id)
            features["class"].append(each.class_name)
    if not corners:
        return []
    options = {
        "name": f"{name} boxes",
        "shape_type": "rectangle",
        "features": features,
        "edge_color": _BOX,
        "face_color": "transparent",
    }
    return [(corners, options, "shapes")]
