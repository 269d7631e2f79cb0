"""The embeddings of tiles: kept as tensors, read back, or computed and saved."""

from __future__ import annotations

import contextlib
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.data.embeddings import (
    MEGABYTE,
    EmbeddingCache,
    Key,
    default_folder,
    key_of,
)
from napari_promise.document import BBox, Plane, Tile
from napari_promise.segmentation import EmbeddingLike, SegmenterLike
from napari_promise.session.model_in_use import ModelInUse
from napari_promise.session.sources import ImageInWork, ImageSource, Place, seen

__all__ = ["Embeddings"]

#: Embeddings kept as tensors, at least and at most; others come back from the cache in
#: milliseconds. Between these so many as fit into so much memory.
_TENSORS_KEPT = (8, 48)
_TENSORS_BYTES = 256 * MEGABYTE

#: Told (blocks done, blocks in all); (0, 0) when it begins.
Progress = Callable[[int, int], None]


class Embeddings:
    """The embeddings of the model in use.

    The latest few are tensors, all others arrays in the cache's memory and on disk;
    what is nowhere is computed. It is put into the cache later, by `save_next`, when
    nobody waits for anything.

    For the worker's thread. Others may ask `has` and `digest`, which look up single
    values, and read the attributes.

    Parameters
    ----------
    model : ModelInUse
    cache : EmbeddingCache

    Attributes
    ----------
    cache : EmbeddingCache
    encode_seconds : float or None
        What a tile took on the model in use, at best: the first one warms up.
    embedding_bytes : int or None
        Size of an embedding of that model.
    """

    def __init__(self, model: ModelInUse, cache: EmbeddingCache) -> None:
        self._model = model
        self.cache = cache
        self.encode_seconds: float | None = None
        self.embedding_bytes: int | None = None
        self._folder = cache.folder or default_folder()
        self._digests: dict[Place, str] = {}
        self._tensors: OrderedDict[Key, EmbeddingLike] = OrderedDict()
        # Exchanged as a whole, so that other threads may read it.
        self._ready: tuple[tuple[Place, Key], ...] = ()
        self._unsaved: OrderedDict[Key, tuple[EmbeddingLike, dict[str, Any]]]
        self._unsaved = OrderedDict()

    # -- what there is ------------------------------------------------------------

    @property
    def are_saved(self) -> bool:
        """Whether nothing is left for `save_next` to do."""
        return not self._unsaved

    def digest(self, image: ImageInWork, tile: Tile) -> str | None:
        """Return the digest of a tile's pixels; None before they were read."""
        return self._digests.get(image.place(tile))

    def has(self, image: ImageInWork, tile: Tile) -> bool:
        """Whether `get` would return the embedding of a tile."""
        key = self._key_of(image, tile)
        return key is not None and key in self._tensors

    def tiles_of(self, image: ImageInWork, plane: Plane) -> list[BBox | None]:
        """Return the tiles of a plane that `get` would return, the latest first."""
        return [
            tile.bbox
            for (token, tile), _ in reversed(self._ready)
            if token == image.token and tile.plane == plane
        ]

    def get(self, image: ImageInWork, tile: Tile) -> EmbeddingLike:
        """Return the embedding of a tile that `has` one."""
        key = self._key_of(image, tile)
        assert key is not None
        return self._tensors[key]

    def size(self) -> tuple[int, int | None]:
        """Return the cache's bytes in memory, and on disk or None if none is kept."""
        memory, disk = self.cache.size()
        return memory, None if self.cache.folder is None else disk

    # -- having one ---------------------------------------------------------------

    def provide(
        self,
        image: ImageInWork,
        tile: Tile,
        *,
        progress: Progress | None = None,
        cancel: Callable[[], bool],
    ) -> bool:
        """Have the embedding of a tile: from memory, from disk, or computed.

        Parameters
        ----------
        image : ImageInWork
        tile : Tile
        progress, cancel : callable
            See `embed`.

        Returns
        -------
        bool
            Whether it was there already.
        """
        key = self._key_of(image, tile)
        embedding = None if key is None else self._known(key)
        cached = embedding is not None
        if key is None or embedding is None:
            embedding, digest, cached = self.embed(
                image.source, tile, progress=progress, cancel=cancel
            )
            key = key_of(digest, self._segmenter)
        self._tensors[key] = embedding
        self._tensors.move_to_end(key)
        while len(self._tensors) > self._tensors_kept:
            self._tensors.popitem(last=False)
        place = image.place(tile)
        self._digests[place] = key[0]
        others = [(p, k) for p, k in self._ready if p != place and k in self._tensors]
        self._ready = (*others, (place, key))
        return cached

    def embed(
        self,
        source: ImageSource,
        tile: Tile,
        *,
        progress: Progress | None = None,
        cancel: Callable[[], bool],
    ) -> tuple[EmbeddingLike, str, bool]:
        """Return the embedding of a tile of any image; its tensor is not kept.

        Parameters
        ----------
        source : ImageSource
        tile : Tile
        progress : callable, optional
            Told (0, 0) where it has to be computed, then (blocks done, blocks in all).
        cancel : callable
            Asked before each block whether to give up, with an exception.

        Returns
        -------
        embedding : EmbeddingLike
        digest : str
            Of the tile's pixels.
        cached : bool
            Whether it was there already.
        """
        rgb, digest = _read(source, tile)
        key = key_of(digest, self._segmenter)
        known = self._known(key)
        if known is not None:
            return known, digest, True
        shape = (source.shape[-2], source.shape[-1])
        embedding = self._compute(rgb, tile, shape, progress, cancel)
        # A call that could not be stopped was not in vain: the result is kept.
        self._unsaved[key] = (embedding, {"image": source.name})
        return embedding, digest, False

    def feed(self, views: Iterator[tuple[ImageSource, Tile]]) -> None:
        """Have tiles encoded ahead, where another computer encodes; see `JobContext`.

        Those that are there already are left out.
        """
        feed = getattr(self._segmenter, "feed", None)
        if feed is not None:
            feed(self._missing(views))

    def _missing(
        self, views: Iterator[tuple[ImageSource, Tile]]
    ) -> Iterator[NDArray[np.uint8]]:
        for source, tile in views:
            with contextlib.suppress(OSError, ValueError):  # said in its turn
                rgb, digest = _read(source, tile)
                key = key_of(digest, self._segmenter)
                known = (*self._tensors, *self._unsaved)
                if key not in known and key not in self.cache:
                    yield rgb

    def save_next(self) -> None:
        """Put the one that waits longest into the cache."""
        key, (embedding, meta) = next(iter(self._unsaved.items()))
        try:
            arrays = embedding.to_arrays()
            self.embedding_bytes = sum(array.nbytes for array in arrays.values())
            self.cache.put(key, arrays, meta)
        finally:
            self._unsaved.pop(key, None)

    # -- forgetting, and how much is kept -----------------------------------------

    def begin_anew(self) -> None:
        """Drop the tensors, and what was measured: another model is in use."""
        self.encode_seconds = self.embedding_bytes = None
        self._tensors.clear()
        self._ready = ()

    def clear(self, image: ImageInWork | None, tile: Tile) -> None:
        """Forget all, in memory and on disk, but the tensor of one tile."""
        kept = None if image is None else self._key_of(image, tile)
        for known in [key for key in self._tensors if key != kept]:
            del self._tensors[known]
        self._ready = tuple((p, k) for p, k in self._ready if k == kept)
        self._unsaved.clear()
        self.cache.clear()

    def keep_on_disk(self, wanted: bool) -> None:
        """Use the folder of the cache, or memory alone."""
        self.cache.folder = self._folder if wanted else None

    def keep_quota(self, megabytes: int) -> None:
        """Use no more disk than that."""
        self.cache.disk_bytes = megabytes * MEGABYTE

    # -- helpers ------------------------------------------------------------------

    @property
    def _tensors_kept(self) -> int:
        least, most = _TENSORS_KEPT
        if self.embedding_bytes is None:
            return least
        # On disk they are half as large.
        return min(most, max(least, _TENSORS_BYTES // (2 * self.embedding_bytes)))

    @property
    def _segmenter(self) -> SegmenterLike:
        segmenter = self._model.segmenter
        assert segmenter is not None
        return segmenter

    def _key_of(self, image: ImageInWork, tile: Tile) -> Key | None:
        digest, segmenter = self.digest(image, tile), self._model.segmenter
        if digest is None or segmenter is None:
            return None
        return key_of(digest, segmenter)

    def _known(self, key: Key) -> EmbeddingLike | None:
        if key in self._tensors:
            return self._tensors[key]
        if key in self._unsaved:
            return self._unsaved[key][0]
        arrays = self.cache.get(key)
        if arrays is None:
            return None
        try:
            return self._segmenter.restore(arrays)
        except ValueError:  # not whole: encoded anew
            return None

    def _compute(
        self,
        rgb: NDArray[np.uint8],
        tile: Tile,
        shape: tuple[int, int],
        progress: Progress | None,
        cancel: Callable[[], bool],
    ) -> EmbeddingLike:
        if progress is not None:
            progress(0, 0)
        began = time.monotonic()
        if tile.bbox is None and rgb.shape[:2] == shape:
            embedding = self._segmenter.encode(rgb, progress=progress, cancel=cancel)
        else:
            embedding = self._segmenter.encode(
                rgb,
                region=tile.bbox,
                plane_shape=shape,
                progress=progress,
                cancel=cancel,
            )
        seconds = time.monotonic() - began
        self.encode_seconds = min(seconds, self.encode_seconds or seconds)
        return embedding


def _read(source: ImageSource, tile: Tile) -> tuple[NDArray[np.uint8], str]:
    """Return a tile as SAM sees it, (h, w, 3), and the digest that names it."""
    from napari_promise.data import planes

    plane, bbox = seen(source, tile)
    rgb = planes.to_rgb8(plane, source.contrast_limits, source.rgb, bbox)
    rows, columns = source.shape[-2:]
    return rgb, planes.digest_of_part(rgb, tile.bbox, (rows, columns))
