"""Train an adapter on the session's worker, a small step at a time.

1. The source gives its pairs; pixels that are no files yet are written into a folder of
   the run's own, which is removed at the end.
2. `trainer.train` runs a step at a time, on the model in use; clicks are answered in
   between, with the adapter in use.
3. The best so far is held in memory. It is written by `keep` only, because somebody
   said so, or because the session ended before anybody could.

Knows no window: what there is to tell is handed to callables, in the window's thread.
"""

from __future__ import annotations

import contextlib
import dataclasses
import logging
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from napari_promise.data import pairs as files
from napari_promise.data.pairs import Pair
from napari_promise.document import Plane
from napari_promise.files import one_line
from napari_promise.session import ImageSource, JobContext
from napari_promise.training.config import TrainConfig
from napari_promise.training.recipe import recipe_for

__all__ = [
    "FolderSource",
    "Found",
    "LaterSource",
    "LabelledImage",
    "Outcome",
    "PairsSource",
    "TrainingJob",
    "TrainingOrder",
    "TrainingSource",
    "Update",
    "ViewerSource",
    "keep",
    "survey",
]

_log = logging.getLogger(__name__)

#: Progress is told at most so often (seconds), but for news.
_TOLD_EVERY = 0.1


# Where images come from --------------------------------------------------------------


@dataclass(frozen=True)
class Found:
    """One labelled image.

    Attributes
    ----------
    objects : int
        Labels on it, of the class that is trained.
    where : str
        The image in words; planes of a stack are named.
    pair : Pair or None
        Its files; None where they were not to be written.
    group : str or None
        Patient, sequence or stack that it is of.
    """

    objects: int
    where: str
    pair: Pair | None = None
    group: str | None = None


class TrainingSource(Protocol):
    """Where images with masks come from; asked by the worker or another thread."""

    @property
    def name(self) -> str:
        """What it is called: said in the adapter's record."""

    def images(self, folder: Path | None) -> Iterator[Found | None]:
        """Give the labelled images one by one; None for one without a label.

        Parameters
        ----------
        folder : pathlib.Path or None
            Where to write what is no file yet; None to count only.
        """


class LabelsLike(Protocol):
    """Labels over an image, as far as training is concerned."""

    def plane_labels(self, plane: Plane) -> Any:
        """Return the labels in the pixels of an image's plane, (H, W) integer."""


@dataclass(frozen=True, eq=False)
class LabelledImage:
    """An image of the viewer and the labels that belong to it.

    Attributes
    ----------
    image : ImageSource
    labels : LabelsLike
    wanted : frozenset of int or None
        Labels of the class that is trained; None for all.
    """

    image: ImageSource
    labels: LabelsLike
    wanted: frozenset[int] | None = None


@dataclass(frozen=True, eq=False)
class ViewerSource:
    """Images of the viewer with Labels; of stacks, the planes that have any."""

    items: tuple[LabelledImage, ...]

    @property
    def name(self) -> str:
        """Names of the images."""
        return ", ".join(item.image.name for item in self.items)

    def images(self, folder: Path | None) -> Iterator[Found | None]:
        """See `TrainingSource`."""
        stacks = sum(len(item.image.shape) > 2 for item in self.items)
        for number, item in enumerate(self.items):
            leading = item.image.shape[:-2]
            # Planes of one stack are alike: two stacks are not divided, one has to be.
            group = f"stack {number}" if leading and stacks > 1 else None
            for index in np.ndindex(*leading):
                labels = np.asarray(item.labels.plane_labels(index))
                ids = np.unique(labels)
                ids = ids[ids != 0]
                if item.wanted is not None:
                    ids = ids[np.isin(ids, list(item.wanted))]
                if not len(ids):
                    yield None
                    continue
                where = item.image.name
                if index:
                    where += f", plane {', '.join(map(str, index))}"
                pair = None
                if folder is not None:
                    stem = "-".join(map(str, (number, *index)))
                    mask = np.isin(labels, ids)
                    pair = _write(folder / stem, item.image, index, mask, group)
                yield Found(len(ids), where, pair, group)


