"""What two adapters find by themselves: on one image side by side, on many in figures.

Runs on the session's worker and takes embeddings from its cache, so that what was
opened before is not encoded again.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.data.pairs import SampleReader
from napari_promise.document import Plane, Tile
from napari_promise.files import one_line
from napari_promise.jobs.training_sources import LabelledPlane, TrainingSource
from napari_promise.prompts import Prompts
from napari_promise.proposing import label_image, propose
from napari_promise.segmentation import EmbeddingLike, SegmenterLike
from napari_promise.session import ImageSource, JobContext
from napari_promise.training.metrics import dice

#: The longest side of the pictures that are shown.
_SIDE = 900


@dataclass(frozen=True, eq=False)
class Look:
    """What one adapter finds.

    Attributes
    ----------
    name : str
    mask : (h, w) bool
        In the pixels of the picture that is shown.
    points : (N, 2) float
        As (row, column), in the same pixels.
    labels : (N,) int
        1 include, 0 exclude.
    area : int
        Pixels of the mask at full resolution.
    note : str
        Why there is nothing to see, or empty.
    """

    name: str
    mask: NDArray[np.bool_]
    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    area: int = 0
    note: str = ""


@dataclass(frozen=True, eq=False)
class Comparison:
    """Two adapters on one image.

    Attributes
    ----------
    picture : (h, w, 3) uint8
    old, new : Look
    dice : float
        Between the two masks, at full resolution; 1 where both are empty.
    """

    picture: NDArray[np.uint8]
    old: Look
    new: Look
    dice: float


class CompareJob:
    """Ask two adapters about a plane, see `session.Job`.

    Parameters
    ----------
    source : ImageSource
    plane : tuple of int
    adapters : tuple
        The old and the new: an `Adapter`, a name, a folder, or None for stock SAM.
    names : tuple of str
    then : callable
        Told a `Comparison`, in the window's thread.
    failed : callable
        Told one line.
    """

    def __init__(
        self,
        source: ImageSource,
        plane: Plane,
        adapters: tuple[Any, Any],
        names: tuple[str, str],
        then: Callable[[Comparison], None],
        failed: Callable[[str], None],
    ) -> None:
        self._source, self._plane = source, plane
        self._adapters, self._names = adapters, names
        self._then, self._failed = then, failed

    def step(self, context: JobContext) -> bool:
        """See `session.Job`."""
        from napari_promise.data.planes import to_rgb8

        source = self._source
        emb, _digest = context.embedding(source, Tile(self._plane))
        pixels = source.plane_pixels(self._plane)
        rgb = to_rgb8(pixels, source.contrast_limits, source.rgb)
        found = [_ask(context, emb, adapter) for adapter in self._adapters]
        every = max(1, -(-max(rgb.shape[:2]) // _SIDE))
        empty = np.zeros(rgb.shape[:2], bool)
        looks, masks = [], []
        for name, (mask, prompts, note) in zip(self._names, found, strict=True):
            mask = empty if mask is None else mask
            masks.append(mask)
            looks.append(
                Look(
                    name,
                    mask[::every, ::every],
                    np.zeros((0, 2)) if prompts is None else prompts.points / every,
                    np.zeros(0, np.int64) if prompts is None else prompts.labels,
                    int(mask.sum()),
                    note,
                )
            )
        picture = np.ascontiguousarray(rgb[::every, ::every])
        comparison = Comparison(picture, looks[0], looks[1], dice(*masks))
        context.deliver(lambda: self._then(comparison))
        return False

    def fail(self, context: JobContext, error: Exception) -> None:
        """See `session.Job`."""
        line = one_line(error)
        context.deliver(lambda: self._failed(line))

    def close(self) -> None:
        """See `session.Job`."""


@dataclass(frozen=True)
class Tally:
    """How two adapters did on labelled images, so far.

    Attributes
    ----------
    names : tuple of str
        The first and the second adapter.
    source : str
        What the images are called.
    dices : tuple of tuple of float
        Of each image, of the first and of the second; automatic, and the labels of an
        image taken as one.
    left_out : int
        Images that could not be read.
    finished : bool
    """

    names: tuple[str, str]
    source: str
    dices: tuple[tuple[float, float], ...] = ()
    left_out: int = 0
    finished: bool = False

    def told(self) -> str:
        """Say it in a line."""
        if not self.dices:
            return f"No labelled image in {self.source}." if self.finished else "…"
        first, second = np.mean(self.dices, 0)
        ahead = sum(b - a > 0.01 for a, b in self.dices)
        behind = sum(a - b > 0.01 for a, b in self.dices)
        number = len(self.dices)
        line = (
            f"{number} labelled image{'s' * (number > 1)} of {self._source()}, "
            "automatic Dice: "
            f"{self.names[0]} {first:.3f}, {self.names[1]} {second:.3f}. "
            f"{self.names[1]} is better on {ahead}, worse on {behind}."
        )
        if self.left_out:
            line += f" {self.left_out} could not be read."
        return line if self.finished else f"{line} Going on…"

    def _source(self) -> str:
        return self.source if len(self.source) <= 40 else f"{self.source[:39]}…"


class TallyJob:
    """Ask two adapters about many labelled images, see `session.Job`.

    Parameters
    ----------
    source : TrainingSource
    adapters, names : tuple
        As for `CompareJob`.
    tell : callable
        Told a `Tally` after each image, in the window's thread.
    failed : callable
        Told one line.
    """

    def __init__(
        self,
        source: TrainingSource,
        adapters: tuple[Any, Any],
        names: tuple[str, str],
        tell: Callable[[Tally], None],
        failed: Callable[[str], None],
    ) -> None:
        self._source, self._adapters, self._names = source, adapters, names
        self._tell, self._failed = tell, failed
        self._folder: tempfile.TemporaryDirectory[str] | None = None
        self._images: Iterator[LabelledPlane | None] | None = None
        self._waiting: LabelledPlane | None = None
        self._files = SampleReader()
        self._dices: list[tuple[float, float]] = []
        self._left_out = 0

    def step(self, context: JobContext) -> bool:
        """See `session.Job`: one image a step."""
        if self._images is None:
            self._folder = tempfile.TemporaryDirectory(prefix="promise-compare-")
            self._images = iter(self._source.images(Path(self._folder.name)))
        finished = False
        if self._waiting is None:
            try:
                self._waiting = next(self._images)
            except StopIteration:
                finished = True
        if self._waiting is not None:
            if context.must_give_way():
                return True
            try:
                assert self._waiting.pair is not None  # it was asked to be written
                sample = self._files.read(self._waiting.pair)
                truth = sample.mask > 0
                emb, _digest = context.embedding(sample.image, Tile(sample.plane))
            except (ValueError, OSError):
                if context.must_give_way():
                    return True  # it was stopped, not refused: it comes again
                self._left_out += 1
            else:
                first, second = (
                    _found_dice(context, emb, adapter, truth)
                    for adapter in self._adapters
                )
                self._dices.append((first, second))
            self._waiting = None
        told = Tally(
            self._names,
            self._source.name,
            tuple(self._dices),
            self._left_out,
            finished=finished,
        )
        context.deliver(lambda: self._tell(told))
        return not finished

    def fail(self, context: JobContext, error: Exception) -> None:
        """See `session.Job`."""
        line = one_line(error)
        context.deliver(lambda: self._failed(line))

    def close(self) -> None:
        """See `session.Job`."""
        if self._folder is not None:
            self._folder.cleanup()


def _found_dice(
    context: JobContext, emb: EmbeddingLike, adapter: Any, truth: NDArray[np.bool_]
) -> float:
    mask = _ask(context, emb, adapter)[0]
    return dice(np.zeros_like(truth) if mask is None else mask, truth)


def _ask(
    context: JobContext, emb: EmbeddingLike, adapter: Any
) -> tuple[NDArray[np.bool_] | None, Prompts | None, str]:
    """Return an adapter's mask and prompts, and why there is none."""
    if adapter is None:
        return None, None, "no adapter, nothing is found by itself"
    segmenter = context.segmenter.with_adapter(adapter)
    if getattr(segmenter, "finds_many", False):
        return _ask_for_many(segmenter, emb)
    try:
        prompts = segmenter.propose(emb)
    except ValueError as error:
        return None, None, str(error)
    if not (prompts.labels == 1).any():
        return None, prompts, "found nothing"
    region = segmenter.segment(emb, prompts).region
    return None if region is None else region.mask, prompts, ""


def _ask_for_many(
    segmenter: SegmenterLike, emb: EmbeddingLike
) -> tuple[NDArray[np.bool_] | None, Prompts | None, str]:
    """Return the masks of all objects together, and all their points."""
    found = propose(segmenter, emb)
    regions = [one.region for one in found if one.region is not None]
    prompts = Prompts(points=[one.prompts.points[0] for one in found])
    if not regions:
        return None, prompts, "found nothing"
    return label_image(regions, regions[0].shape) > 0, prompts, ""
