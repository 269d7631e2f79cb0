"""Which tile a request is answered from, and when to look again from closer by.

The rules are in `tiles`; here they meet what is encoded, and what the person sees.

1. A click is answered at once, from what is encoded and holds it.
2. The answer says how large the object is: where another tile would show it better,
   that one is encoded while nobody waits, and the prompts are asked of it again.
3. The sharper mask takes the place of the first, in the same step of the history, and
   so do the prompts that drew it, see `closer.answer_closer`. If
   the prompts have changed meanwhile it is dropped.
4. What is on the screen is encoded while the person rests, so that 2 is seldom needed.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from napari_promise.closer import are_clicks_alone
from napari_promise.document import BBox, ObjectRecord, Region, Tile
from napari_promise.prompts import Prompts
from napari_promise.segmentation import Segmentation
from napari_promise.session.requests import Request
from napari_promise.session.sources import ImageInWork
from napari_promise.tiles import Verdict, after_answer, at_once, next_tile, tile_for

__all__ = ["closer_request", "judge", "tile_of_record", "tile_of_view"]


def tile_of_record(
    record: ObjectRecord,
    prompts: Prompts,
    image: ImageInWork,
    view: BBox | None,
    encoded: Sequence[BBox | None],
) -> Tile:
    """Choose what an object is answered from, without waiting where that can be.

    Parameters
    ----------
    record : ObjectRecord
    prompts : Prompts
        Its prompts, or those that are being dragged.
    image : ImageInWork
    view : BBox or None
        What is on the screen of the object's plane.
    encoded : sequence of BBox or None
        The tiles of the plane that are encoded.
    """
    shape = _shape(image)
    known, tile = record.bbox, record.tile
    if are_clicks_alone(prompts):
        known = tile = None  # they start anew, see `closer.answer_closer`
    wanted = next_tile(prompts, view, shape, known=known, tile=tile)
    found, _ = at_once(wanted, encoded, prompts, shape, known)
    return Tile(record.plane, found)


def tile_of_view(image: ImageInWork, tile: Tile, view: BBox | None) -> Tile:
    """Return the tile that shows what is on the screen."""
    found = tile_for(Prompts(), view, _shape(image))
    return dataclasses.replace(tile, bbox=found)


def judge(request: Request, region: Region | None) -> Verdict:
    """Say what is to be done with an answer, see `tiles.after_answer`.

    Parameters
    ----------
    request : Request
    region : Region or None
        The answer's mask.
    """
    if not request.may_look:
        return Verdict(show=True)
    return after_answer(
        request.prompts,
        request.view,
        _shape(request.image),
        found=None if region is None else region.bbox,
        tile=request.tile.bbox,
        shown=request.shown,
        rounds=request.rounds,
    )


def closer_request(request: Request, mask: Segmentation, verdict: Verdict) -> Request:
    """Return the request of the same prompts on the tile that promises more.

    Parameters
    ----------
    request : Request
    mask : Segmentation
        Its answer.
    verdict : Verdict
        What `judge` said of it.
    """
    return dataclasses.replace(
        request,
        tile=dataclasses.replace(request.tile, bbox=verdict.tile),
        farther=mask if verdict.refine else None,
        rounds=request.rounds + 1,
        shown=request.tile.bbox if verdict.show else request.shown,
    )


def _shape(image: ImageInWork) -> tuple[int, int]:
    rows, columns = image.source.shape[-2:]
    return rows, columns
