"""The face of the session, for the window's thread: wishes in, signals out.

`Worker` does the work in a thread of its own and comes back by `dispatch`; what the
two threads share is in `TaskQueue`. Half of the file says what each signal and each
wish means; a method does little more than pass it on.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from psygnal import Signal

from napari_promise import preferences
from napari_promise.data.embeddings import MEGABYTE, EmbeddingCache, default_folder
from napari_promise.document import (
    BBox,
    Changes,
    Document,
    LabelPatch,
    ObjectRecord,
    Plane,
    Source,
    feedback,
)
from napari_promise.model.weights import offered_first
from napari_promise.prompts import Prompts
from napari_promise.proposing import ProposedObject
from napari_promise.segmentation import Segmentation
from napari_promise.session import answers
from napari_promise.session.contracts import Job, Loader
from napari_promise.session.embeddings import Embeddings
from napari_promise.session.model_in_use import ModelInUse, load_model
from napari_promise.session.queue import TaskQueue
from napari_promise.session.requests import Request
from napari_promise.session.results import DragAnswer, SegmentResult, Status
from napari_promise.session.settings import Settings
from napari_promise.session.sources import ImageSource
from napari_promise.session.worker import Reports, Worker

if TYPE_CHECKING:
    from napari_promise.data.export import SavedObject
    from napari_promise.model.adapters import AdapterInfo

__all__ = ["Session"]


class Session:
    """What the user set, the image worked on, and a worker that computes.

    Parameters
    ----------
    dispatch : callable, optional
        Takes a function without arguments and sees to it that it is called in the
        window's thread, without waiting for that. By default the worker calls it.
    settings : Settings, optional
        By default what the user's preferences say.
    preferences_path : pathlib.Path, optional
        Where settings are kept; by default `preferences.default_path`. Given settings
        without a path are not kept.
    cache : EmbeddingCache, optional
        By default one in memory and in the user's cache folder.
    loader : callable, optional
        Loads a model; `Segmenter.load` by default.

    Attributes
    ----------
    settings : Settings
    segmented : Signal(SegmentResult)
        A mask was written into the document.
    unanswered : Signal(Document, int, str)
        An object will get no mask for its prompts as they stand: why, in one line.
    proposal_ended : Signal(Document)
        The auto-prompts that were asked for are in the document, or will not come.
    many_wanted : Signal(Document, tuple)
        Auto-prompts were asked for on a plane, and the adapter finds many objects:
        whoever listens proposes them. Where nobody does they come all at once.
    drag_previewed : Signal(DragAnswer)
        What a mask would be; see `drag_preview`.
    encoded : Signal(tuple)
        The plane on display is encoded.
    status_changed : Signal(Status)
    failed : Signal(str)
        Something did not work: one line with the remedy. The worker goes on.
    notified : Signal(str)
        Something the user should know.
    document_changed : Signal(Document)
    model_changed : Signal(str)
        Another model is loaded: its name.
    adapter_changed : Signal(object)
        Another adapter is in use: its `AdapterInfo`, or None.
    cache_measured : Signal(int, object)
        Bytes of embeddings in memory and on disk; None where none are kept on disk.
    encode_seconds : float or None
        What a plane took on the model in use, at best: the first one warms up.
    embedding_bytes : int or None
        Size of an embedding of that model.
    """

    segmented = Signal(SegmentResult)
    unanswered = Signal(Document, int, str)
    proposal_ended = Signal(Document)
    many_wanted = Signal(Document, tuple)
    drag_previewed = Signal(DragAnswer)
    encoded = Signal(tuple)
    status_changed = Signal(Status)
    failed = Signal(str)
    notified = Signal(str)
    document_changed = Signal(Document)
    model_changed = Signal(str)
    adapter_changed = Signal(object)
    cache_measured = Signal(int, object)

    def __init__(
        self,
        *,
        dispatch: Callable[[Callable[[], None]], None] | None = None,
        settings: Settings | None = None,
        preferences_path: Path | None = None,
        cache: EmbeddingCache | None = None,
        loader: Loader = load_model,
    ) -> None:
        if settings is None:
            preferences_path = preferences_path or preferences.default_path()
            kept = preferences.read_preferences(preferences_path)
            settings = Settings.from_preferences({"model": offered_first(), **kept})
        self.settings = settings
        self._preferences_path = preferences_path
        self._dispatch = dispatch or (lambda call: call())
        self._no_objects = Document()
        self._drag = 1
        # The object that is being dragged, and sharper masks of it that wait so long.
        self._dragged: tuple[int, int] | None = None
        self._held_back: list[tuple[Request, Segmentation, Prompts]] = []
        # By identity, the documents that auto-prompts were asked for.
        self._proposing: dict[int, Document] = {}
        # Of each thread, for without `dispatch` the worker writes its answers itself.
        self._applying = threading.local()
        self._closed = False

        self._model = ModelInUse()
        self._embeddings = Embeddings(
            self._model,
            cache
            or EmbeddingCache(
                default_folder() if settings.disk_cache else None,
                disk_bytes=settings.cache_quota_mb * MEGABYTE,
                on_warning=self._notify,
            ),
        )
        self._queue = TaskQueue(settings, self._model, self._embeddings)
        self._worker = Worker(
            self._queue,
            self._model,
            self._embeddings,
            settings,
            loader,
            self._deliver,
            Reports(
                status=self.status_changed.emit,
                failed=self.failed.emit,
                notified=self.notified.emit,
                model=self.model_changed.emit,
                adapter=self.adapter_changed.emit,
                encoded=self.encoded.emit,
                reverted=lambda name, value: setattr(settings, name, value),
                adapted=self._segment_active_again,
                segmented=self._on_segmented,
                drag_previewed=self._on_drag_previewed,
                proposed=self._on_proposed,
                outdated=self._on_outdated,
                handed_over=self._on_handed_over,
                unanswered=self._on_unanswered,
            ),
        )

        self._connect_document()
        settings.events.connect(self._on_setting)
        self._worker.start()

    # -- what there is ------------------------------------------------------------

    @property
    def document(self) -> Document:
        """The objects of the image worked on; without one, a document of none."""
        image = self._queue.image
        return self._no_objects if image is None else image.document

    @property
    def status(self) -> Status:
        """What the worker is at."""
        return self._worker.status

    @property
    def model_id(self) -> str:
        """The name of the model that is loaded; empty before there is one."""
        segmenter = self._model.segmenter
        return "" if segmenter is None else segmenter.model_id

    @property
    def knows_points(self) -> bool:
        """Whether the model was trained for clicks; so before one is loaded."""
        kinds = getattr(self._model.segmenter, "prompt_kinds", ("points",))
        return "points" in kinds

    @property
    def finds_many(self) -> bool:
        """Whether the adapter in use proposes many objects an image."""
        return bool(getattr(self._model.segmenter, "finds_many", False))

    @property
    def adapter_info(self) -> AdapterInfo | None:
        """What is known of the adapter in use; None without one."""
        segmenter = self._model.segmenter
        return None if segmenter is None else segmenter.adapter_info

    @property
    def encode_seconds(self) -> float | None:
        """What a plane took on the model in use, at best: the first one warms up."""
        return self._embeddings.encode_seconds

    @property
    def embedding_bytes(self) -> int | None:
        """Size of an embedding of that model; None before one was measured."""
        return self._embeddings.embedding_bytes

    def provenance(self) -> dict[str, Any]:
        """Say what makes the results: model, adapter, settings, image, versions.

        Returns
        -------
        dict
            See `export.provenance`.
        """
        from napari_promise.data.export import provenance

        segmenter, image = self._model.segmenter, self._queue.image
        described = None
        if image is not None:
            described = {
                "name": image.source.name,
                "digest": self._embeddings.digest(image, self._queue.tile),
                "contrast_limits": image.source.contrast_limits,
            }
        return provenance(
            model=self.settings.model if segmenter is None else segmenter.model_id,
            model_sha256="" if segmenter is None else segmenter.sha256,
            adapter=self.adapter_info,
            adapter_sha256=None if segmenter is None else segmenter.adapter_sha256,
            ips=self.settings.ips,
            local=self.settings.local,
            image=described,
            overlap=self.settings.overlap,
        )

    # -- wishes -------------------------------------------------------------------

    def set_image(
        self,
        source: ImageSource | None,
        plane: Plane = (),
        *,
        document: Document | None = None,
    ) -> Document:
        """Work on an image, and start encoding it.

        Also to be called with a fresh source when what is seen of the image changed,
        such as its contrast limits.

        Parameters
        ----------
        source : ImageSource or None
            None where there is no image.
        plane : Plane
            The plane on display.
        document : Document, optional
            The image's objects; left out, a document without any.

        Returns
        -------
        Document
        """
        before = self.document
        if document is None:
            document = Document()
        if source is None:
            self._no_objects = document
        self._queue.set_image(source, document, _indices(plane))
        if document is not before:
            self._disconnect_document(before)
            self._connect_document()
            self.document_changed.emit(document)
        if source is None:
            self._worker.set_status("idle", "no image")
        return document

    def show_plane(self, plane: Plane) -> None:
        """Say which plane is on display; it is encoded next.

        Parameters
        ----------
        plane : Plane
        """
        self._queue.show_plane(_indices(plane))

    def show_view(self, view: BBox | None) -> None:
        """Say which part of that plane is on the screen; it is encoded ahead.

        Parameters
        ----------
        view : BBox or None
            None where that is not known.
        """
        self._queue.show_view(view)

    def segment(self, object_id: int, *, again: bool = False) -> None:
        """Ask for the mask that answers an object's prompts.

        Returns at once; a request that is under way for the same prompts is left to
        go on, an older one is given up.

        Parameters
        ----------
        object_id : int
        again : bool
            Even where the prompts have a mask: with another adapter, say.
        """
        document = self.document
        self._queue.ask(document, document.get(object_id), again=again)

    def drag_preview(
        self, object_id: int, prompts: Prompts, sources: Sequence[Source]
    ) -> None:
        """Ask what the mask would be with other prompts, while they are being dragged.

        Nothing is written into the document: the answer comes as `drag_previewed`,
        until `end_drag_previews` is called or the object changes. Of several requests
        the latest is answered; the one that is under way is answered too, so that a
        mask that is dragged without a pause follows all the same. Whatever else waits
        goes first.

        Parameters
        ----------
        object_id : int
        prompts : Prompts
            All prompts of the object, as `Document.set_prompts` will get them.
        sources : sequence of {"auto", "user"}
        """
        document = self.document
        record = document.get(object_id)
        asked = feedback(record, prompts, sources)
        self._dragged = (id(document), object_id)
        self._queue.ask_drag_preview(document, record, asked, self._drag)

    def end_drag_previews(self) -> None:
        """Drop the drag previews under way: nothing is being dragged any more."""
        self._drag += 1
        self._queue.end_drag_previews()
        self._dragged, held = None, self._held_back
        self._held_back = []
        for request, result, asked in held:
            self._write_mask(request, result, asked)

    def propose(self, plane: Plane | None = None, object_id: int | None = None) -> None:
        """Ask the auto-prompting module for prompts, and for their masks.

        Both arrive as one step of the document. The points of the user stay.

        Parameters
        ----------
        plane : Plane, optional
            The plane on display by default.
        object_id : int, optional
            The object that gets the prompts. Left out, the active object where it
            lies on the plane and is not committed, else a fresh one.
        """
        image = self._queue.image
        if image is None:
            self.notified.emit("There is no image yet: open one first.")
            return
        plane = self._queue.tile.plane if plane is None else tuple(plane)
        active, record = image.document.active, None
        if object_id is not None:
            record = image.document.get(object_id)
        elif active and active.plane == plane and _is_open(image.document, active):
            record = active
        plane = plane if record is None else record.plane
        self._proposing[id(image.document)] = image.document
        self._queue.ask_proposal(
            image, plane, record, hand_over=len(self.many_wanted) > 0
        )

    def commit(
        self, object_id: int, labels: Any, *, keep_painted: bool = True
    ) -> LabelPatch | None:
        """Write an object into the labels by the user's overlap policy.

        Parameters
        ----------
        object_id : int
        labels : array-like, (H, W) integer
            The labels of the object's plane as they are now.
        keep_painted : bool
            See `Document.commit`.

        Returns
        -------
        LabelPatch or None
            What the document emitted as `labels_patched`.
        """
        return self.document.commit(
            object_id,
            labels,
            overlap=self.settings.overlap,
            keep_painted=keep_painted,
        )

    def commit_later(self, object_id: int, *, keep_painted: bool = True) -> None:
        """Ask for the mask of an object, and commit the object in its turn.

        Parameters
        ----------
        object_id : int
        keep_painted : bool
            See `Document.commit_later`.
        """
        self.document.commit_later(
            object_id, overlap=self.settings.overlap, keep_painted=keep_painted
        )
        self.segment(object_id)

    def is_proposing(self, document: Document) -> bool:
        """Whether auto-prompts for a document are on their way."""
        return id(document) in self._proposing

    def replay(self, objects: Iterable[SavedObject]) -> list[int]:
        """Add objects with saved prompts, and ask for their masks; one step.

        Parameters
        ----------
        objects : iterable of export.SavedObject
            What `export.load_prompts` read.

        Returns
        -------
        list of int
            The objects' ids: the saved ones where they were free.
        """
        document = self.document
        with document.step("load prompts"):
            ids = [record.id for record in document.add_many(objects)]
            if ids:
                document.active_id = ids[-1]
        for object_id in ids:
            self.segment(object_id)
        return ids

    def cancel(self) -> None:
        """Give up what is under way and what is waiting; nothing is lost."""
        self._on_unanswered(self._queue.cancel(), "cancelled.")

    def start_job(
        self, job: Job, *, first: bool = False, watched: bool = False
    ) -> None:
        """Do long work in the background, a step at a time.

        Parameters
        ----------
        job : Job
        first : bool
            Before the jobs that are under way; those go on afterwards.
        watched : bool
            Somebody looks on while it works on the planes of this image: scrolling
            through them does not stop it, clicks do.
        """
        self._queue.start_job(job, first=first, watched=watched)

    def end_job(self, job: Job) -> None:
        """Take no further step of a job, if it is under way; the worker closes it."""
        self._queue.end_job(job)

    def reload_adapter(self) -> None:
        """Read the adapter in use again: its files have changed."""
        self._queue.reload_adapter()

    def reload_model(self) -> None:
        """Load the model of the settings, if another one, or none, is in use."""
        self._queue.on_setting("device")

    def clear_cache(self) -> None:
        """Forget all embeddings, in memory and on disk, but that on display."""

        def clear() -> None:
            self._embeddings.clear(self._queue.image, self._queue.tile)
            self._notify("The cache of embeddings is empty now.")

        self._queue.call_when_idle(clear)
        self.measure_cache()

    def measure_cache(self) -> None:
        """Ask how much the cache holds; the answer comes as `cache_measured`."""

        def measure() -> None:
            memory, disk = self._embeddings.size()
            self._deliver(lambda: self.cache_measured.emit(memory, disk))

        self._queue.call_when_idle(measure)

    def close(self) -> None:
        """Stop the worker and wait for it; the session is of no use afterwards.

        What was found and not delivered yet is dropped: there is nobody left to see it.
        """
        self.settings.events.disconnect(self._on_setting)
        self._disconnect_document(self.document)
        self._queue.close()
        self._worker.join()
        self._closed = True

    # -- what the user sets, and edits --------------------------------------------

    def _on_setting(self, info: Any) -> None:
        name = info.signal.name
        if self._preferences_path is not None:
            self._queue.do_next(self._save_preferences)
        self._queue.on_setting(name)
        if name in ("ips", "local"):
            self._segment_active_again()
        elif name == "live" and self.settings.live:
            for record in self.document.objects:
                self._on_object_changed(record.id)
        elif name == "disk_cache":
            wanted = self.settings.disk_cache
            self._queue.call_when_idle(lambda: self._embeddings.keep_on_disk(wanted))
            self.measure_cache()
        elif name == "cache_quota_mb":
            quota = self.settings.cache_quota_mb
            self._queue.call_when_idle(lambda: self._embeddings.keep_quota(quota))
            self.measure_cache()

    def _segment_active_again(self) -> None:
        active = self.document.active
        if self.settings.live and active is not None and active.region is not None:
            self.segment(active.id, again=True)

    def _connect_document(self) -> None:
        events = self.document.events
        events.object_added.connect(self._on_object_changed)
        events.object_changed.connect(self._on_object_changed)
        events.object_removed.connect(self._on_object_removed)
        events.objects_changed.connect(self._on_objects_changed)

    def _disconnect_document(self, document: Document) -> None:
        events = document.events
        events.object_added.disconnect(self._on_object_changed, missing_ok=True)
        events.object_changed.disconnect(self._on_object_changed, missing_ok=True)
        events.object_removed.disconnect(self._on_object_removed, missing_ok=True)
        events.objects_changed.disconnect(self._on_objects_changed, missing_ok=True)

    def _on_object_changed(self, object_id: int) -> None:
        # Also after undo or redo: a click that was never answered is answered now.
        if getattr(self._applying, "now", False):
            return
        # A commit that waits needs its mask whatever is set.
        if self.settings.live or object_id in self.document.pending:
            self.segment(object_id)

    def _on_object_removed(self, object_id: int) -> None:
        self._queue.withdraw(self.document, object_id)

    def _on_objects_changed(self, changes: Changes) -> None:
        for object_id in (*changes.added, *changes.changed):
            self._on_object_changed(object_id)
        for object_id in changes.removed:
            self._on_object_removed(object_id)

    # -- answers ------------------------------------------------------------------

    def _on_drag_previewed(self, request: Request, result: Segmentation) -> None:
        if request.drag_preview != self._drag:
            return  # that drag has ended
        drag_preview = answers.drag_preview_of(request, result)
        if drag_preview is not None:
            self.drag_previewed.emit(drag_preview)

    def _on_segmented(
        self, request: Request, result: Segmentation, asked: Prompts
    ) -> None:
        if not self._queue.settle(request):
            return  # asked anew, or cancelled
        dragged = (id(request.image.document), request.object_id) == self._dragged
        if request.rounds and dragged:  # it must not jump under the person's hand
            self._held_back.append((request, result, asked))
            return
        self._write_mask(request, result, asked)

    def _write_mask(
        self, request: Request, result: Segmentation, asked: Prompts
    ) -> None:
        if not answers.is_current(request):
            return
        if not self._queue.look_closer(request, result):
            return
        with self._own_edit():
            written = answers.write_mask(request, result, asked)
        if written is not None:
            self.segmented.emit(written)

    def _on_outdated(self, request: Request) -> None:
        document, object_id = request.image.document, request.object_id
        asked = self._queue.settle(request)
        if asked and document is self.document and answers.is_current(request):
            assert object_id is not None
            self.segment(object_id, again=request.again)

    def _on_unanswered(self, requests: list[Request], why: str) -> None:
        for request in requests:
            self._queue.end(request)
            document, object_id = request.image.document, request.object_id
            if request.propose:
                self._end_proposal(document)
            elif object_id in document:
                assert object_id is not None
                record = document.get(object_id)
                if record.revision == request.revision and not record.is_answered:
                    self.unanswered.emit(document, object_id, why)

    def _end_proposal(self, document: Document) -> None:
        if self._proposing.pop(id(document), None) is not None:
            self.proposal_ended.emit(document)

    def _on_proposed(self, request: Request, found: tuple[ProposedObject, ...]) -> None:
        self._queue.end(request)
        if not self.is_proposing(request.image.document):
            return  # cancelled
        if found:
            self._write_proposal(request, found)
        self._end_proposal(request.image.document)

    def _on_handed_over(self, request: Request) -> None:
        document = request.image.document
        if self.is_proposing(document):  # else cancelled
            self.many_wanted.emit(document, request.plane)
            self._end_proposal(document)

    def _write_proposal(
        self, request: Request, found: tuple[ProposedObject, ...]
    ) -> None:
        document = request.image.document
        with self._own_edit(), document.beneath_strokes():
            written = answers.write_proposal(request, found)
        for object_id in written:
            if document is self.document and not document.get(object_id).is_answered:
                self.segment(object_id)  # the user edited the object meanwhile

    @contextmanager
    def _own_edit(self) -> Iterator[None]:
        """Mark edits of the session itself, which call for no answer."""
        self._applying.now = True
        try:
            yield
        finally:
            self._applying.now = False

    # -- reports, from either thread -----------------------------------------------

    def _deliver(self, call: Callable[[], None]) -> None:
        self._dispatch(lambda: None if self._closed else call())

    def _notify(self, message: str) -> None:
        self._deliver(lambda: self.notified.emit(message))

    def _save_preferences(self) -> None:
        assert self._preferences_path is not None
        try:
            preferences.write_preferences(
                self._preferences_path, self.settings.to_preferences()
            )
        except OSError as error:
            self._notify(
                f"Settings cannot be kept in {self._preferences_path} ({error}): make "
                "its folder writable."
            )


def _is_open(document: Document, record: ObjectRecord) -> bool:
    return record.written is None and record.id not in document.pending


def _indices(plane: Plane) -> Plane:
    return tuple(int(index) for index in plane)
