"""DICOM: one file, or the files of a series stacked in order of position.

pydicom is optional (``pip install 'napari-promise[dicom]'``).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.data.formats.raw import Raw, Unreadable
from napari_promise.data.place import Place
from napari_promise.data.planes import robust_limits

SUFFIXES = (".dcm", ".dicom", ".ima")


def read(path: Path) -> Raw:
    """Read a file: one plane, or the frames of a multi-frame file."""
    data = _load(path)
    stored, rgb = _stored(data)
    if stored.ndim - rgb == 3:
        stored = stored[order_of_frames(data)]
    return _finished(stored, rgb, data, [(data, path)])


def shape(path: Path) -> tuple[int, ...]:
    """Return (rows, columns), or (frames, rows, columns)."""
    return _shape(_load(path, pixels=False))


def place(path: Path) -> Place:
    """Read where an image lies, not its pixels."""
    data = _load(path, pixels=False)
    return _place_of([(data, path)], len(_shape(data)), _spacing(data)[0])


def notes(path: Path) -> tuple[str, ...]:
    """Return what is doubtful about an image's place."""
    data = _load(path, pixels=False)
    return _doubts([(data, path)], len(_shape(data)))


def notes_on_series(paths: Sequence[Path]) -> tuple[str, ...]:
    """Return what is doubtful about the place of the files of one series."""
    files = in_order([(_load(path, pixels=False), path) for path in paths])
    return _doubts(files, 3)


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
    ordered = in_order([(_load(path), path) for path in paths])
    planes: list[NDArray[Any]] = []
    for data, path in ordered:
        array, rgb = _stored(data)
        if array.ndim - rgb != 2 or (planes and array.shape != planes[0].shape):
            raise Unreadable(
                f"{path} has the shape {array.shape} and cannot be stacked with "
                f"{ordered[0][1].name}: open it alone."
            )
        planes.append(array)
    return _finished(np.stack(planes), rgb, ordered[0][0], ordered)


def place_of_series(paths: Sequence[Path]) -> Place:
    """Read where the files of one series lie, not their pixels."""
    files = in_order([(_load(path, pixels=False), path) for path in paths])
    return _place_of(files, 3, _spacing(files[0][0])[0])


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
    # force: files as they lie on a disk may lack the preamble
    data = dcmread(path, force=True, stop_before_pixels=not pixels)
    if "Rows" not in data and "SOPClassUID" not in data:
        raise Unreadable(f"{path} is no DICOM file: check what it is.")
    if pixels and "Rows" not in data:
        raise Unreadable(
            f"{path} is a DICOM file without an image ({data.get('Modality', '?')}): "
            "open the series that it belongs to."
        )
    if pixels and "TotalPixelMatrixRows" in data and data.get("NumberOfFrames", 1) > 1:
        raise Unreadable(
            f"{path} is a slide in tiles: export the part to be worked on as TIFF."
        )
    if "TransferSyntaxUID" not in data.file_meta:
        plain = data.original_encoding or (True, True)
        data.file_meta.TransferSyntaxUID = (
            "1.2.840.10008.1.2" if plain[0] else "1.2.840.10008.1.2.1"
        )
    return data


def is_dicom(path: Path) -> bool:
    """Tell by its name, or by its first bytes."""
    return path.name.lower().endswith(SUFFIXES) or begins_as_dicom(path)


def may_be(name: str) -> bool:
    """Tell by a name whether a look inside is worth it: a suffix, none, or a number."""
    suffix = Path(name).suffix.lower()
    return suffix in SUFFIXES or re.fullmatch(r"(\.\d+)?", suffix) is not None


def has_image(path: Path) -> bool:
    """Tell whether a DICOM file holds one: not so a DICOMDIR, a report, damaged bytes.

    Raises
    ------
    ValueError
        If pydicom is missing.
    """
    try:
        return "Rows" in _load(path, pixels=False)
    except Exception:
        # Damaged in one of many ways; who opens that very file is told.
        if find_spec("pydicom") is None:
            raise
        return False


