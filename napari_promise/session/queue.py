"""What is wanted of the worker, and what is the most urgent of it.

All that the threads share is in here, under one lock.
"""

from __future__ import annotations

import itertools
import threading
from collections import deque
from collections.abc import Callable

from napari_promise.closer import asked_plainly
from napari_promise.document import BBox, Document, ObjectRecord, Plane, Tile
from napari_promise.prompts import Prompts
from napari_promise.segmentation import Segmentation, SegmenterLike
from napari_promise.session import looking
from napari_promise.session.contracts import Job
from napari_promise.session.embeddings import Embeddings
from napari_promise.session.model_in_use import ModelInUse
from napari_promise.session.requests import Request, Requests
from napari_promise.session.settings import Settings
from napari_promise.session.sources import ImageInWork, ImageSource, Place
from napari_promise.session.tasks import (
    AdaptTask,
    AnswerTask,
    Callback,
    EncodeTask,
    JobStep,
    LoadTask,
    Task,
)

__all__ = ["TaskQueue"]

#: Settings that the model is loaded again for.
_OF_LOADING = ("model", "device", "encoder")


class TaskQueue:
    """Takes wishes from any thread, and hands the worker one task after the other.

    A method holds the lock for as long as it runs, and never calls anything slow or
    anything that may take this lock: no listener, no model, no disk. Those under "the
    worker" are for the worker's thread only.

    Parameters
    ----------
    settings : Settings
        Which model and adapter are wanted, and how requests are to be answered.
    model : ModelInUse
        Looked at to see what is needed; written by `use_model`.
    embeddings : Embeddings
        Asked what is encoded, and what is left to save.
    """

    def __init__(
        self, settings: Settings, model: ModelInUse, embeddings: Embeddings
    ) -> None:
        self._settings = settings
        self._model = model
        self._embeddings = embeddings
        self._tokens = itertools.count(1)

        # Shared by the threads, under `_wake`.
        self._wake = threading.Condition()
        self._image: ImageInWork | None = None
        self._tile = Tile()
        self._view: BBox | None = None
        self._direction = 1
        self._requests = Requests()
        self._load_wanted = False
        self._adapter_wanted = False
        self._encode_wanted = False
        self._ahead_done: set[Place] = set()
        self._first_callback: Callable[[], None] | None = None
        self._callbacks: deque[Callable[[], None]] = deque()
        self._jobs: list[Job] = []
        # The job that somebody looks on at; the tile shown when it last had its turn.
        self._watched: Job | None = None
        self._rested: Tile | None = None
        self._jobs_ended: list[Job] = []
        self._task: Task | None = None
        self._closing = False

    # -- what there is ------------------------------------------------------------

    @property
    def image(self) -> ImageInWork | None:
        """The image worked on."""
        return self._image

    @property
    def tile(self) -> Tile:
        """What is encoded of the plane on display: all of it."""
        return self._tile

    @property
    def is_awaited(self) -> bool:
        """Whether a request or the plane on display waits, or the session closes."""
        with self._wake:
            return (
                self._closing or self._encode_wanted or bool(self._requests.waiting())
            )

    def waiting(self) -> list[Request]:
        """Return the requests that wait, the most urgent first."""
        with self._wake:
            return self._requests.waiting()

    # -- wishes: images and planes ------------------------------------------------

    def set_image(
        self, source: ImageSource | None, document: Document, plane: Plane
    ) -> None:
        """Work on an image, or on none, and have its plane encoded."""
        with self._wake:
            previous, image = self._image, None
            if source is not None:
                image = ImageInWork(source, document, next(self._tokens))
                self._need_model()
                if previous is not None and previous.document is document:
                    self._requests.move(previous, image)
            self._image = image
            if previous is None or previous.document is not document:
                self._view = None
            self._tile = Tile(plane)
            self._direction = 1
            self._encode_wanted = image is not None
            self._stop_for_others()
            self._wake.notify()

    def show_plane(self, plane: Plane) -> None:
        """Have the plane encoded that is on display now."""
        with self._wake:
            before = self._tile.plane
            if plane and before and plane[-1] != before[-1]:
                self._direction = 1 if plane[-1] > before[-1] else -1
            self._tile = Tile(plane)
            self._encode_wanted = self._image is not None
            self._stop_for_others()
            self._wake.notify()

    def show_view(self, view: BBox | None) -> None:
        """Have what is on the screen encoded when nobody waits for anything.

        Parameters
        ----------
        view : BBox or None
            The part of the plane on display; None where that is not known.
        """
        with self._wake:
            self._view = view
            task = self._task
            if isinstance(task, EncodeTask) and task.ahead and not task.closer:
                if task.tile.bbox is not None and task.tile != self._view_tile():
                    task.stop.set()
            self._wake.notify()

    # -- wishes: requests ---------------------------------------------------------

    def ask(self, document: Document, record: ObjectRecord, *, again: bool) -> None:
        """Ask for the mask that answers an object's prompts.

        Parameters
        ----------
        document : Document
            Of the object; nothing is asked where the open image has another.
        record : ObjectRecord
        again : bool
            Even where the prompts have a mask, or are being answered.
        """
        with self._wake:
            image = self._image
            if image is None or image.document is not document:
                return
            if not record.prompts.has_target or (record.is_answered and not again):
                self._requests.withdraw(document, record.id)
                return
            prompts = record.prompts
            if again and record.coarse is None:
                prompts = asked_plainly(prompts, record.tile)
            looks = self._looks_closer() and not record.pinned and not again
            view = self._view if record.plane == self._tile.plane else None
            tile = Tile(record.plane, record.tile if record.pinned or again else None)
            if looks:
                encoded = self._embeddings.tiles_of(image, record.plane)
                tile = looking.tile_of_record(record, prompts, image, view, encoded)
            request = Request(
                image,
                tile,
                record.id,
                record.revision,
                prompts,
                self._settings.ips,
                self._settings.local,
                again,
                view=view,
                may_look=looks,
            )
            if not again and self._requests.has_like(request):
                return
            self._requests.add(request)
            self._need_model()
            self._stop_for_others()
            self._wake.notify()

    def ask_drag_preview(
        self, document: Document, record: ObjectRecord, prompts: Prompts, drag: int
    ) -> None:
        """Ask what the mask would be with other prompts, if the plane is encoded.

        Parameters
        ----------
        document : Document
            See `ask`.
        record : ObjectRecord
        prompts : Prompts
            What is to be sent.
        drag : int
            The drag it belongs to, not 0.
        """
        with self._wake:
            image = self._image
            if image is None or image.document is not document:
                return
            tile = Tile(record.plane)
            if self._looks_closer():
                encoded = self._embeddings.tiles_of(image, record.plane)
                tile = looking.tile_of_record(record, prompts, image, None, encoded)
            if not prompts.has_target or not self._embeddings.has(image, tile):
                return
            self._requests.drag_preview = Request(
                image,
                tile,
                record.id,
                record.revision,
                prompts,
                self._settings.ips,
                self._settings.local,
                again=True,
                drag_preview=drag,
            )
            self._stop_for_others()
            self._wake.notify()

    def end_drag_previews(self) -> None:
        """Forget the drag preview that waits."""
        with self._wake:
            self._requests.drag_preview = None

    def ask_proposal(
        self,
        image: ImageInWork,
        plane: Plane,
        record: ObjectRecord | None,
        *,
        hand_over: bool = False,
    ) -> None:
        """Ask for auto-prompts and their masks.

        Of an adapter that finds many objects for what is on the screen, at its scale;
        the others were trained on whole images.

        Parameters
        ----------
        image : ImageInWork
        plane : Plane
        record : ObjectRecord or None
            The object that gets them, which lies on the plane; None for a fresh one.
        hand_over : bool
            See `Request`.
        """
        with self._wake:
            many = getattr(self._model.segmenter, "finds_many", False)
            shown = image is self._image and plane == self._tile.plane
            tile = self._view_tile() if many and shown else Tile(plane)
            request = Request(
                image,
                tile,
                None if record is None else record.id,
                0 if record is None else record.revision,
                Prompts(),
                self._settings.ips,
                self._settings.local,
                propose=True,
                hand_over=hand_over,
            )
            self._requests.propose(request)
            self._need_model()
            self._stop_for_others()
            self._wake.notify()

    def look_closer(self, request: Request, mask: Segmentation) -> bool:
        """Judge an answer, and ask for a better one where there is one to be had.

        Parameters
        ----------
        request : Request
            What was answered, and still is what is wanted.
        mask : Segmentation
            The answer.

        Returns
        -------
        bool
            Whether the answer is to be shown.
        """
        with self._wake:
            verdict = looking.judge(request, mask.region)
            if verdict.again and self._looks_closer():
                closer = looking.closer_request(request, mask, verdict)
                self._requests.look_closer(closer)
                self._stop_for_others()
                self._wake.notify()
            return verdict.show

    def withdraw(self, document: Document, object_id: int) -> None:
        """Forget what waits for an object."""
        with self._wake:
            self._requests.withdraw(document, object_id)

    def settle(self, request: Request) -> bool:
        """Whether an answer counts: not where it was asked anew, or cancelled."""
        with self._wake:
            return self._requests.settle(request)

    def end(self, request: Request) -> None:
        """Take note that what came of a request is dealt with."""
        with self._wake:
            self._requests.end(request)

    # -- wishes: the rest ---------------------------------------------------------

    def on_setting(self, name: str) -> None:
        """Have the model or the adapter changed, if it is another that is set now."""
        wanted, model = self._settings, self._model
        with self._wake:
            if name in _OF_LOADING:
                other = (wanted.model, wanted.device) != model.loaded_as
                other = other or name == "encoder"
                needed = model.segmenter is not None or self._image is not None
                self._load_wanted = other and needed
            elif name in ("adapter", "decoder"):
                other = wanted.adapter != model.adapted_as or name == "decoder"
                self._adapter_wanted = other and model.segmenter is not None
            self._stop_for_others(replaced=name)
            self._wake.notify()

    def reload_adapter(self) -> None:
        """Have the adapter set again, though it is the same."""
        with self._wake:
            self._adapter_wanted = self._model.segmenter is not None
            self._wake.notify()

    def call_when_idle(self, call: Callable[[], None]) -> None:
        """Have something small done when no request waits, in the order of asking."""
        with self._wake:
            self._callbacks.append(call)
            self._wake.notify()

    def do_next(self, call: Callable[[], None]) -> None:
        """Have something small done before all else, and even if the session closes.

        It replaces what was to be done so and has not begun.
        """
        with self._wake:
            self._first_callback = call
            self._wake.notify()

    def start_job(
        self, job: Job, *, first: bool = False, watched: bool = False
    ) -> None:
        """Have a long job done step by step, before or after those there are.

        One that is `watched` works on the planes that are scrolled through, and would
        stand still if each of them came first: only planes that one stays on do, and
        only clicks interrupt a step.
        """
        with self._wake:
            if watched:
                self._watched = job
            self._jobs.insert(0 if first else len(self._jobs), job)
            self._need_model()
            self._wake.notify()

    def end_job(self, job: Job) -> None:
        """Take no further step of a job, if it is under way; have it closed."""
        with self._wake:
            if job is self._watched:
                self._watched = None
            if job in self._jobs:
                self._jobs.remove(job)
                self._jobs_ended.append(job)
                self._wake.notify()

    def cancel(self) -> list[Request]:
        """Forget what waits, which is returned, and stop what is under way."""
        with self._wake:
            gone = self._requests.clear()
            self._encode_wanted = self._load_wanted = False
            if self._task is not None and not isinstance(self._task, Callback):
                self._task.stop.set()
            self._wake.notify()
            return gone

    def close(self) -> None:
        """Stop what is under way, and let the worker end."""
        with self._wake:
            self._closing = True
            if self._task is not None:
                self._task.stop.set()
            self._wake.notify()

    # -- the worker ---------------------------------------------------------------

    def next_task(self) -> Task | None:
        """Take the most urgent task, waiting for one; None when the session closes."""
        with self._wake:
            task = self._choose()
            while task is None and not self._closing:
                self._wake.wait()
                task = self._choose()
            self._task = task
            return task

    def finish(self) -> None:
        """Say that the task is over, however it ended."""
        with self._wake:
            self._task = None

    def use_model(self, segmenter: SegmenterLike, loaded_as: tuple[str, str]) -> None:
        """Put a model to use; the plane on display needs its embedding."""
        with self._wake:
            self._model.segmenter = segmenter
            self._model.loaded_as = loaded_as
            self._encode_wanted = self._image is not None

    def on_encoded(self, task: EncodeTask) -> bool:
        """Take note that a tile is encoded; whether it is on display."""
        with self._wake:
            self._ahead_done.add(task.image.place(task.tile))
            shown = self._shows(task)
            if shown:
                self._encode_wanted = False
            return shown

    def on_failed(self, task: Task) -> tuple[bool, list[Request]]:
        """Forget what cannot be done.

        What was stopped is not forgotten: it may be wanted again.

        Returns
        -------
        again : bool
            Whether another model or adapter is set by now.
        unanswered : list of Request
            What will not be answered.
        """
        stopped = task.stop.is_set()
        gone: list[Request] = []
        with self._wake:
            self._task = None  # a model that failed is no longer on its way
            self._requests.drag_preview = None
            if isinstance(task, LoadTask) and not self._load_wanted:
                # Without a model nobody can be answered.
                if self._model.segmenter is None:
                    gone = self._requests.clear()
            elif isinstance(task, AnswerTask):
                if task.request.rounds:
                    self._requests.settle(task.request)  # what is shown stays
                elif not task.request.drag_preview:
                    gone = [task.request]
            elif isinstance(task, EncodeTask) and not stopped:
                if task.ahead:
                    self._ahead_done.add(task.image.place(task.tile))
                    self._requests.withdraw_closer(task.image, task.tile)
                else:
                    gone = self._requests.withdraw_tile(task.image, task.tile)
                    if self._shows(task):
                        self._encode_wanted = False
            return self._load_wanted or self._adapter_wanted, gone

    def leave(self) -> list[Job]:
        """Return the jobs that are to be closed when the worker ends."""
        with self._wake:
            return [*self._jobs, *self._jobs_ended]

    # -- helpers, all of them holding `_wake` -------------------------------------

    def _choose(self) -> Task | None:
        """Choose what to do next."""
        if self._first_callback is not None:
            call, self._first_callback = self._first_callback, None
            return Callback(call)
        if self._closing:
            return None
        if self._load_wanted:
            self._load_wanted = self._adapter_wanted = False
            return LoadTask()
        has_model, image = self._model.segmenter is not None, self._image
        if has_model:
            if self._adapter_wanted:
                self._adapter_wanted = False
                return AdaptTask()
            for request in self._requests.waiting():
                if not self._embeddings.has(request.image, request.tile):
                    return EncodeTask(request.image, request.tile)
                self._requests.take(request)
                return AnswerTask(request)
            passing = self._watched is not None and self._tile != self._rested
            if image is not None and self._encode_wanted and not passing:
                return EncodeTask(image, self._tile)
            for request in self._requests.closer():
                if not self._embeddings.has(request.image, request.tile):
                    return EncodeTask(
                        request.image, request.tile, ahead=True, closer=True
                    )
                self._requests.take(request)
                return AnswerTask(request)
        if self._callbacks:
            return Callback(self._callbacks.popleft())
        if self._jobs_ended:
            return Callback(self._jobs_ended.pop(0).close)
        if not has_model:
            return None
        if not self._embeddings.are_saved:
            return Callback(self._embeddings.save_next)
        if self._watched is not None:
            self._rested = self._tile
            return JobStep(self._watched)
        if image is not None and self._embeddings.has(image, self._tile):
            shown = self._view_tile()
            if not self._embeddings.has(image, shown):
                if image.place(shown) not in self._ahead_done:
                    return EncodeTask(image, shown, ahead=True)
            for tile in image.tiles_near(self._tile, self._direction):
                if image.place(tile) not in self._ahead_done:
                    return EncodeTask(image, tile, ahead=True)
        if self._jobs:
            return JobStep(self._jobs[0])
        return None

    def _need_model(self) -> None:
        """See to it that a model is there or on its way."""
        task = self._task
        on_its_way = isinstance(task, LoadTask) and not task.stop.is_set()
        if self._model.segmenter is None and not on_its_way:
            self._load_wanted = True

    def _stop_for_others(self, replaced: str = "") -> None:
        """Stop the task if nobody waits for it any more, or somebody for another."""
        task = self._task
        if isinstance(task, LoadTask):
            if replaced in _OF_LOADING:
                task.stop.set()
        elif isinstance(task, JobStep):
            passing = self._encode_wanted and task.job is not self._watched
            if self._requests.waiting() or passing or self._requests.closer():
                task.stop.set()
        elif isinstance(task, EncodeTask) and self._load_wanted:
            # What another model is to encode; it may be waiting for a lost connection.
            task.stop.set()
        elif isinstance(task, EncodeTask):
            awaited = {(r.image, r.tile) for r in self._requests.waiting()}
            if not awaited and self._watched is not None:
                return
            if self._encode_wanted and self._image is not None:
                awaited.add((self._image, self._tile))
            if (task.image, task.tile) in awaited:
                if not task.stop.is_set():
                    task.ahead = False
            elif awaited or not task.ahead or self._is_passed_over(task):
                task.stop.set()

    def _is_passed_over(self, task: EncodeTask) -> bool:
        """Whether closer looks wait, and for other tiles."""
        closer = self._requests.closer()
        return bool(closer) and all(
            (r.image, r.tile) != (task.image, task.tile) for r in closer
        )

    def _looks_closer(self) -> bool:
        """Whether objects are looked at in parts of the plane, and the model can."""
        sees = getattr(self._model.segmenter, "sees", 0)
        return self._settings.closer and sees > 0

    def _view_tile(self) -> Tile:
        """Return the tile of what is on the screen."""
        if self._image is None or self._view is None or not self._looks_closer():
            return self._tile
        return looking.tile_of_view(self._image, self._tile, self._view)

    def _shows(self, task: EncodeTask) -> bool:
        """Whether the tile of a task is the one on display."""
        return task.image is self._image and task.tile == self._tile
