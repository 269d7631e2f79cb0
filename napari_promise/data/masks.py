"""Read a mask or label file as integer ids, and decide what its numbers mean.

The decision is made on the numbers that are there, not on the file's name: how many
there are, and whether they form areas (ids) or lie along edges (blends).
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_promise.data import formats
from napari_promise.data.lossy_masks import ids_of_lossy

__all__ = ["AS_THEY_ARE", "ReadMask", "read_mask", "understand_mask"]

PathLike = str | os.PathLike[str]


@dataclass(frozen=True, eq=False)
class ReadMask:
    """A mask that was read, and how its numbers were understood.

    Attributes
    ----------
    labels : (row, column) or (plane, ..., row, column) integer
        0 the background.
    rule : str
        How the file's numbers became ids, in a few words: ``"ids as they are"``.
    """

    labels: npt.NDArray[Any]
    rule: str

    @cached_property
    def sizes(self) -> dict[int, int]:
        """Pixels of each id but 0."""
        if self.labels.dtype == np.uint8:
            counts = _counts_of_bytes(self.labels)
            ids = np.flatnonzero(counts)
            counts = counts[ids]
        else:
            ids, counts = np.unique(self.labels, return_counts=True)
        pairs = zip(ids.tolist(), counts.tolist(), strict=True)
        return {number: count for number, count in pairs if number != 0}

    @property
    def ids(self) -> tuple[int, ...]:
        """Every id but 0, ascending."""
        return tuple(self.sizes)

    @property
    def foreground(self) -> float:
        """Share of the pixels that are no background."""
        return sum(self.sizes.values()) / self.labels.size


#: The rule of a mask that needed none.
AS_THEY_ARE = "ids as they are"


def read_mask(path: PathLike) -> npt.NDArray[Any]:
    """Read a mask or label file as integer ids, 0 the background.

    See `understand_mask`, which tells also how it was understood.
    """
    return understand_mask(path).labels


def understand_mask(path: PathLike) -> ReadMask:
    """Read a mask or label file as integer ids, and say how it was understood.

    Parameters
    ----------
    path : path
        What `images.read_image` reads.

    Returns
    -------
    ReadMask
        Decided by what the file holds:

        - ids as they are, whole numbers in float too (within 0.001);
        - 255 beside ids up to 63 is what many sets write where a pixel is to be
          ignored: background here;
          65,535 in 16 bits, and -1, are read alike, and 255 in wider numbers with a
          sign; in those without, where it is drawn around others;
        - soft edges between 0 and 255 (many grey values, none of them an area) are cut
          above 127, so that an edge is no crowd of objects;
        - of JPEG, in a TIFF too, the areas of about one colour, see `lossy_masks`;
        - a palette's indices; of a grey palette its grey values;
        - colours are numbered from 1, black and what is transparent are background;
          colours that blend others at an edge go to the nearest. A mask that is black
          throughout with an alpha channel is its alpha;
        - fractions within 0..1 are cut at one half.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read as ids, or it cannot be told which colour or number is
        the background; one line naming the file.
    """
    path = Path(path)
    raw = formats.read(path, palette=True)
    array, rule = raw.array, AS_THEY_ARE
    if array.ndim < 2 + raw.rgb or array.size == 0:
        raise ValueError(f"{path} holds no mask: its shape is {array.shape}.")
    if raw.lossy and array.dtype == np.uint8 and not (raw.rgb and array.shape[-1] > 3):
        channels = array if raw.rgb else array[..., None]
        if (channels[..., :1] == channels).all():
            channels = channels[..., :1]
        return ReadMask(*ids_of_lossy(channels, path))
    if raw.rgb:
        array, rule = _ids_of_colours(array, path)
    if array.dtype.kind == "b":
        return ReadMask(array.astype(np.uint8), rule)
    if array.dtype.kind == "f":
        return _ids_of_floats(array, path)
    if array.dtype.kind not in "ui":
        raise ValueError(f"{path} holds no mask: its type is {array.dtype}.")
    if rule == _ALPHA or rule.startswith(_COLOURS):
        return ReadMask(array, rule)
    return _ids_of_whole(array, path, rule)


_ALPHA = "the alpha channel, cut at one half"
_COLOURS = "colours, numbered from 1"
#: With so few values between black and white they are ids, no soft edge.
_FEW = 4
_TOP_16 = 2**16 - 1
#: Beside ids no larger than this, 255 means "ignore".
_SMALL_ID = 63
#: Colours of 8 bits that differ by less in each channel may be one that was resampled.
_NEAR = 32


def _counts_of_bytes(array: npt.NDArray[np.uint8]) -> npt.NDArray[np.int64]:
    """Count each of the 256 values, in parts: `bincount` makes int64 of its input."""
    flat, counts = array.reshape(-1), np.zeros(256, np.int64)
    for start in range(0, flat.size, 2**22):
        counts += np.bincount(flat[start : start + 2**22], minlength=256)
    return counts


def _ids_of_whole(array: npt.NDArray[Any], path: Path, rule: str) -> ReadMask:
    """Understand whole numbers of any width."""
    if array.dtype == np.uint8:
        return _ids_of_bytes(array, path, rule)
    least, greatest = int(array.min()), int(array.max())
    if least < 0:
        if least < -1 or not (array == 0).any():
            raise ValueError(
                f"{path} holds negative numbers ({least}), so it cannot be told what "
                "is background: save it with 0 as background."
            )
        array, rule = np.where(array < 0, 0, array), "ids, -1 left out as “ignore”"
    # Somebody who chose a wider type without a sign than 255 needs may mean number 255.
    wide = array.dtype.kind == "u"
    if greatest == 255 and not (wide and not _is_ring(array, 255)):
        found = _ids_of_bytes(array.astype(np.uint8), path, rule)
        return found if found.rule != rule else ReadMask(array, rule)
    if greatest == _TOP_16 and not (wide and array.dtype.itemsize > 2):
        return _ids_up_to_65535(array, rule)
    return ReadMask(array, rule)


def _is_ring(array: npt.NDArray[Any], number: int) -> bool:
    """Whether a number is drawn around others, as what is to be ignored often is."""
    from scipy import ndimage

    flat = array.reshape(-1, *array.shape[-2:])
    return any(
        ((plane > 0) & ndimage.binary_fill_holes(plane == number))[
            plane != number
        ].any()
        for plane in flat
    )


def _ids_up_to_65535(array: npt.NDArray[Any], rule: str) -> ReadMask:
    """Understand numbers of 16 bits as those of 8, where the greatest is there."""
    values = np.unique(array)
    between = values[(values > 0) & (values < _TOP_16)]
    if not len(between):
        return ReadMask(array, rule)
    areas = len(between) <= _FEW or _are_areas(array, between)
    if areas and between.max() <= _SMALL_ID:
        ids = np.where(array == _TOP_16, 0, array).astype(np.uint8)
        return ReadMask(ids, "ids, 65,535 left out as “ignore”")
    if not areas and 8 * (array == _TOP_16).sum() >= (array > 0).sum():
        cut = (array > _TOP_16 // 2).astype(np.uint8)
        return ReadMask(cut, "grey values, cut at one half")
    return ReadMask(array, rule)


def _ids_of_bytes(array: npt.NDArray[np.uint8], path: Path, rule: str) -> ReadMask:
    cut = ReadMask((array > 127).astype(np.uint8), "grey values, cut above 127")
    counts = _counts_of_bytes(array)
    between = np.flatnonzero(counts[1:255]) + 1
    if not counts[255] or not len(between):
        return ReadMask(array, rule)
    if between.max() <= _SMALL_ID and len(between) <= _SMALL_ID:
        if len(between) <= _FEW or _are_areas(array, between):
            ids = np.where(array == 255, 0, array).astype(np.uint8)
            return ReadMask(ids, "ids, 255 left out as “ignore”")
    if 8 * counts[255] >= counts[1:].sum() and not _are_areas(array, between):
        return cut
    if len(between) <= _FEW and counts[0] and (_border(array) == 255).all():
        raise ValueError(
            f"{path} has 255 all along its border and {between[0]} and 0 within: it "
            "looks as if 255 were the background. Save it with 0 as background."
        )
    return ReadMask(array, rule)


def _are_areas(array: npt.NDArray[Any], values: npt.NDArray[Any]) -> bool:
    """Tell whether pixels of these values mostly lie beside their like.

    In an area of one id they do; along a soft edge the next pixel is another grey.
    """
    chosen = np.isin(array, values)
    return bool(2 * (chosen & _like_their_neighbours(array)).sum() > chosen.sum())


def _like_their_neighbours(array: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Mark pixels that equal one neighbour along the row and one along the column."""
    alike = []
    for axis in (-2, -1):
        same = np.diff(array, axis=axis) == 0
        wide = [(0, 0)] * array.ndim
        wide[axis] = (1, 1)
        padded = np.pad(same, wide)
        length = array.shape[axis]
        alike.append(
            padded.take(range(length), axis) | padded.take(range(1, length + 1), axis)
        )
    return np.asarray(alike[0] & alike[1])