def begins_as_dicom(path: Path) -> bool:
    """Tell by the mark behind the preamble, or by a first field where there is none."""
    try:
        with open(path, "rb") as file:
            start = file.read(132)
    except OSError:
        return False
    if start[128:] == b"DICM":
        return True
    # Without a preamble: group 0002 or 0008, its element, and a type or a length.
    if start[:2] not in (b"\x02\x00", b"\x08\x00") or len(start) < 132:
        return False
    explicit = start[4:6] in (b"UL", b"UI", b"CS", b"SH", b"LO", b"DA", b"TM", b"OB")
    return explicit or (start[3] == 0 and start[5:8] == b"\x00\x00\x00")


def _stored(data: Any) -> tuple[NDArray[Any], bool]:
    """Return the pixels as they are stored, and whether they are colours."""
    from pydicom.pixels import apply_color_lut, pixel_array

    array = np.asarray(pixel_array(data))  # YBR comes as RGB
    colours = str(data.get("PhotometricInterpretation", ""))
    if colours == "PALETTE COLOR":
        array = apply_color_lut(array, data)
        if array.dtype == np.uint16:  # entries of 16 bits, whatever they stand for
            array = (array >> 8).astype(np.uint8)
    return array, int(data.get("SamplesPerPixel", 1)) == 3 or colours == "PALETTE COLOR"


def _finished(
    stored: NDArray[Any], rgb: bool, data: Any, files: Sequence[tuple[Any, Path]]
) -> Raw:
    """Return pixels in their own units with their window; their place too.

    Parameters
    ----------
    stored : ([plane,] row, column) or with channels
    rgb : bool
    data : Dataset
        Of the first file.
    files : sequence of (Dataset, Path)
        One a plane, or one for all.
    """
    place = _place_of(files, stored.ndim - rgb, _spacing(data)[0])
    notes = _doubts(files, stored.ndim - rgb)
    if rgb:
        return Raw(stored, True, place, notes)
    padded = _padded(stored, data)
    array = _rescaled(stored, data, [each for each, _ in files])
    limits = _window(array, padded, data)
    if str(data.get("PhotometricInterpretation", "")) == "MONOCHROME1":
        ends = array.max() + array.min() if array.dtype.kind == "f" else None
        if ends is None:
            ends = int(array.max()) + int(array.min())
        turned = ends - array.astype(np.int64 if array.dtype.kind != "f" else None)
        array = turned.astype(array.dtype)  # the least value was white
        if limits is not None:
            limits = float(ends) - limits[1], float(ends) - limits[0]
        if padded is not None:
            array[padded] = array.min()
    return Raw(array, False, place, notes, limits)


def _rescaled(stored: NDArray[Any], data: Any, files: list[Any]) -> NDArray[Any]:
    """Apply slope and intercept: of each file, of each frame, or of all."""
    many = stored.ndim == 3
    if many and len(files) == len(stored):
        each = [
            (_field(one, "RescaleSlope"), _field(one, "RescaleIntercept"))
            for one in files
        ]
    elif many:
        order = order_of_frames(data)
        each = [
            (_field(data, "RescaleSlope", at), _field(data, "RescaleIntercept", at))
            for at in order
        ]
    else:
        each = [(_field(data, "RescaleSlope", 0), _field(data, "RescaleIntercept", 0))]
    numbers = [
        (1.0 if slope is None else float(slope) or 1.0, float(shift or 0))
        for slope, shift in each
    ]
    if set(numbers) == {(1.0, 0.0)}:
        return stored
    slopes, shifts = np.array(numbers, np.float32).T
    if many and len(set(numbers)) > 1:
        return (
            stored.astype(np.float32) * slopes[:, None, None] + (shifts[:, None, None])
        )
    return stored.astype(np.float32) * slopes[0] + shifts[0]


def _padded(stored: NDArray[Any], data: Any) -> NDArray[np.bool_] | None:
    """Mark pixels that stand for nothing, outside what was scanned."""
    value = data.get("PixelPaddingValue")
    if value is None:
        return None
    ends = [int(value), int(data.get("PixelPaddingRangeLimit") or value)]
    if int(data.get("PixelRepresentation", 0)) == 1:
        ends = [end - 65536 if end > 32767 else end for end in ends]
    marked = (stored >= min(ends)) & (stored <= max(ends))
    return marked if marked.any() and not marked.all() else None


