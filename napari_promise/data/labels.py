"""Write label images as TIFF, PNG, NPY and NIfTI, with their place in the world.

Positions and shapes are (plane, row, column) here as everywhere; what NIfTI makes of
them is `formats.nifti`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from napari_promise.data.formats import dicom_seg, nifti
from napari_promise.files import PathLike, save_json, whole_file

if TYPE_CHECKING:
    from typing import TypeGuard

__all__ = ["LABEL_SUFFIXES", "as_labels", "save_labels", "sidecar", "world_matrix"]

#: The kinds of label files, and what each is good for.
LABEL_SUFFIXES = {
    ".tif": "TIFF with pixel size, any number of planes",
    ".tiff": "TIFF with pixel size, any number of planes",
    ".png": "PNG, one plane, ids up to 65535; up to 255 with a table of colours",
    ".npy": "NumPy array",
    ".nii": "NIfTI with the whole transform",
    ".nii.gz": "NIfTI with the whole transform, compressed",
    ".dcm": "DICOM segmentation of a DICOM image",
}

_UNITS = {
    "µm": "um",
    "μm": "um",
    "micron": "um",
    "micrometer": "um",
    "millimeter": "mm",
    "meter": "m",
}
_OME_UNITS = {"um": "µm"}


def sidecar(path: PathLike) -> Path:
    """Return where the provenance of a file is kept: ``<name>.provenance.json``."""
    path = Path(path)
    return path.with_name(path.name + ".provenance.json")


def world_matrix(
    ndim: int,
    *,
    scale: npt.ArrayLike | None = None,
    translate: npt.ArrayLike | None = None,
    rotate: npt.ArrayLike | None = None,
    shear: npt.ArrayLike | None = None,
    affine: npt.ArrayLike | None = None,
) -> npt.NDArray[np.float64]:
    """Compose a napari layer's transforms into one matrix from data to world.

    ``affine @ [rotate @ shear @ diag(scale) | translate]``, as napari does it.

    Parameters
    ----------
    ndim : int
        Number of axes of the data.
    scale, translate : (ndim,), optional
    rotate : float or (ndim, ndim), optional
        Degrees for two axes, or the matrix that ``layer.rotate`` returns.
    shear : (ndim * (ndim - 1) / 2,) or (ndim, ndim), optional
        The upper triangle, row by row, or the whole matrix.
    affine : (ndim + 1, ndim + 1) or (ndim, ndim), optional
        Applied after the others, as ``layer.affine`` is.

    Returns
    -------
    (ndim + 1, ndim + 1) float64
        Homogeneous, in the order of the data's axes.

    Raises
    ------
    ValueError
        If a part does not fit the number of axes, is not finite, or the whole cannot
        be inverted.
    """
    linear = np.diag(_vector("scale", scale, ndim, 1.0))
    linear = _square("shear", _upper_triangle(shear, ndim), ndim) @ linear
    linear = _square("rotate", _rotation(rotate, ndim), ndim) @ linear
    matrix = np.eye(ndim + 1)
    matrix[:ndim, :ndim] = linear
    matrix[:ndim, ndim] = _vector("translate", translate, ndim, 0.0)
    if affine is not None:
        outer = np.asarray(affine, np.float64)
        if outer.shape == (ndim, ndim):
            outer = np.pad(outer, (0, 1))
            outer[ndim, ndim] = 1
        matrix = _square("affine", outer, ndim + 1) @ matrix
    if not np.isfinite(matrix).all() or np.linalg.det(matrix[:ndim, :ndim]) == 0:
        raise ValueError(
            "The layer's transform is not finite or flattens an axis: give every axis "
            "a scale other than zero."
        )
    return matrix


def save_labels(
    path: PathLike,
    labels: npt.ArrayLike,
    *,
    scale: npt.ArrayLike | None = None,
    translate: npt.ArrayLike | None = None,
    rotate: npt.ArrayLike | None = None,
    shear: npt.ArrayLike | None = None,
    affine: npt.ArrayLike | None = None,
    unit: str | None = None,
    header: Any | None = None,
    classes: Mapping[int, str] | None = None,
    metadata: Mapping[str, Any] | None = None,
    image: str | Mapping[str, Any] | None = None,
    as_mask: bool = False,
    overwrite: bool = False,
) -> Path:
    """Write a label image in the format that its suffix names.

    Parameters
    ----------
    path : path
        Ends in ``.tif``, ``.tiff``, ``.png``, ``.npy``, ``.nii``, ``.nii.gz``, or
        over DICOM images in ``.dcm``.
    labels : (..., row, column) bool or integer
        Object ids, 0 the background. The file's integer type is the smallest that
        holds every id; 255 does not count as held by a byte, because many programs,
        this one among them, take it for "ignore" there.
    scale, translate, rotate, shear, affine
        The layer's transforms, see `world_matrix`. NIfTI holds them all; TIFF holds
        the pixel size; PNG and NPY hold none. The sidecar always holds the matrix.
    unit : str, optional
        Of the world coordinates, e.g. ``"um"`` or ``"mm"``; pixels by default.
    header : object, optional
        `Place.header` of the image that the labels lie over: NIfTI is written with its
        transforms, codes, units and time step, a DICOM segmentation over its files;
        other formats do without.
    classes : mapping of int to str, optional
        Each object's class, for the sidecar.
    metadata : mapping, optional
        What `provenance` returned; written to `sidecar`.
    image : str or mapping, optional
        The image the labels belong to, for the sidecar.
    as_mask : bool
        Write a PNG of a single object, of id 1, as masks are written: grey, 0 and 255.
    overwrite : bool
        Whether files already there may be replaced.

    Returns
    -------
    pathlib.Path
        The label file written.

    Raises
    ------
    ValueError
        If the suffix is none of these, or the format cannot hold these labels: the
        message says which can.
    FileExistsError
        If there is a file and `overwrite` is false.
    OSError
        If the file cannot be written; an earlier one is then as it was.

    Notes
    -----
    A PNG holds one plane. A stack is refused rather than spread over many files,
    because those could not be written whole or not at all.
    """
    path = Path(path)
    array = as_labels(labels)
    matrix = world_matrix(
        array.ndim,
        scale=scale,
        translate=translate,
        rotate=rotate,
        shear=shear,
        affine=affine,
    )
    if array.dtype == np.uint8 and array.max() == 255:
        array = array.astype(np.uint16)  # a byte of 255 is "ignore" to many readers
    write = _writer(path)
    if as_mask and write is _write_png and array.max() == 1:
        write = _write_mask
    over = header if write is _write_dicom else None
    if write is _write_dicom and not _is_files(over):
        raise ValueError(
            f"{path.name}: a DICOM segmentation lies over a DICOM image, which this is "
            "not: export these labels as .tif or .nii.gz."
        )
    unit = _UNITS.get(unit or "", unit or "pixel")
    with whole_file(path, overwrite) as temporary:
        if header is not None and write is nifti.write and not _is_files(header):
            nifti.write(temporary, array, matrix, unit, header)
        elif _is_files(over):
            dicom_seg.write(temporary, array, over, classes or {})
        else:
            write(temporary, array, matrix, unit)
        if metadata is not None or image is not None:
            record = dict(metadata or {})
            if image is not None:
                record["image"] = image
            record["labels"] = {
                "file": path.name,
                "shape": array.shape,
                "type": str(array.dtype),
                "objects": int(np.count_nonzero(np.unique(array))),
                "classes": {str(k): v for k, v in (classes or {}).items()},
                "unit": unit,
                "data_to_world": matrix,
            }
            save_json(sidecar(path), record, overwrite=True)
    return path


def as_labels(labels: npt.ArrayLike) -> npt.NDArray[Any]:
    """Return the labels in the smallest integer type that holds every id.

    Parameters
    ----------
    labels : (..., row, column) bool or integer

    Returns
    -------
    (..., row, column) integer
        C-contiguous; unsigned unless an id is negative.

    Raises
    ------
    ValueError
        If they are no integers, or have no rows and columns.
    """
    array = np.asarray(labels)
    if array.dtype.kind not in "bui":
        raise ValueError(
            f"Labels must be integers, not {array.dtype}: round them first."
        )
    if array.ndim < 2 or array.size == 0:
        raise ValueError(
            f"Labels must have rows and columns; their shape is {array.shape}."
        )
    least, greatest = int(array.min()), int(array.max())
    for kind in ("i",) if least < 0 else ("u",):
        for size in (1, 2, 4, 8):
            info = np.iinfo(f"{kind}{size}")
            if info.min <= least and greatest <= info.max:
                return np.ascontiguousarray(array, dtype=info.dtype)
    raise AssertionError("no integer type holds the values of an integer array")


LabelWriter = Callable[[Path, npt.NDArray[Any], npt.NDArray[np.float64], str], None]


def _writer(path: Path) -> LabelWriter:
    name = path.name.lower()
    for suffix, write in _WRITERS.items():
        if name.endswith(suffix):
            return write
    raise ValueError(
        f"{path.name} names no label format: end it in {', '.join(_WRITERS)}."
    )


def _write_tiff(
    path: Path,
    labels: npt.NDArray[Any],
    matrix: npt.NDArray[np.float64],
    unit: str,
) -> None:
    """Write what Fiji opens: ImageJ's flavour where it holds the type, else OME."""
    import tifffile

    axes = {2: "YX", 3: "ZYX", 4: "TZYX"}.get(labels.ndim)
    size = np.linalg.norm(matrix[:-1, :-1], axis=0)  # of a pixel along each data axis
    resolution = (1 / float(size[-1]), 1 / float(size[-2]))
    common: dict[str, Any] = {"photometric": "minisblack", "resolution": resolution}
    if axes and labels.dtype in (np.uint8, np.uint16) and labels.nbytes < 2**31:
        description: dict[str, Any] = {"axes": axes, "unit": unit}
        if "Z" in axes:
            description["spacing"] = float(size[-3])
        tifffile.imwrite(path, labels, imagej=True, metadata=description, **common)
    elif axes and labels.dtype.itemsize <= 4:
        description = {"axes": axes}
        for name, length in zip(axes[::-1], size[::-1], strict=True):
            if name in "XYZ":
                description[f"PhysicalSize{name}"] = float(length)
                description[f"PhysicalSize{name}Unit"] = _OME_UNITS.get(unit, unit)
        tifffile.imwrite(
            path, labels, ome=True, metadata=description, compression="zlib", **common
        )
    else:
        tifffile.imwrite(
            path, labels, bigtiff=labels.nbytes > 2**31, compression="zlib", **common
        )


