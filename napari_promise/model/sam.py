"""Frozen SAM models: build, load, and turn an image into an embedding.

The models are segment_anything's own classes, unmodified, so that everything that is
added later (adapters, auto-prompting) leaves SAM what it was. Building and encoding are
in one file because both have to fall back to the CPU where memory runs out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

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

from napari_promise.model.elsewhere import EncoderElsewhere
from napari_promise.model.encoders import (
    MobileEncoder,
    from_mobile_sam,
    fuse_norms,
    level_blocks,
    transformer_blocks,
)

T = TypeVar("T")

__all__ = [
    "ARCHITECTURES",
    "MODELS",
    "Cancelled",
    "Embedding",
    "ModelInfo",
    "build_sam",
    "encode_image",
    "freeze",
    "is_out_of_memory",
    "load_sam",
    "oom_fallback",
    "recognise",
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


def _build_litemedsam() -> Sam:
    from napari_promise.model.litemedsam import build_litemedsam

    return build_litemedsam()


def _build_promise_medical() -> Sam:
    from napari_promise.model.litemedsam import build_promise_medical

    return build_promise_medical()


#: Architecture -> builder with random weights.
ARCHITECTURES: dict[str, Callable[[], Sam]] = {
    "promise-tiny": _build_promise_tiny,
    "vit_t": lambda: _around(MobileEncoder()),
    "vit_b": lambda: _build_vit(768, 12, 12, (2, 5, 8, 11)),
    "vit_l": lambda: _build_vit(1024, 24, 16, (5, 11, 17, 23)),
    "vit_h": lambda: _build_vit(1280, 32, 16, (7, 15, 23, 31)),
    "litemedsam": _build_litemedsam,
    "promise-medical": _build_promise_medical,
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


def build_without_encoder(arch: str) -> Sam:
    """Build a SAM whose image encoder takes no memory, and cannot be used.

    Raises
    ------
    ValueError
        See `build_sam`.
    """
    if arch not in _WIDTHS.values():
        return build_sam(arch)
    with torch.device("meta"):  # random weights of the big encoders take seconds
        sam = build_sam(arch)
    return _with_pixel_values(sam)


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
        resolved = None
    if resolved is None or resolved.type not in ("cpu", "cuda", "mps"):
        raise ValueError(f"unknown device {name!r}: use auto, cuda, mps or cpu")
    if resolved.type == "cuda" and (resolved.index or 0) >= torch.cuda.device_count():
        raise ValueError(
            f"device {name!r} is not there, torch {torch.__version__} finds "
            f"{torch.cuda.device_count()} CUDA devices: use auto or cpu"
        )
    if resolved.type == "mps" and not torch.backends.mps.is_available():
        raise ValueError("device 'mps' is not there: use auto or cpu")
    return resolved


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that the accelerator's memory is full."""
    if isinstance(error, torch.cuda.OutOfMemoryError):
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and (
        "mps backend out of memory" in text or "status_alloc_failed" in text
    )


def oom_fallback(
    work: Callable[[], T],
    modules: Sequence[nn.Module],
    notify: Callable[[str], None] | None = None,
) -> T:
    """Do work on the accelerator; where its memory is full, once more on the CPU.

    Parameters
    ----------
    work : callable
        Has to ask the modules for their device each time it runs.
    modules : sequence of torch.nn.Module
        Moved to the CPU, and left there, before the work is done again.
    notify : callable, optional
        Told in one sentence when that happens.

    Raises
    ------
    Exception
        Whatever the work raises besides an accelerator's full memory.
    """
    try:
        return work()
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
    # Outside of the except clause: its traceback would keep the tensors alive.
    _retreat(modules, notify)
    return work()


def _retreat(
    modules: Sequence[nn.Module], notify: Callable[[str], None] | None
) -> None:
    for module in modules:
        module.to("cpu")
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
    if notify is not None:
        notify("The GPU's memory is full: continuing on the CPU, which is slower.")


# Loading -------------------------------------------------------------------------


