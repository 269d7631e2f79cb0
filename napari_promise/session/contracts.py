"""What the session asks of others, and what it offers to those who work in steps.

Promises only: nothing here computes, and torch is named by nobody.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

from numpy.typing import NDArray

from napari_promise.document import Plane
from napari_promise.prompts import Prompts
from napari_promise.session.sources import ImageSource

__all__ = ["EmbeddingLike", "Job", "Loader", "SegmenterLike", "JobContext"]


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


class JobContext(Protocol):
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

    def step(self, context: JobContext) -> bool:
        """Do a little more, on the worker; False when nothing is left to do."""

    def fail(self, context: JobContext, error: Exception) -> None:
        """End with an error: a step raised it, and nobody had asked it to give way."""

    def close(self) -> None:
        """Let go, on the worker: the job is done, cancelled, or the session ends."""
