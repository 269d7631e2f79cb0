"""Train an adapter on a frozen SAM whose encoder is never in the loop.

The run, as `train` tells it:

1. *embed*: every view of every image is encoded once, and kept for later runs
   (`embedder`, `view_cache`).
2. *apm*: the prompter learns where the object is.
3. *ips*: with points from that prompter, random points from the truth and simulated
   corrections, the shift of the mask tokens learns how the object looks.
4. *score*: the best of each phase is measured on the held-out part, automatic and
   GT-prompted apart, frozen SAM beside both, and written.

What a phase learns is said in `objectives`, how a pass is measured in `validation`.
After each pass the whole state is written beside the adapter, so that a killed run can
go on (`run_state`), with the curves so far. Random numbers are drawn anew for each
pass, phase and step, from the seed alone: a run that went on ends where it would have
ended.

SAM's parameters receive no gradient.
"""

from __future__ import annotations

import contextlib
import copy
import shutil
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_promise.files import utc_now
from napari_promise.model.adapters import (
    Adapter,
    AdapterInfo,
    load_adapter,
    save_adapter,
)
from napari_promise.model.auto_prompt import HeatmapAPM
from napari_promise.model.instance_prompter import InstanceAPM
from napari_promise.model.instant_prompter import InstantAPM
from napari_promise.model.pattern_shift import PatternEmbedding
from napari_promise.model.point_prompters import CrossAPM, PointAPM, ResNetAPM
from napari_promise.model.sam import load_sam, resolve_device
from napari_promise.training.config import ImagePair, TrainConfig
from napari_promise.training.curves import Row, write_curves
from napari_promise.training.embedder import Embedder, Views
from napari_promise.training.instance_training import train_instances
from napari_promise.training.instant_training import train_instant
from napari_promise.training.objectives import (
    HeatmapObjective,
    Objective,
    PointObjective,
    ShiftObjective,
)
from napari_promise.training.progress import Outlook, Progress
from napari_promise.training.run_state import RunState, fingerprint
from napari_promise.training.split import split
from napari_promise.training.steps import (
    Learner,
    entropy,
    half_type,
    half_where_quick,
    repeatable,
    seeded,
)
from napari_promise.training.team import Team
from napari_promise.training.validation import (
    Validation,
    dice,
    dice_by_domain,
    judged,
)
from napari_promise.training.view_cache import ViewCache, default_folder

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

SCORED_IN_TRAINING = 40  # held-out images looked at after each pass

_Found = TypeVar("_Found")