def load_sam(
    model: str | Path,
    *,
    device: str | torch.device = "cpu",
    progress: Callable[[int, int], None] | None = None,
    cancel: Callable[[], bool] | None = None,
    notify: Callable[[str], None] | None = None,
) -> Sam:
    """Load a frozen SAM by name or from a checkpoint file.

    Parameters
    ----------
    model : str or pathlib.Path
        A key of `MODELS` (downloaded when it is not on this computer), or the path of
        a checkpoint whose architecture is recognised from its tensors.
    device : str or torch.device
        See `resolve_device`. Where the model does not fit into an accelerator's
        memory it stays on the CPU.
    progress, cancel : callable, optional
        See `weights.fetch`.
    notify : callable, optional
        See `oom_fallback`.

    Returns
    -------
    segment_anything.modeling.Sam
        In evaluation mode, float32, without gradients, with four attributes more:
        ``model_id`` (a key of `MODELS`, else the file's name without its suffix),
        ``sha256`` (of the file, hexadecimal), ``arch`` (a key of `ARCHITECTURES`) and
        ``prompt_kinds`` (what it was trained for, see `ModelInfo.prompts`).

    Raises
    ------
    ValueError
        The model is unknown, or the file is no checkpoint of these architectures.
    napari_promise.model.weights.FetchError
        The checkpoint could not be downloaded.
    napari_promise.model.weights.Cancelled
        `cancel` answered True.
    """
    target = resolve_device(device)
    if str(model) in MODELS:
        name = str(model)
        path = weights.model_file(name) or weights.fetch(name, progress, cancel)
    else:
        path = Path(model).expanduser()
        if not path.is_file():
            raise ValueError(
                f"no model {str(model)!r}: give one of {', '.join(MODELS)}, or the "
                "path of a checkpoint file"
            )
        name = weights.name_of(path)
    state = weights.load_state_dict(path)
    sam = freeze(_from_state(state, path))
    arch = recognise(state)
    sam.arch = arch
    sam.prompt_kinds = next(i.prompts for i in MODELS.values() if i.arch == arch)
    try:
        sam.to(target)
    except RuntimeError as error:
        if not is_out_of_memory(error):
            raise
        _retreat([sam], notify)
    sam.model_id = name
    sam.sha256 = weights.sha256_of(path)
    return sam


def recognise(state: Mapping[str, torch.Tensor]) -> str:
    """Return the architecture that a checkpoint's tensors belong to.

    Parameters
    ----------
    state : mapping of str to torch.Tensor
        What `weights.load_state_dict` read; only names and shapes are looked at.

    Raises
    ------
    ValueError
        It is none of `ARCHITECTURES`; the message says what it seems to be.
    """
    if "image_encoder.vit.pos_embed" in state:
        return "promise-tiny"
    if any(key.startswith(("image_encoder.layers.", _MOBILE)) for key in state):
        first = [state[key] for key in _FIRST_OF_TINYVIT if key in state]
        if not first or first[0].shape[-1] != 1:
            return "vit_t"
        return "promise-medical" if _DRAWN in state else "litemedsam"
    if _DRAWN in state and not any(key.startswith("image_encoder.") for key in state):
        return "promise-medical"
    projection = state.get("image_encoder.patch_embed.proj.weight")
    if projection is not None and projection.shape[0] in _WIDTHS:
        return _WIDTHS[projection.shape[0]]
    if projection is not None:
        what = f"a SAM whose image encoder is {projection.shape[0]} wide"
    elif any(key.startswith(("sam_mask_decoder.", "memory_")) for key in state):
        what = "SAM 2, which this plugin does not run"
    elif any(key.startswith("vision_encoder.") for key in state):
        what = "SAM as the transformers library saves it, with other names"
    elif any(key.startswith("mask_decoder.") for key in state):
        what = "the mask decoder of a SAM without a known image encoder"
    else:
        what = f"{len(state)} tensors that are no SAM"
        what += f", such as {next(iter(state))!r}" if state else ""
    raise ValueError(f"it holds {what}: use a checkpoint of {', '.join(ARCHITECTURES)}")


#: Width of the tokens -> which of segment_anything's encoders.
_WIDTHS = {768: "vit_b", 1024: "vit_l", 1280: "vit_h"}
#: How a `MobileEncoder` of this package, saved as it is, begins its names.
_MOBILE = "image_encoder.stages."
#: The first convolution of a TinyViT, as MobileSAM and as timm call it: of 1 x 1 pixels
#: in LiteMedSAM, of 3 x 3 in MobileSAM.
_FIRST_OF_TINYVIT = (
    "image_encoder.patch_embed.seq.0.c.weight",
    "image_encoder.patch_embed.conv1.conv.weight",
)
#: A tensor that only prompt encoders have which draw their prompts.
_DRAWN = "prompt_encoder.draw.0.weight"
#: Architecture of a decoder without an encoder -> the model whose encoder it needs.
_ENCODERS = {"promise-medical": "litemedsam"}


