"""PNG, JPEG, BMP, GIF (first frame), WebP, and whatever else Pillow opens."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from napari_promise.data.formats.raw import Raw, Unreadable, has_colours, no_place

if TYPE_CHECKING:
    from PIL import Image

SUFFIXES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp")
place = no_place
_unlimited = threading.Lock()  # Pillow keeps its limit in one place for all


#: Pixels of the largest picture that is opened: 1 GiB where they are colours.
MOST_PIXELS = 2**28


@contextmanager
def opened(path: Path) -> Iterator[Image.Image]:
    """Open a picture with Pillow, larger than Pillow itself takes for harmless.

    Raises
    ------
    ValueError
        If it is larger than `MOST_PIXELS`; says how large.
    """
    from PIL import Image

    with _unlimited:
        limit, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            picture = Image.open(path)
        finally:
            Image.MAX_IMAGE_PIXELS = limit
    with picture:
        if picture.width * picture.height > MOST_PIXELS:
            raise Unreadable(
                f"{path} has {picture.height} x {picture.width} pixels, and pictures "
                f"are opened up to {MOST_PIXELS // 10**6} million: cut it into parts, "
                "or save it as TIFF."
            )
        yield picture


def read(path: Path, *, palette: bool = False) -> Raw:
    """Read a picture.

    Palettes become RGB(A), unless `palette` asks for ids: then their indices, or the
    grey values of a grey palette. Grey with alpha becomes RGBA. The orientation that a
    camera wrote beside the pixels is not applied, because napari does not either.
    """
    with opened(path) as picture:
        mode = picture.mode
        if mode == "P" and palette and _is_grey(picture):
            mode = "L"
        elif mode == "P" and not palette:
            mode = "RGBA" if "transparency" in picture.info else "RGB"
        elif mode in ("LA", "La", "PA"):
            mode = "RGBA"
        elif mode not in ("1", "L", "P", "I", "F", "RGB", "RGBA") and not (
            mode.startswith("I;16")
        ):
            mode = "RGB"  # CMYK, YCbCr, LAB, HSV
        array = np.array(picture if mode == picture.mode else picture.convert(mode))
        turned, lossy = _turned(picture), picture.format in ("JPEG", "MPO")
    return Raw(array, has_colours(array.shape), notes=turned, lossy=lossy)


def small(path: Path, side: int) -> NDArray[np.uint8]:
    """Read a JPEG at a fraction of its size, (h, w, 3), no smaller than `side`."""
    with opened(path) as picture:
        picture.draft("RGB", (side, side))
        return np.asarray(picture.convert("RGB"))


def shape(path: Path) -> tuple[int, ...]:
    """Return (rows, columns)."""
    with opened(path) as picture:
        return picture.height, picture.width


def notes(path: Path) -> tuple[str, ...]:
    """Say whether a camera wrote that the picture is to be turned."""
    with opened(path) as picture:
        return _turned(picture)


def _turned(picture: Image.Image) -> tuple[str, ...]:
    way = picture.getexif().get(0x0112, 1)
    if way not in range(2, 9):
        return ()
    return (
        f"its EXIF orientation is {way}, which is not applied here: a program that "
        "applies it shows it turned or mirrored, so that its masks would not fit.",
    )


def _is_grey(picture: Image.Image) -> bool:
    """Tell whether all colours of a palette that are used are grey."""
    palette = np.array(picture.getpalette("RGB"), np.uint8).reshape(-1, 3)
    used = palette[np.unique(np.asarray(picture))]
    return bool((used[:, :1] == used).all())
