"""Find more objects like one: learn from it at once, look in the background.

One step of the job is one plane. The object teaches what belongs to it and what does
not; others like it on the same plane count as what does not, but they are few beside
all the rest. Each part of the map that follows is proposed as an object, unless it is
known already.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import Plane, Region, Tile
from napari_promise.proposing import ProposedObject, propose
from napari_promise.session import ImageSource, JobContext

__all__ = ["FindAlike", "Place"]

#: Share of a found mask that may lie on known objects, for it to be another one.
_KNOWN = 0.3


@dataclass(frozen=True, eq=False)
class Place:
    """A plane to look at.

    Attributes
    ----------
    source : ImageSource
    plane : Plane
    known : (H, W) bool or None
        Pixels of objects that are there already.
    tag : object
        Given back with what is found.
    """

    source: ImageSource
    plane: Plane
    known: NDArray[np.bool_] | None = None
    tag: Any = None


class FindAlike:
    """A `Job` that looks for objects like one on some planes.

    Parameters
    ----------
    source : ImageSource
        Where the example is.
    plane : Plane
    examples : sequence of Region
        The object, and others of its kind that are known on its plane.
    places : sequence of Place
        Where to look, in this order.
    class_name : str
        Of what is found.
    found : callable
        Given a `Place` and the objects found there, in the window's thread.
    ended : callable
        Given one line in the window's thread; an empty one where all went well.
    """

    def __init__(
        self,
        source: ImageSource,
        plane: Plane,
        examples: Sequence[Region],
        places: Sequence[Place],
        *,
        class_name: str = "",
        found: Callable[[Place, tuple[ProposedObject, ...]], None],
        ended: Callable[[str], None],
    ) -> None:
        self._source, self._plane = source, plane
        self._examples = tuple(examples)
        self._places = deque(places)
        self._class_name = class_name
        self._found, self._ended = found, ended
        self._adapter: Any = None

    def step(self, context: JobContext) -> bool:
        """Learn, or look at one plane; False when nothing is left to do."""
        if context.must_give_way():
            return True
        if self._adapter is None:
            self._learn(context)
            return True
        if not self._places:
            context.deliver(lambda: self._ended(""))
            return False
        place = self._places[0]
        embedding, _ = context.embedding(place.source, Tile(place.plane))
        knowing = context.segmenter.with_adapter(self._adapter)
        found = tuple(
            one
            for one in propose(
                knowing, embedding, place.plane, class_name=self._class_name
            )
            if one.region is not None and not _is_known(one.region, place.known)
        )
        self._places.popleft()
        context.deliver(lambda: self._found(place, found))
        return True

    def _learn(self, context: JobContext) -> None:
        from napari_promise.model.instant_learner import (
            InstantLearner,
            info_for,
            lesson_of,
        )

        embedding: Any
        embedding, _ = context.embedding(self._source, Tile(self._plane))
        mask = np.zeros(self._examples[0].shape, bool)
        for region in self._examples:
            mask |= region.mask
        learner = InstantLearner.like(embedding)
        sam = context.segmenter.sam
        learner.learn("example", lesson_of(learner.apm, embedding, mask))
        made = learner.adapter(info_for(sam, "alike"), many=True)
        self._adapter = made.to(sam.device)

    def fail(self, context: JobContext, error: Exception) -> None:
        """End with an error, and say it; what was found stays."""
        line = " ".join(str(error).split()) or type(error).__name__
        context.deliver(lambda: self._ended(line))

    def close(self) -> None:
        """Let go of the planes."""
        self._places.clear()
        self._adapter = None


def _is_known(region: Region, known: NDArray[np.bool_] | None) -> bool:
    if known is None:
        return False
    r0, c0, r1, c1 = region.bbox
    shared = np.count_nonzero(region.crop & known[r0:r1, c0:c1])
    return bool(shared > _KNOWN * region.area)
