"""What runs over a whole folder: proposing, training, exporting, encoding ahead."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from napari.utils.notifications import show_error, show_info, show_warning
from psygnal import Signal

from napari_promise.files import one_line
from napari_promise.jobs.prefetching import ImageCache, Prefetch
from napari_promise.jobs.proposing import Propose, ProposeProgress
from napari_promise.jobs.training_sources import LaterSource
from napari_promise.project import Effort, Project, export_project
from napari_promise.widgets.background import Dispatch, later
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.desk import Desk
from napari_promise.widgets.folder.dialogs import FolderExport
from napari_promise.widgets.folder.jobs_panel import Pace
from napari_promise.widgets.words import counted, from_within


class FolderRuns:
    """Starts, follows and ends what runs over the images of one project.

    Parameters
    ----------
    project : Project
    images : ImageCache
        Pixels that were read a moment ago.
    desk : Desk
    dispatch : callable
        Brings a call into the window's thread.

    Attributes
    ----------
    progressed : Signal(str, int, int, object)
        What runs, how many images are finished and how many there are, and the seconds
        that are left or None.
    ended : Signal
        Nothing runs any more whose progress is shown.
    effort_read : Signal(Effort)
        How the work went so far.
    """

    progressed = Signal(str, int, int, object)
    ended = Signal()
    effort_read = Signal(Effort)

    def __init__(
        self, project: Project, images: ImageCache, desk: Desk, dispatch: Dispatch
    ) -> None:
        self._project, self._images, self._desk = project, images, desk
        self._dispatch = dispatch
        self._prefetch: Prefetch | None = None
        self._proposing: Propose | None = None
        self._exporting: threading.Event | None = None
        self._asked_to_train = 0  # with how many images done
        self._closed = False
        self._connections = Connections()
        self._connections.add(desk.training.kept, self._on_adapter_kept)
        desk.training.folder = LaterSource(self._name, project.learning.training_pairs)

    @property
    def _name(self) -> str:
        return Path(self._project.source).stem

    @property
    def is_proposing(self) -> bool:
        """Whether proposals are being made."""
        return self._proposing is not None

    @property
    def is_exporting(self) -> bool:
        """Whether an export is being written."""
        return self._exporting is not None

    def close(self) -> None:
        """End everything; what was made by then is kept."""
        self._closed = True
        self._connections.release()
        self._desk.training.folder = None
        self.end_prefetch()
        self.cancel()

    def cancel(self) -> None:
        """Stop proposing and exporting; what was made by then is kept."""
        job = self._proposing
        if job is not None:
            self._desk.session.end_job(job)
            self._proposing = None
            self._tell_ended()
        if self._exporting is not None:
            self._exporting.set()

    def _tell_ended(self) -> None:
        if not (self._closed or self.is_proposing or self.is_exporting):
            self.ended.emit()

    # -- the next images ----------------------------------------------------------

    def prefetch(self, keys: Sequence[str]) -> None:
        """Encode images that are likely to come next, in the background.

        Parameters
        ----------
        keys : sequence of str
            The likeliest first. Earlier ones are given up.
        """
        self.end_prefetch()
        if keys:
            self._prefetch = Prefetch(self._images, keys)
            self._desk.session.start_job(self._prefetch, first=True)

    @property
    def is_prefetching(self) -> bool:
        """Whether images are being encoded ahead."""
        return self._prefetch is not None and not self._prefetch.is_over

    def end_prefetch(self) -> None:
        """Encode no image ahead."""
        job, self._prefetch = self._prefetch, None
        if job is not None:
            self._desk.session.end_job(job)

    # -- proposing ----------------------------------------------------------------

    def propose(self, first: Sequence[str]) -> None:
        """Propose for every untouched image, in the background.

        Parameters
        ----------
        first : sequence of str
            Images that come before the others, wherever they stand in the folder.
        """
        if self.is_proposing:
            return
        project, session = self._project, self._desk.session
        adapter = session.settings.adapter
        if not adapter:
            show_warning(
                "Stock Segment Anything places no points: choose an adapter in the "
                "ProMISe dock, or train one on the images that are done."
            )
            return
        keys = [
            key
            for key in dict.fromkeys([*first, *project.keys])
            if project.item(key).state in ("new", "proposed")
        ]
        if not keys:
            show_info("There is nothing to propose for: no image is untouched.")
            return
        job = Propose(
            project,
            keys,
            project.read_image,
            ips=session.settings.ips,
            adapter=adapter,
            class_name=project.settings.class_name,
            closer=session.settings.enlarged,
            tell=self._on_proposed,
        )
        project.settings.adapter = adapter
        self._proposing = job
        self.progressed.emit("Proposing", 0, len(keys), None)
        session.start_job(job)

    def _on_proposed(self, progress: ProposeProgress) -> None:
        if self._proposing is None:
            return
        if not progress.finished:
            self.progressed.emit(
                "Proposing", progress.done, progress.total, progress.seconds_left
            )
            return
        self._proposing = None
        self._tell_ended()
        if progress.done < progress.total and progress.message:
            show_error(f"Proposing stopped: {progress.message}")
            return
        left_out = ""
        if progress.left_out:
            line = from_within(progress.message, self._project.source)
            left_out = f"; {progress.left_out} left out: {line.rstrip('.')}"
        show_info(
            f"Proposed on {progress.proposed} of "
            f"{counted(progress.total, 'image')}{left_out}."
        )

    # -- training -----------------------------------------------------------------

    def retrain(self, *, by_itself: bool = False) -> None:
        """Train on the images that are done.

        Parameters
        ----------
        by_itself : bool
            Nobody pressed a button: train at once, and leave the window closed.
        """
        project = self._project
        self._asked_to_train = sum(
            project.item(key).state == "done" for key in project.keys
        )
        later(
            project.learning.training_pairs,
            lambda pairs: self._on_pairs(pairs, by_itself),
            show_error,
            dispatch=self._dispatch,
        )

    def _on_pairs(self, pairs: tuple[Any, ...], by_itself: bool) -> None:
        if not self._closed:
            self._desk.training.train_on(
                pairs,
                self._name,
                self._project.settings.class_name,
                start=by_itself,
            )

    def _on_adapter_kept(self, adapter: str, trained_on: str) -> None:
        """Mark in the course of the work where an adapter was trained on it."""
        if trained_on != self._name:
            return
        try:
            self._project.learning.log_trained(adapter)
        except (ValueError, OSError) as error:
            show_warning(one_line(error))
        self.read_effort()

    def read_effort(self) -> None:
        """Read the course of the work in the background; see `effort_read`."""
        later(
            self._project.learning.effort,
            self._on_effort,
            show_error,
            dispatch=self._dispatch,
        )

    def _on_effort(self, effort: Effort) -> None:
        if self._closed:
            return
        self.effort_read.emit(effort)
        every = self._project.settings.retrain_every
        trained = max([number for number, _name in effort.trained], default=0)
        since = len(effort.finished) - max(trained, self._asked_to_train)
        if every and since >= every:
            self.retrain(by_itself=True)

    # -- exporting ----------------------------------------------------------------

    def write(self, request: FolderExport) -> threading.Thread:
        """Write an export in the background and say how it went.

        Returns
        -------
        threading.Thread
            Running already.
        """
        project, metadata = self._project, self._desk.session.provenance()
        stop, pace = threading.Event(), Pace()
        self._exporting = stop

        def progress(done: int, total: int) -> None:
            left = pace.left(done, total)
            self._dispatch(lambda: self._show_written(done, total, left))

        def write() -> str:
            written = export_project(
                project,
                request.folder,
                request.formats,
                states=request.states,
                overwrite=request.overwrite,
                metadata=metadata,
                progress=progress,
                cancel=stop.is_set,
            )
            stopped = " before it was cancelled" if stop.is_set() else ""
            return f"{counted(len(written), 'file')} written{stopped}: {request.folder}"

        return later(
            write,
            lambda line: self._on_exported(line, show_info),
            lambda line: self._on_exported(f"The export stopped: {line}", show_error),
            dispatch=self._dispatch,
            finish=True,
        )

    def _show_written(self, done: int, total: int, left: float | None) -> None:
        if not self._closed:
            self.progressed.emit("Exporting", done, total, left)

    def _on_exported(self, line: str, show: Callable[[str], None]) -> None:
        self._exporting = None
        self._tell_ended()
        show(line)
