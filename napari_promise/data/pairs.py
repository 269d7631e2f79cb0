"""Find and read image files and the masks that belong to them.

Knows no model and no window: folders and paths in, arrays out. Every error names the
file. NIfTI axes (x, y, z) are reversed to (plane, row, column), as `export` does.
"""

from __future__ import annotations

import csv
import glob
import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from napari_promise.files import one_line

__all__ = [
    "IMAGE_SUFFIXES",
    "MASK_ENDINGS",
    "Pair",
    "find_images",
    "find_pairs",
    "read_image",
    "read_mask",
    "read_pairs",
    "stem_of",
    "unpaired_images",
]

PathLike = str | os.PathLike[str]

#: What is taken for an image in a folder; a file named outright may be anything.
IMAGE_SUFFIXES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".tif",
    ".tiff",
    ".bmp",
    ".gif",
    ".webp",
    ".npy",
    ".nii",
    ".nii.gz",
)

#: What data sets append to an image's stem to name its mask.
MASK_ENDINGS = ("_mask", "_masks", "_label", "_labels", "_segmentation", "_gt")

_NAMED_IN_ERRORS = 5


@dataclass(frozen=True)
class Pair:
    """An image file, its mask file, and the group that must not be divided.

    Attributes
    ----------
    image, mask : pathlib.Path
    group : str or None
        Patient, sequence or the like; ``None`` for an image on its own.
    """

    image: Path
    mask: Path
    group: str | None = None


def stem_of(path: PathLike) -> str:
    """Return a file's name without its suffix, ``.nii.gz`` counting as one.

    Examples
    --------
    >>> stem_of("scans/brain.01.nii.gz")
    'brain.01'
    """
    name = Path(path).name
    for suffix in (".nii.gz", ".ome.tif", ".ome.tiff"):
        if name.lower().endswith(suffix):
            return name[: -len(suffix)]
    return Path(name).stem


def find_images(sources: Iterable[PathLike]) -> list[Path]:
    """Expand files, folders and patterns to image files, each once.

    Parameters
    ----------
    sources : iterable of path
        A folder stands for the images directly in it (see `IMAGE_SUFFIXES`), a
        pattern such as ``"scans/*.tif"`` for the files it matches (for shells that do
        not expand them), anything else for itself.

    Returns
    -------
    list of pathlib.Path
        In the order given; within a folder or pattern by name.

    Raises
    ------
    ValueError
        If a folder holds no image or a pattern matches no file.
    """
    found: dict[Path, None] = {}
    for source in sources:
        path = Path(source)
        if path.is_dir():
            images = _images_in(path)
            if not images:
                raise ValueError(
                    f"{path} holds no image: give a folder with "
                    f"{', '.join(IMAGE_SUFFIXES)} files."
                )
        elif not path.exists() and glob.has_magic(str(path)):
            images = sorted(
                match
                for match in map(Path, glob.glob(str(path), recursive=True))
                if match.is_file()
            )
            if not images:
                raise ValueError(f"No file matches {path}: check the pattern.")
        else:
            images = [path]
        found.update(dict.fromkeys(images))
    return list(found)


def find_pairs(
    images_dir: PathLike,
    masks_dir: PathLike,
    *,
    group: str | None = None,
    skip_unpaired: bool = False,
) -> list[Pair]:
    """Match images with their masks by stem.

    ``a.jpg`` belongs to ``a.png`` or ``a.tif``, or to a mask whose stem has one of the
    usual endings: ``a_mask.png``, ``a_segmentation.png``.

    Parameters
    ----------
    images_dir, masks_dir : path
        Folders. They may be the same, if the masks have such an ending.
    group : str, optional
        A regular expression; what its first group (or the whole) matches in an
        image's stem is the pair's group, so that frames of one patient or sequence
        are never divided between training and held-out part.
    skip_unpaired : bool
        Leave out images without a mask instead of raising.

    Returns
    -------
    list of Pair
        Sorted by the images' names.

    Raises
    ------
    ValueError
        If a folder is missing, two files claim the same place, or an image has no
        mask; the message names the files.
    """
    images_dir, masks_dir = _folder(images_dir), _folder(masks_dir)
    pairs, alone = _matched(images_dir, masks_dir, _compiled(group))
    if alone and not (skip_unpaired and pairs):
        raise ValueError(
            f"{len(alone)} of {len(alone) + len(pairs)} images in {images_dir} have no "
            f"mask of the same name in {masks_dir}: "
            f"{_listed([path.name for path in alone])}. Add the masks or leave these "
            "images out (--skip-unpaired)."
        )
    if not pairs:
        raise ValueError(
            f"{images_dir} holds no image: give a folder with "
            f"{', '.join(IMAGE_SUFFIXES)} files."
        )
    return pairs


def unpaired_images(images_dir: PathLike, masks_dir: PathLike) -> list[Path]:
    """Images that `find_pairs` leaves out because they have no mask, by name."""
    return _matched(_folder(images_dir), _folder(masks_dir), None)[1]


