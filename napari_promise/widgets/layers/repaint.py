"""Write a rectangle of a Labels layer and repaint that rectangle only.

napari repaints a whole layer after an assignment; on large images that costs more
than the network. Knows arrays and layers, not what is drawn.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from napari.layers import Labels

Region = tuple[slice, ...]


def write_region(layer: Labels, region: Region, values: np.ndarray | int) -> None:
    """Write values into a Labels layer, past its history, and repaint just them.

    Parameters
    ----------
    layer : Labels
        A layer backed by a numpy array.
    region : tuple of slice
        One slice with explicit bounds per dimension.
    values : array or int
        What to write; must broadcast to the region.
    """
    layer.data[region] = values
    if not layer.visible:
        # A hidden layer is sliced anew when it is shown.
        return
    if not _repaint(layer, region):
        layer.refresh(thumbnail=False, extent=False, highlight=False)


def _repaint(layer: Labels, region: Region) -> bool:
    """Repaint through napari's own partial refresh, where the version has one."""
    try:
        slice_input = layer._slice.slice_input
        displayed = list(slice_input.displayed)
        view = layer._slice.image.view
        raw = layer._slice.image.raw
    except AttributeError:
        return False
    if layer.contour or not hasattr(layer, "_partial_labels_refresh"):
        return False
    point = np.rint(layer.world_to_data(slice_input.world_slice.point))
    index: list[slice | int] = list(region)
    for axis in slice_input.not_displayed:
        at = int(point[axis])
        if not region[axis].start <= at < region[axis].stop:
            return True  # Another plane is on display: nothing to repaint.
        index[axis] = at
    shown = tuple(region[axis] for axis in displayed)
    if len(displayed) != 2 or view.shape != raw.shape or displayed != sorted(displayed):
        return False
    if not np.shares_memory(view, layer.data):
        pixels = np.asarray(layer.data[tuple(index)])
        raw[shown] = pixels
        view[shown] = layer.colormap._data_to_texture(pixels)
    layer._updated_slice = region
    layer._partial_labels_refresh()
    return True
