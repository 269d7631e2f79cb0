"""The worker outlives failures, and stops when it is told."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable

import numpy as np

from napari_promise.data.embeddings import EmbeddingCache
from napari_promise.session import ArraySource, Session, Settings, answers
from tests.session.bench import PATIENCE, SHAPE, StandIn, bbox_at


def test_the_worker_survives_a_failure_and_says_what_to_do(make) -> None:
    bench = make()
    bench.open()
    bench.model.broken = 1
    object_id = bench.new_object().id
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
    object_id = bench.new_object().id
    bench.click(object_id, (1, 1))
    bench.until(lambda: len(bench.failures) == 2)
    assert not bench.session._queue.waiting()
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
    object_id = bench.new_object().id
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
    object_id = bench.new_object().id
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
    object_id = bench.new_object().id
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
    object_id = bench.new_object().id
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
    assert not bench.session._worker._thread.is_alive()
    bench.session.close()


def test_what_is_delivered_after_closing_is_dropped(tmp_path) -> None:
    posted: list[Callable[[], None]] = []
    session = Session(
        dispatch=posted.append,
        settings=Settings(),
        cache=EmbeddingCache(),
        loader=lambda m, **_: StandIn(),
    )
    document = session.set_image(ArraySource(np.ones(SHAPE, np.uint8)))
    object_id = document.new_object().id
    document.edit_prompts(object_id, points=[(2, 3)])
    end = time.monotonic() + PATIENCE
    said: list[object] = []
    session.status_changed.connect(said.append)
    while session.status.state != "ready" and time.monotonic() < end:
        time.sleep(0.01)
    session.close()
    assert posted
    for call in posted:
        call()
    assert said == []
    assert not document.get(object_id).is_answered


def test_without_a_window_the_worker_delivers_itself(tmp_path) -> None:
    session = Session(
        settings=Settings(), cache=EmbeddingCache(), loader=lambda m, **_: StandIn()
    )
    answered = threading.Event()
    session.segmented.connect(lambda _: answered.set())
    document = session.set_image(ArraySource(np.ones(SHAPE, np.uint8)))
    object_id = document.new_object().id
    document.edit_prompts(object_id, points=[(2, 3)])
    assert answered.wait(PATIENCE)
    assert document.get(object_id).bbox == bbox_at(2, 3)
    session.close()


def test_the_worker_leaves_a_core_to_the_window_and_gives_it_back(make) -> None:
    import torch

    def seen_by_a_new_thread() -> int:
        seen: list[int] = []
        thread = threading.Thread(target=lambda: seen.append(torch.get_num_threads()))
        thread.start()
        thread.join()
        return seen[0]

    cores, before = os.cpu_count() or 1, torch.get_num_threads()
    torch.set_num_threads(cores + 1)  # as somebody else may have set it
    try:
        bench = make()
        segment, used = bench.model.segment, []

        def counting(*asked, **options):
            used.append(torch.get_num_threads())
            return segment(*asked, **options)

        bench.model.segment = counting
        bench.open()
        object_id = bench.new_object().id
        bench.click(object_id, (3, 4))
        bench.until_answered(object_id)
        bench.session.close()
        assert used == [max(1, cores - 1)]
        assert seen_by_a_new_thread() == cores + 1
    finally:
        torch.set_num_threads(before)


def test_what_failed_can_be_asked_again_at_once(make) -> None:
    bench = make()
    bench.open()
    bench.model.broken = 1
    object_id = bench.new_object().id
    asked = []

    def ask_again(document, which: int, why: str) -> None:
        asked.append(why)
        bench.session.segment(which)

    bench.session.unanswered.connect(ask_again)
    # the window deals with everything before the worker gets on
    bench.session._dispatch = lambda call: call()
    bench.click(object_id, (1, 1))
    bench.until_answered(object_id)
    assert asked == ["no mask: try another point"]


def test_a_click_taken_back_and_redone_as_its_turn_comes_is_answered(
    make, monkeypatch
) -> None:
    bench = make()
    bench.open()
    object_id = bench.new_object().id
    is_current, checked = answers.is_current, []

    def while_taken_back(request) -> bool:
        if checked:
            return is_current(request)
        checked.append(request)
        bench.document.undo()
        found = is_current(request)
        bench.document.redo()  # before the worker has drawn its conclusion
        return found

    monkeypatch.setattr(answers, "is_current", while_taken_back)
    bench.click(object_id, (1, 1))
    bench.until_answered(object_id)
    assert checked
