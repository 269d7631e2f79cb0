"""`propagate`: from a volume and prompts on some planes to the whole object."""

from __future__ import annotations

from collections.abc import Generator, Mapping
from dataclasses import replace
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from napari_promise.data.planes import robust_limits, to_rgb8
from napari_promise.prompts import Prompts
from napari_promise.propagation.propagator import Propagator
from napari_promise.propagation.proposed import agreeing, planes_to_ask, proposal
from napari_promise.propagation.results import PlaneResult
from napari_promise.propagation.rules import Rules

if TYPE_CHECKING:
    from napari_promise.model.sam import Embedding
    from napari_promise.segmenter import Segmenter

__all__ = ["propagate"]


def propagate(
    segmenter: Segmenter,
    volume: ArrayLike,
    prompts: Mapping[int, Prompts | NDArray[np.bool_]] | None = None,
    *,
    spacing: tuple[float, float, float] = (1.0, 1.0, 1.0),
    z_range: tuple[int, int] | None = None,
    axis: int = 0,
    contrast_limits: tuple[float, float] | None = None,
    refine: bool = True,
    every: int | None = None,
    rules: Rules | None = None,
) -> Generator[PlaneResult, None, NDArray[np.bool_]]:
    """Carry one object from the planes that are given to all that it is on.

    Parameters
    ----------
    segmenter : Segmenter
    volume : array_like, (planes, rows, columns)
        Of any real type.
    prompts : mapping of int to Prompts or (rows, columns) bool, optional
        Plane -> the prompts of the object there, or its mask. An empty mask says that
        the object is not on that plane. Left out, the segmenter's adapter proposes
        the object on every so manieth plane; proposals that the others speak against
        do not count, see `propagation.proposed`.
    spacing : (float, float, float)
        The size of a voxel along the volume's axes, in one unit.
    z_range : (int, int), optional
        The first and the last plane that the object may be on.
    axis : int
        Propagate along this axis of the volume: planes are cut across it.
    contrast_limits : (float, float), optional
        The values shown black and white, of all planes; left out, `robust_limits`.
    refine : bool
        Draw the outline of what answers prompts anew before it is carried on, see
        `Propagator.refined`. Masks stay as they are given.
    every : int, optional
        Of how many planes one is proposed on; left out, about twelve in all are.
    rules : Rules, optional

    Yields
    ------
    PlaneResult
        One plane after another: those that were given, then the others, nearest
        first. Nothing where the adapter finds nothing.

    Returns
    -------
    numpy.ndarray, bool
        The object, in the volume's own shape: what ``yield from`` gives, or the
        ``value`` of the ``StopIteration``.

    Raises
    ------
    ValueError
        If the prompts are empty, or do not fit the volume.
    NoPrompterError
        If there are no prompts and no adapter that proposes some.

    Examples
    --------
    >>> from napari_promise import Prompts, Segmenter, propagate
    >>> segmenter = Segmenter.load("promise-tiny")  # doctest: +SKIP
    >>> prompts = {14: Prompts(points=[(60, 40)])}  # doctest: +SKIP
    >>> whole = np.zeros(volume.shape, bool)  # doctest: +SKIP
    >>> for result in propagate(segmenter, volume, prompts):  # doctest: +SKIP
    ...     whole[result.plane] = result.mask
    """
    stack = np.moveaxis(_checked(volume, spacing, axis), axis, 0)
    rest = [size for i, size in enumerate(spacing) if i != axis % 3]
    if prompts is not None and not prompts:
        raise ValueError("nothing says where the object is: give prompts of a plane.")
    limits = contrast_limits or robust_limits(stack) or (0.0, 1.0)

    def pixels(plane: int) -> NDArray[np.float32]:
        grey = to_rgb8(stack[plane], limits)[..., 0]
        return grey.astype(np.float32) / np.float32(255)

    @lru_cache(maxsize=2)  # the prompted plane is asked for twice
    def embed(plane: int) -> Embedding:
        return segmenter.encode(to_rgb8(stack[plane], limits))

    propagator = Propagator(
        embed,
        pixels,
        len(stack),
        spacing=(spacing[axis], rest[0], rest[1]),
        rules=rules,
    )
    whole = np.zeros(stack.shape, bool)
    votes: dict[int, float] = {}
    if prompts is None:
        first, last = z_range or (0, len(stack) - 1)
        masks = {
            plane: mask
            for plane in planes_to_ask(max(0, first), min(last, len(stack) - 1), every)
            if (mask := proposal(segmenter, embed(plane))) is not None
        }
        votes = agreeing(propagator, 1, masks)
    for plane, given in (prompts or {}).items():
        if not 0 <= plane < len(stack):
            raise ValueError(
                f"there is no plane {plane}: the volume has planes 0 to "
                f"{len(stack) - 1} along axis {axis}."
            )
        if isinstance(given, Prompts):
            mask = segmenter.segment(embed(plane), given).mask
            if refine:
                mask = propagator.refined(plane, 1, mask, given.points, given.labels)
            propagator.set_plane(plane, 1, mask)
        else:
            propagator.set_plane(plane, 1, np.asarray(given, bool))
    for result in propagator.results(1):
        if result.plane in votes:
            sure = votes[result.plane]
            result = replace(result, source="proposed", confidence=sure)
        whole[result.plane] = result.mask
        yield result
    for result in propagator.run(z_range):
        whole[result.plane] = result.mask
        yield result
    return np.moveaxis(whole, 0, axis)


def _checked(
    volume: ArrayLike, spacing: tuple[float, float, float], axis: int
) -> NDArray[Any]:
    stack = np.asarray(volume)
    if len(spacing) != 3 or not -3 <= axis < 3:
        raise ValueError(
            f"spacing {spacing} and axis {axis} do not fit a volume: give three sizes, "
            "and an axis of 0, 1 or 2."
        )
    if stack.ndim != 3:
        raise ValueError(
            f"the volume has the shape {stack.shape}: pass (planes, rows, columns)."
        )
    return stack
