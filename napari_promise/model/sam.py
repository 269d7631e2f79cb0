"""Frozen SAM models: build, load, and turn an image into an embedding.

The models are segment_anything's own classes, unmodified, so that everything that is
added later (adapters, auto-prompting) leaves SAM what it was. The module knows no
prompts, adapters or windows.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from napari_promise.model import (
    _torchvision,  # noqa: F401  (before segment_anything)
    weights,
)
from napari_promise.model.weights import MODELS, Cancelled, ModelInfo

# isort: split
from segment_anything.modeling import (
    ImageEncoderViT,
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)
from segment_anything.utils.transforms import ResizeLongestSide

from napari_promise.model.encoders import (
    MobileEncoder,
    from_mobile_sam,
    level_blocks,
    transformer_blocks,
)

__all__ = [
    "ARCHITECTURES",
    "MODELS",
    "Cancelled",
    "Embedding",
    "ModelInfo",
    "build_sam",
    "encode_image",
    "freeze",
    "load_sam",
    "resolve_device",
]

PIXEL_MEAN = (123.675, 116.28, 103.53)
PIXEL_STD = (58.395, 57.12, 57.375)
#: The largest finite float16: tokens of the big encoders may lie beyond it.
_FLOAT16_MAX = 65504.0


# Architectures -------------------------------------------------------------------


def _around(image_encoder: nn.Module) -> Sam:
    """Compose stock SAM (1024 pixels, 256 channels) around an image encoder."""
    return Sam(
        image_encoder=image_encoder,
        prompt_encoder=PromptEncoder(
            embed_dim=256,
            image_embedding_size=(64, 64),
            input_image_size=(1024, 1024),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=256, mlp_dim=2048, num_heads=8
            ),
            transformer_dim=256,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
        pixel_mean=list(PIXEL_MEAN),
        pixel_std=list(PIXEL_STD),
    )


def _build_vit(dim: int, depth: int, heads: int, full: tuple[int, ...]) -> Sam:
    return _around(
        ImageEncoderViT(
            img_size=1024,
            embed_dim=dim,
            depth=depth,
            num_heads=heads,
            norm_layer=partial(nn.LayerNorm, eps=1e-6),
            use_rel_pos=True,
            window_size=14,
            global_attn_indexes=full,
        )
    )


def _build_promise_tiny() -> Sam:
    from napari_promise.model.tiny import build_promise_tiny

    return build_promise_tiny()


#: Architecture -> builder with random weights.
ARCHITECTURES: dict[str, Callable[[], Sam]] = {
    "promise-tiny": _build_promise_tiny,
    "vit_t": lambda: _around(MobileEncoder()),
    "vit_b": lambda: _build_vit(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": lambda: _build_vit(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": lambda: _build_vit(1280, 32, 16, (7, 15, 23, 31)),
}


def build_sam(arch: str) -> Sam:
    """Build a SAM with random weights, in evaluation mode.

    Parameters
    ----------
    arch : str
        A key of `ARCHITECTURES`.

    Raises
    ------
    ValueError
        The architecture is unknown.
    """
    if arch not in ARCHITECTURES:
        known = ", ".join(ARCHITECTURES)
        raise ValueError(f"unknown architecture {arch!r}: use one of {known}")
    return ARCHITECTURES[arch]().eval()


def freeze(sam: Sam) -> Sam:
    """Put a model into evaluation mode, no parameter requiring a gradient."""
    return sam.eval().requires_grad_(False)


# Devices -------------------------------------------------------------------------


def resolve_device(device: str | torch.device = "auto") -> torch.device:
    """Return the device to compute on.

    Parameters
    ----------
    device : str or torch.device
        ``"auto"`` (cuda, else mps, else cpu), ``"cpu"``, ``"mps"``, ``"cuda"`` or
        ``"cuda:N"``.

    Raises
    ------
    ValueError
        The device is unknown, or not there on this computer.
    """
    name = str(device)
    if name == "auto":
        if torch.cuda.is_available():
            name = "cuda"
        else:
            name = "mps" if torch.backends.mps.is_available() else "cpu"
    try:
        resolved = torch.device(name)
    except RuntimeError:
        resolved = torch.device("meta")
    if resolved.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"unknown device {name!r}: use auto, cuda, mps or cpu")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {name!r} is not there: torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} CUDA devices; use auto or cpu"
        )
    if resolved.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device 'mps' is not there: use auto or cpu")
    return resolved


# Loading -------------------------------------------------------------------------


def load_sam(
    model: str | Path,
    *,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Sam:
    """Load a frozen SAM by name or from a checkpoint file.

    Parameters
    ----------
    model : str or pathlib.Path
        A key of `MODELS` (downloaded when it is not on this computer), or the path of
        a checkpoint whose architecture is recognised from its tensors.
    device : str or torch.device
        See `resolve_device`.
    progress, cancel : callable, optional
        See `weights.fetch`.

    Returns
    -------
    segment_anything.modeling.Sam
        In evaluation mode, float32, without gradients, with two attributes more:
        ``model_id`` (the name) and ``sha256`` (of the file, hexadecimal).
    """
    target = resolve_device(device)
    name = str(model)
    if name in MODELS:
        path = weights.model_file(name) or weights.fetch(name, progress, cancel)
    else:
        path, name = Path(model).expanduser(), Path(model).stem
    state = weights.load_state_dict(path)
    arch = recognise(state, path)
    sam = build_sam(arch)
    if arch == "vit_t":
        state = _rename_encoder(state)
    sam.load_state_dict(
        {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    )
    freeze(sam).to(target)
    sam.model_id = name
    sam.sha256 = weights.sha256_of(path)
    return sam


def recognise(state: dict[str, torch.Tensor], path: Path) -> str:
    """Return the architecture that a checkpoint's tensors belong to."""
    if "image_encoder.vit.pos_embed" in state:
        return "promise-tiny"
    if "image_encoder.patch_embed.seq.0.c.weight" in state:
        return "vit_t"
    projection = state.get("image_encoder.patch_embed.proj.weight")
    dims = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
    if projection is not None and projection.shape[0] in dims:
        return dims[projection.shape[0]]
    raise ValueError(f"{path} is no SAM checkpoint")


