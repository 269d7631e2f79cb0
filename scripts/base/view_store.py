"""Embeddings of training views, computed once by a frozen encoder and kept on disk.

    python -m scripts.base.view_store --folder CACHE/views --views 2000
    python -m scripts.base.view_store --folder CACHE/held-out --held-out --capacity 80

A store grows while a training run reads it: views are written in the order of their
numbers, and the count of those that are complete is written last. It is re-creatable
from the image sets at any time, so it is never part of the repository.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn

from napari_promise.files import write_whole
from napari_promise.model.encoders import fuse_norms
from napari_promise.model.sam import load_sam
from scripts.base import crops

SIDE, GRID, DIM = 256, 64, 256
COUNT = "count.json"


@dataclass(frozen=True, eq=False)
class ViewStore:
    """Memory-mapped views; see `crops.View` for what each holds.

    Attributes
    ----------
    embeddings : numpy.ndarray
        (N, 256, 64, 64) float16.
    images : numpy.ndarray
        (N, 256, 256, 3) uint8.
    layers : numpy.ndarray
        (N, 256, 256) uint16, a bit an object.
    facts : numpy.ndarray
        (N, 4) float32: rows and columns that hold picture, scale, parted objects.
    """

    folder: Path
    embeddings: np.ndarray
    images: np.ndarray
    layers: np.ndarray
    facts: np.ndarray

    def complete(self) -> int:
        """Return how many views are there by now."""
        try:
            return int(json.loads((self.folder / COUNT).read_text())["views"])
        except FileNotFoundError:
            return 0


def open_store(folder: Path, capacity: int = 0) -> ViewStore:
    """Open a store, or make an empty one of some capacity.

    Raises
    ------
    ValueError
        There is none and no capacity was given, or it is smaller than asked for.
    """
    shapes = {
        "embeddings": ((DIM, GRID, GRID), np.float16),
        "images": ((SIDE, SIDE, 3), np.uint8),
        "layers": ((SIDE, SIDE), np.uint16),
        "facts": ((4,), np.float32),
    }
    arrays = {}
    for name, (shape, dtype) in shapes.items():
        path = folder / f"{name}.npy"
        if not path.exists():
            if not capacity:
                raise ValueError(f"there are no views in {folder}: make them first")
            folder.mkdir(parents=True, exist_ok=True)
            np.lib.format.open_memmap(path, "w+", dtype, (capacity, *shape))
        arrays[name] = np.load(path, mmap_mode="r+" if capacity else "r")
        if len(arrays[name]) < capacity:
            raise ValueError(
                f"{folder} has room for {len(arrays[name])} views, {capacity} are "
                "asked for: use another folder"
            )
    return ViewStore(folder, **arrays)


def quick_encoder(model: str) -> tuple[nn.Module, nn.Module]:
    """Return a model and its encoder in bfloat16, about twice as fast on a CPU."""
    sam = load_sam(model)
    encoder = fuse_norms(sam.image_encoder).to(memory_format=torch.channels_last)
    return sam, encoder.bfloat16()


def main() -> None:
    """Parse arguments and add views until there are enough."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--views", type=int, default=1000, help="complete, at the end")
    parser.add_argument("--capacity", type=int, default=4000)
    parser.add_argument(
        "--held-out", action="store_true", help="the val parts, instead of `--views`"
    )
    parser.add_argument("--model", default="litemedsam")
    args = parser.parse_args()
    torch.set_num_threads(1)
    store = open_store(args.folder, args.capacity)
    sam, encoder = quick_encoder(args.model)
    started = time.monotonic()
    done = store.complete()
    if args.held_out:
        views = enumerate(itertools.islice(crops.held_out(SIDE), done, None), done)
    else:
        views = ((index, crops.draw(index, SIDE)) for index in range(done, args.views))
    for index, view in views:
        rows, columns = view.extent
        pixels = torch.from_numpy(view.image[:rows, :columns].copy())
        batch = sam.preprocess(pixels.permute(2, 0, 1)[None])
        with torch.inference_mode():
            batch = batch.bfloat16().contiguous(memory_format=torch.channels_last)
            embedding = encoder(batch)[0]
        store.embeddings[index] = embedding.float().numpy()
        store.images[index] = view.image
        store.layers[index] = view.layers
        store.facts[index] = (rows, columns, view.scale, view.parted)
        write_whole(args.folder / COUNT, json.dumps({"views": index + 1}).encode())
        if (index + 1) % 25 == 0:
            spent = time.monotonic() - started
            print(f"{index + 1} views, {spent:.0f} s, last {view.source}", flush=True)


if __name__ == "__main__":
    main()
