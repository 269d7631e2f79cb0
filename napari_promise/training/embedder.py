"""Encode the views of image files once, and hand them to training as tensors.

`Embedder` fills a `ViewCache` with what it lacks; `Views` reads it back, in order. A
pair that cannot be used is left out and named; a mask without foreground is a view that
teaches that nothing is there.
"""

from __future__ import annotations

import contextlib
import math
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_promise.data.images import plane_name
from napari_promise.data.mask_survey import ALMOST_ALL
from napari_promise.data.pairs import SampleReader, planes_of
from napari_promise.files import duration, one_line
from napari_promise.model.elsewhere import EncoderElsewhere
from napari_promise.model.sam import Embedding, encode_image
from napari_promise.model.weights import Cancelled
from napari_promise.training import views
from napari_promise.training.config import ImagePair
from napari_promise.training.view_cache import (
    Target,
    ViewCache,
    file_digest,
    view_key,
)

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

#: From this many views on the first is encoded twice, because a first run is slower.
_WORTH_TIMING = 20
_NAMED = 5

#: What tells a pair from every other: (image, mask, plane).
PairName = tuple[Path, Path, tuple[int, ...]]


class Views:
    """Views of a run, read from the cache in the order they were added.

    Parameters
    ----------
    cache : ViewCache
    model_id : str
        Of the base model.
    parts : tuple of str
        What the cache holds of each: ``image``, ``levels`` or both.
    """

    def __init__(self, cache: ViewCache, model_id: str, parts: tuple[str, ...]) -> None:
        self.cache = cache
        self.model_id = model_id
        self.parts = parts
        self.pairs: list[ImagePair] = []
        self._keys: list[str] = []
        self._targets: list[bytes] = []
        self._sizes: list[tuple[int, int]] = []
        self._with_object: list[bool] = []
        #: Whether something is foreground, but fills no cell of the grid by half.
        self.too_small: list[bool] = []
        #: Share of the image that is foreground.
        self.shares: list[float] = []

    def add(self, pair: ImagePair, key: str, target: Target) -> None:
        """Append a view that the cache holds."""
        self.pairs.append(pair)
        self._keys.append(key)
        self._targets.append(target.to_bytes())  # a few kilobytes instead of 64
        self._sizes.append(target.size)
        found = bool((target.share >= 128).any())
        self._with_object.append(found)
        self.too_small.append(bool(target.share.any()) and not found)
        self.shares.append(float(target.truth.mean()))

    @property
    def count(self) -> int:
        """Views so far."""
        return len(self._keys)

    @property
    def with_object(self) -> NDArray[np.int64]:
        """Indices of views in which something is foreground."""
        return np.flatnonzero(self._with_object)

    def read(self, at: int, part: str) -> tuple[torch.Tensor, ...]:
        """(C, h, w) float16 each, of ``image`` (one) or ``levels``, on the CPU."""
        return self.cache.read(self._keys[at], part)

    def embedding(self, at: int, device: torch.device) -> Embedding:
        """Everything that is kept of a view, as float32.

        Parameters
        ----------
        at : int
        device : torch.device

        Returns
        -------
        Embedding
            Without levels where they are not kept. Its image has the size that it has
            in SAM's frame.
        """
        found = {
            part: tuple(x[None].to(device, torch.float32) for x in self.read(at, part))
            for part in self.parts
        }
        size = self._sizes[at]
        levels = found.get("levels", ())
        return Embedding(found["image"][0], levels, size, size, self.model_id)

    def target_and_inside(self, at: int, grid: int) -> tuple[torch.Tensor, ...]:
        """(1, grid, grid) share of foreground, and 1 where the image is."""
        share = Target.from_bytes(self._targets[at]).share.astype(np.float32) / 255
        height, width = self._sizes[at]
        frame = max(height, width)
        inside = torch.zeros(1, grid, grid)
        inside[:, : math.ceil(grid * height / frame)] = 1
        inside[:, :, math.ceil(grid * width / frame) :] = 0
        return F.adaptive_avg_pool2d(torch.from_numpy(share)[None], grid), inside

    def truth(self, at: int) -> NDArray[np.bool_]:
        """(height, width) bool, at the size that the image has in SAM's frame."""
        return Target.from_bytes(self._targets[at]).truth


