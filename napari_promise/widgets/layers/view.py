"""Which part of an image is on the screen, told when zooming and panning rest."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import numpy as np

from napari_promise.document import BBox
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.later import Later
from napari_promise.widgets.layers.geometry import camera_of, image_shape
from napari_promise.widgets.layers.napari_internals import canvas_size

if TYPE_CHECKING:
    import napari
    from napari.layers import Image

__all__ = ["ViewWatch", "view_of"]

#: The view counts once it rests this long: what is passed over is not worth encoding.
RESTS_MS = 250


def view_of(viewer: napari.Viewer, image: Image) -> BBox | None:
    """Return the part of an image's plane that is on the screen.

    Parameters
    ----------
    viewer : napari.Viewer
    image : Image
        A layer that lies flat in the canvas, multiscale or not.

    Returns
    -------
    BBox or None
        In pixels of the full resolution; None where nothing of it is seen, or the
        canvas cannot be asked.
    """
    size, camera, dims = canvas_size(viewer), camera_of(viewer), viewer.dims
    if size is None or not camera.zoom > 0:
        return None
    half = np.array(size) / 2 / camera.zoom
    middle = np.asarray(camera.center, float)[-2:]
    found = []
    for sign in ((-1, -1), (-1, 1), (1, -1), (1, 1)):
        world = np.array(dims.point, float)
        world[list(dims.displayed)[-2:]] = middle + half * sign
        found.append(np.asarray(image.world_to_data(world), float)[-2:])
    rows, columns = image_shape(image)[-2:]
    low, high = np.min(found, axis=0), np.max(found, axis=0)
    r0, c0 = np.clip(np.floor(low), 0, (rows, columns)).astype(int).tolist()
    r1, c1 = np.clip(np.ceil(high) + 1, 0, (rows, columns)).astype(int).tolist()
    return (r0, c0, r1, c1) if r0 < r1 and c0 < c1 else None


class ViewWatch:
    """Watches the camera of a viewer.

    Parameters
    ----------
    viewer : napari.Viewer
    rests : callable
        Called when the camera has moved and rests again.
    """

    def __init__(self, viewer: napari.Viewer, rests: Callable[[], None]) -> None:
        self._rests = rests
        self._rest = Later(rests, RESTS_MS)
        self._connections = Connections()
        events = camera_of(viewer).events
        for emitter in (events.zoom, events.center):
            self._connections.add(emitter, self._on_moved)

    def _on_moved(self, _event: Any = None) -> None:
        self._rest.start()

    def begin(self) -> None:
        """Tell soon: another image is shown."""
        self._rest.start()

    def tell_now(self) -> None:
        """Do not wait: somebody clicked, where the camera has not rested yet."""
        if self._rest.is_waiting:
            self._rest.stop()
            self._rests()

    def close(self) -> None:
        """Stop watching."""
        self._connections.release()
        self._rest.stop()
