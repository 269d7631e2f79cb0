"""The session itself: its signals, its settings, and the thread that does the work.

Knows no window, and no lock: what the threads share is in `TaskQueue`. The worker's own
are the sections that say so; it reaches the window's thread by `dispatch` only. All
else runs in the window's thread.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from psygnal import Signal

from napari_promise import preferences
from napari_promise.data.embeddings import MEGABYTE, EmbeddingCache, default_folder
from napari_promise.document import (
    Changes,
    Document,
    LabelPatch,
    ObjectRecord,
    Plane,
    Source,
    feedback,
)
from napari_promise.prompts import Prompts
from napari_promise.session import answers
from napari_promise.session.answers import Proposal
from napari_promise.session.contracts import Job, Loader
from napari_promise.session.embeddings import Embeddings
from napari_promise.session.model_in_use import ModelInUse, load_segmenter
from napari_promise.session.queue import TaskQueue
from napari_promise.session.requests import Request
from napari_promise.session.results import (
    DragPreview,
    ProposeResult,
    SegmentResult,
    State,
    Status,
)
from napari_promise.session.settings import Settings
from napari_promise.session.sources import ImageSource
from napari_promise.session.tasks import (
    AdaptTask,
    AnswerTask,
    Callback,
    EncodeTask,
    JobStep,
    LoadTask,
    Task,
)
from napari_promise.session.workbench import Bench

__all__ = ["Session"]

_log = logging.getLogger(__name__)

#: Seconds to wait for the worker when the session closes.
_CLOSE_TIMEOUT = 10.0


class Session:
    """Holds the settings, the document and the worker.

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
    drag_previewed : Signal(DragPreview)
        What a mask would be; see `drag_preview`.
    proposed : Signal(ProposeResult)
        Auto-prompts, and their mask, were written into the document.
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
    drag_previewed = Signal(DragPreview)
    proposed = Signal(ProposeResult)
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
        loader: Loader = load_segmenter,
    ) -> None:
        if settings is None:
            preferences_path = preferences_path or preferences.default_path()
            settings = Settings.from_preferences(
                preferences.read_preferences(preferences_path)
            )
        self.settings = settings
        self._preferences_path = preferences_path
        self._dispatch = dispatch or (lambda call: call())
        self._loader = loader
        self._document = Document()
        self._status = Status(since=time.monotonic())
        self._shown_cached = False
        self._drag = 1
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

        self._connect_document()
        settings.events.connect(self._on_setting)
        self._worker = threading.Thread(
            target=self._work, name="napari-promise worker", daemon=True
        )
        self._worker.start()

    # -- what there is ------------------------------------------------------------

    @property
    def document(self) -> Document:
        """The objects of the image worked on."""
        return self._document

    @property
    def status(self) -> Status:
        """What the worker is at."""
        return self._status

    @property
    def plane(self) -> Plane:
        """The plane on display."""
        return self._queue.plane

    @property
    def has_image(self) -> bool:
        """Whether there is an image to work on."""
        return self._queue.image is not None

    @property
    def model_id(self) -> str:
        """The name of the model that is loaded; empty before there is one."""
        segmenter = self._model.segmenter
        return "" if segmenter is None else segmenter.model_id

    @property
    def adapter_info(self) -> Any:
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
                "digest": self._embeddings.digest(image, self.plane),
                "contrast_limits": image.source.contrast_limits,
            }
        return provenance(
            model=self.settings.model if segmenter is None else segmenter.model_id,
            model_sha256="" if segmenter is None else segmenter.sha256,
            adapter=self.adapter_info,
            adapter_sha256=getattr(segmenter, "adapter_sha256", None),
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
        if document is None:
            document = Document()
        self._queue.set_image(source, document, _indices(plane))
        if document is not self._document:
            self._disconnect_document()
            self._document = document
            self._connect_document()
            self.document_changed.emit(document)
        if source is None:
            self._set_status("idle", "no image")
        return document

    def show_plane(self, plane: Plane) -> None:
        """Say which plane is on display; it is encoded next.

        Parameters
        ----------
        plane : Plane
        """
        self._queue.show_plane(_indices(plane))

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
        document = self._document
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
        document = self._document
        record = document.get(object_id)
        asked = feedback(record, prompts, sources)
        self._queue.ask_drag_preview(document, record, asked, self._drag)

    def end_drag_previews(self) -> None:
        """Drop the drag previews under way: nothing is being dragged any more."""
        self._drag += 1
        self._queue.end_drag_previews()

    def propose(self, plane: Plane | None = None, object_id: int | None = None) -> None:
        """Ask the auto-prompting module for prompts, and for their mask.

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
        plane = self.plane if plane is None else tuple(plane)
        active, record = image.document.active, None
        if object_id is not None:
            record = image.document.get(object_id)
        elif active and active.plane == plane and active.written is None:
            record = active
        plane = plane if record is None else record.plane
        self._queue.ask_proposal(image, plane, record)

    def new_object(self) -> ObjectRecord:
        """Begin an object on the plane on display."""
        return self._document.new_object(self.plane)

    def commit(self, object_id: int, labels: Any) -> LabelPatch | None:
        """Write an object into the labels by the user's overlap policy.

        Parameters
        ----------
        object_id : int
        labels : array-like, (H, W) integer
            The labels of the object's plane as they are now.

        Returns
        -------
        LabelPatch or None
            What the document emitted as `labels_patched`.
        """
        return self._document.commit(object_id, labels, overlap=self.settings.overlap)

    def replay(self, objects: Iterable[Any]) -> list[int]:
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
        with self._document.step("load prompts"):
            ids = [record.id for record in self._document.add_many(objects)]
            if ids:
                self._document.active_id = ids[-1]
        for object_id in ids:
            self.segment(object_id)
        return ids

    def cancel(self) -> None:
        """Give up what is under way and what is waiting; nothing is lost."""
        self._queue.cancel()

    def start_job(self, job: Job, *, first: bool = False) -> None:
        """Do long work in the background, a step at a time.

        Parameters
        ----------
        job : Job
        first : bool
            Before the jobs that are under way; those go on afterwards.
        """
        self._queue.start_job(job, first=first)

    def end_job(self, job: Job) -> None:
        """Take no further step of a job, if it is under way; the worker closes it."""
        self._queue.end_job(job)

    def has_job(self, job: Job) -> bool:
        """Whether a job is under way or waiting."""
        return self._queue.has_job(job)

    def reload_adapter(self) -> None:
        """Read the adapter in use again: its files have changed."""
        self._queue.reload_adapter()

    def clear_cache(self) -> None:
        """Forget all embeddings, in memory and on disk, but that on display."""

        def clear() -> None:
            self._embeddings.clear(self._queue.image, self._queue.plane)
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
        self._disconnect_document()
        self._queue.close()
        if threading.current_thread() is not self._worker:
            self._worker.join(_CLOSE_TIMEOUT)
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
            for record in self._document.objects:
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
        active = self._document.active
        if self.settings.live and active is not None and active.region is not None:
            self.segment(active.id, again=True)

    def _connect_document(self) -> None:
        events = self._document.events
        events.object_added.connect(self._on_object_changed)
        events.object_changed.connect(self._on_object_changed)
        events.object_removed.connect(self._on_object_removed)
        events.objects_changed.connect(self._on_objects_changed)

    def _disconnect_document(self) -> None:
        events = self._document.events
        events.object_added.disconnect(self._on_object_changed, missing_ok=True)
        events.object_changed.disconnect(self._on_object_changed, missing_ok=True)
        events.object_removed.disconnect(self._on_object_removed, missing_ok=True)
        events.objects_changed.disconnect(self._on_objects_changed, missing_ok=True)

    def _on_object_changed(self, object_id: int) -> None:
        # Also after undo or redo: a click that was never answered is answered now.
        if self.settings.live and not getattr(self._applying, "now", False):
            self.segment(object_id)

    def _on_object_removed(self, object_id: int) -> None:
        self._queue.withdraw(self._document, object_id)

    def _on_objects_changed(self, changes: Changes) -> None:
        for object_id in (*changes.added, *changes.changed):
            self._on_object_changed(object_id)
        for object_id in changes.removed:
            self._on_object_removed(object_id)

    # -- the worker ---------------------------------------------------------------

    def _work(self) -> None:
        while (task := self._queue.next_task()) is not None:
            try:
                self._do(task)
            except Exception as error:  # the worker outlives whatever goes wrong
                try:
                    self._on_task_failed(task, error)
                except Exception:
                    # A listener failed as well: there is nobody left to be told.
                    _log.exception("a failure could not be reported")
            finally:
                self._queue.finish()
        for job in self._queue.leave():
            try:
                job.close()
            except Exception:
                _log.exception("a job could not be closed")
        self._model.segmenter = None

    def _do(self, task: Task) -> None:
        match task:
            case LoadTask():
                self._load(task)
            case AdaptTask():
                self._adapt()
                self._deliver(self._segment_active_again)
            case EncodeTask():
                self._encode(task)
            case AnswerTask():
                self._answer(task.request)
            case Callback():
                task.call()
            case JobStep():
                self._step(task)

    def _on_task_failed(self, task: Task, error: Exception) -> None:
        stopped = task.stop.is_set()
        again = self._queue.on_failed(task)
        if isinstance(task, LoadTask) and not again:
            if self._model.loaded_as is not None:
                model, device = self._model.loaded_as
                self._revert("model", model)
                self._revert("device", device)
        if isinstance(task, AdaptTask) and not again:
            self._revert("adapter", self._model.adapted_as)
        if stopped:
            if not again and not self._queue.is_awaited:
                ready = self._is_shown_encoded()
                self._set_status("ready" if ready else "idle", "cancelled")
            return
        if isinstance(task, EncodeTask) and task.ahead:
            return  # it will be said when the plane is really wanted
        message = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, ValueError | OSError | RuntimeError):
            message = f"{type(error).__name__}: {message}"
        self._set_status("error", message)
        self._deliver(lambda: self.failed.emit(message))

    def _revert(self, name: str, value: str) -> None:
        """Let a setting say what is really in use."""

        def revert() -> None:
            setattr(self.settings, name, value)

        self._deliver(revert)

    def _is_shown_encoded(self) -> bool:
        image = self._queue.image
        return image is not None and self._embeddings.has(image, self._queue.plane)

    # -- the worker's tasks: models, planes, jobs ---------------------------------

    def _load(self, task: LoadTask) -> None:
        model, device = self.settings.model, self.settings.device
        is_first = self._model.segmenter is None
        self._set_status("loading", f"loading {Path(model).name}")

        def progress(done: int, total: int) -> None:
            known = f" {done / total:.0%}" if total else ""
            self._set_status(
                "downloading",
                f"downloading {model}{known}",
                progress=done / total if total else None,
            )

        segmenter = self._loader(
            model,
            device=device,
            progress=progress,
            cancel=task.stop.is_set,
            notify=self._notify,
        )
        if task.stop.is_set():
            raise RuntimeError("cancelled")
        self._queue.use_model(segmenter, (model, device))
        self._embeddings.begin_anew()
        self._adapt()
        self._deliver(lambda: self.model_changed.emit(segmenter.model_id))
        if not is_first:
            self._deliver(self._segment_active_again)
        if self._queue.image is None:
            self._set_status("idle", "no image")

    def _adapt(self) -> None:
        segmenter, name = self._model.segmenter, self.settings.adapter
        assert segmenter is not None
        try:
            segmenter.adapter = name or None
            self._model.adapted_as = name
        except (ValueError, OSError, RuntimeError) as error:
            self._model.adapted_as = ""
            # Most often the adapter of another model: work goes on without it.
            message = str(error)
            segmenter.adapter = None
            self._revert("adapter", "")
            self._deliver(lambda: self.failed.emit(message))
        info = segmenter.adapter_info
        self._deliver(lambda: self.adapter_changed.emit(info))

    def _encode(self, task: EncodeTask) -> None:
        image, plane = task.image, task.plane

        def progress(done: int, total: int) -> None:
            if not task.ahead:  # as it is now: somebody may have come to wait for it
                self._set_status(
                    "encoding",
                    f"encoding {image.source.name}",
                    progress=done / total if total else None,
                    begins=not total,
                )

        cached = self._embeddings.provide(
            image, plane, progress=progress, cancel=task.stop.is_set
        )
        if self._queue.on_encoded(task):
            self._shown_cached = cached
            self._set_ready()
            self._deliver(lambda: self.encoded.emit(plane))

    def _step(self, task: JobStep) -> None:
        job = task.job
        context = Bench(self._model, self._embeddings, self._deliver, task.stop)
        try:
            more = job.step(context)
        except Exception as error:
            if task.stop.is_set():
                return  # it gave way: the step comes again
            self._queue.end_job(job)
            job.fail(context, error)
            return
        if not more:
            self._queue.end_job(job)

    # -- answers: found by the worker, written in the window's thread -------------

    def _answer(self, request: Request) -> None:
        segmenter = self._model.segmenter
        assert segmenter is not None
        embedding = self._embeddings.get(request.image, request.plane)
        if request.propose:
            proposal = answers.propose(segmenter, embedding, request)
            if proposal is None:
                self._notify(
                    "Auto-prompt found nothing on this plane: add a point yourself, or "
                    "choose another adapter."
                )
                return
            self._deliver(lambda: self._on_proposed(request, proposal))
            return
        if not answers.is_current(request):
            return
        result = segmenter.segment(
            embedding, request.prompts, ips=request.ips, local=request.local
        )
        answered = (
            self._on_drag_previewed if request.drag_preview else self._on_segmented
        )
        self._deliver(lambda: answered(request, result))
        if self._status.state == "error":
            self._set_ready()

    def _on_drag_previewed(self, request: Request, result: Any) -> None:
        if request.drag_preview != self._drag:
            return  # that drag has ended
        drag_preview = answers.drag_preview_of(request, result)
        if drag_preview is not None:
            self.drag_previewed.emit(drag_preview)

    def _on_segmented(self, request: Request, result: Any) -> None:
        if not self._queue.settle(request):
            return  # asked anew, or cancelled
        with self._own_edit():
            written = answers.write_mask(request, result)
        if written is not None:
            self.segmented.emit(written)

    def _on_proposed(self, request: Request, proposal: Proposal) -> None:
        with self._own_edit():
            written = answers.write_proposal(request, proposal)
        if written is None:
            return  # the object was removed meanwhile
        self.proposed.emit(written)
        document, object_id = written.document, written.object_id
        if document is self._document and not document.get(object_id).is_answered:
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

    def _set_ready(self) -> None:
        cached, device = self._shown_cached, self._model.device
        where = "CPU" if device == "cpu" else device
        message = f"ready on {where}" + (" · embedding cached" if cached else "")
        self._set_status("ready", message, cached=cached)

    def _set_status(
        self,
        state: State,
        message: str,
        *,
        cached: bool = False,
        progress: float | None = None,
        begins: bool = False,
    ) -> None:
        previous = self._status
        status = Status(
            state,
            message,
            self._model.device,
            cached,
            progress,
            time.monotonic() if begins or previous.state != state else previous.since,
        )
        self._status = status
        if status != previous:
            self._deliver(lambda: self.status_changed.emit(status))

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


def _indices(plane: Plane) -> Plane:
    return tuple(int(index) for index in plane)
