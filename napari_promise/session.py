"""The session: what the user set, the image worked on, and one worker that computes.

Knows no window: wishes come in as method calls, facts go out as signals. Whoever
calls never waits for the model, for pixels or for a disk; torch itself is imported
by the worker only.

How a click is answered:

1. The document's prompts change. Where `Settings.live` is on the session notices,
   else somebody calls `Session.segment`. A request holds the object, its plane, its
   revision and its prompts; a newer request of the same object replaces it.
2. The worker takes the most urgent task: load a model, set an adapter, answer a
   request, encode the plane on display, put embeddings on disk, encode the planes
   ahead, take a step of a long job (`Job`: training, a whole folder). A request whose
   plane has no embedding yet waits until it is encoded.
3. The answer is handed to `dispatch`, which brings it to the window's thread. There
   the document drops it if the object has changed meanwhile, whatever plane or
   image is on display by then.
"""

from __future__ import annotations

import dataclasses
import itertools
import logging
import os
import threading
import time
from collections import OrderedDict, deque
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Literal, Protocol, get_args, get_type_hints

import numpy as np
from numpy.typing import NDArray
from psygnal import Signal, SignalGroupDescriptor

from napari_promise import preferences
from napari_promise.data.embeddings import EmbeddingCache, Key, default_folder
from napari_promise.document import (
    Document,
    LabelPatch,
    ObjectRecord,
    Overlap,
    Plane,
    Region,
    Source,
    feedback,
)
from napari_promise.prompts import Prompts

__all__ = [
    "ArraySource",
    "Glimpse",
    "ImageSource",
    "Job",
    "ProposeResult",
    "SegmentResult",
    "Session",
    "Settings",
    "Status",
    "Workbench",
]

_log = logging.getLogger(__name__)

State = Literal["idle", "loading", "downloading", "encoding", "ready", "error"]

#: Embeddings kept as tensors; others come back from the cache in milliseconds.
_TENSORS_KEPT = 8
#: How many planes ahead are encoded while nobody waits for anything.
_PLANES_AHEAD = 2
#: Seconds to wait for the worker when the session closes.
_CLOSE_TIMEOUT = 10.0
_MEGABYTE = 2**20


# What travels ------------------------------------------------------------------------


