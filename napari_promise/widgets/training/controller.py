"""Trains an adapter for "Train my adapter": sources, the run, keep or discard.

The session's worker trains; files are read and written in other threads.
"""

from __future__ import annotations

import contextlib
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from psygnal import Signal
from qtpy.QtWidgets import QWidget

from napari_promise.document import unconfirmed_planes
from napari_promise.files import duration
from napari_promise.jobs import training, training_sources
from napari_promise.jobs.comparing import CompareJob
from napari_promise.jobs.training import Outcome, TrainingJob, TrainingOrder, Update
from napari_promise.jobs.training_sources import (
    FolderSource,
    LabelledImage,
    PairsSource,
    TrainingSource,
    ViewerSource,
)
from napari_promise.session import Session
from napari_promise.training import recipe
from napari_promise.widgets.background import Dispatch, later
from napari_promise.widgets.choices import Choice
from napari_promise.widgets.later import Later
from napari_promise.widgets.layers.bridge import LayerBridge
from napari_promise.widgets.layers.sources import LabelsSource, LayerSource
from napari_promise.widgets.training.library import AdapterLibrary
from napari_promise.widgets.training.panel import (
    FOLDER,
    GIVEN,
    TrainPanel,
    folder_of,
)
from napari_promise.widgets.words import counted, size

#: Wait so long for further changes before counting again.
_SETTLES_MS = 200
#: Seconds to encode an image, until that was measured here: a small model on a CPU.
_ENCODE_GUESS = 0.3
#: Bytes of a view on disk, until an embedding was written here.
_VIEW_GUESS = 2e6


