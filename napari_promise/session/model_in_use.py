"""The model that computes, and how one is loaded."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

from napari_promise.segmentation import SegmenterLike

__all__ = ["ModelInUse", "load_segmenter"]


@dataclass(eq=False)
class ModelInUse:
    """The model in use. Written by the worker alone; others read single values.

    Attributes
    ----------
    segmenter : SegmenterLike or None
        None before a model is loaded, and when the session has ended.
    loaded_as : (str, str) or None
        The model and the device of the settings that it was loaded for.
    adapted_as : str
        The adapter of the settings that it was given; empty for stock SAM.
    """

    segmenter: SegmenterLike | None = None
    loaded_as: tuple[str, str] | None = None
    adapted_as: str = ""

    @property
    def device(self) -> str:
        """Where it computes; empty before there is one."""
        segmenter = self.segmenter
        return "" if segmenter is None else str(segmenter.device)


def load_segmenter(model: str, **options: Any) -> SegmenterLike:
    """Load a model; imports torch, so the worker calls it."""
    import torch

    from napari_promise.segmenter import Segmenter

    # One core stays with the window: torch's threads wait for each other by spinning,
    # and while the canvas is drawn on their core a click takes several times as long.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))

    return Segmenter.load(model, None, **options)
