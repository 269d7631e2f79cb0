"""Train an adapter on the session's worker, a small step at a time.

1. The source gives its pairs (`training_sources`); pixels that are no files yet are
   written into a folder of the run's own, which is removed at the end.
2. `trainer.train` runs a step at a time, on the model in use; clicks are answered in
   between, with the adapter in use.
3. The best so far is held in memory. It is written by `keep` only, because somebody
   said so, or because the session ended before anybody could.

What there is to tell is handed to callables, in the window's thread.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from napari_promise.data.pairs import Pair
from napari_promise.files import one_line
from napari_promise.jobs.training_sources import LabelledPlane, TrainingSource
from napari_promise.session import JobContext
from napari_promise.training.config import TrainConfig
from napari_promise.training.recipe import recipe_for

__all__ = [
    "Outcome",
    "TrainingJob",
    "TrainingOrder",
    "Update",
    "keep",
    "rescue",
]

_log = logging.getLogger(__name__)

#: Progress is told at most so often (seconds), but for news.
_TOLD_EVERY = 0.1


@dataclass(frozen=True)
class TrainingOrder:
    """What is to be trained.

    Attributes
    ----------
    name, class_name, licence, note : str
        Of the adapter.
    start : pathlib.Path or None
        Folder of an earlier adapter to go on from.
    changes : dict
        Of `TrainConfig`, over what `recipe_for` says.
    """

    name: str
    class_name: str = "object"
    licence: str = ""
    note: str = ""
    start: Path | None = None
    changes: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, eq=False)
class Update:
    """Where a run stands.

    Attributes
    ----------
    phase : str
        ``prepare``, or a phase of `trainer.Progress`.
    step, total : int
    eta : float or None
        Seconds.
    message : str
    rows : tuple of dict
        Passes so far, see `curves.write_curves`.
    has_best : bool
        Whether there is something worth keeping.
    """

    phase: str
    step: int
    total: int
    eta: float | None = None
    message: str = ""
    rows: tuple[dict[str, Any], ...] = ()
    has_best: bool = False


@dataclass(frozen=True, eq=False)
class Outcome:
    """A trained adapter that nobody has kept or discarded yet.

    Attributes
    ----------
    adapter : Adapter
    rows : tuple of dict
    seconds : float
    stopped : bool
        Whether it is the best of a run that did not come to its end.
    held_out : tuple of Path
        Images that it was not trained on.
    """

    adapter: Any
    rows: tuple[dict[str, Any], ...]
    seconds: float
    stopped: bool = False
    held_out: tuple[Path, ...] = ()


class TrainingJob:
    """A training run in steps, see `session.Job`.

    Parameters
    ----------
    source : TrainingSource
    order : TrainingOrder
    on_update : callable
        Told an `Update`.
    on_ended : callable
        Told an `Outcome`, or None where there is nothing to keep.
    on_failed : callable
        Told one line; what was best so far comes as an outcome all the same.
    train : callable, optional
        `trainer.train`, by default.
    """

    def __init__(
        self,
        source: TrainingSource,
        order: TrainingOrder,
        *,
        on_update: Callable[[Update], None],
        on_ended: Callable[[Outcome | None], None],
        on_failed: Callable[[str], None],
        train: Callable[..., Iterator[Any]] | None = None,
    ) -> None:
        self.source = source
        self.order = order
        self.best: Any = None
        self.rescued = ""
        self._on_update = on_update
        self._on_ended = on_ended
        self._on_failed = on_failed
        self._train = train
        self._bench: JobContext | None = None
        self._folder: Path | None = None
        self._images: Iterator[LabelledPlane | None] | None = None
        self._pairs: list[Pair] = []
        self._held_out: tuple[Path, ...] = ()
        self._run: Iterator[Any] | None = None
        self._rows: list[dict[str, Any]] = []
        self._error: Exception | None = None
        self._wish = ""
        self._ended = False
        self._begun = time.monotonic()
        self._told = 0.0

    def stop(self, *, keep: bool) -> None:
        """End with the next step: with the best so far, or with nothing."""
        self._wish = "keep" if keep else "discard"

    def step(self, context: JobContext) -> bool:
        """See `session.Job`."""
        self._bench = context
        if self._error is not None:
            raise self._error  # it came while somebody was waiting
        if self._wish:
            return self._end(stopped=True)
        try:
            if self._run is None:
                return self._prepare(context)
            progress = next(self._run)
        except Exception as error:
            self._error = error
            raise
        self._take(progress)
        if progress.phase == "done":
            return self._end(stopped=False)
        return True

    def fail(self, context: JobContext, error: Exception) -> None:
        """See `session.Job`."""
        line = one_line(error)
        more = " The best so far can be kept." if self.best is not None else ""
        context.deliver(lambda: self._on_failed(f"Training stopped: {line}{more}"))
        self._end(stopped=True)

    def close(self) -> None:
        """See `session.Job`; saves the best where nobody could be asked about it."""
        if self._run is not None and hasattr(self._run, "close"):
            with contextlib.suppress(Exception):
                self._run.close()
        self._run = self._images = None
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        if self.best is not None and not self._ended and self._wish != "discard":
            self._ended = True
            try:
                self.rescued = rescue(self._outcome(stopped=True), self.order)
            except (OSError, ValueError):
                _log.exception("the adapter in training could not be kept")

    def _prepare(self, context: JobContext) -> bool:
        """Write one more image, or begin."""
        if self._images is None:
            self._folder = Path(tempfile.mkdtemp(prefix="promise-viewer-"))
            self._images = self.source.images(self._folder)
        for found in self._images:
            if found is not None and found.pair is not None:
                self._pairs.append(found.pair)
            self._tell(Update("prepare", len(self._pairs), 0))
            return True
        config = self._config(context)
        self._held_out = _held_out(config)
        self._run = (self._train or _trainer())(
            config, context.segmenter.sam, give_way=self._must_give_way
        )
        return True

    def _must_give_way(self) -> bool:
        return self._bench is not None and self._bench.must_give_way()

    def _config(self, context: JobContext) -> TrainConfig:
        order = self.order
        built = {} if order.start is None else _built_as(order.start)
        many = (order.changes | built).get("apm") == "instances"
        changes = recipe_for(
            len(self._pairs), continuing=order.start is not None, many=many
        )
        changes |= built
        return TrainConfig(
            **{
                "pairs": tuple(self._pairs),
                "name": order.name,
                "model": context.segmenter.model_id,
                "start": order.start,
                "class_name": order.class_name or "object",
                "licence": order.licence,
                "note": order.note,
                "trained_on": f"{len(self._pairs)} images: {self.source.name}"[:300],
                **changes,
                **order.changes,
            }
        )

    def _take(self, progress: Any) -> None:
        if progress.adapter is not None:
            self.best = progress.adapter
        row = getattr(progress, "row", None)
        if row is not None:
            self._rows.append(dict(row))
        self._tell(
            Update(
                progress.phase,
                progress.step,
                progress.total,
                progress.eta,
                progress.message,
                tuple(self._rows),
                self.best is not None,
            ),
            news=row is not None or bool(progress.message),
        )

    def _tell(self, update: Update, *, news: bool = False) -> None:
        assert self._bench is not None
        now = time.monotonic()
        if news or now - self._told >= _TOLD_EVERY:
            self._told = now
            self._bench.deliver(lambda: self._on_update(update))

    def _end(self, *, stopped: bool) -> bool:
        assert self._bench is not None
        self._ended = True
        outcome = None
        if self.best is not None and self._wish != "discard":
            outcome = self._outcome(stopped=stopped)
        self._bench.deliver(lambda: self._on_ended(outcome))
        self.close()
        return False

    def _outcome(self, *, stopped: bool) -> Outcome:
        seconds = time.monotonic() - self._begun
        return Outcome(self.best, tuple(self._rows), seconds, stopped, self._held_out)


def _held_out(config: TrainConfig) -> tuple[Path, ...]:
    """Return the images that a run is not going to train on."""
    from napari_promise.training.split import split

    try:
        return tuple(pair.image for pair in split(config)[1])
    except ValueError:  # said by the run itself
        return ()


def _trainer() -> Callable[..., Iterator[Any]]:
    """Return the trainer; imports torch, so the worker calls this."""
    from napari_promise.training.trainer import train

    return train


def _built_as(folder: Path) -> dict[str, Any]:
    """Return settings that build the same modules as an earlier adapter has."""
    from napari_promise.model.adapters import read_info

    info = read_info(folder)
    blocks = info.modules.get("apm", {}).get("blocks", 0)
    return {
        "apm": info.apm,
        "points": info.points,
        "ips": info.ips,
        "apm_blocks": blocks,
        "mask_choice": info.mask_choice,
    }


def keep(outcome: Outcome, order: TrainingOrder, *, force: bool = False) -> Path:
    """Write a trained adapter among the user's own, whole or not at all.

    Parameters
    ----------
    outcome : Outcome
    order : TrainingOrder
        Says the name, class, licence and note.
    force : bool
        Replace one of this name.

    Raises
    ------
    ValueError
        If the name is taken or unfit.
    OSError
        If it cannot be written; the outcome can be kept again.
    """
    from napari_promise.files import utc_now
    from napari_promise.model.adapter_files import install
    from napari_promise.training.curves import write_curves

    note = order.note
    if outcome.stopped:
        note = f"{note} Training was stopped: this is the best until then.".strip()
    adapter = outcome.adapter
    adapter.info = dataclasses.replace(
        adapter.info,
        name=order.name,
        class_name=order.class_name or "object",
        licence=order.licence,
        note=note,
        created=adapter.info.created or utc_now(),
    )
    folder = install(adapter, force=force)
    with contextlib.suppress(OSError):  # the adapter is whole without its curves
        write_curves(folder, outcome.rows)
    return folder


def rescue(outcome: Outcome, order: TrainingOrder) -> str:
    """Keep an adapter that nobody can be asked about, under a free name; returns it."""
    from napari_promise.model.adapter_files import free_name

    name = free_name(order.name)
    keep(outcome, dataclasses.replace(order, name=name))
    return name