def _write_png(
    path: Path,
    labels: npt.NDArray[Any],
    matrix: npt.NDArray[np.float64],
    unit: str,
) -> None:
    from PIL import Image

    if labels.ndim != 2:
        raise ValueError(
            f"A PNG holds one plane, these labels have the shape {labels.shape}: "
            "export them as .tif or .nii.gz."
        )
    if labels.dtype not in (np.uint8, np.uint16):
        raise ValueError(
            f"A PNG holds ids from 0 to 65535, these reach from {labels.min()} to "
            f"{labels.max()}: export them as .tif or .npy."
        )
    picture = Image.fromarray(labels)
    if labels.dtype == np.uint8:  # ids as they are, and colours for the eye
        picture = picture.convert("P")
        picture.putpalette(_colour_table().tobytes())
    picture.save(path, format="PNG")


def _write_mask(
    path: Path,
    labels: npt.NDArray[Any],
    matrix: npt.NDArray[np.float64],
    unit: str,
) -> None:
    from PIL import Image

    Image.fromarray((labels * 255).astype(np.uint8)).save(path, format="PNG")


def _colour_table() -> npt.NDArray[np.uint8]:
    """Return 256 colours, 0 black and the others bright, none of them grey."""
    table = np.zeros((256, 3), np.uint8)
    turn = (0.13 + np.arange(255) * 0.61803398875) % 1.0  # neighbours far apart
    waves = 0.5 + 0.5 * np.cos(2 * np.pi * (turn[:, None] - np.array([0, 1, 2]) / 3))
    table[1:] = np.rint(55 + 200 * waves)
    return table


