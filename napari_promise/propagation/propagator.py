"""Objects carried through planes by a classifier that is fitted on the planes drawn.

How one object gets to a plane:

1. What is known of its shape there, as signed distances: between two drawn planes their
   interpolation, beyond the outermost the mask of the plane before.
2. A ridge classifier on the frozen embedding, fitted on the drawn planes and, going
   outward, on the last planes it drew itself, scores each cell.
3. Both are added; what is above zero and touches the shape is the object.
4. The contrast of the score between the object and a ring around it says how sure that
   is, and where the object ends.

Of a plane only normal equations, masks and one small map of scores are kept, never its
features.

Long because one object holds what was drawn and found, and each step changes both; what
they are lies in `state`, shapes in `shapes`, the outline in `outline`.
"""

from __future__ import annotations

import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import Region
from napari_promise.model.ridge import NormalEquations, Ridge
from napari_promise.propagation import shapes
from napari_promise.propagation.confidence import Signs, expected_dice
from napari_promise.propagation.grid import (
    Grid,
    PlaneFeatures,
    Window,
    around,
    cut,
    near,
)
from napari_promise.propagation.outline import REACH, Look, draft, load_outline
from napari_promise.propagation.results import PlaneResult, Source
from napari_promise.propagation.rules import Rules
from napari_promise.propagation.state import (
    Drawn,
    Found,
    Lesson,
    Tracked,
    Walk,
    overlap,
    region_of,
)

if TYPE_CHECKING:
    from napari_promise.model.sam import Embedding

__all__ = ["Propagator"]

#: Cells around an object among which its contrast is measured.
_RING = 3


