"""Pictures and objects for the training of `promise-tiny`, augmented on the fly.

One `Sample` is one augmented crop and the masks of a few objects in it. Sources are
generated scenes (`scripts.base.scene_store`) and the training parts of dsb2018, busi,
and hippocampus; kvasir-seg, cvc-clinicdb and ph2 are never read here, because they are
the domains on which adapters are shown. The module knows no model and no prompt.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image
from scipy import ndimage

from scripts.base.scene_store import SceneStore
from scripts.study import datasets

Rng = np.random.Generator

#: How often each source is drawn.
MIXTURE = {"scenes": 0.66, "dsb2018": 0.20, "busi": 0.11, "hippocampus": 0.03}


@dataclass(frozen=True)
class Sample:
    """What one training step sees of one picture.

    Attributes
    ----------
    image : numpy.ndarray
        (S, S, 3) uint8; the picture fills the upper left.
    extent : tuple of int
        (rows, columns) that hold picture; the rest is padding.
    truth : numpy.ndarray
        (N, S / 2, S / 2) float32 in 0..1, the share of each cell that is object.
    scale : float
        Input pixels per pixel of the picture as it was.
    """

    image: np.ndarray
    extent: tuple[int, int]
    truth: np.ndarray
    scale: float = 1.0


class Sources:
    """Draws samples from all sources.

    Parameters
    ----------
    store : SceneStore
    objects : int
        Masks per sample; repeated when the crop holds fewer.
    """

    def __init__(self, store: SceneStore, objects: int = 4) -> None:
        self.store = store
        self.objects = objects
        self.labelled: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {
            "dsb2018": _read_pictures("dsb2018"),
            "busi": _read_pictures("busi"),
        }
        self.volumes = _read_volumes()

    def draw(self, rng: Rng, size: int) -> Sample:
        """One random sample at input side `size` pixels."""
        names = list(MIXTURE)
        while True:
            name = str(rng.choice(names, p=[MIXTURE[n] for n in names]))
            image, layers, is_bits = self._pick(rng, name)
            sample = self._crop(rng, image, layers, is_bits, name, size)
            if sample is not None:
                return sample

    def _pick(self, rng: Rng, name: str) -> tuple[np.ndarray, np.ndarray, bool]:
        if name == "scenes":
            index = int(rng.integers(len(self.store.images)))
            return self.store.images[index], self.store.layers[index], True
        if name == "hippocampus":
            return (
                *_slice(rng, self.volumes[int(rng.integers(len(self.volumes)))]),
                True,
            )
        pictures = self.labelled[name]
        return (*pictures[int(rng.integers(len(pictures)))], False)

    def _crop(
        self,
        rng: Rng,
        image: np.ndarray,
        layers: np.ndarray,
        is_bits: bool,
        name: str,
        size: int,
    ) -> Sample | None:
        height, width = image.shape[:2]
        low = {"dsb2018": max(0.12, 110 / max(height, width)), "scenes": 0.4}
        zoom = np.exp(rng.uniform(np.log(low.get(name, 0.6)), 0))
        if rng.random() < 0.3:
            zoom = 1.0
        squash = np.exp(rng.normal(0, 0.15))
        rows = int(np.clip(height * zoom * squash, 24, height))
        columns = int(np.clip(width * zoom / squash, 24, width))
        r0 = int(rng.integers(0, height - rows + 1))
        c0 = int(rng.integers(0, width - columns + 1))
        window = (slice(r0, r0 + rows), slice(c0, c0 + columns))
        image, layers = np.asarray(image[window]), np.asarray(layers[window])
        scale = size / max(rows, columns)
        extent = (max(1, round(rows * scale)), max(1, round(columns * scale)))
        masks = self._choose(rng, layers, is_bits, scale)
        if not masks:
            return None
        half = (size // 2, size // 2)
        cells = (max(1, round(extent[0] / 2)), max(1, round(extent[1] / 2)))
        picture = _resize(image, extent)
        shares = [_resize(m.astype(np.uint8) * 255, cells) for m in masks]
        turn, flip = int(rng.integers(4)), rng.random() < 0.5
        picture = _turned(augment(rng, picture), turn, flip)
        truth = np.zeros((len(shares), *half), np.float32)
        for index, value in enumerate(shares):
            value = _turned(value, turn, flip)
            truth[index, : value.shape[0], : value.shape[1]] = value / 255.0
        if ((truth > 0.5).sum((1, 2)) < 4).any():
            return None
        padded = np.zeros((size, size, 3), np.uint8)
        padded[: picture.shape[0], : picture.shape[1]] = picture
        return Sample(padded, picture.shape[:2], truth, scale)

    def _choose(
        self, rng: Rng, layers: np.ndarray, is_bits: bool, scale: float
    ) -> list[np.ndarray]:
        """Masks of a few visible objects, at the resolution of `layers`."""
        least = 24 / scale**2  # pixels: 24 of the input are six cells of the mask
        thin = layers[::2, ::2]
        if is_bits:
            ids = [b for b in range(16) if 4 * ((thin >> b) & 1).sum() >= least]
        else:
            counts = np.bincount(thin.ravel())
            ids = [i for i in range(1, len(counts)) if 4 * counts[i] >= least]
        if not ids:
            return []
        chosen = list(rng.permutation(ids)[: self.objects])
        chosen += [chosen[0]] * (self.objects - len(chosen))
        if is_bits:
            return [((layers >> int(b)) & 1).astype(bool) for b in chosen]
        return [layers == i for i in chosen]


def augment(rng: Rng, picture: np.ndarray) -> np.ndarray:
    """Change colour, contrast and sharpness of a (H, W, 3) uint8 picture."""
    image = picture.astype(np.float32) / 255
    if rng.random() < 0.8:
        gains = np.exp(rng.normal(0, 0.12) + rng.normal(0, 0.06, 3)).astype(np.float32)
        offset = np.float32(rng.normal(0, 0.05))
        image = np.clip(image * gains + offset, 0, 1)
        image **= np.float32(np.exp(rng.normal(0, 0.2)))
    if rng.random() < 0.12:
        image = np.repeat(image.mean(-1, keepdims=True), 3, 2)
    if rng.random() < 0.06:
        image = image[..., rng.permutation(3)]
    if rng.random() < 0.05:
        image = 1 - image
    if rng.random() < 0.15:
        sigma = rng.uniform(0.4, 1.4)
        image = ndimage.gaussian_filter(image, (sigma, sigma, 0), truncate=2)
    if rng.random() < 0.2:
        grain = rng.standard_normal(image.shape[:2], dtype=np.float32)[..., None]
        image = image + grain * np.float32(rng.uniform(0.005, 0.05))
    return (np.clip(image, 0, 1) * 255).astype(np.uint8)


def _resize(array: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    picture = Image.fromarray(np.ascontiguousarray(array))
    resized = picture.resize((shape[1], shape[0]), Image.Resampling.BILINEAR)
    return np.asarray(resized)


def _turned(array: np.ndarray, quarter_turns: int, flip: bool) -> np.ndarray:
    array = np.rot90(array, quarter_turns)
    return array[:, ::-1] if flip else array


def _read_pictures(name: str) -> list[tuple[np.ndarray, np.ndarray]]:
    pictures = []
    for pair in datasets.load_parts(name)["train"]:
        image = datasets.read_image(pair.image)
        if image.ndim == 2:
            image = np.repeat(image[..., None], 3, 2)
        if name == "dsb2018":
            labels = datasets.read_labels(pair.target)
        else:
            labels = datasets.read_mask(pair.target).astype(np.int32)
        if labels.any():
            pictures.append((image, labels))
    return pictures


def _read_volumes() -> list[tuple[np.ndarray, np.ndarray]]:
    return [
        (datasets.read_volume(p.image), datasets.read_volume(p.target).astype(np.uint8))
        for p in datasets.load_parts("hippocampus")["train"]
    ]


def _slice(
    rng: Rng, volume: tuple[np.ndarray, np.ndarray]
) -> tuple[np.ndarray, np.ndarray]:
    """Cut a random plane through the structure: enlarged, the whole and two parts."""
    data, labels = volume
    axis = int(rng.integers(3))
    others: Sequence[int] = [a for a in range(3) if a != axis]
    present = np.flatnonzero(labels.any(axis=tuple(others)))
    index = int(rng.choice(present))
    plane = np.take(data, index, axis).astype(np.float32)
    marks = np.take(labels, index, axis)
    low, high = np.percentile(plane, [0.5, 99.5])
    grey = np.clip((plane - low) / max(high - low, 1e-6), 0, 1) * 255
    shape = (plane.shape[0] * 6, plane.shape[1] * 6)
    enlarged = Image.fromarray(grey.astype(np.uint8)).resize(
        (shape[1], shape[0]), Image.Resampling.BICUBIC
    )
    layers = np.zeros(shape, np.uint16)
    for bit, part in enumerate((marks > 0, marks == 1, marks == 2)):
        smooth = _resize((part * 255).astype(np.uint8), shape) > 127
        layers |= smooth.astype(np.uint16) << np.uint16(bit)
    return np.repeat(np.asarray(enlarged)[..., None], 3, 2), layers
