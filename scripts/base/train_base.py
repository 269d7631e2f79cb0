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
import math
import os
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.distributed as dist
import torch.nn.functional as F
from safetensors.torch import load_file
from torch import Tensor, nn

from napari_promise.model.tiny import PATCH, STRIDE, build_promise_tiny
from scripts.base.episodes import Sample, Sources
from scripts.base.prompting import COMPUTE, phantom, picture_loss
from scripts.base.run_files import save_run
from scripts.base.scene_store import open_store

Rng = np.random.Generator


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
    summary = {**asdict(recipe), "minutes": round(spent / 60, 1), "steps": step}
    save_run(folder, "promise-tiny", sam, average, optimizer, spent, step, summary)


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
