"""The dock to annotate a folder: composes its panels and connects their wishes.

Prompting, committing and undoing are the desk's, shared with the prompting dock; either
dock works without the other. The file is long because each panel's wish has a handler
of a few lines here; the order of images is in `order`, what runs over them in `runs`.
"""

from __future__ import annotations

import weakref
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from napari.utils.notifications import show_error, show_info, show_warning
from qtpy.QtCore import QSize, QTimer
from qtpy.QtGui import QShowEvent
from qtpy.QtWidgets import (
    QHBoxLayout,
    QLabel,
    QMainWindow,
    QSizePolicy,
    QVBoxLayout,
    QWidget,
)
from superqt import QElidingLabel

from napari_promise.project import Project, State
from napari_promise.widgets.background import later
from napari_promise.widgets.connections import Connections
from napari_promise.widgets.desk import Closing, Desk, window_of
from napari_promise.widgets.dispatch import GuiDispatcher
from napari_promise.widgets.folder import order
from napari_promise.widgets.folder.dialogs import CalibrationDialog, FolderExportDialog
from napari_promise.widgets.folder.effort import EffortPanel
from napari_promise.widgets.folder.jobs_panel import JobsPanel
from napari_promise.widgets.folder.model import THUMBNAIL
from napari_promise.widgets.folder.open_button import OpenButton
from napari_promise.widgets.folder.opened import OpenFolder
from napari_promise.widgets.folder.runs import FolderRuns
from napari_promise.widgets.folder.states import IN_PROGRESS
from napari_promise.widgets.folder.steps import StepsPanel
from napari_promise.widgets.folder.suggesting import Suggestions
from napari_promise.widgets.folder.suggestion_bar import SuggestionBar
from napari_promise.widgets.folder.table import FolderTable
from napari_promise.widgets.folder.thumbnails import Thumbnails
from napari_promise.widgets.folder.window import (
    WIDTH,
    ProjectRelay,
    place,
    show_prompting_dock,
    unplace,
)
from napari_promise.widgets.folder.work import FolderWork
from napari_promise.widgets.keys import KeyBindings
from napari_promise.widgets.words import counted, from_within

if TYPE_CHECKING:
    import napari

#: How many images after the open one are encoded while the person works on it.
_AHEAD = 3
#: The next images are encoded once the open one is, and nothing was asked meanwhile.
_AHEAD_WAIT_MS = 300


