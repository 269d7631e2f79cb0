"""Train `promise-tiny`, the small promptable SAM that travels in the wheel.

    python -m scripts.base.train_base --deit deit_tiny_patch16_224.safetensors --out RUN

One command: generates the scenes once, trains on the CPU with one process a core, and
leaves ``RUN/checkpoint.pt`` (to continue with ``--resume``) and
``RUN/promise-tiny.safetensors`` (float16 moving average, what is shipped).

An episode is one augmented picture and a few of its objects:

1. the encoder embeds the picture;
2. a first prompt for every object: a click, a box, several points or a rough mask;
3. zero to six rounds of corrective clicks with the previous logits as mask prompt,
   without gradient, so that late rounds are seen as a person reaches them;
4. one more corrective round, with gradient; the loss is that of rounds 2 and 4.

The schedule follows the clock: first at 256 pixels, which is four times cheaper (all
coordinates of a SAM are relative, so nothing changes but the resampled position
embedding), then at the real 512.
"""

from __future__ import annotations

import argparse
import copy
import json
import math
import os
import tempfile
import time
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from PIL import Image, ImageDraw
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from napari_promise.model.tiny import PATCH, STRIDE, build_promise_tiny
from scripts.base.clicks import deepest, error_region
from scripts.base.episodes import Sample, Sources
from scripts.base.scene_store import open_store
from scripts.base.scenes import outline

Rng = np.random.Generator

#: Type of pixels' activations; mixed with float32 half the time goes into conversion.
COMPUTE = torch.bfloat16

#: Share of clicks that lie deepest inside what they mean; the rest lie anywhere in it.
CENTRED = 0.7

#: Where the sides of a tight box lie, before and behind the outermost pixel centres,
#: in pixels of the picture: on these, on their outer edges, half-open. People and
#: programs do all three; on a small nucleus that is a tenth of its area.
BOX_MANNERS = ((0.0, 0.0), (0.5, 0.5), (0.0, 1.0))

