"""DICOM: one file, or the files of a series stacked in order of position.

pydicom is optional (``pip install 'napari-promise[dicom]'``).
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.data.formats.raw import Raw, Unreadable
from napari_promise.data.place import Place

SUFFIXES = (".dcm", ".dicom")


def read(path: Path) -> Raw:
    """Read a file: one plane, or the frames of a multi-frame file."""
    data = _load(path)
    array, rgb = _pixels(data)
    return Raw(array, rgb, _place_of(data, array.ndim - rgb))


def shape(path: Path) -> tuple[int, ...]:
    """Return (rows, columns), or (frames, rows, columns)."""
    return _shape(_load(path, pixels=False))


def place(path: Path) -> Place:
    """Read where an image lies, not its pixels."""
    data = _load(path, pixels=False)
    return _place_of(data, len(_shape(data)))


def series_in(folder: Path) -> list[list[Path]]:
    """Find the series of a folder: the files of each, in order of position.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    list of list of Path
        Longest series first. Empty where there is no DICOM file; files that are none,
        and those that pydicom cannot read, are left alone.
    """
    found: dict[str, list[tuple[Any, Path]]] = {}
    for path in sorted(folder.iterdir()):
        if path.name.startswith(".") or not path.is_file() or not is_dicom(path):
            continue
        data = _load(path, pixels=False)
        if "Rows" not in data:  # a DICOMDIR, a report, a structure set
            continue
        key = str(data.get("SeriesInstanceUID", "")), data.get("Rows")
        found.setdefault(str(key), []).append((data, path))
    ordered = [[path for _, path in _in_order(each)] for each in found.values()]
    return sorted(ordered, key=len, reverse=True)


def read_series(paths: Sequence[Path]) -> Raw:
    """Stack the files of one series in order of position.

    Parameters
    ----------
    paths : sequence of Path
        Files of one plane each, of equal size; a single one is read as it is.

    Raises
    ------
    ValueError
        If they cannot be stacked; names a file.
    """
    if len(paths) == 1:
        return read(paths[0])
    ordered = _in_order([(_load(path), path) for path in paths])
    planes: list[NDArray[Any]] = []
    for data, path in ordered:
        array, rgb = _pixels(data)
        if array.ndim - rgb != 2 or (planes and array.shape != planes[0].shape):
            raise Unreadable(
                f"{path} has the shape {array.shape} and cannot be stacked with "
                f"{ordered[0][1].name}: open it alone."
            )
        planes.append(array)
    first = ordered[0][0]
    scale = _spacing(first)
    if scale is not None:
        scale = (_distance_between(ordered), *scale)
    return Raw(np.stack(planes), rgb, _place(scale))


def _shape(data: Any) -> tuple[int, ...]:
    frames = int(data.get("NumberOfFrames", 1) or 1)
    plane = int(data["Rows"].value), int(data["Columns"].value)
    return plane if frames == 1 else (frames, *plane)


def _load(path: Path, *, pixels: bool = True) -> Any:
    try:
        from pydicom import dcmread
    except ImportError:
        raise Unreadable(
            f"{path} is a DICOM file: install pydicom 3 to open it "
            "(pip install 'pydicom>=3')."
        ) from None
    return dcmread(path) if pixels else dcmread(path, stop_before_pixels=True)


def is_dicom(path: Path) -> bool:
    """Tell by its name, or by the mark behind the preamble."""
    if path.name.lower().endswith(SUFFIXES):
        return True
    with open(path, "rb") as file:
        return file.read(132)[128:] == b"DICM"


def _pixels(data: Any) -> tuple[NDArray[Any], bool]:
    """Return the pixels in their own units, and whether they are colours."""
    from pydicom.pixels import apply_color_lut, pixel_array

    array = np.asarray(pixel_array(data))  # YBR comes as RGB
    colours = str(data.get("PhotometricInterpretation", ""))
    if colours == "PALETTE COLOR":
        array = apply_color_lut(array, data)
        if array.dtype == np.uint16:  # entries of 16 bits, whatever they stand for
            array = (array >> 8).astype(np.uint8)
    rgb = int(data.get("SamplesPerPixel", 1)) == 3 or colours == "PALETTE COLOR"
    if not rgb:
        slope = float(_field(data, "RescaleSlope") or 1)
        shift = float(_field(data, "RescaleIntercept") or 0)
        if (slope, shift) != (1.0, 0.0):
            array = array.astype(np.float32) * np.float32(slope) + np.float32(shift)
        if colours == "MONOCHROME1":  # the least value is white
            array = array.max() - array + array.min()
    return array, rgb


def _field(data: Any, name: str) -> Any:
    """Return a field of a file; of an enhanced one from what all frames share."""
    found = data.get(name)
    if found is not None:
        return found
    for group in data.get("SharedFunctionalGroupsSequence") or ():
        for name_of_part in (
            "PixelMeasuresSequence",
            "PixelValueTransformationSequence",
        ):
            for part in group.get(name_of_part) or ():
                if part.get(name) is not None:
                    return part.get(name)
    return None


def _spacing(data: Any) -> tuple[float, ...] | None:
    """Return the size of a pixel, (row, column); on the detector if nowhere else."""
    spacing = _field(data, "PixelSpacing") or data.get("ImagerPixelSpacing")
    if spacing is None or len(spacing) != 2:
        return None
    return tuple(float(value) for value in spacing)


def _distance(data: Any) -> float:
    """Return the distance between planes; the thickness where that is not said."""
    for name in ("SpacingBetweenSlices", "SliceThickness"):
        value = float(_field(data, name) or 0)
        if value > 0:
            return value
    return 1.0


def _distance_between(ordered: Sequence[tuple[Any, Path]]) -> float:
    """Return the median distance of neighbours, from their positions."""
    at = [_position(data) for data, _ in ordered]
    known = [each for each in at if each is not None]
    if len(known) == len(at) > 1:
        distance = float(np.median(np.abs(np.diff(known))))
        if distance > 0:
            return distance
    return _distance(ordered[0][0])


def _position(data: Any) -> float | None:
    """Return how far along the normal of its plane a file lies, in mm."""
    position = data.get("ImagePositionPatient")
    if position is None or len(position) != 3:
        return None
    turned = data.get("ImageOrientationPatient")
    normal = np.array([0.0, 0.0, 1.0])
    if turned is not None and len(turned) == 6:
        sides = np.array([float(value) for value in turned]).reshape(2, 3)
        normal = np.cross(*sides)
    return float(normal @ [float(value) for value in position])


def _in_order(found: Sequence[tuple[Any, Path]]) -> list[tuple[Any, Path]]:
    """Sort by position; by the number of the instance where one has none."""
    at = [_position(data) for data, _ in found]
    known = [each for each in at if each is not None]
    if len(known) < len(at) or len(set(known)) < len(known):
        numbers = [int(data.get("InstanceNumber", 0) or 0) for data, _ in found]
        keys: list[Any] = [
            (n, path.name) for n, (_, path) in zip(numbers, found, strict=True)
        ]
    else:
        keys = [(value, "") for value in known]
    order = sorted(range(len(found)), key=keys.__getitem__)
    return [found[index] for index in order]


def _place_of(data: Any, ndim: int) -> Place:
    scale = _spacing(data)
    if scale is not None and ndim == 3:
        scale = (_distance(data), *scale)
    return _place(scale)


def _place(scale: tuple[float, ...] | None) -> Place:
    if scale is None or not all(value > 0 for value in scale):
        return Place()
    return Place(scale, "mm")
