"""The thread that does the session's work, one task after the other.

`TaskQueue` says what is next; here is how each kind of task is done. What comes of it
is told to `Reports`, in the window's thread.
"""

from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from napari_promise.document import BBox, Plane, Tile
from napari_promise.prompts import Prompts
from napari_promise.proposing import ProposedObject
from napari_promise.remote.security import is_address
from napari_promise.segmentation import EmbeddingLike, Segmentation, SegmenterLike
from napari_promise.session import answers
from napari_promise.session.contracts import Loader
from napari_promise.session.embeddings import Embeddings
from napari_promise.session.model_in_use import ModelInUse, leaving_a_core, let_go
from napari_promise.session.queue import TaskQueue
from napari_promise.session.requests import Request
from napari_promise.session.results import State, Status
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

__all__ = ["Reports", "Worker"]

_log = logging.getLogger(__name__)

#: Seconds to wait for the thread when the session closes.
_CLOSE_TIMEOUT = 10.0


@dataclass(frozen=True)
class Reports:
    """Who is called, in the window's thread, with what the worker did.

    Attributes
    ----------
    status, failed, notified, model, adapter, encoded : callable
        The session's signals of these names: `Status`, a line, a line, the model's
        name, its `AdapterInfo` or None, the plane on display.
    reverted : callable
        Given a setting's name and the value that is really in use.
    adapted : callable
        Another model or adapter may answer otherwise what was answered already.
    segmented : callable
        Given a request, the `Segmentation` that answers it, and the prompts that the
        model was asked.
    drag_previewed : callable
        Given a request and the `Segmentation` that answers it.
    proposed : callable
        Given a request and the objects that were found; perhaps none.
    outdated : callable
        Given a request whose object was found to be another by now.
    handed_over : callable
        Given a request for auto-prompts of many objects, which somebody else answers.
    unanswered : callable
        Given requests that will not be answered, and why: one line.
    """

    status: Callable[[Status], None]
    failed: Callable[[str], None]
    notified: Callable[[str], None]
    model: Callable[[str], None]
    adapter: Callable[[object], None]
    encoded: Callable[[Plane], None]
    reverted: Callable[[str, str], None]
    adapted: Callable[[], None]
    segmented: Callable[[Request, Segmentation, Prompts], None]
    drag_previewed: Callable[[Request, Segmentation], None]
    proposed: Callable[[Request, tuple[ProposedObject, ...]], None]
    outdated: Callable[[Request], None]
    handed_over: Callable[[Request], None]
    unanswered: Callable[[list[Request], str], None]


