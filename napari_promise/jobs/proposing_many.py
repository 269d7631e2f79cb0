"""Propose many objects of one plane in the background, a few at a time.

1. The adapter looks at the plane and says where objects are; with `closer`, also at
   enlarged tiles of it, those nearest to where the user looks first.
2. What was found is decoded a few at a time, the surest first, with `closer` small
   ones tile by tile from enlarged tiles, and handed to the window's thread as it comes:
   ending the job at any moment keeps what is there.
3. What lies in objects that are there already is left out.

Each step is short, so that a click is answered between two of them.
"""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from napari_promise.document import BBox, Plane, Region, Tile
from napari_promise.many_tiles import (
    EAGER,
    closer_tiles,
    drawing_tiles,
    less_sure_at_edges,
    seen_again,
    surest_first,
)
from napari_promise.prompts import Prompts
from napari_promise.proposing import BestFirst, ProposedObject
from napari_promise.segmentation import EmbeddingLike, SegmenterLike
from napari_promise.session import ImageSource, JobContext

__all__ = ["ManyFound", "ProposeMany"]

#: Objects decoded in one step: the windowed decoder takes as many at once.
_BATCH = 16
#: Seconds between two deliveries: the window shows each, and has other things to do.
_EVERY = 0.25


@dataclass(frozen=True, eq=False)
class ManyFound:
    """What was found since the last time, and how far the job is.

    Attributes
    ----------
    objects : tuple of ProposedObject
    done, total : int
        Steps of work; the total grows while tiles are looked at.
    message : str
        Why it ended early; else empty.
    finished : bool
    """

    objects: tuple[ProposedObject, ...]
    done: int
    total: int
    message: str = ""
    finished: bool = False


@dataclass
class _Lot:
    """Objects that are drawn from one tile, or from the whole plane."""

    tile: BBox | None
    waiting: list[Prompts]
    again: bool  # whether they are to be looked at again before


