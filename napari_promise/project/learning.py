"""What a project teaches: confirmed labels as files to train on, and what they cost."""

from __future__ import annotations

import glob
from collections.abc import Callable
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from napari_promise.data.pairs import Pair
from napari_promise.files import utc_now
from napari_promise.project import effort
from napari_promise.project.effort import Effort
from napari_promise.project.items import Entry
from napari_promise.project.ledger import Ledger, ProjectEvents
from napari_promise.project.masks import write_exactly
from napari_promise.project.store import slug

__all__ = ["Learning"]


class Learning:
    """Training pairs and effort of a project.

    Parameters
    ----------
    root : Path
        Where the project's own files lie.
    ledger : Ledger
    events : ProjectEvents
        Told of images that are left out.
    labels_of : callable
        Returns the labels of an image by its key, (..., H, W) integer; zeros where
        it has no object.
    """

    def __init__(
        self,
        root: Path,
        ledger: Ledger,
        events: ProjectEvents,
        labels_of: Callable[[str], NDArray[Any]],
    ) -> None:
        self._root = root
        self._ledger = ledger
        self._events = events
        self._labels_of = labels_of

    def training_pairs(self) -> tuple[Pair, ...]:
        """Return what is done, as files to train on. Slow the first time.

        Returns
        -------
        tuple of Pair
            One an image, in the order of the source. ``image`` is the original file
            (a picture, a stack of any format, a DICOM file), ``mask`` a file of the
            same shape, (..., H, W), plane for plane, that `data.images.read_mask`
            reads exactly, and ``group`` the patient or sequence, None where nobody
            named one. A mask that was there already is named as it is; others are
            written into the project's folder, each anew after it changed. An image
            that is done without any object has an empty mask. Images that are gone
            or cannot be read are left out, and the project's `noted` says so.

        Raises
        ------
        OSError
            If a mask cannot be written.
        """
        ledger = self._ledger
        pairs = []
        for key in ledger.keys:
            try:
                found, entry = ledger.found(key), ledger.entry(key)
                if entry.state != "done":
                    continue
                mask = found.mask
                if entry.saved or mask is None:
                    mask = self._mask_file(key, entry)
            except (ValueError, FileNotFoundError) as error:
                self._events.noted.emit(str(error))
                continue
            pairs.append(Pair(found.path, mask, found.group))
        return tuple(pairs)

    def effort(self) -> Effort:
        """Return how the work went so far."""
        return effort.read(self._root / effort.FILE)

    def log_trained(self, adapter: str) -> None:
        """Note in the effort's course that an adapter was trained.

        Raises
        ------
        OSError
            If it cannot be written.
        """
        with self._ledger.disk:
            event = {"trained": adapter, "when": utc_now()}
            effort.append(self._root / effort.FILE, event)

    def _mask_file(self, key: str, entry: Entry) -> Path:
        """Return the labels as a file that `data.images.read_mask` reads exactly."""
        folder = self._root / "masks"
        name = slug(key)
        stem = f"{name}-{entry.revision}"
        for path in (folder / f"{stem}.png", folder / f"{stem}.npy"):
            if path.exists():
                return path
        with self._ledger.disk:
            labels = self._labels_of(key)
            folder.mkdir(exist_ok=True)
            earlier = list(folder.glob(f"{glob.escape(name)}-*"))
            path = write_exactly(labels, folder / stem)
            for one in earlier:
                one.unlink(missing_ok=True)
        return path
