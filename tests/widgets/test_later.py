"""A call that waits, and the timer behind it that no thread but the window's ends."""

from __future__ import annotations

import gc
import threading
import weakref

import pytest
from qtpy.compat import isalive

from napari_promise.widgets.later import Later


def test_it_calls_once_after_the_last_time_it_was_asked(qtbot) -> None:
    calls: list[int] = []
    later = Later(lambda: calls.append(1), 5)
    for _ in range(3):
        later.start("whatever a signal says")
    assert later.is_waiting
    qtbot.waitUntil(lambda: bool(calls))
    qtbot.wait(20)
    assert calls == [1]
    assert not later.is_waiting


def test_stopped_it_does_not_call(qtbot) -> None:
    calls: list[int] = []
    later = Later(lambda: calls.append(1))
    later.start()
    later.stop()
    qtbot.wait(10)
    assert not calls


@pytest.mark.parametrize("waits", [False, True])
def test_collected_in_another_thread_its_timer_ends_in_this_one(qtbot, waits) -> None:
    class Owner:
        def __init__(self) -> None:
            self.later = Later(self.ring, 1)  # a cycle, as it is in use

        def ring(self) -> None:
            raise AssertionError("nobody is left to be told")

    owner = Owner()
    if waits:
        owner.later.start()
    timer, gone = owner.later._timer, weakref.ref(owner)
    del owner
    collecting = threading.Thread(target=gc.collect)
    collecting.start()
    collecting.join()
    assert gone() is None
    assert isalive(timer)
    qtbot.waitUntil(lambda: not isalive(timer))
