"""The image of a project that is open in a viewer: how it comes, is saved, and goes.

How an image is opened:

1. `FolderWork.open` asks a thread for the pixels and for what is kept of the image: its
   labels, objects, prompts and undo. The image before stays on display meanwhile, also
   until the commits that wait for a mask on it are carried out.
2. When they are there, and no other image was asked for, the image before is saved and
   its layers are taken out; only then the new ones are put in. An image that cannot be
   read, or saved, changes nothing: one line says why.
3. From then on every edit is saved a moment later (`Autosaver`), whatever becomes of
   the layers: document and labels are held here.
"""

from __future__ import annotations

import gc
import sys
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
from napari.layers import Image
from psygnal import Signal
from qtpy.QtCore import QTimer

from napari_promise.document import Document, ObjectRecord
from napari_promise.files import one_line
from napari_promise.jobs.prefetching import ImageCache
from napari_promise.project import Autosaver, OpenedImage, Project, State
from napari_promise.widgets.background import Dispatch
from napari_promise.widgets.desk import Desk
from napari_promise.widgets.layers.work import Work

#: Pixels of layers that may lie about; with all that napari makes of them, 20 times it.
_DROPPED_BYTES = 16 * 2**20
#: However small they are: what a layer leaves on the graphics side is megabytes.
_DROPPED_IMAGES = 16


@dataclass(frozen=True, eq=False)
class _Fetched:
    """What a thread brought of an image."""

    key: str
    image: OpenedImage
    document: Document
    labels: np.ndarray | None
    proposed: tuple[int, ...] = ()
    note: str = ""