def _window(
    array: NDArray[Any], padded: NDArray[np.bool_] | None, data: Any
) -> tuple[float, float] | None:
    """Return what is black and white: as the file says, or without the padding."""
    centre, width = (
        _first(_field(data, name, 0)) for name in ("WindowCenter", "WindowWidth")
    )
    found = robust_limits(array if padded is None else array[~padded])
    if centre is not None and width is not None and width >= 1 and found is not None:
        low, high = centre - width / 2, centre + width / 2
        # A window beside all that is there shows nothing, whoever wrote it.
        if low < found[1] and high > found[0]:
            return low, high
    if padded is None or found is None or found[0] >= found[1]:
        return None
    return found


def _first(value: Any) -> float | None:
    """Return the first of several values, as a number."""
    if value is None or value == "":
        return None
    several = isinstance(value, (list, tuple)) or hasattr(value, "__iter__")
    number = float(
        next(iter(value)) if several and not isinstance(value, str) else value
    )
    return number if np.isfinite(number) else None


def _field(data: Any, name: str, frame: int | None = None) -> Any:
    """Return a field of a file; of an enhanced one from its functional groups."""
    found = data.get(name)
    if found is not None:
        return found
    groups = list(data.get("SharedFunctionalGroupsSequence") or ())
    if frame is not None:
        frames = data.get("PerFrameFunctionalGroupsSequence") or ()
        groups += list(frames)[frame : frame + 1]
    for group in groups:
        for name_of_part in (
            "PixelMeasuresSequence",
            "PixelValueTransformationSequence",
            "FrameVOILUTSequence",
            "PlanePositionSequence",
            "PlaneOrientationSequence",
        ):
            for part in group.get(name_of_part) or ():
                if part.get(name) is not None:
                    return part.get(name)
    return None


def order_of_frames(data: Any) -> list[int]:
    """Return frames in order of position, where each has its own."""
    frames = int(data.get("NumberOfFrames", 1) or 1)
    at = [_position(data, frame) for frame in range(frames)]
    known = [each for each in at if each is not None]
    if len(set(known)) < frames:
        return list(range(frames))
    return sorted(range(frames), key=known.__getitem__)


def _spacing(data: Any) -> tuple[tuple[float, ...] | None, str]:
    """Return the size of a pixel, (row, column), and a word where it is doubtful."""
    note, spacing = "", _field(data, "PixelSpacing", 0)
    if spacing is None:
        spacing = data.get("ImagerPixelSpacing") or data.get(
            "NominalScannedPixelSpacing"
        )
        note = (
            "its size of a pixel is that on the detector, larger than in the body."
            if spacing is not None
            else ""
        )
    if spacing is None or len(spacing) != 2:
        return None, ""
    found = tuple(float(value) for value in spacing)
    return (found, note) if min(found) > 0 else (None, "")


def _doubts(files: Sequence[tuple[Any, Path]], ndim: int) -> tuple[str, ...]:
    """Return a sentence for everything that is doubtful about the place."""
    data = files[0][0]
    scale, note = _spacing(data)
    notes = [note] if note else []
    if ndim != 3 or scale is None:
        return tuple(notes)
    apart = _steps(_planes_of(files, ndim))
    if len(apart) and apart.max() > 0:
        if apart.min() < 1e-3:
            notes.append(
                "several of its slices lie at the same position: phases or echoes of "
                "one scan, perhaps."
            )
        elif apart.max() > 1.05 * apart.min() + 1e-3:
            notes.append(
                f"its slices lie {apart.min():.3g} to {apart.max():.3g} mm apart, as "
                "if some were missing: the middle distance is taken for all."
            )
    elif _stated_distance(data)[1] != "SpacingBetweenSlices" and not data.get(
        "GridFrameOffsetVector"
    ):
        taken = "their thickness" if _stated_distance(data)[1] else "1 mm"
        notes.append(f"it does not say how far its slices lie apart: {taken} is taken.")
    return tuple(notes)


