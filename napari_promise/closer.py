"""Answer prompts from the tile that shows the object best, one answer after the other.

For whoever can wait: command line, scripts, and programs that use `Segmenter`. In the
window the session does the same a step at a time, so that nobody waits.
"""

from __future__ import annotations

from collections.abc import Callable

from napari_promise.document import BBox
from napari_promise.prompts import Prompts
from napari_promise.segmentation import EmbeddingLike, Segmentation, SegmenterLike
from napari_promise.tiles import AROUND, after_answer, tile_for

__all__ = ["segment_closer"]


def segment_closer(
    segmenter: SegmenterLike,
    embed: Callable[[BBox | None], EmbeddingLike],
    prompts: Prompts,
    shape: tuple[int, int],
    *,
    view: BBox | None = None,
    ips: bool = True,
    local: bool | None = None,
    around: float = AROUND,
) -> Segmentation:
    """Return the mask that answers the prompts, seen from as close as the object asks.

    Parameters
    ----------
    segmenter : SegmenterLike
    embed : callable
        Returns the embedding of a part of the plane, of the whole one for None; best
        one that remembers them.
    prompts : Prompts
        See `Segmenter.segment`.
    shape : (int, int)
        Rows and columns of the plane.
    view : BBox, optional
        The part of the plane that somebody looked at, where only points are given.
    ips, local : bool, optional
        See `Segmenter.segment`.
    around : float
        Side of the tile over that of the object, see `tiles`.

    Returns
    -------
    Segmentation
        Its `tile` is the part that was looked at; the same prompts on that part give
        the same mask.
    """
    tile = tile_for(prompts, view, shape, around=around)
    shown: Segmentation | None = None
    rounds = 0
    while True:
        answer = segmenter.segment(embed(tile), prompts, ips=ips, local=local)
        verdict = after_answer(
            prompts,
            view,
            shape,
            found=answer.bbox,
            tile=tile,
            shown=None if shown is None else shown.tile,
            rounds=rounds,
            around=around,
        )
        if shown is None or verdict.show:
            shown = answer
        if not verdict.again:
            return shown
        tile, rounds = verdict.tile, rounds + 1