def _from_state(state: dict[str, torch.Tensor], path: Path) -> Sam:
    """Build the model that the tensors of a file belong to, and fill it."""
    try:
        arch = recognise(state)
    except ValueError as error:
        raise ValueError(f"{path} cannot be used, {error}") from None
    if arch in _ENCODERS and not any(k.startswith("image_encoder.") for k in state):
        state = _encoder_of(_ENCODERS[arch]) | state
    if arch in ("vit_t", "litemedsam", "promise-medical"):
        state = _renamed_encoder(state)
    state = {k: v.float() if v.is_floating_point() else v for k, v in state.items()}
    sam = build_without_encoder(arch)
    _check_tensors(state, sam.state_dict(), f"{path} looks like {arch}, but")
    sam.load_state_dict(state, assign=True)
    if arch in ("litemedsam", "promise-medical"):
        # A quarter less time on a CPU; the numbers differ by rounding.
        encoder = fuse_norms(sam.image_encoder)
        encoder.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    return sam


def _with_pixel_values(sam: Sam) -> Sam:
    """Set the only buffers that are in no file."""
    for name, values in (("pixel_mean", PIXEL_MEAN), ("pixel_std", PIXEL_STD)):
        sam.register_buffer(name, torch.tensor(values).view(-1, 1, 1), False)
    return sam


def _encoder_of(name: str) -> dict[str, torch.Tensor]:
    """Read the tensors of another model's image encoder, its file's hash checked."""
    path = weights.model_file(name) or weights.fetch(name)
    state = weights.load_state_dict(path)
    return {k: v for k, v in state.items() if k.startswith("image_encoder.")}


def _check_tensors(
    found: Mapping[str, torch.Tensor], wanted: Mapping[str, torch.Tensor], start: str
) -> None:
    """Raise a ValueError of one line where names or shapes differ."""
    missing = [key for key in wanted if key not in found]
    extra = [key for key in found if key not in wanted]
    if missing or extra:
        differences = [
            f"{len(keys)} tensors are {how} (first {keys[0]!r})"
            for keys, how in ((missing, "missing"), (extra, "too many"))
            if keys
        ]
        raise ValueError(f"{start} {' and '.join(differences)}")
    for key, tensor in wanted.items():
        if found[key].shape != tensor.shape:
            raise ValueError(
                f"{start} {key!r} has the shape {tuple(found[key].shape)} instead of "
                f"{tuple(tensor.shape)}"
            )


