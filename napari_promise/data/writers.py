"""What napari saves through this plugin: a Labels layer as NIfTI or as COCO.

A writer takes a path, the layer's data and its attributes, and returns the files it
wrote. Like napari's own it replaces a file that is there: the dialog asked before.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.data.coco import save_coco
from napari_promise.data.labels import save_labels
from napari_promise.data.place import Place

__all__ = ["write_coco", "write_nifti"]

_TRANSFORMS = ("scale", "translate", "rotate", "shear", "affine")


def write_nifti(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write labels as NIfTI, where the layer lies.

    Labels that this plugin opened from a scan, and that nobody moved, go back to
    where their file lies in the world.

    Parameters
    ----------
    path : str
        Ends in ``.nii`` or ``.nii.gz``.
    data : array-like of integers
        The pyramid of a multiscale layer is written at its full resolution.
    attributes : dict
        Of the layer, as napari hands them to writers.

    Returns
    -------
    list of str
    """
    labels = _labels(data)
    place = (attributes.get("metadata") or {}).get("place")
    if isinstance(place, Place) and place.is_that_of(attributes):
        labels, placement = place.labels_as_in_file(labels)
    else:
        placement = {k: attributes[k] for k in _TRANSFORMS if k in attributes}
        placement["unit"] = _unit(attributes)
    return [str(save_labels(path, labels, **placement, overwrite=True))]


def write_coco(path: str, data: Any, attributes: dict[str, Any]) -> list[str]:
    """Write labels as COCO annotations, the image named after the layer.

    Parameters
    ----------
    path, data, attributes
        See `write_nifti`; the path ends in ``.json``.

    Returns
    -------
    list of str
    """
    name = attributes.get("name") or Path(path).stem
    return [
        str(save_coco(path, _labels(data), file_name=f"{name}.png", overwrite=True))
    ]


def _labels(data: Any) -> NDArray[Any]:
    levels = isinstance(data, (list, tuple)) or type(data).__name__ == "MultiScaleData"
    return np.asarray(data[0] if levels else data)


def _unit(attributes: dict[str, Any]) -> str | None:
    units = attributes.get("units")
    return None if not units else str(units[-1])
