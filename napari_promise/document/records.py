"""One object as it stands. Knows neither its history nor the labels around it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_promise.document.regions import BBox, Plane, Region
from napari_promise.prompts import Prompts

__all__ = ["SOURCES", "ObjectRecord", "Source", "source_code"]

#: Who placed a point: the user, an auto-prompting module, the object's mask on another
#: plane, or the mask of an example.
Source = Literal["user", "auto", "propagated", "example"]
#: Every source; the place of each is its code, a uint8, in tables of points.
SOURCES: tuple[Source, ...] = get_args(Source)


def source_code(source: Source) -> int:
    """Return the code of a source; `SOURCES` at this place is the source.

    Raises
    ------
    ValueError
        If there is no such source.
    """
    try:
        return SOURCES.index(source)
    except ValueError:
        raise ValueError(
            f"{source!r} is no source of a point; it is one of {', '.join(SOURCES)}."
        ) from None


@dataclass(frozen=True, eq=False)
class ObjectRecord:
    """One object as it stands: its prompts, the mask that answers them, its label.

    Attributes
    ----------
    id : int
        The object's number, which is its label in the Labels layer.
    plane : Plane
        The plane the object lies in.
    class_name : str
    prompts : Prompts
        What is prompted, with the logits that serve (or served) as mask prompt.
    sources : tuple of {"auto", "user"}
        Who placed each point.
    region : Region or None
        The latest mask; None where there is none or it is empty.
    score : float or None
        The model's predicted quality of the mask.
    logits : (1, h, w) float32 or None
        The mask's low-resolution logits.
    answered : Prompts or None
        The prompts that the mask answers.
    coarse : (1, h, w) float32 or None
        The auto-prompting module's map, the mask prompt to restart from.
    revision : int
        Changes with every edit of the prompts; never used twice.
    committed : bool
        Whether the Labels layer holds the object as it stands.
    written : Region or None
        The label pixels that belong to the object through its commits. A pixel
        of its label outside of it, or of another label inside, was set by hand.
    yielded : Region or None
        Pixels that another object's commit took over; they come back when that
        object gives them up.
    """

    id: int
    plane: Plane = ()
    class_name: str = ""
    prompts: Prompts = field(default_factory=Prompts)
    sources: tuple[Source, ...] = ()
    region: Region | None = None
    score: float | None = None
    logits: NDArray[np.float32] | None = field(default=None, repr=False)
    answered: Prompts | None = field(default=None, repr=False)
    coarse: NDArray[np.float32] | None = field(default=None, repr=False)
    revision: int = 0
    committed: bool = False
    written: Region | None = None
    yielded: Region | None = None

    @property
    def bbox(self) -> BBox | None:
        """The mask's bounding box, None where there is no mask."""
        return None if self.region is None else self.region.bbox

    @property
    def crop(self) -> NDArray[np.bool_] | None:
        """The mask inside its bounding box, None where there is no mask."""
        return None if self.region is None else self.region.crop

    @property
    def is_answered(self) -> bool:
        """Whether the mask answers the prompts as they stand."""
        return self.answered is self.prompts or self.prompts.is_empty

    @property
    def is_blank(self) -> bool:
        """Whether the object has neither prompts nor a mask nor label pixels."""
        return self.prompts.is_empty and self.region is None and self.written is None
