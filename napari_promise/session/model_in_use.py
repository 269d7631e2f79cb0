"""The model that computes, and how one is loaded."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from napari_promise.remote.security import is_address
from napari_promise.segmentation import SegmenterLike

__all__ = ["ModelInUse", "leaving_a_core", "let_go", "load_model"]


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

    @property
    def encodes_on(self) -> str:
        """The address of the computer that encodes; empty for this one."""
        return str(getattr(self.segmenter, "encodes_on", ""))

    @property
    def encoder_mode(self) -> str:
        """How images are encoded, see `model.fast_encoder`."""
        return str(getattr(self.segmenter, "encoder_mode", "stock"))

    def close(self) -> None:
        """Let go of the model, and of the computer that encodes for it."""
        segmenter, self.segmenter = self.segmenter, None
        let_go(segmenter)


def let_go(segmenter: SegmenterLike | None) -> None:
    """Close a segmenter that has a connection; others have nothing to close."""
    close = getattr(segmenter, "close", None)
    if close is not None:
        close()


def load_model(
    model: str,
    *,
    device: str = "auto",
    certificate: str = "",
    plain: bool = False,
    waiting: Callable[[str], None] | None = None,
    **options: Any,
) -> SegmenterLike:
    """Load a model; imports torch, so the worker calls it.

    Parameters
    ----------
    model : str
    device : str
        Or the address of a computer that encodes; masks are then decoded here.
    certificate, plain, waiting
        For an address, see `Segmenter.connect`.
    **options
        See `Segmenter.load`.
    """
    from napari_promise.segmenter import Segmenter

    if not is_address(device):
        return Segmenter.load(model, None, device=device, **options)
    options.pop("progress", None)  # nothing is downloaded
    return Segmenter.connect(
        device,
        model,
        certificate=certificate,
        plain=plain,
        waiting=waiting,
        **options,
    )


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
