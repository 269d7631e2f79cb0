"""Many objects are proposed a few at a time, nearest the view first, none twice."""

from __future__ import annotations

import itertools
from types import SimpleNamespace
from typing import Any

import numpy as np

from napari_promise.document import Region
from napari_promise.jobs.proposing_many import ManyFound, ProposeMany
from napari_promise.prompts import Prompts
from napari_promise.session import ArraySource

SHAPE = (400, 800)


def square(row: float, column: float, score: float, side: int = 10) -> Prompts:
    half = side / 2
    box = (row - half, column - half, row + half, column + half)
    return Prompts(points=[(row, column)], labels=[1], scores=[score], boxes=[box])


class Squares:
    """Finds squares in whatever it sees, and draws their boxes."""

    def __init__(self, *found: Prompts) -> None:
        self.found = found
        self.lots: list[int] = []
        self.searched: list[Any] = []

    def proposals(self, seen: Any, **_: Any) -> tuple[Prompts, ...]:
        self.searched.append(seen)
        r0, c0, r1, c1 = seen
        return tuple(
            p
            for p in self.found
            if r0 <= p.points[0][0] < r1 and c0 <= p.points[0][1] < c1
        )

    def segment_many(self, _emb: Any, asked: Any, **_options: Any) -> Any:
        self.lots.append(len(asked))
        for prompts in asked:
            r0, c0, r1, c1 = (int(v) for v in prompts.boxes[0])
            crop = np.ones((r1 - r0, c1 - c0), bool)
            region = Region.from_crop(crop, (r0, c0), SHAPE)
            yield SimpleNamespace(region=region, score=0.9, logits=None)


class Context:
    def __init__(self, segmenter: Any) -> None:
        self.segmenter = segmenter
        self.looked: list[Any] = []
        self.busy = False

    def must_give_way(self) -> bool:
        return self.busy

    def embedding(self, source: Any, tile: Any) -> tuple[Any, str]:
        self.looked.append(tile.bbox)
        return tile.bbox or (0, 0, *SHAPE), ""

    def deliver(self, call: Any) -> None:
        call()


def run(*found: Prompts, **options: Any) -> tuple[list[ManyFound], Context]:
    context, told = Context(Squares(*found)), []
    clock = itertools.count()
    source = ArraySource(np.zeros(SHAPE, np.uint8))
    job = ProposeMany(
        source, (), tell=told.append, clock=lambda: float(next(clock)), **options
    )
    while job.step(context):
        pass
    return told, context


def grid(rows: int, columns: int, side: int = 40) -> list[Prompts]:
    return [
        square(10 + side * r, 10 + side * c, 0.9 - 0.001 * (r * columns + c))
        for r in range(rows)
        for c in range(columns)
    ]


def test_objects_come_a_few_at_a_time_the_surest_first() -> None:
    asked = grid(8, 10)
    told, context = run(*asked)
    assert max(context.segmenter.lots) <= 16
    assert len([each for each in told if each.objects]) == 5
    came = [one.prompts for each in told for one in each.objects]
    assert came == asked
    assert [each.finished for each in told] == [*[False] * (len(told) - 1), True]
    assert all(each.done <= each.total for each in told)
    assert told[-1].done == told[-1].total


def test_nothing_is_proposed_where_an_object_is_nor_twice() -> None:
    known = Region.from_crop(np.ones((20, 20), bool), (0, 0), SHAPE)
    twin = square(52, 11, 0.2)
    told, _ = run(square(10, 10, 0.9), square(50, 10, 0.8), twin, known=[known])
    (one,) = [one for each in told for one in each.objects]
    assert one.prompts.points[0].tolist() == [50, 10]


def test_tiles_nearest_the_view_are_looked_at_first() -> None:
    asked = grid(10, 20)
    told, context = run(*asked, closer=True, centre=(390, 790))
    whole, *closer = context.segmenter.searched
    assert whole == (0, 0, *SHAPE)
    widest = max(c1 - c0 for _, c0, _, c1 in closer)
    tiles = [tile for tile in closer if tile[3] - tile[1] == widest]
    assert 4 < len(tiles) < len(closer), "boxes are told in smaller tiles"
    middles = [((r0 + r1) / 2 - 390, (c0 + c1) / 2 - 790) for r0, c0, r1, c1 in tiles]
    apart = [np.hypot(*middle) for middle in middles]
    assert apart == sorted(apart)
    came = [one.prompts.points[0].tolist() for each in told for one in each.objects]
    assert sorted(came) == sorted(p.points[0].tolist() for p in asked)
    assert np.hypot(came[0][0] - 390, came[0][1] - 790) < 300


def test_small_objects_are_drawn_from_tiles_that_hold_them_larger() -> None:
    asked = [square(row, 200, 0.9, 40) for row in (60, 200, 340)]
    far = square(200, 420, 0.8, 40)
    told, context = run(*asked, far, closer=True, centre=(200, 200))
    came = [one for each in told for one in each.objects]
    # large enough to be found in the whole; each tile they are drawn from tells boxes
    whole, *again = context.segmenter.searched
    assert whole == (0, 0, *SHAPE)
    assert again == list(dict.fromkeys(one.tile for one in came))
    assert {tuple(one.prompts.points[0]) for one in came} == {
        tuple(p.points[0]) for p in (*asked, far)
    }
    for one in came:
        r0, c0, r1, c1 = one.tile
        assert (r1 - r0, c1 - c0) == (320, 320)
        held = one.prompts.boxes[0]
        assert r0 <= held[0] - 10 or r0 == 0
        assert c0 <= held[1] - 10 or c0 == 0
        assert held[2] + 10 < r1 or r1 == SHAPE[0]
        assert held[3] + 10 < c1 or c1 == SHAPE[1]
    apart = [(one.tile[1] + one.tile[3]) / 2 - 200 for one in came]
    assert apart == sorted(apart, key=abs)
    far_off, _ = run(*asked, far, closer=False)
    assert {one.tile for each in far_off for one in each.objects} == {None}


def test_another_adapter_ends_it_and_what_was_found_stays() -> None:
    told: list[ManyFound] = []
    context = Context(Squares(*grid(4, 10)))
    clock = itertools.count()
    job = ProposeMany(
        ArraySource(np.zeros(SHAPE, np.uint8)),
        (),
        tell=told.append,
        clock=lambda: float(next(clock)),
    )
    assert job.step(context)
    assert job.step(context)
    context.busy = True
    assert job.step(context), "it gives way, and comes again"
    context.busy, context.segmenter = False, Squares()
    assert not job.step(context)
    assert told[-1].finished
    assert "chosen meanwhile" in told[-1].message
    assert sum(len(each.objects) for each in told) == 16
