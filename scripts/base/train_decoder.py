"""Train the decoder of `promise-medical` on views that a frozen encoder embedded.

    python -m scripts.base.view_store --folder CACHE/views --views 2000 &
    python -m scripts.base.train_decoder --views CACHE/views --out RUN
    python -m scripts.base.train_decoder --views CACHE/views --out RUN --resume

The encoder is LiteMedSAM's and never changes; prompt encoder and mask decoder start
from LiteMedSAM's. One process and one thread. ``RUN/checkpoint.pt`` is written every
two minutes and when the process is asked to end; ``--resume`` goes on from its step, on
the same schedule, which counts steps and not hours: a busy machine changes nothing but
when it is done.
``RUN/promise-medical.safetensors`` holds the averaged weights in float16, and
``--start`` begins anew from such a file, with a fresh optimizer.

An episode is one view and some of its objects, as in `train_base`: a first prompt (a
click, a box, several points, a rough mask, a stroke, a loop), corrective clicks without
gradient, one more with gradient; the loss is that of the first and the last round. What
comes beside it: clicks on the places a picture's pixels have, late rounds that send
the newest click alone with the logits, and a ranking of the three ambiguous masks.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import signal
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from napari_promise.depth import deepest
from napari_promise.model.litemedsam import build_promise_medical
from napari_promise.model.sam import load_sam
from scripts.base.clicks import error_region
from scripts.base.episodes import Sample
from scripts.base.lean_decoder import Answer, answer, drawn, fine, whole
from scripts.base.prompting import (
    COMPUTE,
    Prompt,
    correct,
    first_prompt,
    phantom,
)
from scripts.base.run_files import save_run
from scripts.base.view_store import ViewStore, open_store

Rng = np.random.Generator
PITCH = 1

#: Kinds of first prompts and how often.
KINDS = {
    "click": 0.51,
    "box": 0.25,
    "points": 0.08,
    "mask": 0.06,
    "scribble": 0.06,
    "lasso": 0.04,
}
#: Kinds that mean one connected object.
OF_ONE_PART = ("click", "scribble")
#: Corrective rounds without gradient before the last one, and how often.
ROUNDS, ROUND_SHARES = (0, 1, 2, 3, 4, 6, 9), (0.30, 0.22, 0.16, 0.13, 0.10, 0.06, 0.03)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run; written beside the checkpoint.

    Attributes
    ----------
    steps : int
        Of the whole schedule, over all resumptions.
    batch : int
        Views per step.
    objects : int
        Objects per view at most.
    rate, new_rate : float
        Peak rates of AdamW for LiteMedSAM's tensors, and for those that LiteMedSAM
        never trained: drawn prompts, and what a click is.
    phantoms : float
        Share of views on which boxes are drawn around shapes that are not there.
    alone : float
        Share of late rounds that send only the newest click, beside the logits.
    ranking : float
        Weight of the ranking of the three ambiguous masks.
    cells : int
        Cells of the grid, of 4,096, on which a round's loss is taken.
    """

    steps: int = 3000
    batch: int = 2
    objects: int = 4
    rate: float = 3e-4
    new_rate: float = 1e-3
    phantoms: float = 0.04
    alone: float = 0.2
    ranking: float = 0.2
    cells: int = 1024
    weight_decay: float = 0.02
    clip: float = 1.0
    average: float = 0.997
    seed: int = 0


def build(start: Path | None) -> nn.Module:
    """Return `promise-medical` without its encoder, to be trained.

    Parameters
    ----------
    start : Path, optional
        Weights to go on from; LiteMedSAM's prompt encoder and decoder without it.
    """
    sam = build_promise_medical()
    if start is None:
        weights = load_sam("litemedsam").state_dict()
    else:
        weights = load_file(start)
    own = {k: v.float() for k, v in weights.items() if not k.startswith("image_enc")}
    missing, extra = sam.load_state_dict(own, strict=False)
    missing = [k for k in missing if not k.startswith("image_encoder.")]
    assert not extra, extra
    assert all(".draw." in key for key in missing), missing
    sam.image_encoder = nn.Identity()
    return sam.train()