@dataclass(frozen=True)
class EmbedProgress:
    """How far the embedding is: views, those among them to encode, and a message."""

    done: int
    total: int
    to_encode: int
    message: str = ""


@dataclass(frozen=True)
class _Job:
    pair: ImagePair
    image_digest: str
    mask_digest: str
    view: int  # -1 held out
    key: str
    parts: tuple[str, ...]


class Embedder:
    """Fills a cache with the views of a run.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
    cache : ViewCache
    training_parts, held_out_parts : tuple of str
        What is kept of each view: ``image``, ``levels`` or both.
    views_each : int
        Of a training image: itself, and augmented ones.
    autocast : callable
        Makes the context in which training views are encoded.
    precision : str
        Named in the keys of what was encoded in that context.
    give_way : callable, optional
        Asked often; where it answers True, what is being encoded is given up, a step
        is yielded at once, and the view is encoded afterwards.

    Attributes
    ----------
    training, held_out : Views
    left_out : dict
        (image, mask, plane) -> why.
    digests : list of str
        Of everything that was used, in order: equal lists, equal data.
    """

    def __init__(
        self,
        sam: Sam,
        cache: ViewCache,
        *,
        training_parts: tuple[str, ...],
        held_out_parts: tuple[str, ...],
        views_each: int,
        autocast: Callable[[], AbstractContextManager[object]],
        precision: str,
        give_way: Callable[[], bool] = lambda: False,
    ) -> None:
        self.sam = sam
        self.give_way = give_way
        self.cache = cache
        self.views_each = views_each
        self.autocast = autocast
        # another computer encodes exactly; a mode has numbers of its own
        self.precision = "float32" if _is_elsewhere(sam) else precision
        mode = str(getattr(sam, "encoder_mode", "stock"))
        self._mode = "" if mode == "stock" else f"-{mode}"
        self.grid = int(sam.prompt_encoder.mask_input_size[0])
        self.frame = int(sam.image_encoder.img_size)
        model_id = str(getattr(sam, "model_id", "unnamed"))
        self.training = Views(cache, model_id, training_parts)
        self.held_out = Views(cache, model_id, held_out_parts)
        self.left_out: dict[PairName, str] = {}
        self._files = SampleReader()
        self.digests: list[str] = []

    def run(
        self, training: Sequence[ImagePair], held_out: Sequence[ImagePair]
    ) -> Iterator[EmbedProgress]:
        """Embed the held-out pairs, then the views of the training pairs.

        Yields
        ------
        EmbedProgress
            After each view, and whenever it has to give way.

        Raises
        ------
        ValueError
            If more than half of the pairs cannot be used, none is left, every mask is
            empty, or there is no room.
        """
        # Stacks that nobody took apart before; divided they are already.
        training, held_out = list(planes_of(training)), list(planes_of(held_out))
        pairs = len(training) + len(held_out)
        jobs = []
        for job in self._jobs(training, held_out, pairs):
            if isinstance(job, EmbedProgress):
                yield job
            else:
                jobs.append(job)
        missing: set[str] = set()
        for job in jobs:
            if not self.cache.has(job.key, job.parts):
                missing.add(job.key)
            if self.give_way():
                yield EmbedProgress(0, len(jobs), len(jobs))
        encoder = self.sam.image_encoder
        if isinstance(encoder, EncoderElsewhere):
            encoder.feed(self._upcoming(jobs, frozenset(missing)))
        wanted, encoded, said = len(missing), 0, False
        for done, job in enumerate(jobs, start=1):
            message = ""
            if self._name(job.pair) in self.left_out:
                wanted -= job.key in missing
                missing.discard(job.key)
                continue
            try:
                target = self._target(job)
                if job.key in missing or target is None:
                    pause = EmbedProgress(done - 1, len(jobs), wanted - encoded)
                    emb, target = yield from self._looked(
                        job, encode=job.key in missing, pause=pause
                    )
                    if emb is not None:
                        if not said:
                            said = True
                            message = self._cost(job, jobs, missing, emb)
                        self._keep(job, emb)
                        missing.discard(job.key)
                        encoded += 1
                    self.cache.put_target(job.key, job.mask_digest, target)
            except _Unusable as error:
                message = self._leave_out(job.pair, str(error), pairs)
            else:
                of = self.held_out if job.view < 0 else self.training
                of.add(job.pair, job.key, target)
                self.digests += [job.key, job.mask_digest]
            yield EmbedProgress(done, len(jobs), wanted - encoded, message)
        self._check()

    def summary(self) -> str:
        """One line about pairs that were left out, and images without an object."""
        said = []
        if self.left_out:
            reasons = list(self.left_out.values())
            more = len(reasons) - _NAMED
            said.append(
                f"{len(reasons)} pairs were left out: {'; '.join(reasons[:_NAMED])}"
                + (f"; and {more} more" if more > 0 else "")
            )
        # the first views of the training pairs are the images themselves
        plain = self.training.count // self.views_each
        small = sum(self.training.too_small[:plain])
        full = sum(share > ALMOST_ALL for share in self.training.shares[:plain])
        empty = plain - int((self.training.with_object < plain).sum()) - small
        if full:
            said.append(
                f"{full} of {plain} training masks are foreground for more than "
                f"{ALMOST_ALL:.0%}: check that their background is 0"
            )
        if small:
            said.append(
                f"on {small} of {plain} training images every object is too small for "
                "the model's grid, so that they teach next to nothing: crop them"
            )
        if empty:
            said.append(
                f"{empty} of {plain} training masks are empty: they teach that nothing "
                "is there"
            )
        return "; ".join(said)

    def _jobs(
        self,
        training: Sequence[ImagePair],
        held_out: Sequence[ImagePair],
        pairs: int,
    ) -> Iterator[_Job | EmbedProgress]:
        """Every view in order; a step for every pair whose files cannot be read."""
        base = str(getattr(self.sam, "sha256", "")) or self.training.model_id
        digests: dict[PairName, tuple[str, str]] = {}
        of_file: dict[Path, str] = {}  # of a stack once, not for every plane
        for pair in (*held_out, *training):
            try:
                for path in (pair.image, pair.mask):
                    if path not in of_file:
                        of_file[path] = file_digest(path)
                found = of_file[pair.image], of_file[pair.mask]
            except OSError as error:
                path = error.filename or pair.image
                reason = f"{path} cannot be read ({one_line(error)})"
                yield EmbedProgress(0, pairs, 0, self._leave_out(pair, reason, pairs))
            else:
                digests[self._name(pair)] = found
            if self.give_way():
                yield EmbedProgress(0, pairs, pairs)
        ordered = [(pair, -1) for pair in held_out]
        ordered += [(pair, v) for v in range(self.views_each) for pair in training]
        for pair, view in ordered:
            if self._name(pair) not in digests:
                continue
            image, mask = digests[self._name(pair)]
            # what is measured is embedded exactly, as the user's images are
            precision = "float32" if view < 0 else self.precision
            name = plane_name(f"{max(view, 0)}-{precision}{self._mode}", pair.plane)
            key = view_key(image, name, base, self.frame, views.RECIPE)
            of = self.held_out if view < 0 else self.training
            yield _Job(pair, image, mask, view, key, of.parts)

    def _looked(
        self, job: _Job, *, encode: bool, pause: EmbedProgress
    ) -> Generator[EmbedProgress, None, tuple[Embedding | None, Target]]:
        """Look at a view, beginning anew whenever it had to give way."""
        while True:
            try:
                return self._look(job, encode=encode)
            except Cancelled:
                yield pause

    def _target(self, job: _Job) -> Target | None:
        return self.cache.target(job.key, job.mask_digest)

    def _look(self, job: _Job, *, encode: bool) -> tuple[Embedding | None, Target]:
        """Read a pair, make its view, and encode that if asked for."""
        rgb, share = self._view(job, self._files)
        height, width = share.shape
        emb = self._encode(job, rgb) if encode else None
        padded = np.zeros((self.frame, self.frame), np.float32)
        padded[:height, :width] = share
        pooled = F.adaptive_avg_pool2d(torch.from_numpy(padded)[None], self.grid)[0]
        cells = (pooled * 255).round().byte().numpy()
        return emb, Target((height, width), cells, share >= 0.5)

    def _upcoming(
        self, jobs: Sequence[_Job], missing: frozenset[str]
    ) -> Iterator[NDArray[np.uint8]]:
        """Yield the views that will be encoded, in order, for idle computers."""
        files = SampleReader()
        for job in jobs:
            with contextlib.suppress(_Unusable):  # said in its turn
                if job.key in missing:
                    yield self._view(job, files)[0]

    def _view(
        self, job: _Job, files: SampleReader
    ) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
        """Read a pair and make its view: pixels, and the share of foreground."""
        try:
            sample = files.read(job.pair)
            rgb, mask = sample.rgb8, sample.mask != 0
        except (OSError, ValueError) as error:
            raise _Unusable(str(error)) from error
        scale = self.frame / max(mask.shape)
        height, width = (int(side * scale + 0.5) for side in mask.shape)
        if not height or not width:
            raise _Unusable(f"{job.pair.image} is too thin for SAM: crop it")
        rgb, share = views.fit(rgb, mask, (height, width))
        if job.view > 0:
            seed = [int(job.image_digest[:16], 16), job.view, *job.pair.plane]
            rgb, share = views.augment(rgb, share, np.random.default_rng(seed))
        return rgb, share

    def _encode(self, job: _Job, rgb: NDArray[np.uint8]) -> Embedding:
        if job.view < 0:
            return encode_image(self.sam, rgb, cancel=self.give_way)
        with self.autocast():
            return encode_image(self.sam, rgb, cancel=self.give_way)

    def _cost(
        self, job: _Job, jobs: Sequence[_Job], missing: set[str], emb: Embedding
    ) -> str:
        """Make room, or raise; say what the cache will cost."""
        size = {
            "image": 2 * emb.image.numel(),
            "levels": sum(2 * level.numel() for level in emb.levels),
        }
        parts = {other.key: other.parts for other in jobs if other.key in missing}
        needed = sum(sum(size[part] for part in found) for found in parts.values())
        self.cache.make_room(needed, (other.key for other in jobs))
        started, timed = time.monotonic(), False
        if len(missing) >= _WORTH_TIMING:
            with contextlib.suppress(Cancelled):
                self._look(job, encode=True)
                timed = True
        seconds = (time.monotonic() - started) * len(missing) * timed
        about = f", about {duration(seconds)}" if seconds >= 1 else ""
        kept = len({other.key for other in jobs}) - len(missing)
        return (
            f"{len(missing)} views to encode: {needed / 1e9:.2f} GB in "
            f"{self.cache.folder}{about}" + (f" ({kept} are there)" if kept else "")
        )

    def _keep(self, job: _Job, emb: Embedding) -> None:
        for part in job.parts:
            tensors = (emb.image,) if part == "image" else emb.levels
            self.cache.put(job.key, part, [tensor[0] for tensor in tensors])

    def _leave_out(self, pair: ImagePair, reason: str, pairs: int) -> str:
        self.left_out[self._name(pair)] = reason
        if 2 * len(self.left_out) > pairs:
            raise ValueError(
                f"{len(self.left_out)} of {pairs} pairs cannot be used, which is more "
                f"than half; the first: {next(iter(self.left_out.values()))}"
            )
        return f"left out: {reason}"

    @staticmethod
    def _name(pair: ImagePair) -> PairName:
        return pair.image, pair.mask, pair.plane

    def _check(self) -> None:
        if not self.training.count or not self.held_out.count:
            which = "hold out" if self.training.count else "train on"
            first = next(iter(self.left_out.values()), "no pairs")
            raise ValueError(f"no image left to {which}: {first}")
        if not len(self.training.with_object):
            if any(self.training.too_small):
                raise ValueError(
                    "every object is too small for the model's grid: crop the images "
                    "around the objects"
                )
            raise ValueError("every mask is empty: check that foreground is above zero")


def _is_elsewhere(sam: Sam) -> bool:
    return isinstance(sam.image_encoder, EncoderElsewhere)


class _Unusable(ValueError):
    """A pair that cannot be used; names the file."""
