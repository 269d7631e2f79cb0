"""Find the images of a folder, a list or a table with their masks, and read them.

Nothing is read to find them: thousands of images cost as many directory entries. Knows
files and arrays; neither the project's own files nor windows.
"""

from __future__ import annotations

import csv
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from napari_promise.data import pairs
from napari_promise.data.pairs import MASK_ENDINGS, stem_of
from napari_promise.data.planes import to_rgb8
from napari_promise.files import one_line

__all__ = [
    "SUFFIXES",
    "Found",
    "Listing",
    "OpenedImage",
    "find",
    "find_listed",
    "find_tabled",
    "finder",
    "read",
    "refuse_empty",
    "thumbnail",
]

DICOM_SUFFIXES = (".dcm", ".dicom")
NIFTI_SUFFIXES = (".nii", ".nii.gz")
#: What counts as an image in a folder.
SUFFIXES = (*pairs.IMAGE_SUFFIXES, *DICOM_SUFFIXES)
#: Folders whose files are masks of the images beside them.
MASK_FOLDERS = ("masks", "labels", "mask", "label")
IMAGE_FOLDERS = ("images", "image", "imgs", "img")

_UNITS = {"micron": "um", "mm": "mm", "meter": "m"}


@dataclass(frozen=True)
class Found:
    """One image file.

    Attributes
    ----------
    key : str
        Its path relative to the source, with slashes; what the project calls it.
    path : Path
    mask : Path or None
        A mask that was there already.
    group : str or None
    """

    key: str
    path: Path
    mask: Path | None = None
    group: str | None = None