class ImageSource(Protocol):
    """Where the pixels of an image come from: a snapshot, read by the worker."""

    @property
    def name(self) -> str:
        """What the image is called in messages."""

    @property
    def rgb(self) -> bool:
        """Whether the last axis of `plane_pixels` holds colours."""

    @property
    def contrast_limits(self) -> tuple[float, float] | None:
        """The values shown black and white; None for the pixels as they are."""

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., rows, columns), without the colours."""

    def plane_pixels(self, plane: Plane) -> Any:
        """Return one plane, (H, W) or (H, W, 3 or 4). Called by the worker."""


@dataclass(frozen=True, eq=False)
class ArraySource:
    """An array as a source of planes.

    Attributes
    ----------
    array : array-like, (..., H, W) or (..., H, W, 3 or 4)
    rgb : bool
        Whether the last axis holds colours.
    name : str
    contrast_limits : (float, float) or None
    """

    array: Any
    rgb: bool = False
    name: str = "image"
    contrast_limits: tuple[float, float] | None = None

    @property
    def shape(self) -> tuple[int, ...]:
        """(..., rows, columns), without the colours."""
        shape = tuple(int(n) for n in self.array.shape)
        return shape[:-1] if self.rgb else shape

    def plane_pixels(self, plane: Plane) -> Any:
        """Return one plane."""
        return self.array[tuple(plane)] if plane else self.array


@dataclass(frozen=True)
class Status:
    """What the worker is at.

    Attributes
    ----------
    state : str
        "idle" (no image), "loading" (a model), "downloading", "encoding", "ready",
        "error".
    message : str
        One line for people.
    device : str
        Where the model computes; empty before there is one.
    cached : bool
        Whether the plane on display was encoded before.
    progress : float or None
        In [0, 1] where it is known.
    since : float
        `time.monotonic` when this state began.
    """

    state: State = "idle"
    message: str = ""
    device: str = ""
    cached: bool = False
    progress: float | None = None
    since: float = field(default=0.0, compare=False)

    @property
    def elapsed(self) -> float:
        """Seconds since the state began."""
        return time.monotonic() - self.since

    @property
    def can_cancel(self) -> bool:
        """Whether `Session.cancel` would stop something."""
        return self.state in ("loading", "downloading", "encoding")


@dataclass(frozen=True, eq=False)
class SegmentResult:
    """A mask that was written into the document.

    Attributes
    ----------
    document : Document
    object_id : int
    plane : Plane
        The plane of the request, not the one on display.
    seconds : float
        From the request to the mask.
    """

    document: Document
    object_id: int
    plane: Plane
    seconds: float


@dataclass(frozen=True, eq=False)
class Glimpse:
    """The mask that an object would get with other prompts; the document has it not.

    Attributes
    ----------
    document : Document
    object_id : int
    revision : int
        What the object was when this was asked; it still is.
    plane : Plane
    region : Region or None
        None for an empty mask.
    """

    document: Document
    object_id: int
    revision: int
    plane: Plane
    region: Region | None


@dataclass(frozen=True, eq=False)
class ProposeResult:
    """Prompts of an auto-prompting module that were written into the document.

    Attributes
    ----------
    document : Document
    object_id : int
    plane : Plane
    prompts : Prompts
    """

    document: Document
    object_id: int
    plane: Plane
    prompts: Prompts


@dataclass
class Settings:
    """What the user sets. Evented: assign, and everybody concerned hears of it.

    Attributes
    ----------
    model : str
        A registered model's name or a checkpoint's path.
    device : str
        "auto", "cpu", "cuda" or "mps".
    adapter : str
        An adapter's name or folder; empty for stock SAM.
    ips : bool
        Whether the adapter's pattern shifting is used.
    local : bool
        Whether, with an adapter, added points change the mask only where they point.
    live : bool
        Whether an edit of prompts is answered at once.
    overlap : {"keep", "overwrite"}
        What a commit does with pixels of earlier objects.
    disk_cache : bool
        Whether embeddings are kept on disk.
    cache_quota_mb : int
        How much disk they may use.
    """

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    model: str = "promise-tiny"
    device: str = "auto"
    adapter: str = ""
    ips: bool = True
    local: bool = True
    live: bool = True
    overlap: Overlap = "keep"
    disk_cache: bool = True
    cache_quota_mb: int = 4096

    @classmethod
    def from_preferences(cls, values: Mapping[str, Any]) -> Settings:
        """Return settings from what a file held; what does not fit is left out."""
        settings = cls()
        hints = get_type_hints(cls)
        for known in dataclasses.fields(cls):
            value = values.get(known.name)
            allowed = get_args(hints[known.name])
            fits = value in allowed if allowed else type(value) is hints[known.name]
            if fits:
                setattr(settings, known.name, value)
        return settings

    def to_preferences(self) -> dict[str, Any]:
        """Return what is to be kept in a file."""
        return {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}


class EmbeddingLike(Protocol):
    """An encoded image, as far as the session is concerned."""

    def to_arrays(self) -> dict[str, NDArray[Any]]:
        """Return it as arrays for the cache."""


class SegmenterLike(Protocol):
    """What the session asks of a `Segmenter`."""

    adapter: Any

    @property
    def model_id(self) -> str:
        """The model's name."""

    @property
    def sha256(self) -> str:
        """The hash of the model's file."""

    @property
    def device(self) -> Any:
        """Where it computes."""

    @property
    def adapter_info(self) -> Any:
        """What is known of the adapter; None without one."""

    def encode(
        self,
        image: Any,
        *,
        progress: Callable[[int, int], None] | None = None,
        cancel: Callable[[], bool] | None = None,
    ) -> Any:
        """Encode an image."""

    def restore(self, arrays: Mapping[str, NDArray[Any]]) -> Any:
        """Return the embedding that was taken apart into arrays."""

    def segment(
        self,
        emb: Any,
        prompts: Prompts,
        *,
        ips: bool = True,
        multimask: bool | None = None,
        local: bool = True,
    ) -> Any:
        """Return the mask that answers the prompts."""

    def propose(self, emb: Any) -> Prompts:
        """Return the prompts of the auto-prompting module."""


#: Loads a model: (name or path, device=, progress=, cancel=, notify=).
Loader = Callable[..., SegmenterLike]


def _load_segmenter(model: str, **options: Any) -> SegmenterLike:
    """Load a model; imports torch, so the worker calls it."""
    import torch

    from napari_promise.segmenter import Segmenter

    # One core stays with the window: torch's threads wait for each other by spinning,
    # and while the canvas is drawn on their core a click takes several times as long.
    torch.set_num_threads(max(1, (os.cpu_count() or 1) - 1))

    return Segmenter.load(model, None, **options)


class Workbench(Protocol):
    """What a step of a long job may use; for the worker's thread only."""

    @property
    def segmenter(self) -> SegmenterLike:
        """The model in use, with the adapter in use."""

    def embedding(self, source: ImageSource, plane: Plane) -> tuple[Any, str]:
        """Return the embedding of a plane of any image, and the digest of its pixels.

        From memory, from disk, or computed and kept; given up, with an exception, when
        somebody waits (see `must_give_way`): the step is then taken again later.
        """

    def must_give_way(self) -> bool:
        """Whether somebody waits for an answer: stop soon, the step comes again."""

    def deliver(self, call: Callable[[], None]) -> None:
        """Have something called in the window's thread, without waiting for it."""


class Job(Protocol):
    """Long work that is done in steps, whenever nobody waits for anything else.

    The shorter a step, the less a click can be held up by it.
    """

    def step(self, bench: Workbench) -> bool:
        """Do a little more, on the worker; False when nothing is left to do."""

    def fail(self, bench: Workbench, error: Exception) -> None:
        """End with an error: a step raised it, and nobody had asked it to give way."""

    def close(self) -> None:
        """Let go, on the worker: the job is done, cancelled, or the session ends."""


