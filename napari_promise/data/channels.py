"""Channels that somebody else's reader laid out as planes, found by what the file says.

Our own reader blends the channels of a microscope. napari's makes them a leading axis.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from napari_promise.data.formats import tiff
from napari_promise.data.images import OpenedImage, place_of

__all__ = ["Channels", "channels_of"]


@dataclass(frozen=True)
class Channels:
    """The channels of a file.

    Attributes
    ----------
    path : Path
    axis : int
        Of the array as it is stored.
    names : tuple of str
        As the file calls them, else by their numbers; none twice.
    """

    path: Path
    axis: int
    names: tuple[str, ...]

    def opened(self, array: Any, name: str, chosen: int | None = None) -> OpenedImage:
        """Return one channel, or all of them in colours, as an image of its own.

        Parameters
        ----------
        array : array, lazy or not
            The file's pixels as they are stored.
        name : str
            Of the image.
        chosen : int, optional
            Which channel; None blends all.

        Returns
        -------
        OpenedImage
            Without the axis of the channels, at the place that the file states.
        """
        place = place_of(self.path)
        if chosen is None:
            blended = tiff.blended(np.moveaxis(np.asarray(array), self.axis, -1))
            return OpenedImage(blended, True, f"{name} in colours", place)
        one = array[(*[slice(None)] * self.axis, chosen)]
        return OpenedImage(one, False, f"{name} {self.names[chosen]}", place)


def channels_of(
    path: str | os.PathLike[str], shape: tuple[int, ...]
) -> Channels | None:
    """Find the channels of a file whose pixels were read by somebody else.

    Parameters
    ----------
    path : path
    shape : tuple of int
        Of the array that was read.

    Returns
    -------
    Channels or None
        None where the file states none, cannot be read, or was read in another way.
    """
    path = Path(path)
    if not path.name.lower().endswith(tiff.SUFFIXES) or not path.is_file():
        return None
    try:
        found = tiff.channels(path)
    except Exception:  # whatever a damaged file makes of it: no channels are known
        return None
    if found is None or found.shape != shape:
        return None
    return Channels(path, found.axis, found.names)
