"""The little picture of a layer in napari's list, drawn when nobody waits for a mask.

napari draws it with every change of a layer, and with it all rows of its list, while
somebody waits for the mask of a click.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING

from napari_promise.widgets.later import Later

if TYPE_CHECKING:
    from napari.layers import Layer

__all__ = ["draw_thumbnail_later"]

#: It is drawn when the layer has not changed for so long.
RESTS_MS = 400


def draw_thumbnail_later(layer: Layer) -> None:
    """Have a layer draw its thumbnail once it rests, instead of at every change.

    Parameters
    ----------
    layer : Layer
        Left as it is where napari draws thumbnails otherwise.
    """
    draw = getattr(type(layer), "_update_thumbnail", None)
    if draw is None:
        return
    later = Later(partial(draw, layer), RESTS_MS)
    setattr(layer, "_update_thumbnail", later.start)  # noqa: B010
