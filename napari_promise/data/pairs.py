"""Find images and the masks that belong to them; take and read their planes as samples.

Folders, tables and paths in, pairs and arrays out. Every error names the file.
"""

from __future__ import annotations

import contextlib
import csv
import glob
import os
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from napari_promise.data.images import (
    IMAGE_SUFFIXES,
    LatestRead,
    OpenedImage,
    images_among,
    is_image,
    plane_name,
    read_mask,
    shape_of,
    stem_of,
)
from napari_promise.data.naming import match
from napari_promise.document import Plane
from napari_promise.files import one_line

__all__ = [
    "ImagePair",
    "Pair",
    "Sample",
    "SampleReader",
    "find_images",
    "find_pairs",
    "images_of",
    "planes_of",
    "read_pairs",
    "unpaired_images",
]

PathLike = str | os.PathLike[str]

_NAMED_IN_ERRORS = 5


@dataclass(frozen=True)
class Pair:
    """An image file, its mask file, and the group that must not be divided.

    Attributes
    ----------
    image, mask : pathlib.Path
    group : str or None
        Patient, sequence, stack or the like; ``None`` for an image on its own.
    plane : tuple of int
        The plane of both that is meant; ``()`` for all there is, see `planes_of`.
    """

    image: Path
    mask: Path
    group: str | None = None
    plane: Plane = ()

    @property
    def name(self) -> str:
        """The image in words: ``a.nii.gz, plane 3``."""
        return plane_name(self.image.name, self.plane)


class ImagePair(Protocol):
    """What training and evaluating need to know of a pair; a `Pair` is one."""

    @property
    def image(self) -> Path:
        """Image file."""

    @property
    def mask(self) -> Path:
        """Mask or label file."""

    @property
    def group(self) -> str | None:
        """Patient, sequence or the like; None for an image on its own."""

    @property
    def plane(self) -> Plane:
        """Which plane of both files; () for all there is, see `planes_of`."""


def find_images(sources: Iterable[PathLike]) -> list[Path]:
    """Expand files, folders and patterns to image files, each once.

    Parameters
    ----------
    sources : iterable of path
        A folder stands for the images directly in it (see `IMAGE_SUFFIXES`; slices of
        a DICOM series, also those of a folder below, are one image), a
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
    """Match images with their masks by their names.

    ``a.jpg`` belongs to ``a.png`` or ``a.tif``, or to a mask whose name has one of the
    usual additions: ``a_mask.png``, ``A_seg.tif``, ``a.jpg.png``; see `data.naming`.

    Parameters
    ----------
    images_dir, masks_dir : path
        Folders. They may be the same, if the masks have such an addition.
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
        raise ValueError(
            f"{table} cannot be read as CSV ({one_line(error)}): check what it names."
        ) from error
    if not pairs:
        raise ValueError(f"{table} holds no pairs: give one a line.")
    return list(pairs.values())


# Planes


def images_of(pairs: Iterable[ImagePair]) -> Iterator[npt.NDArray[np.uint8]]:
    """Yield what SAM sees of each sample, in order; what cannot be read is left out.

    Parameters
    ----------
    pairs : iterable of ImagePair
        Of single planes, see `planes_of`.

    Yields
    ------
    (H, W, 3) uint8
    """
    files = SampleReader()
    for pair in pairs:
        with contextlib.suppress(OSError, ValueError):
            yield files.read(pair).rgb8


def planes_of(pairs: Iterable[ImagePair]) -> Iterator[Pair]:
    """Take the planes of stacks as samples; pairs of one plane come as they are.

    Of a stack the planes that hold an object are taken. Its other planes are not:
    nobody knows whether they were looked at, and they would outnumber the rest. A stack
    whose whole mask is empty says by that that there is nothing: its middle plane is
    taken.

    Parameters
    ----------
    pairs : iterable of ImagePair

    Yields
    ------
    Pair
        Planes of one stack come one after the other and share a group, so that no
        part is held out of a stack that is trained on. Only where one stack is all
        there is each plane stands for itself. Pairs whose files cannot be read, or
        whose shapes differ, come as they are: who reads them says what is wrong.
    """
    pairs = list(pairs)
    names = _file_names([pair.image for pair in pairs])
    for pair, name in zip(pairs, names, strict=True):
        planes = None if pair.plane else _planes_with_objects(pair)
        if planes is None:
            yield Pair(pair.image, pair.mask, pair.group, pair.plane)
            continue
        for plane in planes:
            group = pair.group or name
            if len(pairs) == 1 and pair.group is None:
                group = plane_name(name, plane)
            yield Pair(pair.image, pair.mask, group, plane)