def _rename_encoder(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    prefix = "image_encoder."
    encoder = {k[len(prefix) :]: v for k, v in state.items() if k.startswith(prefix)}
    rest = {k: v for k, v in state.items() if not k.startswith(prefix)}
    return rest | {prefix + k: v for k, v in from_mobile_sam(encoder).items()}


# Embeddings ----------------------------------------------------------------------


@dataclass(frozen=True, eq=False)
class Embedding:
    """What a model's image encoder says of one image.

    Attributes
    ----------
    image : torch.Tensor
        (1, C, h, w) float32 image embedding, after the neck.
    levels : tuple of torch.Tensor
        (1, C_l, h_l, w_l) float32 tokens before the neck, shallow to deep.
    input_size : tuple of int
        (height, width) of the scaled image inside SAM's padded square frame.
    original_size : tuple of int
        (height, width) of the image.
    model_id : str
        Name of the model that made it.

    Notes
    -----
    All values are float16 numbers, so that an embedding from a float16 cache equals
    a fresh one bit for bit.
    """

    image: torch.Tensor
    levels: tuple[torch.Tensor, ...]
    input_size: tuple[int, int]
    original_size: tuple[int, int]
    model_id: str

    def to(
        self, device: str | torch.device, dtype: torch.dtype | None = None
    ) -> Embedding:
        """Return the embedding on a device, and of a type where one is given."""
        return replace(
            self,
            image=self.image.to(device, dtype),
            levels=tuple(level.to(device, dtype) for level in self.levels),
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the embedding as numpy arrays, float16, for a cache without torch."""
        arrays = {f"level_{i}": _to_numpy(level) for i, level in enumerate(self.levels)}
        return arrays | {
            "image": _to_numpy(self.image),
            "input_size": np.array(self.input_size, dtype=np.int64),
            "original_size": np.array(self.original_size, dtype=np.int64),
            "model_id": np.array(self.model_id),
        }

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, np.ndarray], device: str | torch.device = "cpu"
    ) -> Embedding:
        """Return the embedding that `to_arrays` wrote, as float32 on a device."""
        count = sum(name.startswith("level_") for name in arrays)

        def read(name: str) -> torch.Tensor:
            return torch.from_numpy(np.array(arrays[name], np.float32)).to(device)

        def pair(name: str) -> tuple[int, int]:
            first, second = (int(value) for value in arrays[name])
            return first, second

        return cls(
            image=read("image"),
            levels=tuple(read(f"level_{i}") for i in range(count)),
            input_size=pair("input_size"),
            original_size=pair("original_size"),
            model_id=str(arrays["model_id"]),
        )


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float16).numpy()


def _round(tensor: torch.Tensor) -> torch.Tensor:
    return tensor.clamp(-_FLOAT16_MAX, _FLOAT16_MAX).half().float()


@torch.no_grad()
def encode_image(
    sam: Sam,
    rgb: np.ndarray,
    *,
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
) -> Embedding:
    """Encode an image as `SamPredictor.set_image` does, and keep the levels.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
        A model of `load_sam` or `build_sam`.
    rgb : numpy.ndarray
        (H, W, 3) uint8.
    progress : callable, optional
        Called with (blocks done, blocks in all) after each block of the encoder.
    cancel : callable, optional
        Asked before each block; where it answers True, `Cancelled` is raised.

    Returns
    -------
    Embedding
        On the device of the model, rounded to float16.

    Raises
    ------
    ValueError
        The image is not (H, W, 3) uint8, or too thin for the model's frame.
    Cancelled
        `cancel` answered True.
    """
    if rgb.ndim != 3 or rgb.shape[2] != 3 or rgb.dtype != np.uint8 or not rgb.size:
        raise ValueError(
            f"an image for SAM is (height, width, 3) uint8, not {rgb.shape} {rgb.dtype}"
        )
    height, width = rgb.shape[:2]
    encoder = sam.image_encoder
    transform = ResizeLongestSide(encoder.img_size)
    if 0 in transform.get_preprocess_shape(height, width, encoder.img_size):
        raise ValueError(
            f"an image of {height} x {width} pixels is too thin for SAM: crop it"
        )
    scaled = torch.as_tensor(transform.apply_image(rgb), device=sam.device)
    scaled = scaled.permute(2, 0, 1).contiguous()[None]  # (1, 3, h, w)
    blocks = transformer_blocks(encoder)
    tapped = level_blocks(encoder)
    levels: dict[int, torch.Tensor] = {}

    def before(_module: nn.Module, _inputs: Any) -> None:
        if cancel is not None and cancel():
            raise Cancelled("encoding cancelled")

    def after(index: int, _module: nn.Module, _inputs: Any, out: torch.Tensor) -> None:
        if index in tapped:
            levels[index] = out.permute(0, 3, 1, 2)
        if progress is not None:
            progress(index + 1, len(blocks))

    hooks = []
    try:
        for index, block in enumerate(blocks):
            hooks.append(block.register_forward_pre_hook(before))
            hooks.append(block.register_forward_hook(partial(after, index)))
        image = encoder(sam.preprocess(scaled))
    finally:
        for hook in hooks:
            hook.remove()
    return Embedding(
        image=_round(image),
        levels=tuple(_round(levels[index]).contiguous() for index in tapped),
        input_size=(scaled.shape[2], scaled.shape[3]),
        original_size=(height, width),
        model_id=getattr(sam, "model_id", type(encoder).__name__),
    )