def is_new(name: str) -> bool:
    """Tell whether LiteMedSAM never trained a tensor."""
    return (
        ".draw." in name or "point_embeddings.0" in name or "point_embeddings.1" in name
    )


def sample_of(
    store: ViewStore, rng: Rng, index: int, most: int
) -> tuple[Sample, str, Tensor]:
    """Take some objects of a view, the kind of their first prompt, the embedding."""
    rows, columns, scale, parted = store.facts[index].tolist()
    layers = store.layers[index]
    bits = [b for b in range(16) if ((layers >> b) & 1).any()]
    whole = [b for b in bits if not (int(parted) >> b) & 1]
    kind = str(rng.choice(list(KINDS), p=list(KINDS.values())))
    if kind in OF_ONE_PART:
        if whole:
            bits = whole
        else:
            kind = "box"
    chosen = rng.permutation(bits)[:most]
    truth = np.stack([((layers >> int(b)) & 1) for b in chosen]).astype(np.float32)
    image = np.zeros((0, 0, 3), np.uint8)  # the encoder has seen it
    sample = Sample(image, (int(rows), int(columns)), truth, scale)
    embedding = torch.from_numpy(np.array(store.embeddings[index], np.float32))[None]
    return sample, kind, embedding


def on_pixels(prompt: Prompt, scale: float) -> Prompt:
    """Move clicks to where the window would put them.

    A click lands on a pixel of the picture, and SAM scales the pixel's number: on an
    enlarged picture that is the pixel's upper left, up to half a pixel away.
    """
    pixels = torch.floor((prompt.points + 0.5) / scale)
    return Prompt(pixels * scale, prompt.labels, prompt.boxes, prompt.logits)


@dataclass(frozen=True, eq=False)
class Cells:
    """Cells of the grid on which a loss is taken, and what each stands for.

    Attributes
    ----------
    chosen : Tensor
        (N, M) numbers of cells.
    weight : Tensor
        (N, M, 1), how many cells each stands for: sums over them are unbiased.
    truth : Tensor
        (N, M, 16) float32.
    covered : Tensor
        (N, 1), the object's share of the whole grid.
    """

    chosen: Tensor
    weight: Tensor
    truth: Tensor
    covered: Tensor


def some_cells(rng: Rng, truth: Tensor, guess: Tensor | None, count: int) -> Cells:
    """Choose cells: most of them near the object or the guess, others anywhere.

    Parameters
    ----------
    truth : Tensor
        (N, S, S) float32.
    guess : Tensor, optional
        (N, S, S) bool, the mask before.
    """
    by_cell = fine(truth)
    held = by_cell > 0.5
    if guess is not None:
        held = held | fine(guess)
    side = round(by_cell.shape[1] ** 0.5)
    near = held.any(2).view(len(truth), 1, side, side).float()
    near = F.max_pool2d(near, 7, 1, 3).flatten(1).numpy() > 0
    chosen = np.zeros((len(truth), count), np.int64)
    weight = np.zeros((len(truth), count), np.float32)
    for row, (inside, numbers, weights) in enumerate(
        zip(near, chosen, weight, strict=True)
    ):
        kinds = np.flatnonzero(inside), np.flatnonzero(~inside)
        first = min(len(kinds[0]), max(int(0.75 * count), count - len(kinds[1])))
        taken = [
            rng.permutation(kind)[:many]
            for kind, many in zip(kinds, (first, count - first), strict=True)
        ]
        numbers[:] = np.concatenate(taken)
        shares = [len(k) / max(len(t), 1) for k, t in zip(kinds, taken, strict=True)]
        weights[:] = np.repeat(shares, [len(t) for t in taken])
        assert len(numbers) == count, row
    picked = torch.from_numpy(chosen)
    return Cells(
        picked,
        torch.from_numpy(weight)[..., None],
        by_cell.gather(1, picked[..., None].expand(-1, -1, by_cell.shape[2])),
        truth.mean((1, 2))[:, None],
    )


