"""DICOM series lying in a folder, one file a slice: each is one image.

Such an image has no file of its own. It goes by a path that does not exist, in the
folder of its slices: ``scans/CT.series`` is the one series of the folder ``scans/CT``,
``CT 3.series`` that of number 3 where there are several.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from napari_promise.data.formats import dicom
from napari_promise.data.formats.raw import Raw
from napari_promise.data.place import Place

__all__ = [
    "SUFFIX",
    "Series",
    "is_series",
    "notes",
    "place",
    "read",
    "series_among",
    "shape",
    "slices_of",
]

SUFFIX = ".series"
#: Kinds of scans that are stacked by their numbers where no slice has a position.
_SLICED = ("CT", "MR", "PT")
_FIELDS = (
    "SeriesInstanceUID SeriesNumber InstanceNumber Modality Rows Columns SOPClassUID "
    "NumberOfFrames SamplesPerPixel ImagePositionPatient ImageOrientationPatient"
)


@dataclass(frozen=True)
class Series:
    """The slices of one scan.

    Attributes
    ----------
    path : Path
        What it goes by; no file.
    slices : tuple of Path
        In order of position; two at least.
    mark : str
        Letters that tell it from every other series, whatever lies beside it.
    names : tuple of str
        What it may be called besides, as other series come into its folder or go.
    """

    path: Path
    slices: tuple[Path, ...]
    mark: str = ""
    names: tuple[str, ...] = ()


def is_series(path: Path) -> bool:
    """Tell by its name whether a path stands for the slices beside it."""
    return path.name.endswith(SUFFIX) and not path.exists()


def series_among(folder: Path, names: Sequence[str]) -> list[Series]:
    """Find which files of a folder are slices of a scan.

    Slices have their series, size and orientation in common, and each has a position;
    of CT, MR and PET a number of its own is enough. Radiographs, multi-frame files and
    files without a series stay by themselves.

    Parameters
    ----------
    folder : Path
    names : sequence of str
        Of files that are there; those that are no DICOM are left alone.

    Returns
    -------
    list of Series
        The longest first. Empty where pydicom is not installed.
    """
    candidates = [name for name in names if dicom.may_be(name)]
    if len(candidates) < 2 or find_spec("pydicom") is None:
        return []
    found: dict[tuple[Any, ...], list[tuple[Any, Path]]] = {}
    for name in candidates:
        path = folder / name
        if not dicom.is_dicom(path):
            continue
        header = _header(path)
        key = None if header is None else _key(header)
        if key is not None:
            found.setdefault(key, []).append((header, path))
    stacks = [each for each in found.values() if len(each) > 1 and _ordered(each)]
    stacks.sort(key=lambda each: (-len(each), str(each[0][0].SeriesInstanceUID)))
    parent = folder.resolve().name
    called = _names_of([each[0][0] for each in stacks], parent)
    return [
        Series(
            folder / f"{name}{SUFFIX}",
            tuple(path for _, path in dicom.in_order(each)),
            _mark(each[0][0]),
            tuple(f"{other}{SUFFIX}" for other in _names(each[0][0], parent)),
        )
        for name, each in zip(called, stacks, strict=True)
    ]


def slices_of(path: Path) -> tuple[Path, ...]:
    """Return the slices that a path stands for, in order of position.

    Raises
    ------
    FileNotFoundError
        If there are none (any more).
    """
    names: list[str] = []
    if path.parent.is_dir():
        names = sorted(
            each.name
            for each in path.parent.iterdir()
            if not each.name.startswith(".") and each.is_file()
        )
    for series in series_among(path.parent, names):
        if series.path.name == path.name:
            return series.slices
    raise FileNotFoundError(
        f"{path} is no series of DICOM slices (any more): check what lies in "
        f"{path.parent}."
    )


def read(path: Path) -> Raw:
    """Stack the slices in order of position."""
    return dicom.read_series(slices_of(path))


def shape(path: Path) -> tuple[int, ...]:
    """Return (slices, rows, columns)."""
    slices = slices_of(path)
    return (len(slices), *dicom.shape(slices[0]))


def place(path: Path) -> Place:
    """Read where it lies, not its pixels."""
    return dicom.place_of_series(slices_of(path))


def notes(path: Path) -> tuple[str, ...]:
    """Return what is doubtful about its place."""
    return dicom.notes_on_series(slices_of(path))


#: Headers of slices, so that looking at a folder again is quick.
_known: dict[Path, tuple[tuple[int, int], Any]] = {}
_MOST_KNOWN = 20_000


def _header(path: Path) -> Any | None:
    """Read what tells slices apart; None for a file that has it not."""
    from pydicom import dcmread

    status = os.stat(path)
    mark = status.st_size, status.st_mtime_ns
    known = _known.get(path)
    if known is not None and known[0] == mark:
        return known[1]
    header: Any | None
    try:
        header = dcmread(
            path, force=True, stop_before_pixels=True, specific_tags=_FIELDS.split()
        )
        header.decode()
        _key(header)
    except Exception:
        header = None  # damaged in one of many ways; who opens that very file is told
    if len(_known) >= _MOST_KNOWN:
        _known.clear()
    _known[path] = mark, header
    return header


def _key(header: Any) -> tuple[Any, ...] | None:
    """Return what slices of one scan have in common; None for what is no slice."""
    series = str(header.get("SeriesInstanceUID", ""))
    if not series or "Rows" not in header or int(header.get("NumberOfFrames") or 1) > 1:
        return None
    turned = header.get("ImageOrientationPatient")
    return (
        series,
        int(header.Rows),
        int(header.Columns),
        int(header.get("SamplesPerPixel") or 1),
        None if turned is None else tuple(round(float(v), 3) for v in turned),
        header.get("ImagePositionPatient") is not None,
    )


def _ordered(slices: list[tuple[Any, Path]]) -> bool:
    """Tell whether slices say in which order they lie."""
    headers = [header for header, _ in slices]
    if headers[0].get("ImagePositionPatient") is not None:
        return True
    numbers = {header.get("InstanceNumber") for header in headers}
    sliced = str(headers[0].get("Modality", "")) in _SLICED
    return sliced and None not in numbers and len(numbers) == len(headers)


def _names_of(headers: list[Any], folder: str) -> list[str]:
    """Return a name for each series of a folder, the same whenever it is asked."""
    if len(headers) == 1:
        return [folder]
    names = [_names(header, folder) for header in headers]
    seen = Counter(numbered for _, numbered, _ in names)
    return [
        numbered if seen[numbered] == 1 else marked for _, numbered, marked in names
    ]


def _names(header: Any, folder: str) -> tuple[str, str, str]:
    """Return what a series is called alone, by its number, and beyond all doubt."""
    numbered = f"{folder} {header.get('SeriesNumber') or ''}".strip()
    return folder, numbered, f"{numbered} {_mark(header)}"


def _mark(header: Any) -> str:
    """Return letters that tell one series from others of the same number."""
    text = repr(_key(header))
    return hashlib.blake2b(text.encode(), digest_size=3).hexdigest()