@dataclass(frozen=True)
class Listing:
    """The images of a source.

    Attributes
    ----------
    images : tuple of Found
        In the order in which they are shown.
    notes : tuple of str
        What could not be made sense of, one line each.
    """

    images: tuple[Found, ...]
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, eq=False)
class OpenedImage:
    """An image that was read.

    Attributes
    ----------
    array : (..., H, W) or (..., H, W, 3 | 4)
    rgb : bool
        Whether the last axis holds the channels.
    placement : dict
        Keyword arguments of a napari layer: ``scale`` where the file states the size
        of a pixel. A scan's turn in the world is left out, so that its planes lie
        flat; `world` has it.
    unit : str or None
        Of the scale: ``"mm"``, ``"um"``, ``"m"``.
    name : str
    world : (ndim + 1, ndim + 1) float64 or None
        From data to world, axes as in the array; NIfTI only.
    """

    array: NDArray[Any]
    rgb: bool
    name: str
    placement: dict[str, Any] = field(default_factory=dict)
    unit: str | None = None
    world: NDArray[np.float64] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of its labels, (..., H, W)."""
        return self.array.shape[:-1] if self.rgb else self.array.shape


# Finding


def key_of(path: Path, source: Path) -> str:
    """Return what the project calls a file.

    The same name on every system: slashes, and accents composed.
    """
    try:
        relative = Path(os.path.relpath(path, source))
    except ValueError:  # another drive
        relative = path
    return unicodedata.normalize("NFC", relative.as_posix())


def find(source: Path) -> Listing:
    """Find the images in a folder and its subfolders, with their masks.

    Hidden folders are left alone. Masks lie in a folder ``masks`` or ``labels``, in
    the images' folder or beside it, where the images' is called ``images``; or beside
    the image with an ending: ``NAME_mask.png``.

    Parameters
    ----------
    source : Path
        A folder.

    Returns
    -------
    Listing
        By name, numbers in their order: ``b2`` before ``b10``.

    Raises
    ------
    ValueError
        If it is no folder or cannot be read.
    """
    try:
        folders = dict(_walk(source, source, frozenset()))
    except OSError as error:
        raise ValueError(
            f"{source} cannot be read ({error.strerror}): choose a folder of images."
        ) from error
    masks = {path: files for path, (files, is_mask) in folders.items() if is_mask}
    if source.name.lower() in IMAGE_FOLDERS:
        for name in MASK_FOLDERS:
            beside = source.parent / name
            if beside.is_dir():
                for path, (files, _) in _walk(beside, beside, frozenset()):
                    masks[path] = files
    chooser = _Masks(source, masks)
    found = []
    for folder, (files, is_mask) in folders.items():
        if is_mask:
            continue
        stems = _stems(files)
        for name in files:
            if _base_of_mask(stem_of(name), stems) is not None:
                continue
            path = folder / name
            found.append(
                Found(key_of(path, source), path, chooser.of(folder, name, stems))
            )
    return Listing(
        tuple(sorted(found, key=lambda f: _natural(f.key))), tuple(chooser.notes)
    )


def find_listed(images: Sequence[Path], source: Path) -> Listing:
    """Take the images of a list, in its order, each once.

    Masks are looked for beside each as `find` does within its folder.

    Raises
    ------
    ValueError
        If the list is empty or a file is missing.
    """
    if not images:
        raise ValueError("the list of images is empty: name one at least.")
    missing = [str(path) for path in images if not Path(path).is_file()]
    if missing:
        raise ValueError(
            f"{len(missing)} of {len(images)} images do not exist: "
            f"{', '.join(missing[:3])}. Check the names."
        )
    found: dict[str, Found] = {}
    listings: dict[Path, dict[Path, Path | None]] = {}
    notes: list[str] = []
    for path in map(Path, images):
        folder = path.parent
        if folder not in listings:
            beside = find(folder)
            notes += beside.notes
            listings[folder] = {one.path: one.mask for one in beside.images}
        key = key_of(path, source)
        found.setdefault(key, Found(key, path, listings[folder].get(path)))
    return Listing(tuple(found.values()), tuple(notes))


def find_tabled(table: Path) -> Listing:
    """Take the images of a CSV file with the columns image, mask and group.

    Only ``image`` is needed; paths are relative to the table's folder. Masks named
    there may be missing cell by cell.

    Raises
    ------
    ValueError
        If the table cannot be read, has no column ``image``, or names no image.
    """
    found: dict[str, Found] = {}
    notes = []
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file, skipinitialspace=True)
            if "image" not in (rows.fieldnames or ()):
                raise ValueError(
                    f"{table} has no column image: the first line must name image and "
                    "perhaps mask and group."
                )
            for row in rows:
                if not row["image"]:
                    continue
                path = table.parent / row["image"]
                mask = table.parent / row["mask"] if row.get("mask") else None
                where = f"{table}, line {rows.line_num}"
                if not path.is_file():
                    notes.append(f"{where}: {row['image']} does not exist; left out.")
                    continue
                if mask is not None and not mask.is_file():
                    notes.append(
                        f"{where}: the mask {row['mask']} does not exist; the image "
                        "is taken without."
                    )
                    mask = None
                key = key_of(path, table.parent)
                if key in found:
                    notes.append(f"{where}: {row['image']} comes twice; taken once.")
                found.setdefault(key, Found(key, path, mask, row.get("group") or None))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise ValueError(f"{table} cannot be read as CSV ({error}).") from error
    if not found:
        raise ValueError(f"{table} names no image that exists: give one a line.")
    return Listing(tuple(found.values()), tuple(_shortened(notes)))


def _shortened(notes: list[str], most: int = 5) -> list[str]:
    more = len(notes) - most
    return notes if more <= 0 else [*notes[:most], f"… and {more} lines more like it."]


def _walk(
    folder: Path, top: Path, seen: frozenset[tuple[int, int]], is_mask: bool = False
) -> Iterable[tuple[Path, tuple[list[str], bool]]]:
    """Yield folders with their image files, and whether these are masks."""
    status = folder.stat()
    mark = (status.st_dev, status.st_ino)
    if mark in seen:  # a link to a folder that it lies in
        return
    files, below = [], []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                if entry.name.lower().endswith(SUFFIXES):
                    if entry.is_file():
                        files.append(entry.name)
                elif entry.is_dir():
                    below.append(entry.name)
    except PermissionError:
        if folder == top:
            raise
        return
    yield folder, (files, is_mask)
    for name in sorted(below):
        mask = is_mask or name.lower() in MASK_FOLDERS
        yield from _walk(folder / name, top, seen | {mark}, mask)


def _stems(files: Iterable[str]) -> dict[str, list[str]]:
    stems: dict[str, list[str]] = {}
    for name in files:
        stems.setdefault(stem_of(name), []).append(name)
    return stems


def _base_of_mask(stem: str, stems: Mapping[str, Any]) -> str | None:
    """Return the stem of the image beside it that a file is the mask of."""
    lower = stem.lower()
    for ending in MASK_ENDINGS:
        if lower.endswith(ending) and stem[: -len(ending)] in stems:
            return stem[: -len(ending)]
    return None


class _Masks:
    """Chooses the mask of an image among the folders of masks."""

    def __init__(self, source: Path, folders: Mapping[Path, list[str]]) -> None:
        self.notes: list[str] = []
        self._source = source
        self._stems = {path: _stems(files) for path, files in folders.items()}
        # Masks and masks are the same to most people.
        self._actual = {str(path).casefold(): path for path in folders}
        self._known_places: dict[Path, list[Path]] = {}

    def of(self, folder: Path, name: str, beside: dict[str, list[str]]) -> Path | None:
        stem = stem_of(name)
        if len(beside[stem]) > 1:
            clash = ", ".join(sorted(beside[stem]))
            candidates = [w for w in self._places(folder) if self._named(w, stem)]
            if candidates and name == min(beside[stem]):
                self.notes.append(
                    f"{folder}: {clash} have the same stem, so it is not clear whose "
                    "mask that is; they are taken without."
                )
            return None
        for where in self._places(folder):
            names = self._named(where, stem)
            if len(names) == 1:
                return where / names[0]
            if names:
                self.notes.append(
                    f"{where}: {', '.join(sorted(names))} have the same stem; {name} "
                    "is taken without a mask."
                )
                return None
        for ending in MASK_ENDINGS:
            names = beside.get(stem + ending, [])
            if len(names) == 1:
                return folder / names[0]
        return None

    def _named(self, where: Path, stem: str) -> list[str]:
        stems = self._stems[where]
        for name in (stem, *(stem + ending for ending in MASK_ENDINGS)):
            if name in stems:
                return stems[name]
        return []

    def _places(self, folder: Path) -> list[Path]:
        """Folders that may hold the masks of a folder's images, nearest first."""
        if folder not in self._known_places:
            self._known_places[folder] = self._look_for_places(folder)
        return self._known_places[folder]

    def _look_for_places(self, folder: Path) -> list[Path]:
        if not self._stems:
            return []
        places = [folder / name for name in MASK_FOLDERS]
        try:
            parts = folder.relative_to(self._source.parent).parts
        except ValueError:
            return []
        for at in reversed(range(len(parts))):
            above = self._source.parent.joinpath(*parts[:at])
            for name in MASK_FOLDERS:
                # images/a/b has its masks in masks/a/b, and so has a/b itself.
                if parts[at].lower() in IMAGE_FOLDERS:
                    places.append(above.joinpath(name, *parts[at + 1 :]))
                if at > 0:
                    places.append(above.joinpath(name, *parts[at:]))
        found = (self._actual.get(str(place).casefold()) for place in places)
        return [place for place in dict.fromkeys(found) if place is not None]


