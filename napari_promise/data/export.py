"""The one door to everything that is written out, and to reading prompts back.

`labels` and `ome_zarr_labels` write label images, `coco` and `geojson` annotations,
`prompts_file` prompts; `provenance` says what made them. All of them are written whole
or not at all: what was there before survives a failure.
"""

from __future__ import annotations

from napari_promise.data.coco import save_coco
from napari_promise.data.geojson import save_geojson
from napari_promise.data.labels import (
    LABEL_SUFFIXES,
    save_labels,
    sidecar,
    world_matrix,
)
from napari_promise.data.measurements import save_measurements
from napari_promise.data.ome_zarr_labels import save_ome_zarr_labels
from napari_promise.data.prompts_file import (
    PromptsFile,
    SavedObject,
    load_prompts,
    save_prompts,
)
from napari_promise.data.provenance import provenance
from napari_promise.files import save_json, whole_file

__all__ = [
    "LABEL_SUFFIXES",
    "PromptsFile",
    "SavedObject",
    "load_prompts",
    "provenance",
    "save_coco",
    "save_geojson",
    "save_json",
    "save_labels",
    "save_measurements",
    "save_ome_zarr_labels",
    "save_prompts",
    "sidecar",
    "whole_file",
    "world_matrix",
]