class Worker:
    """Does what the queue hands out, in a thread of its own, until that is closed.

    Parameters
    ----------
    queue : TaskQueue
    model : ModelInUse
    embeddings : Embeddings
    settings : Settings
        Which model and adapter are to be loaded.
    loader : callable
        Loads a model.
    deliver : callable
        Has something called in the window's thread, without waiting for it.
    reports : Reports
        Called by way of `deliver`.
    """

    def __init__(
        self,
        queue: TaskQueue,
        model: ModelInUse,
        embeddings: Embeddings,
        settings: Settings,
        loader: Loader,
        deliver: Callable[[Callable[[], None]], None],
        reports: Reports,
    ) -> None:
        self._queue = queue
        self._model = model
        self._embeddings = embeddings
        self._settings = settings
        self._loader = loader
        self._deliver = deliver
        self._reports = reports
        self._shown_cached = False
        # What the latest answer was drawn from, where that was a part of the plane.
        self._seen: BBox | None = None
        self._status = Status()
        self._thread = threading.Thread(
            target=self._work, name="napari-promise worker", daemon=True
        )

    @property
    def status(self) -> Status:
        """What it is at."""
        return self._status

    def start(self) -> None:
        """Begin to work."""
        self._thread.start()

    def join(self) -> None:
        """Wait a while for the thread to end; the queue has to be closed before."""
        if threading.current_thread() is not self._thread:
            self._thread.join(_CLOSE_TIMEOUT)

    def set_status(
        self,
        state: State,
        message: str,
        *,
        cached: bool = False,
        progress: float | None = None,
    ) -> None:
        """Say what it is at; from any thread."""
        previous = self._status
        status = Status(state, message, self._model.device, cached, progress)
        self._status = status
        if status != previous:
            self._deliver(lambda: self._reports.status(status))

    # -- the thread ---------------------------------------------------------------

    def _work(self) -> None:
        while (task := self._queue.next_task()) is not None:
            try:
                with leaving_a_core():
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
        self._model.close()

    def _do(self, task: Task) -> None:
        match task:
            case LoadTask():
                self._load(task)
            case AdaptTask():
                self._adapt()
                self._deliver(self._reports.adapted)
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
        again, gone = self._queue.on_failed(task)
        if isinstance(task, EncodeTask) and task.ahead:
            if task.closer or stopped:
                self._set_ready()
            return  # it will be said when the plane is really wanted
        message = " ".join(str(error).split()) or type(error).__name__
        if not isinstance(error, ValueError | OSError | RuntimeError):
            message = f"{type(error).__name__}: {message}"
        if gone:
            self._deliver(lambda: self._reports.unanswered(gone, message))
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
                self.set_status("ready" if ready else "idle", "cancelled")
            return
        self.set_status("error", message)
        self._deliver(lambda: self._reports.failed(message))

    def _revert(self, name: str, value: str) -> None:
        """Let a setting say what is really in use."""
        self._deliver(lambda: self._reports.reverted(name, value))

    def _is_shown_encoded(self) -> bool:
        image = self._queue.image
        return image is not None and self._embeddings.has(image, self._queue.tile)

    # -- models and planes --------------------------------------------------------

    def _load(self, task: LoadTask) -> None:
        model, device = self._settings.model, self._settings.device
        is_first = self._model.segmenter is None
        self.set_status("loading", f"loading {Path(model).name}")

        def progress(done: int, total: int) -> None:
            known = f" {done / total:.0%}" if total else ""
            self.set_status(
                "downloading",
                f"downloading {model}{known}",
                progress=done / total if total else None,
            )

        def notify(message: str) -> None:
            self._deliver(lambda: self._reports.notified(message))

        options: dict[str, Any] = {}
        if is_address(device):
            options = {
                "certificate": self._settings.certificate,
                "plain": self._settings.plain,
                "waiting": lambda line: self.set_status("waiting", line),
            }
        if self._settings.encoder != "stock":
            options["mode"] = self._settings.encoder
        segmenter = self._loader(
            model,
            device=device,
            progress=progress,
            cancel=task.stop.is_set,
            notify=notify,
            **options,
        )
        if task.stop.is_set():
            raise RuntimeError("cancelled")
        let_go(self._model.segmenter)
        self._queue.use_model(segmenter, (model, device))
        self._embeddings.begin_anew()
        self._adapt()
        self._deliver(lambda: self._reports.model(segmenter.model_id))
        if not is_first:
            self._deliver(self._reports.adapted)
        if self._queue.image is None:
            self.set_status("idle", "no image")

    def _adapt(self) -> None:
        model, name = self._model, self._settings.adapter
        assert model.segmenter is not None
        try:
            model.segmenter = model.segmenter.with_adapter(name or None)
            model.adapted_as = name
        except (ValueError, OSError, RuntimeError) as error:
            # Most often the adapter of another model: work goes on without it.
            model.segmenter = model.segmenter.with_adapter(None)
            model.adapted_as = ""
            message = str(error)
            self._revert("adapter", "")
            self._deliver(lambda: self._reports.failed(message))
        if hasattr(model.segmenter, "decoder"):
            model.segmenter.decoder = self._settings.decoder
        info = model.segmenter.adapter_info
        self._deliver(lambda: self._reports.adapter(info))

    def _encode(self, task: EncodeTask) -> None:
        image, tile = task.image, task.tile

        def progress(done: int, total: int) -> None:
            if not task.ahead:  # as it is now: somebody may have come to wait for it
                self.set_status(
                    "encoding",
                    f"encoding {image.source.name}",
                    progress=done / total if total else None,
                )

        if task.closer:
            self.set_status("ready", f"{self._where()} · looking closer …")
        cached = self._embeddings.provide(
            image, tile, progress=progress, cancel=task.stop.is_set
        )
        if self._queue.on_encoded(task):
            self._shown_cached, self._seen = cached, None
            self._set_ready()
            self._deliver(lambda: self._reports.encoded(tile.plane))

    def _where(self) -> str:
        model = self._model
        where = f"ready on {'CPU' if model.device == 'cpu' else model.device}"
        if model.encodes_on:
            where += f" · encodes on {model.encodes_on.partition('://')[2]}"
        if model.encoder_mode != "stock":
            where += f" · {model.encoder_mode} encoder"
        return where

    def _set_ready(self) -> None:
        cached, message = self._shown_cached, self._where()
        if self._seen is not None:
            r0, c0, r1, c1 = self._seen
            message += f" · SAM sees {r1 - r0:,} × {c1 - c0:,} pixels around the object"
        elif cached:
            message += " · embedding cached"
        self.set_status("ready", message, cached=cached)

    # -- requests and jobs --------------------------------------------------------

    def _answer(self, request: Request) -> None:
        segmenter, reports = self._model.segmenter, self._reports
        assert segmenter is not None
        embedding = self._embeddings.get(request.image, request.tile)
        whole = (
            request.tile.bbox is None
        )  # else only what is on the screen is looked at
        if whole and request.hand_over and getattr(segmenter, "finds_many", False):
            self._deliver(lambda: reports.handed_over(request))
            return
        if request.propose:
            found = answers.propose(segmenter, embedding, request)
            self._deliver(lambda: reports.proposed(request, found))
            if not found:
                nothing = (
                    "Auto-prompt found nothing on this plane: add a point yourself, or "
                    "choose another adapter."
                    if request.tile.bbox is None
                    else "Auto-prompt found nothing new in the part on the screen."
                )
                self._deliver(lambda: reports.notified(nothing))
            return
        if not answers.is_current(request):
            # Perhaps it is so again, by redo: only the window's thread can tell.
            self._deliver(lambda: reports.outdated(request))
            return
        result, asked = answers.answer(segmenter, embedding, request)
        if request.drag_preview:
            self._deliver(lambda: reports.drag_previewed(request, result))
        else:
            self._deliver(lambda: reports.segmented(request, result, asked))
        other, self._seen = self._seen != request.tile.bbox, request.tile.bbox
        if other or request.rounds or self._status.state == "error":
            self._set_ready()

    def _step(self, task: JobStep) -> None:
        job = task.job
        context = _StepContext(
            self._model, self._embeddings, self._deliver, task.stop.is_set
        )
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


class _StepContext:
    """What a step of a job may use, see `JobContext`."""

    def __init__(
        self,
        model: ModelInUse,
        embeddings: Embeddings,
        deliver: Callable[[Callable[[], None]], None],
        stopped: Callable[[], bool],
    ) -> None:
        self._model = model
        self._embeddings = embeddings
        self._deliver = deliver
        self._stopped = stopped

    @property
    def segmenter(self) -> SegmenterLike:
        """See `JobContext`."""
        segmenter = self._model.segmenter
        assert segmenter is not None
        return segmenter

    def embedding(self, source: ImageSource, tile: Tile) -> tuple[EmbeddingLike, str]:
        """See `JobContext`."""
        found, digest, _cached = self._embeddings.embed(
            source, tile, cancel=self._stopped
        )
        return found, digest

    def feed(self, views: Iterator[tuple[ImageSource, Tile]]) -> None:
        """See `JobContext`."""
        self._embeddings.feed(views)

    def must_give_way(self) -> bool:
        """See `JobContext`."""
        return self._stopped()

    def deliver(self, call: Callable[[], None]) -> None:
        """See `JobContext`."""
        self._deliver(call)
