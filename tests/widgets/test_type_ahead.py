"""Acts typed quickly end in the same document as the same acts typed slowly."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from psygnal import Signal

from napari_promise.data.embeddings import EmbeddingCache
from napari_promise.document import Document, Region
from napari_promise.freehand import Freehand
from napari_promise.prompts import Before, Prompts
from napari_promise.segmentation import Segmentation
from napari_promise.session import ArraySource, Order, Session, Settings
from napari_promise.widgets.actions import Actions
from napari_promise.widgets.layers import edits
from napari_promise.widgets.layers.table import UNASSIGNED, PointTable

SHAPE = (24, 32)
PLANES = 3
PATIENCE = 300.0


class Discs:
    """Discs around points, never an empty mask; waits at every call while held."""

    model_id, sha256, device = "promise-tiny", "0" * 64, "cpu"
    adapter_sha256 = None
    sam = None

    def __init__(self) -> None:
        self.adapter_info: Any = None
        self.failing = False
        self._open = threading.Event()
        self._open.set()

    def hold(self) -> None:
        self._open.clear()

    def release(self) -> None:
        self._open.set()

    def with_adapter(self, name: str | None) -> Discs:
        self.adapter_info = SimpleNamespace(name=name) if name else None
        return self

    def encode(self, image: Any, *, cancel: Any = None, **options: Any) -> Any:
        while not self._open.wait(0.002):
            if cancel is not None and cancel():
                raise RuntimeError("cancelled")
        return SimpleNamespace(to_arrays=lambda: {"a": np.zeros(1)})

    def restore(self, arrays: Any) -> Any:
        return SimpleNamespace(to_arrays=lambda: {"a": np.zeros(1)})

    def segment(self, emb: Any, prompts: Prompts, **options: Any) -> Segmentation:
        self._open.wait()
        if self.failing:
            raise ValueError("no mask: try another point")
        rows, columns = np.ogrid[: SHAPE[0], : SHAPE[1]]
        mask = np.zeros(SHAPE, bool)
        for label in (1, 0):
            for row, column in prompts.points[prompts.labels == label]:
                disc = (rows - row) ** 2 + (columns - column) ** 2 <= 25
                mask = mask | disc if label else mask & ~disc
        for row, column in prompts.points[:1]:
            mask[int(row), int(column)] = True
        logits = np.where(mask[::4, ::4], 4.0, -4.0).astype(np.float32)[None]
        return Segmentation(SHAPE, Region.from_mask(mask), 0.5, logits)

    def segment_many(self, emb: Any, prompts: Any, **options: Any) -> Any:
        return tuple(self.segment(emb, each, **options) for each in prompts)

    def proposals(self, emb: Any) -> tuple[Prompts, ...]:
        return (self.propose(emb),)

    def propose(self, emb: Any) -> Prompts:
        return Prompts(
            points=[(8, 8), (10, 12)],
            labels=[1, 1],
            scores=[0.9, 0.8],
            before=Before(np.zeros((1, 6, 8), np.float32)),
        )


class Layers:
    """Stands for the bridge: labels beside a document, a plane on display."""

    work_changed = Signal()

    def __init__(self, order: Order) -> None:
        self.labels = np.zeros((PLANES, *SHAPE), np.int32)
        self.document = Document()
        self.document.events.labels_patched.connect(lambda p: p.apply(self.labels))
        self.work = SimpleNamespace(
            document=self.document,
            shape=self.labels.shape,
            result=SimpleNamespace(plane=lambda plane: self.labels[plane]),
        )
        self.plane = (0,)
        self.include = True
        self.picks, self.chosen = False, ()
        self._order = order

    def work_of(self, document: Document) -> Any:
        return self.work if document is self.document else None

    def has_image(self) -> bool:
        return True

    def use_points(self) -> None:
        pass

    def set_include(self, include: bool) -> None:
        self.include = include

    def go_to(self, plane: tuple[int, ...]) -> None:
        if plane != self.plane:
            self.plane = plane
            self._do(lambda: self._choose(plane))

    def _choose(self, plane: tuple[int, ...]) -> None:
        document = self.document
        if document.active is None or document.active.plane != plane:
            document.active_id = edits.draft_on(document, plane)

    def _do(self, act: Callable[[], None]) -> None:
        self._order.do(self.document, act)

    # -- what a hand does in the layers

    def edit(self, change: Callable[[PointTable], PointTable | None]) -> None:
        """Change the rows of the object in work, as the points layer would."""
        plane = self.plane

        def now() -> None:
            document = self.document
            shown = [r for r in document.on_plane(plane) if r.id == document.active_id]
            before = edits.rows_of(shown, 3)
            after = change(before)
            if after is not None:
                with document.step("edit"):
                    edits.take_points_late(document, before, after, plane)

        self._do(now)

    def click(self, row: int, column: int) -> None:
        include, plane = self.include, self.plane
        new = PointTable(
            np.array([(*plane, row, column)], float),
            np.array([UNASSIGNED]),
            np.array([include]),
            np.array([0], np.uint8),
            np.array([np.nan]),
        )
        self.edit(lambda rows: PointTable.concatenate([rows, new], 3))

    def scribble(self, row: int, column: int) -> None:
        line = Freehand("scribble", np.array([(row, 2), (row, column)], float))
        include, plane = self.include, self.plane
        self._do(lambda: edits.take_line(self.document, plane, line, include, SHAPE))

    def delete(self, which: int) -> None:
        def change(rows: PointTable) -> PointTable | None:
            if len(rows) < 2:
                return None
            return rows.take(np.arange(len(rows)) != which % len(rows))

        self.edit(change)

    def move(self, which: int, row: int, column: int) -> None:
        def change(rows: PointTable) -> PointTable | None:
            if not len(rows):
                return None
            data = rows.data.copy()
            data[which % len(rows), -2:] = row, column
            return PointTable(
                data, rows.objects, rows.include, rows.sources, rows.scores
            )

        self.edit(change)

    def paint(self, row: int, column: int, label: int) -> None:
        from napari_promise.document import LabelPatch

        here = self.labels[self.plane][row : row + 3, column : column + 3]
        after = np.full_like(here, label)
        patch = LabelPatch.from_crops(self.plane, (row, column), here, after, SHAPE)
        here[:] = after
        self._order.record_stroke(self.document, [patch], label)


class Hand:
    """Someone with a keyboard, and the desk they sit at."""

    def __init__(self, overlap: Any = "keep") -> None:
        self.model = Discs()
        self._posted: queue.Queue[Callable[[], None]] = queue.Queue()
        self.session = Session(
            dispatch=self._posted.put,
            settings=Settings(adapter="discs", overlap=overlap),
            cache=EmbeddingCache(None),
            loader=lambda *_, **__: self.model,
        )
        self.order = Order(self.session)
        self.layers = Layers(self.order)
        self.said: list[str] = []
        self.actions = Actions(self.session, self.layers, self.said.append, self.order)
        stack = np.zeros((PLANES, *SHAPE), np.uint8)
        stack[:] = np.arange(PLANES)[:, None, None]
        self.session.set_image(ArraySource(stack), (0,), document=self.layers.document)

    @property
    def document(self) -> Document:
        return self.layers.document

    def act(self, name: str, *how: Any) -> None:
        if name in ("click", "scribble", "move", "delete", "paint"):
            getattr(self.layers, name)(*how)
        elif name == "include":
            self.layers.set_include(*how)
        elif name == "plane":
            self.layers.go_to(*how)
            self.session.show_plane(*how)
        elif name in ("reopen", "remove"):
            # In its turn: no row can be clicked before it is there.
            self.order.do(self.document, lambda: self._choose_row(name, *how))
        else:
            getattr(self.actions, name)()

    def _choose_row(self, name: str, object_id: int) -> None:
        if object_id in self.document:
            act = self.actions.reopen if name == "reopen" else self.actions.delete
            act(object_id)

    def hear(self, most: int = 10**9) -> None:
        while most > 0 and not self._posted.empty():
            most -= 1
            self._posted.get()()

    def is_settled(self) -> bool:
        answered = all(
            r.is_answered or not r.prompts.has_target for r in self.document.objects
        )
        return answered and not self.actions.is_waiting(self.document)

    def wait(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while not self.is_settled():
            assert time.monotonic() < deadline, "it never settled"
            try:
                self._posted.get(timeout=0.02)()
            except queue.Empty:
                continue
        self.hear()

    def close(self) -> None:
        self.model.release()
        self.session.close()
        self.actions.close()


@dataclass
class Outcome:
    objects: list[Any]
    active: int | None
    steps: list[str]
    labels: np.ndarray


def outcome(hand: Hand) -> Outcome:
    """Everything a person made, without what a mask was fed back for."""
    objects = [
        (
            r.id,
            r.plane,
            r.prompts.points.tolist(),
            r.prompts.labels.tolist(),
            r.prompts.boxes.tolist(),
            r.sources,
            r.committed,
            *(
                None if region is None else (region.bbox, region.crop.tolist())
                for region in (r.region, r.written, r.yielded)
            ),
        )
        for r in hand.document.objects
    ]
    undo = hand.document.snapshot().undo
    return Outcome(
        objects,
        hand.document.active_id,
        [step.name for step in undo],
        hand.layers.labels.copy(),
    )


def typed(acts: list[tuple[Any, ...]], pauses: list[int], overlap: str) -> Outcome:
    """Type acts; a pause of -1 waits for all answers, another hears that many."""
    hand = Hand(overlap)
    try:
        hand.model.hold()
        for act, pause in zip(acts, pauses, strict=True):
            hand.act(*act)
            if pause < 0:
                hand.model.release()
                hand.wait()
                hand.model.hold()
            elif pause:
                hand.model.release()
                hand.hear(pause)
        hand.model.release()
        hand.wait()
        first = outcome(hand)
        steps = len(first.steps)
        for _ in range(steps):
            hand.act("undo")
            hand.wait()
        assert not hand.document.can_undo
        assert not hand.layers.labels.any()
        for _ in range(steps):
            hand.act("redo")
            hand.wait()
        np.testing.assert_array_equal(hand.layers.labels, first.labels)
        return first
    finally:
        hand.close()


def assert_same(one: Outcome, other: Outcome) -> None:
    assert one.objects == other.objects
    assert one.active == other.active
    assert one.steps == other.steps
    np.testing.assert_array_equal(one.labels, other.labels)


_ROWS, _COLUMNS = st.integers(2, SHAPE[0] - 5), st.integers(2, SHAPE[1] - 5)
_CLICK = st.tuples(st.just("click"), _ROWS, _COLUMNS)
_COMMIT = st.just(("commit",))
_ACT = st.one_of(
    _CLICK,
    _CLICK,
    st.tuples(st.just("scribble"), _ROWS, _COLUMNS),
    _COMMIT,
    _COMMIT,
    st.tuples(st.just("include"), st.booleans()),
    st.just(("new",)),
    st.just(("undo",)),
    st.just(("redo",)),
    st.just(("auto",)),
    st.just(("clear",)),
    st.tuples(st.just("plane"), st.tuples(st.integers(0, PLANES - 1))),
    st.tuples(st.just("delete"), st.integers(0, 5)),
    st.tuples(st.just("move"), st.integers(0, 5), _ROWS, _COLUMNS),
    st.tuples(st.just("reopen"), st.integers(1, 5)),
    st.tuples(st.just("remove"), st.integers(1, 5)),
    st.tuples(st.just("paint"), _ROWS, _COLUMNS, st.sampled_from([77, 78])),
)
_TYPED = st.lists(st.tuples(_ACT, st.sampled_from([-1, 0, 0, 0, 1, 3])), max_size=14)


@settings(
    max_examples=40,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(typing=_TYPED, overlap=st.sampled_from(["keep", "overwrite"]))
def test_acts_typed_at_any_speed_end_as_typed_slowly(typing, overlap) -> None:
    # Undo that is held back shows its plane later.
    if any(act[0] == "auto" for act, _ in typing):
        typing = [typed for typed in typing if typed[0][0] != "plane"]
    acts = [act for act, _ in typing]
    slowly = typed(acts, [-1] * len(acts), overlap)
    assert_same(typed(acts, [0] * len(acts), overlap), slowly)
    assert_same(typed(acts, [pause for _, pause in typing], overlap), slowly)


@pytest.fixture
def hand():
    hand = Hand()
    yield hand
    hand.close()


def test_click_and_commit_sixteen_times_make_sixteen_committed_objects(hand) -> None:
    hand.model.hold()
    for index in range(16):
        hand.act("click", 3 + 6 * (index // 4), 3 + 8 * (index % 4))
        hand.act("commit")
    assert hand.document.pending == frozenset(range(1, 17))
    assert hand.actions.waiting_line() == (
        "16 objects are committed as soon as their masks are there."
    )
    hand.model.release()
    hand.wait()
    assert [r.committed for r in hand.document.objects] == [True] * 16
    assert not hand.document.pending
    assert set(np.unique(hand.layers.labels)) == set(range(17))


def test_undo_takes_a_pending_commit_back(hand) -> None:
    hand.model.hold()
    hand.act("click", 5, 5)
    hand.act("commit")
    hand.act("undo")
    assert not hand.document.pending
    assert hand.document.active_id == 1
    hand.model.release()
    hand.wait()
    assert not hand.layers.labels.any()
    hand.act("redo")
    assert hand.document.get(1).committed


def test_a_commit_that_gets_no_mask_is_told_and_leaves_the_object_open(hand) -> None:
    hand.model.hold()
    hand.act("click", 5, 5)
    hand.act("commit")
    hand.model.failing = True
    hand.model.release()
    deadline = time.monotonic() + PATIENCE
    while not hand.said and time.monotonic() < deadline:
        hand.hear()
        time.sleep(0.01)
    assert hand.said == [
        "Object 1 is not committed and stays open: no mask: try another point"
    ]
    assert not hand.document.pending
    assert not hand.document.get(1).committed
    assert len(hand.document.get(1).prompts.points) == 1
    hand.model.failing = False
    hand.act("reopen", 1)
    hand.act("click", 8, 8)
    hand.act("commit")
    hand.wait()
    assert hand.document.get(1).committed


def test_a_failing_object_does_not_keep_those_behind_it_waiting(hand) -> None:
    hand.act("click", 5, 5)
    hand.wait()
    hand.model.hold()
    hand.act("new")
    hand.act("click", 15, 20)
    hand.act("commit")
    hand.act("reopen", 1)
    hand.act("commit")
    assert hand.document.pending == {1, 2}
    hand.session.cancel()
    hand.hear()
    assert hand.document.get(1).committed
    assert not hand.document.get(2).committed
