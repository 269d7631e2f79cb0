"""A thin frame around the part of the image that the model saw of an object."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from napari.layers import Shapes

from napari_promise.document import BBox, Plane
from napari_promise.session import Session
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.later import Later
from napari_promise.widgets.layers.bridge import LayerBridge
from napari_promise.widgets.layers.geometry import placement

if TYPE_CHECKING:
    from napari.components import Dims

__all__ = ["SeenFrame"]

_COLOUR = "#56b4e9"  # Okabe and Ito's sky blue: no polarity and no box has it
#: Its line is so much of the part's side.
_WIDTH = 1 / 256


class SeenFrame:
    """Shows the frame while the setting ``frame`` is on and a part was looked at.

    Parameters
    ----------
    dims : napari.components.Dims
        Of the viewer.
    bridge : LayerBridge
    session : Session
    """

    def __init__(self, dims: Dims, bridge: LayerBridge, session: Session) -> None:
        self._dims, self._bridge, self._session = dims, bridge, session
        self.layer: Shapes | None = None
        self._shown: tuple[Plane, BBox] | None = None
        self._later = Later(self.show_now)
        self._connections, self._of_document = Connections(), Connections()
        for signal in (
            session.settings.events.frame,
            bridge.plane_changed,
            dims.events.ndisplay,
        ):
            self._connections.add(signal, self._soon)
        self._connections.add(bridge.work_changed, self._on_work)
        self._on_work()

    def close(self) -> None:
        """Hear nothing more, and take the layer out."""
        self._connections.release()
        self._of_document.release()
        self._later.stop()
        self._take_out()

    def _on_work(self) -> None:
        self._of_document.release()
        if self._bridge.work is not None:
            events = self._bridge.work.document.events
            self._of_document.add(events.active_changed, self._soon)
            self._of_document.add(events.object_changed, self._soon)
            self._of_document.add(events.history_changed, self._soon)
        self._soon()

    def _soon(self, *_: object) -> None:
        if self._session.settings.frame or self.layer is not None:
            self._later.start()

    def show_now(self) -> None:
        """Show what there is to show."""
        work, seen = self._bridge.work, self._seen()
        if seen is None or work is None:
            self._take_out()
            return
        if seen == self._shown and self.layer is not None:
            return
        self._take_out()
        plane, (r0, c0, r1, c1) = seen
        corners = [(r0, c0), (r0, c1), (r1, c1), (r1, c0)]
        width = _WIDTH * max(r1 - r0, c1 - c0)
        self.layer = Shapes(
            [np.array([(*plane, row - 0.5, column - 0.5) for row, column in corners])],
            shape_type="polygon",
            name="ProMISe sees",
            face_color="transparent",
            edge_color=_COLOUR,
            edge_width=width,
            **placement(work.image),
        )
        self.layer.editable = False
        self._shown = seen
        self._bridge.put_beside(self.layer)

    def _seen(self) -> tuple[Plane, BBox] | None:
        """Return plane and part; None for the whole image, or where nobody asks."""
        work = self._bridge.work
        if not self._session.settings.frame or work is None or self._dims.ndisplay != 2:
            return None
        record = work.document.active
        if record is None or record.tile is None or record.plane != self._bridge.plane:
            return None
        return record.plane, record.tile

    def _take_out(self) -> None:
        layer, self.layer, self._shown = self.layer, None, None
        if layer is not None:
            self._bridge.take_beside(layer)
