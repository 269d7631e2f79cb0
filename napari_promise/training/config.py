"""What a training run is asked to do; checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from napari_promise.data.pairs import ImagePair as ImagePair

#: Kinds of auto-prompting modules that can be trained, and none at all.
APMS = ("heatmap", "resnet", "cross", "instances", "instant", "none")


@dataclass(frozen=True)
class TrainConfig:
    """Everything that decides a training run.

    Attributes
    ----------
    pairs : tuple of ImagePair
        Images with masks; anything above zero is foreground. Of stacks the planes are
        samples, see `pairs.planes_of`.
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
        ``heatmap``, the paper's ``resnet`` or ``cross``, ``instances`` for many objects
        in an image (the masks are then instance labels), ``instant`` for the one in
        closed form, or ``none``.
    apm_blocks : int
        Blocks of ``heatmap`` that let a cell see what lies around it, further ones of
        ``instances``; 0 to 8.
    apm_width : int
        Channels of ``instances`` inside, 8 to 512: fewer learn more from few images,
        and less from many.
    points : int
        Slots: the first half positive, the rest negative. 1 to 64.
    ips : bool
        Whether to learn a shift of the mask tokens.
    zero_init : bool
        Start that shift as nothing. Off, at random, as the authors do.
    views : int
        Views of each image: itself, and augmented ones. At least 1.
    apm_epochs, ips_epochs : int
        Passes over all views, and passes of `ips_images` views each. Coordinates
        (``resnet``, ``cross``) are learnt slower than a map: give them more.
    ips_images : int
        Views in one pass of the pattern shift.
    apm_batch, ips_batch : int
        Images in one step.
    apm_rate : float, optional
        Largest learning rate; by default 1e-3 for ``heatmap`` and 1e-4 for the
        paper's modules.
    ips_rate : float
        Largest learning rate of the pattern shift.
    schedule : str
        ``cosine``, after a warm-up, or ``constant``, as the authors do.
    auxiliary : float
        Weight of `losses.point_loss` for the paper's modules; 0 leaves them to the
        decoder's gradient alone, as the authors do.
    double_sigmoid : bool
        Apply the sigmoid twice in the mask loss, as the authors' code does by mistake.
        For parity only: gradients nearly vanish for confident mistakes.
    mask_choice : str
        ``default``, or ``paper`` for mask token 1 even without IPS, see
        `AdapterInfo.mask_choice`.
    patience : int
        Passes without a better held-out score before a phase ends.
    start : pathlib.Path, optional
        Folder of an earlier adapter, of any base with the same shapes, to go on from:
        after a change of the base a few passes are enough.
    seed : int
        Same seed, data and machine: same adapter.
    resume : bool
        Go on from the state that a killed or interrupted run left in `output`; from
        the beginning where there is none.
    cache : pathlib.Path, optional
        Folder of encoded views; `view_cache.default_folder` where None.
    keep_cache : bool
        Keep them for the next run. Off, they lie in a folder of their own inside
        `cache`, else among the system's temporary files, until the run ends.
    cache_quota : int, optional
        Bytes that the folder may hold, this run's views included; None for no limit.
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
    apm_blocks: int = 0
    apm_width: int = 96
    points: int = 16
    ips: bool = True
    zero_init: bool = True
    views: int = 2
    apm_epochs: int = 12
    ips_epochs: int = 6
    ips_images: int = 300
    apm_batch: int = 16
    ips_batch: int = 4
    apm_rate: float | None = None
    ips_rate: float = 1e-3
    schedule: str = "cosine"
    auxiliary: float = 1.0
    double_sigmoid: bool = False
    mask_choice: str = "default"
    patience: int = 4
    start: Path | None = None
    seed: int = 0
    resume: bool = False
    cache: Path | None = None
    keep_cache: bool = True
    cache_quota: int | None = 20 * 10**9
    class_name: str = "object"
    trained_on: str = ""
    licence: str = ""
    note: str = ""
    version: str = "1"

    def __post_init__(self) -> None:
        object.__setattr__(self, "pairs", tuple(self.pairs))
        object.__setattr__(self, "held_out", tuple(self.held_out))
        for field, known in (
            ("apm", APMS),
            ("schedule", ("cosine", "constant")),
            ("mask_choice", ("default", "paper")),
        ):
            if getattr(self, field) not in known:
                raise ValueError(
                    f"{field} {getattr(self, field)!r} is unknown: use "
                    f"{', '.join(known)}"
                )
        if self.apm == "none" and not self.ips:
            raise ValueError("nothing to train: keep an APM or IPS, or both")
        if self.apm == "instances":
            if self.resume:
                raise ValueError(
                    "a run for many objects cannot be resumed: train again, what was "
                    "encoded is kept"
                )
            # a shift of the mask tokens is learnt for one kind of object in an image
            object.__setattr__(self, "ips", False)
            object.__setattr__(self, "points", 1)
        if self.apm == "instant":
            if self.resume:
                raise ValueError(
                    "there is nothing to resume: an instant adapter takes no passes, "
                    "make it again"
                )
            object.__setattr__(self, "ips", False)
        if self.resume and self.output is None:
            raise ValueError("resume needs output: the state lies in that folder")
        if self.auxiliary < 0:
            raise ValueError(f"auxiliary must be at least 0, got {self.auxiliary}")
        if self.cache_quota is not None and self.cache_quota < 0:
            raise ValueError(f"cache_quota must be at least 0, got {self.cache_quota}")
        if self.apm_rate is None:
            default = 1e-3 if self.apm in ("heatmap", "instances") else 1e-4
            object.__setattr__(self, "apm_rate", default)
        if not 0 <= self.apm_blocks <= 8:
            raise ValueError(f"apm_blocks must be 0 to 8, got {self.apm_blocks}")
        if not 8 <= self.apm_width <= 512:
            raise ValueError(f"apm_width must be 8 to 512, got {self.apm_width}")
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
        least = 1 if self.held_out or self.apm == "instant" else 2
        if len(self.pairs) < least:
            raise ValueError(
                f"training needs at least {least} image pairs, got {len(self.pairs)}"
            )
        both = {p.image for p in self.pairs} & {p.image for p in self.held_out}
        if both:
            raise ValueError(f"{min(both)} is both trained on and held out")