#: Corrective rounds without gradient before the last one, and how often.
ROUNDS, ROUND_SHARES = (0, 1, 2, 3, 4, 6), (0.32, 0.20, 0.16, 0.14, 0.12, 0.06)


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a run; written beside the checkpoint.

    Attributes
    ----------
    minutes_256, minutes_512 : float
        Wall-clock time of the two phases.
    batch : int
        Pictures per step and process.
    objects : int
        Objects per picture.
    rate : float
        Peak learning rate of AdamW for what starts from random values.
    encoder_rate : float
        Share of `rate` for the pre-trained transformer.
    opening : float
        Share of the schedule without corrective rounds: until a first mask lies where
        the prompt is, there is nothing to correct.
    thaw : float
        Share of the schedule after which the transformer starts to learn.
    phantoms : float
        Share of pictures on which boxes are drawn around shapes that are not there,
        so that a box is filled where no border is seen.
    """

    minutes_256: float = 50.0
    minutes_512: float = 10.0
    batch: int = 4
    objects: int = 4
    rate: float = 1e-3
    encoder_rate: float = 0.06
    opening: float = 0.15
    thaw: float = 0.30
    phantoms: float = 0.06
    weight_decay: float = 0.02
    clip: float = 1.0
    average: float = 0.997
    scenes: int = 5000
    seed: int = 0


# --- the model ----------------------------------------------------------------------


def start_from_deit(sam: nn.Module, path: Path) -> None:
    """Load DeiT-Tiny (timm's key names) into the transformer of `sam`, in place."""
    source = load_file(path)
    vit = sam.image_encoder.vit
    state = {}
    for key, value in source.items():
        if key.startswith(("blocks.", "patch_embed.")):
            state[key.replace("mlp.fc", "mlp.lin")] = value
    grid = source["pos_embed"][:, 1:]  # (1, 14 * 14, 192) without the class token
    side = math.isqrt(grid.shape[1])
    grid = grid.reshape(1, side, side, -1).permute(0, 3, 1, 2)
    target = vit.pos_embed.shape[1]
    grid = F.interpolate(grid, (target, target), mode="bicubic", align_corners=False)
    state["pos_embed"] = grid.permute(0, 2, 3, 1)
    missing, unexpected = vit.load_state_dict(state, strict=False)
    if unexpected or any(not key.startswith("neck.") for key in missing):
        raise ValueError(f"{path} is no DeiT-Tiny: {missing[:3]} {unexpected[:3]}")


def build_for_training(deit: Path | None) -> nn.Module:
    """`promise-tiny` at its starting point.

    The random frequencies of the position encoding are spread over three octaves:
    with SAM's single scale, neighbouring small nuclei get nearly equal codes.
    """
    sam = build_promise_tiny()
    if deit is not None:
        start_from_deit(sam, deit)
    frequencies = sam.prompt_encoder.pe_layer.positional_encoding_gaussian_matrix
    spread = 2 ** torch.linspace(-1, 2, frequencies.shape[1])
    frequencies.mul_(spread)
    attend_nearby(sam)
    return sam


def attend_nearby(sam: nn.Module) -> None:
    """Let prompts and pixels attend to each other by nearness from the first step.

    Queries and keys of every cross-attention begin with the same projection, so that
    their product is that of the position codes, which falls with distance. From two
    independent projections the decoder needs hundreds of steps to find out where a
    click is.
    """
    transformer = sam.mask_decoder.transformer
    attentions = [(transformer.final_attn_token_to_image, 1.7)]
    for layer in transformer.layers:
        attentions.append((layer.cross_attn_token_to_image, 1.7))
        attentions.append((layer.cross_attn_image_to_token, 1.4))
    for attention, gain in attentions:
        nn.init.orthogonal_(attention.q_proj.weight, gain)
        with torch.no_grad():
            attention.k_proj.weight.copy_(attention.q_proj.weight)


def set_side(sam: nn.Module, side: int) -> None:
    """Let the prompt encoder of `sam` expect inputs of `side` pixels."""
    assert side % PATCH == 0
    encoder = sam.prompt_encoder
    encoder.input_image_size = (side, side)
    encoder.image_embedding_size = (side // STRIDE, side // STRIDE)
    encoder.mask_input_size = (side // 2, side // 2)


def normalise(sam: nn.Module, samples: list[Sample]) -> Tensor:
    """Stack images as (B, 3, S, S), normalised, zero where there is no picture."""
    stack = np.stack([s.image for s in samples])
    batch = torch.from_numpy(stack).permute(0, 3, 1, 2).float()
    batch = (batch - sam.pixel_mean) / sam.pixel_std
    for index, sample in enumerate(samples):
        rows, columns = sample.extent
        batch[index, :, rows:] = 0
        batch[index, :, :, columns:] = 0
    return batch


# --- prompts ------------------------------------------------------------------------


@dataclass
class Prompt:
    """Prompts of N objects of one picture, in the encoder's (x, y) pixels."""

    points: Tensor  # (N, P, 2), P may be 0
    labels: Tensor  # (N, P)
    boxes: Tensor | None = None  # (N, 4)
    logits: Tensor | None = None  # (N, 1, S / 2, S / 2)

    def clicked(self, points: Tensor, labels: Tensor, logits: Tensor) -> Prompt:
        """Add one point an object and replace the mask prompt."""
        return Prompt(
            torch.cat([self.points, points[:, None]], 1),
            torch.cat([self.labels, labels[:, None]], 1),
            self.boxes,
            logits,
        )


def to_xy(point: tuple[int, int]) -> tuple[float, float]:
    """Centre of a cell of the half-resolution mask in (x, y) of the input."""
    return 2 * point[1] + 0.5, 2 * point[0] + 0.5


def anywhere(rng: Rng, region: np.ndarray) -> tuple[int, int]:
    """Random pixel of a region that is not empty."""
    rows, columns = np.nonzero(region)
    pick = int(rng.integers(len(rows)))
    return int(rows[pick]), int(columns[pick])


def phantom(rng: Rng, sample: Sample) -> Sample:
    """Replace the objects of a sample by round shapes unrelated to the picture."""
    side = sample.truth.shape[1]
    rows, columns = (max(1, round(n / 2)) for n in sample.extent)
    truth = np.zeros_like(sample.truth)
    for mask in truth:
        while mask.sum() < 16:
            radius = float(np.exp(rng.uniform(np.log(0.04), np.log(0.4)))) * side
            centre = (float(rng.uniform(0, columns)), float(rng.uniform(0, rows)))
            rough, stretch = rng.choice([0.03, 0.08, 0.15]), 1 + rng.exponential(0.3)
            canvas = Image.new("L", (side, side))
            contour = outline(rng, centre, radius, rough, min(stretch, 2.5))
            ImageDraw.Draw(canvas).polygon(contour, fill=1)
            mask[:rows, :columns] = np.asarray(canvas)[:rows, :columns]
    return replace(sample, truth=truth)


def first_prompt(
    rng: Rng, truth: np.ndarray, kind: str | None = None, scale: float = 1.0
) -> Prompt:
    """Prompts for the first round: one kind for all objects of a picture.

    Parameters
    ----------
    truth : numpy.ndarray
        (N, H, W) bool at half resolution.
    kind : str, optional
        ``click``, ``box``, ``points`` or ``mask``; by default drawn at random.
    scale : float
        Input pixels per pixel of the picture as it was.
    """
    count = len(truth)
    if kind is None:
        kinds = ["click", "box", "points", "mask"]
        kind = str(rng.choice(kinds, p=[0.56, 0.28, 0.10, 0.06]))
    empty = Prompt(torch.zeros(count, 0, 2), torch.zeros(count, 0))
    if kind == "click":
        spots = [
            deepest(m) if rng.random() < CENTRED else anywhere(rng, m) for m in truth
        ]
        points = torch.tensor([[to_xy(s)] for s in spots])
        return Prompt(points, torch.ones(count, 1))
    if kind == "box":
        boxes = np.array([_loose_box(rng, m, scale) for m in truth], np.float32)
        return Prompt(empty.points, empty.labels, torch.from_numpy(boxes))
    if kind == "points":
        number = int(rng.integers(2, 17))
        positive = int(rng.integers(1, number + 1))
        labels = np.repeat([1.0, 0.0], [positive, number - positive])
        spots = [
            [to_xy(anywhere(rng, m if label else ~m)) for label in labels]
            if not m.all()
            else [to_xy(anywhere(rng, m)) for _ in labels]
            for m in truth
        ]
        marks = [np.ones(number) if m.all() else labels for m in truth]
        return Prompt(torch.tensor(spots), torch.tensor(np.array(marks)).float())
    rough = np.stack([_rough_logits(rng, m) for m in truth])
    empty.logits = torch.from_numpy(rough)[:, None]
    return empty


def _loose_box(rng: Rng, mask: np.ndarray, scale: float) -> list[float]:
    """Box around a mask as a person or a program draws it, (x0, y0, x1, y1).

    SAM scales the picture's coordinates without regard to the pixels' centres, so a
    box between outermost centres ends one picture's pixel short; see `BOX_MANNERS`.
    """
    rows, columns = np.nonzero(mask)
    box = 2.0 * np.array(
        [columns.min(), rows.min(), columns.max() + 1, rows.max() + 1], np.float32
    )
    before, behind = BOX_MANNERS[int(rng.integers(len(BOX_MANNERS)))]
    box[:2] -= before * scale
    box[2:] -= (1 - behind) * scale
    if rng.random() < 0.3:
        sides = np.array([box[2] - box[0], box[3] - box[1]] * 2)
        box += rng.normal(0, 0.05, 4) * sides
    else:
        box += rng.uniform(-0.7, 0.7, 4)  # the mask is known to two pixels only
    return box.tolist()


def _rough_logits(rng: Rng, mask: np.ndarray) -> np.ndarray:
    """Imitate a mask from a person or another method: smooth, shifted, partial."""
    side = np.sqrt(mask.sum())
    soft = torch.from_numpy(mask.astype(np.float32))[None, None]
    kernel = 2 * int(rng.uniform(0, 0.2) * side) + 1
    soft = F.avg_pool2d(soft, kernel, 1, kernel // 2, count_include_pad=False)
    field = soft[0, 0].numpy()
    coarse = torch.from_numpy(rng.standard_normal((1, 1, 12, 12)).astype(np.float32))
    wobble = F.interpolate(coarse, mask.shape, mode="bicubic", align_corners=False)
    field = (
        field - rng.uniform(0.25, 0.75) + rng.uniform(0, 0.35) * wobble[0, 0].numpy()
    )
    gain = rng.choice([4.0, 12.0, 40.0])
    return np.clip(field * gain, -10, 10).astype(np.float32)


def correct(rng: Rng, prompt: Prompt, logits: Tensor, truth: np.ndarray) -> Prompt:
    """Add one corrective click an object.

    Parameters
    ----------
    logits : Tensor
        (N, 1, H, W), becomes the mask prompt.
    truth : numpy.ndarray
        (N, H, W) bool.
    """
    predicted = (logits[:, 0] > 0).numpy()
    points, labels = [], []
    for guess, mask in zip(predicted, truth, strict=True):
        region = error_region(guess, mask)
        if region is None:
            region = mask
        centred = rng.random() < CENTRED
        spot = deepest(region) if centred else anywhere(rng, region)
        points.append(to_xy(spot))
        labels.append(float(mask[spot]))
    return prompt.clicked(
        torch.tensor(points), torch.tensor(labels), logits.clamp(-20, 20)
    )


# --- the loss -----------------------------------------------------------------------


def decode(
    sam: nn.Module, embedding: Tensor, position: Tensor, prompt: Prompt
) -> tuple[Tensor, Tensor]:
    """All four masks (N, 4, H, W) and predicted IoU (N, 4) in float32.

    Prompts are encoded in float32: the phases of the position code in bfloat16 are off
    by up to a pixel, and a box corner is not where it was drawn.
    """
    points = (prompt.points.float(), prompt.labels) if prompt.labels.numel() else None
    with torch.autocast("cpu", enabled=False):
        sparse, dense = sam.prompt_encoder(points, prompt.boxes, prompt.logits)
    masks, quality = sam.mask_decoder.predict_masks(
        image_embeddings=embedding.to(COMPUTE),
        image_pe=position.to(COMPUTE),
        sparse_prompt_embeddings=sparse,
        dense_prompt_embeddings=dense.to(COMPUTE),
    )
    return masks.float(), quality.float()


def mask_losses(masks: Tensor, truth: Tensor) -> Tensor:
    """2 BCE + Dice of every mask, (N, T), against truth (N, H, W) in 0..1.

    The cross-entropy is divided not by the whole grid but by the square root of the
    object's share of it: averaged over the grid, a nucleus of a hundred cells would
    weigh nothing, and an empty mask would be nearly right; divided by the share
    itself, small objects would drown large ones.
    """
    target = truth[:, None].expand_as(masks)
    bce = F.binary_cross_entropy_with_logits(masks, target, reduction="none")
    chance = masks.sigmoid()
    overlap = (chance * target).sum((2, 3))
    total = chance.sum((2, 3)) + target.sum((2, 3))
    covered = truth.mean((1, 2))[:, None]
    counted = (covered + 1 / 1024).sqrt()
    return 2 * bce.mean((2, 3)) / counted + 1 - (2 * overlap + 1) / (total + 1)


def episode_loss(
    masks: Tensor, quality: Tensor, truth: Tensor, ambiguous: bool
) -> Tensor:
    """Loss of one round.

    The single mask (token 0) is always trained; of the three others the best one, with
    full weight where one click leaves the extent open, and all a little: on pictures
    of a foreign kind the predicted quality chooses badly, and a mask that nobody ever
    corrected is then far off.
    """
    losses = mask_losses(masks, truth)  # (N, 4)
    three = losses[:, 1:]
    single, several = losses[:, 0], 0.8 * three.min(1).values + 0.2 * three.mean(1)
    with torch.no_grad():
        guess, mask = masks > 0, truth[:, None] > 0.5
        joint = (guess & mask).sum((2, 3)).float()
        iou = joint / (guess | mask).sum((2, 3)).clamp(min=1)
    score = F.mse_loss(quality, iou, reduction="none").mean(1)
    return (single + (1.0 if ambiguous else 0.25) * several + 2 * score).mean()


def picture_loss(
    sam: nn.Module,
    rng: Rng,
    embedding: Tensor,
    position: Tensor,
    sample: Sample,
    corrected: bool,
    kind: str | None = None,
) -> tuple[float, float]:
    """Run one episode and back-propagate; returns Dice of its first and last round.

    Without `corrected` the episode ends after its first round.
    """
    soft = torch.from_numpy(sample.truth)
    truth = sample.truth > 0.5
    prompt = first_prompt(rng, truth, kind, sample.scale)
    ambiguous = prompt.labels.shape[1] == 1 and prompt.boxes is None
    masks, quality = decode(sam, embedding, position, prompt)
    episode_loss(masks, quality, soft, ambiguous).backward()
    first = masks.detach()
    if not corrected:
        return (_dice(first[:, 0], soft),) * 2
    if ambiguous and rng.random() < 0.5:
        best = quality[:, 1:].argmax(1)
        logits = first[torch.arange(len(first)), 1 + best][:, None]
    else:
        logits = first[:, :1]
    for _ in range(int(rng.choice(ROUNDS, p=ROUND_SHARES))):
        prompt = correct(rng, prompt, logits, truth)
        with torch.no_grad():
            logits = decode(sam, embedding, position, prompt)[0][:, :1]
    prompt = correct(rng, prompt, logits, truth)
    masks, quality = decode(sam, embedding, position, prompt)
    episode_loss(masks, quality, soft, False).backward()
    return _dice(first[:, 0], soft), _dice(masks[:, 0].detach(), soft)


def _dice(logits: Tensor, truth: Tensor) -> float:
    guess, mask = logits > 0, truth > 0.5
    total = guess.sum((1, 2)) + mask.sum((1, 2))
    return float((2 * (guess & mask).sum((1, 2)) / total.clamp(min=1)).mean())


# --- the loop -----------------------------------------------------------------------


def learning_rate(progress: float, steps: int) -> float:
    """Share of the peak rate: 60 steps of warm-up, then a cosine over the clock."""
    warm = min(1.0, (steps + 1) / 60)
    return warm * (0.02 + 0.98 * 0.5 * (1 + math.cos(math.pi * min(progress, 1.0))))


def train(rank: int, world: int, args: argparse.Namespace, recipe: Recipe) -> None:
    """One process of a data-parallel run."""
    torch.set_num_threads(1)
    torch.set_flush_denormal(True)
    if world > 1:
        address = f"tcp://127.0.0.1:{args.port}"
        dist.init_process_group("gloo", address, rank=rank, world_size=world)
    torch.manual_seed(recipe.seed)
    sam = build_for_training(args.deit)
    if args.start:
        weights = load_file(args.start)
        state = {key: value.float() for key, value in weights.items()}
        # weights from before prompts were drawn lack that part: it starts at nothing
        drawing = {k: v for k, v in sam.state_dict().items() if ".draw." in k}
        sam.load_state_dict(drawing | state)
    average = copy.deepcopy(sam)
    vit = [p for n, p in sam.named_parameters() if _is_pretrained(n)]
    rest = [p for n, p in sam.named_parameters() if not _is_pretrained(n)]
    optimizer = torch.optim.AdamW(
        [
            {"params": rest, "share": 1.0},
            {"params": vit, "share": recipe.encoder_rate},
        ],
        lr=recipe.rate,
        betas=(0.9, 0.98),
        weight_decay=recipe.weight_decay,
        foreach=True,
    )
    spent, step = 0.0, 0
    if args.resume:
        saved = torch.load(args.out / "checkpoint.pt", weights_only=True)
        sam.load_state_dict(saved["model"])
        average.load_state_dict(saved["average"])
        optimizer.load_state_dict(saved["optimizer"])
        optimizer.param_groups[1]["share"] = recipe.encoder_rate
        spent, step = saved["spent"], saved["step"]
    for parameter in vit:
        parameter.requires_grad_(False)
    store = open_store(args.scenes, recipe.scenes)
    sources = Sources(store, recipe.objects)
    rng = np.random.default_rng([recipe.seed, rank, step])
    total = 60 * (recipe.minutes_256 + recipe.minutes_512)
    position: dict[int, Tensor] = {}
    begun, saved_at = time.monotonic() - spent, spent
    history: list[tuple[float, float, float]] = []
    while True:
        clock = torch.tensor([time.monotonic() - begun])
        if world > 1:
            dist.broadcast(clock, 0)
        spent = float(clock)
        if spent >= total:
            break
        progress = spent / total
        if progress >= recipe.thaw and not vit[0].requires_grad:
            for parameter in vit:
                parameter.requires_grad_(True)
        corrected = progress >= recipe.opening
        side = 256 if spent < 60 * recipe.minutes_256 else 512
        set_side(sam, side)
        if side not in position:
            position[side] = sam.prompt_encoder.get_dense_pe()
        samples = [sources.draw(rng, side) for _ in range(recipe.batch)]
        with torch.autocast("cpu", COMPUTE):
            embeddings = sam.image_encoder(normalise(sam, samples))
            leaf = embeddings.detach().requires_grad_()
            scores = []
            for i, sample in enumerate(samples):
                kind = None
                if rng.random() < recipe.phantoms:
                    sample, kind = phantom(rng, sample), "box"
                given = (leaf[i : i + 1], position[side], sample, corrected, kind)
                scores.append(picture_loss(sam, rng, *given))
            embeddings.backward(leaf.grad)
        pictures = world * recipe.batch
        norm = _combine_gradients(rest, pictures, world, recipe.clip)
        if vit[0].requires_grad:
            norm += _combine_gradients(vit, pictures, world, recipe.clip)
        for group in optimizer.param_groups:
            group["lr"] = recipe.rate * group["share"] * learning_rate(progress, step)
        if math.isfinite(norm):
            optimizer.step()
        optimizer.zero_grad()
        step += 1
        _follow(average, sam, min(recipe.average, (1 + step) / (10 + step)))
        history.append((*np.mean(scores, 0), norm))
        if rank == 0 and step % 25 == 0:
            one, last, size = np.mean(history[-25:], 0)
            print(
                f"{spent / 60:6.1f} min  step {step}  side {side}  first {one:.3f}"
                f"  last {last:.3f}  gradient {size:.2f}",
                flush=True,
            )
        if rank == 0 and spent - saved_at > 120:
            saved_at = spent
            save(args.out, sam, average, optimizer, spent, step, recipe)
    if rank == 0:
        save(args.out, sam, average, optimizer, spent, step, recipe)
    if world > 1:
        dist.destroy_process_group()


def _is_pretrained(name: str) -> bool:
    return name.startswith("image_encoder.vit.") and ".neck." not in name


def _combine_gradients(
    parameters: list[nn.Parameter], pictures: int, world: int, clip: float
) -> float:
    """Average gradients over pictures and processes and clip them, in place."""
    for parameter in parameters:
        if parameter.grad is None:
            parameter.grad = torch.zeros_like(parameter)
    flat = torch.cat([p.grad.flatten() for p in parameters])  # type: ignore[union-attr]
    if world > 1:
        dist.all_reduce(flat)
    flat /= pictures
    norm = float(flat.norm())
    flat *= min(1.0, clip / (norm + 1e-6))
    start = 0
    for parameter in parameters:
        count = parameter.numel()
        parameter.grad = flat[start : start + count].view_as(parameter)
        start += count
    return norm


@torch.no_grad()
def _follow(average: nn.Module, model: nn.Module, keep: float) -> None:
    torch._foreach_lerp_(list(average.parameters()), list(model.parameters()), 1 - keep)


def save(
    folder: Path,
    sam: nn.Module,
    average: nn.Module,
    optimizer: torch.optim.Optimizer,
    spent: float,
    step: int,
    recipe: Recipe,
) -> None:
    """Write the checkpoint, the averaged weights and the recipe, each whole."""
    part = folder / "checkpoint.pt.part"
    state = {
        "model": sam.state_dict(),
        "average": average.state_dict(),
        "optimizer": optimizer.state_dict(),
        "spent": spent,
        "step": step,
    }
    torch.save(state, part)
    os.replace(part, folder / "checkpoint.pt")
    part = folder / "promise-tiny.safetensors.part"
    half = {k: v.half().contiguous() for k, v in average.state_dict().items()}
    save_file(half, part)
    os.replace(part, folder / "promise-tiny.safetensors")
    summary = {**asdict(recipe), "minutes": round(spent / 60, 1), "steps": step}
    (folder / "recipe.json").write_text(json.dumps(summary, indent=2) + "\n")


def main() -> None:
    """Parse arguments and start one process a core."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--deit", type=Path, required=True, help="DeiT-Tiny weights")
    parser.add_argument("--start", type=Path, help="promise-tiny weights to go on from")
    parser.add_argument("--out", type=Path, required=True, help="folder of the run")
    scenes = Path(tempfile.gettempdir()) / "promise-scenes"
    parser.add_argument("--scenes", type=Path, default=scenes)
    parser.add_argument("--scene-count", type=int, default=Recipe.scenes)
    parser.add_argument("--resume", action="store_true", help="continue in --out")
    parser.add_argument("--workers", type=int, default=os.cpu_count())
    parser.add_argument("--port", type=int, default=29512)
    steered = ("minutes_256", "minutes_512", "rate", "opening", "thaw")
    steered += ("batch", "objects")
    for name in steered:
        default = getattr(Recipe, name)
        flag = "--" + name.replace("_", "-")
        parser.add_argument(flag, type=type(default), default=default)
    args = parser.parse_args()
    chosen = {name: getattr(args, name) for name in steered}
    recipe = Recipe(**chosen, scenes=args.scene_count)
    args.out.mkdir(parents=True, exist_ok=True)
    open_store(args.scenes, recipe.scenes, args.workers)
    if args.workers == 1:
        train(0, 1, args, recipe)
    else:
        torch.multiprocessing.spawn(
            train, (args.workers, args, recipe), nprocs=args.workers
        )


if __name__ == "__main__":
    main()
