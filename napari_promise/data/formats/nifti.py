"""NIfTI: the one place that turns its (x, y, z) into (plane, row, column) and back.

NIfTI's world is (x, y, z) too, so reversing the axes on both sides of the affine is
all: nothing is mirrored, and labels come back into the space of their image.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.data.formats.raw import Raw
from napari_promise.data.place import Place

SUFFIXES = (".nii", ".nii.gz")

_UNIT_OF = {"micron": "um", "mm": "mm", "meter": "m"}
_NIFTI_UNIT = {unit: name for name, unit in _UNIT_OF.items()}


#: Fields of a header that say where the voxels lie and how they are measured.
_SPATIAL = (
    "pixdim",
    "qform_code",
    "sform_code",
    *(f"quatern_{axis}" for axis in "bcd"),
    *(f"qoffset_{axis}" for axis in "xyz"),
    *(f"srow_{axis}" for axis in "xyz"),
    "xyzt_units",
    "toffset",
)


def read(path: Path) -> Raw:
    """Read a scan; axes are reversed, and leading ones of length 1 left out."""
    import nibabel

    file = nibabel.load(path)
    volume = np.asarray(file.dataobj).T
    kept = _kept(volume.shape)
    left_out = tuple(axis for axis in range(volume.ndim) if axis not in kept)
    place, note = _place(file)
    return Raw(volume.squeeze(left_out), False, place, (note,) if note else ())


def shape(path: Path) -> tuple[int, ...]:
    """Return (..., rows, columns)."""
    import nibabel

    lengths = tuple(int(n) for n in nibabel.load(path).shape[::-1])
    return tuple(lengths[axis] for axis in _kept(lengths))


def place(path: Path) -> Place:
    """Read where a scan lies, not its pixels."""
    import nibabel

    return _place(nibabel.load(path))[0]


def notes(path: Path) -> tuple[str, ...]:
    """Return what is odd about where a scan lies."""
    import nibabel

    note = _place(nibabel.load(path))[1]
    return (note,) if note else ()


def middle(path: Path) -> NDArray[Any]:
    """Read the plane in the middle, (row, column), and no other."""
    import nibabel

    volume = nibabel.load(path)
    index = tuple(n // 2 for n in volume.shape[2:])
    return np.asarray(volume.dataobj[(slice(None), slice(None), *index)]).T


def write(
    path: Path,
    labels: NDArray[Any],
    matrix: NDArray[np.float64],
    unit: str,
    header: Any | None = None,
) -> None:
    """Write labels; one plane gets a third axis of length 1.

    Parameters
    ----------
    path : Path
    labels : (..., row, column) integer
    matrix : (ndim + 1, ndim + 1) float64
        From data to world, see `labels.world_matrix`.
    unit : str
        ``"um"``, ``"mm"``, ``"m"``; others are written as unknown.
    header : object, optional
        Of the scan that the labels belong to and lie over: its transforms, codes,
        units and time step are taken as they are, and its number of axes.

    Raises
    ------
    ValueError
        If NIfTI cannot hold these labels; says what can.
    """
    import nibabel
    from nibabel.spatialimages import HeaderDataError

    if (labels.ndim > 4 and header is None) or max(labels.shape) > 32767:
        raise ValueError(
            f"A NIfTI file holds up to 4 axes of up to 32767 pixels, not "
            f"{labels.shape}: export these labels as .tif or .npy."
        )
    if labels.dtype == np.int8:
        labels = labels.astype(np.int16)
    if labels.dtype == np.uint32 and labels.max() < 2**31:
        labels = labels.astype(np.int32)  # more readers know it than uint32
    if header is not None:
        nibabel.save(_like(header, labels), path)
        return
    affine = _affine_of(matrix)
    data = labels.T
    if labels.ndim == 2:
        data = data[..., None]
    file = nibabel.Nifti1Image(data, affine, dtype=labels.dtype)
    if labels.ndim == 4:
        zooms = (*file.header.get_zooms()[:3], np.linalg.norm(matrix[:-1, 0]))
        file.header.set_zooms(zooms)
    try:
        # Only a rotation with scales fits there; readers that ignore the sform need it.
        file.set_qform(affine, code=2, strip_shears=False)
    except HeaderDataError:
        file.set_qform(None)
    file.set_sform(affine, code=2)
    file.header.set_xyzt_units(_NIFTI_UNIT.get(unit, "unknown"))
    nibabel.save(file, path)


def _like(header: Any, labels: NDArray[Any]) -> Any:
    """Return labels as an image that lies and is measured as another one."""
    import nibabel

    own = nibabel.Nifti1Header()
    own.set_data_dtype(labels.dtype)
    own.set_data_shape(labels.shape[::-1])
    own["descrip"] = b"napari-promise labels"
    for field in _SPATIAL:  # as they are; NIfTI-2 calls them the same
        own[field] = header[field]
    zooms = own.get_zooms()
    _, note = _transforms(own)
    if note:  # no reader could make anything of it
        zooms = tuple(z if np.isfinite(z) and z > 0 else 1.0 for z in zooms)
        plain = np.diag([*(zooms + (1.0, 1.0, 1.0))[:3], 1.0])
        own["pixdim"][1 : len(zooms) + 1] = zooms
        own.set_qform(plain, code=1)
        own.set_sform(plain, code=1)
    return nibabel.Nifti1Image(labels.T, None, own)


def _transforms(header: Any) -> tuple[NDArray[np.float64] | None, str]:
    """Return the transform that counts, (4, 4), and what is wrong with one that should.

    The sform before the qform, as nibabel and most others have it.
    """
    bad = []
    for name in ("sform", "qform"):
        if int(header[f"{name}_code"]) == 0:
            continue
        try:
            found = getattr(header, f"get_{name}")()
        except ValueError:  # quaternions beyond the unit sphere
            found = np.full((4, 4), np.nan)
        if _can_be_inverted(found):
            return np.asarray(found, np.float64), ""
        bad.append(name)
    if not bad:
        return None, ""
    return None, (
        f"the {' and the '.join(bad)} of its header is flat along an axis, or no "
        "numbers: it is taken to lie by the size of its voxels alone."
    )


def _place(file: Any) -> tuple[Place, str]:
    lengths = tuple(int(n) for n in file.shape[::-1])
    kept = _kept(lengths)
    zooms = np.asarray(file.header.get_zooms(), np.float64)[::-1]
    zooms = np.where(np.isfinite(zooms) & (zooms > 0), zooms, 1.0)
    affine, note = _transforms(file.header)
    if affine is None:
        # nibabel lays the origin into the middle and mirrors x where nothing is said.
        affine = np.diag([*zooms[::-1][:3], *[1.0] * (3 - len(zooms[:3])), 1.0])
        if not note and _can_be_inverted(np.asarray(file.affine)):
            affine = np.asarray(file.affine, np.float64)
    whole = _world_of(affine, len(lengths))
    chosen = [*kept, len(lengths)]
    world = whole[np.ix_(chosen, chosen)]
    if not _can_be_inverted(world):  # a plane that stands upright in the world
        world = np.diag([*zooms[kept], 1.0])
    if not _can_be_inverted(whole):
        whole = np.diag([*zooms, 1.0])
    place = Place(
        tuple(float(zoom) for zoom in zooms[kept]),
        _UNIT_OF.get(file.header.get_xyzt_units()[0]),
        world,
        lengths,
        whole,
        file.header.copy(),
    )
    return place, note


def _kept(lengths: tuple[int, ...]) -> list[int]:
    """Return the axes, reversed already, that are more than one plane deep."""
    last = max(0, len(lengths) - 2)
    return [at for at, length in enumerate(lengths) if at >= last or length != 1]


def _world_of(affine: NDArray[np.float64], ndim: int) -> NDArray[np.float64]:
    """Return a NIfTI affine as (ndim + 1, ndim + 1), axes reversed on both sides."""
    world = np.eye(ndim + 1)
    spatial = min(3, ndim)
    first = ndim - spatial
    world[first:-1, first:-1] = affine[:spatial, :spatial][::-1, ::-1]
    world[first:-1, -1] = affine[:spatial, 3][::-1]
    return world


def _affine_of(world: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return a matrix from data to world as a NIfTI affine, (4, 4)."""
    affine = np.eye(4)
    spatial = min(len(world) - 1, 3)
    first = len(world) - 1 - spatial
    affine[:spatial, :spatial] = world[first:-1, first:-1][::-1, ::-1]
    affine[:spatial, 3] = world[first:-1, -1][::-1]
    return affine


def _can_be_inverted(world: NDArray[np.float64]) -> bool:
    return bool(np.isfinite(world).all() and np.linalg.det(world[:-1, :-1]) != 0)