def _planes_with_objects(pair: ImagePair) -> list[Plane] | None:
    """Return the planes to take; None for a pair of one plane or a broken one."""
    try:
        shape = shape_of(pair.mask)
        if len(shape) < 3 or shape_of(pair.image) != shape:
            return None
        mask = read_mask(pair.mask)
    except (OSError, ValueError):
        return None
    planes = [plane for plane in np.ndindex(mask.shape[:-2]) if mask[plane].any()]
    return planes or [tuple(n // 2 for n in mask.shape[:-2])]


def _file_names(paths: list[Path]) -> list[str]:
    """Return names that differ where files do, without a slash.

    A slash would make the first part the name of a data set, see `read_pairs`.
    """
    alike = Counter(path.name for path in paths)
    folders = [str(path.parent) for path in paths]
    base = os.path.commonpath(folders) if len(set(folders)) > 1 else ""
    return [
        path.name
        if alike[path.name] == 1 or not base
        else ": ".join(Path(os.path.relpath(path, base)).parts)
        for path in paths
    ]


@dataclass(frozen=True, eq=False)
class Sample:
    """One plane with its mask, as training, evaluating and comparing take it.

    Attributes
    ----------
    image : OpenedImage
        The whole image, which decides the contrast.
    plane : tuple of int
    mask : (row, column) integer
        Ids, 0 the background.
    """

    image: OpenedImage
    plane: Plane
    mask: npt.NDArray[Any]

    @property
    def rgb8(self) -> npt.NDArray[np.uint8]:
        """The plane as SAM sees it, (row, column, 3)."""
        return self.image.rgb8(self.plane)


class SampleReader:
    """Reads pairs, a stack once for all of its planes that follow each other."""

    def __init__(self) -> None:
        self._files = LatestRead()

    def read(self, pair: ImagePair) -> Sample:
        """Read one plane and its mask.

        Parameters
        ----------
        pair : Pair
            Of one plane, or with its plane named (see `planes_of`).

        Returns
        -------
        Sample

        Raises
        ------
        FileNotFoundError
            If a file is gone.
        ValueError
            If one cannot be read, or they do not fit together; names them.
        """
        image = self._files.image(pair.image)
        mask = self._files.mask(pair.mask)
        if mask.shape[1:] == image.shape:
            raise ValueError(
                f"{pair.mask} has {mask.shape[0]} pages for one image: save its "
                "objects as the numbers 1, 2, 3 … on one page."
            )
        if image.shape != mask.shape:
            sizes = [" x ".join(map(str, shape)) for shape in (image.shape, mask.shape)]
            raise ValueError(
                f"{pair.image} has {sizes[0]} pixels, its mask {pair.mask} {sizes[1]}: "
                "they must be equal"
            )
        if len(pair.plane) != mask.ndim - 2:
            raise ValueError(
                f"{pair.image} is a stack of {' x '.join(map(str, mask.shape))}: name "
                "the planes (data.pairs.planes_of)"
            )
        return Sample(image, pair.plane, mask[pair.plane] if pair.plane else mask)


# Folders


def _folder(path: PathLike) -> Path:
    path = Path(path)
    if not path.is_dir():
        raise ValueError(f"{path} is no folder: check the name.")
    return path


def _files_in(folder: Path) -> list[Path]:
    return sorted(
        path
        for path in folder.iterdir()
        if not path.name.startswith(".") and path.is_file() and is_image(path)
    )


def _images_in(folder: Path) -> list[Path]:
    """Return the images in a folder: files, slices of a DICOM series as one."""
    return _images_among(folder, _files_in(folder))


def _images_among(folder: Path, files: list[Path]) -> list[Path]:
    """Return the images that the files of a folder make, and folders of one series."""
    images = images_among(folder, [path.name for path in files])
    for below in folder.iterdir():
        if not below.name.startswith(".") and below.is_dir():
            series = images_among(below, [path.name for path in _files_in(below)])
            if len(series) == 1 and not series[0].exists():
                images += series
    return sorted(images)


def _refuse_equal_stems(paths: Iterable[Path]) -> None:
    found: dict[str, Path] = {}
    for path in paths:
        earlier = found.setdefault(stem_of(path), path)
        if earlier != path:
            raise ValueError(
                f"{earlier} and {path.name} have the same stem, so it is not clear "
                "which is meant: rename or remove one of them."
            )


def _matched(
    images_dir: Path, masks_dir: Path, pattern: re.Pattern[str] | None
) -> tuple[list[Pair], list[Path]]:
    """Pairs, and the images that have no mask."""
    together = images_dir.resolve() == masks_dir.resolve()
    files = {path.name: path for path in _files_in(images_dir)}
    images = {path.name: path for path in _images_among(images_dir, [*files.values()])}
    masks = files if together else {p.name: p for p in _images_in(masks_dir)}
    matching = match(images, masks, same_folder=together)
    if images != files and not matching.masks:
        by_slice = match(files, masks, same_folder=together)
        if by_slice.masks:  # slices of a series, labelled one by one
            images, matching = files, by_slice
    if together:
        images = {k: v for k, v in images.items() if k not in matching.fitting}
    _refuse_equal_stems(images.values())
    pairs, alone = [], []
    for name, image in images.items():
        if name in matching.unclear:
            raise ValueError(
                f"{image} may belong to {' or '.join(matching.unclear[name])} in "
                f"{masks_dir}, so it is not clear which is meant: rename or remove all "
                "but one, or name the pairs in a table (--pairs)."
            )
        mask = matching.masks.get(name)
        if mask is None:
            alone.append(image)
            continue
        group = _group_of(stem_of(image), pattern) or matching.shared.get(name)
        pairs.append(Pair(image, masks_dir / mask, group))
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
