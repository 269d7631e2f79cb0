"""Writes what was asked for in the export dialog."""

from __future__ import annotations

from pathlib import Path

from napari_promise.data import export
from napari_promise.widgets.actions import Snapshot
from napari_promise.widgets.prompting.export_dialog import ExportRequest

#: How an object without a class is called in a file.
UNNAMED = "object"


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
    if request.format.key in ("coco", "polygons"):
        return export.save_coco(
            request.path,
            snapshot.labels,
            classes=classes,
            scores={o.label: o.score for o in snapshot.objects if o.score is not None},
            file_name=snapshot.file_name or f"{snapshot.image_name}.png",
            polygons=request.format.key == "polygons",
            metadata=metadata,
            overwrite=request.overwrite,
        )
    scores = {o.label: o.score for o in snapshot.objects if o.score is not None}
    if request.format.key == "geojson":
        return export.save_geojson(
            request.path,
            snapshot.labels,
            classes=classes,
            scores=scores,
            overwrite=request.overwrite,
        )
    if request.format.key == "zarr":
        return export.save_ome_zarr_labels(
            request.path,
            snapshot.labels,
            scale=snapshot.placement.get("scale"),
            unit=snapshot.unit,
            classes=classes,
            metadata=metadata,
            overwrite=request.overwrite,
        )
    if request.format.key == "csv":
        return export.save_measurements(
            request.path,
            snapshot.labels,
            scale=snapshot.placement.get("scale"),
            unit=snapshot.unit,
            classes=classes,
            scores=scores,
            overwrite=request.overwrite,
        )
    labels, placement = snapshot.labels, dict(snapshot.placement)
    placement["unit"] = snapshot.unit
    if snapshot.place is not None and request.format.key in ("nifti", "dicom"):
        place = snapshot.place
        if place.file_shape is not None or place.order is not None:
            labels, placement = snapshot.place.labels_as_in_file(labels)
    return export.save_labels(
        request.path,
        labels,
        **placement,
        classes=classes,
        metadata=metadata,
        image=snapshot.image_name,
        overwrite=request.overwrite,
    )
