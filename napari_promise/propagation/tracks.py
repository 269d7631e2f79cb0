"""Objects through time: where one divides into two.

Ids are kept by propagation itself: moments are its planes. What this adds is a look at
each result for pieces that stay apart.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy import ndimage

from napari_promise.document import Region
from napari_promise.propagation.results import PlaneResult

__all__ = ["Division", "divisions"]

#: The smaller of two daughters has at least this share of both.
_LEAST = 0.25
#: Moments that two pieces have to stay apart.
_LASTING = 2


@dataclass(frozen=True)
class Division:
    """An object that seems to have become two.

    Attributes
    ----------
    label : int
        The object that divides.
    plane : int
        The first moment with two.
    parts : (Region, Region)
        The two at this moment, the larger one first. Propagated from here under labels
        of their own they are its daughters.
    """

    label: int
    plane: int
    parts: tuple[Region, Region]


def divisions(results: Iterable[PlaneResult]) -> list[Division]:
    """Find where objects lie in two pieces of like size from one moment on.

    Parameters
    ----------
    results : iterable of PlaneResult
        Of any objects, in any order.

    Returns
    -------
    list of Division
        By label; the first of each object.
    """
    by_label: dict[int, dict[int, PlaneResult]] = {}
    for result in results:
        by_label.setdefault(result.label, {})[result.plane] = result
    found = []
    for label, planes in sorted(by_label.items()):
        apart: list[Division] = []
        for plane in sorted(planes):
            pieces = _two(planes[plane].region)
            if pieces is None or (apart and apart[-1].plane != plane - 1):
                apart = []
            if pieces is None:
                continue
            apart.append(Division(label, plane, pieces))
            if len(apart) == _LASTING:
                found.append(apart[0])
                break
    return found


def _two(region: Region | None) -> tuple[Region, Region] | None:
    """Return the two pieces of a mask, where both are large."""
    if region is None:
        return None
    pieces, count = ndimage.label(region.crop, np.ones((3, 3)))
    if count < 2:
        return None
    sizes = np.bincount(pieces.ravel())[1:]
    first, second = (int(i) for i in np.argsort(-sizes, kind="stable")[:2])
    if sizes[second] < _LEAST * (sizes[first] + sizes[second]):
        return None
    made = [
        Region.from_crop(pieces == number + 1, region.bbox[:2], region.shape)
        for number in (first, second)
    ]
    assert made[0] is not None
    assert made[1] is not None
    return made[0], made[1]
