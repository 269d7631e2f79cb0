"""What the user or a model says about one object: points, boxes, a mask.

This is the only module that flips the (row, column) of everything else to the
(x, y) of Segment Anything.
"""

from __future__ import annotations

import base64
import binascii
import dataclasses
import math
import zlib
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

__all__ = ["Before", "Prompts", "round_logits"]

#: The largest finite float16; logits beyond it would become infinite.
_FLOAT16_MAX = float(np.finfo(np.float16).max)


def round_logits(logits: ArrayLike) -> NDArray[np.float32]:
    """Round mask logits to what a float16 can hold.

    Logits that serve as a mask prompt are rounded *before* they are used, so that
    a prompt that was saved and loaded again gives the identical mask.

    Parameters
    ----------
    logits : array_like, (..., h, w)
        Low-resolution mask logits.

    Returns
    -------
    numpy.ndarray, (..., h, w), float32
        The same values, rounded to float16 and clipped to its finite range.
    """
    clipped = np.clip(np.asarray(logits, np.float32), -_FLOAT16_MAX, _FLOAT16_MAX)
    rounded: NDArray[np.float32] = clipped.astype(np.float16).astype(np.float32)
    return rounded


@dataclass(frozen=True, eq=False)
class Before:
    """The mask that prompts are given on top of, and what it answers of them.

    Lists are accepted and converted; the stored arrays are read-only.

    Attributes
    ----------
    logits : (1, h, w) float32
        Low-resolution mask logits, sent as mask prompt: a previous result's, or the
        map of an auto-prompting module. Rounded with `round_logits`.
    answered : (N,) bool or None
        The points that the logits answer already: they belong to the object but are
        not sent to the model again, see `Prompts.to_send`. None where there are none.
    added : (N,) bool or None
        The points that were added since the logits were drawn: what a correction asks
        for. None where there are none.
    tile : (int, int, int, int) or None
        The part of the plane that the logits cover, (row 0, column 0, row 1,
        column 1) in the plane's pixels, half open; None for the whole plane. Which
        plane that is, the object says.

    Raises
    ------
    ValueError
        If the logits have another shape or hold NaN.
    """

    logits: NDArray[np.float32]
    answered: NDArray[np.bool_] | None = None
    added: NDArray[np.bool_] | None = None
    tile: tuple[int, int, int, int] | None = None

    if TYPE_CHECKING:  # lists are as welcome as arrays

        def __init__(
            self,
            logits: ArrayLike,
            answered: ArrayLike | None = ...,
            added: ArrayLike | None = ...,
            tile: tuple[int, int, int, int] | None = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        logits = np.asarray(self.logits, np.float32)
        if logits.ndim != 3 or logits.shape[0] != 1:
            raise ValueError(
                f"logits must have shape (1, h, w), not {logits.shape}; pass "
                "the logits of an earlier result unchanged."
            )
        if np.isnan(logits).any():
            raise ValueError("logits contain NaN; pass finite mask logits.")
        rounded = round_logits(logits)
        # Logits that were rounded before are shared, not copied: an undo history
        # holds hundreds of them.
        same = np.array_equal(rounded, logits)
        set_ = object.__setattr__
        set_(self, "logits", _frozen(logits if same else rounded))
        for name in ("answered", "added"):
            if getattr(self, name) is not None:
                flags = np.array(getattr(self, name), bool).reshape(-1)
                set_(self, name, _frozen(flags) if flags.any() else None)
        if self.tile is not None:
            r0, c0, r1, c1 = (int(edge) for edge in self.tile)
            set_(self, "tile", (r0, c0, r1, c1))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Before):
            return NotImplemented
        return self.tile == other.tile and all(
            _same(getattr(self, name), getattr(other, name))
            for name in ("logits", "answered", "added")
        )

    __hash__ = None  # type: ignore[assignment]


