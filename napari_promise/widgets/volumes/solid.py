"""Objects that are not committed yet, as solids in napari's 3-D view.

The labels layer shows there what is committed. What is proposed lies in records, plane
by plane: in the 3-D view, and only there, a layer of its own shows them in the colours
of their labels. It is as large as they are.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
from napari.layers import Labels
from numpy.typing import NDArray

from napari_promise.document import Document, Plane
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.later import Later
from napari_promise.widgets.layers.bridge import LayerBridge
from napari_promise.widgets.layers.geometry import place, placement
from napari_promise.widgets.layers.result import label_colours
from napari_promise.widgets.volumes.controller import Propagation

if TYPE_CHECKING:
    from napari.components import Dims

__all__ = ["Solid", "block_of"]

#: Changes of this time are shown at once.
_WAIT_MS = 200


class Solid:
    """Shows what is proposed while the viewer shows volumes.

    Parameters
    ----------
    dims : napari.components.Dims
        Of the viewer.
    bridge : LayerBridge
    propagation : Propagation
        Tells of changes.
    """

    def __init__(
        self, dims: Dims, bridge: LayerBridge, propagation: Propagation
    ) -> None:
        self._dims, self._bridge = dims, bridge
        self.layer: Labels | None = None
        self._later = Later(self.show_now, _WAIT_MS)
        self._connections = Connections()
        self._connections.add(dims.events.ndisplay, lambda *_: self.show_now())
        self._connections.add(propagation.changed, self._on_changed)
        self._connections.add(bridge.work_changed, self.show_now)

    def close(self) -> None:
        """Hear nothing more, and take the layer out."""
        self._connections.release()
        self._later.stop()
        self._take_out()

    def _on_changed(self) -> None:
        if self._dims.ndisplay == 3 and not self._later.is_waiting:
            self._later.start()

    def show_now(self) -> None:
        """Show what there is to show."""
        work = self._bridge.work
        flat = self._dims.ndisplay != 3 or work is None or len(work.shape) < 3
        before = self._bridge.plane[:-1]
        block = None if flat or work is None else block_of(work.document, before)
        if block is None or work is None:
            self._take_out()
            return
        (plane, row, column), labels = block
        data = labels.reshape((1,) * len(before) + labels.shape)
        first, corner = (*before, plane), (row, column)
        if self.layer is None:
            self.layer = Labels(
                data,
                name="ProMISe proposal",
                opacity=0.6,
                colormap=label_colours(),
                **placement(work.image, first, corner),
            )
            self.layer.editable = False
            self._bridge.put_beside(self.layer)
        else:
            self.layer.data = data
            place(self.layer, work.image, first, corner)

    def _take_out(self) -> None:
        layer, self.layer = self.layer, None
        if layer is not None:
            self._bridge.take_beside(layer)


def block_of(
    document: Document, before: Plane
) -> tuple[tuple[int, int, int], NDArray[np.uint16]] | None:
    """Return the block of voxels that the proposed objects of a stack fill.

    Parameters
    ----------
    document : Document
    before : Plane
        The indices in front of the planes' axis.

    Returns
    -------
    (int, int, int)
        Plane, row and column of its first voxel.
    (planes, rows, columns) uint16
        Labels; 0 for nothing.
    """
    shown: list[tuple[int, int, Any]] = [
        (record.label, record.plane[-1], record.region)
        for record in document.objects
        if record.region is not None
        and record.plane[:-1] == before
        and document.is_draft(record)
    ]
    if not shown:
        return None
    boxes = np.array([(at, *region.bbox) for _, at, region in shown])
    first = boxes[:, :3].min(axis=0)
    last = np.concatenate([[boxes[:, 0].max() + 1], boxes[:, 3:].max(axis=0)])
    block = np.zeros(last - first, np.uint16)
    for label, at, region in shown:
        r0, c0, r1, c1 = np.array(region.bbox) - np.tile(first[1:], 2)
        block[at - first[0], r0:r1, c0:c1][region.crop] = label
    return (int(first[0]), int(first[1]), int(first[2])), block
