"""Suggestions in a folder: asked for, shown as outlines, taken or ignored.

A suggestion is an object that waits, and nobody's work: it is not saved, an image that
is left untouched stays new. *Take* makes it the active object; the first edit of
anything else takes it away; *Done & next* confirms it with all that is shown.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from napari.utils.notifications import show_error, show_info
from qtpy.QtCore import QTimer
from qtpy.QtWidgets import QInputDialog

from napari_promise.document import Document
from napari_promise.jobs.instant import (
    NAME,
    Better,
    Compare,
    Keep,
    Suggest,
    Suggestion,
    Tutor,
)
from napari_promise.project import Project
from napari_promise.project.proposals import record_of
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.desk import Desk
from napari_promise.widgets.folder.suggestion_bar import SuggestionBar
from napari_promise.widgets.folder.work import FolderWork
from napari_promise.widgets.words import counted


class Suggestions:
    """Asks for suggestions of one project, and does with them what the person wants.

    Parameters
    ----------
    project : Project
    work : FolderWork
        The image that is open.
    desk : Desk
    bar : SuggestionBar

    Attributes
    ----------
    ids : tuple of int
        Objects of the document on display that are suggested.
    """

    def __init__(
        self, project: Project, work: FolderWork, desk: Desk, bar: SuggestionBar
    ) -> None:
        self._project, self._work, self._desk, self._bar = project, work, desk, bar
        self._tutor = Tutor(project, work.images)
        self._job: Suggest | None = None
        self._others: list[Any] = []
        self._closed = False
        self.ids: tuple[int, ...] = ()
        self._document: Document | None = None  # that the ids are of
        self._connections = Connections()
        heard: tuple[tuple[Any, Callable[..., Any]], ...] = (
            (work.opened, self._on_opened),
            (work.opening, self._on_opening),
            (work.confirmed, self._tutor.confirm),
            (work.edited, self._on_changed),
            (desk.bridge.edited, self._on_edited),
            (desk.session.model_changed, self._on_model_changed),
            (desk.training.kept, self._on_adapter_kept),
        )
        for signal, handler in heard:
            self._connections.add(signal, handler)
        bar.show_on(project.settings.suggest)

    @property
    def is_asking(self) -> bool:
        """Whether a suggestion may be on its way."""
        return self._job is not None

    @property
    def is_comparing(self) -> bool:
        """Whether a trained adapter is being compared."""
        return bool(self._others)

    def close(self) -> None:
        """End what runs and forget what was learnt; images that are done stay so."""
        self._closed = True
        self._connections.release()
        self._end()
        for job in self._others:
            self._desk.session.end_job(job)
        self._tutor.close()

    # -- asking -------------------------------------------------------------------

    def ask(self) -> None:
        """Ask what is suggested for the image that is open, where it is untouched."""
        self._end()
        if self._there():
            return  # it is shown already
        self.ids = ()
        self._bar.show_line("", takes=False)
        key = self._work.key
        if key is None or self._closed or not self._project.settings.suggest:
            return
        if self._work.is_untouched():
            self._job = Suggest(self._tutor, key, self._on_suggested)
            self._desk.session.start_job(self._job, first=True)

    def _end(self) -> None:
        job, self._job = self._job, None
        if job is not None:
            self._desk.session.end_job(job)

    def _on_opening(self, _key: str) -> None:
        self._end()

    def _on_opened(self, _key: str) -> None:
        self.ask()

    def _on_model_changed(self, _name: str) -> None:
        if not self.ids:
            self.ask()

    def switch(self, on: bool) -> None:
        """Suggest something for each image from now on, or nothing any more."""
        self._project.settings.suggest = on
        if on:
            self.ask()
        else:
            self.ignore()

    def _on_suggested(self, found: Suggestion) -> None:
        if self._closed or found.key != self._work.key or self._job is None:
            return
        self._job = None
        if not found.objects:
            self._tell_nothing(found)
            return
        records = [
            record_of(number, one) for number, one in enumerate(found.objects, start=1)
        ]
        self.ids = self._work.put_suggestion(records)
        work = self._work.work
        self._document = None if work is None else work.document
        if self.ids:
            source = (
                f"learnt from {counted(found.learnt, 'image')}"
                if found.by == NAME
                else f"by {found.by}"
            )
            self._bar.show_line(
                f"Suggested, {source}: Q takes it, a click ignores it.", takes=True
            )

    def _tell_nothing(self, found: Suggestion) -> None:
        if found.learnt and self._work.is_untouched():
            images = counted(found.learnt, "image")
            self._bar.show_line(f"Nothing to suggest here after {images}.", takes=False)

    # -- taking and ignoring ------------------------------------------------------

    def take(self) -> None:
        """Make what is suggested the person's own, the first object active."""
        ids, self.ids = self._there(), ()
        if not ids:
            show_info("Nothing is suggested on this image.")
            return
        work = self._work.work
        assert work is not None
        work.document.active_id = ids[0]
        self._bar.show_line("Taken: correct it with clicks.", takes=False)

    def ignore(self) -> None:
        """Take away what is suggested; one step that can be undone."""
        ids, self.ids = self._there(), ()
        work = self._work.work
        if ids and work is not None:
            document = work.document
            with document.step("ignore suggestion"):
                for object_id in ids:
                    document.remove(object_id)
        self._bar.show_line("", takes=False)

    def _there(self) -> tuple[int, ...]:
        work = self._work.work
        if work is None or work.document is not self._document:
            return ()
        document = work.document
        return tuple(
            object_id
            for object_id in self.ids
            if object_id in document and not document.get(object_id).committed
        )

    def _on_edited(self, changed: list[int]) -> None:
        """Somebody edited prompts: of what is suggested, or of something else."""
        if not self.ids or not self._work.is_on_display():
            return
        if set(changed) & set(self.ids):
            self.ids = ()
            self._bar.show_line("Taken: correct it with clicks.", takes=False)
        else:
            # napari may be in the middle of telling others about the same edit
            QTimer.singleShot(0, self.ignore)

    def _on_changed(self) -> None:
        """Something of the open image changed: it is worked on again."""
        key = self._work.key
        if key is None:
            return
        if self._project.item(key).state == "done":
            self._tutor.reopen(key)
        work = self._work.work
        if self.ids and work is not None and work.document.undo_name == "paint":
            QTimer.singleShot(0, self.ignore)  # drawn by hand: it is not wanted
        elif self.ids and len(self._there()) < len(self.ids):
            self.ids = ()  # undone, committed or deleted
            self._bar.show_line("", takes=False)

    # -- a trained adapter, and keeping what was learnt ------------------------------

    def _on_adapter_kept(self, adapter: str, trained_on: str) -> None:
        """Find out which is better at suggesting, the trained adapter or this one."""
        held_out = {str(path) for path in self._desk.training.held_out_of_kept}
        ledger = self._project.ledger
        keys = [key for key in ledger.keys if str(ledger.found(key).path) in held_out]
        if not trained_on or not keys or not self._project.settings.suggest:
            return
        job = Compare(self._tutor, adapter, keys, self._on_compared)
        self._others.append(job)
        self._desk.session.start_job(job)

    def _on_compared(self, found: Better | None) -> None:
        self._others.clear()
        if self._closed or found is None:
            return
        trained = found.winner == "trained"
        self._project.settings.suggester = found.name if trained else ""
        show_info(found.told())
        if self._work.is_untouched():
            self.ask()

    def keep(self) -> None:
        """Ask for a name, and keep what was learnt as an adapter."""
        name, agreed = QInputDialog.getText(
            self._bar,
            "Keep as an adapter",
            "Name of the adapter:",
            text=f"{self._project.source.stem}-{NAME}".replace(" ", "-"),
        )
        if agreed and name.strip():
            job = Keep(self._tutor, name.strip(), self._on_kept, self._on_not_kept)
            self._others.append(job)
            self._desk.session.start_job(job, first=True)

    def _on_kept(self, name: str) -> None:
        self._others.clear()
        if not self._closed:
            self._desk.read_adapters()
            show_info(
                f"Kept as {name}: choose it in the ProMISe dock, or pass it on from "
                "the list of adapters."
            )

    def _on_not_kept(self, line: str) -> None:
        self._others.clear()
        show_error(line)
