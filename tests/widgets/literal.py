"""A model that encodes as one does, and draws what its prompts say, without a decoder.

Its masks are the mask prompt where there is one, with a small disc for each point.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from napari_promise.document import Region
from napari_promise.segmentation import Segmentation

RADIUS = 4


def literal(sam: Any) -> Any:
    """Return such a model with the encoder of a SAM."""
    from napari_promise.segmenter import Segmenter

    class Literal(Segmenter):
        def segment(self, emb: Any, prompts: Any, **_options: Any) -> Segmentation:
            shape = emb.plane_shape
            mask = np.zeros(shape, bool)
            low = np.full((1, 32, 32), -4, np.float32)
            if prompts.logits is not None:
                low = np.array(prompts.logits)
                mask = self.probabilities(emb, low) > 0.5
            y, x = np.mgrid[: shape[0], : shape[1]]
            for (row, column), label in zip(
                prompts.points, prompts.labels, strict=True
            ):
                near = (y - row) ** 2 + (x - column) ** 2 < RADIUS**2
                mask = mask | near if label else mask & ~near
            return Segmentation(shape, Region.from_mask(mask), 0.9, low)

        def segment_many(
            self, emb: Any, prompts: Any, **options: Any
        ) -> tuple[Segmentation, ...]:
            return tuple(self.segment(emb, each, **options) for each in prompts)

    return Literal(sam)