def read_pairs(table: PathLike, *, group: str | None = None) -> list[Pair]:
    """Read a table of pairs.

    Parameters
    ----------
    table : path
        CSV with the columns ``image``, ``mask`` and perhaps ``group``; other columns
        are ignored. Paths are relative to the table's folder. A group is a patient or
        a sequence, never divided between training and held-out part; ``set/group``
        names the data set too, which is then scored alone as well.
    group : str, optional
        As in `find_pairs`, for rows without a group.

    Returns
    -------
    list of Pair
        In the order of the rows. Whether the files are there is not looked at.

    Raises
    ------
    ValueError
        If the table cannot be read, a column or a cell is missing, or a pair comes
        twice; the message names table and line.
    """
    table, pattern = Path(table), _compiled(group)
    pairs: dict[tuple[Path, Path], Pair] = {}
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            missing = {"image", "mask"}.difference(rows.fieldnames or ())
            if missing:
                raise ValueError(
                    f"{table} has no column {' and no column '.join(sorted(missing))}: "
                    "the first line must name image, mask and perhaps group."
                )
            for row in rows:
                image, mask = (table.parent / (row[c] or "") for c in ("image", "mask"))
                if not row["image"] or not row["mask"]:
                    raise ValueError(
                        f"{table}, line {rows.line_num}: an image and its mask are "
                        "needed. For an image without an object give an empty mask."
                    )
                if (image, mask) in pairs:
                    raise ValueError(
                        f"{table}, line {rows.line_num}: {image.name} with "
                        f"{mask.name} comes twice."
                    )
                named = row.get("group") or _group_of(stem_of(image), pattern)
                pairs[image, mask] = Pair(image, mask, named)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table} cannot be read as CSV ({error}).") from error
    if not pairs:
        raise ValueError(f"{table} holds no pairs: give one a line.")
    return list(pairs.values())


