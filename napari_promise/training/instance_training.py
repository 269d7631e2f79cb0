"""Train a prompter of many objects from instance labels, on a frozen encoder.

The run, as `train_instances` tells it:

1. *embed*: the images, crops and zooms of them are encoded once and kept for later
   runs, their label images beside them (`view_cache`, `instance_views`).
2. *apm*: the prompter learns centres, foreground, depth and boxes; after each pass it
   is judged on the held-out images, by outlines flooded from its own maps, which choose
   the pass where they are enough for that.
3. *score*: on the same held-out images its threshold is chosen, and whether and which
   boxes are decoded alone (`instance_settings`); then it is written.

SAM's parameters receive no gradient. Random numbers are drawn anew for each pass and
step, from the seed alone.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from napari_promise.data.images import plane_name
from napari_promise.data.pairs import SampleReader, planes_of
from napari_promise.files import one_line, utc_now
from napari_promise.model.adapters import (
    Adapter,
    AdapterInfo,
    load_adapter,
    save_adapter,
)
from napari_promise.model.instance_prompter import InstanceAPM, maps_of, watershed
from napari_promise.model.sam import Embedding, encode_image
from napari_promise.model.weights import Cancelled
from napari_promise.training import instance_views
from napari_promise.training.config import ImagePair, TrainConfig
from napari_promise.training.curves import Row, write_curves
from napari_promise.training.instance_metrics import score_instances
from napari_promise.training.instance_settings import CHOOSING, choose_settings
from napari_promise.training.progress import COST_OF_MANY, Outlook, Progress
from napari_promise.training.steps import (
    Learner,
    entropy,
    half_type,
    half_where_quick,
    seeded,
)
from napari_promise.training.view_cache import ViewCache, file_digest, view_key

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

__all__ = ["train_instances"]

JUDGED = 40  # held-out images looked at after each pass
SCORED = 40  # held-out images by which threshold and boxes are chosen
#: Of the centre map, while it is judged in training.
_THRESHOLD = 0.3
_PARTS = ("image", "levels", "detail")


@dataclass(frozen=True)
class _View:
    """One encoded view: where it lies in the cache."""

    key: str
    mask: str
    size: tuple[int, int]
    domain: str


def train_instances(
    config: TrainConfig,
    sam: Sam,
    parts: tuple[Sequence[ImagePair], Sequence[ImagePair]],
    cache: ViewCache,
    give_way: Callable[[], bool] = lambda: False,
) -> Iterator[Progress]:
    """Train, yielding progress; see `trainer.train`, which calls this.

    Parameters
    ----------
    config : TrainConfig
        With ``apm`` "instances".
    sam : segment_anything.modeling.Sam
        Frozen base model.
    parts : tuple of sequence of ImagePair
        Pairs to learn from, and held-out ones to choose by.
    cache : ViewCache
    give_way : callable, optional
        Asked often; where it answers True, progress is yielded as soon as can be.

    Yields
    ------
    Progress
        The last one has phase ``done`` and the adapter.

    Raises
    ------
    ValueError
        If more than half of the pairs cannot be used, no label image holds an object,
        or there is no room for the views.
    """
    run = _Run(config, sam, cache, give_way)
    try:
        yield from run.embed(*parts)
        yield from run.learn()
        yield from run.score()
    except (KeyboardInterrupt, GeneratorExit):
        run.save(note="Training was interrupted: this is the best until then.")
        raise


class _Run:
    """The state of one run."""

    def __init__(
        self,
        config: TrainConfig,
        sam: Sam,
        cache: ViewCache,
        give_way: Callable[[], bool],
    ) -> None:
        self.config, self.sam, self.cache = config, sam, cache
        self.give_way = give_way
        self.device = sam.device
        self.frame = int(sam.image_encoder.img_size)
        self.training: list[_View] = []
        self.held_out: list[_View] = []
        self.left_out: list[str] = []
        self.scores: dict[str, float] = {}
        self.curves: list[Row] = []
        self.best: InstanceAPM | None = None
        self._files = SampleReader()
        self._targets: dict[int, torch.Tensor] = {}

    # 1. embed ---------------------------------------------------------------------

    def embed(
        self, training: Sequence[ImagePair], held_out: Sequence[ImagePair]
    ) -> Iterator[Progress]:
        """Encode what the cache lacks: held-out images, then views of the others."""
        learnt, kept = list(planes_of(training)), list(planes_of(held_out))
        jobs = [(pair, -1) for pair in kept]
        jobs += [(p, view) for view in range(self.config.views) for p in learnt]
        self.outlook = Outlook(
            {
                "embed": len(jobs),
                "apm": COST_OF_MANY
                * self.config.apm_epochs
                * self.config.views
                * len(learnt),
                "score": len(kept),
            }
        )
        digests: dict[Path, str] = {}
        unusable: set[tuple[Path, tuple[int, ...]]] = set()
        for done, (pair, number) in enumerate(jobs, start=1):
            message = ""
            if (pair.image, pair.plane) not in unusable:
                try:
                    view = yield from self._kept(pair, number, digests, done, len(jobs))
                except (OSError, ValueError) as error:
                    unusable.add((pair.image, pair.plane))
                    message = f"left out: {one_line(error)}"
                    self.left_out.append(one_line(error))
                    if 2 * len(unusable) > len(learnt) + len(kept):
                        raise ValueError(
                            f"{len(unusable)} of {len(learnt) + len(kept)} pairs "
                            "cannot be used, which is more than half; the first: "
                            f"{self.left_out[0]}"
                        ) from error
                else:
                    (self.held_out if number < 0 else self.training).append(view)
            yield Progress(
                "embed",
                done,
                len(jobs),
                eta=self.outlook.left(len(jobs) - done),
                message=message,
            )
        if not self.training or not self.held_out:
            which = "train on" if not self.training else "hold out"
            raise ValueError(
                f"no image left to {which}: {(self.left_out or ['no pairs'])[0]}"
            )
        if not any(self._labels(view).any() for view in self.training):
            raise ValueError(
                "no label image holds an object: instance labels are 0 for background "
                "and another number for each object"
            )

    def _kept(
        self,
        pair: ImagePair,
        number: int,
        digests: dict[Path, str],
        done: int,
        total: int,
    ) -> Generator[Progress, None, _View]:
        """See to it that a view is in the cache; return it."""
        for path in (pair.image, pair.mask):
            if path not in digests:
                digests[path] = file_digest(path)
        image, mask = digests[pair.image], digests[pair.mask]
        base = str(getattr(self.sam, "sha256", "")) or self.info().base_model
        # crops are chosen by the objects in them: other labels, other views
        what = image if number <= 0 else image + mask
        name = plane_name(f"instances-{max(number, 0)}", pair.plane)
        key = view_key(what, name, base, self.frame, instance_views.RECIPE)
        labels = self.cache.labels(key, mask)
        if labels is None or not self.cache.has(key, self._parts()):
            sample = self._files.read(pair)
            rng = None
            if number > 0:
                # the same crops for every run: they are kept under the same name
                seed = [int(image[:16], 16), number, *pair.plane]
                rng = np.random.default_rng(seed)
            if not np.issubdtype(sample.mask.dtype, np.integer):
                raise ValueError(f"{pair.mask} holds no integers: no instance labels")
            rgb, labels = instance_views.view_of(
                sample.rgb8, sample.mask, self.frame, rng
            )
            while True:
                try:
                    emb = encode_image(self.sam, rgb, cancel=self.give_way)
                    break
                except Cancelled:
                    yield Progress("embed", done - 1, total)
            if done == 1:
                each = 2 * sum(t.numel() for p in self._parts() for t in _part(emb, p))
                self.cache.make_room(each * total, ())
            for part in self._parts():
                self.cache.put(key, part, [t[0] for t in _part(emb, part)])
            self.cache.put_labels(key, mask, labels)
        size = labels.shape[0], labels.shape[1]
        domain = (
            pair.group.partition("/")[0] if pair.group and "/" in pair.group else ""
        )
        return _View(key, mask, size, domain)

    def _parts(self) -> tuple[str, ...]:
        has_stem = getattr(self.sam.image_encoder, "stem", None) is not None
        return _PARTS if has_stem else _PARTS[:2]

    def _labels(self, view: _View) -> NDArray[np.int32]:
        found = self.cache.labels(view.key, view.mask)
        if found is None:
            raise ValueError(
                f"a view in {self.cache.folder} is gone since this run began: train "
                "again, what is missing is encoded again"
            )
        return found

    def _embedding(self, view: _View) -> Embedding:
        read = {
            part: tuple(
                tensor[None].to(self.device, torch.float32)
                for tensor in self.cache.read(view.key, part)
            )
            for part in self._parts()
        }
        return Embedding(
            read["image"][0],
            read["levels"],
            view.size,
            view.size,
            self.info().base_model,
            detail=read["detail"][0] if "detail" in read else None,
        )

    # 2. learn ---------------------------------------------------------------------

    def learn(self) -> Iterator[Progress]:
        """Repeat passes until the held-out score stops rising; keep the best.

        With few images held out, all passes are made and the last one is kept, at which
        the steps have become small.
        """
        config = self.config
        with seeded(config.seed, "modules"):
            module = self._build().to(self.device)
        batches = max(1, round(len(self.training) / config.apm_batch))
        total = batches * config.apm_epochs
        scaler = torch.amp.GradScaler(
            self.device.type, enabled=half_type(self.device) == torch.float16
        )
        rate = float(config.apm_rate or 0)
        learner = Learner(module, rate, total, config.schedule, scaler)
        best, patience, step = -1.0, config.patience, 0
        self.outlook.begin("apm")
        work = self.outlook.work["apm"]
        for epoch in range(config.apm_epochs):
            rng = np.random.default_rng(entropy(config.seed, "apm", epoch))
            order = rng.permutation(len(self.training))
            losses: list[float] = []
            for chosen in np.array_split(order, batches):
                step += 1
                with seeded(config.seed, "apm", step):
                    module.train()
                    loss = self._loss(module, chosen, rng)
                    learner.step(loss, step)
                losses.append(float(loss.detach()))
                yield Progress(
                    "apm",
                    step,
                    total,
                    float(np.mean(losses)),
                    dict(self.scores),
                    self.outlook.left(work * (1 - step / total)),
                )
            found = 0.0
            average = learner.average
            assert isinstance(average, InstanceAPM)
            for so_far in self._judge(average):
                found = so_far
                yield Progress("apm", step, total, held_out=dict(self.scores))
            better = found > best or len(self.held_out) < CHOOSING
            if better:
                patience = config.patience
            elif best > 0:  # before anything is found, there is nothing to lose
                patience -= 1
            if better:
                best = found
                self.best = copy.deepcopy(average)
                self.scores["map"] = round(found, 4)
            row: Row = {
                "epoch": epoch + 1,
                "phase": "apm",
                "loss": float(np.mean(losses)),
                "map": found,
            }
            self.curves.append(row)
            if config.output is not None:
                write_curves(config.output, self.curves, picture=False)
            yield Progress(
                "apm",
                step,
                total,
                float(np.mean(losses)),
                dict(self.scores),
                self.outlook.left(work * (1 - step / total)),
                adapter=self._adapter() if better else None,
                row=row,
            )
            if not patience:
                break

    def _build(self) -> InstanceAPM:
        emb, start = self._embedding(self.held_out[0]), self.config.start
        before = None if start is None else load_adapter(start).apm
        shape = {"width": self.config.apm_width, "blocks": self.config.apm_blocks}
        if isinstance(before, InstanceAPM):
            blocks = max(before.blocks, self.config.apm_blocks)
            shape = {"width": before.width, "blocks": blocks}
        module = InstanceAPM(
            [level.shape[1] for level in emb.levels],
            emb.image.shape[1],
            0 if emb.detail is None else emb.detail.shape[1],
            **shape,
        )
        if start is not None:
            try:
                if before is None:
                    raise RuntimeError
                module.load_state_dict(module.further_blocks() | before.state_dict())
            except RuntimeError as error:
                raise ValueError(
                    f"cannot start from {start}: it is no prompter of many objects "
                    "with the same shapes"
                ) from error
        return module

    def _target(self, at: int, cells: int) -> torch.Tensor:
        if at not in self._targets:
            labels = self._labels(self.training[at])
            target = instance_views.targets_of(labels, self.frame, cells)
            self._targets[at] = target.half()
        return self._targets[at].float()

    def _loss(
        self, module: InstanceAPM, chosen: NDArray[np.int64], rng: np.random.Generator
    ) -> torch.Tensor:
        """Loss of a batch; features and targets are mirrored and transposed alike."""
        columns: list[list[torch.Tensor]] = []
        for at in chosen:
            view = self.training[int(at)]
            tensors = [
                x.float() for p in self._parts() for x in self.cache.read(view.key, p)
            ]
            target = self._target(int(at), 2 * tensors[0].shape[-1])
            turns = [bool(rng.random() < 0.5) for _ in range(3)]
            columns.append([*(_turned(x, *turns) for x in (*tensors, target))])
            columns[-1][-1] = _sides_turned(columns[-1][-1], *turns)
        stacked = [
            torch.stack(each).to(self.device) for each in zip(*columns, strict=True)
        ]
        image, *rest, target = stacked
        count = len(module.level_channels)
        detail = rest[count] if len(rest) > count else None
        with half_where_quick(self.device):
            drawn = module(rest[:count], image, detail)
        return instance_loss(drawn, target)

    def _judge(self, module: InstanceAPM) -> Iterator[float]:
        """Yield the mean score so far, of outlines flooded from the maps."""
        found: list[float] = []
        for at in _spread(len(self.held_out), JUDGED):
            view = self.held_out[at]
            emb = self._embedding(view)
            with torch.no_grad():
                drawn = module(emb.levels, emb.image, emb.detail)[0]
            labels = watershed(maps_of(drawn, emb), emb, _THRESHOLD)
            score = score_instances(self._labels(view), labels)
            found.append((score.ap50 + score.msa) / 2)
            yield float(np.mean(found))

    # 3. score and write -----------------------------------------------------------

    def score(self) -> Iterator[Progress]:
        """Choose threshold and boxes on held-out images, say how good it is, write."""
        assert self.best is not None
        for parameter in self.best.parameters():
            parameter.data = parameter.data.half().float()
        self.outlook.begin("score")
        chosen = [self.held_out[i] for i in _spread(len(self.held_out), SCORED)]
        settings = choose_settings(
            self.sam,
            self._adapter(),
            ((self._embedding(view), self._labels(view)) for view in chosen),
        )
        for step in settings:
            if isinstance(step, int):
                left = self.outlook.left(len(chosen) - step)
                yield Progress(
                    "score", step, len(chosen), None, dict(self.scores), left
                )
            else:
                self.best.threshold, self.best.trust = step.threshold, step.trust
                self.scores |= step.scores
        row: Row = {"epoch": 1, "phase": "score", **self.scores}
        self.curves.append(row)
        adapter = self.save()
        said = [f"{len(self.left_out)} pairs were left out"] if self.left_out else []
        yield Progress(
            "done",
            1,
            1,
            held_out=dict(self.scores),
            eta=0.0,
            message="; ".join(said),
            adapter=adapter,
            row=row,
        )

    def info(self) -> AdapterInfo:
        """Return the record, as far as it is known before training."""
        config, sam = self.config, self.sam
        return AdapterInfo(
            name=config.name,
            base_model=str(getattr(sam, "model_id", "unnamed")),
            base_sha256=str(getattr(sam, "sha256", "")),
            apm="instances",
            points=1,
            ips=False,
            class_name=config.class_name,
            trained_on=config.trained_on or f"{len(config.pairs)} images",
            licence=config.licence,
            note=config.note,
            version=config.version,
        )

    def _adapter(self) -> Adapter:
        scores = {"held out in training": dict(self.scores)}
        info = replace(self.info(), scores=scores, created=utc_now())
        return Adapter(info, copy.deepcopy(self.best)).eval()

    def save(self, note: str = "") -> Adapter | None:
        """Write the best so far, if anything was trained and a folder was given."""
        if self.best is None:
            return None
        adapter = self._adapter()
        said = " ".join(text for text in (adapter.info.note, note) if text)
        adapter.info = replace(adapter.info, note=said)
        if self.config.output is not None:
            save_adapter(adapter, self.config.output)
            write_curves(self.config.output, self.curves)
        return adapter


def instance_loss(drawn: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Loss of the maps of `InstanceAPM`.

    The centre has CenterNet's focal loss, foreground a cross-entropy, depth a smooth
    distance; sides have the distance of their logarithms, which weighs relative
    errors, and one minus the IoU of the boxes.

    Parameters
    ----------
    drawn : torch.Tensor
        (B, 7, s, s) of `InstanceAPM`.
    target : torch.Tensor
        (B, 9, s, s) of `instance_views.targets_of`.

    Returns
    -------
    torch.Tensor
        Scalar.
    """
    centre, share, depth = target[:, 0], target[:, 1], target[:, 2]
    sides, counts, inside = target[:, 3:7], target[:, 7], target[:, 8]
    cells = inside.sum().clamp_min(1)
    logit = drawn[:, 0]
    right = torch.sigmoid(logit)
    peak = (centre >= 0.999).float()
    hit = -F.logsigmoid(logit) * (1 - right) ** 2 * peak
    miss = -F.logsigmoid(-logit) * right**2 * (1 - centre) ** 4 * (1 - peak) * inside
    loss = (hit.sum() + miss.sum()) / peak.sum().clamp_min(1)
    ground = F.binary_cross_entropy_with_logits(drawn[:, 1], share, reduction="none")
    loss = loss + 2 * (ground * inside).sum() / cells
    deep = F.smooth_l1_loss(drawn[:, 2], depth, beta=0.1, reduction="none")
    loss = loss + 4 * (deep * inside * (1 + 2 * share)).sum() / cells
    objects = counts.sum().clamp_min(1)
    told = drawn[:, 3:].clamp(-4, 6)
    apart = (told - sides.log()).abs().mean(1)
    loss = loss + 2 * (apart * counts).sum() / objects
    edges = told.exp()
    shared = torch.minimum(edges, sides)
    both = (shared[:, 0] + shared[:, 2]) * (shared[:, 1] + shared[:, 3])
    either = _areas(edges) + _areas(sides) - both
    return loss + 2 * ((1 - both / either) * counts).sum() / objects