class FolderWidget(QWidget):
    """Work through a folder of images.

    Parameters
    ----------
    napari_viewer : napari.Viewer

    Attributes
    ----------
    desk : Desk
        Shared with the other docks of the viewer.
    table : FolderTable
    steps : StepsPanel
    suggestion : SuggestionBar
    jobs : JobsPanel
    effort : EffortPanel
    """

    def __init__(self, napari_viewer: napari.Viewer) -> None:
        super().__init__()
        self.desk = Desk.of(napari_viewer)
        self._dispatch = GuiDispatcher(self)
        self._opened: OpenFolder | None = None
        self._opening = False
        self._was_shown = False
        self._window: Callable[[], QMainWindow | None] | None = None
        self._weakest_shown: str | None = None
        self._going_on_to: str | None = None
        self._relay = ProjectRelay(self)
        self._relay.item_changed.connect(self._on_item_changed)
        self._relay.items_changed.connect(self._on_items_changed)
        self._relay.noted.connect(self._warn)
        self._relay.settings_changed.connect(self._show_settings)

        self.open_button = OpenButton()
        self.title = QElidingLabel()
        self.saved = QLabel()
        self.steps = StepsPanel()
        self.suggestion = SuggestionBar()
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
                "take": self.take,
            }
        )
        self._ahead = QTimer(self)
        self._ahead.setSingleShot(True)
        self._ahead.setInterval(_AHEAD_WAIT_MS)
        self._ahead.timeout.connect(self._prefetch_next)
        # Else napari puts empty space below.
        self.setSizePolicy(QSizePolicy.Policy.Preferred, QSizePolicy.Policy.Expanding)
        self._connections = Connections()
        self._connect_panels()
        self._connect_desk()
        self._show_project()
        self._closing = Closing(self, self._end)
        self.desk.enter(self)

    @property
    def project(self) -> Project | None:
        """What is open."""
        return None if self._opened is None else self._opened.project

    @property
    def work(self) -> FolderWork | None:
        """The image of the project that is open; None where no project is."""
        return None if self._opened is None else self._opened.work

    @property
    def runs(self) -> FolderRuns | None:
        """What runs over the images of the project; None where no project is."""
        return None if self._opened is None else self._opened.runs

    def sizeHint(self) -> QSize:
        """Wide enough for the table's names, and no wider."""
        return QSize(WIDTH, 640)

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
        self._closing()

    def _end(self, window_stays: bool) -> None:
        self._relay.leave()
        self._keys.release_all()
        self._connections.release()
        opened, self._opened = self._opened, None
        if opened is not None:
            opened.close(layers=window_stays)
        self._dispatch.close()
        if window_stays:
            self._ahead.stop()
            if self.parent() is None and self._window is not None:
                unplace(self._window())
        self.desk.leave(self)

    # -- composing ----------------------------------------------------------------

    def _compose(self) -> None:
        self.title.setSizePolicy(QSizePolicy.Policy.Ignored, QSizePolicy.Policy.Fixed)
        self.saved.setToolTip(
            "Whether your work on this image is on the disk. It is saved automatically "
            "a moment after each edit."
        )
        top = QHBoxLayout()
        top.addWidget(self.open_button)
        top.addWidget(self.title, 1)
        top.addWidget(self.saved)
        column = QVBoxLayout(self)
        column.setContentsMargins(8, 6, 8, 6)
        column.setSpacing(6)
        column.addLayout(top)
        column.addWidget(self.steps)
        column.addWidget(self.suggestion)
        column.addWidget(self.table, 1)
        column.addWidget(self.jobs)
        column.addWidget(self.effort)

    def _connect_panels(self) -> None:
        steps, table = self.steps, self.table
        self.open_button.source_chosen.connect(self.open_project)
        self.open_button.refresh_requested.connect(self.refresh)
        self.open_button.close_requested.connect(self.close_project)
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
        self.suggestion.take_requested.connect(self.take)
        self.suggestion.keep_requested.connect(self.keep_suggested)
        self.suggestion.toggled.connect(self._on_suggest_toggled)
        jobs = self.jobs
        jobs.propose_requested.connect(self.propose_all)
        jobs.retrain_requested.connect(self.retrain)
        jobs.retrain_every_set.connect(self._on_retrain_every_set)
        jobs.export_requested.connect(self.export)
        jobs.cancel_requested.connect(self.cancel)
        jobs.calibration_requested.connect(self.show_calibration)

    def _connect_desk(self) -> None:
        add, bridge, session = (
            self._connections.add,
            self.desk.bridge,
            self.desk.session,
        )
        add(bridge.edited, self._on_edited)
        add(bridge.layers_changed, self._bind_keys)
        add(bridge.work_changed, self._bind_keys)
        add(session.segmented, self._on_segmented)
        add(session.failed, self._on_session_failed)
        add(self.desk.actions.settled, self._on_settled)
        add(session.encoded, self._on_encoded)

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
        self.open_button.show_open(False, opening=True)
        later(
            lambda: Project.open(source, **options),
            self._on_opened,
            lambda line: self._on_not_opened(from_within(line, Path(source).parent)),
            dispatch=self._dispatch,
        )

    def _on_not_opened(self, line: str) -> None:
        self._opening = False
        self._show_project()
        show_error(line)

    def _on_opened(self, project: Project) -> None:
        self._opening = False
        if self._closing.is_closed:
            project.close()
            return
        self._relay.follow(project)
        work = FolderWork(project, self.desk, self._dispatch)
        work.opening.connect(self._on_image_opening)
        work.opened.connect(self._on_image_opened)
        work.edited.connect(self._show_saved)
        work.saved.connect(self._on_saved)
        work.failed.connect(self._on_failed)
        work.not_opened.connect(self._on_image_not_opened)
        work.noticed.connect(self._warn)
        runs = FolderRuns(project, work.images, self.desk, self._dispatch)
        runs.progressed.connect(self._on_progressed)
        runs.ended.connect(self._on_run_ended)
        runs.effort_read.connect(self.effort.show_effort)
        thumbnails = Thumbnails(
            lambda key: project.thumbnail(key, THUMBNAIL),
            self._dispatch,
            self.table.model.show_thumbnail,
            self.table.model.forget_asked,
        )
        suggestions = Suggestions(project, work, self.desk, self.suggestion)
        self._opened = OpenFolder(project, work, runs, thumbnails, suggestions)
        self.table.model.show_project(project)
        show_prompting_dock(self.desk)
        self._show_settings()
        runs.read_effort()
        self._show_project()
        for note in project.notes:
            show_info(note)
        rows = self.table.model.order
        first = project.reopen_key or order.first_to_do(rows, self._state_of)
        self._go_on_to(first)

    def close_project(self) -> bool:
        """Save and close what is open; False where it cannot be saved."""
        opened = self._opened
        if opened is None:
            return True
        if not opened.work.save():
            return False
        self._relay.leave()
        self._keys.release_all()
        self._opened = None
        self.table.model.show_project(None)
        opened.close(layers=True)
        self.jobs.progress.end()
        self._show_saved()
        self._show_project()
        return True

    def refresh(self) -> None:
        """Look again which images there are, in the background."""
        project = self.project
        if project is not None:
            if self.work is not None:
                self.work.unreadable.clear()
            later(
                project.refresh,
                lambda found: show_info(
                    f"{counted(found[0], 'image')} added, {found[1]} removed."
                ),
                show_error,
                dispatch=self._dispatch,
            )

    # -- images -------------------------------------------------------------------

    def open_image(self, key: str) -> None:
        """Open an image; returns at once."""
        self._going_on_to = None
        if self.work is not None:
            self.work.open(key)

    def next(self) -> None:
        """Open the image below in the table."""
        self._step(+1)

    def previous(self) -> None:
        """Open the image above in the table."""
        self._step(-1)

    def next_uncertain(self) -> None:
        """Open the image whose proposal is the weakest of those that wait."""
        if self._opened is None:
            return
        project, work = self._opened.project, self._opened.work
        key = order.weakest(
            project.ledger, work.wanted, self._weakest_shown, work.unreadable
        )
        if key is None:
            self._say_all_done()
        else:
            self._weakest_shown = key
            self.open_image(key)

    def finish(self) -> None:
        """Confirm the image with all that is shown on it, and open the next."""
        if self.work is not None:
            self.work.finish(self._go_on)

    def take(self) -> None:
        """Make what is suggested an object of one's own, to be corrected."""
        if self._opened is not None:
            self._opened.suggestions.take()

    def keep_suggested(self) -> None:
        """Keep what the suggestions learnt as an adapter."""
        if self._opened is not None:
            self._opened.suggestions.keep()

    def _on_suggest_toggled(self, on: bool) -> None:
        if self._opened is not None:
            self._opened.suggestions.switch(on)

    def skip(self) -> None:
        """Set the image aside, and open the next."""
        if self.work is not None:
            self.work.skip(self._go_on)

    def _step(self, by: int) -> None:
        if self.work is None:
            return
        key = order.beside(self.table.model.order, self.work.wanted, by)
        if key is not None:
            self.open_image(key)
        else:
            end = "last" if by > 0 else "first"
            show_info(f"This is the {end} image of the table.")

    def _go_on(self) -> None:
        """Open what comes after an image that is done or skipped."""
        if self._opened is None:
            return
        key = order.after_finished(
            self.table.model.order,
            self._opened.work.key,
            self._state_of,
            self._weakest_first(),
            self._opened.work.unreadable,
        )
        if key is None:
            self._say_all_done()
        else:
            self._go_on_to(key)

    def _go_on_to(self, key: str | None) -> None:
        """Open an image that nobody chose: where it cannot be, the next one."""
        if key is not None:
            self.open_image(key)
            self._going_on_to = key

    def _weakest_first(self) -> order.ByConfidence | None:
        """Return what decides the order where the weakest comes first."""
        project = self.project
        by_confidence = project and project.settings.order == "confidence"
        return project.ledger if project and by_confidence else None

    def _state_of(self, key: str) -> State:
        return self.table.model.state_of(key)

    def _say_all_done(self) -> None:
        hidden = self.project is not None and len(self.table.model.order) < len(
            self.project.keys
        )
        where = "that the table shows " if hidden else ""
        unreadable = 0 if self.work is None else len(self.work.unreadable)
        rest = f", except {unreadable} that cannot be opened" if unreadable else ""
        show_info(f"All images {where}are done or skipped{rest}.")

    def _on_image_opening(self, key: str) -> None:
        self.table.show_current(key)

    def _on_image_opened(self, key: str) -> None:
        self.table.show_current(key)
        self._bind_keys()
        self._show_saved()
        self._show_project()
        self._ahead.start()

    def _on_image_not_opened(self, key: str) -> None:
        if key == self._going_on_to:
            self._go_on()

    def _on_failed(self, line: str) -> None:
        self._show_saved()
        show_error(self._named(line))

    def _warn(self, line: str) -> None:
        show_warning(self._named(line))

    def _named(self, line: str) -> str:
        """Name files in a line as the table does."""
        return line if self.project is None else from_within(line, self.project.source)

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

    # -- what happens at the desk -------------------------------------------------

    def _on_edited(self, _changed: list[int]) -> None:
        work = self.work
        if work is not None and work.is_on_display():
            work.count_click()
            self._show_saved()

    def _on_segmented(self, _result: Any) -> None:
        if self.work is not None:
            self.work.go_on()

    def _on_settled(self, _document: Any) -> None:
        # Perhaps in the middle of an answer: others have to hear of it, too.
        QTimer.singleShot(0, self._go_on_with_work)

    def _go_on_with_work(self) -> None:
        if self.work is not None:
            self.work.go_on()

    def _on_session_failed(self, _line: str) -> None:
        if self.work is not None:
            self.work.give_up_finishing()

    def _on_encoded(self, _plane: Any) -> None:
        if self.work is not None:
            self._ahead.start()

    def _prefetch_next(self) -> None:
        """Encode the images that are likely to come next, in the background."""
        if self._opened is not None and self._opened.suggestions.is_asking:
            self._ahead.start()  # what is seen of this image comes first
        elif self._opened is not None and self._opened.work.key is not None:
            self._opened.runs.prefetch(
                order.coming(
                    self.table.model.order,
                    self._opened.work.key,
                    self._state_of,
                    self._weakest_first(),
                    _AHEAD,
                )
            )

    def _bind_keys(self) -> None:
        if self.project is None:
            self._keys.release_all()
        else:
            self._keys.bind_only(self.desk.bridge.bindable(), [])

    # -- what happens in the project ----------------------------------------------

    def _on_item_changed(self, key: str) -> None:
        self.table.model.show_changed(key)
        self._show_project()
        if self._opened is None:
            return
        if self._opened.project.item(key).state == "done":
            self._opened.runs.read_effort()
        if key == self._opened.work.key:
            self._opened.work.load_proposal()
            self._show_saved()

    def _on_items_changed(self) -> None:
        self.table.model.show_all_changed()
        self._show_project()
        if self.runs is not None:
            self.runs.read_effort()

    def _on_thumbnail_wanted(self, key: str) -> None:
        if self._opened is not None:
            self._opened.thumbnails.want(key)

    # -- all images ---------------------------------------------------------------

    def propose_all(self) -> None:
        """Propose for every untouched image, in the background."""
        if self._opened is None:
            return
        # Those that come next first: the user may be there in a moment.
        key = self._opened.work.key
        ahead = order.to_do_after(self.table.model.order, key, self._state_of)
        self._opened.runs.propose([*([] if key is None else [key]), *ahead])
        self._show_project()

    def retrain(self) -> None:
        """Train on the images that are done."""
        if self.runs is not None:
            self.runs.retrain()

    def cancel(self) -> None:
        """Stop what runs over the folder; what was made by then is kept."""
        if self.runs is not None:
            self.runs.cancel()

    def _on_progressed(
        self, what: str, done: int, total: int, left: float | None
    ) -> None:
        self.jobs.progress.show_progress(what, done, total, left)

    def _on_run_ended(self) -> None:
        self.jobs.progress.end()
        self._show_project()

    def show_calibration(self) -> None:
        """Show how well the confidence of proposals predicts their quality."""
        if self.project is None:
            return
        calibration = self.project.ledger.calibration
        if calibration is None:
            show_info(
                "Calibration needs at least 8 finished images that had a proposal."
            )
            return
        CalibrationDialog(calibration, self).exec()

    def export(self) -> None:
        """Ask what to write and where, and write it in the background."""
        opened = self._opened
        if opened is None or not opened.work.save():
            return
        if opened.runs.is_exporting:
            show_info("An export is under way: wait for it, or cancel it.")
            return
        project = opened.project
        states = [project.item(key).state for key in project.keys]
        folder = project.source.parent if project.source.is_file() else project.source
        dialog = FolderExportDialog(
            folder.parent / f"{folder.name}-export",
            states.count("done"),
            states.count(IN_PROGRESS),
            self,
        )
        if dialog.exec() and dialog.request is not None:
            opened.runs.write(dialog.request)

    # -- settings of the project --------------------------------------------------

    def _on_retrain_every_set(self, count: int) -> None:
        if self.project is not None:
            self.project.settings.retrain_every = count

    def _on_class_named(self, name: str) -> None:
        if self.project is not None and self.project.settings.class_name != name:
            self.project.settings.class_name = name

    def _on_weakest_first_toggled(self, on: bool) -> None:
        if self.project is not None:
            self.project.settings.order = "confidence" if on else "folder"

    # -- showing ------------------------------------------------------------------

    def _show_project(self) -> None:
        project = self.project
        self.open_button.show_open(project is not None, opening=self._opening)
        for panel in (
            self.steps,
            self.suggestion,
            self.table,
            self.jobs,
            self.effort,
        ):
            panel.setEnabled(project is not None)
        if self._opened is None or project is None:
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
        self.jobs.propose.setEnabled(not self._opened.runs.is_proposing)

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