class FolderWork:
    """Opens and saves the images of one project in one viewer.

    Parameters
    ----------
    project : Project
        Closed by `close`.
    desk : Desk
        Of the viewer.
    dispatch : callable
        Has a function called in the window's thread.

    Attributes
    ----------
    key : str or None
        The image that is open.
    work : Work or None
        Its layers and its document.
    clicks : int
        Clicks and strokes of the user on it so far.
    unreadable : set of str
        Images that could not be opened when that was last tried.
    opened : Signal(str)
        Another image is open.
    opening : Signal(str)
        It is being read.
    edited : Signal
        Something changed that is not saved yet.
    saved : Signal(str)
    failed : Signal(str)
        Something did not work: one line with the remedy.
    not_opened : Signal(str)
        The image that was asked for cannot be; `failed` said why.
    noticed : Signal(str)
        Something the person should know.
    confirmed : Signal(str)
        The image that is open was saved as done.
    """

    opened = Signal(str)
    opening = Signal(str)
    edited = Signal()
    saved = Signal(str)
    failed = Signal(str)
    not_opened = Signal(str)
    noticed = Signal(str)
    confirmed = Signal(str)

    def __init__(self, project: Project, desk: Desk, dispatch: Dispatch) -> None:
        self.project = project
        self._desk = desk
        self._dispatch = dispatch
        self.images = ImageCache(project)
        self.key: str | None = None
        self.work: Work | None = None
        self.clicks = 0
        self.unreadable: set[str] = set()
        self._wanted: str | None = None
        self._finishing: Callable[[], None] | None = None
        self._coming: _Fetched | None = None
        self._reader = ThreadPoolExecutor(1, thread_name_prefix="napari-promise folder")
        self._saver = Autosaver(project, lambda ms, call: QTimer.singleShot(ms, call))
        self._saver.events.saved.connect(self.saved.emit)
        self._saver.events.failed.connect(self.failed.emit)
        self._garbage = _Garbage()
        self._closed = False

    # -- opening ------------------------------------------------------------------

    @property
    def wanted(self) -> str | None:
        """The image that was asked for last: being read, or open."""
        return self._wanted or self.key

    @property
    def is_dirty(self) -> bool:
        """Whether there are edits that are not on the disk."""
        return self._saver.is_dirty

    def open(self, key: str) -> None:
        """Open an image; returns at once, `opened` or `failed` follows.

        Parameters
        ----------
        key : str
        """
        if self._closed:
            return
        if key == self.key and self.is_on_display():
            self._wanted = self._coming = None
            return
        if key == self.key and not self._save():
            return  # its image layer is gone, and what was done cannot be saved
        self._wanted = key
        self._finishing = self._coming = None
        self.opening.emit(key)
        self._reader.submit(self._fetch, key)

    def is_on_display(self) -> bool:
        """Whether the image of the project is the one worked on in the viewer."""
        bridge = self._desk.bridge
        return self.work is not None and bridge.work is self.work and bridge.has_image()

    def _fetch(self, key: str) -> None:
        """Read an image and what is kept of it. In a thread."""
        if key != self._wanted:
            return
        try:
            image = self.images.get(key)
            document = Document()
            labels = self.project.restore(key, document, image.shape)
            note = ""
            proposed: tuple[int, ...] = ()
            if self.project.item(key).state == "proposed" and not len(document):
                try:
                    proposed = self.project.proposals.load_into(key, document)
                except ValueError as error:
                    note = str(error)
        except (OSError, ValueError) as error:
            line = one_line(error)
            self._dispatch(lambda: self._on_unreadable(key, line))
            return
        fetched = _Fetched(key, image, document, labels, proposed, note)
        self._dispatch(lambda: self._on_fetched(fetched))

    def _on_unreadable(self, key: str, line: str) -> None:
        if key == self._wanted:
            self._wanted = None
            self.unreadable.add(key)
            self.failed.emit(line)
            if self.key is not None:
                self.opened.emit(self.key)
            self.not_opened.emit(key)

    def _on_fetched(self, fetched: _Fetched) -> None:
        if fetched.key != self._wanted or self._closed:
            return
        if self._is_waiting():
            self._coming = fetched  # until what was asked for here is done
            return
        self._coming = None
        try:
            work = Work(self._layer_of(fetched), fetched.document, fetched.labels)
        except ValueError as error:  # too large for labels
            self._on_unreadable(fetched.key, str(error))
            return
        self._wanted = None
        if not self._leave():
            if self.key is not None:
                self.opened.emit(self.key)
            return
        self._show(fetched, work)
        if fetched.note:
            self.noticed.emit(fetched.note)

    def _show(self, fetched: _Fetched, work: Work) -> None:
        bridge = self._desk.bridge
        before = self.work
        same_size = before is not None and before.shape == work.shape
        active = self._first_to_look_at(fetched)
        plane = fetched.image.first_plane
        if active is not None:
            plane = fetched.document.get(active).plane
        self.key, self.work = fetched.key, work
        self.unreadable.discard(fetched.key)
        self.clicks = self.project.item(fetched.key).clicks
        self._watch(fetched.key, work)
        work.result.painted.connect(self._on_painted)
        if before is not None:
            self._garbage.will_drop(before)
        with self._garbage.left_alone(), bridge.batched_update:
            bridge.open_work(work, plane, active)
            if before is not None:
                bridge.drop_work(before)
        if not same_size:
            self._desk.viewer.reset_view()
        self.opened.emit(fetched.key)

    def _layer_of(self, fetched: _Fetched) -> Image:
        opened = fetched.image
        return Image(opened.array, **opened.layer_options)

    @staticmethod
    def _first_to_look_at(fetched: _Fetched) -> int | None:
        if fetched.proposed:
            return fetched.proposed[0]
        open_ones = [r.id for r in fetched.document.objects if not r.committed]
        active = fetched.document.active_id
        return active if active is not None else next(iter(open_ones), None)

    # -- effort -------------------------------------------------------------------

    def count_click(self) -> None:
        """Take note of a click or a stroke of the user on the open image."""
        self.clicks += 1
        self._saver.touch()

    def _on_painted(self, _strokes: Any) -> None:
        self.count_click()

    def _on_edited(self) -> None:
        self.edited.emit()

    # -- saving and leaving -------------------------------------------------------

    def load_proposal(self) -> bool:
        """Show a proposal that came while its image was open and untouched."""
        work, key = self.work, self.key
        if work is None or key is None or len(work.document) or self._saver.is_dirty:
            return False
        if self.project.item(key).state != "proposed" or work.document.undo_name:
            return False
        proposed: tuple[int, ...] = ()
        try:
            self._saver.leave()  # nobody edited anything: it stays a proposal
            proposed = self.project.proposals.load_into(key, work.document)
        except (ValueError, OSError) as error:
            self.noticed.emit(str(error))
        self._watch(key, work)
        if proposed:
            work.document.active_id = proposed[0]
        return bool(proposed)

    def is_untouched(self) -> bool:
        """Whether the open image is new, and nobody did anything on it yet."""
        work, key = self.work, self.key
        return (
            work is not None
            and key is not None
            and self._wanted is None
            and self.is_on_display()
            and not len(work.document)
            and not work.document.undo_name
            and not self._saver.is_dirty
            and self.project.item(key).state == "new"
        )

    def put_suggestion(self, records: Sequence[ObjectRecord]) -> tuple[int, ...]:
        """Show objects that wait, where nobody did anything yet; not saved as work.

        Returns
        -------
        tuple of int
            Their ids; empty where the image was touched meanwhile.
        """
        work, key = self.work, self.key
        if work is None or key is None or not self.is_untouched():
            return ()
        try:
            self._saver.leave()  # nobody edited anything: the image stays new
            put = work.document.add_many(records, name="suggestion")
        except OSError as error:
            self.noticed.emit(one_line(error))
            put = ()
        self._watch(key, work)
        return tuple(record.id for record in put)

    def _watch(self, key: str, work: Work) -> None:
        self._saver.watch(
            key,
            work.document,
            lambda: np.asarray(work.result.labels),
            lambda: self.clicks,
        )
        work.document.events.history_changed.connect(self._on_edited, unique=True)

    def finish(self, then: Callable[[], None]) -> None:
        """Commit what is not committed, save the image as done, then go on.

        Where a mask is still being computed this waits for it.

        Parameters
        ----------
        then : callable
        """
        work = self.work
        if self._wanted is not None:
            return  # meant for the image that is on its way, which nobody has seen
        if work is None or self.key is None:
            self.failed.emit("No image is open: click a row.")
            return
        if not self.is_on_display():
            self.failed.emit(
                f"{self.key} is not on display: click its row to go on with it."
            )
            return
        session = self._desk.session
        waiting = [r.id for r in work.document.objects if not r.is_answered]
        if waiting or self._is_waiting():
            self._finishing = lambda: self.finish(then)
            for object_id in waiting:
                session.segment(object_id)
            return
        self._finishing = None
        self._commit_all(work, session)
        if self._save("done"):
            self.confirmed.emit(self.key)
            then()

    def _is_waiting(self) -> bool:
        """Whether commits or other acts on the open image wait for an answer."""
        work = self.work
        return (
            work is not None
            and self.is_on_display()
            and self._desk.actions.is_waiting(work.document)
        )

    def go_on(self) -> None:
        """Try again to finish or to leave, after a mask has come."""
        again, self._finishing = self._finishing, None
        if again is not None:
            again()
        elif self._coming is not None:
            self._on_fetched(self._coming)

    def give_up_finishing(self) -> None:
        """Wait no longer to finish: the mask will not come."""
        self._finishing = None

    def skip(self, then: Callable[[], None]) -> None:
        """Put the image aside, saved as it is, then go on."""
        if self._wanted is not None:
            return
        if self.key is None:
            self.failed.emit("No image is open: click a row.")
            return
        if self._is_waiting():
            self._finishing = lambda: self.skip(then)
        elif self._save("skipped"):
            then()

    def _commit_all(self, work: Work, session: Any) -> None:
        document = work.document
        shown = [r for r in document.objects if not r.is_blank]
        with document.step("commit"):
            for record in shown:
                if not record.class_name:
                    document.set_class(record.id, self.project.settings.class_name)
                if not record.committed and record.region is not None:
                    session.commit(record.id, work.result.plane(record.plane))
            document.active_id = None

    def _save(self, state: State | None = None) -> bool:
        """Save now; False, and one line, where it cannot be."""
        try:
            self._saver.flush(state)
        except OSError as error:
            self.failed.emit(one_line(error))
            return False
        return True

    def set_states(self, keys: Sequence[str], state: State) -> None:
        """Give images a state; the one that is open is saved with it.

        Parameters
        ----------
        keys : sequence of str
        state : State
            As in `Project.set_states`.
        """
        try:
            if self.key in keys and state in ("done", "skipped"):
                self._saver.flush(state)
            self.project.ledger.set_states(keys, state)
        except (ValueError, OSError) as error:
            self.failed.emit(one_line(error))

    def accept(self, key: str) -> None:
        """Confirm a proposal as it is, its image unopened, in the background."""
        if key == self.key:
            self.finish(lambda: None)
            return

        def run() -> None:
            try:
                self.project.proposals.accept(key)
            except (ValueError, OSError) as error:
                line = one_line(error)
                self._dispatch(lambda: self.failed.emit(line))

        self._reader.submit(run)

    def save(self) -> bool:
        """Save what is not saved yet; False where it cannot be."""
        return self._save()

    def _leave(self) -> bool:
        try:
            self._saver.leave()
        except OSError as error:
            self.failed.emit(one_line(error))
            return False
        return True

    def close(self, *, layers: bool = True) -> None:
        """Save, take the project's layers out of the viewer, let the project go.

        Parameters
        ----------
        layers : bool
            Off, the layers are left alone: the viewer is going as well.
        """
        if self._closed:
            return
        self._closed = True
        self._wanted = self._finishing = self._coming = None
        try:
            self._saver.close()
        except (OSError, ValueError) as error:
            # Nothing more can be done for it; what was saved before is whole.
            self.failed.emit(
                f"{one_line(error)} The last edits of {self.key} are not saved."
            )
        else:
            if layers and self.work is not None:
                self._desk.bridge.drop_work(self.work)
        self._reader.shutdown(wait=False, cancel_futures=True)
        self.work = self.key = None
        self.project.close()


class _Garbage:
    """Lets layers go without a search of the whole program for garbage each.

    napari collects garbage for every layer that is removed, and an image has five: with
    torch loaded that took most of the time from one image to the next. Here what is
    there before is left out meanwhile, and once so many pixels or images were dropped
    everything is looked at, once. Windows' drivers are what napari does it for; there
    it is left to.
    """

    def __init__(self) -> None:
        self._dropped = self._images = 0

    def will_drop(self, work: Work) -> None:
        """Take note of layers that go, and collect what went before."""
        self._dropped += work.image.data.nbytes + work.result.labels.nbytes
        self._images += 1
        if sys.platform == "win32":
            return
        if self._dropped > _DROPPED_BYTES or self._images >= _DROPPED_IMAGES:
            self._dropped = self._images = 0
            gc.collect()

    @contextmanager
    def left_alone(self) -> Iterator[None]:
        """Look at new objects only, inside.

        What somebody else froze stays so: to thaw ours would thaw that, too.
        """
        if sys.platform == "win32" or gc.get_freeze_count():
            yield
            return
        gc.freeze()
        try:
            yield
        finally:
            gc.unfreeze()
