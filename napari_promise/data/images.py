"""Read every image and every mask there is: the one room for reading.

`read_image` gives an `OpenedImage`, with its planes as SAM sees them and its place in
the world; `read_mask` gives ids. The command line, the folder dock, training,
comparing, evaluating and napari's readers all come here. How each kind of file is
stored is known to `data.formats`, what the numbers of a mask mean to `data.masks`.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from napari_promise.data import formats
from napari_promise.data.formats import dicom, dicom_series, nifti, pictures
from napari_promise.data.formats.dicom_series import series_among
from napari_promise.data.formats.raw import Raw
from napari_promise.data.masks import ReadMask, read_mask, understand_mask
from napari_promise.data.naming import stem_of
from napari_promise.data.place import Place
from napari_promise.data.planes import robust_limits, to_rgb8
from napari_promise.document import Plane

__all__ = [
    "IMAGE_SUFFIXES",
    "LatestRead",
    "OpenedImage",
    "Place",
    "ReadMask",
    "dicom_series_in",
    "exists",
    "images_among",
    "is_dicom",
    "is_image",
    "notes_on",
    "place_of",
    "plane_name",
    "read_image",
    "read_mask",
    "read_series",
    "series_among",
    "shape_of",
    "status_of",
    "stem_of",
    "thumbnail",
    "understand_mask",
]

PathLike = str | os.PathLike[str]
#: What is taken for an image in a folder; a file named outright may be anything.
IMAGE_SUFFIXES = formats.SUFFIXES


@dataclass(frozen=True, eq=False)
class OpenedImage:
    """An image that was read; a source of planes for the session as it is.

    Attributes
    ----------
    array : (..., row, column) or (..., row, column, 3 | 4)
        As it is stored: no stretching, no change of type.
    rgb : bool
        Whether the last axis holds the channels.
    name : str
        The file's name without its suffix.
    place : Place
        Where it lies.
    notes : tuple of str
        What somebody who opens it should know, a sentence each.
    limits : (float, float) or None
        Where the file itself says what is black and white, as DICOM does.
    """

    array: NDArray[Any]
    rgb: bool
    name: str
    place: Place = Place()
    notes: tuple[str, ...] = ()
    limits: tuple[float, float] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its labels, (..., row, column)."""
        return self.array.shape[:-1] if self.rgb else self.array.shape

    @property
    def planes(self) -> list[Plane]:
        """Every plane's leading indices, in order; [()] for a single plane."""
        return list(np.ndindex(self.shape[:-2]))

    @property
    def first_plane(self) -> Plane:
        """The plane that is shown first: of a stack the one in the middle."""
        return tuple(n // 2 for n in self.shape[:-2])

    @property
    def placement(self) -> dict[str, Any]:
        """Keyword arguments of a napari layer: ``scale`` where the file states it.

        A scan's turn in the world is left out, so that its planes lie flat;
        ``place.world`` has it.
        """
        return {} if self.place.scale is None else {"scale": self.place.scale}

    @property
    def unit(self) -> str | None:
        """Of the scale: ``"mm"``, ``"um"``, ``"m"``."""
        return self.place.unit

    @property
    def world(self) -> NDArray[np.float64] | None:
        """From data to world, (ndim + 1, ndim + 1); NIfTI only."""
        return self.place.world

    @property
    def layer_options(self) -> dict[str, Any]:
        """Keyword arguments of a napari Image layer of `array`."""
        options: dict[str, Any] = {
            "name": self.name,
            "rgb": self.rgb or None,
            **self.place.layer_options(len(self.shape)),
        }
        if self.contrast_limits is not None:
            options["contrast_limits"] = self.contrast_limits
        return options

    @cached_property
    def contrast_limits(self) -> tuple[float, float] | None:
        """The values of a grey image shown black and white; None for colours.

        The same for all planes of a stack. One hot pixel does not move them.
        """
        if self.rgb:
            return None
        if self.limits is not None:
            return self.limits
        if self.array.dtype == np.uint8:
            return 0.0, 255.0
        if self.array.dtype == bool:
            return 0.0, 1.0
        low, high = robust_limits(self.array) or (0.0, 1.0)
        return (low, high) if low < high else (low, low + 1.0)

    def plane_pixels(self, plane: Plane) -> NDArray[Any]:
        """Return one plane as it is stored, (row, column) or with channels."""
        return self.array[plane] if plane else self.array

    def rgb8(
        self, plane: Plane = (), limits: tuple[float, float] | None = None
    ) -> NDArray[np.uint8]:
        """Return one plane as SAM sees it, (row, column, 3).

        Parameters
        ----------
        plane : tuple of int
        limits : (float, float), optional
            Instead of `contrast_limits`.

        Raises
        ------
        ValueError
            If the limits are not finite and ascending.
        """
        return to_rgb8(
            self.plane_pixels(plane), limits or self.contrast_limits, self.rgb
        )


def plane_name(name: str, plane: Plane) -> str:
    """Say which plane of what is meant.

    Examples
    --------
    >>> plane_name("a.nii.gz", (3,))
    'a.nii.gz, plane 3'
    """
    return f"{name}, plane {', '.join(map(str, plane))}" if plane else name


def read_image(path: PathLike) -> OpenedImage:
    """Read an image file as it is.

    Parameters
    ----------
    path : path
        PNG, JPEG, TIFF, BMP, GIF (first frame), WebP, NPY, NIfTI, or DICOM where
        pydicom is installed.

    Returns
    -------
    OpenedImage
        Palettes become RGB(A), grey with alpha RGBA; NIfTI axes are reversed, and
        axes of length 1 left out of them. Pixels lie as napari shows them: the
        orientation that a camera wrote beside them is not applied.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read; one line naming the file.
    """
    path = Path(path)
    return _opened(formats.read(path), path)


def read_series(paths: Sequence[PathLike]) -> OpenedImage:
    """Stack the files of one DICOM series in order of position.

    Parameters
    ----------
    paths : sequence of path
        See `dicom_series_in`.

    Returns
    -------
    OpenedImage
        Named after the folder.

    Raises
    ------
    ValueError
        If they cannot be read or stacked; one line naming a file.
    """
    files = [Path(path) for path in paths]
    raw = formats.told(files[0], lambda: dicom.read_series(files))
    return _opened(raw, files[0].parent if len(files) > 1 else files[0])


def is_dicom(path: PathLike) -> bool:
    """Tell from a file's name, or from its first bytes, whether it is DICOM."""
    return Path(path).is_file() and dicom.is_dicom(Path(path))


def is_image(path: PathLike) -> bool:
    """Tell whether a file in a folder is taken for an image, see `formats.is_image`."""
    return formats.is_image(Path(path))


def dicom_series_in(folder: PathLike) -> list[list[Path]]:
    """Find the DICOM series of a folder: the files of each, the longest series first.

    What is stacked is decided by `images_among`; every other file is one of its own.

    Raises
    ------
    ValueError
        If pydicom is missing.
    """
    folder = Path(folder)
    names = sorted(
        path.name
        for path in folder.iterdir()
        if not path.name.startswith(".") and is_dicom(path) and dicom.has_image(path)
    )
    found = [
        list(dicom_series.slices_of(path)) if dicom_series.is_series(path) else [path]
        for path in formats.images_among(folder, names)
    ]
    return sorted(found, key=len, reverse=True)


def images_among(folder: PathLike, names: Iterable[str]) -> list[Path]:
    """Return the images that files of a folder make; see `formats.images_among`."""
    return formats.images_among(Path(folder), names)


def exists(path: PathLike) -> bool:
    """Tell whether an image is there, be it a file or the slices of a series."""
    return formats.exists(Path(path))


def status_of(path: PathLike) -> tuple[int, int]:
    """Return an image's bytes and the time of its last change, ns.

    Raises
    ------
    OSError
        If it is not there.
    """
    return formats.status(Path(path))


def shape_of(path: PathLike) -> tuple[int, ...]:
    """Return (..., rows, columns) of an image or mask, reading no more than its header.

    Raises
    ------
    FileNotFoundError, ValueError
        See `read_image`.
    """
    return formats.shape(Path(path))


def place_of(path: PathLike) -> Place:
    """Read where an image lies, without reading its pixels.

    Raises
    ------
    FileNotFoundError, ValueError
        See `read_image`.
    """
    return formats.place(Path(path))


def notes_on(path: PathLike) -> tuple[str, ...]:
    """Return what somebody who uses an image should know, without reading its pixels.

    Raises
    ------
    FileNotFoundError, ValueError
        See `read_image`.
    """
    return formats.notes(Path(path))


def thumbnail(path: Path, size: int) -> NDArray[np.uint8]:
    """Draw an image small; of a stack its middle plane.

    Parameters
    ----------
    path : Path
    size : int
        Pixels of the longer side.

    Returns
    -------
    (h, w, 3) uint8

    Raises
    ------
    ValueError, FileNotFoundError
        If it cannot be read.
    """
    from PIL import Image

    small: NDArray[Any]
    if path.name.lower().endswith((".jpg", ".jpeg")):
        small = formats.told(path, lambda: pictures.small(path, 2 * size))
    elif formats.format_of(path) is nifti:
        small = formats.told(path, lambda: to_rgb8(nifti.middle(path)))
    else:
        image = read_image(path)
        plane = image.plane_pixels(image.first_plane)
        # Reading less is quicker than averaging more, where a plane is large.
        stride = max(1, max(plane.shape[:2]) // (4 * size))
        small = to_rgb8(plane[::stride, ::stride], image.limits, rgb=image.rgb)
    drawn = Image.fromarray(small)
    drawn.thumbnail((size, size))
    return np.asarray(drawn)


_T = TypeVar("_T")


class LatestRead:
    """Reads images and masks, and remembers the latest of each.

    Planes of a stack come one after the other: the file is read once for all of them.
    For one thread.
    """

    def __init__(self) -> None:
        self._image: tuple[Any, OpenedImage] | None = None
        self._mask: tuple[Any, ReadMask] | None = None

    def image(self, path: Path) -> OpenedImage:
        """See `read_image`."""
        self._image = _again(self._image, path, read_image)
        return self._image[1]

    def mask(self, path: Path) -> NDArray[Any]:
        """See `read_mask`."""
        return self.understood(path).labels

    def understood(self, path: Path) -> ReadMask:
        """See `understand_mask`."""
        self._mask = _again(self._mask, path, understand_mask)
        return self._mask[1]


def _again(
    known: tuple[Any, _T] | None, path: Path, read: Callable[[Path], _T]
) -> tuple[Any, _T]:
    """Return what is known of a file, unless it is another or has changed."""
    try:
        mark = (path, *formats.status(path))
    except OSError:
        return None, read(path)  # says what is wrong
    return known if known is not None and known[0] == mark else (mark, read(path))


def _opened(raw: Raw, path: Path) -> OpenedImage:
    array = raw.array
    if array.ndim < 2 or array.size == 0:
        raise ValueError(
            f"{path} holds no image: its shape is {array.shape}, rows and columns are "
            "needed."
        )
    if array.dtype.kind not in "buif":
        raise ValueError(
            f"{path} holds numbers of type {array.dtype}, which cannot be shown: "
            "convert it to integers or floats."
        )
    return OpenedImage(array, raw.rgb, stem_of(path), raw.place, raw.notes, raw.limits)
