"""The real image sets used for training and measuring, and their fixed parts.

This module knows folders, file names and how to read a pair; it knows nothing of
models, prompts or augmentation. The sets themselves travel outside the repository:
``PROMISE_DATA`` names their folder (default: ``../shared/data`` beside the checkout).

Parts are a pure function of the file names, so every script and every test sees the
same ``train``, ``val`` and ``test``. Checkpoints and settings are chosen on ``val``;
``test`` is only ever measured.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from skimage.io import imread

#: Sets with one foreground mask a picture (``masks/``).
MASK_SETS = ("kvasir-seg", "cvc-clinicdb", "ph2", "busi")
#: Sets with instance ids or classes (``labels/``).
LABEL_SETS = ("dsb2018", "hippocampus")
#: The five sets of pictures on which the bundled model is measured.
MEASURED_SETS = ("kvasir-seg", "cvc-clinicdb", "ph2", "busi", "dsb2018")

VAL_SHARE = 0.10
TEST_SHARE = 0.20

#: First frame of every sequence of CVC-ClinicDB; neighbouring frames of one sequence
#: are near-duplicates, so a sequence is never divided between parts.
CLINICDB_SEQUENCE_STARTS = (
    (1, 26, 51, 68, 79, 104, 127, 152, 178, 200, 206, 228, 253, 278, 298)
    + (318, 343, 364, 385, 409, 430, 448, 467, 479, 504, 529, 547, 572, 592)
)  # fmt: skip


@dataclass(frozen=True)
class Pair:
    """One picture (or volume), its truth, and the group that must stay together."""

    image: Path
    target: Path
    group: str


def data_root() -> Path:
    """Folder of the image sets; it need not exist.

    Returns
    -------
    Path
        ``$PROMISE_DATA``, else ``../shared/data`` beside the checkout.
    """
    named = os.environ.get("PROMISE_DATA")
    if named:
        return Path(named)
    return Path(__file__).resolve().parents[3] / "shared" / "data"


def has(name: str) -> bool:
    """Tell whether the set `name` is present."""
    return (data_root() / name / "images").is_dir()


def load_parts(name: str) -> dict[str, list[Pair]]:
    """Pairs of the set `name`, divided into ``train``, ``val`` and ``test``.

    Parameters
    ----------
    name : str
        One of `MASK_SETS` or `LABEL_SETS`.

    Returns
    -------
    dict of str to list of Pair
        About 70 %, 10 % and 20 % of the pairs. Groups (sequences of CVC-ClinicDB,
        else single files) are ordered by a hash of their name and cut there.

    Raises
    ------
    ValueError
        If the set is unknown, missing, or an image has no mask.
    """
    if name not in MASK_SETS + LABEL_SETS:
        known = ", ".join(MASK_SETS + LABEL_SETS)
        raise ValueError(f"unknown image set {name!r}; choose one of {known}")
    folder = data_root() / name
    if not has(name):
        raise ValueError(f"image set {name!r} not found at {folder}; set PROMISE_DATA")
    targets = folder / ("masks" if name in MASK_SETS else "labels")
    by_stem = {_stem(path): path for path in sorted(targets.iterdir())}
    pairs = []
    for image in sorted((folder / "images").iterdir()):
        stem = _stem(image)
        if stem not in by_stem:
            raise ValueError(f"{image} has no counterpart in {targets}; add or remove")
        pairs.append(Pair(image, by_stem[stem], group_of(name, stem)))
    return split(pairs, name)


def split(
    pairs: Sequence[Pair],
    salt: str,
    *,
    test_share: float = TEST_SHARE,
    val_share: float = VAL_SHARE,
) -> dict[str, list[Pair]]:
    """Divide `pairs` by group into test, val and train, whatever their order.

    Parameters
    ----------
    pairs : sequence of Pair
    salt : str
        Mixed into the hash, so that sets with equal stems divide independently.
    test_share, val_share : float
        Of the pairs, at least.

    Returns
    -------
    dict of str to list of Pair
        No group appears in two parts; pairs stay sorted by image path.
    """
    groups: dict[str, list[Pair]] = {}
    for pair in sorted(pairs, key=lambda p: str(p.image)):
        groups.setdefault(pair.group, []).append(pair)
    order = sorted(
        groups, key=lambda g: hashlib.sha256(f"{salt}/{g}".encode()).digest()
    )
    parts: dict[str, list[Pair]] = {"train": [], "val": [], "test": []}
    quota = {"test": test_share * len(pairs), "val": val_share * len(pairs)}
    for group in order:
        part = next((p for p in quota if len(parts[p]) < quota[p]), "train")
        parts[part] += groups[group]
    return {p: sorted(found, key=lambda q: str(q.image)) for p, found in parts.items()}


def group_of(name: str, stem: str) -> str:
    """Name the group a file belongs to.

    Parameters
    ----------
    name : str
        The image set.
    stem : str
        File name without suffix; for CVC-ClinicDB the frame number.

    Returns
    -------
    str
        ``sequence-NN`` for CVC-ClinicDB, else the stem itself.
    """
    if name != "cvc-clinicdb":
        return stem
    number = sum(int(stem) >= start for start in CLINICDB_SEQUENCE_STARTS)
    return f"sequence-{number:02d}"


def read_image(path: Path) -> np.ndarray:
    """Read one picture.

    Returns
    -------
    numpy.ndarray
        (H, W) or (H, W, 3), uint8; an alpha channel is dropped.
    """
    image = np.asarray(imread(path))
    return image[..., :3] if image.ndim == 3 else image


def read_mask(path: Path) -> np.ndarray:
    """Read a 0/255 mask as (H, W) bool."""
    mask = np.asarray(imread(path))
    if mask.ndim == 3:
        mask = mask[..., 0]
    return mask > 127


def read_labels(path: Path) -> np.ndarray:
    """Read instance ids as (H, W) int32, zero for background."""
    labels = np.asarray(imread(path))
    return labels.astype(np.int32)


def read_volume(path: Path) -> np.ndarray:
    """Read a NIfTI volume as (X, Y, Z) in the file's own axis order and dtype."""
    import nibabel

    return np.asanyarray(nibabel.load(path).dataobj)


def objects(name: str, pair: Pair) -> list[np.ndarray]:
    """Masks of the single objects of one pair.

    Parameters
    ----------
    name : str
        A set of pictures (not volumes).
    pair : Pair

    Returns
    -------
    list of numpy.ndarray
        (H, W) bool each, none empty: one mask per instance for ``dsb2018``, else the
        whole foreground; an empty list for a picture without foreground.
    """
    if name in LABEL_SETS:
        labels = read_labels(pair.target)
        return [labels == i for i in np.unique(labels) if i != 0]
    mask = read_mask(pair.target)
    return [mask] if mask.any() else []


def _stem(path: Path) -> str:
    return path.name.split(".")[0]
