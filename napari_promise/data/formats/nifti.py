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


def read(path: Path) -> Raw:
    """Read a scan; axes are reversed, and leading ones of length 1 left out."""
    import nibabel

    file = nibabel.load(path)
    volume = np.asarray(file.dataobj).T
    kept = _kept(volume.shape)
    left_out = tuple(axis for axis in range(volume.ndim) if axis not in kept)
    return Raw(volume.squeeze(left_out), False, _place(file))


def shape(path: Path) -> tuple[int, ...]:
    """Return (..., rows, columns)."""
    import nibabel

    lengths = tuple(int(n) for n in nibabel.load(path).shape[::-1])
    return tuple(lengths[axis] for axis in _kept(lengths))


def place(path: Path) -> Place:
    """Read where a scan lies, not its pixels."""
    import nibabel

    return _place(nibabel.load(path))


def middle(path: Path) -> NDArray[Any]:
    """Read the plane in the middle, (row, column), and no other."""
    import nibabel

    volume = nibabel.load(path)
    index = tuple(n // 2 for n in volume.shape[2:])
    return np.asarray(volume.dataobj[(slice(None), slice(None), *index)]).T


def write(
    path: Path, labels: NDArray[Any], matrix: NDArray[np.float64], unit: str
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

    Raises
    ------
    ValueError
        If NIfTI cannot hold these labels; says what can.
    """
    import nibabel
    from nibabel.spatialimages import HeaderDataError

    if labels.ndim > 4 or max(labels.shape) > 32767:
        raise ValueError(
            f"A NIfTI file holds up to 4 axes of up to 32767 pixels, not "
            f"{labels.shape}: export these labels as .tif or .npy."
        )
    if labels.dtype == np.int8:
        labels = labels.astype(np.int16)
    if labels.dtype == np.uint32 and labels.max() < 2**31:
        labels = labels.astype(np.int32)  # more readers know it than uint32
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


def _place(file: Any) -> Place:
    lengths = tuple(int(n) for n in file.shape[::-1])
    kept = _kept(lengths)
    zooms = np.asarray(file.header.get_zooms(), np.float64)[::-1]
    zooms = np.where(np.isfinite(zooms) & (zooms > 0), zooms, 1.0)
    whole = _world_of(np.asarray(file.affine, np.float64), len(lengths))
    chosen = [*kept, len(lengths)]
    world = whole[np.ix_(chosen, chosen)]
    if not _can_be_inverted(world):
        world = np.diag([*zooms[kept], 1.0])
    if not _can_be_inverted(whole):
        whole = np.diag([*zooms, 1.0])
    return Place(
        tuple(float(zoom) for zoom in zooms[kept]),
        _UNIT_OF.get(file.header.get_xyzt_units()[0]),
        world,
        lengths,
        whole,
    )


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
