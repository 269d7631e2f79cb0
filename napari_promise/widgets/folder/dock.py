"""The dock to annotate a folder: composes its panels and connects their wishes.

Works together with the ProMISe dock of the same viewer, which prompts, commits and
undoes as ever; one session, one worker.
"""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psygnal
from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QEvent, QSize, Qt, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QApplication,
    QFileDialog,
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QMenu,
    QPushButton,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)

from napari_promise.jobs.prefetching import Prefetch
from napari_promise.jobs.proposing import Propose, ProposeProgress
from napari_promise.jobs.training_sources import LaterSource
from napari_promise.project import Effort, Project, State, export_project
from napari_promise.widgets.dispatch import GuiDispatcher
from napari_promise.widgets.folder.dialogs import (
    CalibrationDialog,
    FolderExport,
    FolderExportDialog,
)
from napari_promise.widgets.folder.effort import EffortPanel
from napari_promise.widgets.folder.jobs_panel import JobsPanel, Pace
from napari_promise.widgets.folder.model import THUMBNAIL
from napari_promise.widgets.folder.steps import StepsPanel
from napari_promise.widgets.folder.table import FolderTable
from napari_promise.widgets.folder.thumbnails import Thumbnails
from napari_promise.widgets.folder.window import (
    WIDTH,
    ProjectRelay,
    PromiseDock,
    place,
    unplace,
    window_of,
)
from napari_promise.widgets.folder.work import FolderWork
from napari_promise.widgets.keys import KeyBindings
from napari_promise.widgets.prompting.dock import PromiseWidget

if TYPE_CHECKING:
    import napari

#: How many images after the one in work are encoded while the person works on it.
_AHEAD = 3
#: The next images are encoded once the one in work is, and nothing was asked meanwhile.
_AHEAD_WAIT_MS = 300


