"""What a segmenter is asked and what it answers, for those who need no torch.

`segmenter.Segmenter` is the one there is; tests have their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import BBox, Region
from napari_promise.prompts import Prompts

if TYPE_CHECKING:
    from pathlib import Path

    from segment_anything.modeling import Sam

    from napari_promise.model.adapters import Adapter, AdapterInfo

__all__ = ["EmbeddingLike", "NoPrompterError", "Segmentation", "SegmenterLike"]


class NoPrompterError(ValueError):
    """Auto-prompting was asked for, and no adapter in use can place points."""


@dataclass(frozen=True, eq=False)
class Segmentation:
    """The mask that answers some prompts.

    Attributes
    ----------
    shape : (int, int)
        Rows and columns of the plane.
    region : Region or None
        The mask's pixels, compressed; None when it is empty.
    score : float
        The model's predicted quality (IoU). Not trained for an adapter with IPS.
    logits : (1, h, w) float32
        The mask's low-resolution logits in SAM's padded frame, rounded so that they
        can serve as `Prompts.logits`.
    token : int
        The mask token that drew it: 0 the single mask, 1-3 the ambiguous ones.
    alternatives : tuple of Region or None
        Where they were asked for, what stock SAM draws from the same prompts: with its
        single mask token, and the best of the other three. None for an empty mask.
    tile : BBox or None
        The part of the plane that the model saw, which the logits cover; None for the
        whole plane. To feed the logits back: ``Before(logits, tile=tile)``.
    """

    shape: tuple[int, int]
    region: Region | None
    score: float
    logits: NDArray[np.float32] = field(repr=False)
    token: int = 0
    alternatives: tuple[Region | None, ...] = field(default=(), repr=False)
    tile: BBox | None = None

    @property
    def bbox(self) -> BBox | None:
        """The mask's (r0, c0, r1, c1), half open; None when it is empty."""
        return None if self.region is None else self.region.bbox

    @cached_property
    def mask(self) -> NDArray[np.bool_]:
        """The whole mask, (H, W) bool; made when first asked for."""
        if self.region is None:
            return np.zeros(self.shape, bool)
        return self.region.mask


class EmbeddingLike(Protocol):
    """An encoded image; only the segmenter that made it looks inside."""

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return it as arrays for the cache."""


class SegmenterLike(Protocol):
    """What session, jobs and command line ask of a `Segmenter`; see there."""

    @property
    def sam(self) -> Sam:
        """The base model: training reads it and never changes it."""

    @property
    def model_id(self) -> str:
        """The model's name."""

    @property
    def sha256(self) -> str:
        """The hash of the model's file."""

    @property
    def sees(self) -> int:
        """Pixels of the longest side that the model sees of whatever it is shown."""

    @property
    def device(self) -> object:
        """Where it computes; `str` of it is its name."""

    @property
    def adapter_info(self) -> AdapterInfo | None:
        """What is known of the adapter; None without one."""

    @property
    def adapter_sha256(self) -> str | None:
        """The hash of the adapter's tensor file; None without one."""

    def with_adapter(self, adapter: Adapter | str | Path | None) -> SegmenterLike:
        """Return the same model with another adapter, or with none."""

    def encode(
        self,
        image: Any,
        *,
        region: BBox | None = None,
        plane_shape: tuple[int, int] | None = None,
        progress: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> EmbeddingLike:
        """Encode an image, or a region of it; with `plane_shape` it is cut already."""

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> EmbeddingLike:
        """Return the embedding that was taken apart into arrays."""

    def segment(
        self,
        emb: EmbeddingLike,
        prompts: Prompts,
        *,
        ips: bool = True,
        multimask: bool | None = None,
        local: bool | None = None,
        alternatives: bool = False,
    ) -> Segmentation:
        """Return the mask that answers the prompts."""

    def segment_many(
        self,
        emb: EmbeddingLike,
        prompts: Sequence[Prompts],
        *,
        ips: bool = True,
        local: bool | None = None,
        alternatives: bool = False,
    ) -> tuple[Segmentation, ...]:
        """Return the masks of several objects, in the order of their prompts."""

    def propose(self, emb: EmbeddingLike) -> Prompts:
        """Return the prompts of the auto-prompting module."""

    def proposals(self, emb: EmbeddingLike, *, bar: float = 1) -> tuple[Prompts, ...]:
        """Return prompts for each object that the auto-prompting module finds."""