def _border(array: npt.NDArray[Any]) -> npt.NDArray[Any]:
    edges = (array[..., 0, :], array[..., -1, :], array[..., 0], array[..., -1])
    return np.concatenate([edge.reshape(-1) for edge in edges])


def _ids_of_colours(
    array: npt.NDArray[Any], path: Path
) -> tuple[npt.NDArray[Any], str]:
    """Give colours, (..., 3 | 4), numbers from 1; black and transparent ones 0.

    Returns the numbers, or what is left to be understood, and the rule.
    """
    opaque = np.ones(array.shape[:-1], bool)
    if array.shape[-1] == 4:
        full = 1 if array.dtype.kind == "f" else np.iinfo(array.dtype).max
        opaque = array[..., 3] > full / 2
        array = array[..., :3]
        if not array.any() and not opaque.all():
            return opaque.astype(np.uint8), _ALPHA
        array = array * opaque[..., None].astype(array.dtype)
    if (array[..., :1] == array).all():
        return array[..., 0], AS_THEY_ARE
    flat = array.reshape(-1, 3)
    colours, ids, counts = np.unique(
        flat, axis=0, return_inverse=True, return_counts=True
    )
    ids, rule = ids.reshape(array.shape[:-1]), _COLOURS
    if len(colours) > _FEW:
        before = len(colours)
        colours, ids = _without_blends(colours, ids)
        if len(colours) < before:
            rule += ", blends given to the nearest"
    ids = ids.astype(np.int32)
    if not colours[0].any():  # unique sorts, so black comes first where there is any
        return ids, rule
    if len(colours) > 1:
        often = tuple(int(value) for value in colours[counts[: len(colours)].argmax()])
        raise ValueError(
            f"{path} has no black pixel, so it cannot be told which colour is the "
            f"background ({often} perhaps): save it with a black background."
        )
    return ids + 1, rule


