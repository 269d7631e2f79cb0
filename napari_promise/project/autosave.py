"""Save the image in work a moment after each edit, so that a crash takes little.

How long an edit may be unsaved: `QUIET` seconds pass after the last one, at most
`LONGEST` after the first that is not saved, and none after one that changed labels.
Then everything is taken down at once in the caller's thread, and written in another.

Knows no Qt: who makes an `Autosaver` gives it a way to call something later.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal, SignalGroup

from napari_promise.document import Changes, Document, LabelPatch, Plane
from napari_promise.project.items import State
from napari_promise.project.project import Project, Saving

__all__ = ["Autosaver", "AutosaverEvents"]

QUIET = 0.3
LONGEST = 0.8
#: How often it is tried again where the disk is full or gone.
_RETRY = 5.0
_LOOK_AGAIN = 20  # ms, whether the file is written

#: Calls something after some milliseconds, in the thread that edits.
Schedule = Callable[[int, Callable[[], None]], Any]


class AutosaverEvents(SignalGroup):
    """What an `Autosaver` tells, in the thread that edits.

    Attributes
    ----------
    saved : Signal(str)
        The key of the image that was saved.
    failed : Signal(str)
        Why it could not be saved, one line; once until it works again. Nothing is
        given up: it is tried again.
    """

    saved = Signal(str)
    failed = Signal(str)


class Autosaver:
    """Watches one document at a time and saves it into a project.

    Parameters
    ----------
    project : Project
    schedule : callable
        ``schedule(milliseconds, call)`` calls `call` later in this thread, as
        ``QTimer.singleShot`` does.
    clock : callable
        Seconds that only grow.

    Attributes
    ----------
    events : AutosaverEvents
    """

    def __init__(
        self,
        project: Project,
        schedule: Schedule,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.events = AutosaverEvents()
        self._project = project
        self._schedule = schedule
        self._clock = clock
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="autosave")
        self._writing: Future[None] | None = None
        self._key: str | None = None
        self._document: Document | None = None
        self._labels: Callable[[], NDArray[Any] | None] = _nothing
        self._clicks: Callable[[], int] | None = None
        self._first: float | None = None  # when the first unsaved edit was made
        self._last = 0.0
        self._not_before = 0.0
        self._at_once = False
        self._failing = False
        # A stack is copied once; later only the planes that changed are.
        self._copy: NDArray[Any] | None = None
        self._planes: set[Plane] | None = None  # None: any may have changed
        self._round = 0  # a timer of an earlier round has nothing to say

    @property
    def key(self) -> str | None:
        """The image that is watched."""
        return self._key

    @property
    def is_dirty(self) -> bool:
        """Whether there are edits that are not on the disk."""
        return self._first is not None or self._writing is not None

    def watch(
        self,
        key: str,
        document: Document,
        labels: Callable[[], NDArray[Any] | None],
        clicks: Callable[[], int] | None = None,
    ) -> None:
        """Save the work on an image from now on; the one before is left.

        Parameters
        ----------
        key : str
        document : Document
            As `Project.restore` filled it.
        labels : callable
            Returns the labels as they are, which are copied at once; None for none.
        clicks : callable, optional
            Returns the corrective clicks spent on the image so far.

        Raises
        ------
        OSError
            If the one before cannot be saved: it is still watched then.
        """
        self.leave()
        self._key, self._document = key, document
        self._labels, self._clicks = labels, clicks
        self._planes = None
        now = labels()
        if now is not None and now.ndim > 2:
            self._take_labels()
        document.events.history_changed.connect(self._on_edit)
        document.events.object_changed.connect(self._on_object_changed)
        document.events.objects_changed.connect(self._on_object_changed)
        document.events.labels_patched.connect(self._on_labels_patched)
        document.events.labels_painted.connect(self._on_labels_painted)

    def leave(self) -> None:
        """Save what is not saved yet, and stop watching.

        Raises
        ------
        OSError
            If it cannot be saved: it is still watched then.
        """
        self.flush()
        document, self._document, self._key = self._document, None, None
        if document is not None:
            document.events.history_changed.disconnect(self._on_edit)
            document.events.object_changed.disconnect(self._on_object_changed)
            document.events.objects_changed.disconnect(self._on_object_changed)
            document.events.labels_patched.disconnect(self._on_labels_patched)
            document.events.labels_painted.disconnect(self._on_labels_painted)
        self._labels, self._clicks, self._copy = _nothing, None, None

    def close(self) -> None:
        """Leave, and let go of the writing thread.

        Raises
        ------
        OSError
            If the work cannot be saved: nothing was let go then.
        """
        self.leave()
        self._writer.shutdown()

    def abandon(self) -> None:
        """Stop watching without saving: for one who was told that it cannot be."""
        if self._writing is not None:
            self._writing.cancel()
        self._writing, self._first = None, None
        self.leave()

    def touch(self, *, labels: bool = False) -> None:
        """Tell of an edit; those of the document are known without.

        Parameters
        ----------
        labels : bool
            Whether pixels of the labels changed that no event of the document tells
            of: all planes of a stack are looked at then.
        """
        if labels:
            self._planes = None
        self._on_edit()

    def flush(self, state: State | None = None) -> None:
        """Save now and wait for it; does nothing where all is saved.

        All of the labels is looked at, also what nobody told of.

        Parameters
        ----------
        state : State, optional
            Saves in any case, with this state; see `Project.save`.

        Raises
        ------
        OSError
            If it cannot be saved. The edits stay unsaved, and it is tried again.
        """
        self._collect(wait=True)
        if self._document is None or (self._first is None and state is None):
            return
        assert self._key is not None
        first, self._first = self._first, None
        self._at_once = False
        try:
            self._project.save(
                self._key,
                self._document,
                self._labels(),
                state=state,
                clicks=None if self._clicks is None else self._clicks(),
            )
        except OSError:
            self._first = self._clock() if first is None else first
            self._not_before = self._clock() + _RETRY
            self._wait()
            raise
        self._succeeded(self._key)

    # -- inside -------------------------------------------------------------------

    def _on_edit(self) -> None:
        if self._document is None:
            return
        self._last = self._clock()
        if self._first is None:
            self._first = self._last
            self._wait()

    def _on_object_changed(self, _changed: int | Changes) -> None:
        self._on_edit()

    def _on_labels_patched(self, patch: LabelPatch) -> None:
        # The labels follow this very signal, so they are read a moment later.
        self._on_labels_painted(patch)
        self._at_once = True
        self._on_edit()
        self._wait()

    def _on_labels_painted(self, patch: LabelPatch) -> None:
        if self._planes is not None:
            self._planes.add(patch.plane)

    def _take_labels(self) -> NDArray[Any] | None:
        """Return a copy of the labels, which is not changed before it is written."""
        labels = self._labels()
        if labels is None:
            return None
        copy, planes = self._copy, self._planes
        if (
            labels.ndim == 2
            or planes is None
            or copy is None
            or (copy.shape, copy.dtype) != (labels.shape, labels.dtype)
        ):
            copy = self._copy = np.array(labels)
        else:
            for plane in planes:
                copy[plane] = labels[plane]
        self._planes = set()
        return copy

    def _wait(self) -> None:
        """Come back when it is time to save."""
        # Rounded up: a timer that comes too early would come again and again.
        self._come_back(math.ceil(1000 * self._due()))

    def _come_back(self, milliseconds: int) -> None:
        self._round += 1
        this = self._round

        def tick() -> None:
            if this == self._round:
                self._tick()

        self._schedule(milliseconds, tick)

    def _due(self) -> float:
        """Seconds until the edits are to be saved."""
        now = self._clock()
        if self._at_once:
            due = now
        else:
            first = now if self._first is None else self._first
            due = min(self._last + QUIET, first + LONGEST)
        return max(due, self._not_before, now) - now

    def _tick(self) -> None:
        if self._writing is not None:
            self._collect()
        if self._writing is not None:
            self._come_back(_LOOK_AGAIN)
        elif self._first is not None and self._document is not None:
            if self._due() <= 0:
                self._begin()
                self._come_back(_LOOK_AGAIN)
            else:
                self._wait()

    def _begin(self) -> None:
        assert self._key is not None
        assert self._document is not None
        saving = Saving(
            self._key,
            self._document.snapshot(),
            self._take_labels(),
            clicks=None if self._clicks is None else self._clicks(),
        )
        self._first, self._at_once = None, False
        self._writing = self._writer.submit(self._project.write, saving)

    def _collect(self, wait: bool = False) -> None:
        """Take note of what was written, where it is done."""
        writing = self._writing
        if writing is None or not (wait or writing.done()):
            return
        self._writing = None
        try:
            writing.result()
        except OSError as error:
            now = self._clock()
            self._first = now if self._first is None else self._first
            self._not_before = now + _RETRY
            if not self._failing:
                self._failing = True
                self.events.failed.emit(error.strerror or str(error))
            if not wait:
                self._wait()
            return
        assert self._key is not None
        self._succeeded(self._key)
        self._project.tell(self._key)

    def _succeeded(self, key: str) -> None:
        self._failing, self._not_before = False, 0.0
        self.events.saved.emit(key)


def _nothing() -> None:
    return None
