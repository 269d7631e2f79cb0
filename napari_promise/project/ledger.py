"""How every image of a project stands: its row, its state, and which comes next.

The rows are kept by the `Index`; what a confidence is worth by the `CalibrationStore`.
Where the program died between an image and its row, the image's own folder is asked.
"""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path

from psygnal import Signal, SignalGroup

from napari_promise.files import utc_now
from napari_promise.project import effort
from napari_promise.project.calibration import CalibrationStore
from napari_promise.project.confidence import Calibration
from napari_promise.project.finding import Found, Listing
from napari_promise.project.index import Index
from napari_promise.project.items import Entry, Item, State, check_state
from napari_promise.project.settings import ProjectSettings
from napari_promise.project.store import ItemStore, slug

__all__ = ["Ledger", "ProjectEvents"]

INDEX, HELD_OUT = "index.jsonl", "held_out.json"


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


class Ledger:
    """The rows of a project's images.

    Parameters
    ----------
    source : Path
        The folder or table that was opened, for errors.
    root : Path
        Where the project's own files lie.
    settings : ProjectSettings
        Who works here.
    events : ProjectEvents
        Told of rows that change.

    Attributes
    ----------
    disk : RLock
        To be held while files of the project are written.
    notes : tuple of str
        What was damaged and set aside, one line each.

    Raises
    ------
    NewerFileError
        If the project is of a later version.
    """

    def __init__(
        self,
        source: Path,
        root: Path,
        settings: ProjectSettings,
        events: ProjectEvents,
    ) -> None:
        self._source = source
        self._root = root
        self._settings = settings
        self._events = events
        self.disk = threading.RLock()
        # Held for moments only: rows are asked for by the thread of a window.
        self._lock = threading.RLock()
        self._index = Index(root / INDEX)
        self._closed = False
        self._reconcile()
        self.notes = self._index.notes
        self._found: dict[str, Found] = {}
        self._keys: tuple[str, ...] = ()
        self._numbers: dict[str, int] = {}
        self._seen: set[str] = set()
        self._items: dict[str, Item] = {}
        # Objects in masks that were there already, where they were read.
        self._counted: dict[str, int] = {}
        self._calibrations = CalibrationStore(
            root / HELD_OUT, lambda: [*self._index.entries.values()]
        )
        self._recalibrated = False

    @property
    def is_closed(self) -> bool:
        """Whether nothing can be put any more."""
        return self._closed

    def close(self) -> None:
        """Say that all is saved; nothing can be put afterwards."""
        self._closed = True
        # All work is saved: without its last line the index is only asked more.
        with contextlib.suppress(OSError):
            self._index.close()

    # -- which images -------------------------------------------------------------

    def take(self, listing: Listing) -> None:
        """Know these images instead of those before; work on others is kept."""
        with self._lock:
            self._found = {}
            for found in listing.images:
                for one in self._as_worked_on(found):
                    self._found[one.key] = one
            self._keys = tuple(self._found)
            self._numbers = {key: n for n, key in enumerate(self._keys)}
            self._seen.update(self._keys)
            self._items.clear()

    def _as_worked_on(self, found: Found) -> tuple[Found, ...]:
        """Return a series slice by slice where version 0.1 began with its slices.

        Else it keeps the key under which it was begun, whatever other series have come
        into its folder since.
        """
        entries = self._index.entries
        begun = any(one.key in entries for one in found.slices)
        if begun and found.key not in entries:
            return found.slices
        keys = (found.key, *found.names) if found.mark else ()
        for wanted in (found.mark, ""):  # begun before series were noted, or never
            for key in keys:
                known = entries.get(key, Entry()).series
                if known == wanted and (wanted or key not in self._found):
                    return (dataclasses.replace(found, key=key),)
        return (found,)

    @property
    def keys(self) -> tuple[str, ...]:
        """The keys of all images, in the order of the source."""
        return self._keys

    def __contains__(self, key: object) -> bool:
        return key in self._numbers

    def check(self, key: str) -> None:
        """Refuse a key that no image has.

        Raises
        ------
        ValueError
        """
        if key not in self._numbers:
            raise ValueError(
                f"{key} is no image of {self._source}; refresh the folder if it is new."
            )

    def number(self, key: str) -> int:
        """Return where an image stands in `keys`; ValueError if it is unknown."""
        self.check(key)
        return self._numbers[key]

    def found(self, key: str) -> Found:
        """Return where an image and its mask lie; ValueError if it is unknown."""
        self.check(key)
        return self._found[key]

    def check_writable(self, *keys: str) -> None:
        """Refuse to write after the closing, or of an image that never was there.

        An image that is gone while somebody works on it is none of these: its work is
        kept for its return.

        Raises
        ------
        ValueError
        """
        if self._closed:
            raise ValueError(f"{self._source} was closed: open it again to save.")
        for key in keys:
            if key not in self._seen:
                self.check(key)

    # -- rows ---------------------------------------------------------------------

    def item(self, key: str) -> Item:
        """Return an image as the table shows it.

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

    def entry(self, key: str) -> Entry:
        """Return what is known of an image; one that has a mask counts as done."""
        entry = self._index.entries.get(key)
        if entry is not None:
            return entry
        found = self._found.get(key)
        if found is not None and found.mask is not None:
            return Entry(state="done", objects=self._counted.get(key))
        return Entry()

    def put(self, entries: Mapping[str, Entry]) -> None:
        """Store entries, log those that are done now; the events come with `tell`.

        Raises
        ------
        OSError
            If they cannot be written; they count in memory all the same.
        """
        known = {key: self._index.entries.get(key) for key in entries}
        before = {key: self.entry(key) for key in entries}
        entries = {key: self._marked(key, entry) for key, entry in entries.items()}
        try:
            if entries:
                self._index.put_all(entries)
        finally:
            with self._lock:
                for key, entry in entries.items():
                    if self._calibrations.learn(known[key], entry):
                        self._items.clear()
                        self._recalibrated = True
                    self._items.pop(key, None)
        for key, entry in entries.items():
            if entry.state == "done":
                self._log_done(key, before[key], entry)

    def _marked(self, key: str, entry: Entry) -> Entry:
        found = self._found.get(key)
        if found is None or found.mark in ("", entry.series):
            return entry
        return dataclasses.replace(entry, series=found.mark)

    def tell(self, *keys: str) -> None:
        """Emit, after `put`, that rows changed: all where the calibration did."""
        recalibrated, self._recalibrated = self._recalibrated, False
        rows = [key for key in keys if key in self._numbers]
        if recalibrated or len(rows) > 1:
            self._events.items_changed.emit()
        elif rows:
            self._events.item_changed.emit(*rows)

    def announce(self, key: str) -> None:
        """Say that an image is about to be saved for the first time, see `Index`."""
        self._index.announce(key, self.entry(key))

    def count(self, key: str, objects: int) -> None:
        """Note how many objects the mask holds that was there already."""
        with self._lock:
            self._counted[key] = objects
            self._items.pop(key, None)

    def opened(self, key: str) -> None:
        """Remember which image is open, where that can be written."""
        # Looking must be possible where nothing can be written.
        if not self._closed:
            with contextlib.suppress(OSError):
                self._index.opened(key)

    @property
    def last_opened(self) -> str | None:
        """The image that was open last, where it is still there."""
        key = self._index.last_opened
        return key if key in self._numbers else None

    def set_states(self, keys: Iterable[str], state: State) -> None:
        """Give images a state without opening them.

        Parameters
        ----------
        keys : iterable of str
        state : State
            "new" or "proposed" take back "done" or "skipped": an image becomes what
            it is without, in progress where somebody worked on it.

        Raises
        ------
        ValueError
            If a proposal would be confirmed unseen (see `Proposals.accept`), or an
            image is unknown: none is changed then.
        OSError
            If it cannot be written.
        """
        keys = tuple(dict.fromkeys(keys))
        check_state(state)
        with self.disk:
            self.check_writable()
            changes = {}
            for key in keys:
                self.check(key)
                before = self.entry(key)
                wanted = state
                if state == "done" and before.state == "proposed":
                    raise ValueError(
                        f"{key} has an unconfirmed proposal: accept it, or "
                        "open the image."
                    )
                if state in ("new", "proposed"):
                    wanted = "new" if before.proposed is None else "proposed"
                    if before.saved:
                        wanted = "in progress"
                if wanted != before.state:
                    changes[key] = before.replace(
                        state=wanted,
                        by=self._settings.user,
                        when=utc_now(),
                        untouched=None,
                    )
            self.put(changes)
        self.tell(*changes)

    # -- looking where it is weakest ----------------------------------------------

    @property
    def calibration(self) -> Calibration | None:
        """What a raw confidence was worth so far; None where too little is known.

        Learnt from images that were done after a proposal, see `CalibrationStore`.
        """
        with self._lock:
            return self._calibrations.calibration

    def by_confidence(self) -> list[str]:
        """Return the images that are not done or skipped, the weakest first.

        Proposals whose confidence is not known come before all others, because
        nothing speaks for them; images without a proposal come last, in the order of
        the source.
        """
        waiting = [
            (key, entry)
            for key, entry in ((key, self.entry(key)) for key in self._keys)
            if entry.state not in ("done", "skipped")
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

    # -- inside -------------------------------------------------------------------

    def _make_item(self, key: str) -> Item:
        found, entry = self.found(key), self.entry(key)
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

    def _log_done(self, key: str, before: Entry, entry: Entry) -> None:
        if (before.state, before.clicks) == (entry.state, entry.clicks):
            return
        # The work itself is saved: a log that cannot be written must not undo that.
        with contextlib.suppress(OSError):
            effort.append(
                self._root / effort.FILE,
                {
                    "done": key,
                    "clicks": entry.clicks,
                    "untouched": entry.untouched,
                    "when": entry.when,
                },
            )

    def _reconcile(self) -> None:
        """Ask the images' own folders what the index may have missed."""
        items = self._root / "items"
        if self._index.damaged:
            stores = [ItemStore(path) for path in items.iterdir()]
        else:
            stores = [ItemStore(items / slug(key)) for key in self._index.unsure]
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
