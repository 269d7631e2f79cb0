"""Checkpoint files: which there are, where they lie, how they are fetched and read.

The module knows files and hashes; it knows no architecture and builds no model.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import platformdirs

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class ModelInfo:
    """A model that is known by name.

    Attributes
    ----------
    name, title : str
        What the user types, and what the user reads.
    arch : str
        Architecture, a key of `sam.ARCHITECTURES`.
    file, url : str
        Name of the checkpoint, and where it is downloaded from.
    hash : str
        ``"sha256:…"`` or ``"md5:…"`` of the file, empty for a bundled one.
    size : int
        Bytes of the file; about, where its publisher says no more.
    licence, source : str
        Terms of the weights, and where they come from.
    bundled : bool
        Whether the file travels inside this package.
    """

    name: str
    title: str
    arch: str
    file: str
    url: str
    hash: str
    size: int
    licence: str
    source: str
    bundled: bool = False


_META = "https://dl.fbaipublicfiles.com/segment_anything/"
_MOBILE = (
    "https://raw.githubusercontent.com/ChaoningZhang/MobileSAM/"
    "f706ad9c4eb7f219c00d9050e46328518ffb65d2/weights/"
)
_ZENODO = "https://zenodo.org/records/10689643/files/"

MODELS: dict[str, ModelInfo] = {
    info.name: info
    for info in (
        ModelInfo(
            name="promise-tiny",
            title="promise-tiny (bundled)",
            arch="promise-tiny",
            file="promise-tiny.safetensors",
            url="",
            hash="",
            size=20_000_000,
            licence="BSD-3-Clause",
            source="this project",
            bundled=True,
        ),
        ModelInfo(
            name="vit_t",
            title="MobileSAM (TinyViT)",
            arch="vit_t",
            file="mobile_sam.pt",
            url=_MOBILE + "mobile_sam.pt",
            hash="sha256:"
            "6dbb90523a35330fedd7f1d3dfc66f995213d81b29a5ca8108dbcdd4e37d6c2f",
            size=40_728_226,
            licence="Apache-2.0",
            source="github.com/ChaoningZhang/MobileSAM",
        ),
        ModelInfo(
            name="vit_b",
            title="SAM ViT-B",
            arch="vit_b",
            file="sam_vit_b_01ec64.pth",
            url=_META + "sam_vit_b_01ec64.pth",
            hash="sha256:"
            "ec2df62732614e57411cdcf32a23ffdf28910380d03139ee0f4fcbe91eb8c912",
            size=375_042_383,
            licence="Apache-2.0",
            source="github.com/facebookresearch/segment-anything",
        ),
        ModelInfo(
            name="vit_l",
            title="SAM ViT-L",
            arch="vit_l",
            file="sam_vit_l_0b3195.pth",
            url=_META + "sam_vit_l_0b3195.pth",
            hash="sha256:"
            "3adcc4315b642a4d2101128f611684e8734c41232a17c648ed1693702a49a622",
            size=1_250_000_000,
            licence="Apache-2.0",
            source="github.com/facebookresearch/segment-anything",
        ),
        ModelInfo(
            name="vit_h",
            title="SAM ViT-H",
            arch="vit_h",
            file="sam_vit_h_4b8939.pth",
            url=_META + "sam_vit_h_4b8939.pth",
            hash="sha256:"
            "a7bf3b02f3ebf1267aba913ff637d9a2d5c33d3173bb679e46d9f338c26f262e",
            size=2_564_550_879,
            licence="Apache-2.0",
            source="github.com/facebookresearch/segment-anything",
        ),
        ModelInfo(
            name="medsam_vit_b",
            title="MedSAM (ViT-B)",
            arch="vit_b",
            file="medsam_vit_b.pth",
            url=_ZENODO + "medsam_vit_b.pth",
            hash="md5:3bb6db55bd0c9ca30b61248bca72f8d6",
            size=375_000_000,
            licence="Apache-2.0",
            source="github.com/bowang-lab/MedSAM",
        ),
    )
}

BUNDLED = Path(__file__).parent / "bundled"


class Cancelled(Exception):
    """The user cancelled; nothing was kept."""


def cache_dir() -> Path:
    """Return the folder for downloaded checkpoints (it need not exist yet).

    The environment variable ``NAPARI_PROMISE_CACHE`` overrides the user's cache.
    """
    override = os.environ.get("NAPARI_PROMISE_CACHE")
    base = override or platformdirs.user_cache_dir("napari-promise", appauthor=False)
    return Path(base).expanduser() / "models"


def model_file(name: str) -> Path | None:
    """Return the checkpoint of a model if it is on this computer, else None."""
    info = MODELS[name]
    path = (BUNDLED if info.bundled else cache_dir()) / info.file
    return path if path.is_file() else None


def fetch(
    name: str,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Path:
    """Return the checkpoint of a model, downloaded and checked where needed."""
    raise ValueError(f"model {name!r} is not on this computer")


def sha256_of(path: Path) -> str:
    """Return the sha256 of a file, hexadecimal."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def load_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Read the tensors of a checkpoint, never running code from the file."""
    import torch

    if path.suffix == ".safetensors":
        from safetensors.torch import load_file

        return load_file(path)
    return torch.load(path, map_location="cpu", weights_only=True)
