"""Which part of a plane a model has to see for an object: rules, without any pixels.

A model sees a fixed number of pixels, whatever it is shown: an object of a hundredth of
the image is a few of them. So it is shown the object with some surroundings. Tiles are
squares of a few sides, at places a quarter of their side apart, so that another click,
or another object beside it, most often asks for a tile that is encoded already.

The rule, measured by `benchmarks/regions.py` and `scripts.checks.choose_tiles`:

1. The tile is `AROUND` times as long as the object: its box, its mask, or what was
   found at first; where only points say where it is, as long as the view.
2. It holds all prompts and what is known of the object, with a halo, unless the plane
   ends there.
3. Where that is most of the plane, the plane itself is the tile.
4. A click alone is asked of the finer tile on top of the mask that was found, unless
   that is doubtful: the object stays the same, its outline gets sharper, see `closer`.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from napari_promise.document.regions import BBox, union_bbox
from napari_promise.prompts import Prompts

__all__ = [
    "AROUND",
    "Verdict",
    "after_answer",
    "at_once",
    "better_tile",
    "is_cut",
    "is_finer",
    "next_tile",
    "tile_for",
]

#: Side of a tile over the longest side of the object that it is for, at least.
AROUND = 4.0
#: The least share of the tile's side that is left free around everything it holds.
HALO = 1 / 8
#: Where a tile would be longer than this share of the plane, the plane is shown.
MOST = 0.6
#: The smallest tile, in pixels: there is no more to see in fewer.
LEAST = 64
#: So many tiles are tried at most after the first answer.
ROUNDS = 4
#: A tile so many times smaller than another one is worth to be encoded instead of it.
FINER = 2.0


def tile_for(
    prompts: Prompts,
    view: BBox | None,
    shape: tuple[int, int],
    *,
    known: BBox | None = None,
    around: float = AROUND,
) -> BBox | None:
    """Choose the part of a plane to be encoded for an object, or for a view.

    Parameters
    ----------
    prompts : Prompts
        Of the object; may be empty.
    view : BBox or None
        What is on the screen; None where that is not known, or does not matter.
    shape : (int, int)
        Rows and columns of the plane.
    known : BBox, optional
        Bounding box of what was found of the object so far.
    around : float
        See `AROUND`.

    Returns
    -------
    BBox or None
        None for the whole plane.

    Examples
    --------
    >>> tile_for(Prompts(points=[(5000, 7000)]), None, (20_000, 20_000))
    >>> tile_for(
    ...     Prompts(boxes=[(5000, 7000, 5060, 7040)]), None, (20_000, 20_000)
    ... )
    (4928, 6912, 5184, 7168)
    """
    sized = union_bbox(_box_of(prompts), known)
    held = union_bbox(sized, _points_of(prompts))
    if sized is not None:
        side = around * _longest(sized)
    elif view is not None:
        side = float(_longest(view))
        held = held or _middle(view)
    else:
        return None
    assert held is not None
    return _snapped(max(side, _longest(held)), held, shape)


def next_tile(
    prompts: Prompts,
    view: BBox | None,
    shape: tuple[int, int],
    *,
    known: BBox | None,
    tile: BBox | None,
) -> BBox | None:
    """Choose the tile for edited prompts of an object that was answered from `tile`.

    Parameters
    ----------
    prompts, view, shape
        See `tile_for`.
    known : BBox or None
        Bounding box of the object's mask; None where it has none yet.
    tile : BBox or None
        What that mask was drawn from.

    Returns
    -------
    BBox or None
        The same tile where it still serves: the mask goes on being drawn from the same
        pixels.
    """
    wanted = tile_for(prompts, view, shape, known=known)
    held = union_bbox(_box_of(prompts), _points_of(prompts), known)
    if known is None or held is None or not _holds(tile, held, shape):
        return wanted
    return wanted if is_finer(wanted, tile, shape) else tile


def better_tile(
    prompts: Prompts,
    view: BBox | None,
    shape: tuple[int, int],
    *,
    found: BBox | None,
    tile: BBox | None,
    around: float = AROUND,
) -> BBox | None:
    """Say from which tile an answer would be better than from the one it came from.

    Parameters
    ----------
    prompts, view, shape, around
        See `tile_for`.
    found : BBox or None
        Bounding box of the answer; None where it is empty.
    tile : BBox or None
        What it was drawn from.

    Returns
    -------
    BBox or None
        A finer tile where the object is small in `tile`, a coarser one where `tile`
        cuts it, else `tile` itself.
    """
    if _box_of(prompts) is None and view is not None:
        # From so far away a click says too little for its answer to be trusted.
        seen = tile_for(prompts, view, shape)
        if is_finer(seen, tile, shape):
            return seen
    if found is None:
        return tile
    wanted = tile_for(prompts, None, shape, known=found, around=around)
    if is_finer(wanted, tile, shape):
        return wanted
    if is_cut(found, tile, shape):
        assert tile is not None
        larger = tile_for(prompts, None, shape, known=_grown(tile, shape), around=1)
        return larger if is_finer(tile, larger, shape) else None
    return tile


@dataclass(frozen=True)
class Verdict:
    """What is to be done with an answer.

    Attributes
    ----------
    show : bool
        Whether it is better than what is shown.
    again : bool
        Whether another tile promises more.
    tile : BBox or None
        That tile, where `again`.
    refine : bool
        Whether the answer itself says to that tile which object is meant, see
        `closer.answer_closer`.
    """

    show: bool
    again: bool = False
    tile: BBox | None = None
    refine: bool = False


def after_answer(
    prompts: Prompts,
    view: BBox | None,
    shape: tuple[int, int],
    *,
    found: BBox | None,
    tile: BBox | None,
    shown: BBox | None = None,
    rounds: int = 0,
    around: float = AROUND,
) -> Verdict:
    """Judge an answer: whether it is shown, and whether to look again elsewhere.

    Parameters
    ----------
    prompts, view, shape, around
        See `tile_for`.
    found : BBox or None
        Bounding box of the answer; None where it is empty.
    tile : BBox or None
        What it was drawn from.
    shown : BBox or None
        The tile of the answer that is shown, after the first round.
    rounds : int
        How many answers there were before; the first one is always shown.

    Returns
    -------
    Verdict
    """
    first = rounds == 0
    if found is None:
        if not first:
            return Verdict(show=False)
        view_tile = tile_for(prompts, view, shape)
        return Verdict(True, is_finer(view_tile, tile, shape), view_tile)
    # Nothing is lost: what a closer look cuts off was whole from farther away.
    loses = not first and is_cut(found, tile, shape) and is_finer(tile, shown, shape)
    wanted = better_tile(
        prompts,
        view if first else None,
        shape,
        found=found,
        tile=tile,
        around=around,
    )
    again = wanted != tile and rounds < ROUNDS
    if loses:
        again = again and is_finer(wanted, shown, shape)
    if not again:
        return Verdict(not loses)
    sized = wanted == tile_for(prompts, None, shape, known=found, around=around)
    refine = not loses and sized and is_finer(wanted, tile, shape)
    return Verdict(not loses, True, wanted, refine)


def at_once(
    wanted: BBox | None,
    encoded: Iterable[BBox | None],
    prompts: Prompts,
    shape: tuple[int, int],
    known: BBox | None = None,
) -> tuple[BBox | None, bool]:
    """Choose what to answer from without waiting.

    Parameters
    ----------
    wanted : BBox or None
        What would serve best.
    encoded : iterable of BBox or None
        What is encoded of the plane.
    prompts, shape, known
        See `tile_for`.

    Returns
    -------
    tile : BBox or None
        Of those encoded that hold everything the one that is most like the wanted one;
        the wanted one where there is none.
    serves : bool
        Whether it is as good as the wanted one.
    """
    held = union_bbox(_box_of(prompts), _points_of(prompts), known)
    wanted_side = _longest(_whole(wanted, shape))
    best: tuple[float, BBox | None] | None = None
    for tile in encoded:
        if tile == wanted:
            return tile, True
        if held is not None and not _holds(tile, held, shape):
            continue
        ratio = _longest(_whole(tile, shape)) / wanted_side
        if ratio < 1 / FINER:
            continue  # it would show too little around the object
        apart = abs(math.log(ratio))
        if best is None or apart < best[0]:
            best = apart, tile
    if best is None:
        return wanted, True
    return best[1], best[0] < math.log(FINER) / 2


def is_finer(tile: BBox | None, than: BBox | None, shape: tuple[int, int]) -> bool:
    """Whether a tile shows an object so much closer that it is worth while."""
    return _longest(_whole(than, shape)) >= FINER * _longest(_whole(tile, shape))


def is_cut(found: BBox, tile: BBox | None, shape: tuple[int, int]) -> bool:
    """Whether an object reaches an edge of its tile that is not the plane's.

    Parameters
    ----------
    found : BBox
        The mask's bounding box.
    tile : BBox or None
    shape : (int, int)
    """
    if tile is None:
        return False
    near = _longest(tile) / 128
    return (
        (tile[0] > 0 and found[0] < tile[0] + near)
        or (tile[1] > 0 and found[1] < tile[1] + near)
        or (tile[2] < shape[0] and found[2] > tile[2] - near)
        or (tile[3] < shape[1] and found[3] > tile[3] - near)
    )


def _snapped(side: float, held: BBox, shape: tuple[int, int]) -> BBox | None:
    """Return the tile of the grid that serves: a power of two long, `held` within."""
    length = LEAST * 2 ** max(0, math.ceil(math.log2(side / LEAST) - 1e-9))
    while length <= MOST * max(shape):
        bbox = tuple(
            _interval(held[axis], held[axis + 2], length, shape[axis])
            for axis in (0, 1)
        )
        if None not in bbox:
            (r0, r1), (c0, c1) = bbox  # type: ignore[misc]
            return r0, c0, r1, c1
        length *= 2
    return None


def _interval(first: int, end: int, length: int, limit: int) -> tuple[int, int] | None:
    """Place a tile's side on its grid, around an interval; None where it cannot hold.

    The places are a quarter of the side apart, so that what is up to half as long
    always finds one with the halo on either side.
    """
    if length >= limit:
        return 0, limit
    step = length // 4
    middle = (first + end) / 2
    start = round((middle - length / 2) / step) * step
    start = min(max(start, 0), limit - length)
    halo = length * HALO
    if (first < start + halo and start > 0) or (
        end > start + length - halo and start + length < limit
    ):
        return None
    return start, start + length


def _box_of(prompts: Prompts) -> BBox | None:
    """Bounding box of the boxes and of the mask prompt."""
    found: list[BBox | None] = [
        (math.floor(r0), math.floor(c0), math.ceil(r1) + 1, math.ceil(c1) + 1)
        for r0, c0, r1, c1 in prompts.boxes.tolist()
    ]
    return union_bbox(*found, prompts.mask_bbox)


def _points_of(prompts: Prompts) -> BBox | None:
    if not len(prompts.points):
        return None
    low = np.floor(prompts.points.min(axis=0)).astype(int).tolist()
    high = np.ceil(prompts.points.max(axis=0)).astype(int).tolist()
    return low[0], low[1], high[0] + 1, high[1] + 1


def _holds(tile: BBox | None, held: BBox, shape: tuple[int, int]) -> bool:
    """Whether something lies in a tile, with half of the halo around it."""
    if tile is None:
        return True
    halo = _longest(tile) * HALO / 2
    return all(
        (held[axis] >= tile[axis] + halo or tile[axis] == 0)
        and (held[axis + 2] <= tile[axis + 2] - halo or tile[axis + 2] == shape[axis])
        for axis in (0, 1)
    )


def _grown(tile: BBox, shape: tuple[int, int]) -> BBox:
    """Return a tile with a quarter of its sides more all around."""
    by = _longest(tile) // 4
    return (
        max(0, tile[0] - by),
        max(0, tile[1] - by),
        min(shape[0], tile[2] + by),
        min(shape[1], tile[3] + by),
    )


def _middle(view: BBox) -> BBox:
    row, column = (view[0] + view[2]) // 2, (view[1] + view[3]) // 2
    return row, column, row + 1, column + 1


def _whole(tile: BBox | None, shape: tuple[int, int]) -> BBox:
    return tile or (0, 0, *shape)


def _longest(bbox: Iterable[int]) -> int:
    r0, c0, r1, c1 = bbox
    return max(r1 - r0, c1 - c0)
