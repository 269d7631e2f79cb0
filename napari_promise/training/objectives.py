"""What each module of an adapter learns, and from what: one class for each.

An objective names the module to train, cuts a pass into batches, and gives the loss of
a batch, through the frozen decoder where that is needed. `trainer` repeats the passes,
chooses the best and keeps it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from napari_promise.document import answered_points
from napari_promise.model import promise
from napari_promise.model.auto_prompt import HeatmapAPM
from napari_promise.model.batched_decode import decode_images
from napari_promise.model.local_correction import corrected_locally
from napari_promise.model.pattern_shift import PatternEmbedding
from napari_promise.model.point_prompters import PointAPM
from napari_promise.model.sam import Embedding
from napari_promise.training.config import TrainConfig
from napari_promise.training.embedder import Views
from napari_promise.training.losses import mask_loss, point_loss, signed_distance
from napari_promise.training.simulated_prompts import next_click, random_points

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

#: Shares of the IPS's views that are shown with 0, 1, 2, ... corrective clicks.
ROUNDS = (0.35, 0.2, 0.15, 0.1, 0.08, 0.06, 0.06)
FROM_MAP = 0.65  # share whose points come from the prompter, where it draws a map


class Objective(Protocol):
    """What `trainer` repeats."""

    @property
    def name(self) -> str:
        """Phase of the run."""

    @property
    def module(self) -> nn.Module:
        """What is trained."""

    @property
    def rate(self) -> float:
        """Largest learning rate."""

    @property
    def epochs(self) -> int:
        """Passes, at most."""

    @property
    def quick_on(self) -> tuple[str, ...]:
        """Kinds of devices on which half precision serves."""

    def batches(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Cut one pass into batches of view indices."""

    def loss(self, chosen: NDArray[np.int64], rng: np.random.Generator) -> torch.Tensor:
        """Scalar loss of a batch, with gradients to `module`."""


