"""The objects of one image: their prompts, masks and labels, and every edit's undo.

Arrays come in, events go out. No window, no model, no image.
"""

from napari_promise.document.commits import CommitResult, Overlap, commit_patch
from napari_promise.document.corrections import answered_points, feedback
from napari_promise.document.document import Document, DocumentEvents
from napari_promise.document.history import MIN_HISTORY, Snapshot, Step
from napari_promise.document.patches import LabelPatch
from napari_promise.document.records import (
    SOURCES,
    ObjectRecord,
    Source,
    source_code,
)
from napari_promise.document.regions import BBox, Plane, Region, Tile, union_bbox

__all__ = [
    "BBox",
    "CommitResult",
    "Document",
    "DocumentEvents",
    "LabelPatch",
    "MIN_HISTORY",
    "ObjectRecord",
    "Overlap",
    "Plane",
    "Region",
    "SOURCES",
    "Snapshot",
    "Source",
    "Step",
    "Tile",
    "answered_points",
    "commit_patch",
    "feedback",
    "source_code",
    "union_bbox",
]
