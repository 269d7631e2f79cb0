"""The objects of one image: their prompts, masks and labels, and every edit's undo."""

from napari_promise.document.commits import CommitResult, Overlap
from napari_promise.document.corrections import answered_points, feedback
from napari_promise.document.document import Document
from napari_promise.document.events import Changes, DocumentEvents
from napari_promise.document.extents import (
    farthest_apart,
    longest_diameter,
    outermost,
    volume_ml,
)
from napari_promise.document.history import (
    MIN_HISTORY,
    PendingCommit,
    Snapshot,
    Step,
)
from napari_promise.document.joining import merge, parts_of, split
from napari_promise.document.logits import MaskLogits, SmallLogits
from napari_promise.document.patches import LabelPatch
from napari_promise.document.records import (
    SOURCES,
    ObjectRecord,
    Source,
)
from napari_promise.document.regions import BBox, Plane, Region, Tile, union_bbox
from napari_promise.document.through_planes import (
    FoundPlane,
    is_absent,
    is_propagated,
    is_proposed,
    unconfirmed_planes,
)

__all__ = [
    "BBox",
    "Changes",
    "CommitResult",
    "Document",
    "DocumentEvents",
    "FoundPlane",
    "LabelPatch",
    "MIN_HISTORY",
    "MaskLogits",
    "ObjectRecord",
    "Overlap",
    "PendingCommit",
    "Plane",
    "Region",
    "SOURCES",
    "SmallLogits",
    "Snapshot",
    "Source",
    "Step",
    "Tile",
    "answered_points",
    "farthest_apart",
    "feedback",
    "is_absent",
    "is_propagated",
    "is_proposed",
    "longest_diameter",
    "merge",
    "outermost",
    "parts_of",
    "split",
    "unconfirmed_planes",
    "union_bbox",
    "volume_ml",
]
