"""Many objects looked for, and drawn, in enlarged tiles of a plane.

1. `found_closer` looks for them in overlapping tiles, in which objects of the size that
   was found in the whole plane are seen larger.
2. `drawing_tiles` chooses for each the tile that it is drawn from, larger still and
   shared with its neighbours.
3. `seen_again` takes the box of each from there, where it is told more exactly, and
   leaves out what is nothing at a closer look.

`proposing` and `jobs.proposing_many` do so one after another.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import BBox
from napari_promise.prompts import Prompts
from napari_promise.segmentation import EmbeddingLike, SegmenterLike

__all__ = [
    "EAGER",
    "closer_tiles",
    "drawing_tiles",
    "found_closer",
    "less_sure_at_edges",
    "seen_again",
    "surest_first",
    "tiles_over",
]

#: Side of a typical object in a tile, as a share of the tile's longer side: in larger
#: objects the encoder sees no more than in whole images.
_CLOSE = 25 / 512
_LEAST_TILE = 64  # pixels
#: Side of the tile that an object is drawn from, in sides of a typical one; chosen on
#: val images among 6, 8 and 12.
_DRAWN = 8
#: What lies around it there at least, in its own sides.
_FREE = 0.25
#: Points of one object lie within so much of its side.
_SAME = 0.35
#: Shares of the adapter's threshold: what reaches `EAGER` in a tile is looked at again,
#: and is nothing where it has not even `_FAINT` then. These, and what becomes of the
#: score, were chosen on 20 val images of dsb2018.
EAGER = 0.8
_FAINT = 0.3
#: A tile's side over the plane's, above which the whole plane serves as well.
_WORTH = 1 / 1.3


def found_closer(
    segmenter: SegmenterLike,
    embedding: EmbeddingLike,
    shape: tuple[int, int],
    embed: Callable[[BBox], EmbeddingLike],
) -> tuple[Prompts, ...]:
    """Look for many objects in enlarged tiles, where those of the whole are small.

    Points and boxes are found in the tiles; `propose` draws them.

    Parameters
    ----------
    segmenter : SegmenterLike
        With an adapter that finds many objects.
    embedding : EmbeddingLike
        Of the whole plane.
    shape : (int, int)
        Its rows and columns.
    embed : callable
        Returns the embedding of a tile.

    Returns
    -------
    tuple of Prompts
        Of the whole plane, the surest first; what `proposals` finds where objects
        are large enough, or too few to tell.
    """
    found = segmenter.proposals(embedding)
    tiles = closer_tiles(found, shape)
    if not tiles:
        return found
    closer: list[Prompts] = []
    for tile in tiles:
        seen = segmenter.proposals(embed(tile), bar=EAGER)
        closer += less_sure_at_edges(seen, tile, shape)
    return tuple(sorted(closer, key=surest_first))


def closer_tiles(found: Sequence[Prompts], shape: tuple[int, int]) -> list[BBox]:
    """Return the tiles in which objects of the size that was found are seen larger.

    Parameters
    ----------
    found : sequence of Prompts
        What was found in the whole image.
    shape : (int, int)
        Its rows and columns.

    Returns
    -------
    list of BBox
        They overlap and cover the image; none where objects are large enough, or too
        few to tell.
    """
    size = _typical_size(found)
    if size is None:
        return []
    return _tiles_of(round(size / _CLOSE), size, shape)


def drawing_tiles(
    found: Sequence[Prompts], shape: tuple[int, int]
) -> list[BBox | None]:
    """Choose the tile from which each of many objects is drawn.

    Seen larger, outlines are sharper (`scripts.study.instances`). Tiles are shared, so
    that there are few to encode.

    Parameters
    ----------
    found : sequence of Prompts
        Each with a box.
    shape : (int, int)
        Rows and columns of the plane.

    Returns
    -------
    list of BBox or None
        One an object: the tile that holds it farthest from its edges; None, for the
        whole plane, where there is none, or objects are large enough in that.
    """
    size = _typical_size(found)
    tiles = [] if size is None else _tiles_of(round(size * _DRAWN), size, shape)
    return [
        max(
            (tile for tile in tiles if _margin(each, tile, shape) >= _FREE),
            key=lambda tile: _margin(each, tile, shape),
            default=None,
        )
        for each in found
    ]


def _tiles_of(side: int, size: float, shape: tuple[int, int]) -> list[BBox]:
    """Cover a plane with tiles that overlap by two objects; none where it is small."""
    side = max(_LEAST_TILE, side)
    if side >= _WORTH * max(shape):
        return []
    return tiles_over(shape, side, round(min(2 * size, side / 2)))


def seen_again(
    segmenter: SegmenterLike, embedding: EmbeddingLike, asked: Sequence[Prompts]
) -> list[Prompts | None]:
    """Look at objects once more, in the enlarged tile that they are drawn from.

    Parameters
    ----------
    segmenter : SegmenterLike
        With the adapter that found them.
    embedding : EmbeddingLike
        Of that tile.
    asked : sequence of Prompts
        What was found, each with a point.

    Returns
    -------
    list of Prompts or None
        One for each of `asked`, with the box that is told here, if that is trusted, and
        the mean of both scores; None for what nothing here speaks for. Those without a
        box stay as they are.
    """
    seen = segmenter.proposals(embedding, bar=_FAINT)
    return [_seen_again(each, seen) for each in asked]


def _seen_again(asked: Prompts, seen: Sequence[Prompts]) -> Prompts | None:
    if not len(asked.boxes) or asked.scores is None:
        return asked
    reach = _SAME * _side(asked)
    near = [each for each in seen if _apart(each, asked) < reach]
    if not near:
        return None
    same = min(near, key=lambda each: (not len(each.boxes), _apart(each, asked)))
    boxes = same.boxes if len(same.boxes) else asked.boxes
    scores = asked.scores if same.scores is None else (asked.scores + same.scores) / 2
    return asked.replace(boxes=boxes, scores=scores)


def _apart(one: Prompts, other: Prompts) -> float:
    """Pixels between the points of two objects."""
    return float(np.hypot(*(one.points[0] - other.points[0])))


def _side(prompts: Prompts) -> float:
    """Side of a square as large as an object's box, in pixels."""
    return float(_sides(prompts.boxes[:1])[0])