class Propagator:
    """Carries objects through the planes of one stack.

    Parameters
    ----------
    embed : callable
        Plane -> its embedding. May be slow; a plane that was asked for is not asked for
        again by the next object.
    pixels : callable
        Plane -> (rows, columns) real numbers, 0 black and 1 white, with the contrast of
        the whole stack.
    planes : int
        How many there are.
    spacing : (float, float, float)
        Between planes, rows and columns, in one unit.
    rules : Rules, optional
    outline : callable, optional
        What is known of an object on a plane -> logits of the same cells; left out, the
        network of this package.
    confidence : callable, optional
        What speaks for a plane -> 0 to 1.

    Raises
    ------
    ValueError
        If the spacing is none.

    Notes
    -----
    Nothing here is safe to call from two threads at once.

    Examples
    --------
    >>> propagator = Propagator(embed, pixels, 30)  # doctest: +SKIP
    >>> propagator.set_plane(12, 1, mask)  # doctest: +SKIP
    >>> for result in propagator.run():  # doctest: +SKIP
    ...     show(result.plane, result.region)
    """

    def __init__(
        self,
        embed: Callable[[int], Embedding],
        pixels: Callable[[int], NDArray[Any]],
        planes: int,
        *,
        spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
        rules: Rules | None = None,
        outline: Callable[[Look], NDArray[np.float32]] | None = None,
        confidence: Callable[[Signs], float] = expected_dice,
    ) -> None:
        if len(spacing) != 3 or not all(np.isfinite(s) and s > 0 for s in spacing):
            raise ValueError(
                f"the spacing {spacing} is no size of a voxel: give three positive "
                "numbers, (between planes, rows, columns)."
            )
        self._embed = embed
        self._pixels = pixels
        self.planes = planes
        self._spacing = spacing
        self._rules = rules or Rules()
        self._outline = outline or load_outline().draw
        self._confidence = confidence
        self._objects: dict[int, Tracked] = {}
        self._grid: Grid | None = None
        self._looked_at: tuple[int, PlaneFeatures] | None = None
        #: The plane that the latest run looks at next; None where it is over.
        self.upcoming: int | None = None

    # What was drawn --------------------------------------------------------------

    @property
    def labels(self) -> tuple[int, ...]:
        """The objects that have a drawn plane, in order."""
        return tuple(sorted(self._objects))

    def drawn(self, label: int) -> tuple[int, ...]:
        """Return the planes of an object that somebody drew, in order."""
        known = self._objects.get(label)
        return () if known is None else tuple(sorted(known.drawn))

    def between(self, label: int, plane: int) -> tuple[int | None, int | None]:
        """Return the drawn planes next to a plane, which bound what it changes.

        Returns
        -------
        (int or None, int or None)
            The last one below and the first one above; None where there is none.
        """
        drawn = self.drawn(label)
        below = [other for other in drawn if other < plane]
        above = [other for other in drawn if other > plane]
        return (below[-1] if below else None, above[0] if above else None)

    def set_plane(
        self, plane: int, label: int, mask: NDArray[np.bool_] | Region | None
    ) -> None:
        """Learn from a plane that somebody drew, or drew again.

        Parameters
        ----------
        plane : int
        label : int
        mask : (rows, columns) bool, Region or None
            Nothing of it set, or None: the object is not on this plane, and ends before
            it.

        Raises
        ------
        ValueError
            If there is no such plane, or the mask has another shape.
        """
        if not 0 <= plane < self.planes:
            raise ValueError(
                f"there is no plane {plane}: the stack has planes 0 to "
                f"{self.planes - 1}."
            )
        at = self._at(plane)
        region = mask if isinstance(mask, Region) else None
        pixels = np.zeros(at.grid.shape, bool) if mask is None else mask
        if isinstance(pixels, Region):
            pixels = pixels.mask
        pixels = np.asarray(pixels, bool)
        if pixels.shape != at.grid.shape:
            raise ValueError(
                f"the mask has the shape {pixels.shape} and plane {plane} "
                f"{at.grid.shape}: pass a mask of this plane."
            )
        cells = at.grid.reduced_mask(pixels)
        known = self._objects.setdefault(label, Tracked())
        known.found.pop(plane, None)
        drawn = Drawn(
            cells,
            at.picture,
            region or Region.from_mask(pixels),
            self._lesson(at, cells) if cells.any() else None,
        )
        known.draw(plane, drawn)

    def remove_plane(self, plane: int, label: int | None = None) -> None:
        """Forget a drawn plane, of one object or of all: as if it had never been."""
        for each in self.labels if label is None else (label,):
            known = self._objects.get(each)
            if known is None:
                continue
            known.draw(plane, None)
            if not known.drawn:
                del self._objects[each]

    def forget_found(self) -> None:
        """Forget what was worked out, and keep what was learned of drawn planes."""
        for known in self._objects.values():
            known.found.clear()

    def refined(
        self,
        plane: int,
        label: int,
        mask: NDArray[np.bool_],
        points: NDArray[np.float64] | None = None,
        polarity: NDArray[np.int64] | None = None,
    ) -> NDArray[np.bool_]:
        """Draw a rough mask's outline anew, by the classifier that it teaches itself.

        Parameters
        ----------
        plane, label : int
            Planes of this object that were drawn teach too.
        mask : (rows, columns) bool
            As the decoder answered a few clicks.
        points : (N, 2) float64, optional
            These clicks, (row, column).
        polarity : (N,) int64, optional
            1 include, 0 exclude.

        Returns
        -------
        (rows, columns) bool
            The mask as it was, where the new one would leave out a click or break with
            it.
        """
        at = self._at(plane)
        cells = at.grid.reduced_mask(mask)
        if not cells.any():
            return mask
        known = self._objects.get(label, Tracked())
        parts = [
            (1.0, each.lesson.equations)
            for where, each in sorted(known.drawn.items())
            if each.lesson is not None and where != plane
        ]
        parts.append((1.0, self._lesson(at, cells).equations))
        total = NormalEquations.sum(parts)
        assert total is not None
        window = around(cells, self._margin(at.grid, cells))
        inside = cut(window)
        examples = at.within(window)
        score = total.solve(self._rules.penalty).scores(
            examples.reshape(-1, examples.shape[-1])
        )
        score = score.reshape(examples.shape[:2])
        prior = shapes.signed_distance(cells, self._sampling(at.grid))[inside]
        look = Look(
            at.picture[inside],
            score,
            prior,
            at.picture[inside],
            cells[inside],
            0,
            False,
            plane,
            window,
        )
        drawn = self._rules.refined * self._outline(look)
        drawn = drawn + (1 - self._rules.refined) * draft(score, prior)
        clean = shapes.cleaned(drawn > 0, cells[inside])
        drawn = np.where(clean, np.maximum(drawn, 1e-3), np.minimum(drawn, -1e-3))
        field_, (row, column) = at.grid.enlarged(drawn, window)
        found = np.zeros(at.grid.shape, bool)
        found[row : row + field_.shape[0], column : column + field_.shape[1]] = (
            field_ > 0
        )
        if points is not None and polarity is not None and len(points):
            limit = np.array(at.grid.shape) - 1
            rows, columns = np.rint(points).astype(np.int64).clip(0, limit).T
            if (found[rows, columns] != (polarity == 1)).any():
                return mask
        return found if found.any() else mask

    # Propagation -----------------------------------------------------------------

    def results(self, label: int) -> tuple[PlaneResult, ...]:
        """Return what is known of an object, drawn planes included, in order."""
        known = self._objects.get(label)
        if known is None:
            return ()
        found = {plane: each.result for plane, each in known.found.items()}
        for plane, drawn in known.drawn.items():
            shape = drawn.mask.shape if self._grid is None else self._grid.shape
            found[plane] = PlaneResult(
                plane, label, shape, drawn.region, 1.0, "prompted"
            )
        return tuple(found[plane] for plane in sorted(found))

    def run(
        self,
        z_range: tuple[int, int] | None = None,
        labels: Iterable[int] | None = None,
        between: tuple[int | None, int | None] | None = None,
    ) -> Iterator[PlaneResult]:
        """Work out the planes that nobody drew, nearest to the drawn ones first.

        Each step encodes one plane at most. Leaving the iterator anywhere keeps what it
        has yielded. Where two objects meet, a pixel is that object's whose classifier
        is surer of it; the other one's plane is then yielded again.

        Parameters
        ----------
        z_range : (int, int), optional
            First and last plane that may be drawn on.
        labels : iterable of int, optional
            Only these objects.
        between : (int or None, int or None), optional
            Only planes strictly between these two, as after a correction: see
            `Propagator.between`.

        Yields
        ------
        PlaneResult
            Never of a plane that somebody drew. An empty one for a plane that was
            part of the object before and is not any more.
        """
        first, last = (0, self.planes - 1) if z_range is None else z_range
        low, high = between or (None, None)
        first = max(first, 0 if low is None else low + 1)
        last = min(last, self.planes - 1 if high is None else high - 1)
        chosen = self.labels if labels is None else tuple(dict.fromkeys(labels))
        queue: list[tuple[int, int, int, Walk]] = []
        unreached: list[tuple[int, list[int]]] = []
        for label in chosen:
            reached: set[int] = set()
            for walk in self._walks(label, first, last):
                reached.update(walk.planes)
                queue.append((walk.distance, walk.planes[0], len(queue), walk))
            unreached.append((label, sorted(set(range(first, last + 1)) - reached)))
        heapq.heapify(queue)
        self.upcoming = queue[0][1] if queue else None
        return self._through(queue, unreached)

    def _through(
        self,
        queue: list[tuple[int, int, int, Walk]],
        unreached: list[tuple[int, list[int]]],
    ) -> Iterator[PlaneResult]:
        """Go the walks of a queue, the one whose next plane is nearest first."""
        for label, planes in unreached:
            yield from self._taken_back(label, planes)
        while queue:
            *_, number, walk = heapq.heappop(queue)
            plane = walk.planes.pop(0)
            found = list(self._advance(walk, plane))
            if walk.planes:
                heapq.heappush(queue, (walk.distance, walk.planes[0], number, walk))
            self.upcoming = queue[0][1] if queue else None
            yield from found

    def _walks(self, label: int, first: int, last: int) -> Iterator[Walk]:
        known = self._objects.get(label)
        if known is None:
            return
        drawn = sorted(known.drawn)
        gaps = zip([None, *drawn], [*drawn, None], strict=True)
        for low, high in gaps:
            bottom = first if low is None else max(first, low + 1)
            top = last if high is None else min(last, high - 1)
            planes = list(range(bottom, top + 1))
            if not planes:
                continue
            ends = [p for p in (low, high) if p is not None and known.drawn[p].lesson]
            if not ends:
                continue
            if len(ends) == 2:
                start, end = ends
                planes.sort(key=lambda p: (min(p - start, end - p), p))
            else:
                start, end = ends[0], None
                if start == high:
                    planes.reverse()
            yield Walk(
                label,
                planes,
                start,
                end,
                known.drawn[start].mask,
                known.drawn[start].picture,
                deque(maxlen=self._rules.memory),
            )

    def _advance(self, walk: Walk, plane: int) -> Iterator[PlaneResult]:
        known = self._objects.get(walk.label)
        ends = {walk.start} if walk.end is None else {walk.start, walk.end}
        if known is None or not ends <= known.drawn.keys():  # forgotten meanwhile
            walk.planes.clear()
            return
        at = self._at(plane)
        prior, seed = self._prior(walk, plane, at.grid)
        source: Source = "propagated" if walk.end is None else "interpolated"
        if not seed.any():
            yield from self._end(walk, plane, source, 0.0, "nothing is left of it")
            return
        window = around(seed, self._margin(at.grid, seed))
        inside = cut(window)
        examples = at.within(window)
        flat = examples.reshape(-1, examples.shape[-1])
        if known.ridge is None:
            known.ridge = self._ridge(known)
        drawn = known.ridge
        ridge = self._ridge(known, walk.lessons) if walk.lessons else drawn
        score = ridge.scores(flat).reshape(examples.shape[:2])
        look = self._look(walk, plane, at, score, prior, window)
        total = self._outline(look)
        if walk.end is not None:
            # The nearer the drawn planes, the more their shapes say.
            total = total + self._rules.shape / look.far * prior[inside]
        else:
            share = self._rules.outline
            total = share * total + (1 - share) * draft(score, prior[inside])
        cells = shapes.cleaned(total > 0, seed[inside])
        if walk.end is not None and not cells.any():
            cells = seed[inside]  # it goes on behind this plane, so it is on it
        if not cells.any():
            yield from self._end(walk, plane, source, 0.0, "nothing is left of it")
            return
        signs = Signs(
            self._contrast(drawn, known, flat, cells),
            float((1 / (1 + np.exp(-total[cells]))).mean()),
            _area(cells) / max(_area(each.mask) for each in known.drawn.values()),
            _dice(cells, seed[inside]),
        )
        confidence = self._confidence(signs)
        unlike = signs.contrast < self._rules.contrast
        if walk.end is None and (unlike or confidence < self._rules.stop):
            why = _why(signs)
            yield from self._end(walk, plane, source, confidence, why)
            return
        total = np.where(cells, np.maximum(total, 1e-3), np.minimum(total, -1e-3))
        result = PlaneResult(plane, walk.label, at.grid.shape, None, confidence, source)
        found = Found(result, total.astype(np.float16), window)
        walk.picture = at.picture
        walk.mask = np.zeros(at.grid.cells, bool)
        walk.mask[inside] = cells
        if walk.end is None and self._rules.memory and walk.planes:
            walk.lessons.append(self._lesson(at, walk.mask).equations)
        yield from self._settled(plane, walk.label, found, at.grid)

    def _end(
        self, walk: Walk, plane: int, source: Source, confidence: float, why: str
    ) -> Iterator[PlaneResult]:
        """Say that the object ends before a plane, and take back what lay beyond."""
        shape = self._at(plane).grid.shape
        result = PlaneResult(plane, walk.label, shape, None, confidence, source, why)
        self._objects[walk.label].found[plane] = Found(result)
        yield result
        if walk.end is None:
            beyond, walk.planes = walk.planes, []
            yield from self._taken_back(walk.label, beyond)

    def _taken_back(self, label: int, planes: Iterable[int]) -> Iterator[PlaneResult]:
        """Empty planes that the object was found on and does not reach any more."""
        known = self._objects.get(label)
        for plane in () if known is None else planes:
            assert known is not None
            before = known.found.pop(plane, None)
            if before is not None and before.result.region is not None:
                yield replace(before.result, region=None, confidence=0.0)

    def _settled(
        self, plane: int, label: int, found: Found, grid: Grid
    ) -> Iterator[PlaneResult]:
        """Share the pixels among the objects on a plane; yield those that changed."""
        self._objects[label].found[plane] = found
        for other in self.labels:
            one = self._objects[other].found.get(plane)
            if one is None or one.scores is None:
                continue
            if other != label and not overlap(one.window, found.window):
                continue
            region = region_of(plane, other, self._objects, grid)
            if other == label or region != one.result.region:
                result = replace(one.result, region=region)
                self._objects[other].found[plane] = replace(one, result=result)
                yield result

    def _look(
        self,
        walk: Walk,
        plane: int,
        at: PlaneFeatures,
        score: NDArray[np.float32],
        prior: NDArray[np.float32],
        window: Window,
    ) -> Look:
        """Gather what the outline is drawn from."""
        inside, drawn = cut(window), self._objects[walk.label].drawn
        mask, picture, far = walk.mask, walk.picture, abs(plane - walk.start)
        if walk.end is not None:
            far = min(far, abs(plane - walk.end))
            near = walk.start if far == abs(plane - walk.start) else walk.end
            mask, picture = drawn[near].mask, drawn[near].picture
        return Look(
            at.picture[inside],
            score,
            prior[inside],
            picture[inside],
            mask[inside],
            far,
            walk.end is not None,
            plane,
            window,
        )

    # The parts of a step ---------------------------------------------------------

    def _at(self, plane: int) -> PlaneFeatures:
        if self._looked_at is None or self._looked_at[0] != plane:
            pixels = np.asarray(self._pixels(plane), np.float32)
            shape = (pixels.shape[0], pixels.shape[1])
            if self._grid is None:
                self._grid = Grid.of(shape, self._rules.cells)
            self._looked_at = (
                plane,
                PlaneFeatures(self._grid, self._embed(plane), pixels),
            )
        return self._looked_at[1]

    def _margin(self, grid: Grid, seed: NDArray[np.bool_]) -> int:
        """Return how far around a shape the object may reach, in cells."""
        reach = REACH * self._rules.softness * max(grid.cells)
        size = 0.4 * float(np.sqrt(np.count_nonzero(seed)))
        return int(np.ceil(max(reach, size))) + 2 + _RING

    def _sampling(self, grid: Grid) -> tuple[float, float]:
        """Return a cell's size in units of the softness."""
        rows, columns = (
            step * size
            for step, size in zip(grid.steps, self._spacing[1:], strict=True)
        )
        longest = max(grid.cells[0] * rows, grid.cells[1] * columns)
        unit = self._rules.softness * longest
        return rows / unit, columns / unit

    def _prior(
        self, walk: Walk, plane: int, grid: Grid
    ) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
        """Return what is known of the shape on a plane: distances, and the mask."""
        sampling = self._sampling(grid)
        if walk.end is None:
            return shapes.signed_distance(walk.mask, sampling), walk.mask
        drawn = self._objects[walk.label].drawn
        share = (plane - walk.start) / (walk.end - walk.start)
        distances = shapes.interpolated(
            drawn[walk.start].mask, drawn[walk.end].mask, share, sampling
        )
        return distances, distances > 0

    def _lesson(self, at: PlaneFeatures, cells: NDArray[np.bool_]) -> Lesson:
        reach = max(_RING + 1.0, self._rules.around * max(at.grid.cells))
        window = around(cells, int(np.ceil(reach)))
        examples = at.within(window)
        part = cells[cut(window)]
        flat, mask = examples.reshape(-1, examples.shape[-1]), part.reshape(-1)
        outside = shapes.ring(part, _RING).reshape(-1)
        return Lesson(
            NormalEquations.of_mask(flat, mask, where=near(part, reach).reshape(-1)),
            flat[mask].mean(0),
            flat[outside].mean(0) if outside.any() else flat.mean(0),
        )

    def _ridge(self, known: Tracked, lessons: Iterable[NormalEquations] = ()) -> Ridge:
        parts = [
            (1.0, each.lesson.equations)
            for _, each in sorted(known.drawn.items())
            if each.lesson is not None
        ]
        parts += [(self._rules.memory_weight, each) for each in lessons]
        total = NormalEquations.sum(parts)
        assert total is not None, "a walk starts at a plane that was drawn"
        return total.solve(self._rules.penalty)

    def _contrast(
        self,
        ridge: Ridge,
        known: Tracked,
        flat: NDArray[np.float32],
        cells: NDArray[np.bool_],
    ) -> float:
        """Return an object's contrast beside that on the planes that were drawn."""
        outside = shapes.ring(cells, _RING).reshape(-1)
        inside = cells.reshape(-1)
        if not inside.any() or not outside.any():
            return 0.0
        scores = ridge.scores(flat)
        here = float(scores[inside].mean() - scores[outside].mean())
        drawn = [e.lesson.contrast(ridge) for e in known.drawn.values() if e.lesson]
        return here / max(1e-6, float(np.mean(drawn)))


def _dice(one: NDArray[np.bool_], other: NDArray[np.bool_]) -> float:
    return 2 * _area(one & other) / max(1, _area(one) + _area(other))


def _area(mask: NDArray[np.bool_]) -> int:
    return int(np.count_nonzero(mask))


def _why(signs: Signs) -> str:
    """Say in words what speaks most against a plane."""
    if signs.contrast < 0.5:
        return f"its contrast is down to {max(0.0, signs.contrast):.0%}"
    if signs.area < 0.2:
        return f"it is down to {signs.area:.0%} of its size"
    return "its outline is unsure"
