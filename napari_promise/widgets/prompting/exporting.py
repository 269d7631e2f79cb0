"""Writes what was asked for in the export dialog. Knows files, no widgets."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_promise.data import export
from napari_promise.document import ObjectRecord
from napari_promise.widgets.prompting.export_dialog import ExportRequest

#: How an object without a class is called in a file.
UNNAMED = "object"


@dataclass(frozen=True)
class Snapshot:
    """Everything an export needs, taken at one moment, so that work can go on.

    Parameters
    ----------
    labels : array, shape (…, H, W)
        The labels layer's pixels, a copy.
    placement : mapping
        ``scale, translate, rotate, shear, affine`` of the layer.
    unit : str or None
        Unit of the scale.
    objects : tuple of ObjectRecord
    image_name : str
    provenance : mapping
        What made the masks.
    """

    labels: np.ndarray
    placement: Mapping[str, Any]
    unit: str | None
    objects: tuple[ObjectRecord, ...]
    image_name: str
    provenance: Mapping[str, Any]


def write(request: ExportRequest, snapshot: Snapshot) -> Path:
    """Write one file, whole or not at all, with a record of what made it.

    Parameters
    ----------
    request : ExportRequest
    snapshot : Snapshot

    Returns
    -------
    Path
        The file written.

    Raises
    ------
    ValueError
        Where the format cannot hold the labels.
    OSError
        Where the file cannot be written, or exists and replacing it was not agreed to.
    """
    metadata = dict(snapshot.provenance)
    classes = {
        number: name or UNNAMED for number, name in sorted(request.classes.items())
    }
    if request.format.key == "prompts":
        return export.save_prompts(
            request.path,
            snapshot.objects,
            image={"name": snapshot.image_name},
            metadata=metadata,
            overwrite=request.overwrite,
        )
    if request.format.key == "coco":
        return export.save_coco(
            request.path,
            snapshot.labels,
            classes=classes,
            scores={o.id: o.score for o in snapshot.objects if o.score is not None},
            file_name=f"{snapshot.image_name}.png",
            metadata=metadata,
            overwrite=request.overwrite,
        )
    return export.save_labels(
        request.path,
        snapshot.labels,
        **snapshot.placement,
        unit=snapshot.unit,
        classes=classes,
        metadata=metadata,
        image=snapshot.image_name,
        overwrite=request.overwrite,
    )
