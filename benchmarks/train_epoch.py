"""How long a pass over the training images takes, our way and the authors' way.

- *authors*: the encoder in the loop, the ResNet prompter and IPS behind it, one decoder
  call for each image;
- *same modules*: the same prompter and IPS from cached views, decoded in batches;
- *heatmap + IPS*: what `napari-promise train` does by default, a pass of each phase.

Each is measured on a few batches and extrapolated to ``--images``; ours on more of
them, for they are short, and how many corrections IPS is shown differs from one to the
next. The weights of all sizes but the bundled model's are random. Encoding, which our
way does once for the whole run and for later runs, stands beside.

    python benchmarks/train_epoch.py --model promise-tiny --json train_epoch.json
    python benchmarks/train_epoch.py --model vit_b --batches 1
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from click_latency import picture

from napari_promise.data.pairs import Pair
from napari_promise.model.auto_prompt import HeatmapAPM
from napari_promise.model.encoders import level_blocks, transformer_blocks
from napari_promise.model.pattern_shift import PatternEmbedding
from napari_promise.model.point_prompters import ResNetAPM
from napari_promise.model.promise import decode_frame
from napari_promise.model.sam import (
    Embedding,
    build_sam,
    encode_image,
    freeze,
    load_sam,
    resolve_device,
)
from napari_promise.training.config import TrainConfig
from napari_promise.training.embedder import Views
from napari_promise.training.losses import mask_loss
from napari_promise.training.objectives import (
    HeatmapObjective,
    Objective,
    PointObjective,
    ShiftObjective,
)
from napari_promise.training.steps import half_type
from napari_promise.training.view_cache import Target, ViewCache

if TYPE_CHECKING:
    from segment_anything.modeling import Sam


VIEWS = 64  # on disk; later batches read the first again


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="promise-tiny", help="promise-tiny, vit_b …")
    parser.add_argument("--images", type=int, default=900, help="in a pass")
    parser.add_argument("--batches", type=int, default=3, help="of the authors' way")
    parser.add_argument("--own-batches", type=int, default=12, help="of ours, each")
    parser.add_argument("--batch", type=int, default=8, help="images in one of theirs")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    torch.manual_seed(0)
    device = resolve_device(options.device)
    if options.model == "promise-tiny":
        sam = load_sam(options.model, device=device)
    else:
        sam = freeze(build_sam(options.model)).to(device)
    rows = measure(
        sam, options.images, options.batches, options.own_batches, options.batch
    )
    print(f"{'':>16} {'s an image':>11} {'images':>7} {'s a pass':>9} {'times':>7}")
    for row in rows:
        times = f"{row['times']:>7.1f}" if "times" in row else ""
        print(
            f"{row['what']:>16} {row['image_s']:>11.3f} {row['images']:>7} "
            f"{row['pass_s']:>9.1f} {times}"
        )
    print(
        f"{options.model} on {device}, {options.threads} threads, load "
        f"{os.getloadavg()[0]:.1f}; extrapolated from {options.batches} batches of "
        f"theirs, {options.own_batches} of ours"
    )
    if options.json:
        record = {"model": options.model, "device": str(device), "rows": rows}
        record |= {"threads": options.threads, "authors_batches": options.batches}
        record |= {"own_batches": options.own_batches}
        options.json.write_text(json.dumps(record, indent=2) + "\n")


def measure(
    sam: Sam, images: int, batches: int, own_batches: int, batch: int
) -> list[dict[str, Any]]:
    """Time a pass of each way.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
    images : int
        In a pass.
    batches, own_batches : int
        Measured of the authors' way and of each of ours, after one that is not.
    batch : int
        Images in a batch of the authors' way.

    Returns
    -------
    list of dict
        what, image_s, images, pass_s, and how many times shorter the pass is.
    """
    rgb, truth = picture(512)
    started = time.perf_counter()
    emb = encode_image(sam, rgb)
    encoding = time.perf_counter() - started
    channels = [level.shape[1] for level in emb.levels]
    frame = int(sam.image_encoder.img_size)
    tokens, width = int(sam.mask_decoder.num_mask_tokens), int(emb.image.shape[1])

    def resnet() -> ResNetAPM:
        return ResNetAPM(channels, points=16, frame=frame).to(sam.device)

    def shift() -> PatternEmbedding:
        return PatternEmbedding(width, tokens).to(sam.device)

    per_image = _authors(sam, resnet(), shift(), rgb, truth, batches, batch)
    rows = [_row("authors", per_image, images)]
    with tempfile.TemporaryDirectory() as folder:
        pair = Pair(Path("image.png"), Path("mask.png"))
        config = TrainConfig(pairs=(pair, pair), apm_batch=16)
        views = _views(ViewCache(Path(folder), None), emb, truth)
        point = TrainConfig(pairs=(pair, pair), apm="resnet", apm_batch=batch)
        same = PointObjective(point, sam, resnet(), shift(), views)
        rows.append(_row("same modules", _ours(same, batches, batch), images))
        apm = HeatmapAPM(channels, blocks=config.apm_blocks).to(sam.device)
        where = _ours(HeatmapObjective(config, apm, views, sam.device), own_batches, 16)
        how = _ours(ShiftObjective(config, sam, apm, shift(), views), own_batches, 4)
    rows.append(_row("heatmap", where, images))
    rows.append(_row("IPS", how, min(images, config.ips_images)))
    together = rows[-1]["pass_s"] + rows[-2]["pass_s"]
    rows.append(_row("heatmap + IPS", together / images, images))
    for row in rows:
        row["times"] = rows[0]["pass_s"] / row["pass_s"]
    rows.append(_row("encoding, once", encoding, images))
    return rows


def _row(what: str, per_image: float, images: int) -> dict[str, Any]:
    return {
        "what": what,
        "image_s": per_image,
        "images": images,
        "pass_s": per_image * images,
    }


def _authors(
    sam: Sam,
    apm: ResNetAPM,
    ips: PatternEmbedding,
    rgb: np.ndarray,
    truth: np.ndarray,
    batches: int,
    batch: int,
) -> float:
    """Seconds an image with the encoder in the loop, gradient mode on as theirs."""
    parameters = [*apm.parameters(), *ips.parameters()]
    optimizer = torch.optim.Adam(parameters, lr=1e-5)
    grid = int(sam.prompt_encoder.mask_input_size[0])
    frame = int(sam.image_encoder.img_size)
    pixels = torch.nn.functional.interpolate(
        torch.from_numpy(rgb).permute(2, 0, 1)[None].float(), (frame, frame)
    )
    target = _cells(truth, grid).to(sam.device).expand(batch, -1, -1, -1)
    labels = torch.tensor([apm.labels], device=sam.device)
    kept: dict[int, torch.Tensor] = {}
    blocks = _blocks(sam)
    hooks = [
        block.register_forward_hook(lambda _m, _i, out, at=at: kept.update({at: out}))
        for at, block in enumerate(blocks)
    ]
    seconds = []
    for _ in range(batches + 1):
        started = time.perf_counter()
        images = sam.preprocess(pixels.to(sam.device)).expand(batch, -1, -1, -1)
        embedded = sam.image_encoder(images)
        levels = [kept[at].permute(0, 3, 1, 2) for at in sorted(kept)]
        points = apm(levels)
        delta = ips(embedded)
        drawn = [
            decode_frame(
                sam,
                embedded[at : at + 1],
                points=(points[at : at + 1], labels),
                multimask=True,
                delta=delta[at],
            )[0][:, :1]
            for at in range(batch)
        ]
        loss = mask_loss(
            torch.cat(drawn), target, torch.ones_like(target), double_sigmoid=True
        )
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        float(loss.detach())
        seconds.append(time.perf_counter() - started)
    for hook in hooks:
        hook.remove()
    return float(np.median(seconds[1:])) / batch


def _blocks(sam: Sam) -> list[torch.nn.Module]:
    """Blocks whose tokens the prompter reads."""
    blocks = transformer_blocks(sam.image_encoder)
    return [blocks[at] for at in level_blocks(sam.image_encoder)]


def _views(cache: ViewCache, emb: Embedding, truth: np.ndarray) -> Views:
    """Put `VIEWS` views of one embedding on disk."""
    views = Views(cache, "benchmark", ("image", "levels"))
    side = max(emb.input_size)
    grid = 4 * emb.image.shape[-1]
    share = (_cells(truth, grid)[0, 0] * 255).byte().numpy()
    full = _cells(truth, side)[0, 0].numpy() >= 0.5
    target = Target((side, side), share, full)
    for at in range(VIEWS):
        cache.put(str(at), "image", [emb.image[0]])
        cache.put(str(at), "levels", [level[0] for level in emb.levels])
        views.add(Pair(Path("image.png"), Path("mask.png")), str(at), target)
    return views


def _cells(truth: np.ndarray, side: int) -> torch.Tensor:
    mask = torch.from_numpy(truth.astype(np.float32))[None, None]
    return torch.nn.functional.interpolate(mask, (side, side), mode="area")


def _ours(objective: Objective, batches: int, batch: int) -> float:
    """Seconds an image of the trainer's own step."""
    rng = np.random.default_rng(0)
    optimizer = torch.optim.AdamW(objective.module.parameters(), lr=1e-5)
    device = next(objective.module.parameters()).device
    kind = half_type(device)
    seconds = []
    objective.module.train()
    for at in range(batches + 1):
        chosen = np.arange(at * batch, (at + 1) * batch) % VIEWS
        started = time.perf_counter()
        with torch.autocast(
            device.type,
            torch.bfloat16 if kind == torch.float32 else kind,
            enabled=kind != torch.float32 and device.type in objective.quick_on,
        ):
            loss = objective.loss(chosen, rng)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        float(loss.detach())
        seconds.append(time.perf_counter() - started)
    return float(np.mean(seconds[1:])) / batch


if __name__ == "__main__":
    main()
