"""Auto-prompts a stack: an adapter proposes on some planes, the others are filled.

1. A job asks the adapter on about twelve planes, and has the proposals vote.
2. Those that are left become one object, in one step, each plane with the vote for it
   as its score.
3. Propagation fills the planes between and beyond, in the same step.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any

from psygnal import Signal

from napari_promise.document import Document, ObjectRecord
from napari_promise.jobs.proposing_stack import ProposeStack, StackProposal
from napari_promise.project.proposals import record_of
from napari_promise.proposing import ProposedObject
from napari_promise.session import Session
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.layers.bridge import LayerBridge
from napari_promise.widgets.volumes.controller import Propagation
from napari_promise.widgets.volumes.extent import spacing_of

__all__ = ["StackProposing"]

_STEP = "auto-prompt the stack"


class StackProposing:
    """Proposes one object through the stack on display.

    Parameters
    ----------
    session : Session
    bridge : LayerBridge
    propagation : Propagation
        Fills the planes that were not proposed on.
    tell : callable
        Shows one line to the user.

    Attributes
    ----------
    changed : Signal
        What there is to show may be other.
    progress : StackProposal or None
        How far it is; None while nothing is under way.
    make : callable
        Makes the job, called as `ProposeStack` is.
    """

    changed = Signal()

    def __init__(
        self,
        session: Session,
        bridge: LayerBridge,
        propagation: Propagation,
        tell: Callable[[str], None],
    ) -> None:
        self._session = session
        self._bridge = bridge
        self._propagation = propagation
        self._tell = tell
        self._job: ProposeStack | None = None
        self._document: Document | None = None
        self.progress: StackProposal | None = None
        self.make: Callable[..., ProposeStack] = ProposeStack
        self._connections = Connections()
        for signal, handler in (
            (session.adapter_changed, self._on_adapter),
            (session.model_changed, self._on_adapter),
            (bridge.work_changed, self._on_work_changed),
        ):
            self._connections.add(signal, handler)

    def close(self) -> None:
        """End what is under way, and hear nothing more."""
        self.cancel()
        self._connections.release()

    @property
    def is_running(self) -> bool:
        """Whether planes are being asked."""
        return self._job is not None

    @property
    def can_start(self) -> bool:
        """Whether there is a stack, and an adapter that proposes one object."""
        info = self._session.adapter_info
        places = getattr(info, "apm", "none") != "none"
        return self._propagation.planes > 1 and places and not self._session.finds_many

    def toggle(self) -> None:
        """Auto-prompt the stack; asked again meanwhile, stop."""
        if self.is_running:
            self.cancel()
        else:
            self.start()

    def start(self) -> None:
        """Ask the adapter on some planes, and carry what agrees through the others."""
        source, work = self._bridge.source(), self._bridge.work
        planes = self._propagation.planes
        if source is None or work is None or planes < 2:
            self._tell("Only stacks have planes to auto-prompt: open one.")
            return
        if not self.can_start:
            self._tell(
                "Auto-prompting a stack needs an adapter that proposes one object: "
                "choose one, or train one on a few planes."
            )
            return
        settings, active = self._session.settings, work.document.active
        named = "" if active is None else active.class_name
        low, high = self._propagation.z_range or (0, planes - 1)
        info = self._session.adapter_info

        def tell(told: StackProposal) -> None:
            if self._job is job:
                self._take(told)

        job = self.make(
            source,
            self._bridge.plane[:-1],
            spacing=spacing_of(work.image),
            z_range=(max(0, low), min(high, planes - 1)),
            tell=tell,
            ips=settings.ips,
            local=settings.local,
            class_name=named or getattr(info, "class_name", ""),
        )
        self._job, self._document = job, work.document
        self.progress = StackProposal(0, 1)
        self._session.start_job(job, first=True, watched=True)
        self.changed.emit()

    def cancel(self) -> None:
        """Stop; nothing has been proposed yet."""
        job, self._job = self._job, None
        self.progress = self._document = None
        if job is not None:
            self._session.end_job(job)
            self.changed.emit()

    def _take(self, told: StackProposal) -> None:
        self.progress = told
        if told.finished:
            document = self._document
            self._job = self.progress = self._document = None
            if told.message:
                self._tell(f"Auto-prompting the stack stopped: {told.message}")
            elif not told.objects or document is None:
                self._tell(
                    "Auto-prompt found nothing that its planes agree on: click on the "
                    "object on one plane and propagate it, or choose another adapter."
                )
            else:
                self._put(document, told.objects)
        self.changed.emit()

    def _put(self, document: Document, objects: tuple[ProposedObject, ...]) -> None:
        """Make the planes one object, and have the others filled; one step."""
        run = object()
        with document.step(_STEP, run=run):
            records = document.add_many(_one(objects), name=_STEP)
            here = self._propagation.plane
            nearest = min(records, key=lambda r: abs(r.plane[-1] - here))
            document.active_id = nearest.id
        self._propagation.carry_on(records[0].label, run)

    def _on_adapter(self, _what: Any) -> None:
        self.changed.emit()

    def _on_work_changed(self) -> None:
        work = self._bridge.work
        if self._document is not None and (
            work is None or work.document is not self._document
        ):
            self.cancel()
        self.changed.emit()


def _one(objects: Iterable[ProposedObject]) -> list[ObjectRecord]:
    """Return proposals of several planes as records that share a label."""
    return [
        replace(record_of(number, proposed), label=1)
        for number, proposed in enumerate(objects, 1)
    ]
