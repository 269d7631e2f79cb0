"""Write a rectangle of a Labels layer and repaint that rectangle only.

napari repaints a whole layer after an assignment; on large images that costs more
than the network.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from napari_promise.widgets.layers.napari_internals import Slices, repaint

if TYPE_CHECKING:
    import numpy as np
    from napari.layers import Labels


def write_slices(layer: Labels, slices: Slices, values: np.ndarray | int) -> None:
    """Write values into a Labels layer, past its history, and repaint just them.

    Parameters
    ----------
    layer : Labels
        A layer backed by a numpy array.
    slices : tuple of slice
        One slice with explicit bounds per dimension.
    values : array or int
        What to write; must broadcast to the rectangle.
    """
    layer.data[slices] = values
    if not layer.visible:
        # A hidden layer is sliced anew when it is shown.
        return
    if not repaint(layer, slices):
        layer.refresh(thumbnail=False, extent=False, highlight=False)
