"""What a training run is asked to do; checked before anything is loaded.

The module knows no torch, files or models.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Protocol


class ImagePair(Protocol):
    """An image file, its mask file, and the group that must not be divided."""

    @property
    def image(self) -> Path:
        """Image file."""

    @property
    def mask(self) -> Path:
        """Mask or label file."""

    @property
    def group(self) -> str | None:
        """Patient, sequence or the like; None for an image on its own."""


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run.

    Attributes
    ----------
    pairs : tuple of ImagePair
        Images with masks; anything above zero is foreground.
    name : str
        Of the adapter.
    output : pathlib.Path, optional
        Folder of the adapter; none is written where None.
    held_out : tuple of ImagePair
        For early stopping and scores. Empty: a share of `pairs`, whole groups.
    held_out_share : float
        That share, 0.05 to 0.5.
    model : str or pathlib.Path
        Base model, see `load_sam`.
    device : str
        ``auto``, ``cpu``, ``cuda``, ``mps``.
    apm : str
        ``heatmap`` or ``none``.
    points : int
        Slots: the first half positive, the rest negative. 1 to 64.
    ips : bool
        Whether to learn a shift of the mask tokens.
    views : int
        Views of each image: itself, and augmented ones. At least 1.
    apm_epochs, ips_epochs : int
        Passes over all views, and passes of `ips_images` views each.
    ips_images : int
        Views in one pass of the pattern shift.
    apm_batch, ips_batch : int
        Images in one step.
    apm_rate, ips_rate : float
        Largest learning rates.
    patience : int
        Passes without a better held-out score before a phase ends.
    start : pathlib.Path, optional
        Folder of an earlier adapter, of any base with the same shapes, to go on from:
        after a change of the base a few passes are enough.
    seed : int
        Same seed, data and machine: same adapter.
    cache : pathlib.Path, optional
        Where embeddings lie during training; the system's folder for temporary files
        where None. They are removed at the end.
    class_name, trained_on, licence, note, version : str
        Written into the adapter's record.

    Raises
    ------
    ValueError
        Naming the value and the remedy.
    """

    pairs: tuple[ImagePair, ...]
    name: str = "adapter"
    output: Path | None = None
    held_out: tuple[ImagePair, ...] = ()
    held_out_share: float = 0.15
    model: str | Path = "promise-tiny"
    device: str = "auto"
    apm: str = "heatmap"
    points: int = 16
    ips: bool = True
    views: int = 2
    apm_epochs: int = 12
    ips_epochs: int = 6
    ips_images: int = 300
    apm_batch: int = 16
    ips_batch: int = 4
    apm_rate: float = 1e-3
    ips_rate: float = 1e-3
    patience: int = 4
    start: Path | None = None
    seed: int = 0
    cache: Path | None = None
    class_name: str = "object"
    trained_on: str = ""
    licence: str = ""
    note: str = ""
    version: str = "1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", tuple(self.pairs))
        object.__setattr__(self, "held_out", tuple(self.held_out))
        if self.apm not in ("heatmap", "none"):
            raise ValueError(f"apm {self.apm!r} is unknown: use heatmap or none")
        if self.apm == "none" and not self.ips:
            raise ValueError("nothing to train: keep the heatmap APM or IPS, or both")
        if not 1 <= self.points <= 64:
            raise ValueError(f"points must be 1 to 64, got {self.points}")
        if not 0.05 <= self.held_out_share <= 0.5:
            raise ValueError(
                f"held_out_share must be 0.05 to 0.5, got {self.held_out_share}"
            )
        for field in (
            "views",
            "apm_epochs",
            "ips_epochs",
            "ips_images",
            "apm_batch",
            "ips_batch",
            "patience",
        ):
            if getattr(self, field) < 1:
                raise ValueError(
                    f"{field} must be at least 1, got {getattr(self, field)}"
                )
        for field in ("apm_rate", "ips_rate"):
            if not 0 < getattr(self, field) < 1:
                raise ValueError(
                    f"{field} must lie between 0 and 1, got {getattr(self, field)}"
                )
        least = 1 if self.held_out else 2
        if len(self.pairs) < least:
            raise ValueError(
                f"training needs at least {least} image pairs, got {len(self.pairs)}"
            )
        both = {p.image for p in self.pairs} & {p.image for p in self.held_out}
        if both:
            raise ValueError(f"{min(both)} is both trained on and held out")