def _write_npy(
    path: Path,
    labels: npt.NDArray[Any],
    matrix: npt.NDArray[np.float64],
    unit: str,
) -> None:
    with open(path, "wb") as file:
        np.save(file, labels, allow_pickle=False)


def _write_dicom(
    path: Path,
    labels: npt.NDArray[Any],
    matrix: npt.NDArray[np.float64],
    unit: str,
) -> None:
    """Stand for `dicom_seg.write`, which needs the images too."""
    raise AssertionError("save_labels calls dicom_seg itself")


_WRITERS: dict[str, LabelWriter] = {
    ".tif": _write_tiff,
    ".tiff": _write_tiff,
    ".png": _write_png,
    ".npy": _write_npy,
    ".nii": nifti.write,
    ".nii.gz": nifti.write,
    ".dcm": _write_dicom,
}


def _is_files(header: Any) -> TypeGuard[tuple[Path, ...]]:
    """Tell whether what an image came with are the files of a DICOM series."""
    return isinstance(header, tuple)


def _vector(
    name: str, values: npt.ArrayLike | None, ndim: int, default: float
) -> npt.NDArray[np.float64]:
    if values is None:
        return np.full(ndim, default)
    vector = np.asarray(values, np.float64)
    if vector.shape != (ndim,):
        raise ValueError(
            f"{name} must have one number for each of the {ndim} axes, not "
            f"{vector.shape}."
        )
    return vector


def _square(name: str, matrix: npt.ArrayLike, size: int) -> npt.NDArray[np.float64]:
    square = np.asarray(matrix, np.float64)
    if square.shape != (size, size):
        raise ValueError(
            f"{name} must be a matrix of {size} by {size}, not {square.shape}."
        )
    return square


def _rotation(rotate: npt.ArrayLike | None, ndim: int) -> npt.NDArray[np.float64]:
    if rotate is None:
        return np.eye(ndim)
    array = np.asarray(rotate, np.float64)
    if array.ndim == 0 and ndim == 2:
        angle = np.deg2rad(float(array))
        return np.array(
            [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
        )
    return array


def _upper_triangle(shear: npt.ArrayLike | None, ndim: int) -> npt.NDArray[np.float64]:
    if shear is None:
        return np.eye(ndim)
    array = np.asarray(shear, np.float64)
    if array.ndim == 1 and array.size == ndim * (ndim - 1) // 2:
        matrix = np.eye(ndim)
        matrix[np.triu_indices(ndim, 1)] = array
        return matrix
    return array