def _natural(key: str) -> list[tuple[int, int | str]]:
    return [
        (0, int(part)) if part.isdecimal() else (1, part)
        for part in re.split(r"(\d+)", key.casefold())
    ]


# Reading


def read(path: Path) -> OpenedImage:
    """Read an image as it is.

    Parameters
    ----------
    path : Path
        What `data.pairs.read_image` reads, or DICOM where pydicom is installed.

    Returns
    -------
    OpenedImage

    Raises
    ------
    FileNotFoundError
        If it is gone.
    ValueError
        If it cannot be read; one line naming the file.
    """
    name = path.name.lower()
    if name.endswith(DICOM_SUFFIXES):
        return _read_dicom(path)
    array = pairs.read_image(path)
    if array.dtype.kind not in "buif":
        raise ValueError(
            f"{path} holds numbers of type {array.dtype}, which cannot be shown: "
            "convert it to integers or floats."
        )
    if name.endswith(NIFTI_SUFFIXES):
        placement, unit, world = nifti_place(path)
        return OpenedImage(array, False, stem_of(path), placement, unit, world)
    rgb = array.ndim >= 3 and array.shape[-1] in (3, 4)
    return OpenedImage(array, rgb, stem_of(path))


def nifti_place(
    path: Path,
) -> tuple[dict[str, Any], str | None, NDArray[np.float64]]:
    """Read where a scan lies, not its pixels.

    Returns
    -------
    placement : dict
    unit : str or None
    world : (ndim + 1, ndim + 1) float64
        See `OpenedImage`.

    Raises
    ------
    ValueError
        If it is no scan.
    """
    import nibabel
    from nibabel.filebasedimages import ImageFileError

    try:
        header = nibabel.load(path)
    except ImageFileError as error:
        raise ValueError(f"{path} cannot be read ({error}).") from error
    lengths = header.shape[::-1]
    # Axes of length 1 were left out of the array: so they are here.
    kept = list(range(len(lengths)))
    while len(kept) > 2 and 1 in (before := [lengths[axis] for axis in kept[:-2]]):
        kept.pop(before.index(1))
    zooms = np.asarray(header.header.get_zooms(), np.float64)[::-1][kept]
    zooms = np.where(np.isfinite(zooms) & (zooms > 0), zooms, 1.0)
    world = np.eye(len(lengths) + 1)
    spatial = min(3, len(lengths))
    first = len(lengths) - spatial
    affine = np.asarray(header.affine, np.float64)
    world[first:-1, first:-1] = affine[:spatial, :spatial][::-1, ::-1]
    world[first:-1, -1] = affine[:spatial, 3][::-1]
    chosen = [*kept, len(lengths)]
    world = world[np.ix_(chosen, chosen)]
    if not np.isfinite(world).all() or np.linalg.det(world[:-1, :-1]) == 0:
        world = np.diag([*zooms, 1.0])
    unit = _UNITS.get(header.header.get_xyzt_units()[0])
    return {"scale": tuple(float(z) for z in zooms)}, unit, world


