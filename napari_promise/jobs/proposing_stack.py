"""Have an adapter propose one object on some planes of a stack, and the planes vote.

One step of the job is one plane: first those that are asked, then those by which each
proposal is compared with its neighbours. What is left is handed over at the end; the
planes between are for `jobs.propagating` to fill.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator
from dataclasses import dataclass, replace
from typing import Any

from napari_promise.document import Plane
from napari_promise.jobs.stack_planes import StackPlanes
from napari_promise.propagation import Propagator
from napari_promise.propagation.proposed import planes_to_ask, voting
from napari_promise.proposing import ProposedObject, propose
from napari_promise.session import ImageSource, JobContext

__all__ = ["ProposeStack", "StackProposal"]

_OBJECT = 1  # the only one of the propagator that counts the votes


@dataclass(frozen=True, eq=False)
class StackProposal:
    """How far a job is, and at its end what it found.

    Attributes
    ----------
    asked, total : int
        Planes that the adapter has looked at, and is to look at.
    objects : tuple of ProposedObject
        One a plane, at the end; the score is the vote for it, 0 to 1.
    outvoted : int
        Proposals that the others spoke against.
    message : str
        Why it ended early; else empty.
    finished : bool
    """

    asked: int
    total: int
    objects: tuple[ProposedObject, ...] = ()
    outvoted: int = 0
    message: str = ""
    finished: bool = False


class ProposeStack:
    """A `Job` that proposes one object through the planes of a stack.

    Parameters
    ----------
    source : ImageSource
        The stack, (..., planes, rows, columns).
    before : Plane
        The indices in front of the axis of the planes.
    spacing : (float, float, float)
        Between planes, rows and columns, in one unit.
    z_range : (int, int)
        First and last plane to ask.
    tell : callable
        Given a `StackProposal` in the window's thread.
    every : int, optional
        Of how many planes one is asked; left out, about twelve in all are.
    ips, local : bool
        See `Segmenter.segment`.
    class_name : str
        Class of the object.
    make : callable
        What compares the planes, called as `Propagator` is.
    """

    def __init__(
        self,
        source: ImageSource,
        before: Plane,
        *,
        spacing: tuple[float, float, float],
        z_range: tuple[int, int],
        tell: Callable[[StackProposal], None],
        every: int | None = None,
        ips: bool = True,
        local: bool = True,
        class_name: str = "",
        make: Callable[..., Any] = Propagator,
    ) -> None:
        self._stack = StackPlanes(source, before)
        self._before = before
        self._spacing = spacing
        self._tell = tell
        self._ips = ips
        self._local = local
        self._class_name = class_name
        self._make = make
        self._planes = deque(planes_to_ask(*z_range, every))
        self._total = len(self._planes)
        self._found: dict[int, ProposedObject] = {}
        self._segmenter: Any = None
        self._votes: Generator[int, None, dict[int, float]] | None = None
        self._upcoming: int | None = None

    def step(self, context: JobContext) -> bool:
        """Ask or compare on one more plane; False when nothing is left to do."""
        if context.must_give_way():
            return True
        self._stack.context = context
        if self._segmenter is None:
            self._segmenter = context.segmenter
            if getattr(context.segmenter, "finds_many", False):
                why = (
                    "This adapter looks for many objects on a plane: auto-prompt plane "
                    "by plane, or choose an adapter of one object."
                )
                self._report(message=why)
                return False
        elif context.segmenter is not self._segmenter:
            self._report(message="another model or adapter was chosen meanwhile.")
            return False
        if self._planes:
            self._ask(self._planes[0])
            self._planes.popleft()
            self._report()
            return True
        return self._compare()

    def fail(self, context: JobContext, error: Exception) -> None:
        """End with an error, and say it."""
        self._stack.context = context
        self._report(message=" ".join(str(error).split()) or type(error).__name__)

    def close(self) -> None:
        """Let go of the stack."""
        self._votes = self._segmenter = None
        self._stack.forget()
        self._planes.clear()
        self._found.clear()

    def _ask(self, plane: int) -> None:
        assert self._stack.context is not None
        found = propose(
            self._stack.context.segmenter,
            self._stack.embed(plane),
            (*self._before, plane),
            ips=self._ips,
            local=self._local,
            class_name=self._class_name,
        )
        if found and found[0].region is not None:
            self._found[plane] = found[0]

    def _compare(self) -> bool:
        if self._votes is None:
            masks = {p: o.region.mask for p, o in self._found.items() if o.region}
            stack = self._stack
            fresh = self._make(
                stack.embed, stack.pixels, len(stack), spacing=self._spacing
            )
            self._votes = voting(fresh, _OBJECT, masks)
        if self._upcoming is not None:
            # Outside of the generator: giving way meanwhile must not end it.
            self._stack.embed(self._upcoming)
        try:
            self._upcoming = next(self._votes)
        except StopIteration as over:
            self._finish(over.value)
            return False
        except BaseException:
            self._votes = self._upcoming = None  # it is over: it begins anew
            raise
        return True

    def _finish(self, votes: dict[int, float]) -> None:
        kept = tuple(
            replace(self._found[plane], score=vote)
            for plane, vote in sorted(votes.items())
        )
        self._report(kept, len(self._found) - len(kept), finished=True)

    def _report(
        self,
        objects: tuple[ProposedObject, ...] = (),
        outvoted: int = 0,
        message: str = "",
        finished: bool = False,
    ) -> None:
        assert self._stack.context is not None
        told = StackProposal(
            self._total - len(self._planes),
            self._total,
            objects,
            outvoted,
            message,
            finished or bool(message),
        )
        self._stack.context.deliver(lambda: self._tell(told))
