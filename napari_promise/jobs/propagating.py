"""Carry objects from their prompted planes through a stack, in the background.

One step of the job is one plane of one object, nearest planes first. What it finds is
handed to the window's thread plane by plane, so that ending it at any moment keeps what
is there. What was learned of the drawn planes is kept in a `Memory` for the next run:
a correction learns from one plane, not from all again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import Plane, Region
from napari_promise.jobs.stack_planes import StackPlanes
from napari_promise.model.resampling import mask_to_logits
from napari_promise.prompts import round_logits
from napari_promise.propagation import PlaneResult, Propagator
from napari_promise.session import ImageSource, JobContext

__all__ = ["Drawing", "Memory", "Propagate", "mask_prompt"]

#: Of an object, plane -> its mask there; None where it is known not to be.
Drawing = Mapping[int, "Region | None"]


def mask_prompt(
    segmenter: Any, embedding: Any, mask: NDArray[np.bool_]
) -> NDArray[np.float32]:
    """Return a mask as the prompt that a click corrects, (1, h, w).

    Parameters
    ----------
    segmenter : SegmenterLike
    embedding : Embedding
        Of the mask's plane.
    mask : (H, W) bool
    """
    rows, columns = segmenter.sam.prompt_encoder.mask_input_size
    logits = mask_to_logits(mask, embedding, (rows, columns))[0]
    return round_logits(logits.float().cpu().numpy())


class Memory:
    """What propagation learned of one stack, from one run to the next.

    Written by the worker alone; the window's thread may say that what was found does
    not stand any more.
    """

    def __init__(self) -> None:
        self._propagator: Any = None
        self._made_for: object = None
        self._job: Propagate | None = None
        self._known: dict[tuple[int, int], Region | None] = {}
        self._stale = False

    def forget_found(self) -> None:
        """Count no longer on what runs found, as after an undo."""
        self._stale = True

    def ready(
        self, job: Propagate, made_for: object, objects: Mapping[int, Drawing]
    ) -> Any:
        """Return a propagator that knows what is drawn, and nothing else.

        Parameters
        ----------
        job : Propagate
            Reads and encodes planes for it from now on.
        made_for : object
            Model and place; for others a fresh one is made.
        objects : mapping of int to Drawing
            By label.
        """
        self._job = job
        if self._propagator is None or made_for != self._made_for:
            self._propagator = job.make(self._embed, self._pixels)
            self._made_for = made_for
            self._known.clear()
        elif self._stale:
            self._propagator.forget_found()
        self._stale = False
        wanted = {
            (label, plane): region
            for label, drawing in objects.items()
            for plane, region in drawing.items()
        }
        for label, plane in self._known.keys() - wanted.keys():
            self._propagator.remove_plane(plane, label)
            del self._known[label, plane]
        for (label, plane), region in wanted.items():
            if (label, plane) in self._known:
                if self._known[label, plane] is region:
                    continue
                del self._known[label, plane]  # or a half-done step would be believed
            self._propagator.set_plane(plane, label, region)
            self._known[label, plane] = region
        return self._propagator

    def _embed(self, plane: int) -> Any:
        assert self._job is not None
        return self._job.planes.embed(plane)

    def _pixels(self, plane: int) -> NDArray[np.float32]:
        assert self._job is not None
        return self._job.planes.pixels(plane)


class Propagate:
    """A `Job` that finds objects on the planes that nobody drew.

    Parameters
    ----------
    source : ImageSource
        The stack, (..., planes, rows, columns).
    before : Plane
        The indices in front of the axis that is propagated along.
    objects : mapping of int to Drawing
        By label, the planes that were prompted or confirmed, with their masks; also of
        objects that are not `wanted`, but meet those that are.
    wanted : tuple of int
        The labels of the objects to find.
    spacing : (float, float, float)
        Between planes, rows and columns, in one unit.
    z_range : (int, int)
        First and last plane that may be drawn on.
    found : callable
        Given each `PlaneResult` and its mask as the model takes it, (1, h, w), in the
        window's thread.
    ended : callable
        Given one line in the window's thread; an empty one where all went well.
    memory : Memory, optional
        Of the runs on this stack; left out, this run learns all by itself.
    make : callable
        What finds the planes, called as `Propagator` is.
    as_prompt : callable
        Turns a mask into what the model takes, see `mask_prompt`.
    """

    def __init__(
        self,
        source: ImageSource,
        before: Plane,
        objects: Mapping[int, Drawing],
        wanted: tuple[int, ...],
        *,
        spacing: tuple[float, float, float],
        z_range: tuple[int, int],
        found: Callable[[PlaneResult, NDArray[np.float32] | None], None],
        ended: Callable[[str], None],
        memory: Memory | None = None,
        make: Callable[..., Any] = Propagator,
        as_prompt: Callable[..., NDArray[np.float32]] = mask_prompt,
    ) -> None:
        self.planes = StackPlanes(source, before)
        self._before = before
        self._objects = {label: dict(each) for label, each in objects.items()}
        self._wanted = wanted
        self._spacing = spacing
        self._z_range = z_range
        self._found = found
        self._ended = ended
        self._memory = memory or Memory()
        self._make = make
        self._as_prompt = as_prompt
        self._propagator: Any = None
        self._run: Iterator[PlaneResult] | None = None

    def step(self, context: JobContext) -> bool:
        """Find an object on one more plane; False when nothing is left to do."""
        if context.must_give_way():
            return True
        self.planes.context = context
        if self._run is None:
            self._run = self._begin(context)
        # Outside of the iterator: giving way while a plane is encoded, as when somebody
        # clicks, must not end it.
        upcoming = self._propagator.upcoming
        if upcoming is not None:
            self.planes.embed(upcoming)
        try:
            result = next(self._run, None)
            logits = None
            if result is not None and result.region is not None:
                embedding = self.planes.embed(result.plane)
                mask = result.region.mask
                logits = self._as_prompt(context.segmenter, embedding, mask)
        except BaseException:
            # An iterator that was left by an exception is over. What is known already
            # is found again quickly: its planes are encoded.
            self._run = None
            raise
        if result is None:
            context.deliver(lambda: self._ended(""))
            return False
        context.deliver(lambda: self._found(result, logits))
        return True

    def fail(self, context: JobContext, error: Exception) -> None:
        """End with an error, and say it; what was found stays."""
        line = " ".join(str(error).split()) or type(error).__name__
        context.deliver(lambda: self._ended(line))

    def close(self) -> None:
        """Let go of the stack."""
        self._run = self._propagator = None
        self.planes.forget()
        self._objects.clear()

    def _begin(self, context: JobContext) -> Iterator[PlaneResult]:
        made_for = (context.segmenter.model_id, self._before, self._spacing)
        self._propagator = self._memory.ready(self, made_for, self._objects)
        run: Iterator[PlaneResult] = self._propagator.run(
            z_range=self._z_range, labels=self._wanted
        )
        return run

    def make(self, embed: Callable[[int], Any], pixels: Callable[[int], Any]) -> Any:
        """Return a fresh propagator of this stack."""
        return self._make(embed, pixels, len(self.planes), spacing=self._spacing)