def train(
    config: TrainConfig,
    sam: Sam | None = None,
    *,
    give_way: Callable[[], bool] = lambda: False,
    team: Team | None = None,
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
    team : Team, optional
        The processes that train together, each of which calls this; see `form_team`.

    Yields
    ------
    Progress
        The last one has phase ``done`` and the adapter.

    Raises
    ------
    ValueError
        If more than half of the pairs cannot be used, every mask is empty, groups
        cannot be divided, there is no room for the views, or the state to go on from
        belongs to another run; or if a team is to train what cannot be divided.
    """
    if team is not None and config.apm in ("instances", "resnet"):
        raise ValueError(
            f"--apm {config.apm} learns from whole batches at a time: train it in one "
            "process, or choose heatmap or cross."
        )
    if sam is None:
        sam = load_sam(config.model, device=resolve_device(config.device))
    if config.apm == "instant":
        yield from train_instant(config, sam, config.held_out, give_way)
        return
    training, held_out = split(config)
    with _cache(config) as cache:
        if config.apm == "instances":
            yield from train_instances(
                config, sam, (training, held_out), cache, give_way
            )
            return
        run = _Run(config, sam, cache, give_way, team)
        try:
            if not run.writes:
                run.team_waits()
            yield from run.embed(training, held_out)
            if run.writes:
                run.team_waits()
            if run.adapter.apm is not None:
                yield from run.train_apm()
            if run.adapter.ips is not None:
                yield from run.train_ips()
            yield from run.score()
        except (KeyboardInterrupt, GeneratorExit):
            run.save(note="Training was interrupted: this is the best until then.")
            raise


class _Run:
    """The state of one training run."""

    def __init__(
        self,
        config: TrainConfig,
        sam: Sam,
        cache: ViewCache,
        give_way: Callable[[], bool],
        team: Team | None = None,
    ) -> None:
        self.config = config
        self.team = team
        self.sam = sam
        self.device = sam.device
        self.scores: dict[str, float] = {}
        self.by_domain: dict[str, dict[str, float]] = {}
        self.curves: list[Row] = []
        self.trained = False
        self.finished: list[str] = []
        self.unfinished: dict[str, Any] = {}  # of the phase to go on with
        self.state: RunState | None = None  # known when the views are
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
        self.validation = Validation(sam, self.held_out, config.points, give_way)

    @property
    def writes(self) -> bool:
        """Whether this process is the one that encodes and writes."""
        return self.team is None or self.team.is_first

    def team_waits(self) -> None:
        """Let the others go on when the views are there."""
        if self.team is not None:
            self.team.wait_for_first()

    @property
    def training(self) -> Views:
        """Views to learn from."""
        return self.embedder.training

    @property
    def held_out(self) -> Views:
        """Views to choose and measure by."""
        return self.embedder.held_out

    def quick(self, devices: tuple[str, ...] = ("cpu", "cuda")) -> torch.autocast:
        """Half precision on this run's device, see `steps.half_where_quick`."""
        return half_where_quick(self.device, devices)

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
        if config.output is not None:
            decides = fingerprint(config, self.embedder.digests)
            self.state = RunState(config.output, decides)
        message = self.embedder.summary()
        if config.resume:
            resumed = self._resume()
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
            yield from self._fit(
                HeatmapObjective(config, apm, self.training, self.device)
            )
        else:
            assert isinstance(apm, PointAPM)
            ips = self.adapter.ips
            yield from self._fit(
                PointObjective(config, self.sam, apm, ips, self.training)
            )

    def train_ips(self) -> Iterator[Progress]:
        """Learn how the object looks."""
        config, ips = self.config, self.adapter.ips
        assert ips is not None
        apm = self.adapter.apm
        # these are trained without a shift
        assert not isinstance(apm, InstanceAPM | InstantAPM)
        yield from self._fit(ShiftObjective(config, self.sam, apm, ips, self.training))

    def _fit(self, objective: Objective) -> Iterator[Progress]:
        """Repeat passes until the held-out score stops rising; keep the best."""
        config, module = self.config, objective.module
        if objective.name in self.finished:
            return
        self.outlook.begin(objective.name)
        work = self.outlook.work[objective.name]
        count = len(objective.batches(np.random.default_rng(config.seed)))
        total = count * objective.epochs
        learner = Learner(module, objective.rate, total, config.schedule, self.scaler)
        best, patience, first = -1.0, config.patience, 0
        if self.unfinished:
            first, best, patience = (
                self.unfinished[name] for name in ("epoch", "best", "patience")
            )
            # what is trained on and what was best are two things from here on
            self.adapter = self._with(objective, copy.deepcopy(module))
            learner.load_state_dict(self.unfinished)
            self.unfinished = {}

        for epoch in range(first, objective.epochs):
            # learn from every batch of a pass
            rng = np.random.default_rng(entropy(config.seed, objective.name, epoch))
            losses: list[float] = []
            for at, chosen in enumerate(objective.batches(rng), start=1):
                step = epoch * count + at
                losses.append(self._learn(objective, learner, chosen, step, rng))
                self.trained = True
                left = self.outlook.left(
                    work * (1 - (epoch + at / count) / objective.epochs)
                )
                yield Progress(
                    objective.name,
                    step,
                    total,
                    float(np.mean(losses)),
                    dict(self.scores),
                    left,
                )

            # measure what it led to, and keep that if it is the best
            left = self.outlook.left(work * (1 - (epoch + 1) / objective.epochs))
            pause = Progress(
                objective.name, step, total, held_out=dict(self.scores), eta=left
            )
            candidate = self._with(objective, learner.average)
            found, scores = yield from _pausing(
                self._measure(objective, candidate), pause
            )
            better = found > best
            if better:
                best, patience = found, config.patience
                self.scores |= scores
                # an interruption from here on keeps these
                self.adapter = self._with(objective, copy.deepcopy(learner.average))
            else:
                patience -= 1

            # write where the run stands, and tell
            row: Row = {
                "epoch": epoch + 1,
                "phase": objective.name,
                "loss": float(np.mean(losses)),
                **scores,
            }
            self.curves.append(row)
            if patience and epoch + 1 < objective.epochs:
                stands = {"epoch": epoch + 1, "best": best, "patience": patience}
                self._write_state(stands, learner)
            else:
                self.finished.append(objective.name)
                self._write_state()
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

    def _learn(
        self,
        objective: Objective,
        learner: Learner,
        chosen: NDArray[np.int64],
        step: int,
        rng: np.random.Generator,
    ) -> float:
        """Take one step on a batch, alone or with the team; return its loss."""
        seed = self.config.seed

        def quick() -> torch.autocast:
            return self.quick(objective.quick_on)

        if self.team is not None:
            return self.team.learn(learner, objective, chosen, step, seed, quick)
        with seeded(seed, objective.name, step), repeatable(self.device):
            objective.module.train()
            with quick():
                loss = objective.loss(chosen, rng)
            learner.step(loss, step)
        return float(loss.detach())

    def _with(self, objective: Objective, module: nn.Module) -> Adapter:
        """Return the adapter with what an objective trains in its place."""
        parts: dict[str, Any] = {"apm": self.adapter.apm, "ips": self.adapter.ips}
        if isinstance(module, nn.ModuleDict):
            parts |= dict(module.items())
        else:
            parts[objective.name] = module
        return Adapter(self.adapter.info, **parts)

    def _measure(
        self, objective: Objective, candidate: Adapter
    ) -> Generator[None, None, tuple[float, dict[str, float]]]:
        """Held-out score to choose by, and all that was measured for it."""
        if isinstance(objective, HeatmapObjective):
            assert isinstance(candidate.apm, HeatmapAPM)
            found = yield from self.validation.map_dice(candidate.apm)
            return found, {"map": round(found, 4)}
        # what frozen SAM draws from the same prompts does not change in the ips phase
        frozen_too = isinstance(objective, ShiftObjective) and not any(
            row["phase"] == objective.name for row in self.curves
        )
        measured = yield from self.validation.measure(
            candidate, SCORED_IN_TRAINING, frozen_too=frozen_too
        )
        scores = dice(measured)
        return judged(scores), scores

    # The state ----------------------------------------------------------------------

    def _write_state(
        self, stands: Mapping[str, Any] | None = None, learner: Learner | None = None
    ) -> None:
        """Write where the run stands; within a phase only if that costs little."""
        if self.state is None or not self.writes:
            return
        if learner is not None and not self.state.is_due:
            return
        unfinished = (
            {} if learner is None else {**(stands or {}), **learner.state_dict()}
        )
        self.state.save(
            {
                "adapter": self.adapter.state_dict(),
                "modules": [self.adapter.apm is not None, self.adapter.ips is not None],
                "scores": self.scores,
                "curves": self.curves,
                "finished": self.finished,
                "unfinished": unfinished,
            }
        )
        write_curves(self.state.folder, self.curves, picture=False)

    def _resume(self) -> str:
        """Go on from the state in the output folder, where there is one."""
        assert self.state is not None
        state = self.state.load()
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
            map_dice = self.validation.map_dice(self.adapter.apm)
            self.scores["map"] = round((yield from _pausing(map_dice, pause)), 4)
        measured = yield from _pausing(
            self.validation.measure(self.adapter, self.held_out.count, frozen_too=True),
            pause,
        )
        self.scores |= dice(measured)
        self.by_domain = dice_by_domain(measured)
        message = self._drop_useless_ips()
        row: Row = {"epoch": 1, "phase": "score", **self.scores}
        self.curves.append(row)
        self.save()
        if self.state is not None and self.writes:
            self.state.drop()
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
        shifted, frozen = judged(self.scores), judged(self.scores, "frozen_")
        if shifted >= frozen:
            return ""
        for found in (self.scores, *self.by_domain.values()):
            found |= {k: found[f"frozen_{k}"] for k in found if f"frozen_{k}" in found}
        self.adapter = Adapter(replace(self.adapter.info, ips=False), self.adapter.apm)
        return (
            f"the pattern shift was left out: held-out Dice {shifted:.3f} with it, "
            f"{frozen:.3f} without"
        )

    def _snapshot(self) -> Adapter:
        """Return what was best so far, with its scores, as it could be written now."""
        # a copy: later passes go on training these, and `score` rounds them
        apm, ips = copy.deepcopy((self.adapter.apm, self.adapter.ips))
        info = replace(self.adapter.info, scores=self._held_out_scores())
        return Adapter(info, apm, ips).eval()

    def save(self, note: str = "") -> None:
        """Write the adapter if anything was trained and a folder was given."""
        if not self.trained:
            return
        info = self.adapter.info
        self.adapter.info = replace(
            info,
            scores=self._held_out_scores(),
            note=" ".join(text for text in (info.note, note) if text),
            created=utc_now(),
        )
        if self.config.output is not None and self.writes:
            save_adapter(self.adapter, self.config.output)
            write_curves(self.config.output, self.curves)

    def _held_out_scores(self) -> dict[str, dict[str, float]]:
        """Return what an adapter's record says of the held-out views."""
        scores = {"held out in training": dict(self.scores)}
        if len(self.by_domain) > 1:
            scores |= {
                f"held out in training, {domain}": found
                for domain, found in self.by_domain.items()
            }
        return scores


def _pausing(
    measuring: Generator[None, None, _Found], pause: Progress
) -> Generator[Progress, None, _Found]:
    """Tell `pause` whenever a measurement lets somebody go first; return its result."""
    while True:
        try:
            next(measuring)
        except StopIteration as end:
            return end.value
        yield pause


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