def _typical_size(found: Sequence[Prompts]) -> float | None:
    """Median side of the objects' boxes in pixels; None where there are none."""
    boxes = np.concatenate([p.boxes for p in found]) if found else np.zeros((0, 4))
    if not len(boxes):
        return None
    return float(np.median(_sides(boxes)))


def _sides(boxes: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the sides of squares as large as (N, 4) boxes, in pixels."""
    return np.asarray(np.sqrt((boxes[:, 2:] - boxes[:, :2]).prod(axis=1)))


def _margin(prompts: Prompts, tile: BBox, shape: tuple[int, int]) -> float:
    """Return what lies between an object and its tile's edges, in sides of the object.

    Edges of the plane do not count. Negative where it is cut, or has no box.
    """
    if not len(prompts.boxes):
        return -1.0
    r0, c0, r1, c1 = prompts.boxes[0].tolist()
    free = [
        math.inf if at_end else inside
        for at_end, inside in (
            (tile[0] == 0, r0 - tile[0]),
            (tile[1] == 0, c0 - tile[1]),
            (tile[2] == shape[0], tile[2] - 1 - r1),
            (tile[3] == shape[1], tile[3] - 1 - c1),
        )
    ]
    return min(free) / max(r1 - r0, c1 - c0, 1.0)


def tiles_over(shape: tuple[int, int], side: int, overlap: int) -> list[BBox]:
    """Return tiles that cover a plane.

    Parameters
    ----------
    shape : (int, int)
        Rows and columns of the plane.
    side, overlap : int
        Pixels of a tile's side, and how many neighbours share at least.

    Returns
    -------
    list of BBox
        Row by row, inside the plane.
    """
    rows, columns = shape
    return [
        (row, column, min(rows, row + side), min(columns, column + side))
        for row in _starts(rows, side, overlap)
        for column in _starts(columns, side, overlap)
    ]


def less_sure_at_edges(
    seen: Sequence[Prompts], tile: BBox, shape: tuple[int, ...]
) -> list[Prompts]:
    """Halve the scores of objects that their tile cuts: a neighbour shows them whole.

    Parameters
    ----------
    seen : sequence of Prompts
        What was found in the tile, in the pixels of the whole image.
    tile : BBox
    shape : (int, int)
        Rows and columns of the whole image.
    """
    return [_less_sure_at_edges(each, tile, (shape[0], shape[1])) for each in seen]


def surest_first(prompts: Prompts) -> float:
    """Sort prompts by this."""
    return 0.0 if prompts.scores is None else -float(prompts.scores[0])


def _starts(length: int, side: int, overlap: int) -> list[int]:
    """First pixels of tiles that cover a length and overlap so much at least."""
    if length <= side:
        return [0]
    count = math.ceil((length - side) / (side - overlap)) + 1
    return [int(at) for at in np.linspace(0, length - side, count).round()]


def _less_sure_at_edges(
    prompts: Prompts, tile: tuple[int, int, int, int], shape: tuple[int, int]
) -> Prompts:
    """Halve the score of an object that its tile cuts: a neighbour shows it whole."""
    if not len(prompts.boxes) or prompts.scores is None:
        return prompts
    r0, c0, r1, c1 = prompts.boxes[0]
    cut = (
        (tile[0] > 0 and r0 < tile[0] + 0.5)
        or (tile[1] > 0 and c0 < tile[1] + 0.5)
        or (tile[2] < shape[0] and r1 > tile[2] - 1.5)
        or (tile[3] < shape[1] and c1 > tile[3] - 1.5)
    )
    return prompts.replace(scores=prompts.scores / 2) if cut else prompts
