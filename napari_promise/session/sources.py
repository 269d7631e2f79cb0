"""Where pixels come from, and the image that is worked on."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Protocol, runtime_checkable

from napari_promise.document import BBox, Document, Plane, Tile

__all__ = [
    "ArraySource",
    "ImageInWork",
    "ImageSource",
    "LevelledSource",
    "Place",
    "seen",
]

#: A tile of an image as a key that does not keep the image.
Place = tuple[int, Tile]

#: How many planes ahead are encoded while nobody waits for anything.
_PLANES_AHEAD = 2


class ImageSource(Protocol):
    """Where the pixels of an image come from: a snapshot, read by the worker."""

    @property
    def name(self) -> str:
        """What the image is called in messages."""

    @property
    def rgb(self) -> bool:
        """Whether the last axis of `plane_pixels` holds colours."""

    @property
    def contrast_limits(self) -> tuple[float, float] | None:
        """The values shown black and white; None for the pixels as they are."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., rows, columns), without the colours."""

    def plane_pixels(self, plane: Plane) -> Any:
        """Return one plane, (H, W) or (H, W, 3 or 4). Called by the worker."""


@runtime_checkable
class LevelledSource(Protocol):
    """A source that need not read the whole plane for a tile of it."""

    def seen(self, tile: Tile) -> tuple[Any, BBox | None]:
        """Return the plane at the level that serves, unread, and the tile in it."""


def seen(source: ImageSource, tile: Tile) -> tuple[Any, BBox | None]:
    """Say where the pixels of a tile are to be read; see `data.pyramids.seen_at`."""
    if isinstance(source, LevelledSource):
        return source.seen(tile)
    return source.plane_pixels(tile.plane), tile.bbox


@dataclass(frozen=True, eq=False)
class ArraySource:
    """An array as a source of planes.

    Attributes
    ----------
    array : array-like, (..., H, W) or (..., H, W, 3 or 4)
    rgb : bool
        Whether the last axis holds colours.
    name : str
    contrast_limits : (float, float) or None
    """

    array: Any
    rgb: bool = False
    name: str = "image"
    contrast_limits: tuple[float, float] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., rows, columns), without the colours."""
        shape = tuple(int(n) for n in self.array.shape)
        return shape[:-1] if self.rgb else shape

    def plane_pixels(self, plane: Plane) -> Any:
        """Return one plane."""
        return self.array[tuple(plane)] if plane else self.array


@dataclass(frozen=True, eq=False)
class ImageInWork:
    """An image as it looked when it was set; other contrast makes another one.

    Attributes
    ----------
    source : ImageSource
    document : Document
        The image's objects.
    token : int
        Tells it from every other image of the session.
    """

    source: ImageSource
    document: Document
    token: int

    def place(self, tile: Tile) -> Place:
        """Return the key of a tile."""
        return self.token, tile

    def tiles_near(self, tile: Tile, direction: int) -> list[Tile]:
        """Return the tiles that are likely to be shown next, likeliest first.

        They are the same part of the next planes.
        """
        plane = tile.plane
        if not plane:
            return []
        count = self.source.shape[len(plane) - 1]
        steps = [direction * n for n in range(1, _PLANES_AHEAD + 1)]
        ahead = [(*plane[:-1], plane[-1] + step) for step in steps]
        return [replace(tile, plane=p) for p in ahead if 0 <= p[-1] < count]
