"""Segment one image: with prompts of your own, and with an adapter's.

    python examples/segment.py [IMAGE]

Without an image the endoscopy-like sample is used. Writes `segment.png`.
"""

import sys
from pathlib import Path

import numpy as np
from skimage import io, segmentation

from napari_promise import Prompts, Segmenter
from napari_promise.data.samples import endoscopy_layers

image = io.imread(sys.argv[1]) if len(sys.argv) > 1 else endoscopy_layers()[0][0]

# One click. Encoding takes the time; every further prompt takes milliseconds.
segmenter = Segmenter.load("promise-tiny")
embedding = segmenter.encode(image)
centre = (image.shape[0] / 2, image.shape[1] / 2)  # (row, column)
clicked = segmenter.segment(embedding, Prompts(points=[centre], labels=[1]))
print(f"one click: {clicked.mask.sum()} pixels, predicted IoU {clicked.score:.2f}")

# The same frozen model with an adapter, which places the points itself. The embedding
# stays valid: an adapter changes the decoder's tokens, not the encoder.
segmenter.adapter = "polyp"
prompts = segmenter.propose(embedding)
found = segmenter.segment(embedding, prompts)
print(f"adapter: {prompts.labels.sum()} include points, {found.mask.sum()} pixels")

outlined = segmentation.mark_boundaries(image[..., :3], found.mask, color=(1, 1, 0))
io.imsave("segment.png", (outlined * 255).astype(np.uint8))
print(f"written: {Path('segment.png').resolve().name}")
