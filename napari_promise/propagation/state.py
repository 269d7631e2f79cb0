"""What is kept of objects on their way through planes, and whose a shared pixel is."""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import Region
from napari_promise.model.ridge import NormalEquations, Ridge
from napari_promise.propagation.grid import Grid, Window, cut
from napari_promise.propagation.results import PlaneResult

__all__ = ["Drawn", "Found", "Lesson", "Tracked", "Walk", "overlap", "region_of"]


@dataclass(frozen=True, eq=False)
class Lesson:
    """What a mask teaches: the classifier's equations, and two mean vectors."""

    equations: NormalEquations
    inside: NDArray[np.float32]
    outside: NDArray[np.float32]

    def contrast(self, ridge: Ridge) -> float:
        """Return how much higher a classifier scores the object than its ring."""
        return float(ridge.weights @ (self.inside - self.outside))


@dataclass(frozen=True, eq=False)
class Drawn:
    """A plane that somebody drew; without lesson where the object is not on it."""

    mask: NDArray[np.bool_]  # on the grid
    picture: NDArray[np.float32]  # on the grid
    region: Region | None
    lesson: Lesson | None


@dataclass(frozen=True, eq=False)
class Found:
    """A plane that was worked out."""

    result: PlaneResult
    scores: NDArray[np.float16] | None = None  # above zero: the object
    window: Window = (0, 0, 0, 0)


@dataclass(eq=False)
class Tracked:
    """One object: the planes that somebody drew, and those that were worked out."""

    drawn: dict[int, Drawn] = field(default_factory=dict)
    found: dict[int, Found] = field(default_factory=dict)
    ridge: Ridge | None = None  # of the drawn planes; None until it is asked for

    def draw(self, plane: int, drawn: Drawn | None) -> None:
        """Take what somebody drew on a plane; None forgets it."""
        self.ridge = None
        if drawn is None:
            self.drawn.pop(plane, None)
        else:
            self.drawn[plane] = drawn


@dataclass(eq=False)
class Walk:
    """An object on its way through the planes between two drawn ones, or beyond."""

    label: int
    planes: list[int]  # still to come, nearest first
    start: int  # the drawn plane it comes from
    end: int | None  # the drawn plane on the other side; None where there is none
    mask: NDArray[np.bool_]  # on the plane before
    picture: NDArray[np.float32]  # of the plane before
    lessons: deque[NormalEquations]

    @property
    def distance(self) -> int:
        """Planes from the next one to the nearest that was drawn."""
        plane = self.planes[0]
        far = abs(plane - self.start)
        return far if self.end is None else min(far, abs(self.end - plane))


def region_of(
    plane: int, label: int, objects: Mapping[int, Tracked], grid: Grid
) -> Region | None:
    """Return an object's pixels without those that are more another object's."""
    found = objects[label].found[plane]
    assert found.scores is not None, "a plane where the object ends has no scores"
    mine, origin = grid.enlarged(found.scores.astype(np.float32), found.window)
    mask = mine > 0
    box = (*origin, origin[0] + mask.shape[0], origin[1] + mask.shape[1])
    for other, known in objects.items():
        if other == label:
            continue
        drawn, rival = known.drawn.get(plane), known.found.get(plane)
        if drawn is not None and drawn.region is not None:
            theirs = drawn.region.mask[cut(box)]
            mask &= ~theirs
        elif rival is not None and rival.scores is not None:
            if not overlap(rival.window, found.window):
                continue
            field_, start = grid.enlarged(rival.scores.astype(np.float32), rival.window)
            whole = np.full(grid.shape, -np.inf, np.float32)
            whole[
                start[0] : start[0] + field_.shape[0],
                start[1] : start[1] + field_.shape[1],
            ] = field_
            part = whole[cut(box)]
            mask &= (part < mine) if other < label else (part <= mine)
    return Region.from_crop(mask, origin, grid.shape)


def overlap(one: Window, other: Window) -> bool:
    """Whether two windows have cells in common."""
    return (
        one[0] < other[2]
        and other[0] < one[2]
        and one[1] < other[3]
        and other[1] < one[3]
    )
