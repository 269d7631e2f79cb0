"""Propose objects for a whole folder: auto-prompts, masks, and how far to trust them.

One step of the job is one plane. What is found for an image is handed to the project
as a proposal, which never touches what a person did.

Of every object it is noted how far it can be trusted (`details`): the predicted IoU,
how little the mask moves with its threshold, whether the mask that was chosen agrees
with the other masks that the decoder would draw for the same points, and how many
points lie on the right side of it.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_promise.document import ObjectRecord, Plane, Region
from napari_promise.project import OpenedImage, Project, ProposedObject
from napari_promise.project.confidence import iou, points_right, stability
from napari_promise.prompts import Prompts
from napari_promise.session import JobContext, SegmenterLike

__all__ = ["Propose", "ProposeProgress", "details", "propose_plane"]

#: Seconds are averaged over so many of the latest images.
_PACE_OVER = 20


@dataclass(frozen=True)
class ProposeProgress:
    """How far a job is.

    Attributes
    ----------
    done, total : int
        Images.
    proposed : int
        Images for which something was proposed.
    left_out : int
        Images that could not be read, or that a person worked on meanwhile.
    seconds_left : float or None
        None while nothing can be said.
    message : str
        Why it ended early, or the latest image that could not be read; else empty.
    finished : bool
    """

    done: int
    total: int
    proposed: int = 0
    left_out: int = 0
    seconds_left: float | None = None
    message: str = ""
    finished: bool = False


class Propose:
    """A `Job` that proposes for many images.

    Parameters
    ----------
    project : Project
        Called by the worker; its events come from there.
    keys : iterable of str
        In the order in which they are wanted.
    read : callable
        Reads an image by its key.
    ips : bool
        Whether the adapter's pattern shifting is used.
    adapter : str
        Name of the adapter, noted in the details.
    class_name : str
        Class of the objects.
    tell : callable
        Given a `ProposeProgress` in the window's thread.
    clock : callable
        Seconds that only grow.
    """

    def __init__(
        self,
        project: Project,
        keys: Iterable[str],
        read: Callable[[str], OpenedImage],
        *,
        ips: bool = True,
        adapter: str = "",
        class_name: str = "",
        tell: Callable[[ProposeProgress], None] = lambda progress: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._project = project
        self._keys = deque(keys)
        self._total = len(self._keys)
        self._read = read
        self._ips = ips
        self._adapter = adapter
        self._class_name = class_name
        self._tell = tell
        self._clock = clock
        self._image: OpenedImage | None = None
        self._planes: deque[Plane] = deque()
        self._found: list[ProposedObject] = []
        self._told: list[Mapping[str, float]] = []
        self._ends: deque[float] = deque(maxlen=_PACE_OVER + 1)
        self._done = self._proposed = self._left_out = 0
        self._message = ""

    def step(self, context: JobContext) -> bool:
        """Propose for one plane; False when nothing is left to do."""
        if not self._ends:
            self._ends.append(self._clock())
        if not self._keys:
            self._report(context, finished=True)
            return False
        if context.must_give_way():
            return True
        key = self._keys[0]
        try:
            if self._image is None:
                self._begin(key)
            assert self._image is not None
            if self._planes:
                self._propose(context, self._image, self._planes[0])
                self._planes.popleft()
            if not self._planes:
                self._keep(key)
                self._next(context)
        except (ValueError, OSError) as error:
            if context.must_give_way():
                raise  # it was stopped, not refused: the step comes again
            if _concerns_all(error, self._done - self._left_out):
                raise
            self._message = str(error)
            self._left_out += 1
            self._next(context)
        return True

    def _begin(self, key: str) -> None:
        if self._project.item(key).state not in ("new", "proposed"):
            raise _Ahead(f"{key} was taken up by a person meanwhile.")
        self._image = self._read(key)
        self._planes = deque(np.ndindex(self._image.shape[:-2]))
        self._found, self._told = [], []

    def _propose(self, context: JobContext, image: OpenedImage, plane: Plane) -> None:
        embedding, _ = context.embedding(image, plane)
        found = propose_plane(
            context.segmenter,
            embedding,
            plane,
            ips=self._ips,
            class_name=self._class_name,
        )
        if found is not None:
            self._found.append(found[0])
            self._told.append(found[1])

    def _keep(self, key: str) -> None:
        collected: dict[str, Any] = {"adapter": self._adapter}
        for name in sorted({name for told in self._told for name in told}):
            collected[name] = [told.get(name) for told in self._told]
        earlier = self._earlier(key)
        if earlier is not None:
            collected["adapters"] = _agreement(earlier, self._found)
        self._project.save_proposal(key, self._found, None, collected)
        self._proposed += bool(self._found)

    def _earlier(self, key: str) -> tuple[ObjectRecord, ...] | None:
        """Return what another adapter proposed before; None where none did."""
        known = self._project.proposal_details(key)
        if known is None or known.get("adapter", self._adapter) == self._adapter:
            return None
        return self._project.proposal(key)

    def _next(self, context: JobContext) -> None:
        self._keys.popleft()
        self._image = None
        self._planes.clear()
        self._done += 1
        self._ends.append(self._clock())
        self._report(context)

    def _report(
        self, context: JobContext, *, finished: bool = False, message: str = ""
    ) -> None:
        seconds = None
        if len(self._ends) > 1:
            pace = (self._ends[-1] - self._ends[0]) / (len(self._ends) - 1)
            seconds = pace * len(self._keys)
        progress = ProposeProgress(
            self._done,
            self._total,
            self._proposed,
            self._left_out,
            seconds,
            message or self._message,
            finished,
        )
        context.deliver(lambda: self._tell(progress))

    def fail(self, context: JobContext, error: Exception) -> None:
        """End with an error that concerns all images, and say it."""
        self._report(context, finished=True, message=" ".join(str(error).split()))

    def close(self) -> None:
        """Let go of the image; what was proposed stays."""
        self._image = None
        self._keys.clear()


class _Ahead(ValueError):
    """A person was quicker."""


def _concerns_all(error: Exception, succeeded: int) -> bool:
    """Whether an error will come again with every image."""
    if isinstance(error, OSError):
        return not isinstance(error, FileNotFoundError)  # a full disk
    return "adapter" in str(error) and not succeeded


def propose_plane(
    segmenter: SegmenterLike,
    embedding: Any,
    plane: Plane = (),
    *,
    ips: bool = True,
    class_name: str = "",
) -> tuple[ProposedObject, dict[str, float]] | None:
    """Propose the object of one plane.

    Parameters
    ----------
    segmenter : SegmenterLike
        With an adapter that places points.
    embedding : object
        Of the plane.
    plane : Plane
    ips : bool
        Whether the adapter's pattern shifting is used.
    class_name : str

    Returns
    -------
    (ProposedObject, dict) or None
        The object and its `details`; None where nothing was found.

    Raises
    ------
    ValueError
        If there is no adapter, or it places no points.
    """
    prompts = segmenter.propose(embedding)
    if not prompts.labels.any():
        return None
    result = segmenter.segment(embedding, prompts, ips=ips)
    if result.region is None:
        return None
    proposed = ProposedObject(
        prompts,
        result.region,
        result.score,
        result.logits,
        prompts.logits,
        plane,
        class_name,
    )
    return proposed, details(segmenter, embedding, prompts, result)


def details(
    segmenter: SegmenterLike, embedding: Any, prompts: Prompts, result: Any
) -> dict[str, float]:
    """Say what speaks for a mask that answers automatic prompts.

    Parameters
    ----------
    segmenter : SegmenterLike
    embedding : object
    prompts : Prompts
    result : Segmentation
        What the segmenter answered.

    Returns
    -------
    dict of str to float
        By the names of `confidence.SIGNALS`, in [0, 1], high is good: ``score``,
        ``stability``, ``points`` where there are any, and ``tokens``: the mean IoU of
        the mask with those that stock SAM draws from its single mask token and from
        the best of the other three.
    """
    told = {
        "score": float(np.clip(result.score, 0, 1)),
        "stability": stability(result.logits),
    }
    right = points_right(prompts, result.region)
    if right is not None:
        told["points"] = right
    others = [
        segmenter.segment(embedding, prompts, ips=False, multimask=several).region
        for several in (False, True)
    ]
    told["tokens"] = float(np.mean([_iou(result.region, other) for other in others]))
    return told


def _iou(a: Region | None, b: Region | None) -> float:
    if a is None or b is None:
        return float(a is b)
    r0, c0 = (min(x, y) for x, y in zip(a.bbox[:2], b.bbox[:2], strict=True))
    r1, c1 = (max(x, y) for x, y in zip(a.bbox[2:], b.bbox[2:], strict=True))
    return iou(a.window((r0, c0, r1, c1)), b.window((r0, c0, r1, c1)))


def _agreement(
    earlier: Iterable[ObjectRecord], found: Iterable[ProposedObject]
) -> list[float]:
    """IoU of what two adapters propose for an image, plane by plane."""
    before: dict[Plane, Region | None] = {r.plane: r.region for r in earlier}
    return [_iou(one.region, before.get(one.plane)) for one in found]