def _renamed_encoder(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
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
        (height, width) of the image that was encoded: a plane, or a crop of it.
    model_id : str
        Name of the model that made it.
    origin : tuple of int
        (row, column) of the encoded image's first pixel in its plane; not (0, 0) for a
        crop. Prompts and masks are in the plane's pixels all the same.
    plane_shape : tuple of int
        (height, width) of the plane; left out, `original_size`.
    detail : torch.Tensor or None
        (1, C_d, 2h, 2w) float32: what the first convolutions see of edges and colour,
        where the encoder has a stem (`promise-tiny`). None for others, and for
        embeddings that an earlier version kept.

    Notes
    -----
    All values are float16 numbers, so that an embedding from a float16 cache equals
    a fresh one bit for bit; unless `encode_image` was asked for an exact one.
    """

    image: torch.Tensor
    levels: tuple[torch.Tensor, ...]
    input_size: tuple[int, int]
    original_size: tuple[int, int]
    model_id: str
    origin: tuple[int, int] = (0, 0)
    plane_shape: tuple[int, int] = (0, 0)
    detail: torch.Tensor | None = None

    def __post_init__(self) -> None:
        if self.plane_shape == (0, 0):
            object.__setattr__(self, "plane_shape", self.original_size)

    @property
    def is_crop(self) -> bool:
        """Whether it shows a part of its plane only."""
        return self.plane_shape != self.original_size

    @property
    def window(self) -> tuple[slice, slice]:
        """Rows and columns of the plane that were encoded."""
        (row, column), (height, width) = self.origin, self.original_size
        return slice(row, row + height), slice(column, column + width)

    @property
    def bbox(self) -> tuple[int, int, int, int]:
        """The part of the plane that was encoded, (r0, c0, r1, c1), half open."""
        (row, column), (height, width) = self.origin, self.original_size
        return row, column, row + height, column + width

    @property
    def tile(self) -> tuple[int, int, int, int] | None:
        """The same; None for the whole plane."""
        return self.bbox if self.is_crop else None

    def to(
        self, device: str | torch.device, dtype: torch.dtype | None = None
    ) -> Embedding:
        """Return the embedding on a device, and of a type where one is given."""
        return replace(
            self,
            image=self.image.to(device, dtype),
            levels=tuple(level.to(device, dtype) for level in self.levels),
            detail=None if self.detail is None else self.detail.to(device, dtype),
        )

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Return the embedding as numpy arrays, float16, for a cache without torch."""
        arrays = {f"level_{i}": _to_numpy(level) for i, level in enumerate(self.levels)}
        arrays |= {
            "image": _to_numpy(self.image),
            "input_size": np.array(self.input_size, dtype=np.int64),
            "original_size": np.array(self.original_size, dtype=np.int64),
            "model_id": np.array(self.model_id),
        }
        if self.detail is not None:
            arrays["detail"] = _to_numpy(self.detail)
        if self.is_crop:  # of a whole plane, the arrays are those of version 0.1
            arrays["origin"] = np.array(self.origin, dtype=np.int64)
            arrays["plane_shape"] = np.array(self.plane_shape, dtype=np.int64)
        return arrays

    @classmethod
    def from_arrays(
        cls, arrays: dict[str, np.ndarray], device: str | torch.device = "cpu"
    ) -> Embedding:
        """Return the embedding that `to_arrays` wrote, as float32 on a device.

        Raises
        ------
        ValueError
            If something is missing or of another kind: encode anew.
        """
        count = sum(name.startswith("level_") for name in arrays)

        def read(name: str) -> torch.Tensor:
            return torch.from_numpy(np.array(arrays[name], np.float32)).to(device)

        def pair(name: str) -> tuple[int, int]:
            first, second = (int(value) for value in arrays[name])
            return first, second

        try:
            return cls(
                image=read("image"),
                levels=tuple(read(f"level_{i}") for i in range(count)),
                input_size=pair("input_size"),
                original_size=pair("original_size"),
                model_id=str(arrays["model_id"]),
                origin=pair("origin") if "origin" in arrays else (0, 0),
                plane_shape=pair(
                    "plane_shape" if "plane_shape" in arrays else "original_size"
                ),
                detail=read("detail") if "detail" in arrays else None,
            )
        except (KeyError, TypeError, OverflowError) as error:
            raise ValueError(f"the embedding is not whole ({error!r})") from error


def _to_numpy(tensor: torch.Tensor) -> np.ndarray:
    return tensor.detach().to("cpu", torch.float16).numpy()


def _round(tensor: torch.Tensor) -> torch.Tensor:
    rounded = tensor.half().clamp_(-_FLOAT16_MAX, _FLOAT16_MAX)
    return rounded.float().contiguous()


@torch.no_grad()
def encode_image(
    sam: Sam,
    rgb: np.ndarray,
    *,
    exact: bool = False,
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
    exact : bool
        Leave the numbers as the encoder gives them, to compare with another program.
    progress : callable, optional
        Called with (blocks done, blocks in all) after each block of the encoder.
    cancel : callable, optional
        Asked before each block; where it answers True, `Cancelled` is raised.

    Returns
    -------
    Embedding
        On the device of the model, float32; rounded to float16 numbers unless `exact`.

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
    if isinstance(encoder, EncoderElsewhere):
        return _encoded_elsewhere(encoder, rgb, sam.device, exact, cancel)
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

    detail: list[torch.Tensor] = []
    stem = getattr(encoder, "stem", None)
    hooks = []
    try:
        if stem is not None:
            hooks.append(
                stem.detail.register_forward_hook(lambda *seen: detail.append(seen[2]))
            )
        for index, block in enumerate(blocks):
            hooks.append(block.register_forward_pre_hook(before))
            hooks.append(block.register_forward_hook(partial(after, index)))
        image = encoder(sam.preprocess(scaled))
    finally:
        for hook in hooks:
            hook.remove()
    kept = torch.Tensor.contiguous if exact else _round
    return Embedding(
        image=kept(image),
        levels=tuple(kept(levels[index]) for index in tapped),
        input_size=(scaled.shape[2], scaled.shape[3]),
        original_size=(height, width),
        model_id=getattr(sam, "model_id", type(encoder).__name__),
        detail=kept(detail[0]) if detail else None,
    )


def _encoded_elsewhere(
    encoder: EncoderElsewhere,
    rgb: np.ndarray,
    device: torch.device,
    exact: bool,
    cancel: Callable[[], bool] | None,
) -> Embedding:
    """Encode where the encoder is: the same numbers, for all of them are rounded."""
    if exact:
        raise ValueError(
            "an exact embedding cannot be had from another computer: it sends float16"
        )
    scaled = scaled_to(rgb, encoder.img_size)
    found = encoder.embedding(scaled, cancel)
    return replace(
        found.to(device), original_size=rgb.shape[:2], plane_shape=rgb.shape[:2]
    )


def scaled_to(rgb: np.ndarray, frame: int) -> np.ndarray:
    """Scale (H, W, 3) uint8 as SAM does, its longer side to the frame's."""
    scaled: np.ndarray = ResizeLongestSide(frame).apply_image(rgb)
    return scaled