def _without_blends(
    colours: npt.NDArray[Any], ids: npt.NDArray[Any]
) -> tuple[npt.NDArray[Any], npt.NDArray[Any]]:
    """Give pixels of colours that form no area to the nearest colour that does."""
    inside = np.bincount(ids[_like_their_neighbours(ids)], minlength=len(colours))
    counts = np.bincount(ids.reshape(-1), minlength=len(colours))
    kept = 2 * inside > counts
    kept[0] |= not colours[0].any()
    if not kept.any() or (~kept).sum() <= _FEW:
        return colours, ids
    main, sizes = colours[kept].astype(np.float64), counts[kept]
    alone = np.ones(len(main), bool)
    for at in range(len(main)):  # a plateau of the ringing beside an edge is none
        near = np.abs(main - main[at]).max(-1) < _NEAR
        alone[at] = not main[at].any() or 3 * sizes[at] >= sizes[near & alone].max()
    main = main[alone]
    nearest, least = np.zeros(len(colours), np.int64), np.full(len(colours), np.inf)
    for number, colour in enumerate(main):
        apart = ((colours - colour) ** 2).sum(-1)
        nearer = apart < least
        nearest[nearer], least[nearer] = number, apart[nearer]
    return colours[kept][alone], nearest[ids]


def _ids_of_floats(array: npt.NDArray[Any], path: Path) -> ReadMask:
    array = np.nan_to_num(array, nan=0.0, posinf=np.nan, neginf=np.nan)
    if np.isfinite(array).all():
        whole = np.rint(array)
        if np.abs(array - whole).max() <= 1e-3 and np.abs(array).max() < 2**53:
            rule = AS_THEY_ARE if (array == whole).all() else "almost whole, rounded"
            return _ids_of_whole(whole.astype(np.int64), path, rule)
        if array.min() >= 0 and array.max() <= 1:
            if array.max() <= 0.5 and len(values := np.unique(array)) <= _FEW**2:
                raise ValueError(
                    f"{path} holds numbers up to {values[-1]:g} and only "
                    f"{len(values)} different ones: ids that were scaled, it seems. "
                    "Save it as integers."
                )
            share = (array > 0.5).astype(np.uint8)
            return ReadMask(share, "fractions, cut at one half")
    raise ValueError(
        f"{path} holds no mask: its numbers are neither whole nor within 0..1, save "
        "it as integers."
    )