@dataclass(frozen=True, eq=False)
class _Image:
    """An image as it looked when it was set; other contrast makes another one."""

    source: ImageSource
    document: Document
    token: int

    def planes_near(self, plane: Plane, direction: int) -> list[Plane]:
        """Return the planes that are likely to be shown next, likeliest first."""
        if not plane:
            return []
        count = self.source.shape[len(plane) - 1]
        steps = [direction * n for n in range(1, _PLANES_AHEAD + 1)]
        ahead = [(*plane[:-1], plane[-1] + step) for step in steps]
        return [near for near in ahead if 0 <= near[-1] < count]


@dataclass(frozen=True, eq=False)
class _Request:
    """A wish for a mask, for prompts with their mask (`propose`), or for a glimpse."""

    image: _Image
    plane: Plane
    object_id: int | None
    revision: int
    prompts: Prompts
    ips: bool
    local: bool
    again: bool = False
    propose: bool = False
    glimpse: int = 0  # the drag it belongs to
    asked: float = field(default_factory=time.monotonic)


@dataclass(eq=False)
class _Task:
    """Something the worker does; may be told to stop."""

    kind: Literal["load", "adapter", "answer", "encode", "ahead", "chore", "job"]
    run: Callable[[_Task], None]
    image: _Image | None = None
    plane: Plane = ()
    stop: threading.Event = field(default_factory=threading.Event)


