"""Generate scenes once and keep them in two memory-mapped arrays.

Masks are kept as the bits of one uint16 picture, so that a scene with up to sixteen
overlapping masks costs two bytes a pixel.
"""

from __future__ import annotations

import os
from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from scripts.base import scenes

IMAGES = "images.npy"
LAYERS = "layers.npy"
CHUNK = 100


@dataclass(frozen=True)
class SceneStore:
    """Scenes on disk.

    Attributes
    ----------
    images : numpy.ndarray
        (N, S, S, 3) uint8, memory-mapped.
    layers : numpy.ndarray
        (N, S, S) uint16, memory-mapped; bit k is mask k.
    """

    images: np.ndarray
    layers: np.ndarray


def open_store(folder: Path, count: int, workers: int = 2) -> SceneStore:
    """Open the first `count` scenes, generating them when they are not there.

    Parameters
    ----------
    folder : Path
        Created when missing; about 1.3 MB a scene.
    count : int
        Seeds 0 to ``count - 1``.
    workers : int
        Processes that generate.

    Returns
    -------
    SceneStore
    """
    if not (folder / LAYERS).exists():
        folder.mkdir(parents=True, exist_ok=True)
        side = scenes.SIZE
        for name, shape, dtype in (
            (IMAGES, (count, side, side, 3), np.uint8),
            (LAYERS, (count, side, side), np.uint16),
        ):
            np.lib.format.open_memmap(folder / f"{name}.part", "w+", dtype, shape)
        starts = range(0, count, CHUNK)
        with ProcessPoolExecutor(workers) as pool:
            for start in pool.map(partial(_write_chunk, folder, count), starts):
                print(f"scenes {start}/{count}", flush=True)
        for name in (IMAGES, LAYERS):
            os.replace(folder / f"{name}.part", folder / name)
    images = np.load(folder / IMAGES, mmap_mode="r")
    layers = np.load(folder / LAYERS, mmap_mode="r")
    if len(images) < count:
        raise ValueError(
            f"{folder} holds {len(images)} scenes, {count} asked; delete it"
        )
    return SceneStore(images[:count], layers[:count])


def pack(masks: np.ndarray) -> np.ndarray:
    """(N, H, W) bool, N at most 16, as (H, W) uint16 of bits."""
    layers = np.zeros(masks.shape[1:], np.uint16)
    for bit, mask in enumerate(masks):
        layers |= mask.astype(np.uint16) << np.uint16(bit)
    return layers


def _write_chunk(folder: Path, count: int, start: int) -> int:
    images = np.load(folder / f"{IMAGES}.part", mmap_mode="r+")
    layers = np.load(folder / f"{LAYERS}.part", mmap_mode="r+")
    for seed in range(start, min(start + CHUNK, count)):
        scene = scenes.generate(seed)
        images[seed] = scene.image
        layers[seed] = pack(scene.masks)
    return start