@dataclass(frozen=True, eq=False)
class Prompts:
    """The prompts of one object on one plane.

    Lists are accepted and converted; the stored arrays are read-only. Positions
    are (row, column) in the plane's own pixels, pixel centres at the integers.

    Attributes
    ----------
    points : (N, 2) float64
        Point prompts, (row, column).
    labels : (N,) int64
        1 for a point to include, 0 for one to exclude. Left out, every point is
        one to include.
    boxes : (M, 4) float64
        Boxes, (row 0, column 0, row 1, column 1); corners are sorted here.
    mask : (H, W) bool or None
        A mask of the whole plane as prompt.
    before : Before or None
        The mask that the prompts are given on top of, as logits. Wins over `mask`.
    scores : (N,) float64 or None
        The confidence of each point, where a model wrote them; NaN where a
        person did.

    Raises
    ------
    ValueError
        If shapes do not fit together or a value is out of its range.

    Examples
    --------
    >>> Prompts(points=[(10, 20), (30, 5)], labels=[1, 0]).points_xy()
    array([[20., 10.],
           [ 5., 30.]])
    """

    points: NDArray[np.float64] = ()  # type: ignore[assignment]
    labels: NDArray[np.int64] = None  # type: ignore[assignment]
    boxes: NDArray[np.float64] = ()  # type: ignore[assignment]
    mask: NDArray[np.bool_] | None = None
    before: Before | None = None
    scores: NDArray[np.float64] | None = None

    if TYPE_CHECKING:  # lists are as welcome as arrays

        def __init__(
            self,
            points: ArrayLike = ...,
            labels: ArrayLike | None = ...,
            boxes: ArrayLike = ...,
            mask: ArrayLike | None = ...,
            before: Before | None = ...,
            scores: ArrayLike | None = ...,
        ) -> None: ...

    def __post_init__(self) -> None:
        points = _floats("points", self.points, 2, "(row, column)")
        boxes = _floats("boxes", self.boxes, 4, "(r0, c0, r1, c1)")
        boxes = np.concatenate(
            [
                np.minimum(boxes[:, :2], boxes[:, 2:]),
                np.maximum(boxes[:, :2], boxes[:, 2:]),
            ],
            axis=1,
        )
        set_ = object.__setattr__
        set_(self, "points", _frozen(points))
        set_(self, "labels", _frozen(_labels(self.labels, len(points))))
        set_(self, "boxes", _frozen(boxes))
        if self.mask is not None:
            mask = np.asarray(self.mask)
            if mask.ndim != 2:
                raise ValueError(
                    f"mask must be one plane, (rows, columns), but has shape "
                    f"{mask.shape}; pass a single plane."
                )
            set_(self, "mask", _frozen(mask.astype(bool, copy=False)))
        if self.scores is not None:
            scores = np.array(self.scores, np.float64).reshape(-1)
            if len(scores) != len(points):
                raise ValueError(
                    f"{len(scores)} scores for {len(points)} points; give one score "
                    "per point or none at all."
                )
            set_(self, "scores", _frozen(scores))
        for name in ("answered", "added"):
            flags = getattr(self, name)
            if flags is not None and len(flags) != len(points):
                raise ValueError(
                    f"{len(flags)} {name} flags for {len(points)} points; give "
                    "one per point or none at all."
                )

    @property
    def logits(self) -> NDArray[np.float32] | None:
        """The logits sent as mask prompt, (1, h, w); see `Before`."""
        return None if self.before is None else self.before.logits

    @property
    def answered(self) -> NDArray[np.bool_] | None:
        """The points that the logits answer already, (N,) bool; see `Before`."""
        return None if self.before is None else self.before.answered

    @property
    def added(self) -> NDArray[np.bool_] | None:
        """The points added since the logits were drawn, (N,) bool; see `Before`."""
        return None if self.before is None else self.before.added

    @property
    def has_target(self) -> bool:
        """Whether anything says where the object is, not only where it is not."""
        shown = self.mask is not None or self.before is not None
        return bool(shown or len(self.boxes) or (self.labels == 1).any())

    @cached_property
    def mask_bbox(self) -> tuple[int, int, int, int] | None:
        """The bounding box of `mask`, half open; None where there is nothing of it."""
        if self.mask is None:
            return None
        rows = np.flatnonzero(self.mask.any(axis=1))
        columns = np.flatnonzero(self.mask.any(axis=0))
        if not len(rows):
            return None
        return int(rows[0]), int(columns[0]), int(rows[-1]) + 1, int(columns[-1]) + 1

    def within(self, shape: tuple[int, int]) -> Prompts:
        """Return the prompts with their boxes cut at the edges of a plane.

        Parameters
        ----------
        shape : (int, int)
            Rows and columns.

        Raises
        ------
        ValueError
            If a point lies outside, or nothing of a box within; names it.
        """
        rows, columns = shape
        for row, column in self.points:
            if not (-0.5 <= row <= rows and -0.5 <= column <= columns):
                raise ValueError(
                    f"the prompt at row {row:g}, column {column:g} lies outside the "
                    f"image of {rows} rows and {columns} columns."
                )
        most = np.array([rows, columns, rows, columns], np.float64) - 0.5
        cut = np.clip(self.boxes, -0.5, most)
        for box, left in zip(self.boxes, cut, strict=True):
            named = ", ".join(f"{value:g}" for value in box)
            if box[0] == box[2] or box[1] == box[3]:
                raise ValueError(f"the box {named} has no area: give two corners.")
            if left[0] == left[2] or left[1] == left[3]:
                raise ValueError(
                    f"the box {named} lies outside the image of {rows} rows and "
                    f"{columns} columns."
                )
        if np.array_equal(cut, self.boxes):
            return self
        return replace(self, boxes=cut)

    @property
    def is_empty(self) -> bool:
        """Whether nothing is prompted: no point, box, mask or logits."""
        return (
            len(self.points) == 0
            and len(self.boxes) == 0
            and self.mask is None
            and self.before is None
        )

    def replace(self, **changes: Any) -> Prompts:
        """Return a copy with some attributes replaced.

        Parameters
        ----------
        **changes
            Attributes of this class by name.

        Returns
        -------
        Prompts
        """
        return dataclasses.replace(self, **changes)

    def to_send(self) -> Prompts:
        """Return the prompts without the points that the logits answer already.

        Returns
        -------
        Prompts
            What a model is to be asked; these prompts themselves where no point is
            answered.
        """
        before = self.before
        if before is None or before.answered is None:
            return self
        left = ~before.answered
        added = None if before.added is None else before.added[left]
        return self.replace(
            points=self.points[left],
            labels=self.labels[left],
            scores=None if self.scores is None else self.scores[left],
            before=dataclasses.replace(before, answered=None, added=added),
        )

    def points_xy(self) -> NDArray[np.float64]:
        """Return the points as Segment Anything wants them.

        Returns
        -------
        (N, 2) float64
            (x, y) in the plane's own pixels; scaling to the model's frame is the
            model's business.
        """
        return self.points[:, ::-1].copy()

    def boxes_xy(self) -> NDArray[np.float64]:
        """Return the boxes as Segment Anything wants them.

        Returns
        -------
        (M, 4) float64
            (x0, y0, x1, y1) in the plane's own pixels.
        """
        return self.boxes[:, [1, 0, 3, 2]].copy()

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Prompts):
            return NotImplemented
        return all(
            _same(getattr(self, field.name), getattr(other, field.name))
            for field in dataclasses.fields(self)
        )

    __hash__ = None  # type: ignore[assignment]

    def to_json(self) -> dict[str, Any]:
        """Return the prompts as a dictionary that the json module can write.

        Numbers come back exactly: positions as JSON numbers, the mask as packed
        bits and the logits as float16, both compressed and in base64.

        Returns
        -------
        dict
        """
        data: dict[str, Any] = {
            "points": self.points.tolist(),
            "labels": self.labels.tolist(),
            "boxes": self.boxes.tolist(),
        }
        if self.scores is not None:
            data["scores"] = [None if np.isnan(s) else s for s in self.scores.tolist()]
        if self.answered is not None:
            data["answered"] = self.answered.tolist()
        if self.added is not None:
            data["added"] = self.added.tolist()
        if self.mask is not None:
            data["mask"] = {
                "shape": list(self.mask.shape),
                "bits": _encode(np.packbits(self.mask).tobytes()),
            }
        if self.before is not None:
            data["logits"] = {
                "shape": list(self.before.logits.shape),
                "float16": _encode(self.before.logits.astype("<f2").tobytes()),
            }
            if self.before.tile is not None:
                data["tile"] = list(self.before.tile)
        return data

    @classmethod
    def from_json(cls, data: dict[str, Any]) -> Prompts:
        """Return the prompts that `to_json` wrote.

        Parameters
        ----------
        data : dict
            What `to_json` returned.

        Returns
        -------
        Prompts

        Raises
        ------
        ValueError
            If a field is missing its partner or cannot be decoded.
        """
        try:
            mask = before = scores = None
            if data.get("mask") is not None:
                shape = tuple(int(n) for n in data["mask"]["shape"])
                count = math.prod(shape)
                packed = _decode(data["mask"]["bits"], -(-count // 8))
                bits = np.frombuffer(packed, np.uint8)
                mask = np.unpackbits(bits)[:count].reshape(shape).astype(bool)
            if data.get("logits") is not None:
                shape = tuple(int(n) for n in data["logits"]["shape"])
                packed = _decode(data["logits"]["float16"], 2 * math.prod(shape))
                raw = np.frombuffer(packed, "<f2")
                tile = data.get("tile")
                before = Before(
                    raw.reshape(shape).astype(np.float32),
                    data.get("answered"),
                    data.get("added"),
                    None if tile is None else tuple(tile),
                )
            if data.get("scores") is not None:
                scores = [np.nan if s is None else s for s in data["scores"]]
            return cls(
                points=data.get("points", ()),
                labels=data.get("labels"),
                boxes=data.get("boxes", ()),
                mask=mask,
                before=before,
                scores=scores,
            )
        except (
            KeyError,
            TypeError,
            AttributeError,
            OverflowError,
            binascii.Error,
            zlib.error,
        ) as error:
            raise ValueError(
                f"prompts cannot be read ({type(error).__name__}: {error}); load a "
                "file that was exported as prompts."
            ) from error


def _floats(name: str, values: ArrayLike, width: int, what: str) -> NDArray[np.float64]:
    try:
        array = np.array(values, np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(
            f"{name} cannot be read as numbers; pass a list of {what}."
        ) from error
    if array.size == 0:
        return np.empty((0, width))
    if array.ndim != 2 or array.shape[1] != width:
        raise ValueError(
            f"{name} has shape {array.shape}, not (N, {width}); pass a list of {what}."
        )
    if not np.isfinite(array).all():
        raise ValueError(f"{name} contain NaN or infinity; pass finite positions.")
    return array


def _labels(labels: ArrayLike | None, count: int) -> NDArray[np.int64]:
    if labels is None:
        return np.ones(count, np.int64)
    array = np.asarray(labels).reshape(-1)
    if len(array) != count:
        raise ValueError(
            f"{len(array)} labels for {count} points; give one label per point, "
            "1 to include or 0 to exclude."
        )
    if not np.isin(array, (0, 1)).all():
        raise ValueError(
            f"labels are {array.tolist()}; each must be 1 (include) or 0 (exclude)."
        )
    return array.astype(np.int64)


def _frozen(array: NDArray[Any]) -> NDArray[Any]:
    """Return a read-only array that nobody else can write to."""
    if array.flags.writeable or not _owns(array):
        array = array.copy()
        array.flags.writeable = False
    return array


def _owns(array: NDArray[Any]) -> bool:
    base = array.base
    return base is None or (isinstance(base, np.ndarray) and not base.flags.writeable)


def _same(a: Any, b: Any) -> bool:
    if a is b or a is None or b is None:
        return a is b
    if isinstance(a, Before):
        return a == b
    return bool(np.array_equal(a, b, equal_nan=a.dtype.kind == "f"))


def _encode(data: bytes) -> str:
    return base64.b64encode(zlib.compress(data, 6)).decode("ascii")


def _decode(text: str, size: int) -> bytes:
    """Unpack so many bytes and no more: a damaged file may unpack to anything."""
    packed = base64.b64decode(text, validate=True)
    found = zlib.decompressobj().decompress(packed, max(1, size))
    if len(found) != size:
        raise ValueError(f"{len(found)} bytes instead of {size}")
    return found