class FolderWidget(QWidget):
    """Work through a folder of images.

    Parameters
    ----------
    napari_viewer : napari.Viewer

    Attributes
    ----------
    project : Project or None
        What is open.
    table : FolderTable
    steps : StepsPanel
    jobs : JobsPanel
    effort : EffortPanel
    retrain_requested : Signal
        Train on these pairs of image and mask files, a tuple of `data.pairs.Pair`:
        on demand, or because enough images are done. With nobody connected the
        training window of the ProMISe dock is opened on them.
    """

    retrain_requested = psygnal.Signal(tuple)

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self._viewer = napari_viewer
        self._dispatch = GuiDispatcher(self)
        self._neighbour = PromiseDock(napari_viewer, self, self._on_neighbour)
        self.project: Project | None = None
        self._opening = False
        self._placed = self._was_shown = False
        self._window: Callable[[], QMainWindow | None] | None = None
        self._prefetch: Prefetch | None = None
        self._proposing: Propose | None = None
        self._exporting: threading.Event | None = None
        self._weakest_shown: str | None = None
        self._asked_to_train = 0  # with how many images done
        self._relay = ProjectRelay(self)
        self._relay.item_changed.connect(self._on_item_changed)
        self._relay.items_changed.connect(self._on_items_changed)
        self._relay.noted.connect(show_warning)
        self._relay.settings_changed.connect(self._show_settings)

        self.open_button = QPushButton("Open…")
        self.title = QLabel()
        self.saved = QLabel()
        self.steps = StepsPanel()
        self.table = FolderTable()
        self.jobs = JobsPanel()
        self.effort = EffortPanel()
        self._compose()
        self._keys = KeyBindings(
            {
                "next": self.next,
                "previous": self.previous,
                "weakest": self.next_uncertain,
                "finish": self.finish,
                "skip": self.skip,
            }
        )
        self._ahead = QTimer(self)
        self._ahead.setSingleShot(True)
        self._ahead.setInterval(_AHEAD_WAIT_MS)
        self._ahead.timeout.connect(self._prefetch_next)
        # Else napari puts empty space below.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self._connect_panels()
        self._show_project()
        self._closing = _Closing(self._keys, self._relay, self._dispatch)
        self.destroyed.connect(self._closing)
        application = QApplication.instance()
        if application is not None:
            application.aboutToQuit.connect(self._closing)

    @property
    def work(self) -> FolderWork | None:
        """The image of the project that is open; None where no project is."""
        return self._closing.work

    def sizeHint(self) -> QSize:
        """Wide enough for the table's names, and no wider."""
        return QSize(WIDTH, 640)

    def event(self, event: QEvent | None) -> bool:
        """Save as soon as the dock is taken out of the window.

        It may be some time until it is destroyed.
        """
        if event is not None and event.type() == QEvent.Type.ParentChange:
            if self.parent() is None and self._placed:
                self.close_down()
                unplace(None if self._window is None else self._window())
            self._placed = self.parent() is not None
        return super().event(event)

    def showEvent(self, event: QShowEvent | None) -> None:
        """Take the place at the left, once: later it is where it was put."""
        super().showEvent(event)
        if not self._was_shown:
            self._was_shown = True
            QTimer.singleShot(0, self._take_place)

    def _take_place(self) -> None:
        window = window_of(self)
        # Weakly: napari's window must not be held by what is docked in it.
        self._window = None if window is None else weakref.ref(window)
        place(self)

    def close_down(self) -> None:
        """Save, and let go of everything; also done when the dock is closed."""
        if self._closing.is_closed:
            return  # with the window, perhaps: the timer is gone then
        self._ahead.stop()
        self._end_prefetch()
        self.cancel()
        self._closing(layers=True)
        self.project = None

    # -- composing ----------------------------------------------------------------

    def _compose(self) -> None:
        button = self.open_button
        button.setToolTip(
            "Open a folder of images, or a CSV file with the columns image and "
            "perhaps mask and group.<br>What you do is kept in a hidden folder "
            "“.promise” beside them."
        )
        button.setFocusPolicy(Qt.FocusPolicy.TabFocus)
        menu = QMenu(button)
        menu.addAction("Folder of images…").triggered.connect(self._ask_folder)
        menu.addAction("CSV table…").triggered.connect(self._ask_table)
        self._refresh = menu.addAction("Look for new images")
        self._refresh.triggered.connect(self.refresh)
        self._close_action = menu.addAction("Close the folder")
        self._close_action.triggered.connect(self.close_project)
        button.setMenu(menu)
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.saved.setToolTip(
            "Whether what you did on this image is on the disk. It is saved a moment "
            "after each edit, by itself."
        )
        top = QHBoxLayout()
        top.addWidget(button)
        top.addWidget(self.title, 1)
        top.addWidget(self.saved)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 6)
        column.setSpacing(6)
        column.addLayout(top)
        column.addWidget(self.steps)
        column.addWidget(self.table, 1)
        column.addWidget(self.jobs)
        column.addWidget(self.effort)

    def _connect_panels(self) -> None:
        steps, table = self.steps, self.table
        steps.next_requested.connect(self.next)
        steps.previous_requested.connect(self.previous)
        steps.weakest_requested.connect(self.next_uncertain)
        steps.finish_requested.connect(self.finish)
        steps.skip_requested.connect(self.skip)
        steps.class_named.connect(self._on_class_named)
        steps.weakest_first_toggled.connect(self._on_weakest_first_toggled)
        table.row_chosen.connect(self.open_image)
        table.action_chosen.connect(self._on_action_chosen)
        table.model.thumbnail_wanted.connect(self._on_thumbnail_wanted)
        jobs = self.jobs
        jobs.propose_requested.connect(self.propose_all)
        jobs.retrain_requested.connect(self.retrain)
        jobs.retrain_every_set.connect(self._on_retrain_every_set)
        jobs.export_requested.connect(self.export)
        jobs.cancel_requested.connect(self.cancel)
        jobs.calibration_requested.connect(self.show_calibration)

    # -- the project --------------------------------------------------------------

    def open_project(self, source: Path | str, **options: Any) -> None:
        """Open a folder or a CSV file; returns at once.

        Parameters
        ----------
        source : path
        **options
            See `Project.open`.
        """
        if self._opening or self._closing.is_closed:
            return
        if not self.close_project():
            return
        self._opening = True
        self.title.setText(f"Opening {Path(source).name} …")
        self.open_button.setEnabled(False)

        def run() -> None:
            try:
                project = Project.open(source, **options)
            except (ValueError, OSError) as error:
                line = " ".join((_strerror(error) or str(error)).split())
                self._dispatch(lambda: self._on_not_opened(line))
            else:
                self._dispatch(lambda: self._on_opened(project))

        threading.Thread(target=run, name="napari-promise open", daemon=True).start()

    def _on_not_opened(self, line: str) -> None:
        self._opening = False
        self._show_project()
        show_error(line)

    def _on_opened(self, project: Project) -> None:
        self._opening = False
        if self._closing.is_closed:
            project.close()
            return
        self.project = project
        self._relay.follow(project)
        work = FolderWork(self._viewer, project, self._neighbour, self._dispatch)
        work.opening.connect(self._on_image_opening)
        work.opened.connect(self._on_image_opened)
        work.edited.connect(self._show_saved)
        work.saved.connect(self._on_saved)
        work.failed.connect(self._on_failed)
        work.noticed.connect(show_warning)
        self._closing.work = work
        self._closing.thumbnails = Thumbnails(
            lambda key: project.thumbnail(key, THUMBNAIL),
            self._dispatch,
            self.table.model.show_thumbnail,
            self.table.model.forget_asked,
        )
        self.table.model.show_project(project)
        self._neighbour.ensure()
        self._show_settings()
        self._asked_to_train = 0
        self._offer_folder()
        self._read_effort()
        self._show_project()
        for note in project.notes:
            show_info(note)
        first = project.reopen_key or self._first_to_do()
        if first is not None:
            self.open_image(first)

    def close_project(self) -> bool:
        """Save and close what is open; False where it cannot be saved."""
        work, project = self.work, self.project
        if work is None or project is None:
            return True
        if not work.save():
            return False
        self._end_prefetch()
        self.cancel()
        self.project = None
        self.table.model.show_project(None)
        self._closing.end_project(layers=True)
        self._offer_folder()
        self._show_project()
        return True

    def _offer_folder(self) -> None:
        """Let the training window know what adapters can be compared on."""
        promise, project = self._neighbour.find(), self.project
        if promise is None:
            return
        promise.training.folder = None
        if project is not None:
            name = Path(project.source).stem
            promise.training.folder = LaterSource(name, project.learning.training_pairs)

    def refresh(self) -> None:
        """Look again which images there are, in the background."""
        project = self.project
        if project is None:
            return

        def run() -> None:
            try:
                came, went = project.refresh()
            except (ValueError, OSError) as error:
                line = str(error)
                self._dispatch(lambda: show_error(line))
            else:
                self._dispatch(
                    lambda: show_info(f"{came} images came, {went} are gone.")
                )

        threading.Thread(target=run, name="napari-promise look", daemon=True).start()

    def _ask_folder(self) -> None:
        name = QFileDialog.getExistingDirectory(self, "Open a folder of images")
        if name:
            self.open_project(name)

    def _ask_table(self) -> None:
        name, _ = QFileDialog.getOpenFileName(
            self, "Open a table of images", "", "Tables (*.csv)"
        )
        if name:
            self.open_project(name)

    # -- images -------------------------------------------------------------------

    def open_image(self, key: str) -> None:
        """Open an image; returns at once."""
        if self.work is not None:
            self._neighbour.ensure()
            self.work.open(key)

    def next(self) -> None:
        """Open the image below in the table."""
        self._step(+1)

    def previous(self) -> None:
        """Open the image above in the table."""
        self._step(-1)

    def next_uncertain(self) -> None:
        """Open the image whose proposal is the weakest of those that wait."""
        project, work = self.project, self.work
        if project is None or work is None:
            return
        # Pressed again, the next stronger one; else the weakest of all.
        walked = work.wanted == self._weakest_shown
        key = project.ledger.next_uncertain(work.wanted if walked else None)
        if key == work.wanted:
            key = project.ledger.next_uncertain(key)
        if key is None or key == work.wanted:
            self._say_all_done()
        else:
            self._weakest_shown = key
            self.open_image(key)

    def finish(self) -> None:
        """Confirm the image with all that is shown on it, and open the next."""
        if self.work is not None:
            self.work.finish(self._go_on)

    def skip(self) -> None:
        """Put the image aside, and open the next."""
        if self.work is not None:
            self.work.skip(self._go_on)

    def _step(self, by: int) -> None:
        if self.work is None:
            return
        order = self.table.model.order
        row = self.table.model.row_of(self.work.wanted)
        target = row + by if row >= 0 else 0
        if 0 <= target < len(order):
            self.open_image(order[target])
        else:
            end = "last" if by > 0 else "first"
            show_info(f"This is the {end} image of the table.")

    def _go_on(self) -> None:
        """Open what comes after an image that is done or skipped."""
        project, work = self.project, self.work
        if project is None or work is None:
            return
        if project.settings.order == "confidence":
            key = project.ledger.next_uncertain(work.key)
        else:
            key = next(iter(self._to_do_after(work.key)), None)
        if key is None or key == work.key:
            self._say_all_done()
        else:
            self.open_image(key)

    def _to_do_after(self, key: str | None) -> list[str]:
        """Images that wait, in the order of the table, from below a row and round."""
        project = self.project
        if project is None:
            return []
        order = list(self.table.model.order)
        row = self.table.model.row_of(key)
        turned = order[row + 1 :] + order[: max(row, 0)]
        return [k for k in turned if project.item(k).state not in ("done", "skipped")]

    def _first_to_do(self) -> str | None:
        waiting = self._to_do_after(None)
        order = self.table.model.order
        return waiting[0] if waiting else (order[0] if order else None)

    def _say_all_done(self) -> None:
        hidden = self.project is not None and len(self.table.model.order) < len(
            self.project.keys
        )
        where = "that the table shows " if hidden else ""
        show_info(f"All images {where}are done or skipped.")

    def _on_image_opening(self, key: str) -> None:
        self.table.show_current(key)

    def _on_image_opened(self, key: str) -> None:
        self.table.show_current(key)
        self._bind_keys()
        self._show_saved()
        self._show_project()
        self._ahead.start()

    def _on_failed(self, line: str) -> None:
        self._show_saved()
        show_error(line)

    def _on_saved(self, _key: str) -> None:
        self._show_saved()

    def _on_action_chosen(self, name: str, keys: list[str]) -> None:
        work = self.work
        if work is None:
            return
        if name == "open":
            self.open_image(keys[0])
        elif name == "accept":
            for key in keys:
                work.accept(key)
        elif keys == [work.key] and name == "done":
            work.finish(lambda: None)
        else:
            states: dict[str, State] = {"done": "done", "skip": "skipped"}
            work.set_states(keys, states.get(name, "new"))

    # -- what happens elsewhere ---------------------------------------------------

    def _on_neighbour(self, promise: PromiseWidget) -> None:
        """Follow a ProMISe dock that was found or opened."""
        if self._proposing is not None:
            self._end_proposing()  # the worker it ran on is gone
        bridge, session = promise.bridge, promise.session
        bridge.edited.connect(self._on_edited)
        bridge.layers_changed.connect(self._bind_keys)
        bridge.work_changed.connect(self._bind_keys)
        session.segmented.connect(self._on_segmented)
        session.failed.connect(self._on_session_failed)
        session.encoded.connect(self._on_encoded)
        promise.training.kept.connect(self._on_adapter_kept)
        self._offer_folder()

    def _on_edited(self, _changed: list[int]) -> None:
        work = self.work
        if work is not None and work.is_on_display():
            work.count_click()
            self._show_saved()

    def _on_segmented(self, _result: Any) -> None:
        if self.work is not None:
            self.work.go_on_finishing()

    def _on_session_failed(self, _line: str) -> None:
        if self.work is not None:
            self.work.give_up_finishing()

    def _on_encoded(self, _plane: Any) -> None:
        if self.work is not None:
            self._ahead.start()

    def _bind_keys(self) -> None:
        promise = self._neighbour.find()
        if promise is None or self.project is None:
            self._keys.release_all()
        else:
            self._keys.bind_only(promise.bridge.bindable(), [])

    def _on_item_changed(self, key: str) -> None:
        self.table.model.show_changed(key)
        if self.project is not None and self.project.item(key).state == "done":
            self._read_effort()
        self._show_project()
        if self.work is not None and key == self.work.key:
            self.work.take_up_proposal()
            self._show_saved()

    def _on_items_changed(self) -> None:
        self.table.model.show_all_changed()
        self._read_effort()
        self._show_project()

    def _on_thumbnail_wanted(self, key: str) -> None:
        if self._closing.thumbnails is not None:
            self._closing.thumbnails.want(key)

    # -- the next images ----------------------------------------------------------

    def _prefetch_next(self) -> None:
        """Encode the images that are likely to come next, in the background."""
        promise, work = self._neighbour.find(), self.work
        if promise is None or work is None or work.key is None:
            return
        self._end_prefetch()
        coming = self._coming(work.key)
        if coming:
            self._prefetch = Prefetch(work.shelf, coming)
            promise.session.start_job(self._prefetch, first=True)

    def _coming(self, key: str) -> list[str]:
        project = self.project
        assert project is not None
        if project.settings.order == "confidence":
            waiting = [k for k in project.ledger.by_confidence() if k != key]
        else:
            waiting = self._to_do_after(key)
        coming = waiting[:_AHEAD]
        row = self.table.model.row_of(key)
        below = self.table.model.key_at(row + 1) if row >= 0 else None
        if below is not None and below not in coming:
            coming.append(below)
        return coming

    def _end_prefetch(self) -> None:
        promise, job = self._neighbour.find(), self._prefetch
        self._prefetch = None
        if promise is not None and job is not None:
            promise.session.end_job(job)

    # -- all images ---------------------------------------------------------------

    def propose_all(self) -> None:
        """Propose for every image that nobody worked on, in the background."""
        project, work = self.project, self.work
        if project is None or work is None or self._proposing is not None:
            return
        promise = self._neighbour.ensure()
        session = promise.session
        adapter = session.settings.adapter
        if not adapter:
            show_warning(
                "Stock Segment Anything places no points: choose an adapter in the "
                "ProMISe dock, or train one on what is done."
            )
            return
        # Those that come next first: a person may be there in a moment.
        ahead = [key for key in (work.key, *self._to_do_after(work.key)) if key]
        keys = [
            key
            for key in dict.fromkeys([*ahead, *project.keys])
            if project.item(key).state in ("new", "proposed")
        ]
        if not keys:
            show_info("Nothing is left to propose for: all images were worked on.")
            return
        job = Propose(
            project,
            keys,
            project.read_image,
            ips=session.settings.ips,
            adapter=adapter,
            class_name=project.settings.class_name,
            tell=self._on_proposed,
        )
        project.settings.adapter = adapter
        self._proposing = job
        self.jobs.progress.show_progress("Proposing", 0, len(keys), None)
        self._show_project()
        session.start_job(job)

    def _on_proposed(self, progress: ProposeProgress) -> None:
        if self._proposing is None:
            return
        if not progress.finished:
            self.jobs.progress.show_progress(
                "Proposing", progress.done, progress.total, progress.seconds_left
            )
            return
        self._end_proposing()
        if progress.done < progress.total and progress.message:
            show_error(f"Proposing ended: {progress.message}")
        else:
            left_out = ""
            if progress.left_out:
                left_out = f"; {progress.left_out} left out ({progress.message})"
            show_info(
                f"Proposed on {progress.proposed} of {progress.total} images{left_out}."
            )

    def _end_proposing(self) -> None:
        self._proposing = None
        self.jobs.progress.end()
        self._show_project()

    def cancel(self) -> None:
        """Stop what runs over the folder; what was made by then is kept."""
        promise, job = self._neighbour.find(), self._proposing
        if job is not None:
            if promise is not None:
                promise.session.end_job(job)
            self._end_proposing()
        if self._exporting is not None:
            self._exporting.set()

    def retrain(self, *, by_itself: bool = False) -> None:
        """Ask for a training on what is done; the pairs come as `retrain_requested`.

        Parameters
        ----------
        by_itself : bool
            Nobody pressed a button: train at once, and leave the window closed.
        """
        project = self.project
        if project is None:
            return
        self._asked_to_train = sum(
            project.item(key).state == "done" for key in project.keys
        )

        def run() -> None:
            try:
                pairs = project.learning.training_pairs()
            except OSError as error:
                line = _strerror(error) or str(error)
                self._dispatch(lambda: show_error(line))
            else:
                self._dispatch(lambda: self._on_pairs(pairs, by_itself))

        threading.Thread(target=run, name="napari-promise pairs", daemon=True).start()

    def _on_pairs(self, pairs: tuple[Any, ...], by_itself: bool) -> None:
        promise = self._neighbour.find()
        if len(self.retrain_requested) or promise is None or self.project is None:
            self.retrain_requested.emit(pairs)
            return
        promise.training.train_on(
            pairs,
            Path(self.project.source).stem,
            self.project.settings.class_name,
            start=by_itself,
        )

    def _on_adapter_kept(self, adapter: str, learnt_from: str) -> None:
        """Mark in the course of the work where an adapter was trained on it."""
        project = self.project
        if project is None or learnt_from != Path(project.source).stem:
            return
        try:
            project.learning.log_trained(adapter)
        except (ValueError, OSError) as error:
            show_warning(_strerror(error) or str(error))
        self._read_effort()

    def _on_retrain_every_set(self, count: int) -> None:
        if self.project is not None:
            self.project.settings.retrain_every = count

    def _on_class_named(self, name: str) -> None:
        if self.project is not None and self.project.settings.class_name != name:
            self.project.settings.class_name = name

    def _on_weakest_first_toggled(self, on: bool) -> None:
        if self.project is not None:
            self.project.settings.order = "confidence" if on else "folder"

    def _read_effort(self) -> None:
        """Read the course of the work in the background, and show it."""
        project = self.project
        if project is None:
            return

        def run() -> None:
            effort = project.learning.effort()
            self._dispatch(lambda: self._on_effort(project, effort))

        threading.Thread(target=run, name="napari-promise effort", daemon=True).start()

    def _on_effort(self, project: Project, effort: Effort) -> None:
        if project is not self.project:
            return
        self.effort.show_effort(effort)
        every = project.settings.retrain_every
        trained = max([number for number, _name in effort.trained], default=0)
        since = len(effort.finished) - max(trained, self._asked_to_train)
        if every and since >= every:
            self.retrain(by_itself=True)

    def show_calibration(self) -> None:
        """Show what the confidence of proposals was worth so far."""
        project = self.project
        if project is None:
            return
        calibration = project.ledger.calibration
        if calibration is None:
            show_info(
                "Too little is known yet: propose, and finish 8 images or more that "
                "have a proposal."
            )
            return
        CalibrationDialog(calibration, self).exec()

    def export(self) -> None:
        """Ask what to write and where, and write it in the background."""
        project = self.project
        if project is None or self.work is None or not self.work.save():
            return
        if self._exporting is not None:
            show_info("An export is under way: wait for it, or cancel it.")
            return
        states = [project.item(key).state for key in project.keys]
        folder = project.source.parent if project.source.is_file() else project.source
        dialog = FolderExportDialog(
            folder.parent / f"{folder.name}-export",
            states.count("done"),
            states.count("in progress"),
            self,
        )
        if dialog.exec() and dialog.request is not None:
            self.write(dialog.request)

    def write(self, request: FolderExport) -> threading.Thread | None:
        """Write an export in the background and say how it went."""
        project, promise = self.project, self._neighbour.find()
        if project is None:
            return None
        metadata = None if promise is None else promise.session.provenance()
        stop, pace = threading.Event(), Pace()
        self._exporting = stop

        def progress(done: int, total: int) -> None:
            self._dispatch(
                lambda: self.jobs.progress.show_progress(
                    "Exporting", done, total, pace.left(done, total)
                )
            )

        def run() -> None:
            try:
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
            except (ValueError, OSError) as error:
                line = f"The export ended: {error}"
                self._dispatch(lambda: self._on_exported(line, show_error))
            else:
                stopped = " before it was cancelled" if stop.is_set() else ""
                line = f"{len(written)} files written{stopped}: {request.folder}"
                self._dispatch(lambda: self._on_exported(line, show_info))

        thread = threading.Thread(target=run, name="napari-promise export")
        thread.start()
        return thread

    def _on_exported(self, line: str, show: Callable[[str], None]) -> None:
        self._exporting = None
        if self._proposing is None:
            self.jobs.progress.end()
        show(line)

    # -- showing ------------------------------------------------------------------

    def _show_project(self) -> None:
        project = self.project
        self.open_button.setEnabled(not self._opening)
        self._refresh.setEnabled(project is not None)
        self._close_action.setEnabled(project is not None)
        for panel in (self.steps, self.table, self.jobs, self.effort):
            panel.setEnabled(project is not None)
        if project is None:
            if not self._opening:
                self.title.setText("No folder is open.")
                self.title.setToolTip("")
            self.steps.show_states({})
            self.saved.setText("")
            return
        self.title.setText(project.source.name)
        self.title.setToolTip(str(project.source))
        states: dict[str, int] = {}
        for key in project.keys:
            state = project.item(key).state
            states[state] = states.get(state, 0) + 1
        self.steps.show_states(states)
        self.jobs.show_done(states.get("done", 0))
        self.jobs.propose.setEnabled(self._proposing is None)

    def _show_settings(self) -> None:
        if self.project is not None:
            settings = self.project.settings
            self.jobs.show_every(settings.retrain_every)
            self.steps.show_settings(
                settings.class_name, settings.order == "confidence"
            )

    def _show_saved(self) -> None:
        work = self.work
        if work is None or work.key is None:
            self.saved.setText("")
        elif work.is_dirty:
            self.saved.setText("saving …")
        else:
            self.saved.setText("saved")


class _Closing:
    """Saves and lets go of everything once, whoever notices first that it is time.

    Holds what has to be let go, and not the widget: that may be gone already.
    """

    def __init__(self, keys: KeyBindings, relay: ProjectRelay, dispatch: GuiDispatcher):
        self.work: FolderWork | None = None
        self.thumbnails: Thumbnails | None = None
        self._parts: tuple[KeyBindings, ProjectRelay, GuiDispatcher] | None
        self._parts = (keys, relay, dispatch)

    @property
    def is_closed(self) -> bool:
        return self._parts is None

    def end_project(self, *, layers: bool) -> None:
        """Save and close the project."""
        if self._parts is not None:
            keys, relay, _ = self._parts
            relay.leave()
            keys.release_all()
        work, self.work = self.work, None
        thumbnails, self.thumbnails = self.thumbnails, None
        if thumbnails is not None:
            thumbnails.close()
        if work is not None:
            work.close(layers=layers)

    def __call__(self, *_: Any, layers: bool = False) -> None:
        if self._parts is None:
            return
        self.end_project(layers=layers)
        dispatch = self._parts[2]
        self._parts = None
        dispatch.close()


def _strerror(error: Exception) -> str | None:
    return error.strerror if isinstance(error, OSError) else None
