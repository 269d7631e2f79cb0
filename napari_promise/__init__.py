"""Promptable segmentation in napari: a frozen SAM, and ProMISe adapters on top.

This module holds the version and says where the public names live; it imports none
until it is asked for, so that napari can discover the plugin in milliseconds.

Examples
--------
>>> from napari_promise import Prompts, Segmenter
>>> segmenter = Segmenter.load("promise-tiny", adapter="polyp")  # doctest: +SKIP
>>> embedding = segmenter.encode(image)  # doctest: +SKIP
>>> prompts = segmenter.propose(embedding)  # doctest: +SKIP
>>> mask = segmenter.segment(embedding, prompts).mask  # doctest: +SKIP
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from napari_promise.model.adapters import load_adapter
    from napari_promise.prompts import Prompts
    from napari_promise.propagation import PlaneResult, propagate
    from napari_promise.segmenter import Segmenter
    from napari_promise.training.evaluate import evaluate
    from napari_promise.training.trainer import train

__version__ = "0.1.0"

__all__ = [
    "PlaneResult",
    "Prompts",
    "Segmenter",
    "__version__",
    "evaluate",
    "load_adapter",
    "propagate",
    "train",
]

_HOMES = {
    "PlaneResult": "napari_promise.propagation",
    "Prompts": "napari_promise.prompts",
    "Segmenter": "napari_promise.segmenter",
    "evaluate": "napari_promise.training.evaluate",
    "load_adapter": "napari_promise.model.adapters",
    "propagate": "napari_promise.propagation",
    "train": "napari_promise.training.trainer",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return sorted(__all__)
