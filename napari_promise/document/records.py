"""One object as it stands: prompts, mask, label, and who placed its points."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from napari_promise.document.logits import MaskLogits
from napari_promise.document.regions import BBox, Plane, Region
from napari_promise.prompts import Prompts

__all__ = ["SOURCES", "ObjectRecord", "Source"]

#: Who placed a point: the user, an auto-prompting module, the object's mask on another
#: plane, or the mask of an example.
Source = Literal["user", "auto", "propagated", "example"]
#: Every source; the place of each is its code, a uint8, in tables of points.
SOURCES: tuple[Source, ...] = get_args(Source)


@dataclass(frozen=True, eq=False)
class ObjectRecord:
    """One object as it stands: its prompts, the mask that answers them, its label.

    Attributes
    ----------
    id : int
        The record's number.
    plane : Plane
        The plane the object lies in.
    class_name : str
    prompts : Prompts
        What is prompted, with the logits that serve (or served) as mask prompt.
    sources : tuple of Source
        Who placed each point.
    region : Region or None
        The latest mask; None where there is none or it is empty.
    score : float or None
        The model's predicted quality of the mask.
    logits : MaskLogits or None
        The mask's low-resolution logits, to be fed back with a correction.
    answered : Prompts or None
        The prompts that the mask answers.
    answered_revision : int or None
        The revision of the record when it had those prompts: the mask answers the
        prompts as they stand where this is `revision`. None where no mask has come
        yet, or a file of 0.1 did not say which.
    coarse : (1, h, w) float32 or None
        The auto-prompting module's map of the whole plane, the mask prompt to restart
        from.
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
    label : int
        What is written into the Labels layer; left out, the id. Records that share a
        label are one object through planes: at most one of a plane.
    ends : (str, str)
        Why the object does not go on to the plane below and to the plane above, in
        words; empty where it does, or nobody looked.
    tile : BBox or None
        The part of the plane that the model saw when it drew the mask, which `logits`
        cover; None for the whole plane.
    pinned : bool
        Whether the mask has to be drawn from `tile`, as when saved prompts are
        replayed. Edited prompts are free again.
    """

    id: int
    plane: Plane = ()
    class_name: str = ""
    prompts: Prompts = field(default_factory=Prompts)
    sources: tuple[Source, ...] = ()
    region: Region | None = None
    score: float | None = None
    logits: MaskLogits | None = field(default=None, repr=False)
    answered: Prompts | None = field(default=None, repr=False)
    answered_revision: int | None = None
    coarse: NDArray[np.float32] | None = field(default=None, repr=False)
    revision: int = 0
    committed: bool = False
    written: Region | None = None
    yielded: Region | None = None
    label: int = 0  # the background's, so no object's
    ends: tuple[str, str] = ("", "")
    tile: BBox | None = None
    pinned: bool = False

    def __post_init__(self) -> None:
        if self.label == 0:
            object.__setattr__(self, "label", self.id)

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
        return self.answered_revision == self.revision or self.prompts.is_empty

    @property
    def is_blank(self) -> bool:
        """Whether the object has neither prompts nor a mask nor label pixels."""
        return self.prompts.is_empty and self.region is None and self.written is None
