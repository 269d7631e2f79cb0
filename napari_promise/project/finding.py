"""Find the images of a folder, a list or a table, with their masks.

Nothing is read to find them, but the first bytes of files without a suffix and the
headers of DICOM files: thousands of images cost as many directory entries.
"""

from __future__ import annotations

import csv
import dataclasses
import os
import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NoReturn

from napari_promise.data.images import (
    IMAGE_SUFFIXES,
    exists,
    is_image,
    series_among,
    stem_of,
)
from napari_promise.data.naming import (
    Matching,
    is_image_folder,
    is_mask_folder,
    match,
    places_of_masks,
)
from napari_promise.files import one_line

__all__ = [
    "Found",
    "Listing",
    "find",
    "find_listed",
    "find_tabled",
    "finder",
    "refuse_empty",
]


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
    slices : tuple of Found
        Of a DICOM series its files, one by one.
    mark : str
        Which series it is; empty for a file.
    names : tuple of str
        Other keys that a series may have had.
    """

    key: str
    path: Path
    mask: Path | None = None
    group: str | None = None
    slices: tuple[Found, ...] = ()
    mark: str = ""
    names: tuple[str, ...] = ()


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

    Hidden folders are left alone. Masks lie in a folder ``masks``, ``labels`` or the
    like, in the images' folder or beside it, where the images' is called ``images``
    (``imagesTr`` with ``labelsTr``); or beside the image with an addition to its name:
    ``NAME_mask.png``. See `data.naming`. Slices of a DICOM series are one image, see
    `data.formats.dicom_series`.

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
            f"{source} cannot be read ({one_line(error)}): choose a folder of images."
        ) from error
    masks = {
        path: _masks_among(path, files)
        for path, (files, is_mask) in folders.items()
        if is_mask
    }
    if is_image_folder(source.name):
        for beside in _folders_in(source.parent):
            if is_mask_folder(beside.name):
                for path, (files, _) in _walk(beside, beside, frozenset()):
                    masks[path] = _masks_among(path, files)
    for path, those in list(masks.items()):
        # masks/CT with its slices is the mask of images/CT.nii.gz, too.
        whole = {name: file for name, file in those.items() if not file.exists()}
        if len(whole) == 1 and path.parent in masks and not is_mask_folder(path.name):
            masks[path.parent] = whole | masks[path.parent]
    chooser = _Masks(source, masks)
    found: list[Found] = []
    for folder, (files, is_mask) in folders.items():
        if is_mask:
            continue
        beside_images = match(files, files, same_folder=True)
        images = [name for name in files if name not in beside_images.fitting]
        series = series_among(folder, images)
        names = [each.path.name for each in series]
        chosen = chooser.of(folder, [*images, *names], beside_images)
        if len(series) == 1 and folder != source and chosen[names[0]] is None:
            # images/CT with its slices has its mask where that of images/CT.tif is.
            chosen |= chooser.of(folder.parent, names, Matching())
        made = {
            name: Found(key_of(folder / name, source), folder / name, chosen[name])
            for name in [*images, *names]
        }
        for each in series:
            slices = tuple(made.pop(one.name) for one in each.slices)
            name = each.path.name
            if made[name].mask is None and any(one.mask for one in slices):
                del made[name]  # somebody labelled them slice by slice
                found += slices
            else:
                made[name] = dataclasses.replace(
                    made[name],
                    slices=slices,
                    mark=each.mark,
                    names=tuple(key_of(folder / n, source) for n in each.names),
                )
        found += made.values()
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
    missing = [str(path) for path in images if not exists(path)]
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
                if not exists(path):
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
        raise ValueError(
            f"{table} cannot be read as CSV ({one_line(error)}): check what it names."
        ) from error
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
                if entry.name.lower().endswith(IMAGE_SUFFIXES):
                    if entry.is_file():
                        files.append(entry.name)
                elif entry.is_dir():
                    below.append(entry.name)
                elif entry.is_file() and is_image(entry.path):
                    files.append(entry.name)
    except PermissionError:
        if folder == top:
            raise
        return
    yield folder, (files, is_mask)
    for name in sorted(below):
        mask = is_mask or is_mask_folder(name)
        yield from _walk(folder / name, top, seen | {mark}, mask)


def _folders_in(folder: Path) -> list[Path]:
    try:
        return sorted(path for path in folder.iterdir() if path.is_dir())
    except OSError:
        return []


def _masks_among(folder: Path, files: list[str]) -> dict[str, Path]:
    """Return the masks that files make by name: slices of a DICOM series are one."""
    found = {name: folder / name for name in files}
    for series in series_among(folder, files):
        if len(series.slices) > 1:
            found[series.path.name] = series.path
    return found


class _Masks:
    """Chooses the masks of images among the folders of masks.

    Parameters
    ----------
    source : Path
    folders : mapping of Path to dict of str to Path
        Each folder's masks by name.
    """

    def __init__(self, source: Path, folders: Mapping[Path, dict[str, Path]]) -> None:
        self.notes: list[str] = []
        self._source = source
        self._files = dict(folders)
        # Masks and masks are the same to most people.
        self._actual = {str(path).casefold(): path for path in folders}
        self._names: dict[str, list[str]] = {}  # of the mask folders in a folder
        for path in folders:
            self._names.setdefault(str(path.parent).casefold(), []).append(path.name)

    def of(
        self, folder: Path, images: list[str], beside: Matching
    ) -> dict[str, Path | None]:
        """Return the masks of the images of one folder.

        Parameters
        ----------
        folder : Path
        images : list of str
            Files' names.
        beside : Matching
            Of the folder with itself.
        """
        stems: dict[str, list[str]] = {}
        for name in images:
            stems.setdefault(stem_of(name), []).append(name)
        matchings = [
            (where, match(images, self._files[where]))
            for where in self._look_for_places(folder)
        ]
        matchings.append((folder, beside))
        chosen: dict[str, Path | None] = {}
        for name in images:
            chosen[name] = None
            alike = sorted(stems[stem_of(name)])
            for where, matching in matchings:
                if name not in matching.masks and name not in matching.unclear:
                    continue
                if len(alike) > 1:
                    if name == alike[0]:
                        self.notes.append(
                            f"{folder}: {', '.join(alike)} have the same stem, so it "
                            "is not clear whose mask that is; they are taken without."
                        )
                elif name in matching.unclear:
                    self.notes.append(
                        f"{where}: {', '.join(matching.unclear[name])} may be the mask "
                        f"of {name}, which is taken without."
                    )
                else:
                    mask = matching.masks[name]
                    chosen[name] = self._files.get(where, {}).get(mask, where / mask)
                break
        return chosen

    def _look_for_places(self, folder: Path) -> list[Path]:
        """Folders that may hold the masks of a folder's images, nearest first."""
        if not self._files:
            return []
        places = [folder / name for name in self._mask_folders_in(folder)]
        try:
            parts = folder.relative_to(self._source.parent).parts
        except ValueError:
            return []
        for at in reversed(range(len(parts))):
            above = self._source.parent.joinpath(*parts[:at])
            names = self._mask_folders_in(above)
            # images/a/b has its masks in masks/a/b, and so has a/b itself.
            if is_image_folder(parts[at]):
                for name in places_of_masks(parts[at], names):
                    places.append(above.joinpath(name, *parts[at + 1 :]))
            elif at > 0:
                for name in places_of_masks("", names):
                    places.append(above.joinpath(name, *parts[at:]))
        found = (self._actual.get(str(place).casefold()) for place in places)
        return [place for place in dict.fromkeys(found) if place is not None]

    def _mask_folders_in(self, folder: Path) -> list[str]:
        names = self._names.get(str(folder).casefold(), [])
        return sorted((n for n in names if is_mask_folder(n)), key=_liking)


def _liking(name: str) -> tuple[bool, str]:
    """Sort ``masks`` and ``labels`` before other words."""
    return not name.lower().startswith(("mask", "label")), name.casefold()


def _natural(key: str) -> list[tuple[int, int | str]]:
    return [
        (0, int(part)) if part.isdecimal() else (1, part)
        for part in re.split(r"(\d+)", key.casefold())
    ]


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
        f"{source} holds no image: choose a folder with {', '.join(IMAGE_SUFFIXES)} "
        "files."
    )