def _planes_of(files: Sequence[tuple[Any, Path]], ndim: int) -> list[tuple[Any, int]]:
    """Return which file and frame each plane is, in order of position."""
    data = files[0][0]
    if len(files) > 1:
        return [(each, 0) for each, _ in files]
    if ndim == 3:
        return [(data, frame) for frame in order_of_frames(data)]
    return [(data, 0)]


def _steps(planes: Sequence[tuple[Any, int]]) -> NDArray[np.float64]:
    """Return the distances between planes, mm; none where a position is not known."""
    at = [_position(each, frame) for each, frame in planes]
    known = [each for each in at if each is not None]
    if len(known) < len(at):
        return np.zeros(0)
    return np.abs(np.diff(known))


def _stated_distance(data: Any) -> tuple[float, str]:
    """Return the distance between planes that is stated, and in which field."""
    for name in ("SpacingBetweenSlices", "SliceThickness"):
        value = abs(float(_field(data, name, 0) or 0))
        if value > 0:
            return value, name
    return 1.0, ""


def _position(data: Any, frame: int = 0) -> float | None:
    """Return how far along the normal of its plane a file or frame lies, in mm."""
    position = _field(data, "ImagePositionPatient", frame)
    if position is None or len(position) != 3:
        return None
    normal = np.cross(*_sides(data, frame))
    return float(normal @ [float(value) for value in position])


def _sides(data: Any, frame: int = 0) -> NDArray[np.float64]:
    """Return the directions of columns and rows in the patient, (2, 3)."""
    turned = _field(data, "ImageOrientationPatient", frame)
    if turned is None or len(turned) != 6:
        return np.array([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]])
    return np.array([float(value) for value in turned]).reshape(2, 3)


def in_order(found: Sequence[tuple[Any, Path]]) -> list[tuple[Any, Path]]:
    """Sort by position, then by the number of the instance, which is all some have."""
    at = [_position(data) for data, _ in found]
    if None in at:
        at = [0.0] * len(found)
    numbers = [int(data.get("InstanceNumber", 0) or 0) for data, _ in found]
    keys = [
        (position, number, path.name)
        for position, number, (_, path) in zip(at, numbers, found, strict=True)
    ]
    order = sorted(range(len(found)), key=keys.__getitem__)
    return [found[index] for index in order]


def _place_of(
    files: Sequence[tuple[Any, Path]], ndim: int, scale: tuple[float, ...] | None
) -> Place:
    """Return scale and place in the world of a plane, a series, or frames."""
    if scale is None or ndim not in (2, 3):
        return Place()
    data = files[0][0]
    planes = _planes_of(files, ndim)
    apart = _steps(planes)
    apart = apart[apart > 1e-3]
    distance = float(np.median(apart)) if len(apart) else 0.0
    offsets = data.get("GridFrameOffsetVector")
    if distance <= 0 and offsets is not None and len(offsets) > 1:
        distance = abs(float(offsets[1]) - float(offsets[0]))
    distance = round(distance if distance > 0 else _stated_distance(data)[0], 6)
    whole = (distance, *scale)
    corner = _field(planes[0][0], "ImagePositionPatient", planes[0][1])
    rows, columns = int(data.Rows), int(data.Columns)
    shape = (len(planes), rows, columns)
    if corner is None or len(corner) != 3:
        return Place(whole[-ndim:], "mm")
    across, down = _sides(planes[0][0], planes[0][1])
    # DICOM's x and y point to the left and the back of a patient, NIfTI's away.
    patient = np.diag([-1.0, -1.0, 1.0])
    steps = np.stack(
        [np.cross(across, down) * distance, down * scale[0], across * scale[1]], axis=1
    )
    world = np.eye(4)
    world[:3, :3] = (patient @ steps)[::-1]
    world[:3, 3] = (patient @ np.array([float(v) for v in corner]))[::-1]
    inner = world if ndim == 3 else np.diag([*scale, 1.0])
    source = tuple(path for _, path in files)
    return Place(whole[-ndim:], "mm", inner, shape, world, source)
