"""The session: one worker, newest request wins, nobody waits and nothing is lost.

A stand-in takes the segmenter's place: it counts, and it can be held at any point, so
that every race is arranged instead of slept for.
"""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import SimpleNamespace

import numpy as np
import pytest

from napari_promise.data.embeddings import EmbeddingCache
from napari_promise.document import Region
from napari_promise.prompts import Prompts
from napari_promise.session import ArraySource, Session, Settings

SHAPE = (16, 24)
PATIENCE = 20.0


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

    def encode(self, image, *, progress=None, cancel=None):
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

    def propose(self, emb):
        self.proposing.pass_through()
        if self.adapter is None:
            raise ValueError("auto-prompting needs an adapter: choose one")
        count = len(self.found)
        return Prompts(
            points=self.found,
            scores=np.full(count, 0.7),
            logits=np.full((1, 2, 2), 7.0),
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

    def click(self, object_id: int, *points: tuple[float, float]) -> None:
        record = self.document.get(object_id)
        self.document.edit_prompts(
            object_id, points=[*record.prompts.points.tolist(), *points]
        )

    def until(self, done: Callable[[], bool]) -> None:
        self.window.run_until(done)

    def until_answered(self, object_id: int) -> None:
        self.until(lambda: self.document.get(object_id).is_answered)


@pytest.fixture
def make(tmp_path) -> Iterator[Callable[..., Bench]]:
    made: list[Bench] = []

    def build(**options) -> Bench:
        made.append(Bench(tmp_path, **options))
        return made[-1]

    yield build
    for bench in made:
        for model in bench.models.values():
            gates = (model.encoding, model.segmenting, model.proposing)
            for gate in (*gates, *model.slow.values()):
                gate.open.set()
        bench.loading.open.set()
        bench.session.close()
        assert not bench.session._worker.is_alive(), "the worker outlived its session"


def drain(gate: Gate) -> None:
    """Forget who came by, so that the next one can be waited for."""
    while gate.reached.acquire(blocking=False):
        pass


def bbox_at(row: int, column: int, width: int = 2) -> tuple[int, int, int, int]:
    return (row, column, row + 2, column + width)


# -- answers -------------------------------------------------------------------------


def test_choosing_an_image_encodes_it_at_once_and_says_so(make) -> None:
    bench = make()
    bench.open()
    assert bench.model.encoded == [1]
    assert [s for s in bench.states if s != "idle"] == ["loading", "encoding", "ready"]
    assert bench.session.status.device == "cpu"


def test_an_edit_is_answered_live(make) -> None:
    bench = make()
    bench.open()
    record = bench.session.new_object()
    bench.click(record.id, (3, 4))
    bench.until_answered(record.id)
    assert bench.document.get(record.id).bbox == bbox_at(3, 4)
    assert bench.results[0].object_id == record.id


def test_without_live_an_edit_waits_until_it_is_asked_for(make) -> None:
    bench = make(live=False)
    bench.open()
    record = bench.session.new_object()
    bench.click(record.id, (3, 4))
    assert not bench.session._requests
    bench.session.segment(record.id)
    bench.until_answered(record.id)
    bench.click(record.id, (5, 6))
    bench.session.settings.live = True
    bench.until_answered(record.id)


def test_the_newest_prompts_win_and_stale_results_are_dropped(make) -> None:
    bench = make()
    bench.open()
    bench.model.segmenting.hold()
    object_id = bench.session.new_object().id
    bench.click(object_id, (1, 1))
    bench.model.segmenting.wait_until_reached()
    for point in ((2, 2), (3, 3), (4, 4)):
        bench.click(object_id, point)
    bench.model.segmenting.open.set()
    bench.until_answered(object_id)
    assert bench.document.get(object_id).bbox == bbox_at(4, 4)
    assert [len(p.points) for p in bench.model.segmented] == [1, 4]
    assert len(bench.results) == 1


def test_requests_of_several_objects_do_not_push_each_other_out(make) -> None:
    bench = make()
    bench.open()
    bench.model.segmenting.hold()
    ids = []
    for index in range(3):
        ids.append(bench.session.new_object().id)
        bench.click(ids[-1], (index, index))
    bench.model.segmenting.open.set()
    for object_id in ids:
        bench.until_answered(object_id)


def test_asking_twice_for_the_same_prompts_computes_once(make) -> None:
    bench = make()
    bench.open()
    bench.model.segmenting.hold()
    object_id = bench.session.new_object().id
    bench.click(object_id, (1, 1))
    bench.model.segmenting.wait_until_reached()
    bench.session.segment(object_id)
    bench.model.segmenting.open.set()
    bench.until_answered(object_id)
    bench.session.segment(object_id)
    assert len(bench.model.segmented) == 1


def test_a_click_while_the_image_is_encoded_is_answered_right_after(make) -> None:
    bench = make()
    bench.model.encoding.hold()
    bench.open(wait=False)
    bench.model.encoding.wait_until_reached()
    object_id = bench.session.new_object().id
    bench.click(object_id, (1, 1))
    bench.click(object_id, (2, 2))
    bench.model.encoding.open.set()
    bench.until_answered(object_id)
    assert bench.model.encoded == [1]
    assert [len(p.points) for p in bench.model.segmented] == [2]


def test_a_click_while_the_model_is_loaded_loads_it_once(make) -> None:
    bench = make()
    bench.loading.hold()
    bench.open(wait=False)
    bench.loading.wait_until_reached()
    object_id = bench.session.new_object().id
    bench.click(object_id, (1, 1))
    bench.loading.open.set()
    bench.until_answered(object_id)
    assert bench.loads == ["promise-tiny"]


def test_undo_while_a_result_is_awaited_drops_the_result(make) -> None:
    bench = make()
    bench.open()
    object_id = bench.session.new_object().id
    bench.click(object_id, (1, 1))
    bench.until_answered(object_id)
    before = bench.document.get(object_id)
    bench.model.segmenting.hold()
    bench.click(object_id, (2, 2))
    bench.model.segmenting.wait_until_reached()  # the first click
    bench.model.segmenting.wait_until_reached()
    bench.document.undo()
    bench.model.segmenting.open.set()
    other = bench.session.new_object().id
    bench.click(other, (9, 9))
    bench.until_answered(other)
    assert bench.document.get(object_id) is before
    assert len(bench.model.segmented) == 3, "undo itself ran no model"


def test_redoing_a_click_that_was_never_answered_answers_it(make) -> None:
    bench = make()
    bench.open()
    object_id = bench.session.new_object().id
    bench.model.segmenting.hold()
    bench.click(object_id, (2, 2))
    bench.document.undo()
    bench.model.segmenting.open.set()
    bench.document.redo()
    bench.until_answered(object_id)
    assert not bench.document.can_redo
    bench.document.undo()
    assert bench.document.get(object_id).region is None


def test_removing_an_object_forgets_its_request(make) -> None:
    bench = make()
    bench.open()
    object_id = bench.session.new_object().id
    bench.model.segmenting.hold()
    bench.click(object_id, (2, 2))
    bench.model.segmenting.wait_until_reached()
    bench.document.remove(object_id)
    bench.model.segmenting.open.set()
    other = bench.session.new_object().id
    bench.click(other, (3, 3))
    bench.until_answered(other)
    assert bench.failures == []


def test_the_logits_of_a_mask_are_fed_back_when_a_point_is_added(make) -> None:
    bench = make()
    bench.open()
    object_id = bench.session.new_object().id
    for point in ((1, 1), (2, 2)):
        bench.click(object_id, point)
        bench.until_answered(object_id)
    first, second = bench.model.segmented
    assert first.logits is None
    np.testing.assert_array_equal(second.logits, np.full((1, 2, 2), 1.0))
    assert bench.document.get(object_id).prompts is second


# -- planes and images ---------------------------------------------------------------


def test_a_result_goes_to_the_plane_of_its_request_not_to_that_on_display(make) -> None:
    bench = make()
    bench.open(10, 20, 30, plane=(0,))
    object_id = bench.session.new_object().id
    bench.model.segmenting.hold()
    bench.click(object_id, (2, 2))
    bench.model.segmenting.wait_until_reached()
    bench.session.show_plane((2,))
    bench.model.segmenting.open.set()
    bench.until_answered(object_id)
    assert bench.results[0].plane == (0,)
    assert bench.document.get(object_id).plane == (0,)


def test_a_click_on_a_plane_that_was_left_is_answered_from_that_plane(make) -> None:
    bench = make()
    seen = []
    plain = bench.model.segment
    bench.model.segment = lambda emb, prompts, **options: (
        seen.append(int(emb.values[0])),
        plain(emb, prompts, **options),
    )[1]
    bench.model.encoding.hold()
    bench.open(10, 20, 30, plane=(0,), wait=False)
    object_id = bench.session.new_object().id
    bench.click(object_id, (2, 2))
    bench.session.show_plane((2,))
    bench.model.encoding.open.set()
    bench.until_answered(object_id)
    assert seen == [10]


def test_leaving_a_plane_nobody_waits_for_stops_its_encoding(make) -> None:
    bench = make()
    bench.model.encoding.hold()
    bench.open(10, 20, 30, plane=(0,), wait=False)
    bench.model.encoding.wait_until_reached()
    bench.session.show_plane((2,))
    bench.model.encoding.wait_until_reached()
    bench.model.encoding.open.set()
    bench.until(lambda: (2,) in bench.planes)
    assert bench.model.encoded[:2] == [10, 30]
    assert (0,) not in bench.planes
    assert bench.failures == []


def test_the_planes_ahead_are_encoded_while_nobody_waits(make) -> None:
    bench = make()
    bench.open(10, 20, 30, 40, plane=(0,))
    bench.until(lambda: len(bench.model.encoded) == 3)
    assert bench.model.encoded == [10, 20, 30]
    bench.session.show_plane((2,))
    bench.until(lambda: (2,) in bench.planes)
    assert bench.session.status.cached
    bench.session.show_plane((1,))
    bench.until(lambda: (1,) in bench.planes)
    assert bench.model.encoded.count(20) == 1


def test_encoding_ahead_gives_way_to_a_click(make) -> None:
    bench = make()
    ahead = bench.model.slow[20] = Gate()
    ahead.hold()
    bench.open(10, 20, plane=(0,))
    ahead.wait_until_reached()
    object_id = bench.session.new_object().id
    bench.click(object_id, (2, 2))
    bench.until_answered(object_id)
    assert not ahead.open.is_set(), "the click did not wait for the plane ahead"
    assert bench.failures == []
    ahead.wait_until_reached()  # taken up again, now that nobody waits
    ahead.open.set()
    bench.until(lambda: bench.session._is_encoded(bench.session._image, (1,)))
    assert bench.model.encoded == [10, 20, 20]


def test_a_click_on_the_plane_that_is_encoded_ahead_waits_for_it(make) -> None:
    bench = make()
    ahead = bench.model.slow[20] = Gate()
    ahead.hold()
    bench.open(10, 20, plane=(0,))
    ahead.wait_until_reached()
    bench.session.show_plane((1,))
    object_id = bench.session.new_object().id
    bench.click(object_id, (2, 2))
    ahead.open.set()
    bench.until_answered(object_id)
    assert bench.model.encoded == [10, 20]


def test_every_image_keeps_its_objects_while_another_is_worked_on(make) -> None:
    bench = make()
    bench.open()
    first = bench.document
    object_id = bench.session.new_object().id
    bench.model.segmenting.hold()
    bench.click(object_id, (2, 2))
    bench.model.segmenting.wait_until_reached()
    told = []
    bench.session.document_changed.connect(told.append)
    source = ArraySource(np.full(SHAPE, 9, np.uint8))
    second = bench.session.set_image(source)
    assert told == [second]
    assert len(second) == 0
    bench.model.segmenting.open.set()
    bench.until(lambda: first.get(object_id).is_answered)
    assert bench.session.set_image(source, document=first) is first


def test_other_contrast_is_encoded_again_and_waiting_clicks_see_it(make) -> None:
    bench = make()
    image = np.zeros(SHAPE, np.float32)
    image[0, 0] = 10
    document = bench.session.set_image(ArraySource(image, contrast_limits=(0, 10)))
    bench.until(lambda: bench.planes == [()])
    bench.session.set_image(
        ArraySource(image, contrast_limits=(0, 20)), document=document
    )
    bench.until(lambda: bench.planes == [(), ()])
    assert bench.model.encoded == [255, 128]


# -- caching -------------------------------------------------------------------------


def test_opening_the_same_image_again_encodes_nothing(make, tmp_path) -> None:
    first = make(cache=EmbeddingCache(tmp_path / "cache"))
    first.open()
    first.until(lambda: not first.session._unsaved)
    first.session.close()
    again = make(cache=EmbeddingCache(tmp_path / "cache"))
    again.open()
    assert again.model.encoded == []
    assert again.model.restored == 1
    assert again.session.status.cached


def test_another_adapter_answers_again_from_the_embedding_there_is(make) -> None:
    bench = make()
    bench.open()
    object_id = bench.session.new_object().id
    bench.click(object_id, (3, 4))
    bench.until_answered(object_id)
    plain = bench.document.get(object_id)
    bench.session.settings.adapter = "polyp"
    bench.until(lambda: bench.document.get(object_id).bbox == bbox_at(3, 4, width=3))
    bench.session.settings.ips = False
    bench.until(lambda: bench.document.get(object_id).bbox == bbox_at(3, 4))
    assert bench.model.encoded == [1]
    bench.document.undo()
    bench.document.undo()
    assert bench.document.get(object_id) is plain


def test_turning_ips_off_and_on_again_ends_with_ips_on(make) -> None:
    bench = make(adapter="polyp")
    bench.open()
    object_id = bench.session.new_object().id
    bench.click(object_id, (3, 4))
    bench.until_answered(object_id)
    bench.model.segmenting.wait_until_reached()
    bench.model.segmenting.hold()
    bench.session.settings.ips = False
    bench.model.segmenting.wait_until_reached()
    bench.session.settings.ips = True
    bench.model.segmenting.open.set()
    bench.until(lambda: len(bench.model.segmented) == 3 and len(bench.results) == 2)
    assert bench.document.get(object_id).bbox == bbox_at(3, 4, width=3)


def test_clearing_the_cache_keeps_what_is_on_display(make) -> None:
    bench = make()
    bench.open(10, 20, plane=(0,))
    bench.until(lambda: len(bench.model.encoded) == 2 and not bench.session._unsaved)
    bench.session.clear_cache()
    bench.until(lambda: any("empty" in note for note in bench.notes))
    object_id = bench.session.new_object().id
    bench.click(object_id, (1, 1))
    bench.until_answered(object_id)
    assert bench.model.encoded == [10, 20]
    assert bench.session._cache.size() == (0, 0)


# -- models --------------------------------------------------------------------------


def test_another_model_keeps_what_is_committed_and_encodes_again(make) -> None:
    models = {"promise-tiny": StandIn("a"), "vit_b": StandIn("b")}
    bench = make(models=models)
    bench.open()
    object_id = bench.session.new_object().id
    bench.click(object_id, (3, 4))
    bench.until_answered(object_id)
    bench.session.commit(object_id, np.zeros(SHAPE, int))
    written = bench.document.get(object_id).written
    bench.session.settings.model = "vit_b"
    bench.until(lambda: bench.session.model_id == "b" and len(bench.planes) == 2)
    assert models["vit_b"].encoded == [1]
    assert bench.document.get(object_id).written == written


def test_a_model_that_cannot_be_loaded_leaves_the_one_in_use(make) -> None:
    bench = make()
    bench.open()
    bench.session.settings.model = "missing"
    bench.until(lambda: bool(bench.failures))
    assert bench.session.settings.model == "promise-tiny"
    assert bench.failures == ["no model 'missing': give another"]
    object_id = bench.session.new_object().id
    bench.click(object_id, (3, 4))
    bench.until_answered(object_id)
    assert bench.loads == ["promise-tiny", "missing"]


def test_without_a_model_the_next_click_tries_to_load_it_again(make) -> None:
    bench = make(models={})
    bench.models = {}
    bench.open(wait=False)
    bench.until(lambda: len(bench.failures) == 1)
    assert bench.session.status.state == "error"
    bench.models["promise-tiny"] = StandIn()
    object_id = bench.session.new_object().id
    bench.click(object_id, (3, 4))
    bench.until_answered(object_id)


def test_an_adapter_of_another_model_is_left_out_with_a_word(make) -> None:
    bench = make(adapter="of another model")
    bench.open()
    bench.until(lambda: bench.session.settings.adapter == "")
    assert "choose another" in bench.failures[0]
    assert bench.session.status.state == "ready"


# -- auto-prompting ------------------------------------------------------------------


def test_auto_prompts_and_their_mask_arrive_as_one_step(make) -> None:
    bench = make(adapter="polyp")
    bench.open()
    told = []
    bench.session.proposed.connect(told.append)
    bench.session.propose()
    bench.until(lambda: bool(told))
    record = bench.document.get(told[0].object_id)
    assert record.sources == ("auto", "auto")
    assert record.is_answered
    assert record.bbox == bbox_at(5, 5, width=3)
    np.testing.assert_array_equal(record.coarse, np.full((1, 2, 2), 7.0))
    assert bench.document.undo_name == "auto-prompt"
    bench.document.undo()
    assert len(bench.document) == 0
    assert not bench.document.can_undo


def test_moving_an_auto_point_restarts_from_the_coarse_map(make) -> None:
    bench = make(adapter="polyp")
    bench.open()
    bench.session.propose()
    bench.until(lambda: len(bench.document) == 1)
    object_id = bench.document.active_id
    bench.document.edit_prompts(object_id, points=[(4, 4), (6, 6)])
    bench.until_answered(object_id)
    np.testing.assert_array_equal(
        bench.model.segmented[-1].logits, np.full((1, 2, 2), 7.0)
    )


def test_a_correction_is_sent_without_the_points_it_corrects(make) -> None:
    bench = make(adapter="polyp")
    bench.open()
    bench.session.propose()
    bench.until(lambda: len(bench.document) == 1)
    object_id = bench.document.active_id
    bench.session.settings.live = False
    bench.click(object_id, (9, 9))
    bench.click(object_id, (8, 8))
    bench.session.segment(object_id)
    bench.until_answered(object_id)
    sent = bench.model.segmented[-1].to_send()
    assert sent.points.tolist() == [[5, 5], [9, 9], [8, 8]]
    np.testing.assert_array_equal(sent.logits, np.full((1, 2, 2), 2.0))


def test_auto_prompting_keeps_the_points_of_the_user(make) -> None:
    bench = make(adapter="polyp")
    bench.open()
    object_id = bench.session.new_object().id
    bench.click(object_id, (9, 9))
    bench.until_answered(object_id)
    for _ in range(2):
        told = []
        bench.session.proposed.connect(told.append)
        bench.session.propose()
        bench.until(lambda told=told: bool(told))
        record = bench.document.get(object_id)
        assert record.sources == ("user", "auto", "auto")
        assert record.is_answered


def test_points_of_a_module_without_map_and_scores_join_the_users(make) -> None:
    bench = make(adapter="paper")
    bench.model.propose = lambda emb: Prompts(points=bench.model.found)
    bench.open()
    object_id = bench.session.new_object().id
    bench.click(object_id, (9, 9))
    bench.until_answered(object_id)
    told = []
    bench.session.proposed.connect(told.append)
    bench.session.propose()
    bench.until(lambda: bool(told))
    record = bench.document.get(object_id)
    assert record.sources == ("user", "auto", "auto")
    assert record.is_answered
    assert record.coarse is None
    assert record.prompts.scores is None


def test_a_click_while_auto_prompts_are_sought_is_not_lost(make) -> None:
    bench = make(adapter="polyp")
    bench.open()
    object_id = bench.session.new_object().id
    bench.model.proposing.hold()
    bench.session.propose()
    bench.model.proposing.wait_until_reached()
    bench.click(object_id, (9, 9))
    bench.model.proposing.open.set()
    bench.until(lambda: len(bench.document.get(object_id).sources) == 3)
    bench.until_answered(object_id)
    assert bench.document.get(object_id).sources == ("user", "auto", "auto")


def test_nothing_found_is_said_and_changes_nothing(make) -> None:
    bench = make(adapter="polyp")
    bench.open()
    bench.model.found = []
    bench.session.propose()
    bench.until(lambda: bool(bench.notes))
    assert "found nothing" in bench.notes[0]
    assert len(bench.document) == 0


def test_auto_prompting_without_an_adapter_says_what_to_do(make) -> None:
    bench = make()
    bench.open()
    bench.session.propose()
    bench.until(lambda: bool(bench.failures))
    assert "choose one" in bench.failures[0]
    bench.session.settings.adapter = "polyp"
    bench.session.propose()
    bench.until(lambda: len(bench.document) == 1)


# -- replaying -----------------------------------------------------------------------


def test_saved_prompts_replay_to_the_same_masks(make, tmp_path) -> None:
    from napari_promise.data import export

    bench = make(adapter="polyp")
    bench.open()
    bench.session.propose()
    bench.until(lambda: len(bench.document) == 1)
    object_id = bench.document.active_id
    for point in ((1, 1), (7, 8)):
        bench.click(object_id, point)
        bench.until_answered(object_id)
    path = tmp_path / "prompts.json"
    export.save_prompts(
        path, bench.document.objects, metadata=bench.session.provenance()
    )
    original = bench.document.get(object_id)

    bench.session.set_image(ArraySource(np.ones(SHAPE, np.uint8)))
    (replayed,) = bench.session.replay(export.load_prompts(path).objects)
    bench.until_answered(replayed)
    record = bench.document.get(replayed)
    assert record.prompts == original.prompts
    assert record.region == original.region
    assert record.sources == original.sources
    assert bench.document.undo_name == "load prompts"


# -- failure, cancelling, closing ----------------------------------------------------


def test_the_worker_survives_a_failure_and_says_what_to_do(make) -> None:
    bench = make()
    bench.open()
    bench.model.broken = 1
    object_id = bench.session.new_object().id
    bench.click(object_id, (1, 1))
    bench.until(lambda: bool(bench.failures))
    assert bench.failures == ["no mask: try another point"]
    assert bench.session.status.state == "error"
    bench.click(object_id, (2, 2))
    bench.until_answered(object_id)
    bench.until(lambda: bench.states[-1] == "ready")


def test_an_image_that_cannot_be_read_fails_once_and_not_forever(make) -> None:
    bench = make()
    bench.session.set_image(ArraySource(np.zeros(SHAPE, complex)))
    bench.until(lambda: len(bench.failures) == 1)
    object_id = bench.session.new_object().id
    bench.click(object_id, (1, 1))
    bench.until(lambda: len(bench.failures) == 2)
    assert not bench.session._requests
    bench.open()


def test_a_listener_that_raises_does_not_stop_the_worker(make, tmp_path) -> None:
    bench = make()

    def raise_in_worker(call: Callable[[], None]) -> None:
        bench.window.post(call)
        if bench.model.segmented and not bench.failures:
            bench.failures.append("raised")
            raise LookupError("the window is gone")

    bench.session._dispatch = raise_in_worker
    bench.open()
    object_id = bench.session.new_object().id
    bench.click(object_id, (1, 1))
    bench.until_answered(object_id)
    bench.click(object_id, (2, 2))
    bench.until_answered(object_id)


def test_even_a_listener_of_failures_that_raises_is_survived(make, caplog) -> None:
    bench = make()
    bench.session._dispatch = lambda call: call()  # listeners run in the worker

    def fail(_message: str) -> None:
        raise LookupError("the window is gone")

    bench.session.failed.connect(fail)
    bench.model.broken = 1
    bench.open()
    object_id = bench.session.new_object().id
    bench.click(object_id, (1, 1))
    bench.until(lambda: "could not be reported" in caplog.text)
    bench.click(object_id, (2, 2))
    bench.until_answered(object_id)


def test_cancelling_stops_the_encoding_and_a_click_takes_it_up_again(make) -> None:
    bench = make()
    bench.model.encoding.hold()
    bench.open(wait=False)
    bench.model.encoding.wait_until_reached()
    bench.session.cancel()
    bench.until(lambda: bench.session.status.message == "cancelled")
    assert bench.failures == []
    bench.model.encoding.open.set()
    object_id = bench.session.new_object().id
    bench.click(object_id, (1, 1))
    bench.until_answered(object_id)
    assert bench.model.encoded == [1, 1]


def test_an_encoding_that_cannot_be_stopped_is_kept_for_later(make) -> None:
    bench = make()
    bench.model.stoppable = False
    bench.model.encoding.hold()
    bench.open(wait=False)
    bench.model.encoding.wait_until_reached()
    bench.session.cancel()
    bench.model.encoding.open.set()
    object_id = bench.session.new_object().id
    bench.click(object_id, (1, 1))
    bench.until_answered(object_id)
    assert bench.model.encoded == [1]


def test_cancelling_a_model_keeps_the_one_in_use(make) -> None:
    bench = make(models={"promise-tiny": StandIn(), "vit_b": StandIn("b")})
    bench.open()
    bench.loading.wait_until_reached()
    bench.loading.hold()
    bench.session.settings.model = "vit_b"
    bench.loading.wait_until_reached()
    bench.session.cancel()
    bench.until(lambda: bench.session.settings.model == "promise-tiny")
    assert bench.session.model_id == "fake"
    assert bench.failures == []


def test_closing_stops_the_worker_whatever_it_is_at(make) -> None:
    bench = make()
    bench.model.encoding.hold()
    bench.open(wait=False)
    bench.model.encoding.wait_until_reached()
    bench.session.close()
    assert not bench.session._worker.is_alive()
    bench.session.close()


def test_without_a_window_the_worker_delivers_itself(tmp_path) -> None:
    session = Session(
        settings=Settings(), cache=EmbeddingCache(), loader=lambda m, **_: StandIn()
    )
    answered = threading.Event()
    session.segmented.connect(lambda _: answered.set())
    document = session.set_image(ArraySource(np.ones(SHAPE, np.uint8)))
    object_id = session.new_object().id
    document.edit_prompts(object_id, points=[(2, 3)])
    assert answered.wait(PATIENCE)
    assert document.get(object_id).bbox == bbox_at(2, 3)
    session.close()


# -- settings ------------------------------------------------------------------------


def test_settings_are_there_again_in_the_next_session(make, tmp_path) -> None:
    bench = make()
    bench.session.settings.overlap = "overwrite"
    bench.session.settings.cache_quota_mb = 77
    bench.session.close()
    saved = json.loads((tmp_path / "preferences.json").read_text())
    assert Settings.from_preferences(saved) == bench.session.settings


def test_preferences_that_do_not_fit_are_left_out() -> None:
    settings = Settings.from_preferences(
        {"overlap": "both", "live": "yes", "cache_quota_mb": True, "ips": False, "x": 1}
    )
    assert settings == Settings(ips=False)


def test_committing_follows_the_overlap_policy_that_is_set(make) -> None:
    bench = make(overlap="overwrite")
    bench.open()
    labels = np.zeros(SHAPE, int)
    bench.document.events.labels_patched.connect(lambda patch: patch.apply(labels))
    for _ in range(2):
        object_id = bench.session.new_object().id
        bench.click(object_id, (3, 4))
        bench.until_answered(object_id)
        bench.session.commit(object_id, labels)
    assert set(np.unique(labels)) == {0, 2}


# -- glimpses: what a mask would be while points are dragged -------------------------


def test_glimpses_follow_a_drag_and_leave_the_document_alone(make) -> None:
    bench = make()
    bench.open()
    object_id = bench.session.new_object().id
    bench.click(object_id, (1, 1))
    bench.until_answered(object_id)
    record, steps = bench.document.get(object_id), bench.document.undo_name
    seen: list = []
    bench.session.glimpsed.connect(seen.append)
    bench.model.segmented.clear()
    bench.model.segmenting.hold()
    drain(bench.model.segmenting)
    for row in (2, 3, 4, 5):
        moved = record.prompts.replace(points=[(row, row)])
        bench.session.glimpse(object_id, moved, ["user"])
        if row == 2:
            bench.model.segmenting.wait_until_reached()
    bench.model.segmenting.open.set()
    bench.until(lambda: len(seen) == 2)
    # The one under way and the newest; those in between are not computed.
    assert [p.points.tolist() for p in bench.model.segmented] == [[[2, 2]], [[5, 5]]]
    assert [glimpse.region.bbox for glimpse in seen] == [bbox_at(2, 2), bbox_at(5, 5)]
    assert bench.document.get(object_id) is record
    assert bench.document.undo_name == steps
    assert len(bench.results) == 1


def test_a_glimpse_that_comes_after_the_drag_is_dropped(make) -> None:
    bench = make()
    bench.open()
    object_id = bench.session.new_object().id
    bench.click(object_id, (1, 1))
    bench.until_answered(object_id)
    record = bench.document.get(object_id)
    seen: list = []
    bench.session.glimpsed.connect(seen.append)
    moved = record.prompts.replace(points=[(4, 4)])
    for end in (
        bench.session.end_glimpses,
        lambda: bench.document.set_prompts(object_id, moved, ["user"]),
    ):
        bench.model.segmenting.hold()
        drain(bench.model.segmenting)
        bench.session.glimpse(object_id, moved, ["user"])
        bench.model.segmenting.wait_until_reached()
        end()
        bench.model.segmenting.open.set()
        bench.until_answered(object_id)
    bench.session.measure_cache()
    measured: list = []
    bench.session.cache_measured.connect(lambda *sizes: measured.append(sizes))
    bench.until(lambda: bool(measured))
    assert not seen
    assert bench.document.get(object_id).bbox == bbox_at(4, 4)


def test_a_drop_asks_for_what_was_glimpsed(make) -> None:
    bench = make()
    bench.open()
    object_id = bench.session.new_object().id
    bench.click(object_id, (1, 1), (2, 2))
    bench.until_answered(object_id)
    record = bench.document.get(object_id)
    moved = record.prompts.replace(points=[(1, 1), (6, 6)])
    seen: list = []
    bench.session.glimpsed.connect(seen.append)
    bench.session.glimpse(object_id, moved, ["user", "user"])
    bench.until(lambda: bool(seen))
    bench.session.end_glimpses()
    bench.document.set_prompts(object_id, moved, ["user", "user"])
    bench.until_answered(object_id)
    glimpsed, dropped = bench.model.segmented[-2:]
    assert glimpsed == dropped


def test_the_cache_is_measured_when_asked_and_after_it_was_cleared(
    make, tmp_path
) -> None:
    bench = make(cache=EmbeddingCache(tmp_path / "cache"))
    bench.open(10, 20, plane=(0,))
    bench.until(lambda: len(bench.model.encoded) == 2 and not bench.session._unsaved)
    sizes: list = []
    bench.session.cache_measured.connect(lambda *size: sizes.append(size))
    bench.session.measure_cache()
    bench.until(lambda: len(sizes) == 1)
    assert min(sizes[0]) > 0
    bench.session.clear_cache()
    bench.until(lambda: len(sizes) == 2)
    assert sizes[1] == (0, 0)
    bench.session.settings.disk_cache = False
    bench.until(lambda: len(sizes) == 3)
    assert sizes[2] == (0, None)


# -- long jobs -----------------------------------------------------------------------


class Steps:
    """A job of a few steps that can be held in any of them."""

    def __init__(self, count: int, work=lambda bench: None) -> None:
        self.left = count
        self.work = work
        self.gate = Gate()
        self.errors: list[Exception] = []
        self.given_way = 0
        self.closed = threading.Event()

    def step(self, bench) -> bool:
        try:
            self.gate.pass_through(bench.must_give_way)
            self.work(bench)
        except RuntimeError:
            self.given_way += 1
            raise
        self.left -= 1
        return self.left > 0

    def fail(self, bench, error) -> None:
        self.errors.append(error)

    def close(self) -> None:
        self.closed.set()


def test_a_click_is_answered_between_the_steps_of_a_job(make) -> None:
    bench = make()
    bench.open()
    job = Steps(3)
    job.gate.hold()
    bench.session.start_job(job)
    job.gate.wait_until_reached()
    record = bench.session.new_object()
    bench.click(record.id, (3, 4))
    bench.until_answered(record.id)  # although no step can end
    assert job.given_way >= 1
    assert job.left == 3
    job.gate.open.set()
    assert job.closed.wait(PATIENCE)
    assert job.left == 0
    assert not job.errors


def test_a_job_embeds_images_that_are_not_on_display_and_keeps_that(make) -> None:
    bench = make()
    bench.open()
    other = ArraySource(np.full(SHAPE, 9, np.uint8))
    seen = []
    job = Steps(1, lambda b: seen.append(b.embedding(other, ())))
    bench.session.start_job(job)
    assert job.closed.wait(PATIENCE)
    assert len(seen) == 1
    bench.session.set_image(other)
    bench.until(lambda: bench.session.status.state == "ready")
    bench.session.close()
    assert bench.model.encoded == [1, 9]


def test_a_job_that_fails_is_told_so_and_the_next_goes_on(make) -> None:
    bench = make()
    bench.open()

    def break_(_bench) -> None:
        raise ValueError("no file: give another")

    broken, sound = Steps(5, break_), Steps(1)
    bench.session.start_job(broken)
    bench.session.start_job(sound)
    assert sound.closed.wait(PATIENCE)
    assert [str(error) for error in broken.errors] == ["no file: give another"]
    assert broken.closed.is_set()
    assert not bench.session.has_job(broken)


def test_a_job_is_closed_when_it_is_ended_and_when_the_session_is(make) -> None:
    bench = make()
    bench.open()
    ended, open_ = Steps(10**9), Steps(10**9)
    bench.session.start_job(open_)
    bench.session.start_job(ended, first=True)
    ended.gate.wait_until_reached()
    bench.session.end_job(ended)
    assert ended.closed.wait(PATIENCE)
    assert not open_.closed.is_set()
    bench.session.close()
    assert open_.closed.is_set()


def test_an_adapter_whose_files_changed_is_read_again(make) -> None:
    bench = make(adapter="polyp")
    bench.open()
    told = []
    bench.session.adapter_changed.connect(told.append)
    bench.session.reload_adapter()
    bench.until(lambda: bool(told))
    assert told[0].name == "polyp"