@dataclass(frozen=True)
class FolderSource:
    """A folder of images and one of masks of the same names.

    Attributes
    ----------
    images_dir, masks_dir : pathlib.Path
    group : str or None
        Regular expression, see `pairs.find_pairs`.
    """

    images_dir: Path
    masks_dir: Path
    group: str | None = None

    @property
    def name(self) -> str:
        """Name of the folder of images."""
        return self.images_dir.name

    def images(self, folder: Path | None) -> Iterator[Found | None]:
        """See `TrainingSource`."""
        found = files.find_pairs(
            self.images_dir, self.masks_dir, group=self.group, skip_unpaired=True
        )
        yield from PairsSource(tuple(found), self.name).images(folder)


@dataclass(frozen=True)
class LaterSource:
    """Pairs that take a while to get: asked for where that stops nobody.

    Attributes
    ----------
    name : str
    pairs : callable
        Returns a tuple of `Pair`; may raise ValueError or OSError.
    """

    name: str
    pairs: Callable[[], Sequence[Pair]]

    def images(self, folder: Path | None) -> Iterator[Found | None]:
        """See `TrainingSource`."""
        yield from PairsSource(tuple(self.pairs()), self.name).images(folder)


@dataclass(frozen=True)
class PairsSource:
    """Pairs of files, of an annotation project say."""

    pairs: tuple[Pair, ...]
    name: str = "images"

    def images(self, folder: Path | None) -> Iterator[Found | None]:
        """See `TrainingSource`."""
        for pair in self.pairs:
            objects = 0
            if folder is None:
                ids = np.unique(files.read_mask(pair.mask))
                objects = int((ids != 0).sum())
            yield Found(objects, pair.image.name, pair, pair.group)


def _write(
    stem: Path, image: ImageSource, plane: Plane, mask: Any, group: str | None
) -> Pair:
    """Write a plane as SAM sees it, and its mask."""
    from PIL import Image

    from napari_promise.data.planes import to_rgb8

    rgb = to_rgb8(image.plane_pixels(plane), image.contrast_limits, image.rgb)
    pair = Pair(stem.with_suffix(".png"), stem.with_suffix(".mask.png"), group)
    # the same pixels, the same bytes: what was encoded before is not encoded again
    Image.fromarray(rgb).save(pair.image, compress_level=1)
    Image.fromarray(mask.astype(np.uint8) * 255).save(pair.mask, compress_level=1)
    return pair


@dataclass(frozen=True)
class Survey:
    """What a source holds.

    Attributes
    ----------
    images, objects, unlabelled : int
    names : tuple of str
        Of the labelled images, planes told apart.
    groups : int
        Patients, sequences or stacks that the images are of; 0 where nothing says so.
    """

    images: int
    objects: int
    unlabelled: int
    names: tuple[str, ...]
    groups: int = 0


def survey(source: TrainingSource) -> Survey:
    """Count; reads labels, so that no window's thread should call it.

    Raises
    ------
    ValueError, OSError
        If a file cannot be read.
    """
    found = list(source.images(None))
    labelled = [each for each in found if each is not None]
    return Survey(
        len(labelled),
        sum(each.objects for each in labelled),
        len(found) - len(labelled),
        tuple(each.where for each in labelled),
        len({each.group for each in labelled if each.group is not None}),
    )


# The job -----------------------------------------------------------------------------


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
    """

    adapter: Any
    rows: tuple[dict[str, Any], ...]
    seconds: float
    stopped: bool = False


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
        self._images: Iterator[Found | None] | None = None
        self._pairs: list[Pair] = []
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
        self._run = (self._train or _trainer())(
            config, context.segmenter.sam, give_way=self._must_give_way
        )
        return True

    def _must_give_way(self) -> bool:
        return self._bench is not None and self._bench.must_give_way()

    def _config(self, context: JobContext) -> TrainConfig:
        order = self.order
        changes = recipe_for(len(self._pairs), continuing=order.start is not None)
        if order.start is not None:
            changes |= _built_as(order.start)
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
        return Outcome(self.best, tuple(self._rows), seconds, stopped)


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


def as_pairs(pairs: Sequence[Any]) -> tuple[Pair, ...]:
    """Return pairs of any kind as `Pair`."""
    return tuple(Pair(Path(p.image), Path(p.mask), p.group) for p in pairs)
