"""Work in a thread comes back to the window's, as a result or as one line."""

from __future__ import annotations

import threading
from typing import Any

from napari_promise.widgets.background import later


def test_a_result_comes_back_by_the_dispatcher() -> None:
    posted: list[Any] = []
    got: list[Any] = []
    thread = later(threading.get_ident, got.append, got.append, dispatch=posted.append)
    thread.join()
    assert got == []  # not in that thread
    posted[0]()
    assert got[0] != threading.get_ident()


def test_a_failure_comes_back_as_one_line() -> None:
    posted: list[Any] = []
    got: list[str] = []

    def fail() -> None:
        raise ValueError("no such file: choose another\nand more")

    later(fail, lambda _: None, got.append, dispatch=posted.append).join()
    posted[0]()
    assert got == ["no such file: choose another"]
