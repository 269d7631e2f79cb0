"""Import a checkpoint of ProMISe's authors as an adapter.

Their files are whole state dicts: stock SAM, and beside it the auto-prompting module,
the pattern embedding, or both [1]_. The modules are taken over in float32; SAM's part
is compared with the base model tensor by tensor and left behind.

References
----------
.. [1] Wang et al., "ProMISe: Promptable Medical Image Segmentation using SAM",
   arXiv 2403.04164, 2024.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timezone
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from napari_promise.model import weights
from napari_promise.model.adapters import Adapter, AdapterInfo, build_adapter
from napari_promise.model.promise import decode_frame

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

    from napari_promise.model.sam import Embedding

LEVELS = 3  # that the authors' modules read: blocks 6, 9 and 12
POINTS = 16  # of the authors' scripts; a checkpoint without prompter does not say
NAMED = 6  # tensors that a message names one by one

#: Kind of prompter -> how the names of its tensors begin.
_PROMPTERS = {
    "resnet": ("apm_resnet.", "apm_feature_map."),
    "cross": ("apm_cross.", "apm_cross_prompt."),
}
#: Our names -> the authors'. Level 9 is enlarged by their deconv1, level 6 by 2 and 3.
_NAMES = (
    (r"^ips\.", "ips_ffn."),
    (r"^apm\.fusion\.0\.", "apm_feature_map.fusion_conv1."),
    (r"^apm\.fusion\.2\.", "apm_feature_map.fusion_conv2."),
    (r"^apm\.fusion\.4\.", "apm_feature_map.fusion_conv3."),
    (r"^apm\.resnet\.", "apm_resnet."),
    (r"^apm\.query_position\.", "apm_cross.query_embedding."),
    (r"^apm\.query_content\.", "apm_cross.query_feat."),
    (r"^apm\.level\.", "apm_cross.level_embedding."),
    (r"^apm\.enlarge\.1\.0\.", "apm_cross.deconv1."),
    (r"^apm\.enlarge\.2\.0\.", "apm_cross.deconv2."),
    (r"^apm\.enlarge\.2\.1\.", "apm_cross.deconv3."),
    (r"(deconv\d)\.0\.", r"\1.deconv."),
    (r"(deconv\d)\.1\.", r"\1.conv."),
    (r"(deconv\d)\.2\.", r"\1.batchnorm."),
    (r"^apm\.layers\.", "apm_cross.layers."),
    (r"(layers\.\d)\.attention\.", r"\1.cross_attention."),
    (r"(layers\.\d)\.mlp\.0\.", r"\1.ffn.lin1."),
    (r"(layers\.\d)\.mlp\.2\.", r"\1.ffn.lin2."),
    (r"(layers\.\d)\.norm2\.", r"\1.norm3."),  # their norm2 is never used
    (r"^apm\.head\.", "apm_cross_prompt."),
)


@dataclass(frozen=True)
class Imported:
    """An adapter made from a checkpoint, and what there is to say about it.

    Attributes
    ----------
    adapter : Adapter
        On the CPU, in evaluation mode; not yet written anywhere.
    kind : str
        Which of the authors' models it is, such as ``"APM_IPS_resnet"``.
    unused : tuple of str
        Tensors of the file that take no part in any result.
    differing : tuple of str
        SAM's tensors that are others in the file than in the base model.
    """

    adapter: Adapter
    kind: str
    unused: tuple[str, ...]
    differing: tuple[str, ...]


def import_checkpoint(
    path: Path, sam: Sam, name: str, *, allow_different_base: bool = False
) -> Imported:
    """Make an adapter from a checkpoint of ProMISe's authors.

    Parameters
    ----------
    path : pathlib.Path
        A whole state dict, as ``torch.save`` or safetensors wrote it.
    sam : segment_anything.modeling.Sam
        The base model that it was trained on, of `load_sam`, on the CPU.
    name : str
        Of the adapter.
    allow_different_base : bool
        Go on where SAM's tensors in the file are not those of `sam`.

    Returns
    -------
    Imported

    Raises
    ------
    ValueError
        If the file is unreadable, holds no module of ProMISe, lacks tensors of one or
        holds them in other shapes, or belongs to another base model.
    """
    state = _modern(weights.load_state_dict(path))
    apms = [
        kind
        for kind, starts in _PROMPTERS.items()
        if any(key.startswith(starts) for key in state)
    ]
    ips = any(key.startswith("ips_ffn.") for key in state)
    if not apms and not ips:
        raise ValueError(
            f"{path} holds no module of ProMISe (apm_resnet, apm_cross or ips_ffn): "
            "import a checkpoint of its authors"
        )
    if len(apms) > 1:
        raise ValueError(f"{path} holds two prompters, apm_resnet and apm_cross")
    apm = apms[0] if apms else "none"
    kind = "_".join(
        part
        for part, there in (("APM", apms), ("IPS", ips), ("GT", not apms), (apm, apms))
        if there
    )
    base = sam.state_dict()
    differing = _differing(path, state, base)
    base_name = str(getattr(sam, "model_id", "unnamed"))
    if differing and not allow_different_base:
        raise ValueError(
            f"{path} was trained on another SAM than {base_name}: {len(differing)} of "
            f"{len(base)} tensors differ ({_some(differing)}); choose its base, or "
            "allow a different one and expect other results"
        )
    modules, points = _modules(path, state, apm, ips, int(sam.image_encoder.img_size))
    info = AdapterInfo(
        name=name,
        base_model=base_name,
        base_sha256=str(getattr(sam, "sha256", "")),
        apm=apm,
        points=points,
        ips=ips,
        mask_choice="paper",
        trained_on=f"not said in {path.name}",
        created=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        modules=modules,
    )
    with torch.device("meta"):
        adapter = build_adapter(info)
    adapter.precision = torch.float32
    theirs = {key: _their_name(key) for key in adapter.state_dict()}
    wanted = {theirs[key]: value for key, value in adapter.state_dict().items()}
    _check_shapes(path, kind, state, wanted)
    adapter.load_state_dict(
        {
            key: state[name].float() if value.is_floating_point() else state[name]
            for (key, value), name in zip(
                adapter.state_dict().items(), theirs.values(), strict=True
            )
        },
        assign=True,
    )
    unused = tuple(key for key in state if key not in wanted and key not in base)
    note = f"{kind}, imported from {path.name} (sha256 {weights.sha256_of(path)})."
    if unused:
        note += f" Not used by its forward pass: {', '.join(unused)}."
    if differing:
        note += (
            f" Trained on another SAM: {len(differing)} of {len(base)} tensors differ "
            "from the base model's, so results differ from the authors'."
        )
    adapter.info = replace(info, note=note)
    return Imported(adapter.eval().requires_grad_(False), kind, unused, differing)


@torch.no_grad()
def authors_forward(
    sam: Sam,
    adapter: Adapter,
    emb: Embedding,
    points: tuple[torch.Tensor, torch.Tensor] | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return what the authors' model returns for an image.

    Parameters
    ----------
    sam : segment_anything.modeling.Sam
    adapter : Adapter
        An imported one, on the device of `sam`.
    emb : Embedding
        Best an exact one, see `encode_image`: float16 numbers change probabilities by
        some 1e-4.
    points : tuple of torch.Tensor, optional
        (1, P, 2) as (x, y) in pixels of SAM's padded frame, and (1, P) labels, instead
        of predicted ones.

    Returns
    -------
    points : torch.Tensor
        (1, P, 2) as (x, y) in frame pixels, not yet moved out of the padding.
    probabilities : torch.Tensor
        (1, 1, 4h, 4w) of mask token 1.

    Raises
    ------
    ValueError
        If there are neither points nor a module that predicts them.
    """
    if points is None:
        if adapter.apm is None or adapter.info.apm == "heatmap":
            raise ValueError(
                f"adapter {adapter.info.name!r} predicts no points: pass them"
            )
        predicted = adapter.apm(emb.levels)
        points = (predicted, predicted.new_tensor([adapter.info.slot_labels]))
    delta = None if adapter.ips is None else adapter.ips(emb.image)[0]
    logits, _ = decode_frame(sam, emb.image, points=points, multimask=True, delta=delta)
    return points[0], torch.sigmoid(logits[:, :1])


