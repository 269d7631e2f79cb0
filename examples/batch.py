"""Let an adapter segment every image of a folder, and keep what it was unsure of apart.

    python examples/batch.py IMAGES OUT [ADAPTER]

Writes one mask an image, and `scores.csv`, the least sure first.
"""

import csv
import sys
from pathlib import Path

import numpy as np
from skimage import io

from napari_promise import Segmenter

source, out = Path(sys.argv[1]), Path(sys.argv[2])
adapter = sys.argv[3] if len(sys.argv) > 3 else "polyp"
out.mkdir(parents=True, exist_ok=True)
segmenter = Segmenter.load("promise-tiny", adapter=adapter)

rows = []
for path in sorted(source.iterdir()):
    if path.suffix.lower() not in {".png", ".jpg", ".jpeg", ".tif", ".tiff"}:
        continue
    embedding = segmenter.encode(io.imread(path))
    prompts = segmenter.propose(embedding)
    if not prompts.labels.any():  # the adapter found nothing here
        rows.append((0.0, path.name, "nothing found"))
        continue
    result = segmenter.segment(embedding, prompts)
    io.imsave(out / f"{path.stem}.png", result.mask.astype(np.uint8) * 255)
    rows.append((round(result.score, 3), path.name, ""))

with open(out / "scores.csv", "w", newline="", encoding="utf-8") as file:
    writer = csv.writer(file)
    writer.writerow(("predicted_iou", "image", "remark"))
    writer.writerows(sorted(rows))
print(f"{len(rows)} images")
