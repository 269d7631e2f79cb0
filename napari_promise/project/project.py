"""A folder of images to annotate: opened in a moment, saved image by image.

The project keeps a folder ``.promise`` beside the images:

    index.jsonl      how every image stands, see `index`
    items/NAME/      the work on one image, see `store`
    effort.jsonl     what was finished with how many clicks, see `effort`
    settings.json    what a person set
    thumbnails/      may be deleted at any time
    masks/           labels as files to train on; made anew where missing

Every method is for one image and quick, except where it says so. They may be called
from any thread; events are emitted in the thread that called.
"""

from __future__ import annotations

import contextlib
import glob
import hashlib
import os
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image
from psygnal import Signal, SignalGroup

from napari_promise.data.images import OpenedImage, read_image, read_mask, thumbnail
from napari_promise.data.pairs import Pair
from napari_promise.document import (
    Document,
    ObjectRecord,
    Snapshot,
)
from napari_promise.files import utc_now, whole_file
from napari_promise.project import codec, effort
from napari_promise.project.calibration import Trust
from napari_promise.project.confidence import Calibration, raw_confidence
from napari_promise.project.effort import Effort
from napari_promise.project.finding import Found, Listing, finder, refuse_empty
from napari_promise.project.index import Index
from napari_promise.project.items import (
    STATES,
    Entry,
    Item,
    ProposedObject,
    State,
    Stored,
)
from napari_promise.project.lock import ProjectLock
from napari_promise.project.masks import (
    as_labels,
    compare,
    count,
    records_of,
    write_exactly,
)
from napari_promise.project.proposals import record_of, take_up
from napari_promise.project.settings import ProjectSettings
from napari_promise.project.store import ItemStore, slug

__all__ = ["Project", "ProjectEvents", "Saving"]

FOLDER = ".promise"
EFFORT, HELD_OUT = "effort.jsonl", "held_out.json"
#: Folders of images kept at hand: the one in work, and the one just left.
_STORES = 3


