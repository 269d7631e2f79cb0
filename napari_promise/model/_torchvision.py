"""Let `segment_anything` be imported where torchvision's operators are missing.

A CPU-only torch beside PyPI's CUDA build of torchvision fails on import with "operator
torchvision::nms does not exist". Nothing here uses those compiled operators, so
declaring the two missing schemas is enough. This is done only after a failed import.
"""

from __future__ import annotations

import sys

import torch

from napari_promise.model import _compiler

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)


def _import_torchvision() -> torch.library.Library | None:
    try:
        import torchvision
    except RuntimeError as error:
        if "torchvision::" not in str(error):
            raise
    else:
        return None
    library = torch.library.Library("torchvision", "FRAGMENT")
    for schema in _SCHEMAS:
        library.define(schema)
    for name in [n for n in list(sys.modules) if n.split(".")[0] == "torchvision"]:
        del sys.modules[name]
    import torchvision  # noqa: F401

    return library


#: Kept alive: the schemas vanish with the object that declared them.
with _compiler.put_off():
    LIBRARY = _import_torchvision()
