"""What `InstantAPM` learns from: an image's lesson is added and taken away exactly.

What is kept of an image are its normal equations (`ridge.NormalEquations`), rounded to
multiples of a small power of two, so that sums of them are exact and do not depend on
their order: whoever takes a lesson away gets back, bit for bit, what was before it
came. There are no passes and no random steps.

How well the next image will be answered is known without looking at an image twice: the
squared error on an image of weights that never saw it follows from its equations
alone (leave-one-image-out).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_promise.files import utc_now
from napari_promise.model.adapters import Adapter, AdapterInfo
from napari_promise.model.instant_prompter import InstantAPM
from napari_promise.model.ridge import NormalEquations

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

    from napari_promise.model.sam import Embedding

__all__ = ["MOST", "PENALTY", "InstantLearner", "Lesson", "lesson_of"]

#: How small the weights are held; chosen on the part val of kvasir-seg.
PENALTY = 400.0
#: Lessons that are kept: further images add next to nothing.
MOST = 128
#: Sum of the weights of an image's cells.
_TOTAL = 1000.0
#: Entries are multiples of 1 / _GRID. They stay below 2**15, so that 2**30 of them
#: add up in a float64 without rounding, and one is exact in a float32.
_GRID = 256.0
#: Lessons left out in turn to say how sure the next proposal is; the latest ones.
_JUDGED = 6


@dataclass(frozen=True, eq=False)
class Lesson:
    """What one image, or one plane, teaches.

    Attributes
    ----------
    gram : (F (F + 1) / 2,) float32
        Upper triangle of the equations' matrix, row by row.
    moment : (F,) float32
    energy : float
        Sum of weight times squared target.
    """

    gram: NDArray[np.float32]
    moment: NDArray[np.float32]
    energy: float

    @property
    def spread(self) -> float:
        """Weighted squares that the best constant leaves; 0 without an object."""
        constant, total = float(self.moment[-1]), float(self.gram[-1])
        left = self.energy - constant**2 / max(total, 1e-9)
        return left if left > 1e-3 * self.energy else 0.0

    def equations(self) -> NormalEquations:
        """Return the whole matrix and the moment."""
        return _unpacked(self.gram.astype(np.float64), self.moment.astype(np.float64))


@torch.no_grad()
def lesson_of(
    apm: InstantAPM,
    emb: Embedding,
    mask: NDArray[np.bool_],
    where: NDArray[np.bool_] | None = None,
) -> Lesson:
    """Return what a mask of an image teaches.

    Parameters
    ----------
    apm : InstantAPM
        Says what a cell's features are.
    emb : Embedding
        Of the image.
    mask : (H, W) bool
        Of the whole plane; empty where nothing is there.
    where : (H, W) bool, optional
        Only these pixels are known; the others teach nothing.

    Returns
    -------
    Lesson
    """
    apm.to(emb.image.device)
    seen = apm.describe(emb.levels, emb.image)[0].cpu()  # (h, w, F)
    covered = _share(mask, emb, seen.shape[0])  # (r, c)
    rows, columns = covered.shape
    examples = seen[:rows, :columns].reshape(-1, seen.shape[-1]).numpy()
    inside = covered.ravel()
    known = np.ones_like(inside)
    if where is not None:
        known = _share(where, emb, seen.shape[0]).ravel()
        inside = np.minimum(inside, known)
    outside = np.maximum(known - inside, 0)
    weights = np.zeros_like(inside)
    for side in (inside, outside):
        whole = float(side.sum())
        if whole > 0:
            weights += side * (_TOTAL / 2 / whole)
    # a cell that is half object says nothing: its target is 0
    targets = np.where(known > 0, (inside - outside) / known.clip(1e-6), 0)
    found = NormalEquations.of(
        examples, targets.astype(np.float32), weights.astype(np.float32)
    )
    gram = found.gram[np.triu_indices(len(found.moment))]
    return Lesson(
        (np.round(gram * _GRID) / _GRID).astype(np.float32),
        (np.round(found.moment * _GRID) / _GRID).astype(np.float32),
        float((weights * targets**2).sum()),
    )


class InstantLearner:
    """Lessons by name, and the weights that follow from all of them.

    Parameters
    ----------
    apm : InstantAPM
        Built for the base model; its own weights are left alone.
    penalty : float
        How small the weights are held.
    """

    def __init__(self, apm: InstantAPM, penalty: float = PENALTY) -> None:
        self.apm = apm
        self.penalty = penalty
        self._lessons: dict[str, Lesson] = {}
        count = apm.features
        self._gram = np.zeros(count * (count + 1) // 2)
        self._moment = np.zeros(count)

    @classmethod
    def like(cls, emb: Embedding, penalty: float = PENALTY) -> InstantLearner:
        """Return a learner without lessons for the model that made an embedding."""
        channels = [level.shape[1] for level in emb.levels]
        return cls(InstantAPM(channels, emb.image.shape[1]).eval(), penalty)

    @property
    def names(self) -> tuple[str, ...]:
        """What was learnt from, in this order."""
        return tuple(self._lessons)

    def __len__(self) -> int:
        return len(self._lessons)

    def learn(self, name: str, lesson: Lesson) -> None:
        """Add a lesson, in place of an earlier one of this name.

        Beyond `MOST` nothing is added.
        """
        self.forget(name)
        if len(self._lessons) < MOST:
            self._lessons[name] = lesson
            self._gram += lesson.gram
            self._moment += lesson.moment

    def forget(self, name: str) -> bool:
        """Take a lesson away, exactly; False where there is none of this name."""
        lesson = self._lessons.pop(name, None)
        if lesson is None:
            return False
        self._gram -= lesson.gram
        self._moment -= lesson.moment
        return True

    def fitted(self, without: Iterable[str] = (), *, many: bool = False) -> InstantAPM:
        """Return a prompter that knows all lessons, or all but some.

        Parameters
        ----------
        without : iterable of str
            Names of lessons to leave out.
        many : bool
            Whether each part of the map is an object of its own.

        Raises
        ------
        ValueError
            If no lesson is left.
        """
        left_out = set(without) & set(self._lessons)
        if len(left_out) == len(self._lessons):
            raise ValueError("nothing was learnt yet: confirm an image first.")
        found = InstantAPM(**self.apm.settings | {"many": many})
        found.load_state_dict(self.apm.state_dict())
        found.weight.data = torch.from_numpy(self._weights(tuple(left_out)))
        return found.eval().requires_grad_(False)

    def adapter(
        self, info: AdapterInfo, without: Iterable[str] = (), *, many: bool = False
    ) -> Adapter:
        """Return `fitted` as an adapter with a record."""
        apm = self.fitted(without, many=many)
        return Adapter(info, apm, precision=torch.float32)

    def certainty(self) -> float | None:
        """Say how well an image is answered by what the others teach.

        Returns
        -------
        float or None
            Share of what differs within images left out in turn (the latest ones) that
            is explained, at most 1; 0 and less is no better than one value for all
            cells. None of fewer than two lessons with an object.
        """
        told = [
            1 - self._error(name) / self._lessons[name].spread
            for name in list(self._lessons)[-_JUDGED:]
            if self._lessons[name].spread > 0 and len(self._lessons) > 1
        ]
        return float(np.mean(told)) if told else None

    def _error(self, name: str) -> float:
        """Weighted squared error on an image of weights that never saw it."""
        lesson = self._lessons[name]
        weights = self._weights((name,)).astype(np.float64)
        own = lesson.equations()
        found = weights @ own.gram @ weights - 2 * weights @ own.moment + lesson.energy
        return max(0.0, float(found))

    def _weights(self, without: Sequence[str]) -> NDArray[np.float32]:
        gram, moment = self._gram, self._moment
        for name in without:
            gram = gram - self._lessons[name].gram
            moment = moment - self._lessons[name].moment
        return _unpacked(gram, moment).solve(self.penalty).weights


def info_for(
    sam: Sam,
    name: str,
    *,
    class_name: str = "object",
    trained_on: str = "",
    licence: str = "",
    note: str = "",
    points: int = 16,
) -> AdapterInfo:
    """Return the record of an instant adapter for a base model."""
    return AdapterInfo(
        name=name,
        base_model=str(getattr(sam, "model_id", "unnamed")),
        base_sha256=str(getattr(sam, "sha256", "")),
        apm="instant",
        points=points,
        ips=False,
        class_name=class_name,
        trained_on=trained_on,
        licence=licence,
        note=note,
        created=utc_now(),
    )


def _unpacked(
    gram: NDArray[np.float64], moment: NDArray[np.float64]
) -> NormalEquations:
    count = len(moment)
    whole = np.zeros((count, count))
    whole[np.triu_indices(count)] = gram
    return NormalEquations(whole + np.triu(whole, 1).T, moment)


def _share(mask: NDArray[np.bool_], emb: Embedding, cells: int) -> NDArray[np.float32]:
    """Return how much of each cell of the image's part of the grid a mask covers."""
    if mask.shape != emb.plane_shape:
        raise ValueError(
            f"the mask has shape {mask.shape}, the image {emb.plane_shape}: pass a "
            "mask of this image."
        )
    frame = max(emb.input_size)
    size = [max(1, round(cells * used / frame)) for used in emb.input_size]
    pixels = torch.from_numpy(np.array(mask[emb.window], np.float32))
    found = F.adaptive_avg_pool2d(pixels[None, None], (size[0], size[1]))
    share: NDArray[np.float32] = found[0, 0].numpy()
    return share
