"""A plane is proposed on tile by tile; what two tiles see is one object."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np

from napari_promise.document import Region
from napari_promise.jobs.proposing_many import ManyFound
from napari_promise.jobs.proposing_tiles import ProposeInTiles
from napari_promise.prompts import Prompts
from napari_promise.session import ArraySource

SHAPE = (600, 900)

Box = tuple[int, int, int, int]


class Squares:
    """Sees the part of each square that lies in a tile, and draws that part."""

    def __init__(self, *squares: Box) -> None:
        self.squares = squares

    def proposals(self, seen: Box) -> tuple[Prompts, ...]:
        parts = (_shared(seen, square) for square in self.squares)
        return tuple(
            Prompts(
                points=[((r0 + r1) / 2, (c0 + c1) / 2)],
                labels=[1],
                scores=[0.9],
                boxes=[(r0, c0, r1 - 1, c1 - 1)],
            )
            for r0, c0, r1, c1 in filter(None, parts)
        )

    def segment_many(self, seen: Box, asked: Any, **_options: Any) -> Any:
        for prompts in asked:
            at = prompts.points[0]
            (square,) = [
                s for s in self.squares if s[0] <= at[0] < s[2] and s[1] <= at[1] < s[3]
            ]
            part = _shared(seen, square)
            assert part is not None
            crop = np.ones((part[2] - part[0], part[3] - part[1]), bool)
            region = Region.from_crop(crop, part[:2], SHAPE)
            yield SimpleNamespace(region=region, score=0.9, logits=None)


def _shared(one: Box, other: Box) -> Box | None:
    r0, c0 = max(one[0], other[0]), max(one[1], other[1])
    r1, c1 = min(one[2], other[2]), min(one[3], other[3])
    return (r0, c0, r1, c1) if r0 < r1 and c0 < c1 else None


class Context:
    def __init__(self, segmenter: Any) -> None:
        self.segmenter = segmenter
        self.looked: list[Box | None] = []
        self.busy = False

    def must_give_way(self) -> bool:
        return self.busy

    def embedding(self, source: Any, tile: Any) -> tuple[Any, str]:
        self.looked.append(tile.bbox)
        return tile.bbox or (0, 0, *SHAPE), ""

    def deliver(self, call: Any) -> None:
        call()


def run(*squares: Box, **options: Any) -> tuple[list[Any], list[ManyFound], Context]:
    context, told = Context(Squares(*squares)), []
    source = ArraySource(np.zeros(SHAPE, np.uint8))
    job = ProposeInTiles(source, (), 200, tell=told.append, **options)
    while job.step(context):
        pass
    return [one for each in told for one in each.objects], told, context


def boxes(found: list[Any]) -> list[Box]:
    return sorted(one.region.bbox for one in found)


def test_every_object_is_found_once_however_many_tiles_see_it() -> None:
    squares = [
        (r, c, r + 20, c + 20) for r in range(5, 570, 45) for c in range(5, 870, 45)
    ]
    found, told, _ = run(*squares)
    assert boxes(found) == sorted(squares)
    assert told[-1].finished
    assert told[-1].done == told[-1].total


def test_what_all_tiles_cut_is_answered_whole_from_a_larger_one() -> None:
    long = (290, 100, 310, 640)
    found, _, context = run(long)
    assert boxes(found)[0][1] <= 100
    assert max(one.region.area for one in found) == 20 * 540
    assert len(found) == 1


def test_an_object_remembers_the_tile_that_it_was_drawn_from() -> None:
    (one,), _, context = run((20, 20, 40, 40))
    assert one.tile in context.looked
    assert one.tile is not None


def test_nothing_is_proposed_in_objects_that_are_there() -> None:
    known = Region.from_crop(np.ones((60, 60), bool), (0, 0), SHAPE)
    found, _, _ = run((20, 20, 40, 40), (300, 300, 320, 320), known=[known])
    assert boxes(found) == [(300, 300, 320, 320)]


def test_tiles_nearest_the_user_come_first() -> None:
    _, _, context = run(centre=(590, 890))
    apart = [
        np.hypot((t[0] + t[2]) / 2 - 590, (t[1] + t[3]) / 2 - 890)
        for t in context.looked
        if t is not None
    ]
    assert apart == sorted(apart)
    assert len(apart) > 10


def test_another_adapter_ends_it_and_what_was_found_stays() -> None:
    told: list[ManyFound] = []
    context = Context(Squares((20, 20, 40, 40)))
    source = ArraySource(np.zeros(SHAPE, np.uint8))
    job = ProposeInTiles(source, (), 200, tell=told.append, centre=(0, 0))
    assert job.step(context)
    context.busy = True
    assert job.step(context), "it gives way, and comes again"
    context.busy = False
    assert job.step(context)
    context.segmenter = Squares()
    assert not job.step(context)
    assert "chosen meanwhile" in told[-1].message
    assert sum(len(each.objects) for each in told) == 1