class ProposeMany:
    """A `Job` that proposes the objects of one plane.

    Parameters
    ----------
    source : ImageSource
    plane : Plane
    tell : callable
        Given a `ManyFound` in the window's thread.
    known : iterable of Region or None
        Masks of the objects that are there: nothing is proposed in them.
    ips, local : bool
        See `Segmenter.segment`.
    class_name : str
        Class of the objects.
    closer : bool
        Whether small objects are looked for in enlarged tiles, and drawn from such.
    centre : (float, float), optional
        Row and column of where the user looks: the tiles nearest to it come first.
    clock : callable
        Seconds that only grow.
    """

    def __init__(
        self,
        source: ImageSource,
        plane: Plane,
        *,
        tell: Callable[[ManyFound], None],
        known: Iterable[Region | None] = (),
        ips: bool = True,
        local: bool = True,
        class_name: str = "",
        closer: bool = False,
        centre: tuple[float, float] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._source = source
        self._plane = plane
        self._tell = tell
        self._known = BestFirst(known := tuple(known))
        self._kept = BestFirst(known)
        self._ips = ips
        self._local = local
        self._class_name = class_name
        self._closer = closer
        self._centre = centre
        self._clock = clock
        self._segmenter: SegmenterLike | None = None
        self._embedding: EmbeddingLike | None = None
        self._tiles: deque[BBox] = deque()
        self._lots: deque[_Lot] = deque()
        self._cut: list[Prompts] = []
        self._eager = False  # whether what was found is to be looked at again
        self._ready: list[ProposedObject] = []
        self._told = clock()
        self._done = 0

    def step(self, context: JobContext) -> bool:
        """Look, look at one tile, or decode a few objects; False when all is done."""
        if context.must_give_way():
            return True
        if self._embedding is None:
            self._look(context)
        elif context.segmenter is not self._segmenter:
            self._report(
                context,
                "Another model or adapter was chosen meanwhile: what was found stays.",
            )
            return False
        elif self._lots:
            self._decode(context)
        elif self._tiles:
            self._look_closer(context)
        elif self._cut:
            # A neighbour of the tile that cut them has shown most of them whole.
            self._add(sorted(self._cut, key=surest_first))
            self._cut = []
        if self._lots or self._tiles or self._cut:
            if self._clock() - self._told >= _EVERY:
                self._report(context)
            return True
        self._report(context, finished=True)
        return False

    def fail(self, context: JobContext, error: Exception) -> None:
        """End with an error, and say it; what was found stays."""
        self._report(context, " ".join(str(error).split()) or type(error).__name__)

    def close(self) -> None:
        """Let go of the image."""
        self._embedding = self._segmenter = None
        self._lots.clear()
        self._tiles.clear()

    def _look(self, context: JobContext) -> None:
        embedding, _ = context.embedding(self._source, Tile(self._plane))
        segmenter = context.segmenter
        found = segmenter.proposals(embedding)
        if self._closer:
            shape = self._source.shape[-2], self._source.shape[-1]
            self._tiles.extend(sorted(closer_tiles(found, shape), key=self._distance))
        self._eager = bool(self._tiles)
        if not self._tiles:
            self._add(self._new(found))
        self._embedding, self._segmenter = embedding, segmenter
        self._done += 1

    def _look_closer(self, context: JobContext) -> None:
        tile = self._tiles[0]
        embedding, _ = context.embedding(self._source, Tile(self._plane, tile))
        seen = self._new(context.segmenter.proposals(embedding, bar=EAGER))
        judged = less_sure_at_edges(seen, tile, self._source.shape[-2:])
        whole: list[Prompts] = []
        for before, after in zip(seen, judged, strict=True):
            (whole if after is before else self._cut).append(after)
        self._add(whole)
        self._tiles.popleft()
        self._done += 1

    def _decode(self, context: JobContext) -> None:
        embedding = self._embedding
        assert embedding is not None
        lot, tile = self._lots[0], self._lots[0].tile
        if tile is not None:
            embedding, _ = context.embedding(self._source, Tile(self._plane, tile))
        if lot.again:
            again = seen_again(context.segmenter, embedding, lot.waiting)
            lot.waiting = [each for each in again if each is not None]
            lot.again = False
        asked, lot.waiting = lot.waiting[:_BATCH], lot.waiting[_BATCH:]
        if not lot.waiting:
            self._lots.popleft()
        answers = context.segmenter.segment_many(
            embedding, asked, ips=self._ips, local=self._local
        )
        for prompts, answer in zip(asked, answers, strict=True):
            if self._kept.keeps(answer.region):
                self._ready.append(
                    ProposedObject(
                        prompts,
                        answer.region,
                        answer.score,
                        answer.logits,
                        prompts.logits,
                        self._plane,
                        self._class_name,
                        tile=tile,
                    )
                )
        self._done += 1

    def _add(self, found: Sequence[Prompts]) -> None:
        """Have objects drawn, those of a tile together, the nearest tile first."""
        tiles: list[BBox | None] = [None] * len(found)
        if self._closer:
            shape = self._source.shape[-2], self._source.shape[-1]
            tiles = drawing_tiles(found, shape)
        nearest = sorted(
            dict.fromkeys(tiles), key=lambda t: 0.0 if t is None else self._distance(t)
        )
        for tile in nearest:
            its = [each for each, at in zip(found, tiles, strict=True) if at == tile]
            self._lots.append(_Lot(tile, its, self._eager or tile is not None))

    def _new(self, found: Iterable[Prompts]) -> list[Prompts]:
        """Leave out what lies in objects that were there before."""
        return [p for p in found if not self._known.holds(*p.points[0].tolist())]

    def _distance(self, tile: BBox) -> float:
        if self._centre is None:
            return 0.0
        row, column = (tile[0] + tile[2]) / 2, (tile[1] + tile[3]) / 2
        return float((row - self._centre[0]) ** 2 + (column - self._centre[1]) ** 2)

    def _report(
        self, context: JobContext, message: str = "", *, finished: bool = False
    ) -> None:
        objects, self._ready = tuple(self._ready), []
        waiting = sum(len(lot.waiting) for lot in self._lots) + len(self._cut)
        left = -(-waiting // _BATCH) + len(self._tiles)
        found = ManyFound(
            objects,
            self._done,
            self._done + left,
            message,
            finished or bool(message),
        )
        self._told = self._clock()
        context.deliver(lambda: self._tell(found))