def round_loss(
    masks: Tensor, quality: Tensor, cells: Cells, ambiguous: bool, ranking: float
) -> Tensor:
    """Loss of one round on some cells; `prompting.episode_loss` says what of.

    Parameters
    ----------
    masks : Tensor
        (N, 4, M, 16) logits on `cells`.
    quality : Tensor
        (N, 4) predicted IoU.
    ranking : float
        Weight of choosing the best of the three ambiguous masks: the cross-entropy
        between a softmax of their true IoU and one of their quality.
    """
    target, weight = cells.truth[:, None], cells.weight[:, None]
    expanded = target.expand_as(masks)
    bce = F.binary_cross_entropy_with_logits(masks, expanded, reduction="none")
    grid = cells.weight.sum(1) * masks.shape[-1]  # (N, 1) finer cells in all
    bce = (bce * weight).sum((2, 3)) / grid
    chance = masks.sigmoid()
    overlap = (chance * target * weight).sum((2, 3))
    total = ((chance + target) * weight).sum((2, 3))
    losses = 2 * bce / (cells.covered + 1 / 1024).sqrt()
    losses = losses + 1 - (2 * overlap + 1) / (total + 1)
    three = losses[:, 1:]
    several = 0.8 * three.min(1).values + 0.2 * three.mean(1)
    with torch.no_grad():
        guess, mask = masks > 0, target > 0.5
        joint = ((guess & mask) * weight).sum((2, 3))
        iou = joint / ((guess | mask) * weight).sum((2, 3)).clamp(min=1)
    score = F.mse_loss(quality, iou, reduction="none").mean(1)
    loss = losses[:, 0] + (1.0 if ambiguous else 0.25) * several + 2 * score
    if ambiguous:
        share = (iou[:, 1:] / 0.05).softmax(1)
        chosen = (quality[:, 1:] / 0.05).log_softmax(1)
        loss = loss - ranking * (share * chosen).sum(1)
    return loss.mean()


def view_loss(
    sam: nn.Module,
    rng: Rng,
    recipe: Recipe,
    sample: Sample,
    kind: str,
    embedding: Tensor,
    position: Tensor,
) -> tuple[float, float]:
    """Run one episode and back-propagate; return Dice of its first and last round."""
    soft = torch.from_numpy(sample.truth)
    truth = sample.truth > 0.5
    scale = sample.scale

    def learn(prompt: Prompt, guess: Tensor | None, ambiguous: bool) -> Answer:
        given = answer(sam, embedding, position, prompt)
        cells = some_cells(rng, soft, guess, recipe.cells)
        masks = drawn(sam, given, cells.chosen)
        loss = round_loss(masks, given.quality, cells, ambiguous, recipe.ranking)
        loss.backward()
        return given

    prompt = on_pixels(first_prompt(rng, truth, kind, scale, PITCH), scale)
    ambiguous = kind == "click"
    given = learn(prompt, None, ambiguous)
    token = torch.zeros(len(soft), dtype=torch.long)
    if ambiguous and rng.random() < 0.6:
        token = 1 + given.quality[:, 1:].argmax(1)
    logits = one_mask(sam, given, token)
    first = mean_dice(logits[:, 0], soft)
    for _ in range(int(rng.choice(ROUNDS, p=ROUND_SHARES))):
        prompt = _corrected(rng, recipe, prompt, logits, truth, scale)
        with torch.no_grad():
            given = answer(sam, embedding, position, prompt)
        logits = one_mask(sam, given)
    prompt = _corrected(rng, recipe, prompt, logits, truth, scale)
    given = learn(prompt, logits[:, 0] > 0, False)
    return first, mean_dice(one_mask(sam, given)[:, 0], soft)


@torch.no_grad()
def one_mask(sam: nn.Module, given: Answer, token: Tensor | None = None) -> Tensor:
    """Draw a mask of each prompt, (N, 1, S, S): the single one, or a token's."""
    rows = torch.arange(len(given.cells))
    tokens = torch.zeros_like(rows) if token is None else token
    chosen = Answer(given.cells, given.weights[rows, tokens][:, None], given.quality)
    return whole(drawn(sam, chosen)[:, 0])[:, None]