def _read_dicom(path: Path) -> OpenedImage:
    if not path.is_file():
        raise FileNotFoundError(f"{path} does not exist: check the name.")
    try:
        from pydicom import dcmread
        from pydicom.pixels import apply_color_lut, pixel_array
    except ImportError:
        raise ValueError(
            f"{path} is a DICOM file: install pydicom 3 to open it "
            "(pip install 'pydicom>=3')."
        ) from None
    try:
        data = dcmread(path)
        array = np.asarray(pixel_array(data))  # YBR comes as RGB
        colours = str(data.get("PhotometricInterpretation", ""))
        if colours == "PALETTE COLOR":
            array = apply_color_lut(array, data)
            if array.dtype == np.uint16:  # entries of 16 bits, whatever they stand for
                array = (array >> 8).astype(np.uint8)
    except Exception as error:
        # Damaged bytes, and codecs that are not installed, have errors of many kinds.
        reason = one_line(error)
        raise ValueError(f"{path} cannot be read ({reason}).") from error
    rgb = int(data.get("SamplesPerPixel", 1)) == 3 or colours == "PALETTE COLOR"
    if not rgb:
        slope = float(data.get("RescaleSlope", 1) or 1)
        shift = float(data.get("RescaleIntercept", 0) or 0)
        if (slope, shift) != (1.0, 0.0):
            array = array.astype(np.float32) * np.float32(slope) + np.float32(shift)
        if colours == "MONOCHROME1":  # the least value is white
            array = array.max() - array + array.min()
    placement: dict[str, Any] = {}
    spacing = data.get("PixelSpacing")
    if spacing is not None and len(spacing) == 2:
        size = [float(value) for value in spacing]
        if array.ndim - rgb == 3:
            size.insert(0, float(data.get("SliceThickness", 1) or 1))
        if all(value > 0 for value in size):
            placement["scale"] = tuple(size)
    unit = "mm" if placement else None
    return OpenedImage(array, rgb, stem_of(path), placement, unit)


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

    name = path.name.lower()
    small: NDArray[Any]
    if name.endswith((".jpg", ".jpeg")):
        try:
            with Image.open(path) as picture:
                picture.draft("RGB", (2 * size, 2 * size))  # decodes a fraction only
                small = np.asarray(picture.convert("RGB"))
        except (OSError, SyntaxError, ValueError) as error:
            raise ValueError(f"{path} cannot be read ({error}).") from error
    elif name.endswith(NIFTI_SUFFIXES):
        small = to_rgb8(_nifti_middle(path))
    else:
        image = read(path)
        middle = tuple(n // 2 for n in image.shape[:-2])
        plane = image.array[middle]
        # Reading less is quicker than averaging more, where a plane is large.
        stride = max(1, max(plane.shape[:2]) // (4 * size))
        small = to_rgb8(plane[::stride, ::stride], rgb=image.rgb)
    drawn = Image.fromarray(small)
    drawn.thumbnail((size, size))
    return np.asarray(drawn)


def _nifti_middle(path: Path) -> NDArray[Any]:
    import nibabel

    try:
        volume = nibabel.load(path)
        index = tuple(n // 2 for n in volume.shape[2:])
        return np.asarray(volume.dataobj[(slice(None), slice(None), *index)]).T
    except FileNotFoundError:
        raise
    except Exception as error:
        reason = one_line(error)
        raise ValueError(f"{path} cannot be read ({reason}).") from error


def finder(
    source: Path, listed: Sequence[str | os.PathLike[str]] | None
) -> Callable[[], Listing]:
    """Return what lists the images of a source, now and whenever it is asked again.

    Parameters
    ----------
    source : Path
        A folder or a table.
    listed : sequence of path, optional
        These images alone.

    Raises
    ------
    ValueError
        If there is no such folder.
    """
    if listed is not None:
        paths = [Path(os.path.abspath(path)) for path in listed]
        base = source.parent if source.is_file() else source
        return lambda: find_listed(paths, base)
    if source.is_file():
        return lambda: find_tabled(source)
    if not source.exists():
        raise ValueError(f"{source} does not exist: choose a folder of images.")
    return lambda: find(source)


def refuse_empty(source: Path) -> NoReturn:
    """Say that a source holds no image."""
    raise ValueError(
        f"{source} holds no image: choose a folder with {', '.join(SUFFIXES)} files."
    )
