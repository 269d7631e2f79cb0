"""A SAM whose image encoder is on another computer; all that decodes is here.

Everything that encodes does so by `model.sam.encode_image`, which hands the pixels to
`EncoderElsewhere` where a model has one. So whoever uses a model need not know.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

if TYPE_CHECKING:
    from segment_anything.modeling import Sam

    from napari_promise.model.sam import Embedding

__all__ = ["EncoderElsewhere", "Encodes", "sam_around"]


class Encodes(Protocol):
    """What encodes in place of a module; `remote.encoder.RemoteEncoder` is the one."""

    @property
    def description(self) -> Mapping[str, Any]:
        """What is known of the model, see `remote.working.describe`."""

    @property
    def address(self) -> str:
        """Where."""

    def close(self) -> None:
        """Let go of the connection."""

    def encode(
        self, rgb: NDArray[np.uint8], cancel: Callable[[], bool] | None = None
    ) -> dict[str, NDArray[Any]]:
        """Return the arrays of the embedding of (h, w, 3) pixels."""

    def feed(self, images: Iterator[NDArray[np.uint8]], ahead: int = 0) -> None:
        """Say which images will be asked for, in order."""


class EncoderElsewhere(nn.Module):
    """Stands where a model's image encoder would stand. It has no parameters.

    Parameters
    ----------
    encodes : Encodes
    img_size : int
        Side of the model's frame in pixels.
    """

    def __init__(self, encodes: Encodes, img_size: int) -> None:
        super().__init__()
        self.encodes = encodes
        self.img_size = img_size

    def embedding(
        self, scaled: NDArray[np.uint8], cancel: Callable[[], bool] | None
    ) -> Embedding:
        """Encode pixels, (h, w, 3) uint8, scaled to the frame already.

        Raises
        ------
        ValueError
            If what comes back is no embedding of them.
        """
        from napari_promise.model.sam import Embedding

        found = Embedding.from_arrays(self.encodes.encode(scaled, cancel))
        if found.input_size != scaled.shape[:2]:
            raise ValueError(
                f"an embedding of {found.input_size} pixels came back for an image of "
                f"{scaled.shape[:2]}: install the same version on both sides."
            )
        return found

    def feed(self, images: Iterator[NDArray[np.uint8]]) -> None:
        """Say which images will be encoded, in order: (h, w, 3) uint8 of any size."""
        from napari_promise.model.sam import scaled_to

        self.encodes.feed(scaled_to(rgb, self.img_size) for rgb in images)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Refuse: tensors are not sent, only pixels are."""
        raise RuntimeError(
            "this model's image encoder is on another computer: encode with "
            "model.sam.encode_image"
        )


def sam_around(encodes: Encodes, decoder: Mapping[str, NDArray[Any]]) -> Sam:
    """Build a frozen SAM that decodes here and encodes elsewhere.

    Parameters
    ----------
    encodes : Encodes
        With a description.
    decoder : mapping of str to array
        All tensors of the model but the image encoder's.

    Raises
    ------
    ValueError
        If the architecture is unknown or the tensors are not its own.
    """
    from napari_promise.model import sam as models

    known = encodes.description
    sam = models.build_without_encoder(str(known["arch"]))
    sam.image_encoder = EncoderElsewhere(encodes, int(known["frame"]))
    state = {name: torch.from_numpy(np.array(a)) for name, a in decoder.items()}
    try:
        sam.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ValueError(
            f"the decoder of {known['model_id']} that came back is not one of "
            f"{known['arch']}: install the same version on both sides."
        ) from error
    models.freeze(sam)
    sam.model_id, sam.sha256 = str(known["model_id"]), str(known["sha256"])
    sam.arch = str(known["arch"])
    sam.prompt_kinds = tuple(known["prompt_kinds"])
    sam.encoder_mode = str(known["mode"])
    return sam
