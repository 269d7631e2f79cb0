"""Propagating as a job: what is kept between runs, and giving way to a click."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from napari_promise.document import Region
from napari_promise.jobs.propagating import Memory, Propagate
from napari_promise.propagation import PlaneResult
from napari_promise.session import ArraySource

PLANES, SHAPE = 5, (12, 16)


class Recorder:
    """A propagator that notes what it is told, and finds the same everywhere."""

    def __init__(self, embed: Any, pixels: Any, planes: int, *, spacing: Any) -> None:
        self.embed, self.upcoming = embed, None
        self.told: list[tuple[str, int, int]] = []
        self.forgot = 0

    def set_plane(self, plane: int, label: int, region: Region | None) -> None:
        self.embed(plane)
        self.told.append(("set", label, plane))

    def remove_plane(self, plane: int, label: int) -> None:
        self.told.append(("remove", label, plane))

    def forget_found(self) -> None:
        self.forgot += 1

    def run(self, z_range: Any, labels: Any) -> Any:
        planes = list(range(z_range[0], z_range[1] + 1))
        self.upcoming = planes[0]
        return self.go(planes, labels[0])

    def go(self, planes: list[int], label: int) -> Any:
        for plane in planes:
            self.embed(plane)
            self.upcoming = min(plane + 1, planes[-1])
            yield PlaneResult(plane, label, SHAPE, None, 0.5, "propagated")


class Context:
    """Encodes planes; the next ones of `busy` fail as when somebody clicks."""

    def __init__(self) -> None:
        self.segmenter = SimpleNamespace(model_id="micro")
        self.encoded: list[int] = []
        self.busy: list[int] = []

    def embedding(self, source: Any, tile: Any) -> tuple[str, str]:
        plane = tile.plane[-1]
        if plane in self.busy:
            self.busy.remove(plane)
            raise RuntimeError("stopped")
        self.encoded.append(plane)
        return f"embedding {plane}", "digest"

    def must_give_way(self) -> bool:
        return False

    def deliver(self, call: Any) -> None:
        call()


def square(side: int) -> Region:
    mask = np.zeros(SHAPE, bool)
    mask[2 : 2 + side, 3 : 3 + side] = True
    region = Region.from_mask(mask)
    assert region is not None
    return region


@pytest.fixture
def setting() -> Any:
    """Runs jobs on one stack: what they found, what made them, and the context."""
    context, memory = Context(), Memory()
    made: list[Recorder] = []
    found: list[PlaneResult] = []

    def make(*arguments: Any, **options: Any) -> Recorder:
        made.append(Recorder(*arguments, **options))
        return made[-1]

    def run(objects: Any, z_range: tuple[int, int] = (0, 0)) -> None:
        job = Propagate(
            ArraySource(np.zeros((PLANES, *SHAPE), np.uint8)),
            (),
            objects,
            tuple(objects)[:1],
            spacing=(1, 1, 1),
            z_range=z_range,
            found=lambda result, _logits: found.append(result),
            ended=lambda _why: None,
            memory=memory,
            make=make,
        )
        more = True
        while more:
            try:
                more = job.step(context)
            except RuntimeError:
                pass  # it gave way: the step comes again
        job.close()

    return SimpleNamespace(
        run=run, made=made, found=found, context=context, memory=memory
    )


def test_a_second_run_learns_only_what_is_new(setting: Any) -> None:
    first, second = square(3), square(4)
    setting.run({1: {2: first}})
    setting.run({1: {2: first, 4: second}})
    (made,) = setting.made
    assert made.told == [("set", 1, 2), ("set", 1, 4)]


def test_a_plane_that_is_drawn_no_more_is_forgotten_and_a_changed_one_relearned(
    setting: Any,
) -> None:
    setting.run({1: {2: square(3), 3: square(3)}})
    setting.run({1: {2: square(5)}})
    assert setting.made[0].told[2:] == [("remove", 1, 3), ("set", 1, 2)]


def test_what_was_found_is_forgotten_after_an_undo(setting: Any) -> None:
    region = square(3)
    setting.run({1: {2: region}})
    setting.memory.forget_found()
    setting.run({1: {2: region}})
    assert setting.made[0].forgot == 1
    setting.run({1: {2: region}})
    assert setting.made[0].forgot == 1


def test_another_model_begins_anew(setting: Any) -> None:
    setting.run({1: {2: square(3)}})
    setting.context.segmenter.model_id = "other"
    setting.run({1: {2: square(3)}})
    assert len(setting.made) == 2


def test_giving_way_while_a_plane_is_encoded_loses_nothing(setting: Any) -> None:
    setting.context.busy = [2, 1, 3]
    setting.run({1: {2: square(3)}}, (0, 4))
    assert [result.plane for result in setting.found] == [0, 1, 2, 3, 4]
    assert len(setting.made) == 1


def test_a_plane_is_encoded_once_in_a_row(setting: Any) -> None:
    setting.run({1: {2: square(3)}}, (0, 2))
    assert setting.context.encoded == [2, 0, 1, 2]