def _corrected(
    rng: Rng,
    recipe: Recipe,
    prompt: Prompt,
    logits: Tensor,
    truth: np.ndarray,
    scale: float,
) -> Prompt:
    prompt = on_pixels(correct(rng, prompt, logits, truth, PITCH), scale)
    if rng.random() < recipe.alone:
        return Prompt(prompt.points[:, -1:], prompt.labels[:, -1:], None, prompt.logits)
    return prompt


def mean_dice(logits: Tensor, truth: Tensor) -> float:
    """Return the mean Dice of (N, H, W) masks."""
    guess, mask = logits > 0, truth > 0.5
    total = guess.sum((1, 2)) + mask.sum((1, 2))
    return float((2 * (guess & mask).sum((1, 2)) / total.clamp(min=1)).mean())


@torch.no_grad()
def followed(
    sam: nn.Module, store: ViewStore, position: Tensor, clicks: int = 5
) -> dict[str, float]:
    """Dice on the held-out views of a store: after 1, 3, 5 clicks, and with a box."""
    found: list[list[float]] = []
    for index in range(store.complete()):
        layers, facts = store.layers[index], store.facts[index]
        bits = [b for b in range(16) if ((layers >> b) & 1).any()][:2]
        truth = np.stack([((layers >> b) & 1).astype(bool) for b in bits])
        soft = torch.from_numpy(truth.astype(np.float32))
        embedding = torch.from_numpy(np.array(store.embeddings[index], np.float32))[
            None
        ]
        prompt = Prompt(torch.zeros(len(bits), 0, 2), torch.zeros(len(bits), 0))
        logits = torch.full((len(bits), 1, *truth.shape[1:]), -1.0)
        row = []
        for click in range(clicks):
            spots, labels = [], []
            for guess, mask in zip((logits[:, 0] > 0).numpy(), truth, strict=True):
                region = error_region(guess, mask)
                spot = deepest(mask if region is None else region)
                spots.append((float(spot[1]), float(spot[0])))
                labels.append(float(mask[spot]))
            prompt = prompt.clicked(torch.tensor(spots), torch.tensor(labels), logits)
            if click == 0:
                prompt.logits = None
            placed = on_pixels(prompt, float(facts[2]))
            given = answer(sam, embedding, position, placed)
            best = 1 + given.quality[:, 1:].argmax(1)
            logits = one_mask(sam, given, best if click == 0 else None)
            row.append(mean_dice(logits[:, 0], soft))
        boxes = [
            [c.min(), r.min(), c.max() + 1, r.max() + 1]
            for r, c in map(np.nonzero, truth)
        ]
        none = Prompt(torch.zeros(len(bits), 0, 2), torch.zeros(len(bits), 0))
        none.boxes = torch.tensor(np.array(boxes), dtype=torch.float32) - 0.5
        boxed = one_mask(sam, answer(sam, embedding, position, none))
        found.append([*row, mean_dice(boxed[:, 0], soft)])
    one, _, three, _, five, box = np.mean(found, 0).round(3).tolist()
    return {"click_1": one, "click_3": three, "click_5": five, "box": box}


def share_of_rate(step: int, steps: int) -> float:
    """Share of the peak rate: 40 steps of warm-up, then a cosine over all steps."""
    warm = min(1.0, (step + 1) / 40)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(step / steps, 1.0))))


