"""Answer prompts from the tile that shows the object best, one answer after the other.

For whoever can wait: command line, scripts, and programs that use `Segmenter`. In the
window the session does the same a step at a time, so that nobody waits.
"""

from __future__ import annotations

from collections.abc import Callable

from napari_promise.document import BBox
from napari_promise.prompts import Before, Prompts
from napari_promise.segmentation import EmbeddingLike, Segmentation, SegmenterLike
from napari_promise.tiles import AROUND, after_answer, tile_for

__all__ = ["asked_plainly", "on_top_of", "segment_closer"]


def on_top_of(prompts: Prompts, mask: Segmentation) -> Prompts:
    """Return prompts that are given on top of a mask found from farther away.

    Seen from close by a click may mean a part of the object, or what lies around it;
    the mask says which object is meant. What knows more than clicks stays as it is.

    Parameters
    ----------
    prompts : Prompts
    mask : Segmentation
        What answered them.

    Returns
    -------
    Prompts
    """
    if len(prompts.boxes) or prompts.mask is not None or prompts.before is not None:
        return prompts
    return prompts.replace(before=Before(mask.logits, tile=mask.tile))


def asked_plainly(prompts: Prompts, tile: BBox | None) -> Prompts:
    """Undo `on_top_of`.

    Parameters
    ----------
    prompts : Prompts
        Of an object that no module proposed.
    tile : BBox or None
        The part of the plane that they were asked of.
    """
    before = prompts.before
    if before is None or before.tile == tile:
        return prompts
    corrects = before.added is not None or before.answered is not None
    return prompts if corrects else prompts.replace(before=None)


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
) -> tuple[Segmentation, Prompts]:
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
    mask : Segmentation
        Its `tile` is the part that was looked at.
    prompts : Prompts
        What was asked there; asked again they give the same mask.
    """
    tile = tile_for(prompts, view, shape, around=around)
    shown: tuple[Segmentation, Prompts] | None = None
    asked, rounds = prompts, 0
    while True:
        answer = segmenter.segment(embed(tile), asked, ips=ips, local=local)
        verdict = after_answer(
            prompts,
            view,
            shape,
            found=answer.bbox,
            tile=tile,
            shown=None if shown is None else shown[0].tile,
            rounds=rounds,
            around=around,
        )
        if shown is None or verdict.show:
            shown = answer, asked
        if not verdict.again:
            return shown
        asked = on_top_of(prompts, answer) if verdict.refine else prompts
        tile, rounds = verdict.tile, rounds + 1
