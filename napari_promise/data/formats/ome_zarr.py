"""OME-Zarr (NGFF 0.1 to 0.5): the levels of the first image, its channels and place.

The metadata is read as https://ngff.openmicroscopy.org/0.5 has it; earlier versions
keep the same under other keys. Pixels stay where they are.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from napari_promise.data.formats.raw import Levels, Unreadable
from napari_promise.data.place import Place

#: Axes of files that name none, as versions 0.1 and 0.2 have them.
_AXES = ("t", "c", "z", "y", "x")

_UNITS = {
    "nanometer": ("um", 1e-3),
    "micrometer": ("um", 1.0),
    "millimeter": ("mm", 1.0),
    "centimeter": ("mm", 10.0),
    "meter": ("m", 1.0),
}


def is_ome_zarr(folder: Path) -> bool:
    """Tell whether a folder holds the metadata of a zarr group or array."""
    return any((folder / name).is_file() for name in (".zgroup", "zarr.json"))


def levels(folder: Path) -> tuple[tuple[Any, ...], Levels] | None:
    """Open the first multiscale image of a group.

    Parameters
    ----------
    folder : Path

    Returns
    -------
    levels : tuple of dask arrays, (..., row, column) or (..., row, column, 3)
        The full resolution first; axes of length 1 are left out.
    about : Levels
        Its colours and place.

    Raises
    ------
    Unreadable
        If the group holds no image.
    """
    import dask.array
    import zarr

    group = zarr.open(folder, mode="r")
    noted: dict[str, Any] = dict(group.attrs)
    noted = noted.get("ome", noted)
    if not isinstance(group, zarr.Group) or not noted.get("multiscales"):
        raise Unreadable(
            f"{folder} is no OME-Zarr image: pick the folder inside that holds "
            "“multiscales”, often called 0."
        )
    image = noted["multiscales"][0]
    arrays = [dask.array.from_zarr(group[each["path"]]) for each in image["datasets"]]
    axes = image.get("axes") or _AXES[-arrays[0].ndim :]
    names = [axis if isinstance(axis, str) else str(axis["name"]) for axis in axes]
    if names[-2:] != ["y", "x"]:
        raise Unreadable(
            f"{folder} has the axes {', '.join(names)}: rows and columns must come "
            "last."
        )
    first = arrays[0]
    channels: int | None = names.index("c") if "c" in names else None
    rgb = (
        channels is not None
        and first.shape[channels] == 3
        and first.dtype == np.uint8
        and min(first.shape[-2:]) > 1
    )
    kept = [
        axis
        for axis in range(first.ndim)
        if axis >= first.ndim - 2
        or (first.shape[axis] > 1 and not (rgb and axis == channels))
    ]
    index = tuple(
        slice(None) if axis in kept or (rgb and axis == channels) else 0
        for axis in range(first.ndim)
    )
    opened = []
    for array in arrays:
        picked = array[index]
        if rgb and channels is not None:
            left = [a for a in range(first.ndim) if a in kept or a == channels]
            picked = dask.array.moveaxis(picked, left.index(channels), -1)
        opened.append(picked)
    notes: list[str] = []
    if channels is not None and channels in kept:
        notes.append(f"its {first.shape[channels]} channels are paged through.")
    about = Levels(rgb, _place(image, axes, kept), tuple(notes), _limits(noted, rgb))
    return tuple(opened), about


def _place(image: dict[str, Any], axes: Any, kept: list[int]) -> Place:
    transforms = [
        *image["datasets"][0].get("coordinateTransformations", ()),
        *image.get("coordinateTransformations", ()),
    ]
    scales = [t["scale"] for t in transforms if t.get("type") == "scale"]
    if not scales:
        return Place()
    sizes = np.prod(np.array(scales, float), axis=0)
    named = axes[kept[-1]]
    unit = named.get("unit") if isinstance(named, dict) else None
    known, factor = _UNITS.get(str(unit), (None, 1.0))
    in_space = {
        a for a in kept if isinstance(axes[a], dict) and axes[a].get("type") == "space"
    }
    scale = [float(sizes[a]) * (factor if a in in_space else 1.0) for a in kept]
    if not all(np.isfinite(scale)) or min(scale) <= 0:
        return Place()
    return Place(tuple(scale), known)


def _limits(noted: dict[str, Any], rgb: bool) -> tuple[float, float] | None:
    """Return where the first channel's display window begins and ends."""
    channels: list[Any] = (noted.get("omero") or {}).get("channels") or []
    if rgb or len(channels) != 1:
        return None
    window = channels[0].get("window") or {}
    if not {"start", "end"} <= window.keys() or window["start"] >= window["end"]:
        return None
    return float(window["start"]), float(window["end"])
