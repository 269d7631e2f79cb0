"""Propose objects for a whole folder: auto-prompts, masks, and their confidence.

One step of the job is one plane. What is found for an image is handed to the project
as a proposal, which never touches what the user did.

The signals that the confidence is made of are kept too, see `proposing.signals_of`.
"""

from __future__ import annotations

import contextlib
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from napari_promise.document import ObjectRecord, Plane, Region, Tile
from napari_promise.project import OpenedImage, Project
from napari_promise.proposing import (
    ProposedObject,
    propose,
    proposed_closer,
    region_iou,
)
from napari_promise.segmentation import NoPrompterError
from napari_promise.session import JobContext

__all__ = ["Propose", "ProposeProgress"]

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
        Images that could not be read, or that the user worked on meanwhile.
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
    closer : bool
        Whether small ones of many objects are looked for, and drawn, in enlarged tiles.
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
        closer: bool = False,
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
        self._closer = closer
        self._tell = tell
        self._clock = clock
        self._image: OpenedImage | None = None
        self._planes: deque[Plane] = deque()
        self._found: list[ProposedObject] = []
        self._ends: deque[float] = deque(maxlen=_PACE_OVER + 1)
        self._done = self._proposed = self._left_out = 0
        self._message = ""

    def step(self, context: JobContext) -> bool:
        """Propose for one plane; False when nothing is left to do."""
        if not self._ends:
            self._ends.append(self._clock())
            context.feed(self._upcoming(tuple(self._keys)))
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

    def _upcoming(self, keys: tuple[str, ...]) -> Iterator[tuple[OpenedImage, Tile]]:
        """Yield all planes in their order, to be encoded ahead by other computers."""
        for key in keys:
            with contextlib.suppress(OSError, ValueError):  # said in its turn
                if self._project.item(key).state in ("new", "proposed"):
                    image = self._read(key)
                    for plane in np.ndindex(image.shape[:-2]):
                        yield image, Tile(plane)

    def _begin(self, key: str) -> None:
        if self._project.item(key).state not in ("new", "proposed"):
            raise _Ahead(f"{key} was edited by the user meanwhile.")
        self._image = self._read(key)
        self._planes = deque(np.ndindex(self._image.shape[:-2]))
        self._found = []

    def _propose(self, context: JobContext, image: OpenedImage, plane: Plane) -> None:
        embedding, _ = context.embedding(image, Tile(plane))
        options: dict[str, Any] = {
            "ips": self._ips,
            "class_name": self._class_name,
            "signals": True,
        }
        if self._closer and getattr(context.segmenter, "finds_many", False):
            found = proposed_closer(
                context.segmenter,
                embedding,
                plane,
                shape=(image.shape[-2], image.shape[-1]),
                embed=lambda tile: context.embedding(image, Tile(plane, tile))[0],
                **options,
            )
        else:
            found = propose(context.segmenter, embedding, plane, **options)
        self._found += [one for one in found if one.region is not None]

    def _keep(self, key: str) -> None:
        collected: dict[str, Any] = {"adapter": self._adapter}
        for name in sorted({name for one in self._found for name in one.signals}):
            collected[name] = [one.signals.get(name) for one in self._found]
        earlier = self._earlier(key)
        if earlier is not None:
            collected["adapters"] = _agreement(earlier, self._found)
        self._project.proposals.save(key, self._found, None, collected)
        self._proposed += bool(self._found)

    def _earlier(self, key: str) -> tuple[ObjectRecord, ...] | None:
        """Return what another adapter proposed before; None where none did."""
        known = self._project.proposals.details(key)
        if known is None or known.get("adapter", self._adapter) == self._adapter:
            return None
        return self._project.proposals.records(key)

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
    """The user was quicker."""


def _concerns_all(error: Exception, succeeded: int) -> bool:
    """Whether an error will come again with every image."""
    if isinstance(error, OSError):
        return not isinstance(error, FileNotFoundError)  # a full disk
    return isinstance(error, NoPrompterError) and not succeeded


def _agreement(
    earlier: Iterable[ObjectRecord], found: Iterable[ProposedObject]
) -> list[float]:
    """IoU of each object with the likest that another adapter proposed on its plane."""
    before: dict[Plane, list[Region | None]] = {}
    for record in earlier:
        before.setdefault(record.plane, []).append(record.region)
    return [
        max(region_iou(one.region, other) for other in before.get(one.plane, [None]))
        for one in found
    ]
