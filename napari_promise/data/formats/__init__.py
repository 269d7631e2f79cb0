"""One module for each family of image files: pictures, TIFF, NumPy, NIfTI, DICOM.

Each has ``SUFFIXES``, ``read(path) -> Raw``, and ``shape(path)``, ``place(path)`` and
``notes(path)``, which read no more than the header. They raise whatever their
libraries raise; `read`, `shape`, `place` and `notes` here choose among them and turn
that into one line that names the file.

Nothing is decided here about what numbers mean: `data.images` says what an image is,
`data.masks` what the ids of a mask are.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from types import ModuleType
from typing import TypeVar

from napari_promise.data.formats import (
    dicom,
    dicom_series,
    nifti,
    numpy_files,
    pictures,
    tiff,
)
from napari_promise.data.formats.raw import Raw, Unreadable
from napari_promise.data.place import Place
from napari_promise.files import one_line

__all__ = [
    "Raw",
    "SUFFIXES",
    "exists",
    "format_of",
    "images_among",
    "is_image",
    "notes",
    "place",
    "read",
    "shape",
    "status",
    "told",
]

_FORMATS: tuple[ModuleType, ...] = (pictures, tiff, numpy_files, nifti, dicom)

#: What is taken for an image in a folder; a file named outright may be anything.
SUFFIXES: tuple[str, ...] = tuple(s for each in _FORMATS for s in each.SUFFIXES)

_T = TypeVar("_T")


def format_of(path: Path) -> ModuleType:
    """Return the module that reads a file, by its name; a picture if in doubt.

    DICOM files often have no suffix, or a number for one: their first bytes tell.
    """
    name = path.name.lower()
    if dicom_series.is_series(path):
        return dicom_series
    for each in _FORMATS:
        if name.endswith(each.SUFFIXES):
            return each
    return dicom if dicom.begins_as_dicom(path) else pictures


def is_image(path: Path) -> bool:
    """Tell whether a file in a folder is taken for an image.

    By its suffix; of files without one, or with a number for one, by the first bytes.
    """
    if path.name.lower().endswith(SUFFIXES):
        return True
    if path.name.upper() == "DICOMDIR" or not dicom.may_be(path.name):
        return False
    return dicom.begins_as_dicom(path)


def images_among(folder: Path, names: Iterable[str]) -> list[Path]:
    """Return the images that some files of a folder make.

    Parameters
    ----------
    folder : Path
    names : iterable of str
        Of files, each taken for an image by itself (see `is_image`).

    Returns
    -------
    list of Path
        The files; but slices of a DICOM series are one image, see `dicom_series`.
    """
    files = {name: folder / name for name in names}
    for series in dicom_series.series_among(folder, list(files)):
        for one in series.slices:
            del files[one.name]
        files[series.path.name] = series.path
    return list(files.values())


def status(path: Path) -> tuple[int, int]:
    """Return the size and the time of the last change, ns, of all that is read.

    Raises
    ------
    OSError
        If it is not there.
    """
    if not dicom_series.is_series(path):
        one = path.stat()
        return one.st_size, one.st_mtime_ns
    every = [each.stat() for each in dicom_series.slices_of(path)]
    return sum(s.st_size for s in every), max(s.st_mtime_ns for s in every)


def exists(path: Path) -> bool:
    """Tell whether an image is there: its file, or its slices."""
    if not dicom_series.is_series(path):
        return path.is_file()
    try:
        return bool(dicom_series.slices_of(path))
    except OSError:
        return False


def read(path: Path, *, palette: bool = False) -> Raw:
    """Read a file as it is.

    Parameters
    ----------
    path : Path
    palette : bool
        Whether it is read as ids: a palette as its indices instead of its colours.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read; one line naming the file.
    """
    chosen = format_of(path)
    if chosen in (pictures, tiff):
        return told(path, lambda: chosen.read(path, palette=palette))
    return told(path, lambda: chosen.read(path))


def shape(path: Path) -> tuple[int, ...]:
    """Return (..., rows, columns) of a file without reading its pixels.

    Raises
    ------
    FileNotFoundError, ValueError
        See `read`.
    """
    return told(path, lambda: format_of(path).shape(path))


def place(path: Path) -> Place:
    """Return where an image lies without reading its pixels.

    Raises
    ------
    FileNotFoundError, ValueError
        See `read`.
    """
    return told(path, lambda: format_of(path).place(path))


def notes(path: Path) -> tuple[str, ...]:
    """Return what is odd about an image without reading its pixels.

    Raises
    ------
    FileNotFoundError, ValueError
        See `read`.
    """
    return told(path, lambda: format_of(path).notes(path))


def told(path: Path, call: Callable[[], _T]) -> _T:
    """Read a file by `call`, telling what goes wrong in one line that names it.

    Raises
    ------
    FileNotFoundError, ValueError
        See `read`.
    """
    if not path.is_file() and not dicom_series.is_series(path):
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {what}: check the name.")
    try:
        return call()
    except (Unreadable, FileNotFoundError):
        raise
    except MemoryError as error:
        raise ValueError(
            f"{path} needs more memory than there is, or says so and is damaged: open "
            "a part of it, or a smaller copy."
        ) from error
    except Exception as error:
        # Each library has its own errors for damaged bytes, some of many lines.
        reason = one_line(error).replace(f" {str(path)!r}", "")  # named already
        raise ValueError(
            f"{path} cannot be read ({reason}): check that it is a whole image file of "
            "the kind its name says."
        ) from error
