"""Long jobs are done step by step, and give way to clicks."""

from __future__ import annotations

import threading

import numpy as np

from napari_promise.document import Tile
from napari_promise.session import ArraySource
from tests.session.bench import PATIENCE, SHAPE, Gate


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
    record = bench.new_object()
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
    job = Steps(1, lambda b: seen.append(b.embedding(other, Tile())))
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
    assert broken.left == 5, "no further step was taken"


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


def test_scrolling_does_not_stop_a_job_that_is_looked_on_at_and_a_click_does(
    make,
) -> None:
    bench = make()
    bench.open(10, 20, 30, plane=(0,))
    bench.until(lambda: len(bench.model.encoded) == 3)
    job = Steps(2)
    job.gate.hold()
    bench.session.start_job(job, first=True, watched=True)
    job.gate.wait_until_reached()
    task = bench.session._queue._task
    for plane in (1, 2, 1):
        bench.session.show_plane((plane,))
    assert not task.stop.is_set()
    record = bench.document.new_object((1,))
    bench.click(record.id, (3, 4))
    bench.until_answered(record.id)
    assert job.given_way == 1
    job.gate.open.set()
    assert job.closed.wait(PATIENCE)


def test_a_plane_that_one_stays_on_is_encoded_between_two_watched_steps(make) -> None:
    bench = make()
    bench.open(10, 20, 30, 40, 50, plane=(0,))
    bench.until(lambda: len(bench.model.encoded) == 3)  # and two ahead
    job = Steps(2)
    job.gate.hold()
    bench.session.start_job(job, first=True, watched=True)
    job.gate.wait_until_reached()
    bench.session.show_plane((4,))
    job.gate.open.set()
    assert job.closed.wait(PATIENCE)
    bench.until(lambda: (4,) in bench.planes)
    assert bench.model.encoded == [10, 20, 30, 50]
