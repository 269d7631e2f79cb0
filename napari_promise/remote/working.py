"""What runs on a worker: a model is loaded once and encodes what it is sent.

Every function takes and returns text, numbers and NumPy arrays only. They are sent by
name, so that a worker runs its own version of them.
"""

from __future__ import annotations

import os
import threading
import time
from functools import lru_cache
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

__all__ = [
    "Packed",
    "decoder_of",
    "describe",
    "encode",
    "encode_slowly",
    "pack",
    "unpack",
]

#: Name -> (type, shape, compressed bytes).
Packed = dict[str, tuple[str, tuple[int, ...], bytes]]

#: Where models compute on this worker; `napari-promise serve --device` sets it.
DEVICE_VARIABLE = "NAPARI_PROMISE_DEVICE"
#: Models that a worker keeps loaded.
_KEPT = 2
_loading = threading.Lock()


def pack(arrays: dict[str, NDArray[Any]]) -> Packed:
    """Compress arrays for the way: the bits of neighbouring numbers side by side."""
    from numcodecs import Blosc

    codec = Blosc(cname="zstd", clevel=1, shuffle=Blosc.BITSHUFFLE)
    packed: Packed = {}
    for name, array in arrays.items():
        whole = np.ascontiguousarray(array)
        # blosc takes two gigabytes; nothing here comes near
        packed[name] = (whole.dtype.str, array.shape, bytes(codec.encode(whole)))
    return packed


def unpack(packed: Packed) -> dict[str, NDArray[Any]]:
    """Return the arrays that `pack` compressed.

    Raises
    ------
    ValueError
        If they are damaged.
    """
    from numcodecs import Blosc

    codec = Blosc()
    arrays: dict[str, NDArray[Any]] = {}
    for name, (kind, shape, content) in packed.items():
        try:
            flat = np.frombuffer(codec.decode(content), np.dtype(kind))
            arrays[name] = flat.reshape(shape)
        except (RuntimeError, TypeError, ValueError) as error:
            raise ValueError(f"what came back is damaged ({name})") from error
    return arrays


def describe(model: str, mode: str = "stock") -> dict[str, Any]:
    """Load a model on this worker, and say what there is to know of it.

    Parameters
    ----------
    model : str
        A registered name, or a checkpoint of the worker's computer.
    mode : str
        How it is to encode, see `model.fast_encoder`.

    Returns
    -------
    dict
        Plain values: version, model_id, sha256, arch, frame, prompt_kinds, device,
        mode.

    Raises
    ------
    ValueError
        If there is no such model.
    """
    from napari_promise import __version__

    sam = _model(model, mode)
    return {
        "version": __version__,
        "model_id": str(sam.model_id),
        "sha256": str(sam.sha256),
        "arch": str(sam.arch),
        "frame": int(sam.image_encoder.img_size),
        "prompt_kinds": list(sam.prompt_kinds),
        "device": str(sam.device),
        "mode": str(getattr(sam, "encoder_mode", "stock")),
    }


def decoder_of(model: str, mode: str = "stock") -> Packed:
    """Return the tensors of a model's prompt encoder and mask decoder, exactly."""
    sam = _model(model, mode)
    return pack(
        {
            name: tensor.detach().cpu().numpy()
            for name, tensor in sam.state_dict().items()
            if not name.startswith("image_encoder.")
        }
    )


def encode(
    model: str, mode: str, kind: str, shape: tuple[int, ...], content: bytes
) -> Packed:
    """Encode one image.

    Parameters
    ----------
    model, mode : str
        See `describe`.
    kind, shape, content
        The pixels as `pack` compressed them: (h, w, 3) uint8.

    Returns
    -------
    Packed
        Of `Embedding.to_arrays`, float16.
    """
    from napari_promise.model.sam import encode_image, oom_fallback

    sam = _model(model, mode)
    rgb = unpack({"rgb": (kind, tuple(shape), content)})["rgb"]
    found = oom_fallback(lambda: encode_image(sam, np.array(rgb)), [sam])
    return pack(found.to_arrays())


def encode_slowly(
    seconds: float, seed: int, kind: str, shape: tuple[int, ...], content: bytes
) -> Packed:
    """Wait instead of encoding, and send back as much: to measure all the rest.

    Parameters
    ----------
    seconds : float
        How long, give or take a fifth.
    seed : int
        Of the jitter.
    kind, shape, content
        See `encode`.
    """
    rng = np.random.default_rng(seed)
    unpack({"rgb": (kind, tuple(shape), content)})
    time.sleep(seconds * float(rng.uniform(0.8, 1.2)))
    return dict(_example())


@lru_cache(maxsize=1)
def _example() -> Packed:
    """As much as an embedding of ViT-B is, compressed; random, so hardly smaller."""
    rng = np.random.default_rng(0)
    shapes = {f"level_{i}": (1, 768, 64, 64) for i in range(3)}
    shapes["image"] = (1, 256, 64, 64)
    return pack(
        {
            name: rng.standard_normal(shape, np.float32).astype(np.float16)
            for name, shape in shapes.items()
        }
    )


def _model(model: str, mode: str) -> Sam:
    """Return a model of this worker, loaded when it is first asked for."""
    with _loading:  # two threads of one worker need it once
        return _loaded(model, mode, os.environ.get(DEVICE_VARIABLE, "auto"))


@lru_cache(maxsize=_KEPT)
def _loaded(model: str, mode: str, device: str) -> Sam:
    from napari_promise.model.sam import load_sam

    sam = load_sam(model, device=device)
    if mode != "stock":
        from napari_promise.model.fast_encoder import use_mode

        use_mode(sam, mode)
    return sam
