"""Have the next images of a folder ready: their pixels and their embeddings."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict, deque
from collections.abc import Iterable

import numpy as np

from napari_promise.data.planes import robust_limits
from napari_promise.document import Plane, Tile
from napari_promise.project import OpenedImage, Project
from napari_promise.session import ArraySource, JobContext

__all__ = ["ImageShelf", "Prefetch", "contrast_limits", "first_plane", "source_of"]

#: Bytes of pixels kept beside the image in work; the latest is kept in any case.
_SHELF_BYTES = 256 * 2**20


def contrast_limits(image: OpenedImage) -> tuple[float, float] | None:
    """Return the values of a grey image to show black and white; None for colours.

    The same for all planes of a stack. One hot pixel does not move them.

    Parameters
    ----------
    image : OpenedImage

    Returns
    -------
    (float, float) or None
    """
    if image.rgb:
        return None
    if image.array.dtype == np.uint8:
        return 0.0, 255.0
    if image.array.dtype == bool:
        return 0.0, 1.0
    low, high = robust_limits(image.array) or (0.0, 1.0)
    return (low, high) if low < high else (low, low + 1.0)


def source_of(image: OpenedImage) -> ArraySource:
    """Return an image as the model will see it when it is opened in the window.

    Parameters
    ----------
    image : OpenedImage

    Returns
    -------
    ArraySource
        Its planes have the digests that they have in the window, so that what is
        encoded ahead is found again.
    """
    return ArraySource(image.array, image.rgb, image.name, contrast_limits(image))


def first_plane(image: OpenedImage) -> Plane:
    """Return the plane that is shown first: of a stack the one in the middle."""
    return tuple(n // 2 for n in image.shape[:-2])


class ImageShelf:
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
            while size > _SHELF_BYTES and len(self._read) > 1:
                _, (_, dropped) = self._read.popitem(last=False)
                size -= dropped.array.nbytes
            return known[1]


class Prefetch:
    """A `Job` that encodes images before anybody opens them.

    Parameters
    ----------
    shelf : ImageShelf
    keys : iterable of str
        The likeliest first.
    """

    def __init__(self, shelf: ImageShelf, keys: Iterable[str]) -> None:
        self._shelf = shelf
        self._keys = deque(keys)

    def step(self, context: JobContext) -> bool:
        """Read and encode one image; False when nothing is left to do."""
        if not self._keys:
            return False
        if context.must_give_way():
            return True
        try:
            image = self._shelf.get(self._keys[0])
        except (OSError, ValueError):
            # It will be said when the image is really wanted.
            self._keys.popleft()
            return bool(self._keys)
        context.embedding(source_of(image), Tile(first_plane(image)))
        self._keys.popleft()
        return bool(self._keys)

    def fail(self, context: JobContext, error: Exception) -> None:
        """End quietly: it will be said when the image is really wanted."""

    def close(self) -> None:
        """Let go of everything."""
        self._keys.clear()
