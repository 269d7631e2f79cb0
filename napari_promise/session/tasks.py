"""What the worker can be told to do; every task can be told to stop.

`TaskQueue` chooses among them, `Worker` does them.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from dataclasses import dataclass, field

from napari_promise.document import Tile
from napari_promise.session.contracts import Job
from napari_promise.session.requests import Request
from napari_promise.session.sources import ImageInWork

__all__ = [
    "AdaptTask",
    "AnswerTask",
    "Callback",
    "EncodeTask",
    "JobStep",
    "LoadTask",
    "Task",
]


@dataclass(eq=False, kw_only=True)
class Task:
    """Something the worker does."""

    stop: threading.Event = field(default_factory=threading.Event)


@dataclass(eq=False)
class LoadTask(Task):
    """Load the model that the settings name, and its adapter."""


@dataclass(eq=False)
class AdaptTask(Task):
    """Set the adapter that the settings name."""


@dataclass(eq=False)
class AnswerTask(Task):
    """Answer a request, whose tile is encoded."""

    request: Request


@dataclass(eq=False)
class EncodeTask(Task):
    """Have the embedding of a tile; `ahead` of its time where no answer waits.

    `closer` where it is for a second look at an object, which nobody has to wait for.
    """

    image: ImageInWork
    tile: Tile
    ahead: bool = False
    closer: bool = False


@dataclass(eq=False)
class Callback(Task):
    """Something small that is not worth stopping."""

    call: Callable[[], None]


@dataclass(eq=False)
class JobStep(Task):
    """Take a step of a long job."""

    job: Job
