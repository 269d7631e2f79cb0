"""The model that computes, and how one is loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from napari_promise.segmentation import SegmenterLike

__all__ = ["ModelInUse", "leaving_a_core", "load_model"]


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


def load_model(model: str, **options: Any) -> SegmenterLike:
    """Load a model; imports torch, so the worker calls it."""
    from napari_promise.segmenter import Segmenter

    return Segmenter.load(model, None, **options)


@contextmanager
def leaving_a_core() -> Iterator[None]:
    """Let torch use one core less while the worker computes, and no longer.

    Its threads wait for each other by spinning: where the window is drawn, or anything
    else runs, on one of their cores, a click takes several times as long. The setting
    is the process's, which others share, so that it is put back after every task.
    """
    torch = sys.modules.get("torch")
    if torch is None:  # nothing was loaded yet that could compute
        yield
        return
    before: int = torch.get_num_threads()
    torch.set_num_threads(max(1, min(before, (os.cpu_count() or 1) - 1)))
    try:
        yield
    finally:
        torch.set_num_threads(before)
