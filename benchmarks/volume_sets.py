"""The stacks that propagation is measured on, cropped, with their planes encoded once.

Weights are learned on the sets whose names begin with ``learn-``, and settings are
chosen on those with ``choose-``; no volume of the others has a part in either.
`PROMISE_DATA` names the folder of the images (default: ``../shared/data`` beside the
checkout).
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from napari_promise.data.ct_windows import SOFT_TISSUE
from napari_promise.data.images import read_image
from napari_promise.data.planes import digest, robust_limits, to_rgb8
from napari_promise.document import BBox
from napari_promise.model.sam import Embedding
from napari_promise.segmenter import Segmenter

#: Planes beyond the objects that are read too: somewhere to overrun into.
BEYOND = 6
ORGANS = {"liver": 5, "spleen": 1, "stomach": 6, "right kidney": 2, "left kidney": 3}


@dataclass(frozen=True)
class Choice:
    """One file of a set and its objects.

    Attributes
    ----------
    file : str
        ``folder/name`` below the data.
    objects : dict
        Name -> the labels that it is made of.
    limits : (float, float) or None
        What is shown black and white.
    axis : int
        Propagated along; 0 is the file's last axis, axial in most.
    """

    file: str
    objects: dict[str, tuple[int, ...]]
    limits: tuple[float, float] | None = None
    axis: int = 0


def _hippocampi(numbers: Iterable[int], axis: int = 0) -> list[Choice]:
    names = sorted(p.name for p in (data() / "hippocampus" / "images").iterdir())
    return [
        Choice(f"hippocampus/{names[i]}", {"hippocampus": (1, 2)}, None, axis)
        for i in numbers
    ]


def _whole(folder: str, names: str, limits: tuple[float, float] | None = None) -> list:
    return [
        Choice(f"{folder}/{name}.nii.gz", {folder: (1,)}, limits)
        for name in names.split()
    ]


def _to_learn_from() -> list[Choice]:
    """Return what else weights may be learned from: MIT and Apache terms."""
    heads = {"parotid": (3,), "larynx": (6,), "mandible": (7,)}
    necks = {"brainstem": (1,), "parotid": (4,), "esophagus": (5,)}
    structures = {f"structure {i}": (i,) for i in range(1, 9)}
    return [
        *_whole("prostate_mr_deepreg", "case000002 case000003"),
        Choice("openkbp_hn_ct/pt_139.nii.gz", heads, SOFT_TISSUE),
        Choice("openkbp_hn_ct/pt_130.nii.gz", necks, SOFT_TISSUE),
        Choice("subcortical_brain_mr/img2.nii.gz", structures),
    ]


def sets() -> dict[str, Callable[[], list[Choice]]]:
    """Return the sets by name, each a function that lists its files."""
    organs = {name: (label,) for name, label in ORGANS.items()}
    return {
        "hippocampus-axial": lambda: _hippocampi(range(5, 160, 20)),
        "hippocampus-coronal": lambda: _hippocampi(range(5, 200, 40), 1),
        "ct-organs": lambda: [
            Choice("totalseg_ct_mr/example_ct_sm.nii.gz", organs, SOFT_TISSUE)
        ],
        "mr-organs": lambda: [Choice("totalseg_ct_mr/example_mr_sm.nii.gz", organs)],
        "learn-hippocampus": lambda: _hippocampi(
            [i for i in range(200) if i % 20 == 2 or i % 40 == 20]
        ),
        "learn-others": _to_learn_from,
        "choose-hippocampus": lambda: _hippocampi(range(0, 160, 40)),
        "choose-ct": lambda: [
            *_whole("ct_spleen_volume", "sub-spleen2", SOFT_TISSUE),
            *_whole("totalseg_ct_mr", "pulmonary_artery_ct", (-160.0, 400.0)),
        ],
        "choose-mr": lambda: [
            *_whole("la_lge_mr", "06SR5RBREL16DQ6M8LWS 4CHFJGF6ZUM7CMZTNFQF"),
            *_whole("prostate_mr_deepreg", "case000000"),
            Choice(
                "lung_lobes_mr/0004.nii.gz",
                {"right lung": (1, 2, 3), "lobe": (5,)},
            ),
            Choice(
                "brats_brain_mr/brats_2013_pat0004_1_Flair.nii.gz",
                {"tumour": (1, 2, 3, 4)},
            ),
        ],
    }


def data() -> Path:
    """Return the folder of the image sets."""
    beside = Path(__file__).resolve().parents[2] / "shared" / "data"
    return Path(os.environ.get("PROMISE_DATA", beside))


@dataclass(eq=False)
class Stack:
    """A part of a volume with its objects, planes first.

    Attributes
    ----------
    name : str
    rgb8 : (planes, rows, columns) uint8
        As SAM sees it.
    spacing : (float, float, float)
    truth : dict
        Object -> (planes, rows, columns) bool.
    """

    name: str
    rgb8: NDArray[np.uint8]
    spacing: tuple[float, float, float]
    truth: dict[str, NDArray[np.bool_]]
    segmenter: Segmenter = field(repr=False)
    cache: Path = field(repr=False)
    _kept: dict[object, Embedding] = field(default_factory=dict, repr=False)

    def pixels(self, plane: int) -> NDArray[np.float32]:
        """Return a plane, 0 to 1."""
        return self.rgb8[plane].astype(np.float32) / 255

    def embed(self, plane: int, tile: BBox | None = None) -> Embedding:
        """Return the embedding of a plane or of a part, from the folder if it is there.

        Parameters
        ----------
        plane : int
        tile : (int, int, int, int), optional
            Row 0, column 0, row 1, column 1; half open.
        """
        key = (plane, tile)
        if key not in self._kept:
            rgb8 = to_rgb8(self.rgb8[plane])
            name = f"{self.segmenter.model_id}-{digest(rgb8)}"
            part = "" if tile is None else "-" + "-".join(map(str, tile))
            path = self.cache / f"{name}{part}.npz"
            if path.exists():
                with np.load(path) as arrays:
                    self._kept[key] = Embedding.from_arrays(dict(arrays))
            else:
                found = self.segmenter.encode(rgb8, region=tile)
                arrays = {
                    k: v for k, v in found.to_arrays().items() if "level" not in k
                }
                self.cache.mkdir(parents=True, exist_ok=True)
                half_done = path.with_suffix(f".{os.getpid()}.npz")
                np.savez(half_done, **arrays)
                half_done.replace(path)
                self._kept[key] = Embedding.from_arrays(arrays)
        return self._kept[key]


def stacks(name: str, segmenter: Segmenter, cache: Path) -> Iterator[Stack]:
    """Read the stacks of a set, one after another."""
    for choice in sets()[name]():
        folder, file = choice.file.split("/")
        image = read_image(data() / folder / "images" / file)
        labels = read_image(data() / folder / "labels" / file).array
        array = np.moveaxis(image.array, choice.axis, 0)
        labels = np.moveaxis(labels, choice.axis, 0)
        scale = list(image.place.scale or (1.0, 1.0, 1.0))
        spacing = (scale.pop(choice.axis), *scale)
        truth = {n: np.isin(labels, ids) for n, ids in choice.objects.items()}
        used = np.flatnonzero(np.any(list(truth.values()), axis=(0, 2, 3)))
        planes = slice(max(0, used[0] - BEYOND), used[-1] + 1 + BEYOND)
        limits = choice.limits or image.contrast_limits or robust_limits(array)
        rgb8 = np.stack([to_rgb8(p, limits)[..., 0] for p in array[planes]])
        truth = {n: mask[planes] for n, mask in truth.items() if mask.any()}
        stem = file.removesuffix(".nii.gz")
        yield Stack(stem, rgb8, spacing, truth, segmenter, cache)
