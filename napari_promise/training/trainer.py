"""Train an adapter on a frozen SAM whose encoder is never in the loop.

The run, as `train` tells it:

1. *embed*: every view of every image is encoded once, and kept for later runs
   (`embedder`, `view_cache`).
2. *apm*: the prompter learns where the object is.
3. *ips*: with points from that prompter, random points from the truth and simulated
   corrections, the shift of the mask tokens learns how the object looks.
4. *score*: the best of each phase is measured on the held-out part, automatic and
   GT-prompted apart, frozen SAM beside both, and written.

What a phase learns is said in `tasks`. After each pass the whole state is written
beside the adapter, so that a killed run can go on (`run_state`), with the curves so
far. Random numbers are drawn anew for each pass, phase and step, from the seed alone: a
run that went on ends where it would have ended.

SAM's parameters receive no gradient. The module knows no windows and no arguments.
"""

from __future__ import annotations

import contextlib
import copy
import hashlib
import json
import shutil
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from napari_promise.model.adapters import (
    Adapter,
    AdapterInfo,
    load_adapter,
    save_adapter,
)
from napari_promise.model.auto_prompt import HeatmapAPM
from napari_promise.model.pattern_shift import PatternEmbedding
from napari_promise.model.point_prompters import CrossAPM, ResNetAPM
from napari_promise.model.sam import load_sam, resolve_device
from napari_promise.segmenter import Segmenter
from napari_promise.training.config import ImagePair, TrainConfig
from napari_promise.training.curves import Row, write_curves
from napari_promise.training.embedder import Embedder, Views
from napari_promise.training.evaluate import measure
from napari_promise.training.outlook import Outlook
from napari_promise.training.run_state import drop_state, load_state, save_state
from napari_promise.training.scores import EvaluationReport, Score
from napari_promise.training.simulated_prompts import PromptPlan
from napari_promise.training.steps import (
    entropy,
    follow,
    half_type,
    repeatable,
    schedule_of,
    seeded,
)
from napari_promise.training.tasks import HeatmapTask, PointTask, ShiftTask, Task
from napari_promise.training.view_cache import ViewCache, default_folder, file_digest

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