def train(args: argparse.Namespace, recipe: Recipe) -> None:
    """Train until the schedule is over, or the process is asked to end."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    torch.manual_seed(recipe.seed)
    sam = build(args.start)
    average = copy.deepcopy(sam)
    named = list(sam.named_parameters())
    old = [p for n, p in named if not is_new(n)]
    new = [p for n, p in named if is_new(n)]
    groups = [
        {"params": old, "peak": recipe.rate},
        {"params": new, "peak": recipe.new_rate},
    ]
    optimizer = torch.optim.AdamW(
        groups, lr=recipe.rate, betas=(0.9, 0.98), weight_decay=recipe.weight_decay
    )
    spent, step = 0.0, 0
    if args.resume:
        saved = torch.load(args.out / "checkpoint.pt", weights_only=True)
        sam.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        for group, settings in zip(optimizer.param_groups, groups, strict=True):
            group["peak"] = settings["peak"]
        spent, step = saved["spent"], saved["step"]
    store = open_store(args.views)
    held_out = open_store(args.held_out) if args.held_out else None
    position = sam.prompt_encoder.get_dense_pe()
    asked: list[int] = []
    signal.signal(signal.SIGTERM, lambda number, _frame: asked.append(number))
    begun, saved_at = time.monotonic() - spent, spent
    stop_at = math.inf if args.stop_after is None else spent + 60 * args.stop_after
    measured_at = spent
    history: list[tuple[float, float, float]] = []
    while step < recipe.steps and spent < stop_at and not asked:
        rng = np.random.default_rng([recipe.seed, step])  # so a step can be repeated
        count = store.complete()
        scores = []
        for index in rng.integers(0, count, recipe.batch):
            sample, kind, embedding = sample_of(store, rng, int(index), recipe.objects)
            if rng.random() < recipe.phantoms:
                sample, kind = phantom(rng, sample, PITCH), "box"
            given = (recipe, sample, kind, embedding, position)
            with torch.autocast("cpu", COMPUTE):
                scores.append(view_loss(sam, rng, *given))
        for _, parameter in named:
            if parameter.grad is not None:
                parameter.grad /= recipe.batch
        norm = float(nn.utils.clip_grad_norm_(sam.parameters(), recipe.clip))
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * share_of_rate(step, recipe.steps)
        if math.isfinite(norm):
            optimizer.step()
        optimizer.zero_grad()
        step += 1
        keep = min(recipe.average, (1 + step) / (10 + step))
        with torch.no_grad():
            torch._foreach_lerp_(
                list(average.parameters()), list(sam.parameters()), 1 - keep
            )
        spent = time.monotonic() - begun
        history.append((*np.mean(scores, 0), norm))
        if step % 25 == 0:
            one, last, size = np.mean(history[-25:], 0)
            print(
                f"{spent / 60:6.1f} min  step {step}  views {count}  first {one:.3f}"
                f"  last {last:.3f}  gradient {size:.2f}",
                flush=True,
            )
        if spent - saved_at > 120:
            saved_at = spent
            save(args.out, sam, average, optimizer, spent, step, recipe)
        if held_out and spent - measured_at > 60 * args.measure_every:
            measured_at = spent
            with torch.autocast("cpu", COMPUTE):
                print("held out", json.dumps(followed(average, held_out, position)))
    save(args.out, sam, average, optimizer, spent, step, recipe)
    if held_out:
        with torch.autocast("cpu", COMPUTE):
            print("held out", json.dumps(followed(average, held_out, position)))


def save(
    folder: Path,
    sam: nn.Module,
    average: nn.Module,
    optimizer: Any,
    spent: float,
    step: int,
    recipe: Recipe,
) -> None:
    """Write the checkpoint, the averaged weights and the recipe, each whole."""
    summary = {**asdict(recipe), "minutes": round(spent / 60, 1), "steps_done": step}
    save_run(folder, "promise-medical", sam, average, optimizer, spent, step, summary)


def main() -> None:
    """Parse arguments and train."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--views", type=Path, required=True, help="a view_store folder")
    parser.add_argument("--held-out", type=Path, help="views of val parts, to follow")
    parser.add_argument("--measure-every", type=float, default=12, help="minutes")
    parser.add_argument("--stop-after", type=float, help="minutes, to be resumed later")
    parser.add_argument("--start", type=Path, help="weights to begin from")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    parser.add_argument("--resume", action="store_true", help="continue in --out")
    steered = ("steps", "batch", "objects", "rate", "new_rate", "seed")
    for name in steered:
        default = getattr(Recipe, name)
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=type(default), default=default)
    args = parser.parse_args()
    train(args, Recipe(**{name: getattr(args, name) for name in steered}))


if __name__ == "__main__":
    main()