# The session -------------------------------------------------------------------------


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
    glimpsed : Signal(Glimpse)
        What a mask would be; see `glimpse`.
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
    glimpsed = Signal(Glimpse)
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
        loader: Loader = _load_segmenter,
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
        self.encode_seconds: float | None = None
        self.embedding_bytes: int | None = None
        self._drag = 1
        self._direction = 1
        self._tokens = itertools.count(1)
        self._applying = threading.local()

        # Shared with the worker, under `_wake`.
        self._wake = threading.Condition()
        self._image: _Image | None = None
        self._plane: Plane = ()
        self._requests: OrderedDict[tuple[int, int], _Request] = OrderedDict()
        self._in_work: _Request | None = None
        self._latest: dict[tuple[int, int], _Request] = {}
        self._proposal: _Request | None = None
        self._glimpse: _Request | None = None
        self._load_wanted = False
        self._adapter_wanted = False
        self._encode_wanted = False
        self._ahead_done: set[tuple[int, Plane]] = set()
        self._chores: deque[Callable[[], None]] = deque()
        self._jobs: list[Job] = []
        self._jobs_ended: list[Job] = []
        self._preferences_unsaved = False
        self._task: _Task | None = None
        self._closing = False

        # The worker's own; the window's thread only reads single values.
        self._segmenter: SegmenterLike | None = None
        self._loaded_as: tuple[str, str] | None = None
        self._adapted_as = ""
        self._shown_cached = False
        self._digests: dict[tuple[int, Plane], str] = {}
        self._embeddings: OrderedDict[Key, EmbeddingLike] = OrderedDict()
        self._unsaved: OrderedDict[Key, tuple[EmbeddingLike, dict[str, Any]]]
        self._unsaved = OrderedDict()
        self._cache = cache or EmbeddingCache(
            default_folder() if settings.disk_cache else None,
            disk_bytes=settings.cache_quota_mb * _MEGABYTE,
            on_warning=self._notify,
        )
        self._cache_folder = self._cache.folder or default_folder()

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
        return self._plane

    @property
    def has_image(self) -> bool:
        """Whether there is an image to work on."""
        return self._image is not None

    @property
    def model_id(self) -> str:
        """The name of the model that is loaded; empty before there is one."""
        segmenter = self._segmenter
        return "" if segmenter is None else segmenter.model_id

    @property
    def adapter_info(self) -> Any:
        """What is known of the adapter in use; None without one."""
        segmenter = self._segmenter
        return None if segmenter is None else segmenter.adapter_info

    def provenance(self) -> dict[str, Any]:
        """Say what makes the results: model, adapter, settings, image, versions.

        Returns
        -------
        dict
            See `export.provenance`.
        """
        from napari_promise.data.export import provenance

        segmenter, image = self._segmenter, self._image
        described = None
        if image is not None:
            described = {
                "name": image.source.name,
                "digest": self._digests.get((image.token, self._plane)),
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
        with self._wake:
            previous, self._image = self._image, None
            if source is not None:
                self._image = _Image(source, document, next(self._tokens))
            self._plane = tuple(int(index) for index in plane)
            self._direction = 1
            self._encode_wanted = source is not None
            if source is not None:
                self._want_model()
            if previous is not None:
                self._forget(previous)
            self._stop_task_for_others()
            self._wake.notify()
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
        plane = tuple(int(index) for index in plane)
        with self._wake:
            if plane and self._plane and plane[-1] != self._plane[-1]:
                self._direction = 1 if plane[-1] > self._plane[-1] else -1
            self._plane = plane
            self._encode_wanted = self._image is not None
            self._stop_task_for_others()
            self._wake.notify()

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
        record = self._document.get(object_id)
        with self._wake:
            image = self._image
            if image is None or image.document is not self._document:
                return
            key = (id(image.document), object_id)
            if record.prompts.is_empty or (record.is_answered and not again):
                self._requests.pop(key, None)
                return
            request = _Request(
                image,
                record.plane,
                object_id,
                record.revision,
                record.prompts,
                self.settings.ips,
                self.settings.local,
                again,
            )
            waiting = self._requests.get(key)
            if not again and any(
                _asks_the_same(request, other) for other in (waiting, self._in_work)
            ):
                return
            self._requests.pop(key, None)
            self._requests[key] = self._latest[key] = request
            self._want_model()
            self._stop_task_for_others()
            self._wake.notify()

    def glimpse(
        self, object_id: int, prompts: Prompts, sources: Sequence[Source]
    ) -> None:
        """Ask what the mask would be with other prompts, while they are being dragged.

        Nothing is written into the document: the answer comes as `glimpsed`, until
        `end_glimpses` is called or the object changes. Of several wishes the latest is
        answered; the one that is under way is answered too, so that a mask that is
        dragged without a pause follows all the same. Whatever else waits goes first.

        Parameters
        ----------
        object_id : int
        prompts : Prompts
            All prompts of the object, as `Document.set_prompts` will get them.
        sources : sequence of {"auto", "user"}
        """
        record = self._document.get(object_id)
        with self._wake:
            image = self._image
            if image is None or image.document is not self._document:
                return
            asked = feedback(record, prompts, sources)
            if asked.is_empty or not self._is_encoded(image, record.plane):
                return
            self._glimpse = _Request(
                image,
                record.plane,
                object_id,
                record.revision,
                asked,
                self.settings.ips,
                self.settings.local,
                again=True,
                glimpse=self._drag,
            )
            self._stop_task_for_others()
            self._wake.notify()

    def end_glimpses(self) -> None:
        """Drop the glimpses that are under way: nothing is being dragged any more."""
        self._drag += 1
        with self._wake:
            self._glimpse = None

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
        image = self._image
        if image is None:
            self.notified.emit("There is no image yet: open one first.")
            return
        with self._wake:
            plane = self._plane if plane is None else tuple(plane)
            if object_id is None:
                active = image.document.active
                if active and active.plane == plane and active.written is None:
                    object_id = active.id
            record = None if object_id is None else image.document.get(object_id)
            self._proposal = _Request(
                image,
                plane if record is None else record.plane,
                object_id,
                0 if record is None else record.revision,
                Prompts(),
                self.settings.ips,
                self.settings.local,
                propose=True,
            )
            self._want_model()
            self._stop_task_for_others()
            self._wake.notify()

    def new_object(self) -> ObjectRecord:
        """Begin an object on the plane on display."""
        return self._document.new_object(self._plane)

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
            ids = [self._document.add_saved(saved).id for saved in objects]
        for object_id in ids:
            self.segment(object_id)
        return ids

    def cancel(self) -> None:
        """Give up what is under way and what is waiting; nothing is lost."""
        with self._wake:
            self._requests.clear()
            self._latest.clear()
            self._proposal = self._glimpse = None
            self._encode_wanted = self._load_wanted = False
            if self._task is not None and self._task.kind != "chore":
                self._task.stop.set()
            self._wake.notify()

    def start_job(self, job: Job, *, first: bool = False) -> None:
        """Do long work in the background, a step at a time.

        Parameters
        ----------
        job : Job
        first : bool
            Before the jobs that are under way; those go on afterwards.
        """
        with self._wake:
            self._jobs.insert(0 if first else len(self._jobs), job)
            self._want_model()
            self._wake.notify()

    def end_job(self, job: Job) -> None:
        """Take no further step of a job, if it is under way; the worker closes it."""
        with self._wake:
            if job in self._jobs:
                self._jobs.remove(job)
                self._jobs_ended.append(job)
                self._wake.notify()

    def has_job(self, job: Job) -> bool:
        """Whether a job is under way or waiting."""
        return job in self._jobs

    def reload_adapter(self) -> None:
        """Read the adapter in use again: its files have changed."""
        with self._wake:
            self._adapter_wanted = self._segmenter is not None
            self._wake.notify()

    def clear_cache(self) -> None:
        """Forget all embeddings, in memory and on disk, but that on display."""

        def clear() -> None:
            shown = self._shown_key()
            for known in [key for key in self._embeddings if key != shown]:
                del self._embeddings[known]
            self._unsaved.clear()
            self._cache.clear()
            self._notify("The cache of embeddings is empty now.")

        self._add_chore(clear)
        self.measure_cache()

    def measure_cache(self) -> None:
        """Ask how much the cache holds; the answer comes as `cache_measured`."""

        def measure() -> None:
            memory, disk = self._cache.size()
            on_disk = None if self._cache.folder is None else disk
            self._deliver(lambda: self.cache_measured.emit(memory, on_disk))

        self._add_chore(measure)

    def close(self) -> None:
        """Stop the worker and wait for it; the session is of no use afterwards."""
        self.settings.events.disconnect(self._on_setting)
        self._disconnect_document()
        with self._wake:
            self._closing = True
            if self._task is not None:
                self._task.stop.set()
            self._wake.notify()
        if threading.current_thread() is not self._worker:
            self._worker.join(_CLOSE_TIMEOUT)

    # -- what the user sets, and edits --------------------------------------------

    def _on_setting(self, info: Any) -> None:
        name = info.signal.name
        with self._wake:
            self._preferences_unsaved = self._preferences_path is not None
            if name in ("model", "device"):
                other = (self.settings.model, self.settings.device) != self._loaded_as
                needed = self._segmenter is not None or self._image is not None
                self._load_wanted = other and needed
            elif name == "adapter":
                other = self.settings.adapter != self._adapted_as
                self._adapter_wanted = other and self._segmenter is not None
            self._stop_task_for_others(replaced=name)
            self._wake.notify()
        if name in ("ips", "local"):
            self._segment_active_again()
        elif name == "live" and self.settings.live:
            for record in self._document.objects:
                self._on_object_changed(record.id)
        elif name == "disk_cache":
            folder = self._cache_folder if self.settings.disk_cache else None
            self._add_chore(lambda: setattr(self._cache, "folder", folder))
            self.measure_cache()
        elif name == "cache_quota_mb":
            quota = self.settings.cache_quota_mb * _MEGABYTE
            self._add_chore(lambda: setattr(self._cache, "disk_bytes", quota))
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

    def _disconnect_document(self) -> None:
        events = self._document.events
        events.object_added.disconnect(self._on_object_changed, missing_ok=True)
        events.object_changed.disconnect(self._on_object_changed, missing_ok=True)
        events.object_removed.disconnect(self._on_object_removed, missing_ok=True)

    def _on_object_changed(self, object_id: int) -> None:
        # Also after undo or redo: a click that was never answered is answered now.
        if self.settings.live and not getattr(self._applying, "now", False):
            self.segment(object_id)

    def _on_object_removed(self, object_id: int) -> None:
        with self._wake:
            self._requests.pop((id(self._document), object_id), None)

    def _add_chore(self, chore: Callable[[], None]) -> None:
        with self._wake:
            self._chores.append(chore)
            self._wake.notify()

    def _forget(self, previous: _Image) -> None:
        """Drop what was kept for an image that is replaced (holding `_wake`)."""
        if self._image is None or self._image.document is not previous.document:
            return
        # The same objects on fresh pixels: what waits is answered on those.
        for key, request in list(self._requests.items()):
            if request.image is previous:
                moved = dataclasses.replace(request, image=self._image)
                self._requests[key] = self._latest[key] = moved
        self._glimpse = None
        if self._proposal is not None and self._proposal.image is previous:
            self._proposal = dataclasses.replace(self._proposal, image=self._image)

    def _stop_task_for_others(self, replaced: str = "") -> None:
        """Stop a task that nobody waits for any more (holding `_wake`)."""
        task = self._task
        if task is None:
            return
        if task.kind == "load" and replaced in ("model", "device"):
            task.stop.set()
        if task.kind == "job":
            if self._waiting() or self._encode_wanted:
                task.stop.set()
            return
        if task.kind not in ("encode", "ahead"):
            return
        awaited = {(r.image, r.plane) for r in self._waiting()}
        if self._encode_wanted and self._image is not None:
            awaited.add((self._image, self._plane))
        if (task.image, task.plane) in awaited:
            if not task.stop.is_set():
                task.kind = "encode"  # no longer ahead of its time
        elif awaited or task.kind == "encode":
            task.stop.set()

    def _want_model(self) -> None:
        """See to it that a model is there or on its way (holding `_wake`)."""
        task = self._task
        on_its_way = task and task.kind == "load" and not task.stop.is_set()
        if self._segmenter is None and not on_its_way:
            self._load_wanted = True

    def _waiting(self) -> list[_Request]:
        last = (self._proposal, self._glimpse)
        return [*self._requests.values(), *(r for r in last if r is not None)]

    # -- the worker ---------------------------------------------------------------

    def _work(self) -> None:
        while True:
            with self._wake:
                task = self._next_task()
                while task is None:
                    if self._closing:
                        break
                    self._wake.wait()
                    task = self._next_task()
                self._task = task
            if task is None:
                break
            try:
                task.run(task)
            except Exception as error:  # the worker outlives whatever goes wrong
                try:
                    self._on_task_failed(task, error)
                except Exception:
                    # A listener failed as well: there is nobody left to be told.
                    _log.exception("a failure could not be reported")
            finally:
                with self._wake:
                    self._task = None
                    self._in_work = None
        for job in (*self._jobs, *self._jobs_ended):
            try:
                job.close()
            except Exception:
                _log.exception("a job could not be closed")
        self._segmenter = None

    def _next_task(self) -> _Task | None:
        """Choose what to do next (holding `_wake`)."""
        if self._preferences_unsaved:
            self._preferences_unsaved = False
            return _Task("chore", self._save_preferences)
        if self._closing:
            return None
        if self._load_wanted:
            self._load_wanted = self._adapter_wanted = False
            return _Task("load", self._load)
        if self._segmenter is not None:
            if self._adapter_wanted:
                self._adapter_wanted = False
                return _Task("adapter", self._set_adapter)
            for request in self._waiting():
                if not self._is_encoded(request.image, request.plane):
                    return self._encoding("encode", request.image, request.plane)
                self._take(request)
                return _Task(
                    "answer",
                    lambda task, r=request: self._answer(r),  # type: ignore[misc]
                    request.image,
                    request.plane,
                )
            image = self._image
            if image is not None and self._encode_wanted:
                return self._encoding("encode", image, self._plane)
        if self._chores:
            chore = self._chores.popleft()
            return _Task("chore", lambda task: chore())
        if self._jobs_ended:
            ended = self._jobs_ended.pop(0)
            return _Task("chore", lambda task: ended.close())
        if self._segmenter is None:
            return None
        if self._unsaved:
            return _Task("chore", self._save_embedding)
        image = self._image
        if image is not None and self._is_encoded(image, self._plane):
            for plane in image.planes_near(self._plane, self._direction):
                place = (image.token, plane)
                if place not in self._ahead_done:
                    return self._encoding("ahead", image, plane)
        if self._jobs:
            job = self._jobs[0]
            return _Task("job", lambda task: self._step(task, job))
        return None

    def _step(self, task: _Task, job: Job) -> None:
        bench = _Bench(self, task)
        try:
            more = job.step(bench)
        except Exception as error:
            if task.stop.is_set():
                return  # it gave way: the step comes again
            self.end_job(job)
            job.fail(bench, error)
            return
        if not more:
            self.end_job(job)

    def _take(self, request: _Request) -> None:
        self._in_work = request
        if request is self._proposal:
            self._proposal = None
        elif request is self._glimpse:
            self._glimpse = None
        else:
            assert request.object_id is not None
            self._requests.pop((id(request.image.document), request.object_id))

    def _encoding(
        self, kind: Literal["encode", "ahead"], image: _Image, plane: Plane
    ) -> _Task:
        return _Task(kind, self._encode, image, plane)

    def _on_task_failed(self, task: _Task, error: Exception) -> None:
        stopped = task.stop.is_set()
        with self._wake:
            self._glimpse = None
            if task.kind == "load" and not self._load_wanted:
                # Without a model nobody can be answered.
                if self._segmenter is None:
                    self._requests.clear()
                    self._proposal = None
            elif task.kind == "encode" and not stopped:
                for key, request in list(self._requests.items()):
                    if (request.image, request.plane) == (task.image, task.plane):
                        del self._requests[key]
                waiting = self._proposal
                if waiting and (waiting.image, waiting.plane) == (
                    task.image,
                    task.plane,
                ):
                    self._proposal = None
                if (self._image, self._plane) == (task.image, task.plane):
                    self._encode_wanted = False
            elif task.kind == "ahead" and task.image is not None and not stopped:
                self._ahead_done.add((task.image.token, task.plane))
            again = self._load_wanted or self._adapter_wanted
        if task.kind == "load" and not again and self._loaded_as is not None:
            self._revert("model", self._loaded_as[0])
            self._revert("device", self._loaded_as[1])
        if task.kind == "adapter" and not again:
            self._revert("adapter", self._adapted_as)
        if stopped:
            if not (self._closing or again or self._encode_wanted or self._waiting()):
                ready = self._is_shown_ready()
                self._set_status("ready" if ready else "idle", "cancelled")
            return
        if task.kind == "ahead":
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

    # -- tasks: models ------------------------------------------------------------

    def _load(self, task: _Task) -> None:
        model, device = self.settings.model, self.settings.device
        current = self._segmenter
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
        with self._wake:
            self._segmenter = segmenter
            self.encode_seconds = self.embedding_bytes = None
            self._loaded_as = (model, device)
            self._encode_wanted = self._image is not None
        self._embeddings.clear()
        self._use_adapter()
        self._deliver(lambda: self.model_changed.emit(segmenter.model_id))
        if current is not None:
            self._deliver(self._segment_active_again)
        if self._image is None:
            self._set_status("idle", "no image")

    def _set_adapter(self, task: _Task) -> None:
        assert self._segmenter is not None
        self._use_adapter()
        self._deliver(self._segment_active_again)

    def _use_adapter(self) -> None:
        assert self._segmenter is not None
        name = self.settings.adapter
        try:
            self._segmenter.adapter = name or None
            self._adapted_as = name
        except (ValueError, OSError, RuntimeError) as error:
            self._adapted_as = ""
            # Most often the adapter of another model: work goes on without it.
            message = str(error)
            self._segmenter.adapter = None
            self._revert("adapter", "")
            self._deliver(lambda: self.failed.emit(message))
        info = self._segmenter.adapter_info
        self._deliver(lambda: self.adapter_changed.emit(info))

    # -- tasks: embeddings --------------------------------------------------------

    def _key(self, digest: str) -> Key:
        assert self._segmenter is not None
        return digest, f"{self._segmenter.model_id}-{self._segmenter.sha256[:12]}"

    def _shown_key(self) -> Key | None:
        image = self._image
        if image is None or self._segmenter is None:
            return None
        digest = self._digests.get((image.token, self._plane))
        return None if digest is None else self._key(digest)

    def _is_encoded(self, image: _Image, plane: Plane) -> bool:
        digest = self._digests.get((image.token, plane))
        return digest is not None and self._key(digest) in self._embeddings

    def _is_shown_ready(self) -> bool:
        image = self._image
        return (
            image is not None
            and self._segmenter is not None
            and self._is_encoded(image, self._plane)
        )

    def _encode(self, task: _Task) -> None:
        """Have the embedding of a plane: from memory, from disk, or computed."""
        image, plane = task.image, task.plane
        assert image is not None
        place = (image.token, plane)
        digest = self._digests.get(place)
        embedding = None if digest is None else self._known(self._key(digest))
        cached = embedding is not None
        if embedding is None:
            embedding, digest, cached = self._embed(task, image.source, plane)
        assert digest is not None
        with self._wake:
            self._digests[place] = digest
            self._embeddings[self._key(digest)] = embedding
            self._embeddings.move_to_end(self._key(digest))
            while len(self._embeddings) > _TENSORS_KEPT:
                self._embeddings.popitem(last=False)
            self._ahead_done.add(place)
            shown = image is self._image and plane == self._plane
            if shown:
                self._encode_wanted = False
        if shown:
            self._shown_cached = cached
            self._set_ready()
            self._deliver(lambda: self.encoded.emit(plane))

    def _embed(
        self, task: _Task, source: ImageSource, plane: Plane
    ) -> tuple[EmbeddingLike, str, bool]:
        """Embedding and digest of a plane, and whether it was there already."""
        rgb, digest = self._read(source, plane)
        known = self._known(self._key(digest))
        if known is not None:
            return known, digest, True
        return self._compute(task, source, rgb, digest), digest, False

    def _known(self, key: Key) -> EmbeddingLike | None:
        assert self._segmenter is not None
        if key in self._embeddings:
            return self._embeddings[key]
        if key in self._unsaved:
            return self._unsaved[key][0]
        arrays = self._cache.get(key)
        if arrays is None:
            return None
        restored: EmbeddingLike = self._segmenter.restore(arrays)
        return restored

    def _read(self, source: ImageSource, plane: Plane) -> tuple[NDArray[np.uint8], str]:
        from napari_promise.data import planes

        rgb = planes.to_rgb8(
            source.plane_pixels(plane), source.contrast_limits, source.rgb
        )
        return rgb, planes.digest(rgb)

    def _compute(
        self, task: _Task, source: ImageSource, rgb: NDArray[np.uint8], digest: str
    ) -> EmbeddingLike:
        assert self._segmenter is not None

        def report(done: int = 0, total: int = 0) -> None:
            if task.kind == "encode":
                self._set_status(
                    "encoding",
                    f"encoding {source.name}",
                    progress=done / total if total else None,
                    begins=not total,
                )

        report()
        began = time.monotonic()
        embedding: EmbeddingLike = self._segmenter.encode(
            rgb, progress=report, cancel=task.stop.is_set
        )
        seconds = time.monotonic() - began
        self.encode_seconds = min(seconds, self.encode_seconds or seconds)
        # A call that could not be stopped was not in vain: the result is kept.
        self._unsaved[self._key(digest)] = (embedding, {"image": source.name})
        return embedding

    def _save_embedding(self, task: _Task) -> None:
        key, (embedding, meta) = next(iter(self._unsaved.items()))
        try:
            arrays = embedding.to_arrays()
            self.embedding_bytes = sum(array.nbytes for array in arrays.values())
            self._cache.put(key, arrays, meta)
        finally:
            self._unsaved.pop(key, None)

    # -- tasks: answers -----------------------------------------------------------

    def _answer(self, request: _Request) -> None:
        assert self._segmenter is not None
        digest = self._digests[request.image.token, request.plane]
        embedding = self._embeddings[self._key(digest)]
        if request.propose:
            self._answer_proposal(self._segmenter, request, embedding)
            return
        assert request.object_id is not None
        if not _is_current(request):
            return
        result = self._segmenter.segment(
            embedding, request.prompts, ips=request.ips, local=request.local
        )
        answered = self._on_glimpsed if request.glimpse else self._on_segmented
        self._deliver(lambda: answered(request, result))
        if self._status.state == "error":
            self._set_ready()

    def _on_glimpsed(self, request: _Request, result: Any) -> None:
        assert request.object_id is not None
        if request.glimpse == self._drag and _is_current(request):
            self.glimpsed.emit(
                Glimpse(
                    request.image.document,
                    request.object_id,
                    request.revision,
                    request.plane,
                    result.region,
                )
            )

    def _on_segmented(self, request: _Request, result: Any) -> None:
        assert request.object_id is not None
        with self._wake:
            key = (id(request.image.document), request.object_id)
            if self._latest.get(key) is not request:
                return  # asked anew, or cancelled
            del self._latest[key]
        if not _is_current(request):
            return
        with self._applied():
            taken = request.image.document.set_mask(
                request.object_id,
                result.region,
                score=result.score,
                logits=result.logits,
                revision=request.revision,
            )
        if taken:
            self.segmented.emit(
                SegmentResult(
                    request.image.document,
                    request.object_id,
                    request.plane,
                    time.monotonic() - request.asked,
                )
            )

    def _answer_proposal(
        self, segmenter: SegmenterLike, request: _Request, embedding: EmbeddingLike
    ) -> None:
        found = segmenter.propose(embedding)
        if not found.labels.any():
            self._notify(
                "Auto-prompt found nothing on this plane: add a point yourself, or "
                "choose another adapter."
            )
            return
        prompts, sources = self._merged(request, found)
        result = segmenter.segment(embedding, prompts, ips=request.ips)
        self._deliver(
            lambda: self._on_proposed(request, found, prompts, sources, result)
        )

    @staticmethod
    def _merged(
        request: _Request, found: Prompts
    ) -> tuple[Prompts, tuple[Source, ...]]:
        """Join the found prompts with what the user said of the object."""
        document, object_id = request.image.document, request.object_id
        if object_id is None or object_id not in document:
            return found, _repeat("auto", len(found.points))
        record = document.get(object_id)
        of_user = np.array([s == "user" for s in record.sources], bool)
        unknown = np.full(int(of_user.sum()), np.nan)
        scores = None  # of a module that states none
        if found.scores is not None:
            scores = np.concatenate([unknown, found.scores])
        prompts = found.replace(
            points=np.concatenate([record.prompts.points[of_user], found.points]),
            labels=np.concatenate([record.prompts.labels[of_user], found.labels]),
            scores=scores,
            boxes=record.prompts.boxes,
            mask=record.prompts.mask,
        )
        sources = _repeat("user", len(unknown))
        return prompts, sources + _repeat("auto", len(found.points))

    def _on_proposed(
        self,
        request: _Request,
        found: Prompts,
        prompts: Prompts,
        sources: tuple[Source, ...],
        result: Any,
    ) -> None:
        document = request.image.document
        object_id = request.object_id
        if object_id is not None and object_id not in document:
            return  # removed meanwhile
        fresh, fresh_sources = self._merged(request, found)
        with self._applied(), document.step("auto-prompt"):
            if object_id is None:
                object_id = document.new_object(request.plane).id
            record = document.set_prompts(
                object_id,
                fresh,
                fresh_sources,
                keep_logits=True,
                coarse=found.logits,
                name="auto-prompt",
            )
            if fresh == prompts and fresh_sources == sources:
                document.set_mask(
                    object_id,
                    result.region,
                    score=result.score,
                    logits=result.logits,
                    revision=record.revision,
                )
        self.proposed.emit(ProposeResult(document, object_id, request.plane, fresh))
        if document is self._document and not document.get(object_id).is_answered:
            self.segment(object_id)  # the user edited the object meanwhile

    # -- reports ------------------------------------------------------------------

    def _applied(self) -> _Flag:
        return _Flag(self._applying)

    def _deliver(self, call: Callable[[], None]) -> None:
        self._dispatch(call)

    def _notify(self, message: str) -> None:
        self._deliver(lambda: self.notified.emit(message))

    def _set_ready(self) -> None:
        cached = self._shown_cached
        device = "" if self._segmenter is None else str(self._segmenter.device)
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
        segmenter, previous = self._segmenter, self._status
        status = Status(
            state,
            message,
            "" if segmenter is None else str(segmenter.device),
            cached,
            progress,
            time.monotonic() if begins or previous.state != state else previous.since,
        )
        self._status = status
        if status != previous:
            self._deliver(lambda: self.status_changed.emit(status))

    def _save_preferences(self, task: _Task) -> None:
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


class _Bench:
    """The session as a step of a job sees it, see `Workbench`."""

    def __init__(self, session: Session, task: _Task) -> None:
        self._session = session
        self._task = task

    @property
    def segmenter(self) -> SegmenterLike:
        segmenter = self._session._segmenter
        assert segmenter is not None
        return segmenter

    def embedding(self, source: ImageSource, plane: Plane) -> tuple[Any, str]:
        found, digest, _cached = self._session._embed(self._task, source, plane)
        return found, digest

    def must_give_way(self) -> bool:
        return self._task.stop.is_set()

    def deliver(self, call: Callable[[], None]) -> None:
        self._session._deliver(call)


class _Flag:
    """Marks edits of the session itself, which call for no answer."""

    def __init__(self, store: threading.local) -> None:
        self._store = store

    def __enter__(self) -> None:
        self._store.now = True

    def __exit__(self, *_: object) -> None:
        self._store.now = False


def _repeat(source: Source, count: int) -> tuple[Source, ...]:
    return (source,) * count


def _is_current(request: _Request) -> bool:
    """Whether the object still has the prompts that were asked about."""
    document, object_id = request.image.document, request.object_id
    if object_id is None or object_id not in document:
        return False
    record = document.get(object_id)
    return record.revision == request.revision and (
        request.again or not record.is_answered
    )


def _asks_the_same(request: _Request, other: _Request | None) -> bool:
    return (
        other is not None
        and other.image is request.image
        and other.object_id == request.object_id
        and other.revision == request.revision
        and other.ips == request.ips
        and other.local == request.local
        and not other.glimpse
    )