def _areas(sides: torch.Tensor) -> torch.Tensor:
    return (sides[:, 0] + sides[:, 2]) * (sides[:, 1] + sides[:, 3])


def _part(emb: Embedding, part: str) -> tuple[torch.Tensor, ...]:
    found = getattr(emb, part)
    return found if isinstance(found, tuple) else (found,)


def _turned(x: torch.Tensor, across: bool, down: bool, swap: bool) -> torch.Tensor:
    """Mirror and transpose a map."""
    axes = [axis for axis, wanted in ((-1, across), (-2, down)) if wanted]
    x = x.flip(axes) if axes else x
    return x.transpose(-1, -2) if swap else x


def _sides_turned(
    target: torch.Tensor, across: bool, down: bool, swap: bool
) -> torch.Tensor:
    """Say which side is which, after the maps were turned."""
    left, top, right, bottom = range(3, 7)
    if across:
        left, right = right, left
    if down:
        top, bottom = bottom, top
    if swap:
        left, top, right, bottom = top, left, bottom, right
    return target[[0, 1, 2, left, top, right, bottom, 7, 8]]


def _spread(count: int, most: int) -> list[int]:
    """Return at most so many indices, spread evenly."""
    chosen = np.linspace(0, count - 1, min(count, most)).round().astype(int)
    return [int(at) for at in chosen]