class HeatmapObjective:
    """Where the object is: a coarse map, supervised cell by cell."""

    name = "apm"
    quick_on = ("cpu", "cuda")

    def __init__(
        self, config: TrainConfig, apm: HeatmapAPM, store: Views, device: torch.device
    ) -> None:
        self.module = apm
        self.store = store
        self.device = device
        self.batch = config.apm_batch
        self.rate = float(config.apm_rate or 0)
        self.epochs = config.apm_epochs

    def batches(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Every view once."""
        return _cut(rng.permutation(self.store.count), self.batch)

    def loss(self, chosen: NDArray[np.int64], rng: np.random.Generator) -> torch.Tensor:
        """Mask loss of the map; views are mirrored or transposed, features alike."""
        columns: list[list[torch.Tensor]] = []
        for at in chosen:
            levels = self.store.read(int(at), "levels")
            image: tuple[torch.Tensor, ...] = ()
            if self.module.neck_channels:
                image = self.store.read(int(at), "image")
            side = 4 * max(level.shape[-1] for level in levels)
            target, inside = self.store.target_and_inside(int(at), side)
            tensors = [*levels, *image, target, inside]
            for axis in (-1, -2):
                if rng.random() < 0.5:
                    tensors = [x.flip(axis) for x in tensors]
            if rng.random() < 0.5:
                tensors = [x.transpose(-1, -2) for x in tensors]
            columns.append(tensors)
        *features, target, inside = _stacked(columns, self.device)
        count = len(self.module.level_channels)
        logits = self.module(features[:count], *features[count:])
        return mask_loss(logits.float(), target, inside)


class PointObjective:
    """Coordinates, through the frozen decoder: the paper's way [1]_.

    With IPS both modules learn together here, as the authors' do.

    References
    ----------
    .. [1] Wang et al., "ProMISe: Promptable Medical Image Segmentation using SAM",
       arXiv 2403.04164, 2024.
    """

    name = "apm"
    quick_on = ("cuda",)

    def __init__(
        self,
        config: TrainConfig,
        sam: Sam,
        apm: PointAPM,
        ips: PatternEmbedding | None,
        store: Views,
    ) -> None:
        self.config = config
        self.sam = sam
        self.store = store
        self.module = nn.ModuleDict({"apm": apm})
        if ips is not None:
            self.module["ips"] = ips
        self.labels = torch.tensor(apm.labels, device=sam.device)
        self.rate = float(config.apm_rate or 0)
        self.epochs = config.apm_epochs

    def batches(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Every view once."""
        return _cut(rng.permutation(self.store.count), self.config.apm_batch)

    def loss(self, chosen: NDArray[np.int64], rng: np.random.Generator) -> torch.Tensor:
        """Mask loss of what the points draw, and `point_loss` if it is asked for."""
        config, device = self.config, self.sam.device
        grid = int(self.sam.prompt_encoder.mask_input_size[0])
        columns = []
        for at in chosen:
            levels = [x.float() for x in self.store.read(int(at), "levels")]
            (image,) = self.store.read(int(at), "image")
            target, inside = self.store.target_and_inside(int(at), grid)
            columns.append([*levels, image.float(), target, inside])
        *levels, image, target, inside = _stacked(columns, device)
        points = self.module["apm"](levels)  # (B, P, 2)
        delta = self.module["ips"](image) if "ips" in self.module else None
        masks = decode_images(
            self.sam,
            image,
            (points, self.labels.expand(len(points), -1)),
            multimask=delta is not None or config.mask_choice == "paper",
            delta=delta,
        )
        loss = mask_loss(
            masks[:, :1].float(), target, inside, double_sigmoid=config.double_sigmoid
        )
        if config.auxiliary:
            distance = signed_distance(target, inside).to(device)
            in_frame = points / self.sam.image_encoder.img_size
            loss = loss + config.auxiliary * point_loss(in_frame, self.labels, distance)
        return loss


class ShiftObjective:
    """How the object looks: the shift of the mask tokens, under prompts of many kinds.

    Prompts come from the prompter or at random from the truth, some with a simulated
    correction, so that what is learnt holds for all of them.
    """

    name = "ips"
    quick_on = ("cuda",)

    def __init__(
        self,
        config: TrainConfig,
        sam: Sam,
        apm: HeatmapAPM | PointAPM | None,
        ips: PatternEmbedding,
        store: Views,
    ) -> None:
        self.config = config
        self.sam = sam
        self.apm = apm
        self.module = ips
        self.store = store
        self.rate = config.ips_rate
        self.epochs = config.ips_epochs
        self.grid = int(sam.prompt_encoder.mask_input_size[0])

    def batches(self, rng: np.random.Generator) -> list[NDArray[np.int64]]:
        """Choose among the views with an object, anew in each pass."""
        usable = self.store.with_object
        each = min(self.config.ips_images, len(usable))
        return _cut(rng.permutation(usable)[:each], self.config.ips_batch)

    def loss(self, chosen: NDArray[np.int64], rng: np.random.Generator) -> torch.Tensor:
        """Mean over the batch, each view under one kind of prompt, drawn at random.

        The mask is token 1, the first of three, as it is used later. Views with equally
        many prompts are decoded together.
        """
        views = [self._prompted(int(at), rng) for at in chosen]
        alike: dict[tuple[int, bool], list[_Prompted]] = {}
        for view in views:
            kind = len(view.labels), view.logits is None
            alike.setdefault(kind, []).append(view)
        losses = []
        for together in alike.values():
            drawn = self._token_one(together)
            target, inside = (
                torch.stack([getattr(view, name) for view in together])
                for name in ("target", "inside")
            )
            loss = mask_loss(
                drawn.float(),
                target.to(drawn.device),
                inside.to(drawn.device),
                double_sigmoid=self.config.double_sigmoid,
            )
            losses.append(loss * len(together))
        return torch.stack(losses).sum() / len(views)

    def _prompted(self, at: int, rng: np.random.Generator) -> _Prompted:
        """Read a view and draw its prompts, sometimes with a simulated correction."""
        emb = self.store.embedding(at, self.sam.device)
        target, inside = self.store.target_and_inside(at, self.grid)
        points, labels, logits, proposed = self._prompts(emb, target[0], rng)
        view = _Prompted(emb, target, inside, points, labels, logits)
        automatic = np.full(len(labels), proposed)
        for clicks in range(int(rng.choice(len(ROUNDS), p=ROUNDS))):
            corrected = self._corrected(view, automatic, clicks)
            if corrected is None:
                break
            view, automatic = corrected
        return view

    @torch.no_grad()
    def _corrected(
        self, view: _Prompted, automatic: NDArray[np.bool_], clicks: int
    ) -> tuple[_Prompted, NDArray[np.bool_]] | None:
        """Click once where what is drawn now is most wrong; None where it is right.

        The last one of `clicks` earlier ones corrected the mask locally, see
        `model.local_correction`.
        """
        drawn = self._token_one([view])
        scale = max(view.emb.input_size) / self.grid
        if clicks and view.logits is not None:
            x, y = (int((at + 0.5) / scale) for at in view.points[-1])
            before, after = (t[0, 0].cpu().numpy() for t in (view.logits, drawn))
            merged = corrected_locally(before, after, [(y, x, int(view.labels[-1]))])
            drawn = torch.from_numpy(merged).to(drawn.device)[None, None]
        mask = (drawn[0, 0] > 0).cpu().numpy() & (view.inside[0] > 0).numpy()
        click = next_click(mask, view.target[0].numpy() >= 0.5)
        if click is None:
            return None
        row, column = click[0]
        clicked = [[(column + 0.5) * scale, (row + 0.5) * scale]]
        # what is sent with the mask is what the user's click will send with it
        cells = ((view.points + 0.5) / scale).astype(int).clip(0, self.grid - 1)
        kept = ~answered_points(automatic, view.labels, mask[cells[:, 1], cells[:, 0]])
        corrected = replace(
            view,
            points=np.concatenate([view.points[kept], clicked]),
            labels=np.append(view.labels[kept], click[1]),
            logits=drawn.half().float(),
        )
        return corrected, np.append(automatic[kept], False)

    def _prompts(
        self, emb: Embedding, target: torch.Tensor, rng: np.random.Generator
    ) -> tuple[NDArray[np.float64], NDArray[np.int64], torch.Tensor | None, bool]:
        """Points as (x, y) in the frame, labels, a mask prompt, and if automatic."""
        if self.apm is not None and rng.random() < FROM_MAP:
            # dropout stays on: on training images the map is better than it will be
            self.apm.train(isinstance(self.apm, HeatmapAPM))
            with torch.no_grad():
                if isinstance(self.apm, HeatmapAPM):
                    map_ = self.apm(emb.levels, emb.image)[0, 0]
                    size = (self.grid, self.grid)
                    found = promise.prompts_from_map(
                        map_, emb, self.config.points, size
                    )
                else:
                    points = self.apm(emb.levels)[0]
                    found = promise.prompts_from_points(points, self.apm.labels, emb)
            self.apm.eval()
            if (found.labels == 1).any():
                logits = found.logits
                if logits is not None:
                    logits = logits.to(self.sam.device)
                return found.points_xy, found.labels, logits, True
        truth = target.numpy() >= 0.5
        count = int(rng.choice([1, 3, self.config.points]))
        at, labels = random_points(truth, count, rng)
        scale = max(emb.input_size) / self.grid
        return (at[:, ::-1] + 0.5) * scale - 0.5, labels, None, False

    def _token_one(self, views: Sequence[_Prompted]) -> torch.Tensor:
        """(B, 1, 4h, 4w) logits of mask token 1, for views with equally many points."""
        device = self.sam.device
        points = np.stack([view.points for view in views])
        labels = np.stack([view.labels for view in views])
        image = torch.cat([view.emb.image for view in views])
        logits = [view.logits for view in views if view.logits is not None]
        masks = decode_images(
            self.sam,
            image,
            (
                torch.tensor(points, dtype=torch.float32, device=device),
                torch.tensor(labels, device=device),
            ),
            mask_logits=torch.cat(logits) if logits else None,
            multimask=True,
            delta=self.module(image),
        )
        return masks[:, :1]


@dataclass(frozen=True)
class _Prompted:
    """A view with its prompts: points as (x, y) in the frame, and a mask or None."""

    emb: Embedding
    target: torch.Tensor  # (1, grid, grid)
    inside: torch.Tensor
    points: NDArray[np.float64]
    labels: NDArray[np.int64]
    logits: torch.Tensor | None  # (1, 1, grid, grid)


def _cut(order: NDArray[np.int64], size: int) -> list[NDArray[np.int64]]:
    """Cut into batches of nearly equal size."""
    return np.array_split(order, max(1, math.ceil(len(order) / size)))


def _stacked(
    columns: list[list[torch.Tensor]], device: torch.device
) -> list[torch.Tensor]:
    """Batches of what is read from the cache, in the precision that it has there."""
    with torch.autocast("cpu", enabled=False):  # it cannot stack float16
        return [torch.stack(each).to(device) for each in zip(*columns, strict=True)]