class Training:
    """Everything about training that the user can ask for.

    Parameters
    ----------
    session : Session
    bridge : LayerBridge
    dispatch : callable
        Brings a call into the window's thread.
    tell, complain : callable
        Show one line: news, or a failure.
    window : callable
        Returns the window to open above, or None.

    Attributes
    ----------
    library : AdapterLibrary
    adapters_changed : Signal(str)
        An adapter was written: its name.
    kept : Signal(str, str)
        A new adapter was kept: its name, and what the pairs that it learnt from were
        called in `train_on`; empty for others.
    progress : Signal(str)
        One line on how training stands; empty when it has ended.
    folder : TrainingSource or None
        What is done in the folder that is being annotated.
    held_out_of_kept : tuple of Path
        Images that the adapter kept last was not trained on.
    """

    adapters_changed = Signal(str)
    kept = Signal(str, str)
    progress = Signal(str)

    def __init__(
        self,
        session: Session,
        bridge: LayerBridge,
        dispatch: Dispatch,
        tell: Callable[[str], None],
        complain: Callable[[str], None],
        window: Callable[[], QWidget | None],
    ) -> None:
        self._session, self._bridge = session, bridge
        self._dispatch, self._tell, self._complain = dispatch, tell, complain
        self._window = window
        self._panel: TrainPanel | None = None
        self._given: PairsSource | None = None
        self._adapters: Sequence[Any] = ()
        self._survey = 0
        self.job: TrainingJob | None = None
        self.outcome: Outcome | None = None
        self._order: TrainingOrder | None = None
        self._base_model = self._trained_for = ""
        self._by_itself = False
        self.held_out_of_kept: tuple[Path, ...] = ()
        self.folder: TrainingSource | None = None
        self.train_function: Callable[..., Iterator[Any]] | None = None
        self.library = AdapterLibrary(
            session,
            bridge,
            dispatch,
            complain,
            window,
            lambda: self.folder or self.source(),
            self.adapters_changed.emit,
            self._show_comparison,
        )
        self._settle = Later(self._count, _SETTLES_MS)

    @property
    def panel(self) -> TrainPanel:
        """The window; made when first asked for."""
        if self._panel is None:
            panel = TrainPanel(self._window())
            panel.source_changed.connect(self._settle.start)
            panel.start_requested.connect(self.start)
            panel.stop_requested.connect(self.stop)
            panel.compare_requested.connect(self.compare)
            panel.keep_requested.connect(self.keep)
            panel.discard_requested.connect(self.discard)
            panel.manage_requested.connect(self.library.show)
            self._panel = panel
        return self._panel

    # -- sources ------------------------------------------------------------------

    def show(self) -> None:
        """Open the window on what the viewer holds now."""
        if self.job is None and self.outcome is None:
            self.refresh()
        self.panel.show()
        self.panel.raise_()

    def train_on(
        self,
        pairs: Sequence[Any],
        name: str | None = None,
        class_name: str = "",
        *,
        start: bool = False,
    ) -> None:
        """Open the window on pairs of files that another part of the program has.

        Parameters
        ----------
        pairs : sequence of ImagePair
        name : str, optional
            What they are called.
        class_name : str
            What is labelled in them, if that is known.
        start : bool
            Train at once, with the window left closed until there is something to
            decide; the person is busy.
        """
        if start and (self.job is not None or self.outcome is not None):
            self._tell(
                "Training not started: another adapter is being trained."
                if self.outcome is None
                else "Training not started: keep or discard the previous adapter first."
            )
            return
        if class_name and self.job is None and self.outcome is None:
            self.panel.class_name.value = class_name
        self._given = PairsSource(
            training_sources.as_pairs(pairs), name or "given images"
        )
        self.panel.show_sources(f"{self._given.name} ({counted(len(pairs), 'image')})")
        if not start:
            self.show()
            return
        self._by_itself = True
        self.panel.name.value = _name_for(self._given.name, len(pairs))
        self.refresh()

    def show_adapters(self, entries: Sequence[Any]) -> None:
        """Take over which adapters there are."""
        self._adapters = entries
        if self._panel is not None:
            self._show_starts()

    def refresh(self) -> None:
        """Look again at what is in the viewer."""
        rows, classes = [], set()
        for image, labels, work in self._bridge.labelled():
            rows.append((image, f"{image.name}  ·  {labels.name}"))
            if work is not None:
                classes |= {o.class_name for o in work.document.objects if o.class_name}
        self.panel.show_images(rows)
        chosen = self.panel.wanted.value()
        choices = [Choice(None, "all labels as one class")]
        choices += [Choice(name, f"class “{name}”") for name in sorted(classes)]
        self.panel.wanted.show_choices(choices, chosen if chosen in classes else None)
        self._show_starts()
        self._settle.start()

    def _show_starts(self) -> None:
        panel, chosen = self.panel, self.panel.start_from.value()
        choices = [Choice("", "nothing: a new adapter")]
        choices += [
            Choice(entry.path, f"{entry.name}, continued", entry.tooltip)
            for entry in self._adapters
            if entry.base_model == self._session.settings.model
        ]
        known = [choice.value for choice in choices]
        panel.start_from.show_choices(choices, chosen if chosen in known else "")

    def source(self) -> TrainingSource | None:
        """Return what is chosen, ready for another thread; None for nothing."""
        panel = self.panel
        if panel.source.value() == GIVEN:
            return self._given
        if panel.source.value() == FOLDER:
            images, masks = folder_of(panel.images_dir), folder_of(panel.masks_dir)
            if images is None or masks is None:
                return None
            return FolderSource(images, masks, panel.group.text().strip() or None)
        chosen, items = panel.chosen_images(), []
        class_name = panel.wanted.value()
        for image, labels, work in self._bridge.labelled():
            if not any(image is one for one in chosen):
                continue
            wanted: frozenset[int] | None = None
            if class_name:
                objects = () if work is None else work.document.objects
                ids = {o.label for o in objects if o.class_name == class_name}
                wanted = frozenset(ids)
            source = LabelsSource(labels, image)
            known = () if work is None else work.document.objects
            unconfirmed = unconfirmed_planes(known, wanted)
            layer = LayerSource(image)
            items.append(LabelledImage(layer, source, wanted, unconfirmed))
        return ViewerSource(tuple(items)) if items else None

    def _count(self) -> None:
        source = self.source()
        self._survey += 1
        number = self._survey
        if source is None:
            self.panel.show_summary("Choose images with masks.", ready=False)
            return
        self.panel.show_summary("counting…", ready=False)
        later(
            lambda: training_sources.survey(source),
            lambda found: self._show_survey(number, found),
            lambda line: self._show_no_survey(number, line),
            dispatch=self._dispatch,
        )

    def _show_no_survey(self, number: int, line: str) -> None:
        if number == self._survey:
            self._by_itself = False
            self.panel.show_summary(line, ready=False)

    def _show_survey(self, number: int, found: training_sources.Survey) -> None:
        if number != self._survey:
            return
        continuing, many = bool(self.panel.start_from.value()), self.panel.finds_many
        try:
            changes = recipe.recipe_for(found.images, continuing=continuing, many=many)
        except ValueError as error:
            self._by_itself = False
            self.panel.show_summary(str(error), ready=False)
            return
        held_out = recipe.held_out_of(found.images)
        views = changes.get("views", 2) * (found.images - held_out) + held_out
        seconds = recipe.expected_seconds(
            found.images,
            changes,
            self._session.encode_seconds or _ENCODE_GUESS,
            many=many,
        )
        room = views * (self._session.embedding_bytes or _VIEW_GUESS)
        by = f"by group, of {found.groups}" if found.groups > 1 else "by image"
        lines = [
            f"{counted(found.images, 'image')}, {counted(found.objects, 'object')} on "
            f"{self._session.settings.model}; {held_out} held out ({by}). "
            f"At most {duration(seconds)} and {size(room)} of cache."
        ]
        if found.unlabelled:
            shown = "; ".join(found.names[:6]) + ("…" if found.images > 6 else "")
            lines.append(f"{found.unlabelled} planes without labels left out: {shown}.")
        lines += found.masks
        if warning := recipe.warning_for(found.images):
            lines.append(warning)
        self.panel.show_summary("\n".join(lines), ready=True)
        if self._by_itself:
            self.start()

    # -- training -----------------------------------------------------------------

    def start(self) -> None:
        """Train on what is chosen."""
        source = self.source()
        if source is None or self.job is not None or self.outcome is not None:
            return
        naming, start = self.panel.naming(), self.panel.start_from.value()
        self._order = TrainingOrder(
            naming.name or "my-adapter",
            naming.class_name,
            naming.licence,
            naming.note,
            Path(start) if start else None,
            # an adapter that is trained further goes on finding what it found
            {"apm": "instances"} if self.panel.finds_many else {},
        )
        self._base_model = self._session.settings.model
        given = self._given if source is self._given else None
        self._trained_for = "" if given is None else given.name
        self.job = TrainingJob(
            source,
            self._order,
            on_update=self._on_update,
            on_ended=self._on_ended,
            on_failed=self._complain,
            train=self.train_function,
        )
        self.panel.curves.show_rows(())
        self.panel.comparison.show_comparison(None)
        self.panel.show_state("training")
        self._session.start_job(self.job)

    def stop(self, keep: bool) -> None:
        """End training, with the best so far or with nothing."""
        if self.job is not None:
            self.job.stop(keep=keep)
            self.panel.status.setText("stopping…")

    def _on_update(self, update: Update) -> None:
        eta = "" if update.eta is None else duration(update.eta)
        self.panel.show_update(update, eta)
        self.progress.emit(self.panel.status.text())
        if update.message:
            self.panel.summary.setText(update.message)

    def _on_ended(self, outcome: Outcome | None) -> None:
        source = "" if self.job is None else self.job.source.name
        self.job, self.outcome = None, outcome
        by_itself, self._by_itself = self._by_itself, False
        self.progress.emit("")
        self.panel.show_state("idle" if outcome is None else "ended")
        if outcome is None:
            self.panel.status.setText("Nothing was saved.")
            return
        scores = outcome.adapter.info.scores.get("held out in training", {})
        said = [
            f"{name} {scores[key]:.3f} (frozen {scores.get('frozen_' + key, 0):.3f})"
            for key, name in (
                ("automatic", "automatic"),
                ("gt_prompted", "GT-prompted"),
            )
            if key in scores
        ]
        self.panel.curves.show_rows(outcome.rows)
        self.panel.progress.setValue(1000)
        self.panel.summary.setText(f"Trained on {source}.")
        self.panel.status.setText(
            f"{'Stopped' if outcome.stopped else 'Done'} after "
            f"{duration(outcome.seconds)}. Held-out Dice: {', '.join(said) or '–'}. "
            "Keep it?"
        )
        self.compare()
        if by_itself:
            self._tell(
                f"An adapter was trained on {self._trained_for}: open “Train my "
                "adapter…” to compare it, and keep or discard it."
            )
        else:
            self.panel.show()

    def compare(self) -> None:
        """Show the old and the new adapter on the image on display."""
        best = self.outcome.adapter if self.outcome else getattr(self.job, "best", None)
        source = self._bridge.source()
        if best is None:
            self._complain("There is no better adapter yet: wait for a pass to end.")
            return
        if source is None:
            self.panel.comparison.show_comparison(None)
            return
        current = self._session.settings.adapter or None
        names = (f"now: {current}" if current else "now", "new")
        self._session.start_job(
            CompareJob(
                source,
                self._bridge.plane,
                (current, best),
                names,
                self.panel.comparison.show_comparison,
                self._complain,
            ),
            first=True,
        )

    def keep(self) -> None:
        """Save the new adapter, and use it."""
        outcome, naming = self.outcome, self.panel.naming()
        if outcome is None:
            return
        order = TrainingOrder(
            naming.name, naming.class_name, naming.licence, naming.note
        )
        own = [e.name for e in self._adapters if e.name == naming.name]
        force = bool(own)
        if own and not self.panel.confirm(
            f"There is an adapter {naming.name} already. Replace it?"
        ):
            return
        self.panel.keep.setEnabled(False)
        later(
            lambda: training.keep(outcome, order, force=force),
            lambda _folder: self._on_kept(naming.name, outcome.held_out),
            self._on_not_kept,
            dispatch=self._dispatch,
            finish=True,
        )

    def _on_kept(self, name: str, held_out: tuple[Path, ...] = ()) -> None:
        self.outcome = None
        self.held_out_of_kept = held_out
        self.panel.show_state("idle")
        settings = self._session.settings
        if settings.model != self._base_model:
            self._tell(
                f"{name} is saved. It belongs to {self._base_model}: choose that model "
                "to use it."
            )
        elif settings.adapter == name:
            self._session.reload_adapter()
        else:
            settings.adapter = name
        self.panel.status.setText(f"Saved and in use: {name}.")
        self.adapters_changed.emit(name)
        self.kept.emit(name, self._trained_for)

    def _on_not_kept(self, line: str) -> None:
        self.panel.keep.setEnabled(True)
        self.panel.status.setText(f"Not saved yet: {line}")
        self._complain(line)

    def discard(self) -> None:
        """Forget the new adapter."""
        self.outcome = None
        self.panel.comparison.show_comparison(None)
        self.panel.show_state("idle")
        self.panel.status.setText("Discarded.")

    def _show_comparison(self, comparison: Any) -> None:
        """Show two adapters of the library on the image on display."""
        self.panel.comparison.show_comparison(comparison)
        self.panel.show()
        self.panel.raise_()

    def close(self) -> str:
        """Close the windows, and keep what nobody decided about.

        Returns
        -------
        str
            Name of the adapter that was kept; empty for none.
        """
        self._settle.stop()
        with contextlib.suppress(RuntimeError):  # gone with Qt, at the program's end
            self.library.close()
            if self._panel is not None:
                self._panel.close()
                self._panel.deleteLater()
        self._panel = None
        return self._rescue()

    def _rescue(self) -> str:
        if self.outcome is None or self._order is None:
            return "" if self.job is None else self.job.rescued
        outcome, self.outcome = self.outcome, None
        try:
            return training.rescue(outcome, self._order)
        except (OSError, ValueError):
            return ""


def _name_for(source: str, images: int) -> str:
    """Return an adapter's name from that of its images and their number."""
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", source).strip("-._") or "folder"
    return f"{plain[:40]}-{images}"
