"""A session with a stand-in for its segmenter, and one who stands for the window.

The stand-in counts, and it can be held at any point, so that every race is arranged
instead of slept for.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np

from napari_promise.data.embeddings import EmbeddingCache
from napari_promise.document import Region
from napari_promise.prompts import Before, Prompts
from napari_promise.session import ArraySource, Session, Settings

SHAPE = (16, 24)
PATIENCE = 120.0


class Gate:
    """A place in the code where the worker can be held."""

    def __init__(self) -> None:
        self.reached = threading.Semaphore(0)
        self.open = threading.Event()
        self.open.set()

    def hold(self) -> None:
        self.open.clear()

    def wait_until_reached(self) -> None:
        assert self.reached.acquire(timeout=PATIENCE), "the worker never came by"

    def pass_through(self, cancel: Callable[[], bool] = lambda: False) -> None:
        self.reached.release()
        while not self.open.wait(0.01):
            if cancel():
                raise RuntimeError("stopped")


@dataclass(frozen=True)
class AdapterNote:
    name: str


class StandIn:
    """Segments without a model: the mask is a box at the first point."""

    def __init__(self, model: str = "fake", adapters: tuple[str, ...] = ()) -> None:
        self.model_id = model
        self.sha256 = "0" * 64
        self.adapter_sha256 = None
        self.device = "cpu"
        self.adapter_info: AdapterNote | None = None
        self.encoding, self.segmenting, self.proposing = Gate(), Gate(), Gate()
        self.slow: dict[int, Gate] = {}
        self.encoded: list[int] = []
        self.segmented: list[Prompts] = []
        self.restored = 0
        self.stoppable = True
        self.broken = 0
        self.found = [(4.0, 4.0), (5.0, 5.0)]
        self._adapters = adapters

    @property
    def adapter(self) -> str | None:
        return None if self.adapter_info is None else self.adapter_info.name

    @adapter.setter
    def adapter(self, name: str | None) -> None:
        if name and name not in self._adapters:
            raise ValueError(f"no adapter {name!r}: choose another")
        self.adapter_info = AdapterNote(name) if name else None

    def with_adapter(self, name):
        self.adapter = name
        return self  # the notes go on

    def encode(
        self, image, *, region=None, plane_shape=None, progress=None, cancel=None
    ):
        value = int(image[0, 0, 0])
        self.encoded.append(value)
        gate = self.slow.get(value, self.encoding)
        gate.pass_through(cancel if self.stoppable else lambda: False)
        return Embedded(image[0, 0].astype(np.float32))

    def restore(self, arrays):
        self.restored += 1
        return Embedded(arrays["image"])

    def segment(self, emb, prompts, *, ips=True, local=True):
        self.segmented.append(prompts)
        self.segmenting.pass_through()
        if self.broken:
            self.broken -= 1
            raise ValueError("no mask: try another point")
        mask = np.zeros(SHAPE, bool)
        if len(prompts.points):
            row, column = prompts.points[-1].astype(int)
            width = 2 + (self.adapter is not None and ips)
            mask[row : row + 2, column : column + width] = True
        logits = np.full((1, 2, 2), len(prompts.points), np.float32)
        return SimpleNamespace(
            region=Region.from_mask(mask), score=0.5, logits=logits, seen=emb.values
        )

    def segment_many(self, emb, prompts, *, ips=True, local=True, alternatives=False):
        return tuple(self.segment(emb, p, ips=ips, local=local) for p in prompts)

    def proposals(self, emb):
        found = self.propose(emb)
        return (found,) if (found.labels == 1).any() else ()

    def propose(self, emb):
        self.proposing.pass_through()
        if self.adapter is None:
            raise ValueError("auto-prompting needs an adapter: choose one")
        count = len(self.found)
        return Prompts(
            points=self.found,
            scores=np.full(count, 0.7),
            before=Before(np.full((1, 2, 2), 7.0)),
        )


class Embedded:
    def __init__(self, values: np.ndarray) -> None:
        self.values = values

    def to_arrays(self):
        return {"image": self.values}


class Window:
    """Stands for the window's thread: runs what the worker posts to it."""

    def __init__(self) -> None:
        self._posted: queue.Queue[Callable[[], None]] = queue.Queue()

    def post(self, call: Callable[[], None]) -> None:
        self._posted.put(call)

    def run_until(self, done: Callable[[], bool]) -> None:
        deadline = time.monotonic() + PATIENCE
        while not done():
            assert time.monotonic() < deadline, "it never happened"
            try:
                self._posted.get(timeout=0.02)()
            except queue.Empty:
                continue


class Bench:
    """A session with a stand-in, and a note of all it says."""

    def __init__(self, tmp_path, *, models=None, cache=None, **settings) -> None:
        self.window = Window()
        self.models = models or {"promise-tiny": StandIn(adapters=("polyp",))}
        self.loads: list[str] = []
        self.loading = Gate()
        self.session = Session(
            dispatch=self.window.post,
            settings=Settings(**settings),
            preferences_path=tmp_path / "preferences.json",
            cache=cache or EmbeddingCache(),
            loader=self._load,
        )
        self.failures: list[str] = []
        self.notes: list[str] = []
        self.results: list = []
        self.states: list[str] = []
        self.planes: list[tuple] = []
        self.session.failed.connect(self.failures.append)
        self.session.notified.connect(self.notes.append)
        self.session.segmented.connect(self.results.append)
        self.session.encoded.connect(self.planes.append)
        self.session.status_changed.connect(lambda s: self.states.append(s.state))

    def _load(self, model, *, device, progress, cancel, notify):
        self.loads.append(model)
        self.loading.pass_through(cancel)
        if model not in self.models:
            raise ValueError(f"no model {model!r}: give another")
        return self.models[model]

    @property
    def model(self) -> StandIn:
        return self.models["promise-tiny"]

    @property
    def document(self):
        return self.session.document

    def open(self, *planes: int, plane: tuple = (), wait: bool = True) -> None:
        """Show a flat image, or a stack whose planes have the given grey values."""
        values = np.array(planes or (1,), np.uint8)[:, None, None]
        stack = np.broadcast_to(values, (len(values), *SHAPE))
        source = ArraySource(stack if planes else stack[0])
        self.session.set_image(source, plane)
        if wait:
            self.until(lambda: plane in self.planes)

    def new_object(self):
        """Begin an object on the plane on display."""
        return self.document.new_object(self.session._queue.tile.plane)

    def click(self, object_id: int, *points: tuple[float, float]) -> None:
        record = self.document.get(object_id)
        self.document.edit_prompts(
            object_id, points=[*record.prompts.points.tolist(), *points]
        )

    def until(self, done: Callable[[], bool]) -> None:
        self.window.run_until(done)

    def until_answered(self, object_id: int) -> None:
        self.until(lambda: self.document.get(object_id).is_answered)


def drain(gate: Gate) -> None:
    """Forget who came by, so that the next one can be waited for."""
    while gate.reached.acquire(blocking=False):
        pass


def bbox_at(row: int, column: int, width: int = 2) -> tuple[int, int, int, int]:
    return (row, column, row + 2, column + width)
