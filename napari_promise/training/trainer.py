"""Train an adapter on a frozen SAM whose encoder is never in the loop.

The run, as `train` tells it:

1. *embed*: every view of every image is encoded once; embeddings, levels and masks go
   to memory-mapped float16 files, which are removed at the end.
2. *apm*: the prompter learns where the object is.
3. *ips*: with points from that map, random points from the truth and simulated
   corrections, the shift of the mask tokens learns how the object looks.
4. *score*: the best of each phase is measured on the held-out part, automatic and
   GT-prompted apart, frozen SAM beside both, and written.

SAM's parameters receive no gradient. The module knows no windows and no arguments.
"""

from __future__ import annotations

import contextlib
import copy
import math
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import nn

from napari_promise.data import pairs as files
from napari_promise.data.planes import to_rgb8
from napari_promise.model import promise
from napari_promise.model.adapters import (
    Adapter,
    AdapterInfo,
    load_adapter,
    save_adapter,
)
from napari_promise.model.auto_prompt import HeatmapAPM
from napari_promise.model.pattern_shift import PatternEmbedding
from napari_promise.model.sam import (
    Embedding,
    encode_image,
    load_sam,
    resolve_device,
)
from napari_promise.segmenter import Segmenter
from napari_promise.training import views
from napari_promise.training.config import ImagePair, TrainConfig
from napari_promise.training.evaluate import (
    EvaluationReport,
    Mask,
    PromptPlan,
    Score,
    measure,
    next_click,
    random_points,
)
from napari_promise.training.losses import mask_loss

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

SCORED_IN_TRAINING = 40  # held-out images looked at after each pass of the IPS
EMA = 0.99
CORRECTED = 0.4  # share of the IPS's views whose prompts hold a corrective click
#: What early stopping and the choice of modules look at.
KINDS = ("automatic", "corrected", "gt_prompted")


@dataclass(frozen=True)
class Progress:
    """Where a training run stands.

    Attributes
    ----------
    phase : str
        ``embed``, ``apm``, ``ips``, ``score`` or ``done``.
    step, total : int
        Within the phase.
    loss : float or None
        Mean of the pass so far.
    held_out : dict
        Latest held-out Dice: ``map``, ``automatic``, ``corrected`` (one click more),
        ``gt_prompted``, and each but the first again with ``frozen_`` before it.
    eta : float or None
        Seconds to the end of this phase.
    message : str
        One line worth telling, or empty.
    adapter : Adapter or None
        When done.
    """

    phase: str
    step: int
    total: int
    loss: float | None = None
    held_out: dict[str, float] = field(default_factory=dict)
    eta: float | None = None
    message: str = ""
    adapter: Adapter | None = None


def train(config: TrainConfig, sam: Sam | None = None) -> Iterator[Progress]:
    """Train an adapter, yielding progress; stop it by closing the generator.

    What was best so far is written when the run is closed or interrupted.

    Parameters
    ----------
    config : TrainConfig
    sam : segment_anything.modeling.Sam, optional
        A loaded base model; by default ``config.model`` is loaded.

    Yields
    ------
    Progress
        The last one has phase ``done`` and the adapter.

    Raises
    ------
    ValueError
        If no image can be read, every mask is empty, groups cannot be divided or the
        disk is too small.
    """
    if sam is None:
        sam = load_sam(config.model, device=resolve_device(config.device))
    training, held_out = divide(config)
    folder = Path(tempfile.mkdtemp(prefix="promise-train-", dir=config.cache))
    run = _Run(config, sam, folder)
    try:
        yield from run.embed(training, held_out)
        if run.adapter.apm is not None:
            yield from run.train_apm()
        if run.adapter.ips is not None:
            yield from run.train_ips()
        yield from run.score()
    except (KeyboardInterrupt, GeneratorExit):
        run.save(note="Training was interrupted: this is the best until then.")
        raise
    finally:
        run.close()


