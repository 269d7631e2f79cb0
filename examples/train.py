"""Train an adapter on a folder of images and masks, and use it.

    python examples/train.py IMAGES MASKS OUT

Masks have the names of their images; anything above zero is the object.
"""

import sys
from pathlib import Path

from napari_promise import Segmenter, train
from napari_promise.data.pairs import find_pairs
from napari_promise.training.config import TrainConfig

images, masks, out = (Path(word) for word in sys.argv[1:4])
pairs = find_pairs(images, masks)
config = TrainConfig(
    pairs=tuple(pairs),
    name=out.name,
    output=out,
    apm_epochs=4,  # leave these three out for hundreds of images
    ips_epochs=1,
    views=1,
)
for progress in train(config):  # a generator: stop it whenever you like
    print(f"{progress.phase}: {progress.step} of {progress.total}", flush=True)

segmenter = Segmenter.load("promise-tiny", adapter=out)
print(segmenter.adapter_info.name, "is ready")
