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

__all__ = ["answer_closer", "are_clicks_alone", "asked_plainly", "segment_closer"]

#: Below this predicted quality a mask found from farther away is doubted.
DOUBTED = 0.45
#: By so much the predicted quality of an answer anew has to be better than that.
BETTER = 0.05


def are_clicks_alone(prompts: Prompts) -> bool:
    """Whether nothing but clicks says what is meant: no box, and no mask before."""
    return not len(prompts.boxes) and prompts.mask is None and prompts.before is None


def answer_closer(
    segmenter: SegmenterLike,
    embedding: EmbeddingLike,
    prompts: Prompts,
    farther: Segmentation,
    *,
    ips: bool = True,
    local: bool | None = None,
) -> tuple[Segmentation, Prompts]:
    """Answer prompts from a finer tile, knowing what was found from farther away.

    Seen from close by one click may mean a part of the object, or what lies around it;
    the mask from farther away says which object is meant, and becomes a mask prompt. A
    doubtful one would mislead: then the click is asked anew, and the answer counts if
    it is the surer one. Chosen on train and val parts, also put together to mosaics in
    which objects are half as large (`scripts.base.measure_closer`).

    Parameters
    ----------
    segmenter : SegmenterLike
    embedding : EmbeddingLike
        Of the finer tile.
    prompts : Prompts
        What knows more than clicks is asked as it is.
    farther : Segmentation
        What answered them from farther away.
    ips, local : bool, optional
        See `Segmenter.segment`.

    Returns
    -------
    mask : Segmentation
    prompts : Prompts
        What was asked; asked again they give the same mask.
    """
    clicks = are_clicks_alone(prompts)
    if not clicks or farther.score < DOUBTED:
        anew = segmenter.segment(embedding, prompts, ips=ips, local=local)
        if not clicks or (anew.region and anew.score >= farther.score + BETTER):
            return anew, prompts
    on_top = prompts.replace(before=Before(farther.logits, tile=farther.tile))
    return segmenter.segment(embedding, on_top, ips=ips, local=local), on_top


def asked_plainly(prompts: Prompts, tile: BBox | None) -> Prompts:
    """Leave out the mask that was found from farther away.

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
    farther: Segmentation | None = None
    rounds = 0
    while True:
        asked = prompts
        if farther is None:
            answer = segmenter.segment(embed(tile), asked, ips=ips, local=local)
        else:
            answer, asked = answer_closer(
                segmenter, embed(tile), prompts, farther, ips=ips, local=local
            )
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
        farther = answer if verdict.refine else None
        tile, rounds = verdict.tile, rounds + 1