def divide(config: TrainConfig) -> tuple[list[ImagePair], list[ImagePair]]:
    """Training and held-out pairs; a group is never divided.

    Parameters
    ----------
    config : TrainConfig

    Returns
    -------
    tuple of list
        Both in the order given.

    Raises
    ------
    ValueError
        If all pairs belong to one group.
    """
    if config.held_out:
        return list(config.pairs), list(config.held_out)
    group_of = [pair.group or str(pair.image) for pair in config.pairs]
    groups = sorted(set(group_of))
    if len(groups) < 2:
        raise ValueError(
            f"all pairs belong to one group ({groups[0]}): nothing could be held out; "
            "give held-out pairs or more groups"
        )
    order = np.random.default_rng(config.seed).permutation(len(groups))
    wanted = max(1, round(config.held_out_share * len(config.pairs)))
    chosen: set[str] = set()
    count = 0
    for index in order[:-1]:
        if count >= wanted:
            break
        chosen.add(groups[index])
        count += group_of.count(groups[index])
    parts: tuple[list[ImagePair], list[ImagePair]] = ([], [])
    for pair, group in zip(config.pairs, group_of, strict=True):
        parts[group in chosen].append(pair)
    return parts


class _Store:
    """Embedded views on disk, read through memory maps."""

    def __init__(self, folder: Path, count: int, first: Embedding, grid: int) -> None:
        def opened(name: str, shape: Sequence[int], kind: Any) -> NDArray[Any]:
            return np.lib.format.open_memmap(
                folder / f"{name}.npy", "w+", kind, (count, *shape)
            )

        self.image = opened("image", first.image.shape[1:], np.float16)
        self.levels = [
            opened(f"level-{i}", level.shape[1:], np.float16)
            for i, level in enumerate(first.levels)
        ]
        self.target = opened("target", (grid, grid), np.uint8)
        self.sizes = np.zeros((count, 2), np.int64)
        self.model_id = first.model_id
        self.count = 0

    def add(self, emb: Embedding, share: NDArray[np.float32]) -> None:
        grid, frame = self.target.shape[-1], max(emb.input_size)
        padded = np.zeros((frame, frame), np.float32)
        padded[: share.shape[0], : share.shape[1]] = share
        pooled = F.adaptive_avg_pool2d(torch.from_numpy(padded)[None], grid)[0]
        at = self.count
        self.image[at] = emb.image[0].cpu().numpy()
        for array, level in zip(self.levels, emb.levels, strict=True):
            array[at] = level[0].cpu().numpy()
        self.target[at] = (pooled * 255).round().byte().numpy()
        self.sizes[at] = emb.input_size
        self.count += 1

    def embedding(self, at: int, device: torch.device) -> Embedding:
        def read(array: NDArray[Any]) -> torch.Tensor:
            return torch.from_numpy(array[at].astype(np.float32))[None].to(device)

        size = (int(self.sizes[at, 0]), int(self.sizes[at, 1]))
        levels = tuple(read(array) for array in self.levels)
        return Embedding(read(self.image), levels, size, size, self.model_id)

    def target_and_inside(self, at: int, grid: int) -> tuple[torch.Tensor, ...]:
        """(1, grid, grid) share of foreground, and 1 where the image is."""
        share = torch.from_numpy(self.target[at].astype(np.float32) / 255)[None]
        height, width = self.sizes[at]
        frame = max(height, width)
        inside = torch.zeros(1, grid, grid)
        inside[:, : math.ceil(grid * height / frame)] = 1
        inside[:, :, math.ceil(grid * width / frame) :] = 0
        return F.adaptive_avg_pool2d(share, grid), inside