def _modern(state: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Early checkpoints call the pattern embedding ``ffn``."""
    return {re.sub(r"^ffn\.lin", "ips_ffn.lin", key): t for key, t in state.items()}


def _differing(
    path: Path, state: Mapping[str, torch.Tensor], base: Mapping[str, torch.Tensor]
) -> tuple[str, ...]:
    """Compare SAM's tensors, which must be there in the right shapes, in value."""
    odd = [
        key for key in base if key not in state or state[key].shape != base[key].shape
    ]
    if odd:
        raise ValueError(
            f"{path} holds another SAM than the base model: {len(odd)} of {len(base)} "
            f"tensors are missing or of another shape ({_some(odd)}); choose its base"
        )
    return tuple(key for key in base if not torch.equal(base[key], state[key].float()))


def _modules(
    path: Path, state: Mapping[str, torch.Tensor], apm: str, ips: bool, frame: int
) -> tuple[dict[str, dict[str, object]], int]:
    """Read the arguments of the modules, and the number of points, off the shapes."""
    modules: dict[str, dict[str, object]] = {}
    points = POINTS

    def size(key: str, axis: int) -> int:
        if key not in state or state[key].ndim <= axis:
            raise ValueError(
                f"{path} is not whole: {key} is missing or no matrix; get it again"
            )
        return int(state[key].shape[axis])

    if ips:
        channels = size("mask_decoder.mask_tokens.weight", 1)
        tokens = size("mask_decoder.mask_tokens.weight", 0)
        modules["ips"] = {"channels": channels, "tokens": tokens}
    if apm == "none":
        return modules, points
    level_channels = [size("image_encoder.patch_embed.proj.weight", 0)] * LEVELS
    if apm == "resnet":
        points = size("apm_resnet.fc.weight", 0) // 2
        extra = {"width": size("apm_resnet.conv1.weight", 0)}
    else:
        points = size("apm_cross.query_feat.weight", 0)
        extra = {"width": size("apm_cross.query_feat.weight", 1)}
    modules["apm"] = {
        "level_channels": level_channels,
        "points": points,
        "frame": frame,
        **extra,
    }
    return modules, points


def _their_name(key: str) -> str:
    for pattern, replacement in _NAMES:
        key = re.sub(pattern, replacement, key)
    return key


def _check_shapes(
    path: Path,
    kind: str,
    state: Mapping[str, torch.Tensor],
    wanted: Mapping[str, torch.Tensor],
) -> None:
    missing = [key for key in wanted if key not in state]
    if missing:
        raise ValueError(
            f"{path} looks like {kind}, but {len(missing)} tensors are missing "
            f"({_some(missing)}); get it again"
        )
    for key, tensor in wanted.items():
        if state[key].shape != tensor.shape:
            raise ValueError(
                f"{path} looks like {kind}, but {key} has the shape "
                f"{tuple(state[key].shape)} instead of {tuple(tensor.shape)}"
            )


def _some(names: Sequence[str]) -> str:
    """Name tensors in one line, the first few of many."""
    more = len(names) - NAMED
    return ", ".join(names[:NAMED]) + (f" and {more} more" if more > 0 else "")
