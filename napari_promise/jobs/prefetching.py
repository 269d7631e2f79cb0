"""Have the next images of a folder ready: their pixels and their embeddings."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable

from napari_promise.document import Tile
from napari_promise.project import OpenedImage, Project
from napari_promise.session import JobContext

__all__ = ["ImageCache", "Prefetch"]

#: Bytes of pixels kept beside the open image; the latest is kept in any case.
_CACHE_BYTES = 256 * 2**20


class ImageCache:
    """Images that were read a moment ago or will be wanted in a moment.

    May be asked from several threads; each image is read once.

    Parameters
    ----------
    project : Project
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._lock = threading.Lock()
        self._read: OrderedDict[str, tuple[tuple[int, int], OpenedImage]]
        self._read = OrderedDict()

    def get(self, key: str) -> OpenedImage:
        """Return an image, from memory unless its file has changed.

        Raises
        ------
        FileNotFoundError
            If it is gone.
        ValueError
            If it cannot be read.
        """
        path = self._project.item(key).path
        try:
            status = os.stat(path)
        except FileNotFoundError:
            raise FileNotFoundError(
                f"{path} is gone: put it back, or go on with another image. What was "
                "done on it is kept."
            ) from None
        mark = (status.st_size, status.st_mtime_ns)
        with self._lock:
            known = self._read.get(key)
            if known is None or known[0] != mark:
                known = (mark, self._project.read_image(key))
                self._read[key] = known
            self._read.move_to_end(key)
            size = sum(image.array.nbytes for _, image in self._read.values())
            while size > _CACHE_BYTES and len(self._read) > 1:
                _, (_, dropped) = self._read.popitem(last=False)
                size -= dropped.array.nbytes
            return known[1]


class Prefetch:
    """A `Job` that encodes images before anybody opens them.

    Parameters
    ----------
    cache : ImageCache
    keys : iterable of str
        The likeliest first.
    """

    def __init__(self, cache: ImageCache, keys: Iterable[str]) -> None:
        self._images = cache
        self._keys = deque(keys)

    @property
    def is_over(self) -> bool:
        """Whether every image was encoded, or could not be read."""
        return not self._keys

    def step(self, context: JobContext) -> bool:
        """Read and encode one image; False when nothing is left to do."""
        if not self._keys:
            return False
        if context.must_give_way():
            return True
        try:
            image = self._images.get(self._keys[0])
        except (OSError, ValueError):
            # It will be said when the image is really wanted.
            self._keys.popleft()
            return bool(self._keys)
        context.embedding(image, Tile(image.first_plane))
        self._keys.popleft()
        return bool(self._keys)

    def fail(self, context: JobContext, error: Exception) -> None:
        """End quietly: it will be said when the image is really wanted."""

    def close(self) -> None:
        """Let go of everything."""
        self._keys.clear()
