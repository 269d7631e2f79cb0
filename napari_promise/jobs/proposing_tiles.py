"""Propose the objects of a whole plane in the background, seen tile by tile.

For planes of which a model would see too little at once, such as slides. Tiles are as
large as what the user has on the screen, so that the adapter sees objects at the scale
at which the user would ask for them.

1. Tiles that overlap by a quarter are looked at, those nearest to the user first. What
   is found in one is decoded there, a few objects a step.
2. What an edge of the tile cuts is put aside, and so is what a known object holds.
3. At last whatever was cut everywhere is answered from a tile that holds it.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from functools import partial

import numpy as np

from napari_promise.document import BBox, Plane, Region, Tile
from napari_promise.jobs.proposing_many import ManyFound
from napari_promise.many_tiles import tiles_over
from napari_promise.prompts import Prompts
from napari_promise.proposing import ProposedObject, not_known, propose
from napari_promise.segmentation import EmbeddingLike, SegmenterLike
from napari_promise.session import ImageSource, JobContext
from napari_promise.tiles import is_cut, tile_for

__all__ = ["ProposeInTiles"]

#: Objects decoded in one step.
_BATCH = 16
#: Share of a tile's side that neighbours have in common.
_OVERLAP = 1 / 4


class ProposeInTiles:
    """A `Job` that proposes the objects of one plane, a tile at a time.

    Parameters
    ----------
    source : ImageSource
    plane : Plane
    side : int
        Pixels of a tile's side.
    tell : callable
        Given a `ManyFound` in the window's thread.
    known : iterable of Region or None
        Masks of the objects that are there: nothing is proposed in them.
    ips, local : bool
        See `Segmenter.segment`.
    class_name : str
        Class of the objects.
    centre : (float, float), optional
        Row and column of where the user looks.
    """

    def __init__(
        self,
        source: ImageSource,
        plane: Plane,
        side: int,
        *,
        tell: Callable[[ManyFound], None],
        known: Iterable[Region | None] = (),
        ips: bool = True,
        local: bool = True,
        class_name: str = "",
        centre: tuple[float, float] | None = None,
    ) -> None:
        self._source, self._plane, self._tell = source, plane, tell
        self._shape = source.shape[-2], source.shape[-1]
        self._known = [region for region in known if region is not None]
        self._propose = partial(
            propose, plane=plane, ips=ips, local=local, class_name=class_name
        )
        tiles = tiles_over(self._shape, side, round(side * _OVERLAP))
        middle = centre or (self._shape[0] / 2, self._shape[1] / 2)
        self._tiles = deque(sorted(tiles, key=lambda tile: _apart(tile, middle)))
        self._segmenter: SegmenterLike | None = None
        # What was found in a tile and is not decoded yet, with that tile's embedding.
        self._seen: tuple[BBox, EmbeddingLike] | None = None
        self._prompts: deque[Prompts] = deque()
        self._cut: list[ProposedObject] = []
        self._done = 0

    def step(self, context: JobContext) -> bool:
        """Look at a tile, or decode a few objects of it; False when all is done."""
        if context.must_give_way():
            return True
        if self._segmenter is None:
            self._segmenter = context.segmenter
        if context.segmenter is not self._segmenter:
            self._report(
                context,
                (),
                "Another model or adapter was chosen meanwhile: what was found stays.",
            )
            return False
        found: tuple[ProposedObject, ...] = ()
        if self._prompts:
            found = self._decode()
        elif self._tiles:
            self._look(context)
        elif self._cut:
            found = self._whole(context)
        finished = not (self._prompts or self._tiles or self._cut)
        self._report(context, found, finished=finished)
        return not finished

    def fail(self, context: JobContext, error: Exception) -> None:
        """End with an error, and say it; what was found stays."""
        line = " ".join(str(error).split()) or type(error).__name__
        self._report(context, (), line)

    def close(self) -> None:
        """Let go of the image."""
        self._seen = self._segmenter = None
        self._prompts.clear()
        self._tiles.clear()
        self._cut.clear()

    def _look(self, context: JobContext) -> None:
        tile = self._tiles[0]
        embedding, _ = context.embedding(self._source, Tile(self._plane, tile))
        self._prompts.extend(context.segmenter.proposals(embedding))
        self._seen = tile, embedding
        self._tiles.popleft()
        self._done += 1

    def _decode(self) -> tuple[ProposedObject, ...]:
        assert self._seen is not None
        assert self._segmenter is not None
        tile, embedding = self._seen
        count = min(_BATCH, len(self._prompts))
        asked = [self._prompts[at] for at in range(count)]
        drawn = self._propose(self._segmenter, embedding, found=asked)
        for _ in range(count):
            self._prompts.popleft()
        for one in drawn:
            if one.region is not None and is_cut(one.region.bbox, tile, self._shape):
                self._cut.append(replace(one, tile=tile))
        return self._taken(drawn, tile)

    def _whole(self, context: JobContext) -> tuple[ProposedObject, ...]:
        """Answer what tiles have cut from one that holds it, unless it is known."""
        one = self._cut[-1]
        found: tuple[ProposedObject, ...] = ()
        if not_known([one], self._known, None, self._shape):
            assert one.region is not None
            asked = one.prompts.replace(before=None)
            tile = tile_for(asked, None, self._shape, known=one.region.bbox)
            embedding, _ = context.embedding(self._source, Tile(self._plane, tile))
            drawn = self._propose(context.segmenter, embedding, found=[asked])
            found = self._taken(drawn, tile)
        self._cut.pop()
        return found

    def _taken(
        self, drawn: tuple[ProposedObject, ...], tile: BBox | None
    ) -> tuple[ProposedObject, ...]:
        """Keep what is new and whole."""
        kept = not_known(drawn, self._known, tile, self._shape)
        self._known += [one.region for one in kept if one.region is not None]
        return tuple(replace(one, tile=tile) for one in kept)

    def _report(
        self,
        context: JobContext,
        objects: tuple[ProposedObject, ...],
        message: str = "",
        *,
        finished: bool = False,
    ) -> None:
        total = self._done + len(self._tiles)
        found = ManyFound(
            objects, self._done, total, message, finished or bool(message)
        )
        context.deliver(lambda: self._tell(found))


def _apart(tile: BBox, middle: tuple[float, float]) -> float:
    at = (tile[0] + tile[2]) / 2 - middle[0], (tile[1] + tile[3]) / 2 - middle[1]
    return float(np.hypot(*at))