SCORED_IN_TRAINING = 40  # held-out images looked at after each pass
#: What early stopping and the choice of modules look at: what an adapter is used for.
KINDS = ("automatic", "refined")
#: What they look at where nothing prompts: random points from the truth.
PROMPTED = ("gt_prompted",)
#: Clicks after automatic prompts that make a mask ``refined``.
CLICKS = 3
#: Share of the time that writing the state may take.
SAVING = 0.05


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
        ``refined`` (`CLICKS` more), ``gt_prompted``, and each but the first again with
        ``frozen_`` before it. Clicks correct locally, as in the window.
    eta : float or None
        Seconds to the end of the run, if no phase stops early; None while nothing is
        known.
    message : str
        One line worth telling, or empty.
    adapter : Adapter or None
        The best so far, after a pass that made it; when done, the adapter.
    row : dict or None
        What the curves say of a pass, after it, see `curves.write_curves`.
    """

    phase: str
    step: int
    total: int
    loss: float | None = None
    held_out: dict[str, float] = field(default_factory=dict)
    eta: float | None = None
    message: str = ""
    adapter: Adapter | None = None
    row: Row | None = None


def train(
    config: TrainConfig,
    sam: Sam | None = None,
    *,
    give_way: Callable[[], bool] = lambda: False,
) -> Iterator[Progress]:
    """Train an adapter, yielding progress; stop it by closing the generator.

    What was best so far is written when the run is closed or interrupted. With an
    output folder, ``curves.csv`` and ``curves.png`` lie beside the adapter, and until
    the run is done its state, from which ``config.resume`` goes on.

    Parameters
    ----------
    config : TrainConfig
    sam : segment_anything.modeling.Sam, optional
        A loaded base model; by default ``config.model`` is loaded.
    give_way : callable, optional
        Asked often; where it answers True, progress is yielded as soon as can be, so
        that the caller can do something else with the model in between.

    Yields
    ------
    Progress
        The last one has phase ``done`` and the adapter.

    Raises
    ------
    ValueError
        If more than half of the pairs cannot be used, every mask is empty, groups
        cannot be divided, there is no room for the views, or the state to go on from
        belongs to another run.
    """
    if sam is None:
        sam = load_sam(config.model, device=resolve_device(config.device))
    training, held_out = divide(config)
    with _cache(config) as cache:
        run = _Run(config, sam, cache, give_way)
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


class _Run:
    """The state of one training run."""

    def __init__(
        self,
        config: TrainConfig,
        sam: Sam,
        cache: ViewCache,
        give_way: Callable[[], bool],
    ) -> None:
        self.config = config
        self.give_way = give_way
        self.sam = sam
        self.device = sam.device
        self.scores: dict[str, float] = {}
        self.by_domain: dict[str, dict[str, float]] = {}
        self.curves: list[Row] = []
        self.trained = False
        self.finished: list[str] = []
        self.unfinished: dict[str, Any] = {}  # of the phase to go on with
        self.fingerprint = ""
        self.saved_at, self.saving_took = time.monotonic(), 0.0
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
            mask_choice=config.mask_choice,
        )
        self.adapter = Adapter(info)
        self.scaler = torch.amp.GradScaler(
            self.device.type, enabled=half_type(self.device) == torch.float16
        )
        image, levels = ("image",), ("levels",) if config.apm != "none" else ()
        decoded = config.ips or config.apm != "heatmap"
        self.embedder = Embedder(
            sam,
            cache,
            training_parts=(image if decoded else ()) + levels,
            held_out_parts=image + levels,
            views_each=config.views,
            autocast=self.quick,
            precision=str(half_type(self.device)).removeprefix("torch."),
            give_way=give_way,
        )

    @property
    def training(self) -> Views:
        """Views to learn from."""
        return self.embedder.training

    @property
    def held_out(self) -> Views:
        """Views to choose and measure by."""
        return self.embedder.held_out

    def quick(self, devices: tuple[str, ...] = ("cpu", "cuda")) -> torch.autocast:
        """Half precision where the hardware computes it: twice as fast, 1 % apart."""
        kind = half_type(self.device)
        return torch.autocast(
            self.device.type,
            torch.bfloat16 if kind == torch.float32 else kind,
            enabled=kind != torch.float32 and self.device.type in devices,
        )

    # 1. embed ---------------------------------------------------------------------

    def embed(
        self, training: Sequence[ImagePair], held_out: Sequence[ImagePair]
    ) -> Iterator[Progress]:
        config = self.config
        outlook: Outlook | None = None
        for step in self.embedder.run(training, held_out):
            if outlook is None:
                later = self._work(len(training) * config.views, len(held_out))
                outlook = Outlook({"embed": step.to_encode + 1} | later)
                outlook.begin("embed")
            yield Progress(
                "embed",
                step.done,
                step.total,
                eta=outlook.left(step.to_encode),
                message=step.message,
            )
        self.outlook = Outlook(self._work(self.training.count, self.held_out.count))
        if outlook is not None:
            self.outlook.unit = outlook.unit
        with seeded(config.seed, "modules"):
            self._build()
        if config.start is not None:
            self._start_from(load_adapter(config.start))
        self.adapter.to(self.device).eval()
        self.fingerprint = self._fingerprint()
        message = self.embedder.summary()
        if config.resume:
            resumed = self._restore()
            message = "; ".join(text for text in (message, resumed) if text)
        if message:
            total = self.training.count + self.held_out.count
            yield Progress("embed", total, total, message=message)

    def _work(self, training: int, held_out: int) -> dict[str, float]:
        """Images that each later phase looks at, at most."""
        config = self.config
        work = {"score": float(2 * held_out)}
        if config.apm != "none":
            work["apm"] = float(config.apm_epochs * training)
        if config.ips:
            each = min(config.ips_images, training) + SCORED_IN_TRAINING
            work["ips"] = float(config.ips_epochs * each)
        return work

    def _build(self) -> None:
        """Make the modules, with initial weights."""
        config, sam = self.config, self.sam
        if config.apm != "none":
            channels = [level.shape[0] for level in self.held_out.read(0, "levels")]
            if config.apm == "heatmap":
                self.adapter.apm = HeatmapAPM(channels, blocks=config.apm_blocks)
            else:
                kind = {"resnet": ResNetAPM, "cross": CrossAPM}[config.apm]
                self.adapter.apm = kind(
                    channels,
                    points=config.points,
                    frame=int(sam.image_encoder.img_size),
                )
        if config.ips:
            self.adapter.ips = PatternEmbedding(
                int(self.held_out.read(0, "image")[0].shape[0]),
                int(sam.mask_decoder.num_mask_tokens),
                zero_init=config.zero_init,
            )

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

    # 2. and 3. learn --------------------------------------------------------------

    def train_apm(self) -> Iterator[Progress]:
        """Learn where the object is; with coordinates, IPS learns along."""
        config, apm = self.config, self.adapter.apm
        assert apm is not None
        if isinstance(apm, HeatmapAPM):
            yield from self._fit(HeatmapTask(config, apm, self.training, self.device))
        else:
            ips = self.adapter.ips
            yield from self._fit(PointTask(config, self.sam, apm, ips, self.training))

    def train_ips(self) -> Iterator[Progress]:
        """Learn how the object looks."""
        config, ips = self.config, self.adapter.ips
        assert ips is not None
        apm = self.adapter.apm
        yield from self._fit(ShiftTask(config, self.sam, apm, ips, self.training))

    def _fit(self, task: Task) -> Iterator[Progress]:
        """Repeat passes until the held-out score stops rising; keep the best."""
        config, module = self.config, task.module
        if task.name in self.finished:
            return
        self.outlook.begin(task.name)
        count = len(task.batches(np.random.default_rng(config.seed)))
        total = count * task.epochs
        optimizer = torch.optim.AdamW(
            module.parameters(), lr=task.rate, weight_decay=1e-2
        )
        schedule = schedule_of(optimizer, task.rate, total, config.schedule)
        average = copy.deepcopy(module).eval()
        best, patience, first = -1.0, config.patience, 0
        parts: dict[str, Any] = {
            "module": module,
            "average": average,
            "optimizer": optimizer,
            "schedule": schedule,
            "scaler": self.scaler,
        }
        if self.unfinished:
            first, best, patience = (
                self.unfinished[name] for name in ("epoch", "best", "patience")
            )
            # what is trained on and what was best are two things from here on
            self._keep(task, copy.deepcopy(module))
            for name, part in parts.items():
                part.load_state_dict(self.unfinished[name])
            self.unfinished = {}
        for epoch in range(first, task.epochs):
            rng = np.random.default_rng(entropy(config.seed, task.name, epoch))
            losses: list[float] = []
            for at, chosen in enumerate(task.batches(rng), start=1):
                step = epoch * count + at
                with seeded(config.seed, task.name, step), repeatable(self.device):
                    module.train()
                    with self.quick(task.quick_on):
                        loss = task.loss(chosen, rng)
                    optimizer.zero_grad()
                    self.scaler.scale(loss).backward()
                    self.scaler.unscale_(optimizer)
                    nn.utils.clip_grad_norm_(module.parameters(), 1.0)
                    self.scaler.step(optimizer)
                    self.scaler.update()
                schedule.step()
                follow(average, module, step)
                losses.append(float(loss.detach()))
                self.trained = True
                spent = (epoch + at / count) / task.epochs
                yield Progress(
                    task.name,
                    step,
                    total,
                    float(np.mean(losses)),
                    dict(self.scores),
                    self.outlook.left(self.outlook.work[task.name] * (1 - spent)),
                )
            spent = (epoch + 1) / task.epochs
            left = self.outlook.left(self.outlook.work[task.name] * (1 - spent))
            done = (epoch + 1) * count
            pause = Progress(
                task.name, done, total, held_out=dict(self.scores), eta=left
            )
            found, scores = yield from self._validate(task, average, pause)
            better = found > best
            if better:
                best, patience = found, config.patience
                self.scores |= scores
                # an interruption from here on keeps these
                self._keep(task, copy.deepcopy(average))
            else:
                patience -= 1
            row: Row = {
                "epoch": epoch + 1,
                "phase": task.name,
                "loss": float(np.mean(losses)),
                **scores,
            }
            self.curves.append(row)
            ended = not patience or epoch + 1 == task.epochs
            if ended:
                self.finished.append(task.name)
            progress = {"epoch": epoch + 1, "best": best, "patience": patience}
            self._save_state(
                {}
                if ended
                else progress | {k: p.state_dict() for k, p in parts.items()}
            )
            yield replace(
                pause,
                loss=float(np.mean(losses)),
                held_out=dict(self.scores),
                adapter=self._snapshot() if better else None,
                row=row,
            )
            if not patience:
                break
        module.eval()

    def _snapshot(self) -> Adapter:
        """Return what was best so far, with its scores, as it could be written now."""
        scores = {"held out in training": dict(self.scores)}
        info = replace(self.adapter.info, scores=scores)
        # a copy: later passes go on training these, and `score` rounds them
        apm, ips = copy.deepcopy((self.adapter.apm, self.adapter.ips))
        return Adapter(info, apm, ips).eval()

    def _validate(
        self, task: Task, average: Any, pause: Progress
    ) -> Generator[Progress, None, tuple[float, dict[str, float]]]:
        """Held-out score to choose by, and all that was measured for it."""
        if isinstance(task, HeatmapTask):
            found = yield from self._map_dice(average, pause)
            return found, {"map": round(found, 4)}
        info = self.adapter.info
        if isinstance(average, nn.ModuleDict):
            adapter = Adapter(info, *_both(average))
        else:
            adapter = Adapter(info, self.adapter.apm, average)
        # what frozen SAM draws from the same prompts does not change in the ips phase
        frozen_too = isinstance(task, ShiftTask) and not any(
            row["phase"] == task.name for row in self.curves
        )
        scores = yield from self._scores(
            adapter, SCORED_IN_TRAINING, pause, frozen_too=frozen_too
        )
        kinds = _judged(scores)
        return float(np.mean([scores[kind] for kind in kinds])), scores

    def _keep(self, task: Task, average: Any) -> None:
        """Take over what was best so far."""
        if isinstance(average, nn.ModuleDict):
            self.adapter.apm, self.adapter.ips = _both(average)
        else:
            setattr(self.adapter, task.name, average)

    def _map_dice(
        self, apm: HeatmapAPM, pause: Progress
    ) -> Generator[Progress, None, float]:
        """Mean Dice of the coarse map itself on the held-out images."""
        found = []
        for at in range(self.held_out.count):
            if self.give_way():
                yield pause
            emb = self.held_out.embedding(at, self.device)
            with torch.no_grad():  # not across a pause: the caller has its own mode
                logits = apm(emb.levels, emb.image)[0].cpu()
            target, inside = self.held_out.target_and_inside(at, logits.shape[-1])
            mask, truth = (logits > 0) & (inside > 0), target >= 0.5
            total = int(mask.sum() + truth.sum())
            found.append(2 * int((mask & truth).sum()) / total if total else 1.0)
        return float(np.mean(found))

    # The state ----------------------------------------------------------------------

    def _fingerprint(self) -> str:
        """Of everything that decides where the run ends."""
        config = self.config
        ignored = {"pairs", "held_out", "output", "device", "resume", "note", "version"}
        ignored |= {"cache", "keep_cache", "cache_quota", "class_name", "trained_on"}
        ignored |= {"name", "licence", "model", "start"}
        decides = {
            name: value for name, value in vars(config).items() if name not in ignored
        }
        if config.start is not None:
            earlier = sorted(Path(config.start).glob("*.safetensors"))
            decides["start"] = [file_digest(path) for path in earlier]
        text = json.dumps([decides, self.embedder.digests], sort_keys=True, default=str)
        return hashlib.sha256(text.encode()).hexdigest()

    def _save_state(self, unfinished: dict[str, Any]) -> None:
        """Write where the run stands, unless that would slow it down."""
        folder = self.config.output
        if folder is None:
            return
        started = time.monotonic()
        if unfinished and started - self.saved_at < self.saving_took / SAVING:
            return
        state = {
            "adapter": self.adapter.state_dict(),
            "modules": [self.adapter.apm is not None, self.adapter.ips is not None],
            "scores": self.scores,
            "curves": self.curves,
            "finished": self.finished,
            "unfinished": unfinished,
        }
        save_state(folder, self.fingerprint, state)
        write_curves(folder, self.curves, picture=False)
        self.saved_at = time.monotonic()
        self.saving_took = self.saved_at - started

    def _restore(self) -> str:
        """Go on from the state in the output folder, where there is one."""
        assert self.config.output is not None
        state = load_state(self.config.output, self.fingerprint)
        if state is None:
            return "nothing to resume: the run begins anew"
        self.adapter.load_state_dict(state["adapter"])
        self.scores, self.curves = state["scores"], state["curves"]
        self.finished, self.unfinished = state["finished"], state["unfinished"]
        self.trained = True
        last = self.curves[-1]
        return f"resumed after pass {last['epoch']} of {last['phase']}"

    # 4. score and write -----------------------------------------------------------

    def score(self) -> Iterator[Progress]:
        """Round to what the file holds, measure that, write it."""
        for parameter in self.adapter.parameters():
            parameter.data = parameter.data.half().float()
        self.outlook.begin("score")
        left = self.outlook.left(self.outlook.work["score"])
        pause = Progress("score", 0, 1, held_out=dict(self.scores), eta=left)
        yield pause
        if isinstance(self.adapter.apm, HeatmapAPM):
            map_dice = yield from self._map_dice(self.adapter.apm, pause)
            self.scores["map"] = round(map_dice, 4)
        self.scores |= yield from self._scores(
            self.adapter,
            self.held_out.count,
            pause,
            frozen_too=True,
            by_domain=self.by_domain,
        )
        message = self._drop_useless_ips()
        row: Row = {"epoch": 1, "phase": "score", **self.scores}
        self.curves.append(row)
        self.save()
        if self.config.output is not None:
            drop_state(self.config.output)
        said = [message, self.embedder.summary()]
        yield Progress(
            "done",
            1,
            1,
            held_out=dict(self.scores),
            eta=0.0,
            message="; ".join(text for text in said if text),
            adapter=self.adapter.eval(),
            row=row,
        )

    def _drop_useless_ips(self) -> str:
        """Leave the shift out where frozen tokens drew better with the same prompts.

        An adapter that only prompts is still an adapter; one that only shifts stays.
        """
        if self.adapter.apm is None or self.adapter.ips is None:
            return ""
        kinds = _judged(self.scores)
        shifted = float(np.mean([self.scores[kind] for kind in kinds]))
        frozen = float(np.mean([self.scores[f"frozen_{kind}"] for kind in kinds]))
        if shifted >= frozen:
            return ""
        for found in (self.scores, *self.by_domain.values()):
            found |= {k: found[f"frozen_{k}"] for k in found if f"frozen_{k}" in found}
        self.adapter = Adapter(replace(self.adapter.info, ips=False), self.adapter.apm)
        message = (
            f"the pattern shift was left out: held-out Dice {shifted:.3f} with it, "
            f"{frozen:.3f} without"
        )
        return message

    def _scores(
        self,
        adapter: Adapter,
        most: int,
        pause: Progress,
        *,
        frozen_too: bool,
        by_domain: dict[str, dict[str, float]] | None = None,
    ) -> Generator[Progress, None, dict[str, float]]:
        """Held-out Dice under each kind of prompt, frozen SAM beside it if wanted.

        Of sets that are told apart by their groups, each alone goes to `by_domain`.
        """
        store, segmenter = self.held_out, Segmenter(self.sam, adapter.eval())
        count = min(most, store.count)
        chosen = np.linspace(0, store.count - 1, count).round().astype(int)
        plans = [f"gt:{self.config.points}"]
        if adapter.apm is not None:
            plans.append(f"auto+click:{CLICKS}+local")
        result: dict[str, float] = {}
        for text in plans:
            plan = PromptPlan.parse(text)
            scores: list[Score] = []
            for at in chosen:
                if self.give_way():
                    yield pause
                truth = store.truth(at)
                if truth.any() or plan.automatic:
                    scores += measure(
                        str(at),
                        store.embedding(int(at), self.device),
                        truth,
                        segmenter,
                        plan,
                        seed=[0, int(at)],
                        frozen_too=frozen_too,
                        group=_domain(store.pairs[at]),
                    )
            result |= _figures(text, scores)
            if by_domain is None:
                continue
            for domain in sorted({score.group for score in scores if score.group}):
                of = [score for score in scores if score.group == domain]
                by_domain.setdefault(domain, {}).update(_figures(text, of))
        return result

    def save(self, note: str = "") -> None:
        """Write the adapter if anything was trained and a folder was given."""
        if not self.trained:
            return
        scores = {"held out in training": dict(self.scores)}
        if len(self.by_domain) > 1:
            scores |= {
                f"held out in training, {domain}": found
                for domain, found in self.by_domain.items()
            }
        info = replace(
            self.adapter.info,
            scores=scores,
            note=" ".join(text for text in (self.adapter.info.note, note) if text),
            created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        )
        self.adapter.info = info
        if self.config.output is not None:
            save_adapter(self.adapter, self.config.output)
            write_curves(self.config.output, self.curves)


@contextlib.contextmanager
def _cache(config: TrainConfig) -> Iterator[ViewCache]:
    """Open the cache of views; one that is not kept is removed at the end."""
    if config.keep_cache:
        yield ViewCache(config.cache or default_folder(), config.cache_quota)
        return
    if config.cache is not None:
        config.cache.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix="promise-train-", dir=config.cache))
    try:
        yield ViewCache(folder, None)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _both(modules: nn.ModuleDict) -> tuple[Any, Any]:
    """Return the prompter and the pattern shift that learn together; it may lack."""
    return modules["apm"], modules["ips"] if "ips" in modules else None


def _judged(scores: Mapping[str, float]) -> list[str]:
    """Return the scores that choose among passes, and whether the shift stays."""
    return [kind for kind in KINDS if kind in scores] or list(PROMPTED)


def _domain(pair: ImagePair) -> str | None:
    """Name of the set, where groups are ``set/group``."""
    return pair.group.partition("/")[0] if pair.group and "/" in pair.group else None


def _figures(plan: str, scores: Sequence[Score]) -> dict[str, float]:
    """Mean Dice under the names of `Progress.held_out`."""
    result: dict[str, float] = {}
    summary = EvaluationReport(plan, None, None, tuple(scores)).summary
    for kind in ("", "frozen_"):
        if f"{kind}gt_prompted_dice" in summary:
            result[f"{kind}gt_prompted"] = summary[f"{kind}gt_prompted_dice"]
        steps = summary.get(f"{kind}dice_by_step")
        if steps:
            # where nobody had to click, the last score stays
            steps = [*steps, *steps[-1:] * (CLICKS + 1 - len(steps))]
            for name, clicks in (
                ("automatic", 0),
                ("corrected", 1),
                ("refined", CLICKS),
            ):
                result[kind + name] = steps[clicks]
    if "positives_on_object" in summary:
        result["positives_on_object"] = summary["positives_on_object"]
    return result