def read_image(path: PathLike) -> npt.NDArray[Any]:
    """Read an image file as it is: no stretching, no change of type.

    Parameters
    ----------
    path : path
        PNG, JPEG, TIFF, BMP, GIF (first frame), WebP, NPY or NIfTI.

    Returns
    -------
    array, (row, column), (row, column, 3 | 4) or (plane, ..., row, column)
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
    array = _read(path, palette=False)
    if array.ndim < 2 or array.size == 0:
        raise ValueError(
            f"{path} holds no image: its shape is {array.shape}, rows and columns are "
            "needed."
        )
    return array


def read_mask(path: PathLike) -> npt.NDArray[Any]:
    """Read a mask or label file as integer ids, 0 the background.

    Parameters
    ----------
    path : path
        What `read_image` reads.

    Returns
    -------
    array of integers, (row, column) or (plane, ..., row, column)
        8- and 16-bit ids as they are; a palette image's indices; a colour image's
        distinct colours numbered from 1 (black is background), a grey one saved as
        RGB its grey values; whole numbers in float as they are, fractions in 0..1 cut
        at one half. JPEG, and 8-bit masks that are mostly 0 and 255 with soft edges
        between, are cut above 127, so that an edge is no crowd of objects.

    Raises
    ------
    FileNotFoundError
        If there is no such file.
    ValueError
        If it cannot be read as ids; one line naming the file.
    """
    path = Path(path)
    array = _read(path, palette=True)
    if array.ndim >= 3 and array.shape[-1] in (3, 4) and _has_channels(path):
        array = _ids_of_colours(array[..., :3], lossy=_is_jpeg(path))
    if array.ndim < 2 or array.size == 0:
        raise ValueError(f"{path} holds no mask: its shape is {array.shape}.")
    if array.dtype.kind == "b":
        return array.astype(np.uint8)
    if array.dtype.kind == "f":
        return _ids_of_floats(array, path)
    if array.dtype.kind not in "ui":
        raise ValueError(f"{path} holds no mask: its type is {array.dtype}.")
    if array.dtype == np.uint8 and (_is_jpeg(path) or _has_soft_edges(array)):
        return (array > 127).astype(np.uint8)
    return array


# Reading


def _read(path: Path, palette: bool) -> npt.NDArray[Any]:
    if not path.is_file():
        what = "is a folder, not a file" if path.is_dir() else "does not exist"
        raise FileNotFoundError(f"{path} {what}: check the name.")
    name = path.name.lower()
    try:
        if name.endswith((".nii", ".nii.gz")):
            return _read_nifti(path)
        if name.endswith(".npy"):
            return np.asarray(np.load(path, allow_pickle=False))
        if name.endswith((".tif", ".tiff")):
            return _read_tiff(path)
        return _read_picture(path, palette)
    except MemoryError:
        raise
    except Exception as error:
        # Each library has its own errors for damaged bytes, some of many lines.
        reason = one_line(error)
        raise ValueError(
            f"{path} cannot be read ({reason}): check that it is a whole image file "
            "of the kind its name says."
        ) from error


def _read_nifti(path: Path) -> npt.NDArray[Any]:
    import nibabel

    volume = np.asarray(nibabel.load(path).dataobj).T
    while volume.ndim > 2 and 1 in volume.shape[:-2]:
        volume = volume.squeeze(volume.shape.index(1))
    return volume


def _read_tiff(path: Path) -> npt.NDArray[Any]:
    import tifffile

    with tifffile.TiffFile(path) as file:
        series = file.series[0]
        array = np.asarray(series.asarray())
        if "S" in series.axes:  # samples of RGB that are stored plane after plane
            array = np.moveaxis(array, series.axes.index("S"), -1)
    return array


def _read_picture(path: Path, palette: bool) -> npt.NDArray[Any]:
    from PIL import Image

    with Image.open(path) as picture:
        mode = picture.mode
        if mode == "P" and not palette:
            mode = "RGBA" if "transparency" in picture.info else "RGB"
        elif mode in ("LA", "La", "PA"):
            mode = "RGBA"
        elif mode not in ("1", "L", "P", "I", "F", "RGB", "RGBA") and not (
            mode.startswith("I;16")
        ):
            mode = "RGB"  # CMYK, YCbCr, LAB, HSV
        return np.array(picture if mode == picture.mode else picture.convert(mode))


# Masks


def _has_channels(path: Path) -> bool:
    return not path.name.lower().endswith((".nii", ".nii.gz"))


def _is_jpeg(path: Path) -> bool:
    return path.suffix.lower() in (".jpg", ".jpeg")


def _ids_of_colours(array: npt.NDArray[Any], lossy: bool) -> npt.NDArray[Any]:
    if (array[..., :1] == array).all():
        return array[..., 0]
    if lossy:  # no two pixels have the same colour there
        return np.asarray(array.max(axis=-1))
    flat = array.reshape(-1, 3)
    colours, ids = np.unique(flat, axis=0, return_inverse=True)
    ids = ids.reshape(array.shape[:-1]).astype(np.int32)
    # unique sorts, so black comes first where there is any.
    return ids if not colours[0].any() else ids + 1


def _ids_of_floats(array: npt.NDArray[Any], path: Path) -> npt.NDArray[Any]:
    array = np.nan_to_num(array, nan=0.0, posinf=np.nan, neginf=np.nan)
    if np.isfinite(array).all():
        if np.array_equal(array, np.rint(array)) and np.abs(array).max() < 2**53:
            return array.astype(np.int64)
        if array.min() >= 0 and array.max() <= 1:
            return (array > 0.5).astype(np.uint8)
    raise ValueError(
        f"{path} holds no mask: its numbers are neither whole nor within 0..1, save "
        "it as integers."
    )


def _has_soft_edges(array: npt.NDArray[np.uint8]) -> bool:
    counts = np.bincount(array.reshape(-1), minlength=256)
    return bool(counts[1:255].any() and 2 * counts[255] >= counts[1:].sum())


# Folders


def _folder(path: PathLike) -> Path:
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"{path} is no folder: check the name.")
    return path


def _images_in(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if path.name.lower().endswith(IMAGE_SUFFIXES)
        and not path.name.startswith(".")
        and path.is_file()
    )


def _by_stem(paths: Iterable[Path]) -> dict[str, Path]:
    found: dict[str, Path] = {}
    for path in paths:
        earlier = found.setdefault(stem_of(path), path)
        if earlier != path:
            raise ValueError(
                f"{earlier} and {path.name} have the same stem, so it is not clear "
                "which is meant: rename or remove one of them."
            )
    return found


def _matched(
    images_dir: Path, masks_dir: Path, pattern: re.Pattern[str] | None
) -> tuple[list[Pair], list[Path]]:
    """Pairs, and the images that have no mask."""
    masks = _by_stem(_images_in(masks_dir))
    images = _images_in(images_dir)
    if images_dir.resolve() == masks_dir.resolve():
        images = [p for p in images if not stem_of(p).lower().endswith(MASK_ENDINGS)]
    pairs, alone = [], []
    for stem, image in _by_stem(images).items():
        names = [stem, *(stem + ending for ending in MASK_ENDINGS)]
        mask = next(
            (masks[name] for name in names if masks.get(name, image) != image), None
        )
        if mask is None:
            alone.append(image)
        else:
            pairs.append(Pair(image, mask, _group_of(stem, pattern)))
    return pairs, alone


def _compiled(pattern: str | None) -> re.Pattern[str] | None:
    try:
        return None if pattern is None else re.compile(pattern)
    except re.error as error:
        raise ValueError(
            f"The group pattern {pattern!r} is no regular expression ({error})."
        ) from error


def _group_of(stem: str, pattern: re.Pattern[str] | None) -> str | None:
    found = None if pattern is None else pattern.search(stem)
    if found is None:
        return None
    return found[1] if found.re.groups else found[0]


def _listed(names: list[str]) -> str:
    shown = ", ".join(names[:_NAMED_IN_ERRORS])
    more = len(names) - _NAMED_IN_ERRORS
    return shown if more <= 0 else f"{shown} and {more} more"
