"""A folder teaches as it is confirmed: lessons of done images, the next suggestion.

How it goes on, on the session's worker:

1. `Tutor.wanted` says what is to be known: the images that are done, the latest ones,
   but those that were reopened.
2. A `Suggest` job forgets what is not wanted any more and learns what is missing, one
   image a step; the sum is the same in whatever order that happened.
3. Then it proposes for the image that was asked about: by the instant adapter, or by
   the trained one in use where that was found the better.

`Compare` finds out which is the better, on images that the trained one never saw.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from napari_promise.document import Plane, Tile
from napari_promise.jobs.prefetching import ImageCache
from napari_promise.project import OpenedImage, Project
from napari_promise.proposing import ProposedObject, propose
from napari_promise.session import JobContext

if TYPE_CHECKING:
    from napari_promise.model.adapters import Adapter
    from napari_promise.model.instant_learner import InstantLearner, Lesson

__all__ = ["Better", "Compare", "Keep", "Suggest", "Suggestion", "Tutor"]

#: Images that are learnt from; the latest ones. More add next to nothing.
LATEST = 40
#: Of masks that were there before, so many: their images are encoded for it.
_OF_MASKS = 8
#: Planes of a stack that are learnt from, evenly spread over those with an object.
_PLANES = 5
#: From this certainty on a suggestion is worth more than none; see `certainty` of
#: `model.instant_learner`.
WORTH = 0.0
#: What the instant adapter of a folder is called.
NAME = "instant"


@dataclass(frozen=True, eq=False)
class Suggestion:
    """What is suggested for an image.

    Attributes
    ----------
    key : str
    objects : tuple of ProposedObject
        Empty where nothing was found, or nothing is worth showing.
    learnt : int
        Images that it was learnt from.
    by : str
        Name of the adapter: `NAME`, or a trained one's.
    certainty : float or None
        How well images are answered by the others; None where nobody knows yet.
    """

    key: str
    objects: tuple[ProposedObject, ...]
    learnt: int
    by: str = NAME
    certainty: float | None = None


class Tutor:
    """What the images of a folder that are done taught.

    Lessons are taken and asked for by the worker alone; `reopen` and `confirm` may be
    called from any thread.

    Parameters
    ----------
    project : Project
    images : ImageCache
    """

    def __init__(self, project: Project, images: ImageCache) -> None:
        self.project = project
        self.images = images
        self._lock = threading.Lock()
        self._reopened: set[str] = set()
        self._learner: InstantLearner | None = None
        self._base = ""
        #: Of each image its revision, and how many objects a plane of it has.
        self._known: dict[str, tuple[int, float]] = {}
        self._unreadable: set[tuple[str, int]] = set()

    # -- any thread ---------------------------------------------------------------

    def reopen(self, key: str) -> None:
        """Take back what an image taught: it is being worked on again."""
        with self._lock:
            self._reopened.add(key)

    def confirm(self, key: str) -> None:
        """Learn from an image again, as it is saved now."""
        with self._lock:
            self._reopened.discard(key)

    def wanted(self) -> dict[str, int]:
        """Return the images to be known, each with its revision."""
        with self._lock:
            reopened = set(self._reopened)
        ledger = self.project.ledger
        done: list[tuple[str, str, int]] = []
        before: list[tuple[str, str, int]] = []
        for key in ledger.keys:
            entry = ledger.entry(key)
            if entry.state == "done" and key not in reopened:
                kept = done if entry.saved else before
                kept.append((entry.when, key, entry.revision))
        wanted = [*before[:_OF_MASKS], *sorted(done)][-LATEST:]
        return {key: revision for _, key, revision in wanted}

    # -- the worker ---------------------------------------------------------------

    @property
    def learnt(self) -> int:
        """Images that are known."""
        return len(self._known)

    def certainty(self) -> float | None:
        """See `InstantLearner.certainty`; None before there is something to tell."""
        return None if self._learner is None else self._learner.certainty()

    def missing(self, context: JobContext) -> list[str]:
        """Forget what is not wanted, and return what is to be learnt."""
        segmenter = context.segmenter
        base = f"{segmenter.model_id} {segmenter.sha256}"
        if base != self._base:  # another model: nothing of what is known holds
            self._base, self._learner = base, None
            self._known.clear()
        wanted = self.wanted()
        for key, (revision, _) in list(self._known.items()):
            if wanted.get(key) != revision:
                self._forget(key)
        return [
            key
            for key, revision in wanted.items()
            if key not in self._known and (key, revision) not in self._unreadable
        ]

    def learn(self, context: JobContext, key: str) -> None:
        """Take the lesson of an image that is done."""
        from napari_promise.model.instant_learner import InstantLearner, lesson_of

        revision = self.project.ledger.entry(key).revision
        lessons: list[tuple[str, Lesson]] = []
        try:
            image = self.images.get(key)
            labels = self._labels(key, image)
            planes = _planes(labels)
            for plane in planes:
                embedding: Any
                embedding, _ = context.embedding(image, Tile(plane))
                if self._learner is None:
                    self._learner = InstantLearner.like(embedding)
                found = lesson_of(self._learner.apm, embedding, labels[plane] > 0)
                lessons.append((f"{key}\0{plane}", found))
        except (OSError, ValueError):
            if context.must_give_way():
                raise  # it was stopped, not refused: the step comes again
            self._unreadable.add((key, revision))  # said when the image is opened
            return
        assert self._learner is not None
        for name, lesson in lessons:
            self._learner.learn(name, lesson)
        objects = [len(np.unique(labels[p][labels[p] > 0])) for p in planes]
        self._known[key] = (revision, float(np.mean(objects)))

    def _forget(self, key: str) -> None:
        assert self._learner is not None
        del self._known[key]
        for name in self._of(key):
            self._learner.forget(name)

    def _of(self, key: str) -> list[str]:
        names = () if self._learner is None else self._learner.names
        return [name for name in names if name.partition("\0")[0] == key]

    def _labels(self, key: str, image: OpenedImage) -> NDArray[Any]:
        stored = self.project.load(key)
        if stored is None or stored.labels is None:
            return np.zeros(image.shape, np.uint8)
        return np.asarray(stored.labels)

    def adapter(
        self, context: JobContext, without: Sequence[str] = (), name: str = NAME
    ) -> Adapter | None:
        """Return what all images taught, or all but some; None where that is nothing.

        Parameters
        ----------
        context : JobContext
        without : sequence of str
            Keys of images that are left out.
        name : str
            Of the adapter.
        """
        from napari_promise.model.instant_learner import info_for

        left_out = {each for key in without for each in self._of(key)}
        learner = self._learner
        if learner is None or len(learner) == len(left_out):
            return None
        source = self.project.source
        count = self.learnt - sum(key in self._known for key in without)
        info = info_for(
            context.segmenter.sam,
            name,
            class_name=self.project.settings.class_name or "object",
            trained_on=f"{count} image{'s' * (count != 1)}: {source.stem}",
        )
        counts = [count for _, count in self._known.values() if count]
        many = bool(counts) and float(np.median(counts)) > 1
        made = learner.adapter(info, left_out, many=many)
        return made.to(context.segmenter.sam.device)

    def close(self) -> None:
        """Forget everything."""
        self._learner = None
        self._known.clear()


def _planes(labels: NDArray[Any]) -> list[Plane]:
    """Choose the planes to learn from: some with an object, else the first."""
    planes = [plane for plane in np.ndindex(labels.shape[:-2]) if np.any(labels[plane])]
    if not planes:
        return [(0,) * (labels.ndim - 2)]
    at = np.linspace(0, len(planes) - 1, min(_PLANES, len(planes))).round().astype(int)
    return [planes[i] for i in at]


class Suggest:
    """A `Job` that learns what is missing, and proposes for an image.

    Parameters
    ----------
    tutor : Tutor
    key : str
        The image that is asked about.
    tell : callable
        Given a `Suggestion` in the window's thread.
    """

    def __init__(
        self, tutor: Tutor, key: str, tell: Callable[[Suggestion], None]
    ) -> None:
        self._tutor, self._key, self._tell = tutor, key, tell

    def step(self, context: JobContext) -> bool:
        """Learn from one image, or suggest; False when that is done."""
        tutor = self._tutor
        if context.must_give_way():
            return True
        missing = tutor.missing(context)
        if missing:
            tutor.learn(context, missing[0])
            return True
        found = self._suggest(context)
        context.deliver(lambda: self._tell(found))
        return False

    def _suggest(self, context: JobContext) -> Suggestion:
        tutor, key = self._tutor, self._key
        nothing = Suggestion(key, (), tutor.learnt)
        if tutor.project.item(key).state != "new":
            return nothing
        info, better = context.segmenter.adapter_info, tutor.project.settings.suggester
        if info is not None and better == info.name and info.apm != "none":
            return self._ask(context, context.segmenter, info.name, None)
        adapter, certainty = tutor.adapter(context), tutor.certainty()
        if adapter is None or (certainty is not None and certainty < WORTH):
            return nothing
        knowing = context.segmenter.with_adapter(adapter)
        return self._ask(context, knowing, NAME, certainty)

    def _ask(
        self, context: JobContext, segmenter: Any, by: str, certainty: float | None
    ) -> Suggestion:
        tutor, key = self._tutor, self._key
        image = tutor.images.get(key)
        plane = image.first_plane
        embedding, _ = context.embedding(image, Tile(plane))
        found = propose(
            segmenter,
            embedding,
            plane,
            class_name=tutor.project.settings.class_name,
        )
        shown = tuple(one for one in found if one.region is not None)
        return Suggestion(key, shown, tutor.learnt, by, certainty)

    def fail(self, context: JobContext, error: Exception) -> None:
        """End quietly: a suggestion is missed by nobody."""
        nothing = Suggestion(self._key, (), self._tutor.learnt)
        context.deliver(lambda: self._tell(nothing))

    def close(self) -> None:
        """See `session.Job`."""


@dataclass(frozen=True)
class Better:
    """Which of two adapters answers images better that neither learnt from.

    Attributes
    ----------
    name : str
        Of the trained adapter.
    trained, instant : float
        Mean automatic Dice.
    images : int
    """

    name: str
    trained: float
    instant: float
    images: int

    @property
    def winner(self) -> Literal["instant", "trained"]:
        """The better; the trained one of two that are alike."""
        return "trained" if self.trained >= self.instant else "instant"

    def told(self) -> str:
        """Say it in a line."""
        many = f"{self.images} images" if self.images > 1 else "one image"
        figures = (
            f"automatic Dice on {many} that neither learnt from: {self.name} "
            f"{self.trained:.2f}, instant {self.instant:.2f}"
        )
        if self.winner == "trained":
            return f"{self.name} makes the suggestions from now on ({figures})."
        return f"Instant suggestions stay in use ({figures})."


class Compare:
    """A `Job` that compares a trained adapter with the instant one.

    Parameters
    ----------
    tutor : Tutor
    adapter : str
        Name of the trained adapter.
    held_out : sequence of str
        Keys of images that it was not trained on.
    tell : callable
        Given a `Better`, or None where nothing can be compared, in the window's thread.
    """

    def __init__(
        self,
        tutor: Tutor,
        adapter: str,
        held_out: Sequence[str],
        tell: Callable[[Better | None], None],
    ) -> None:
        self._tutor, self._adapter, self._tell = tutor, adapter, tell
        self._held_out = tuple(held_out)
        self._left = list(held_out)
        self._dices: list[tuple[float, float]] = []

    def step(self, context: JobContext) -> bool:
        """Learn from one image, or answer one by both adapters."""
        if context.must_give_way():
            return True
        tutor = self._tutor
        missing = tutor.missing(context)
        if missing:
            tutor.learn(context, missing[0])
            return True
        instant = tutor.adapter(context, self._held_out)
        if self._left and instant is not None:
            key = self._left[0]
            image = tutor.images.get(key)
            labels = tutor._labels(key, image)
            plane = _planes(labels)[0]
            truth = labels[plane] > 0
            embedding, _ = context.embedding(image, Tile(plane))
            self._dices.append(
                (
                    _found_dice(context, embedding, self._adapter, truth),
                    _found_dice(context, embedding, instant, truth),
                )
            )
            self._left.pop(0)
            return True
        found = None
        if self._dices:
            trained, made = np.mean(self._dices, axis=0)
            found = Better(self._adapter, float(trained), float(made), len(self._dices))
        context.deliver(lambda: self._tell(found))
        return False

    def fail(self, context: JobContext, error: Exception) -> None:
        """End without an answer: what was in use stays."""
        context.deliver(lambda: self._tell(None))

    def close(self) -> None:
        """See `session.Job`."""


def _found_dice(
    context: JobContext, embedding: Any, adapter: Any, truth: NDArray[np.bool_]
) -> float:
    from napari_promise.training.metrics import dice

    mask = np.zeros_like(truth)
    for one in propose(context.segmenter.with_adapter(adapter), embedding):
        if one.region is not None:
            mask |= one.region.mask
    return float(dice(mask, truth))


class Keep:
    """A `Job` that makes an adapter of what a folder taught, and installs it.

    Parameters
    ----------
    tutor : Tutor
    name : str
    then : callable
        Given the adapter's name, in the window's thread.
    failed : callable
        Given one line.
    """

    def __init__(
        self,
        tutor: Tutor,
        name: str,
        then: Callable[[str], None],
        failed: Callable[[str], None],
    ) -> None:
        self._tutor, self._name = tutor, name
        self._then, self._failed = then, failed

    def step(self, context: JobContext) -> bool:
        """Learn from one image, or write the adapter."""
        from napari_promise.model.adapter_files import free_name, install

        if context.must_give_way():
            return True
        missing = self._tutor.missing(context)
        if missing:
            self._tutor.learn(context, missing[0])
            return True
        name = free_name(self._name)
        adapter = self._tutor.adapter(context, name=name)
        if adapter is None:
            raise ValueError("nothing was learnt yet: confirm an image first.")
        install(adapter)
        context.deliver(lambda: self._then(name))
        return False

    def fail(self, context: JobContext, error: Exception) -> None:
        """See `session.Job`."""
        line = " ".join(str(error).split())
        context.deliver(lambda: self._failed(line))

    def close(self) -> None:
        """See `session.Job`."""