class _Run:
    """The state of one training run."""

    def __init__(self, config: TrainConfig, sam: Sam, folder: Path) -> None:
        self.config = config
        self.sam = sam
        self.device = sam.device
        self.folder = folder
        self.scores: dict[str, float] = {}
        self.trained = False
        self.training: _Store | None = None
        self.held_out: _Store | None = None
        self.truths: list[Mask] = []
        info = AdapterInfo(
            name=config.name,
            base_model=str(getattr(sam, "model_id", "unnamed")),
            base_sha256=str(getattr(sam, "sha256", "")),
            apm=config.apm,
            points=config.points,
            ips=config.ips,
            class_name=config.class_name,
            trained_on=config.trained_on or f"{len(config.pairs)} images",
            licence=config.licence,
            note=config.note,
            version=config.version,
        )
        self.adapter = Adapter(info)
        self.grid = int(sam.prompt_encoder.mask_input_size[0])

    def quick(self) -> torch.autocast:
        """bfloat16 where the hardware computes it: twice as fast, 1 % apart."""
        return torch.autocast(
            self.device.type, torch.bfloat16, enabled=_has_bfloat16(self.device)
        )

    # 1. embed ---------------------------------------------------------------------

    def embed(
        self, training: Sequence[ImagePair], held_out: Sequence[ImagePair]
    ) -> Iterator[Progress]:
        config = self.config
        jobs = [(pair, -1) for pair in held_out]
        jobs += [(pair, v) for v in range(config.views) for pair in training]
        clock = _Clock(len(jobs))
        broken: dict[Path, str] = {}
        foreground = False
        for step, (pair, view) in enumerate(jobs, start=1):
            if pair.image in broken:
                continue
            message = ""
            try:
                emb, share = self._view(pair, view, seed=[config.seed, step])
            except (OSError, ValueError) as error:
                broken[pair.image] = message = f"left out {pair.image}: {error}"
            else:
                if self.held_out is None or self.training is None:
                    message = self._open(emb, len(held_out), len(jobs) - len(held_out))
                assert self.held_out is not None
                assert self.training is not None
                if view < 0:
                    self.held_out.add(emb, share)
                    self.truths.append(share >= 0.5)
                else:
                    self.training.add(emb, share)
                    foreground = foreground or bool((share >= 0.5).any())
            yield Progress("embed", step, len(jobs), eta=clock(step), message=message)
        if self.training is None or not self.training.count or not self.truths:
            raise ValueError(
                "no image left to train on or to hold out: "
                + (next(iter(broken.values()), "no pairs"))
            )
        if not foreground:
            raise ValueError("every mask is empty: check that foreground is above zero")
        with _seeded(config.seed, "modules"):
            if config.apm == "heatmap":
                channels = [array.shape[1] for array in self.training.levels]
                self.adapter.apm = HeatmapAPM(channels).to(self.device)
            if config.ips:
                tokens = int(self.sam.mask_decoder.num_mask_tokens)
                width = int(self.training.image.shape[1])
                self.adapter.ips = PatternEmbedding(width, tokens).to(self.device)
        if config.start is not None:
            self._start_from(load_adapter(config.start))
        self.adapter.eval()

    def _start_from(self, earlier: Adapter) -> None:
        """Take over the weights of an earlier adapter where both have the module."""
        for name in ("apm", "ips"):
            module, before = getattr(self.adapter, name), getattr(earlier, name)
            if module is None or before is None:
                continue
            try:
                module.load_state_dict(before.state_dict())
            except RuntimeError as error:
                raise ValueError(
                    f"cannot start from {earlier.info.name}: its {name} was built for "
                    f"{earlier.info.base_model}, with other shapes"
                ) from error

    def _view(
        self, pair: ImagePair, view: int, seed: Sequence[int]
    ) -> tuple[Embedding, NDArray[np.float32]]:
        rgb = to_rgb8(files.read_image(pair.image))
        mask = files.read_mask(pair.mask) != 0
        if mask.shape != rgb.shape[:2]:
            raise ValueError(
                f"the image has {rgb.shape[:2]} pixels, its mask {mask.shape}"
            )
        frame = int(self.sam.image_encoder.img_size)
        scale = frame / max(mask.shape)
        size = (int(mask.shape[0] * scale + 0.5), int(mask.shape[1] * scale + 0.5))
        rgb, share = views.fit(rgb, mask, size)
        if view < 0:  # what is measured is embedded as the user's images are
            return encode_image(self.sam, rgb), share
        if view > 0:
            rgb, share = views.augment(rgb, share, np.random.default_rng(seed))
        with self.quick():
            return encode_image(self.sam, rgb), share

    def _open(self, emb: Embedding, held_out: int, training: int) -> str:
        """Make the stores; return what they will take."""
        each = self.grid**2 + sum(2 * t.numel() for t in (emb.image, *emb.levels))
        size = each * (held_out + training)
        free = shutil.disk_usage(self.folder).free
        if size > 0.9 * free:
            raise ValueError(
                f"embeddings would take {size / 1e9:.1f} GB, {self.folder.parent} has "
                f"{free / 1e9:.1f} GB free: use fewer views or another cache folder"
            )
        for name, count in (("held_out", held_out), ("training", training)):
            (self.folder / name).mkdir()
            setattr(self, name, _Store(self.folder / name, count, emb, self.grid))
        return f"{held_out + training} embeddings, {size / 1e9:.2f} GB while training"

    # 2. where the object is -------------------------------------------------------

    def train_apm(self) -> Iterator[Progress]:
        config, apm, store = self.config, self.adapter.apm, self.training
        assert isinstance(apm, HeatmapAPM)
        assert store is not None
        batches = math.ceil(store.count / config.apm_batch)
        total = batches * config.apm_epochs
        optimizer = torch.optim.AdamW(
            apm.parameters(), lr=config.apm_rate, weight_decay=1e-2
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.apm_rate, total_steps=total + 1, pct_start=0.15
        )
        average = copy.deepcopy(apm).eval()
        rng = np.random.default_rng([config.seed, 1])
        best, patience, step = -1.0, config.patience, 0
        clock = _Clock(total)
        for _ in range(config.apm_epochs):
            order = rng.permutation(store.count)
            losses = []
            for chosen in np.array_split(order, batches):
                step += 1
                levels, image, target, inside = self._apm_batch(store, chosen, rng)
                apm.train()
                with _seeded(config.seed, "apm", step), self.quick():
                    logits = apm(levels, image)
                loss = mask_loss(logits.float(), target, inside)
                optimizer.zero_grad()
                loss.backward()
                nn.utils.clip_grad_norm_(apm.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                _follow(average, apm, step)
                losses.append(float(loss.detach()))
                self.trained = True
                yield Progress(
                    "apm",
                    step,
                    total,
                    float(np.mean(losses)),
                    dict(self.scores),
                    clock(step),
                )
            found = self._map_dice(average)
            self.scores["map"] = round(max(found, best), 4)
            if found > best:
                best, patience = found, config.patience
                # an interruption from here on keeps these
                self.adapter.apm = copy.deepcopy(average)
            else:
                patience -= 1
                if not patience:
                    break

    def _apm_batch(
        self, store: _Store, chosen: NDArray[np.int64], rng: np.random.Generator
    ) -> tuple[list[torch.Tensor], torch.Tensor, torch.Tensor, torch.Tensor]:
        """Read views and mirror or transpose each, features and mask alike."""
        assert self.adapter.apm is not None
        side = 4 * max(array.shape[-1] for array in store.levels)
        columns: list[list[torch.Tensor]] = []
        for at in chosen:
            emb = store.embedding(int(at), torch.device("cpu"))
            target, inside = store.target_and_inside(int(at), side)
            tensors = [*(x[0] for x in emb.levels), emb.image[0], target, inside]
            for axis in (-1, -2):
                if rng.random() < 0.5:
                    tensors = [x.flip(axis) for x in tensors]
            if rng.random() < 0.5:
                tensors = [x.transpose(-1, -2) for x in tensors]
            columns.append(tensors)
        stacked = [
            torch.stack(column).to(self.device) for column in zip(*columns, strict=True)
        ]
        return stacked[:-3], stacked[-3], stacked[-2], stacked[-1]

    @torch.no_grad()
    def _map_dice(self, apm: HeatmapAPM) -> float:
        """Mean Dice of the coarse map itself on the held-out images."""
        assert self.held_out is not None
        found = []
        for at in range(self.held_out.count):
            emb = self.held_out.embedding(at, self.device)
            logits = apm(emb.levels, emb.image)[0].cpu()
            target, inside = self.held_out.target_and_inside(at, logits.shape[-1])
            mask, truth = (logits > 0) & (inside > 0), target >= 0.5
            total = int(mask.sum() + truth.sum())
            found.append(2 * int((mask & truth).sum()) / total if total else 1.0)
        return float(np.mean(found))

    # 3. how the object looks ------------------------------------------------------

    def train_ips(self) -> Iterator[Progress]:
        config, ips, store = self.config, self.adapter.ips, self.training
        assert ips is not None
        assert store is not None
        usable = [at for at in range(store.count) if (store.target[at] >= 128).any()]
        each = min(config.ips_images, len(usable))
        batches = math.ceil(each / config.ips_batch)
        total = batches * config.ips_epochs
        optimizer = torch.optim.AdamW(
            ips.parameters(), lr=config.ips_rate, weight_decay=1e-2
        )
        schedule = torch.optim.lr_scheduler.OneCycleLR(
            optimizer, config.ips_rate, total_steps=total + 1, pct_start=0.15
        )
        rng = np.random.default_rng([config.seed, 2])
        average = copy.deepcopy(ips).eval()
        best, patience, step = -1.0, config.patience, 0
        clock = _Clock(total)
        for _ in range(config.ips_epochs):
            order = rng.permutation(usable)[:each]
            losses = []
            for chosen in np.array_split(order, batches):
                step += 1
                optimizer.zero_grad()
                for at in chosen:
                    with _seeded(config.seed, "ips", step, int(at)):
                        loss = self._ips_loss(ips, store, int(at), rng)
                    (loss / len(chosen)).backward()
                    losses.append(float(loss.detach()))
                nn.utils.clip_grad_norm_(ips.parameters(), 1.0)
                optimizer.step()
                schedule.step()
                _follow(average, ips, step)
                self.trained = True
                yield Progress(
                    "ips",
                    step,
                    total,
                    float(np.mean(losses)),
                    dict(self.scores),
                    clock(step),
                )
            adapter = Adapter(self.adapter.info, self.adapter.apm, average)
            scores = self._scores(adapter, SCORED_IN_TRAINING, frozen_too=False)
            found = float(np.mean([scores[kind] for kind in KINDS if kind in scores]))
            if found > best:
                best, patience = found, config.patience
                self.scores |= scores
                self.adapter.ips = copy.deepcopy(average)
            else:
                patience -= 1
                if not patience:
                    break

    def _ips_loss(
        self, ips: PatternEmbedding, store: _Store, at: int, rng: np.random.Generator
    ) -> torch.Tensor:
        """Loss of one view under one kind of prompt, drawn at random.

        The mask is token 1, the first of three, as it is used later.
        """
        emb = store.embedding(at, self.device)
        target, inside = store.target_and_inside(at, self.grid)
        delta = ips(emb.image)[0]
        points, labels, logits = self._ips_prompts(emb, target[0], rng)
        if rng.random() < CORRECTED:  # one correction of what is drawn now
            with torch.no_grad():
                drawn = self._token_one(emb, delta.detach(), points, labels, logits)
            mask = (drawn[0, 0] > 0).cpu().numpy() & (inside[0] > 0).numpy()
            click = next_click(mask, target[0].numpy() >= 0.5)
            if click is not None:
                row, column = click[0]
                scale = max(emb.input_size) / self.grid
                points = np.concatenate(
                    [points, [[(column + 0.5) * scale, (row + 0.5) * scale]]]
                )
                labels = np.append(labels, click[1])
                logits = drawn.half().float()
        drawn = self._token_one(emb, delta, points, labels, logits)
        return mask_loss(
            drawn, target[None].to(self.device), inside[None].to(self.device)
        )

    def _ips_prompts(
        self, emb: Embedding, target: torch.Tensor, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], torch.Tensor | None]:
        """Points as (x, y) in the frame, labels, and a mask prompt or None."""
        apm = self.adapter.apm
        if apm is not None and rng.random() < 0.65:
            # dropout stays on: on training images the map is better than it will be
            apm.train()
            with torch.no_grad():
                map_ = apm(emb.levels, emb.image)[0, 0]
            apm.eval()
            size = (self.grid, self.grid)
            found = promise.prompts_from_map(map_, emb, self.config.points, size)
            if found.logits is not None and (found.labels == 1).any():
                logits = found.logits.to(self.device)
                return found.points_xy, found.labels, logits
        truth = target.numpy() >= 0.5
        count = int(rng.choice([1, 3, self.config.points]))
        at, labels = random_points(truth, count, rng)
        scale = max(emb.input_size) / self.grid
        return (at[:, ::-1] + 0.5) * scale - 0.5, labels, None

    def _token_one(
        self,
        emb: Embedding,
        delta: torch.Tensor,
        points_xy: NDArray[np.float64],
        labels: NDArray[np.int64],
        logits: torch.Tensor | None,
    ) -> torch.Tensor:
        """(1, 1, 4h, 4w) logits of mask token 1."""
        at = torch.tensor(points_xy, dtype=torch.float32, device=self.device)
        kinds = torch.tensor(labels, device=self.device)
        masks, _ = promise.decode_frame(
            self.sam,
            emb.image,
            points=(at[None], kinds[None]),
            mask_logits=logits,
            multimask=True,
            delta=delta,
        )
        return masks[:, :1]

    # 4. score and write -----------------------------------------------------------

    def score(self) -> Iterator[Progress]:
        """Round to what the file holds, measure that, write it."""
        for parameter in self.adapter.parameters():
            parameter.data = parameter.data.half().float()
        assert self.held_out is not None
        yield Progress("score", 0, 1, held_out=dict(self.scores))
        if isinstance(self.adapter.apm, HeatmapAPM):
            self.scores["map"] = round(self._map_dice(self.adapter.apm), 4)
        self.scores |= self._scores(self.adapter, self.held_out.count, frozen_too=True)
        message = self._drop_useless_ips()
        self.save()
        yield Progress(
            "done",
            1,
            1,
            held_out=dict(self.scores),
            message=message,
            adapter=self.adapter.eval(),
        )

    def _drop_useless_ips(self) -> str:
        """Leave the shift out where frozen tokens drew better with the same prompts.

        An adapter that only prompts is still an adapter; one that only shifts stays.
        """
        if self.adapter.apm is None or self.adapter.ips is None:
            return ""
        kinds = [kind for kind in KINDS if kind in self.scores]
        shifted = float(np.mean([self.scores[kind] for kind in kinds]))
        frozen = float(np.mean([self.scores[f"frozen_{kind}"] for kind in kinds]))
        if shifted >= frozen:
            return ""
        self.scores |= {kind: self.scores[f"frozen_{kind}"] for kind in kinds}
        self.adapter = Adapter(replace(self.adapter.info, ips=False), self.adapter.apm)
        message = (
            f"the pattern shift was left out: held-out Dice {shifted:.3f} with it, "
            f"{frozen:.3f} without"
        )
        return message

    def _scores(
        self, adapter: Adapter, most: int, *, frozen_too: bool
    ) -> dict[str, float]:
        """Held-out Dice under each kind of prompt, frozen SAM beside it if wanted."""
        assert self.held_out is not None
        store, segmenter = self.held_out, Segmenter(self.sam, adapter.eval())
        count = min(most, store.count)
        chosen = np.linspace(0, store.count - 1, count).round().astype(int)
        plans = [f"gt:{self.config.points}"]
        if adapter.apm is not None:
            plans.append("auto+click:1")
        result: dict[str, float] = {}
        for text in plans:
            plan = PromptPlan.parse(text)
            scores: list[Score] = []
            for at in chosen:
                truth = self.truths[at]
                if truth.any() or plan.automatic:
                    emb = store.embedding(int(at), self.device)
                    scores += measure(
                        str(at),
                        emb,
                        truth,
                        segmenter,
                        plan,
                        seed=[0, int(at)],
                        frozen_too=frozen_too,
                    )
            summary = EvaluationReport(text, None, None, tuple(scores)).summary
            for name in ("gt_prompted", "corrected"):
                for kind in ("", "frozen_"):
                    if f"{kind}{name}_dice" in summary:
                        result[kind + name] = summary[f"{kind}{name}_dice"]
            if plan.automatic:
                result["automatic"] = summary["dice_by_step"][0]
                if frozen_too:
                    result["frozen_automatic"] = summary["frozen_dice_by_step"][0]
            if "positives_on_object" in summary:
                result["positives_on_object"] = summary["positives_on_object"]
        return result

    def save(self, note: str = "") -> None:
        """Write the adapter if anything was trained and a folder was given."""
        if not self.trained:
            return
        info = replace(
            self.adapter.info,
            scores={"held out in training": dict(self.scores)},
            note=" ".join(text for text in (self.adapter.info.note, note) if text),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        self.adapter.info = info
        if self.config.output is not None:
            save_adapter(self.adapter, self.config.output)

    def close(self) -> None:
        """Remove the embeddings."""
        self.training = self.held_out = None
        shutil.rmtree(self.folder, ignore_errors=True)


def _has_bfloat16(device: torch.device) -> bool:
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported()
    supported = getattr(torch.cpu, "_is_avx512_bf16_supported", None)
    return device.type == "cpu" and supported is not None and bool(supported())


class _Clock:
    """Seconds left, from the time the steps took so far."""

    def __init__(self, total: int) -> None:
        self.total = total
        self.started = time.monotonic()

    def __call__(self, step: int) -> float:
        spent = time.monotonic() - self.started
        return spent / step * (self.total - step)


@contextlib.contextmanager
def _seeded(seed: int, *what: object) -> Iterator[None]:
    """Draw fixed random numbers inside, whatever the caller draws between steps."""
    with torch.random.fork_rng():
        entropy = [seed, *(ord(c) for c in "/".join(map(str, what)))]
        torch.manual_seed(int(np.random.SeedSequence(entropy).generate_state(1)[0]))
        yield


@torch.no_grad()
def _follow(average: nn.Module, module: nn.Module, step: int) -> None:
    """Exponential moving average, quick at the start."""
    share = 1 - min(EMA, (1 + step) / (10 + step))
    for kept, current in zip(average.parameters(), module.parameters(), strict=True):
        kept.lerp_(current, share)
