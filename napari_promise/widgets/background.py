"""Does what takes its time in a thread, and brings the result into the window's."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from napari_promise.files import one_line

_T = TypeVar("_T")

Dispatch = Callable[[Callable[[], Any]], None]


def later(
    work: Callable[[], _T],
    then: Callable[[_T], Any],
    failed: Callable[[str], Any],
    *,
    dispatch: Dispatch,
    finish: bool = False,
) -> threading.Thread:
    """Do something that reads or writes files, outside the window's thread.

    Parameters
    ----------
    work : callable
        Called in a thread of its own. It may touch no widget and no layer.
    then : callable
        Given what `work` returned, in the window's thread.
    failed : callable
        Given one line where `work` raised a ValueError or an OSError, in the window's
        thread.
    dispatch : callable
        Has a function called in the window's thread, see `GuiDispatcher`.
    finish : bool
        Whether the program waits for it at its end: what writes a file for the user.

    Returns
    -------
    threading.Thread
        Running already.
    """

    def run() -> None:
        try:
            result = work()
        except (ValueError, OSError) as error:
            line = one_line(error)
            dispatch(lambda: failed(line))
        else:
            dispatch(lambda: then(result))

    thread = threading.Thread(
        target=run, name="napari-promise background", daemon=not finish
    )
    thread.start()
    return thread
