"""Puts the layers of a work into a viewer, in their order, and takes them out."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from napari_promise.widgets.layers.guard import BatchedUpdate, Guard

if TYPE_CHECKING:
    from napari.components import LayerList
    from napari.layers import Layer

    from napari_promise.widgets.layers.work import Work


class Placing:
    """What comes into the layer list of a viewer and leaves it through us.

    Parameters
    ----------
    layers : napari.components.LayerList

    Attributes
    ----------
    moving : Guard
        Up while layers come or go.
    batched_update : BatchedUpdate
    """

    def __init__(self, layers: LayerList) -> None:
        self._layers = layers
        self.moving = Guard()
        self.batched_update = BatchedUpdate(layers)

    def holds(self, layer: Layer) -> bool:
        """Whether a layer is in the viewer."""
        return any(layer is other for other in self._layers)

    def put_in(self, work: Work, *, labels: bool = True) -> bool:
        """Put in what is missing of a work's layers; True if there was any.

        Parameters
        ----------
        work : Work
        labels : bool
            Whether the labels layer has to be there, too.
        """
        wanted = work.layers if labels else work.prompt_layers
        missing = [layer for layer in wanted if not self.holds(layer)]
        if not missing:
            return False
        active = self._layers.selection.active
        with self.moving:
            for layer in missing:
                # Below those of ours that belong above it.
                above = work.layers[work.layers.index(layer) + 1 :]
                places = [i for i, other in enumerate(self._layers) if other in above]
                self._layers.insert(min(places, default=len(self._layers)), layer)
        if active is not None and self.holds(active):
            self._layers.selection.active = active
        return True

    def put_over(self, work: Work, layer: Layer) -> None:
        """Put in a layer that only shows something, above the labels of a work."""
        active = self._layers.selection.active
        work.shown_beside.append(layer)
        with self.moving:
            labels = work.result.layer
            at = len(self._layers)
            if self.holds(labels):
                at = self._layers.index(labels) + 1
            self._layers.insert(at, layer)
        if active is not None and self.holds(active):
            self._layers.selection.active = active

    def take_out(self, layers: Iterable[Layer]) -> None:
        """Take layers out, as far as they are in."""
        with self.moving, self.batched_update:
            for layer in layers:
                if self.holds(layer):
                    self._layers.remove(layer)
