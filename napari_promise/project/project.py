"""A folder of images to annotate: opened in a moment, saved image by image.

The project keeps a folder ``.promise`` beside the images:

    index.jsonl      how every image stands, see `ledger` and `index`
    items/NAME/      the work on one image and what is proposed for it, see `store`
    effort.jsonl     what was finished with how many clicks, see `effort`
    held_out.json    what confidence was worth in training, see `calibration`
    settings.json    what the user set
    thumbnails/      may be deleted at any time
    masks/           labels as files to train on; made anew where missing

Every method is for one image and quick, except where it says so. They may be called
from any thread; events are emitted in the thread that called.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from napari_promise.data.images import (
    OpenedImage,
    read_image,
    status_of,
    thumbnail,
    understand_mask,
)
from napari_promise.data.mask_survey import MaskSurvey
from napari_promise.data.masks import AS_THEY_ARE
from napari_promise.document import Document, Snapshot
from napari_promise.files import NewerFileError, one_line, utc_now, whole_file
from napari_promise.project import codec
from napari_promise.project.finding import Listing, finder, refuse_empty
from napari_promise.project.items import Entry, Item, State, Stored, check_state
from napari_promise.project.learning import Learning
from napari_promise.project.ledger import Ledger, ProjectEvents
from napari_promise.project.lock import ProjectLock
from napari_promise.project.masks import checked_labels, compare, count, records_of
from napari_promise.project.proposals import Proposals
from napari_promise.project.settings import ProjectSettings
from napari_promise.project.store import ItemStore, ItemStores

__all__ = ["Project", "ProjectEvents", "Saving"]

FOLDER, SETTINGS = ".promise", "settings.json"


@dataclass(frozen=True, eq=False)
class Saving:
    """All that a save writes, taken at one moment; see `Project.snapshot`."""

    key: str
    document: Snapshot
    labels: NDArray[Any] | None
    state: State | None = None
    clicks: int | None = None


class Project:
    """Images, how each stands, and the work on each; made by `open`.

    Attributes
    ----------
    source : Path
        The folder or table that was opened.
    root : Path
        Where the project's own files lie.
    events : ProjectEvents
    settings : ProjectSettings
        Saved as they change.
    ledger : Ledger
        How the images stand: states, order, calibration of confidence.
    proposals : Proposals
        What a model proposes for them.
    learning : Learning
        What they give to train on, and what they cost.
    notes : tuple of str
        What the person should read after the opening, one line each.
    """

    def __init__(
        self,
        source: Path,
        root: Path,
        find: Callable[[], Listing],
        listing: Listing,
        lock: ProjectLock,
    ) -> None:
        self.source = source
        self.root = root
        self.events = ProjectEvents()
        self._find = find
        self._lock = lock
        self.settings = ProjectSettings.load(root / SETTINGS)
        self.ledger = Ledger(source, root, self.settings, self.events)
        self.ledger.take(listing)
        self._stores = ItemStores(root / "items")
        self._noted: set[str] = set()  # images whose notes were told
        self.proposals = Proposals(
            self.ledger, self._stores, self.save, lambda key: self.read_image(key).shape
        )
        self.learning = Learning(root, self.ledger, self.events, self._labels_of)
        self.notes = (*self.ledger.notes, *listing.notes)
        self.settings.events.connect(self._on_settings)

    @classmethod
    def open(
        cls,
        source: str | os.PathLike[str],
        *,
        images: Sequence[str | os.PathLike[str]] | None = None,
        root: str | os.PathLike[str] | None = None,
    ) -> Project:
        """Open the project of a folder, a table or a list; a new one where none is.

        No image is read.

        Parameters
        ----------
        source : path
            A folder; or a CSV file with the columns image and perhaps mask, group.
        images : sequence of path, optional
            Only these images, in this order; `source` is the folder that the project
            belongs to.
        root : path, optional
            Where the project's own files are kept; a hidden folder beside the images
            by default.

        Returns
        -------
        Project
            To be closed. `notes` holds what the person should read.

        Raises
        ------
        ProjectInUseError
            If another window works on it.
        ValueError
            If there is no image, or the project is of a later version.
        OSError
            If the project's folder cannot be written: name another one.
        """
        source = Path(os.path.abspath(source))
        find = finder(source, images)
        is_table = source.is_file() and images is None
        folder = source.parent if source.is_file() else source
        if root is None:
            name = f".{source.stem}{FOLDER}" if is_table else FOLDER
            root = folder / name
        root = Path(os.path.abspath(root))
        listing = find()
        if not listing.images and not root.exists():
            refuse_empty(source)  # before anything is made
        try:
            (root / "items").mkdir(parents=True, exist_ok=True)
            lock = ProjectLock(root / "lock", str(source))
        except OSError as error:
            raise type(error)(
                error.errno,
                f"Cannot write {root} ({one_line(error)}): allow it, or choose another "
                "folder for the project's files.",
            ) from error
        try:
            return cls(source, root, find, listing, lock)
        except BaseException:
            lock.release()
            raise

    def __enter__(self) -> Project:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Let the next window in; nothing can be saved afterwards."""
        with self.ledger.disk:
            if self.ledger.is_closed:
                return
            with contextlib.suppress(RuntimeError, ValueError):
                self.settings.events.disconnect(self._on_settings)
            self.ledger.close()
            self._stores.clear()
            self._lock.release()

    # -- what is there ------------------------------------------------------------

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all images, in the order of the source."""
        return self.ledger.keys

    @property
    def items(self) -> tuple[Item, ...]:
        """All images, in the order of the source."""
        return tuple(self.ledger.item(key) for key in self.ledger.keys)

    def __len__(self) -> int:
        return len(self.ledger.keys)

    def __contains__(self, key: object) -> bool:
        return key in self.ledger

    def item(self, key: str) -> Item:
        """Return one image.

        Raises
        ------
        ValueError
            If there is no such image.
        """
        return self.ledger.item(key)

    def index(self, key: str) -> int:
        """Return where an image stands in `items`.

        Raises
        ------
        ValueError
            If there is no such image.
        """
        return self.ledger.number(key)

    @property
    def reopen_key(self) -> str | None:
        """The image that was open last, where it is still there."""
        return self.ledger.last_opened

    def refresh(self) -> tuple[int, int]:
        """Look again which images there are.

        Returns
        -------
        (int, int)
            How many came and how many went.
        """
        before = set(self.keys)
        listing = self._find()
        self.ledger.take(listing)
        for note in listing.notes:
            if note not in self.notes:
                self.events.noted.emit(note)
        after = set(self.keys)
        if before != after:
            self.events.items_changed.emit()
        return len(after - before), len(before - after)

    def read_image(self, key: str) -> OpenedImage:
        """Read an image's pixels.

        Raises
        ------
        FileNotFoundError
            If it is gone.
        ValueError
            If it cannot be read; one line naming the file.
        """
        image = read_image(self.ledger.found(key).path)
        if image.notes and key not in self._noted:
            self._noted.add(key)
            for note in image.notes:
                self.events.noted.emit(f"{key}: {note}")
        return image

    def thumbnail(self, key: str, size: int = 48) -> NDArray[np.uint8]:
        """Return an image drawn small, from the disk where it was drawn before.

        Parameters
        ----------
        key : str
        size : int
            Pixels of the longer side.

        Returns
        -------
        (h, w, 3) uint8

        Raises
        ------
        ValueError, OSError
            If the image cannot be read.
        """
        path = self.ledger.found(key).path
        length, changed = status_of(path)
        mark = f"{key}\0{length}\0{changed}\0{size}"
        name = hashlib.blake2b(mark.encode(), digest_size=10).hexdigest()
        cached = self.root / "thumbnails" / name[:2] / f"{name[2:]}.png"
        with contextlib.suppress(OSError, SyntaxError, ValueError):
            with Image.open(cached) as picture:
                return np.asarray(picture.convert("RGB"))
        drawn = thumbnail(path, size)
        # A cache: where there is no room for it the picture is drawn again.
        with contextlib.suppress(OSError):
            cached.parent.mkdir(parents=True, exist_ok=True)
            with whole_file(cached, overwrite=True) as part:
                Image.fromarray(drawn).save(part, "PNG")
        return drawn

    # -- work ---------------------------------------------------------------------

    def load(self, key: str) -> Stored | None:
        """Return what is kept of an image, or None for nothing.

        A mask that was there already counts as work that was confirmed.
        """
        self.ledger.check(key)
        with self.ledger.disk:
            snapshot, labels = self._read(key)
        if labels is None and not snapshot.records:
            return None
        return Stored(labels, snapshot.records, self.item(key).state)

    def restore(
        self,
        key: str,
        document: Document,
        shape: tuple[int, ...] | None = None,
    ) -> NDArray[Any] | None:
        """Fill a fresh document with what is kept of an image, undo history and all.

        The image is the one that `reopen_key` names from now on. Where something is
        damaged the last whole version is used, and `ProjectEvents.noted` says so.

        Parameters
        ----------
        key : str
        document : Document
            A new one.
        shape : tuple of int, optional
            `OpenedImage.shape`, to be compared with that of the labels.

        Returns
        -------
        (..., H, W) integer or None
            The labels; None where there are none yet.

        Raises
        ------
        ValueError
            If there is no such image, or the work belongs to one of another shape:
            it would be lost if it was saved over.
        """
        self.ledger.check(key)
        with self.ledger.disk:
            snapshot, labels = self._read(key)
            if shape is not None and labels is not None and labels.shape != shape:
                raise ValueError(
                    f"{key} was worked on with the shape {labels.shape} and is "
                    f"{shape} now: put the earlier image back, or give the new one "
                    "another name."
                )
            self.ledger.opened(key)
        document.restore(snapshot)
        if labels is not None and labels.size:
            document.reserve(int(labels.max()))
        return labels

    def snapshot(
        self,
        key: str,
        document: Document,
        labels: NDArray[Any] | None,
        *,
        state: State | None = None,
        clicks: int | None = None,
    ) -> Saving:
        """Take all that `write` needs, so that work can go on meanwhile.

        Parameters
        ----------
        key, document, labels, state, clicks
            See `save`. The labels are copied.

        Returns
        -------
        Saving
        """
        self.ledger.check_writable(key)
        if state is not None:
            check_state(state)
        copied = None if labels is None else np.array(labels)
        return Saving(key, document.snapshot(), copied, state, clicks)

    def write(self, saving: Saving) -> None:
        """Write what `snapshot` took; slow where the labels are large. No events.

        Raises
        ------
        OSError
            If it cannot be written: what was saved before is as it was.
        """
        key = saving.key
        with self.ledger.disk:
            self.ledger.check_writable(key)
            store = self._stores.of(key)
            before = self.ledger.entry(key)
            labels = saving.labels
            if labels is None and before.saved:
                kept = store.read()
                labels = None if kept is None else kept.labels
            entry = self._next_entry(before, saving, labels, store)
            about = {"key": key, **entry.to_json()}
            if not before.saved:
                self.ledger.announce(key)
            store.write(about, labels, saving.document)
            self.ledger.put({key: entry})

    def save(
        self,
        key: str,
        document: Document,
        labels: NDArray[Any] | None,
        *,
        state: State | None = None,
        clicks: int | None = None,
    ) -> None:
        """Save the work on an image, whole or not at all.

        Parameters
        ----------
        key : str
        document : Document
        labels : (..., H, W) integer or None
            None: what was saved before stays.
        state : State, optional
            Left out, an image that is done stays so, and any other is in
            progress.
        clicks : int, optional
            Corrective clicks spent on the image so far, all in all; left out, the
            count stays.

        Raises
        ------
        OSError
            If it cannot be written: what was saved before is as it was.
        """
        self.write(self.snapshot(key, document, labels, state=state, clicks=clicks))
        self.ledger.tell(key)

    # -- inside -------------------------------------------------------------------

    def _read(self, key: str) -> tuple[Snapshot, NDArray[Any] | None]:
        store = self._stores.of(key)
        saved = store.read() if self.ledger.entry(key).saved else None
        if saved is not None:
            for note in saved.notes:
                self.events.noted.emit(note)
            if saved.entry:
                try:
                    return store.decode(saved), saved.labels
                except NewerFileError:  # nothing of it may be saved over
                    raise
                except ValueError as error:
                    self.events.noted.emit(
                        f"The history of {key} is lost ({str(error).rstrip('.')}); "
                        "its labels and points are there."
                    )
                    records = codec.salvage(saved.data or {}, saved.labels)
                    highest = max((r.id for r in records), default=0)
                    return Snapshot(records, highest_id=highest), saved.labels
        mask = self.ledger.found(key).mask
        if mask is None:
            return Snapshot(), None
        try:
            read = understand_mask(mask)
            labels = checked_labels(read.labels, mask)
            shape = self.read_image(key).shape
            if labels.shape != shape:
                raise ValueError(
                    f"{mask} has the shape {labels.shape}, its image {shape}: it is "
                    "left out."
                )
        except (ValueError, OSError) as error:
            self.events.noted.emit(str(error))
            return Snapshot(), None
        said = MaskSurvey()
        said.add(mask.name, read)
        if read.rule != AS_THEY_ARE or said.warnings():
            self.events.noted.emit(" ".join((f"{said.line()}.", *said.warnings())))
        records = records_of(labels, self.settings.class_name)
        self.ledger.count(key, count(labels))
        return Snapshot(records, highest_id=int(labels.max(initial=0))), labels

    def _labels_of(self, key: str) -> NDArray[Any]:
        _, labels = self._read(key)
        if labels is None:
            labels = np.zeros(self.read_image(key).shape, np.uint16)
        return labels

    def _next_entry(
        self,
        before: Entry,
        saving: Saving,
        labels: NDArray[Any] | None,
        store: ItemStore,
    ) -> Entry:
        state = saving.state or ("done" if before.state == "done" else "in progress")
        untouched = dice = None
        if state == "done" and before.proposed is not None:
            with contextlib.suppress(ValueError):
                proposal = store.read_proposal()
                if proposal is not None:
                    untouched, dice = compare(proposal[1].records, labels)
        return before.replace(
            state=state,
            objects=0 if labels is None else count(labels),
            clicks=before.clicks if saving.clicks is None else int(saving.clicks),
            by=self.settings.user,
            when=utc_now(),
            untouched=untouched,
            dice=dice,
            saved=True,
        )

    def _on_settings(self, *_: Any) -> None:
        try:
            with self.ledger.disk:
                self.settings.save(self.root / SETTINGS)
        except OSError as error:  # they count, until the project is closed
            self.events.noted.emit(str(error))
        self.events.settings_changed.emit()
