"""Proposes many objects of the plane on display, and shows them as they come.

1. The session hears *Auto-prompt*, and finds that the adapter looks for many objects.
2. A job decodes them a few at a time; each lot joins one step of the history.
3. Undo meanwhile, another image, or Stop end the job; what is there stays.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

from psygnal import Signal

from napari_promise.document import Document, Plane
from napari_promise.jobs.proposing_many import ManyFound, ProposeMany
from napari_promise.jobs.proposing_tiles import ProposeInTiles
from napari_promise.project.proposals import record_of
from napari_promise.prompts import Prompts
from napari_promise.session import Session
from napari_promise.tiles import tile_for
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.layers.bridge import LayerBridge

__all__ = ["ManyObjects"]


class ManyObjects:
    """Proposes many objects, and says when clicks look at objects.

    Parameters
    ----------
    session : Session
    bridge : LayerBridge
    tell : callable
        Shows one line to the user.

    Attributes
    ----------
    changed : Signal
        What there is to show may be other.
    progress : ManyFound or None
        How far it is; None while nothing is under way.
    found : int
        Objects that came so far.
    """

    changed = Signal()

    def __init__(
        self, session: Session, bridge: LayerBridge, tell: Callable[[str], None]
    ) -> None:
        self._session = session
        self._bridge = bridge
        self._tell = tell
        self._job: ProposeMany | ProposeInTiles | None = None
        self._document: Document | None = None
        self.progress: ManyFound | None = None
        self.found = 0
        self._connections = Connections()
        for signal, handler in (
            (session.many_wanted, self._on_wanted),
            (session.model_changed, self._on_adapter),
            (session.adapter_changed, self._on_adapter),
            (bridge.work_changed, self._on_work_changed),
        ):
            self._connections.add(signal, handler)
        self._on_adapter(None)

    def close(self) -> None:
        """End what is under way, and hear nothing more."""
        self.cancel()
        self._connections.release()

    @property
    def is_running(self) -> bool:
        """Whether objects are being proposed."""
        return self._job is not None

    @property
    def finds_many(self) -> bool:
        """Whether the adapter in use proposes many objects an image."""
        return self._session.finds_many

    def cancel(self) -> None:
        """Stop; what was found stays."""
        job, self._job = self._job, None
        self.progress = None
        self._watch(None)
        if job is not None:
            self._session.end_job(job)
            self.changed.emit()

    def everywhere(self) -> None:
        """Propose all over the plane on display, at the scale of what is on the screen.

        Asked again while that goes on, stop it.
        """
        if self.is_running:
            self.cancel()
            return
        work, bridge = self._bridge.work, self._bridge
        source = bridge.source()
        if work is None or source is None:
            self._tell("There is no image yet: open one first.")
            return
        if not self.finds_many:
            self._tell(
                "To auto-prompt everywhere, choose an adapter that finds many objects: "
                "others look for one in the whole image."
            )
            return
        shape = source.shape[-2], source.shape[-1]
        tile = tile_for(Prompts(), bridge.view(), shape)
        if tile is None:
            self._start(work.document, bridge.plane)
        else:
            side = max(tile[2] - tile[0], tile[3] - tile[1])
            self._start(work.document, bridge.plane, side)

    def _on_wanted(self, document: Document, plane: Plane) -> None:
        self._start(document, plane)

    def _start(self, document: Document, plane: Plane, side: int = 0) -> None:
        """Begin, in tiles of a side where one is given."""
        source, work = self._bridge.source(), self._bridge.work
        if source is None or work is None or work.document is not document:
            return
        self.cancel()
        settings, info = self._session.settings, self._session.adapter_info
        active = document.active
        named = "" if active is None else active.class_name
        if active is not None and active.is_blank:
            document.active_id = None
        run, run_name = object(), "auto-prompt"
        self.found = 0

        def tell(found: ManyFound) -> None:
            if self._job is not job:
                return
            if found.objects:
                self.found += len(found.objects)
                with document.step(run_name, run=run):
                    document.add_many(
                        (record_of(0, one) for one in found.objects), name=run_name
                    )
            self._show(found)

        known = [r.region or r.written for r in document.on_plane(plane)]
        class_name = named or getattr(info, "class_name", "")
        centre = self._bridge.view_centre()
        make: Callable[..., ProposeMany | ProposeInTiles] = partial(
            ProposeMany, closer=settings.enlarged
        )
        if side:
            make = partial(ProposeInTiles, side=side)
        job = make(
            source,
            plane,
            tell=tell,
            known=known,
            ips=settings.ips,
            local=settings.local,
            class_name=class_name,
            centre=centre,
        )
        self._job = job
        self._watch(document)
        self._show(ManyFound((), 0, 1))
        self._session.start_job(job, first=True)

    def _show(self, found: ManyFound) -> None:
        self.progress = found
        if found.finished:
            self._job = self.progress = None
            self._watch(None)
            if found.message:
                self._tell(found.message)
            elif not self.found:
                self._tell(
                    "Auto-prompt found nothing new on this plane: add a point "
                    "yourself, or choose another adapter."
                )
        self.changed.emit()

    # -- what happens -------------------------------------------------------------

    def _on_adapter(self, _what: Any) -> None:
        self._bridge.picks = self._session.finds_many
        self.changed.emit()

    def _on_work_changed(self) -> None:
        work = self._bridge.work
        if self._document is not None and (
            work is None or work.document is not self._document
        ):
            self.cancel()

    def _watch(self, document: Document | None) -> None:
        before, self._document = self._document, document
        if before is not None:
            before.events.history_changed.disconnect(self._on_history)
        if document is not None:
            document.events.history_changed.connect(self._on_history)

    def _on_history(self) -> None:
        # Undone while it goes on: what comes next would make the undoing for good.
        if self._document is not None and self._document.can_redo:
            self.cancel()
