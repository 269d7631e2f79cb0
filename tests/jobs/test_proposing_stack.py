"""Proposing through a stack as a job: progress, giving way, votes, errors."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_promise.document import Region
from napari_promise.jobs.proposing_stack import ProposeStack, StackProposal
from napari_promise.prompts import Prompts
from napari_promise.propagation import PlaneResult
from napari_promise.segmentation import Segmentation
from napari_promise.session import ArraySource

PLANES, SHAPE = 6, (30, 40)


def square(side: int, at: int = 4) -> Region:
    mask = np.zeros(SHAPE, bool)
    mask[at : at + side, at : at + side] = True
    region = Region.from_mask(mask)
    assert region is not None
    return region


class Copier:
    """A propagator that finds on every plane what was drawn on the one it knows."""

    def __init__(self, embed: Any, pixels: Any, planes: int, *, spacing: Any) -> None:
        self.embed, self.upcoming = embed, None
        self.drawn: dict[int, np.ndarray] = {}

    def set_plane(self, plane: int, label: int, mask: np.ndarray) -> None:
        self.embed(plane)
        self.drawn[plane] = mask

    def remove_plane(self, plane: int, label: int) -> None:
        del self.drawn[plane]

    def run(self, z_range: tuple[int, int], labels: list[int]) -> Any:
        ((known, mask),) = self.drawn.items()
        planes = [p for p in range(z_range[0], z_range[1] + 1) if p != known]
        self.upcoming = planes[0]
        return self.go(planes, mask, labels[0])

    def go(self, planes: list[int], mask: np.ndarray, label: int) -> Any:
        for at, plane in enumerate(planes):
            self.embed(plane)
            self.upcoming = planes[at + 1] if at + 1 < len(planes) else None
            region = Region.from_mask(mask)
            yield PlaneResult(plane, label, SHAPE, region, 0.9, "propagated")


class Adapted:
    """Proposes a square on each plane, as its embedding says; None for nothing."""

    model_id = "micro"
    finds_many = False

    def proposals(self, embedding: Any) -> tuple[Prompts, ...]:
        if embedding is None:
            return ()
        return (Prompts(points=[(5, 5)], labels=[1], scores=[0.9]),)

    def segment_many(self, embedding: Any, prompts: Any, **_options: Any) -> Any:
        logits = np.zeros((1, 3, 4), np.float32)
        return tuple(Segmentation(SHAPE, embedding, 0.5, logits) for _ in prompts)


class Context:
    def __init__(self, planes: dict[int, Region | None]) -> None:
        self.segmenter: Any = Adapted()
        self.planes = planes
        self.busy: list[int] = []

    def embedding(self, source: Any, tile: Any) -> tuple[Any, str]:
        plane = tile.plane[-1]
        if plane in self.busy:
            self.busy.remove(plane)
            raise RuntimeError("stopped")
        return self.planes.get(plane), ""

    def must_give_way(self) -> bool:
        return False

    def deliver(self, call: Any) -> None:
        call()


def run(planes: dict[int, Region | None], *, busy: Any = ()) -> list[StackProposal]:
    context, told = Context(planes), []
    context.busy = list(busy)
    job = ProposeStack(
        ArraySource(np.zeros((PLANES, *SHAPE), np.uint8)),
        (),
        spacing=(1, 1, 1),
        z_range=(0, PLANES - 1),
        tell=told.append,
        make=Copier,
    )
    more = True
    while more:
        try:
            more = job.step(context)
        except RuntimeError:
            pass  # it gave way: the step comes again
    return told


@pytest.fixture
def agreeing() -> dict[int, Region | None]:
    """A square on every plane but the last; on plane 3 it lies elsewhere."""
    planes: dict[int, Region | None] = {plane: square(9) for plane in range(5)}
    return {**planes, 3: square(6, 22)}


def test_what_agrees_is_handed_over_with_its_votes(agreeing: Any) -> None:
    *asked, last = run(agreeing)
    assert [each.asked for each in asked] == [1, 2, 3, 4, 5, 6]
    assert last.finished
    assert [one.plane for one in last.objects] == [(0,), (1,), (2,), (4,)]
    assert all(one.score == 1.0 for one in last.objects)
    assert last.outvoted == 1


def test_giving_way_changes_nothing(agreeing: Any) -> None:
    quiet = run(agreeing)[-1]
    held_up = run(agreeing, busy=[2, 0, 3, 3, 4, 1])[-1]
    assert [o.plane for o in held_up.objects] == [o.plane for o in quiet.objects]


def test_nothing_proposed_is_nothing_found() -> None:
    last = run({})[-1]
    assert last.finished
    assert not last.objects
    assert not last.message


def test_an_adapter_of_many_objects_is_refused_in_a_line() -> None:
    context, told = Context({}), []
    context.segmenter = SimpleNamespace(finds_many=True)
    job = ProposeStack(
        ArraySource(np.zeros((PLANES, *SHAPE), np.uint8)),
        (),
        spacing=(1, 1, 1),
        z_range=(0, 2),
        tell=told.append,
    )
    assert not job.step(context)
    assert told[-1].finished
    assert "many objects" in told[-1].message