class ProjectEvents(SignalGroup):
    """What happens to a project.

    Attributes
    ----------
    item_changed : Signal(str)
        The key of an image whose row changed.
    items_changed : Signal()
        Many rows changed.
    settings_changed : Signal()
    noted : Signal(str)
        One line that the person should read: what was damaged, and what was used
        instead.
    """

    item_changed = Signal(str)
    items_changed = Signal()
    settings_changed = Signal()
    noted = Signal(str)


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
        self._project_lock = lock
        # The one is held while files are written, the other for moments only.
        self._disk = threading.RLock()
        self._lock = threading.RLock()
        self._index = Index(root / "index.jsonl")
        self._stores: OrderedDict[str, ItemStore] = OrderedDict()
        self._closed = False
        self._reconcile()
        self._found: dict[str, Found] = {}
        self._keys: tuple[str, ...] = ()
        self._numbers: dict[str, int] = {}
        self._items: dict[str, Item] = {}
        # Objects in masks that were there already, where they were read.
        self._counted: dict[str, int] = {}
        self._trust = Trust(root / HELD_OUT, lambda: [*self._index.entries.values()])
        self._moved = False
        self._take(listing)
        self.notes = (*self._index.notes, *listing.notes)
        self.settings = ProjectSettings.load(root / "settings.json")
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
                f"Cannot write {root} ({error.strerror}): allow it, or choose another "
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
        with self._disk:
            if self._closed:
                return
            self._closed = True
            with contextlib.suppress(RuntimeError, ValueError):
                self.settings.events.disconnect(self._on_settings)
            # All work is saved: without its last line the index is only asked more.
            with contextlib.suppress(OSError):
                self._index.close()
            self._stores.clear()
            self._project_lock.release()

    # -- what is there ------------------------------------------------------------

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all images, in the order of the source."""
        return self._keys

    @property
    def items(self) -> tuple[Item, ...]:
        """All images, in the order of the source."""
        return tuple(self.item(key) for key in self._keys)

    def __len__(self) -> int:
        return len(self._keys)

    def __contains__(self, key: object) -> bool:
        return key in self._numbers

    def item(self, key: str) -> Item:
        """Return one image.

        Raises
        ------
        ValueError
            If there is no such image.
        """
        with self._lock:
            known = self._items.get(key)
            if known is None:
                known = self._items[key] = self._make_item(key)
            return known

    def index(self, key: str) -> int:
        """Return where an image stands in `items`.

        Raises
        ------
        ValueError
            If there is no such image.
        """
        self._check(key)
        return self._numbers[key]

    @property
    def vanished(self) -> tuple[str, ...]:
        """Keys of images that are gone but whose work is kept, for their return."""
        with self._lock:
            gone = [
                key
                for key, entry in [*self._index.entries.items()]
                if key not in self._numbers and entry.saved
            ]
        return tuple(key for key in gone if not (self._base / key).exists())

    @property
    def reopen_key(self) -> str | None:
        """The image that was open last, where it is still there."""
        key = self._index.last_opened
        return key if key in self._numbers else None

    def refresh(self) -> tuple[int, int]:
        """Look again which images there are.

        Returns
        -------
        (int, int)
            How many came and how many went.
        """
        before = set(self._keys)
        listing = self._find()
        self._take(listing)
        for note in listing.notes:
            if note not in self.notes:
                self.events.noted.emit(note)
        after = set(self._keys)
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
        self._check(key)
        return read_image(self._found[key].path)

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
        self._check(key)
        path = self._found[key].path
        status = path.stat()
        mark = f"{key}\0{status.st_size}\0{status.st_mtime_ns}\0{size}"
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
        self._check(key)
        with self._disk:
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
        self._check(key)
        with self._disk:
            snapshot, labels = self._read(key)
            if shape is not None and labels is not None and labels.shape != shape:
                raise ValueError(
                    f"{key} was worked on with the shape {labels.shape} and is "
                    f"{shape} now: put the earlier image back, or give the new one "
                    "another name."
                )
            # Looking must be possible where nothing can be written.
            if not self._closed:
                with contextlib.suppress(OSError):
                    self._index.opened(key)
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
        self._check(key)
        if state is not None:
            _check_state(state)
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
        with self._disk:
            self._refuse_closed()
            store = self._store(key)
            before = self._entry(key)
            labels = saving.labels
            if labels is None and before.saved:
                kept = store.read()
                labels = None if kept is None else kept.labels
            entry = self._next_entry(before, saving, labels, store)
            about = {"key": key, **entry.to_json()}
            if not before.saved:
                self._index.announce(key, before)
            store.write(about, labels, saving.document)
            self._put(key, entry)
            if entry.state == "done":
                self._log_done(key, before, entry)

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
            Left out, an image that is done stays so, and any other is in work.
        clicks : int, optional
            Corrective clicks spent on the image so far, all in all; left out, the
            count stays.

        Raises
        ------
        OSError
            If it cannot be written: what was saved before is as it was.
        """
        self.write(self.snapshot(key, document, labels, state=state, clicks=clicks))
        self.tell(key)

    def set_state(self, key: str, state: State) -> None:
        """Give an image a state without opening it; see `set_states`."""
        self.set_states([key], state)

    def set_states(self, keys: Iterable[str], state: State) -> None:
        """Give images a state without opening them.

        Parameters
        ----------
        keys : iterable of str
        state : State
            "new" or "proposed" take back "done" or "skipped": an image becomes what
            it is without, in work where somebody worked on it.

        Raises
        ------
        ValueError
            If a proposal would be confirmed unseen (see `accept_proposal`), or an
            image is unknown: none is changed then.
        OSError
            If it cannot be written.
        """
        keys = tuple(dict.fromkeys(keys))
        _check_state(state)
        with self._disk:
            self._refuse_closed()
            changes = {}
            for key in keys:
                self._check(key)
                before = self._entry(key)
                wanted = state
                if state == "done" and before.state == "proposed":
                    raise ValueError(
                        f"{key} has a proposal that nobody confirmed: accept it, or "
                        "open the image."
                    )
                if state in ("new", "proposed"):
                    wanted = "new" if before.proposed is None else "proposed"
                    if before.saved:
                        wanted = "in work"
                if wanted != before.state:
                    changes[key] = before.replace(
                        state=wanted,
                        by=self.settings.user,
                        when=utc_now(),
                        untouched=None,
                    )
            earlier = {key: self._entry(key) for key in changes}
            self._put_all(changes)
            for key, entry in changes.items():
                if entry.state == "done":
                    self._log_done(key, earlier[key], entry)
        if len(changes) == 1:
            self.tell(*changes)
        elif changes:
            self.events.items_changed.emit()

    # -- proposals ----------------------------------------------------------------

    def save_proposal(
        self,
        key: str,
        objects: Sequence[ProposedObject],
        confidence: float | None,
        details: Mapping[str, Any],
    ) -> None:
        """Keep what a model proposes, apart from all that a person did.

        Parameters
        ----------
        key : str
        objects : sequence of ProposedObject
            None at all is a proposal too: nothing is there.
        confidence : float or None
            In [0, 1], before calibration; None: from the details, see
            `confidence.raw_confidence`.
        details : mapping
            What the confidence was made of, plain data.

        Raises
        ------
        ValueError
            If the image is in work, done or skipped: a person is ahead.
        OSError
            If it cannot be written.
        """
        self._check(key)
        with self._disk:
            self._refuse_closed()
            before = self._entry(key)
            if before.state not in ("new", "proposed"):
                raise ValueError(
                    f"{key} is {before.state}: propose for images that nobody worked "
                    "on."
                )
            records = tuple(
                record_of(number, proposed)
                for number, proposed in enumerate(objects, start=1)
            )
            raw = raw_confidence(details) if confidence is None else confidence
            raw = None if raw is None else float(np.clip(raw, 0, 1))
            about = {"key": key, "confidence": raw, "details": dict(details)}
            self._store(key).write_proposal(
                {**about, "when": utc_now()}, Snapshot(records, highest_id=len(records))
            )
            self._put(
                key,
                before.replace(
                    state="proposed",
                    objects=len(records),
                    proposed=len(records),
                    raw=raw,
                    when=utc_now(),
                ),
            )
        self.events.item_changed.emit(key)

    def proposal(self, key: str) -> tuple[ObjectRecord, ...] | None:
        """Return what is proposed for an image, None without a proposal.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        self._check(key)
        with self._disk:
            found = self._store(key).read_proposal()
        return None if found is None else found[1].records

    def proposal_details(self, key: str) -> dict[str, Any] | None:
        """Return the details that a proposal was saved with, None without one.

        Raises
        ------
        ValueError
            If it is damaged.
        """
        self._check(key)
        with self._disk:
            found = self._store(key).read_proposal()
        return None if found is None else dict(found[0].get("details") or {})

    def take_up_proposal(self, key: str, document: Document) -> tuple[int, ...]:
        """Put what is proposed into a document as objects that are not committed.

        One step of its history.

        Returns
        -------
        tuple of int
            The objects' ids; empty without a proposal.

        Raises
        ------
        ValueError
            If the proposal is damaged.
        """
        return take_up(self.proposal(key) or (), document)

    def accept_proposal(self, key: str) -> None:
        """Confirm a proposal as it is, without opening the image.

        Raises
        ------
        ValueError
            If there is no proposal that waits for a person, or the image or the
            proposal cannot be read.
        OSError
            If it cannot be saved.
        """
        self._check(key)
        with self._disk:
            if self._entry(key).state != "proposed":
                raise ValueError(
                    f"{key} is {self._entry(key).state}: only what is proposed can be "
                    "accepted."
                )
            labels = np.zeros(self.read_image(key).shape, np.uint16)
            document = Document()
            document.events.labels_patched.connect(lambda patch: patch.apply(labels))
            for object_id in self.take_up_proposal(key, document):
                record = document.get(object_id)
                if record.region is not None:
                    document.commit(object_id, labels[record.plane])
            self.save(key, document, labels, state="done")

    # -- looking where it is weakest ----------------------------------------------

    @property
    def calibration(self) -> Calibration | None:
        """What a raw confidence was worth so far; None where too little is known.

        Learnt from held-out images (`set_held_out`) and from images that were done
        after a proposal.
        """
        with self._lock:
            return self._trust.calibration

    def set_held_out(self, pairs: Sequence[tuple[float, float]]) -> None:
        """Tell what proposals are worth on images that were held out of a training.

        Parameters
        ----------
        pairs : sequence of (float, float)
            Raw confidence and Dice; they replace those of an earlier training.

        Raises
        ------
        OSError
            If they cannot be kept.
        """
        with self._disk:
            self._refuse_closed()
            given = self._trust.save(pairs)
            with self._lock:
                self._trust.use(given)
                self._items.clear()
        self.events.items_changed.emit()

    def by_confidence(self) -> list[str]:
        """Return the images that are not done or skipped, the weakest first.

        Proposals whose confidence is not known come before all others, because
        nothing speaks for them; images without a proposal come last, in the order of
        the source.
        """
        waiting = [
            (key, self._entry(key))
            for key in self._keys
            if self._entry(key).state not in ("done", "skipped")
        ]

        # Calibrated or not, the order is the same, but for what calibration levels.
        def weakness(one: tuple[str, Entry]) -> tuple[bool, float]:
            entry = one[1]
            return entry.proposed is None, -1.0 if entry.raw is None else entry.raw

        return [key for key, _ in sorted(waiting, key=weakness)]

    def next_uncertain(self, after: str | None = None) -> str | None:
        """Return the image to look at next.

        Parameters
        ----------
        after : str, optional
            The image that was looked at: where it still waits, the next stronger one
            follows, and the weakest after the strongest.

        Returns
        -------
        str or None
            The weakest; None where no other image waits.
        """
        order = self.by_confidence()
        if after in order:
            at = order.index(after)
            order = order[at + 1 :] + order[:at]
        return order[0] if order else None

    # -- learning and effort ------------------------------------------------------

    def training_pairs(self) -> tuple[Pair, ...]:
        """Return what is done, as files to train on. Slow the first time.

        Masks that were there already are named as they are; others are written into
        the project's folder, each anew after it changed. An image that is done
        without any object has an empty mask. Images that are gone or cannot be read
        are left out.

        Raises
        ------
        OSError
            If a mask cannot be written.
        """
        pairs = []
        for key in self._keys:
            found, entry = self._found[key], self._entry(key)
            if entry.state != "done":
                continue
            mask = found.mask
            if entry.saved or mask is None:
                try:
                    mask = self._mask_file(key, entry)
                except (ValueError, FileNotFoundError) as error:
                    self.events.noted.emit(str(error))
                    continue
            pairs.append(Pair(found.path, mask, found.group))
        return tuple(pairs)

    def effort(self) -> Effort:
        """Return how the work went so far."""
        return effort.read(self.root / EFFORT)

    def log_trained(self, adapter: str) -> None:
        """Note in the effort's course that an adapter was trained."""
        with self._disk:
            effort.append(self.root / EFFORT, {"trained": adapter, "when": utc_now()})

    # -- inside -------------------------------------------------------------------

    def _mask_file(self, key: str, entry: Entry) -> Path:
        """Return the labels as a file that `data.images.read_mask` reads exactly."""
        folder = self.root / "masks"
        name = slug(key)
        stem = f"{name}-{entry.revision}"
        for path in (folder / f"{stem}.png", folder / f"{stem}.npy"):
            if path.exists():
                return path
        with self._disk:
            _, labels = self._read(key)
            if labels is None:
                labels = np.zeros(self.read_image(key).shape, np.uint16)
            folder.mkdir(exist_ok=True)
            earlier = list(folder.glob(f"{glob.escape(name)}-*"))
            path = write_exactly(labels, folder / stem)
            for one in earlier:
                one.unlink(missing_ok=True)
        return path

    @property
    def _base(self) -> Path:
        return self.source.parent if self.source.is_file() else self.source

    def _take(self, listing: Listing) -> None:
        with self._lock:
            self._found = {found.key: found for found in listing.images}
            self._keys = tuple(self._found)
            self._numbers = {key: n for n, key in enumerate(self._keys)}
            self._items.clear()

    def _check(self, key: str) -> None:
        if key not in self._numbers:
            raise ValueError(
                f"{key} is no image of {self.source}; refresh the folder if it is new."
            )

    def _refuse_closed(self) -> None:
        if self._closed:
            raise ValueError(f"{self.source} was closed: open it again to save.")

    def _entry(self, key: str) -> Entry:
        entry = self._index.entries.get(key)
        if entry is not None:
            return entry
        if self._found[key].mask is not None:
            return Entry(state="done", objects=self._counted.get(key))
        return Entry()

    def _make_item(self, key: str) -> Item:
        self._check(key)
        found, entry = self._found[key], self._entry(key)
        confidence, calibration = entry.raw, self.calibration
        if confidence is not None and calibration is not None:
            confidence = calibration(confidence)
        return Item(
            key,
            found.path,
            found.group,
            entry.state,
            entry.objects,
            confidence,
            entry.by,
            entry.when,
            entry.clicks,
            entry.untouched,
        )

    def _put(self, key: str, entry: Entry) -> None:
        self._put_all({key: entry})

    def _put_all(self, entries: Mapping[str, Entry]) -> None:
        before = {key: self._index.entries.get(key) for key in entries}
        try:
            if entries:
                self._index.put_all(entries)
        finally:
            with self._lock:
                for key, entry in entries.items():
                    if self._trust.learn(before[key], entry):
                        self._items.clear()
                        self._moved = True
                    self._items.pop(key, None)

    def tell(self, key: str) -> None:
        """Emit that a row changed, or all where the calibration did; after `write`."""
        moved, self._moved = self._moved, False
        if moved:
            self.events.items_changed.emit()
        else:
            self.events.item_changed.emit(key)

    def _store(self, key: str) -> ItemStore:
        store = self._stores.get(key)
        if store is None:
            store = self._stores[key] = ItemStore(self.root / "items" / slug(key))
            while len(self._stores) > _STORES:
                self._stores.popitem(last=False)
        self._stores.move_to_end(key)
        return store

    def _read(self, key: str) -> tuple[Snapshot, NDArray[Any] | None]:
        store = self._store(key)
        work = store.read() if self._entry(key).saved else None
        if work is not None:
            for note in work.notes:
                self.events.noted.emit(note)
            if work.entry:
                try:
                    return store.decode(work), work.labels
                except ValueError as error:
                    self.events.noted.emit(
                        f"The history of {key} is lost ({str(error).rstrip('.')}); "
                        "its labels and points are there."
                    )
                    records = codec.salvage(work.data or {}, work.labels)
                    highest = max((r.id for r in records), default=0)
                    return Snapshot(records, highest_id=highest), work.labels
        mask = self._found[key].mask
        if mask is None:
            return Snapshot(), None
        try:
            labels = as_labels(read_mask(mask), mask)
            shape = self.read_image(key).shape
            if labels.shape != shape:
                raise ValueError(
                    f"{mask} has the shape {labels.shape}, its image {shape}: it is "
                    "left out."
                )
        except (ValueError, OSError) as error:
            self.events.noted.emit(str(error))
            return Snapshot(), None
        records = records_of(labels, self.settings.class_name)
        with self._lock:
            self._counted[key] = count(labels)
            self._items.pop(key, None)
        return Snapshot(records, highest_id=int(labels.max(initial=0))), labels

    def _next_entry(
        self,
        before: Entry,
        saving: Saving,
        labels: NDArray[Any] | None,
        store: ItemStore,
    ) -> Entry:
        state = saving.state or ("done" if before.state == "done" else "in work")
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

    def _log_done(self, key: str, before: Entry, entry: Entry) -> None:
        if (before.state, before.clicks) == (entry.state, entry.clicks):
            return
        # The work itself is saved: a log that cannot be written must not undo that.
        with contextlib.suppress(OSError):
            effort.append(
                self.root / EFFORT,
                {
                    "done": key,
                    "clicks": entry.clicks,
                    "untouched": entry.untouched,
                    "when": entry.when,
                },
            )

    def _reconcile(self) -> None:
        """Ask the images' own folders what the index may have missed."""
        if self._index.damaged:
            stores = [ItemStore(path) for path in (self.root / "items").iterdir()]
        else:
            stores = [
                ItemStore(self.root / "items" / slug(key)) for key in self._index.unsure
            ]
        later: dict[str, Entry] = {}
        for store in stores:
            about = store.read_entry()
            if about is None or not isinstance(about.get("key"), str):
                continue
            key = about["key"]
            try:
                entry = Entry.from_json(about)
            except ValueError:
                continue
            known = self._index.entries.get(key)
            if known is None or entry.revision > known.revision:
                later[key] = entry
        self._index.amend(later)

    def _on_settings(self, *_: Any) -> None:
        try:
            with self._disk:
                self.settings.save(self.root / "settings.json")
        except OSError as error:  # they count, until the project is closed
            self.events.noted.emit(str(error))
        self.events.settings_changed.emit()


def _check_state(state: str) -> None:
    if state not in STATES:
        raise ValueError(f"the state is {state!r}; it must be one of {STATES}.")
