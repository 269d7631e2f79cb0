"""Write the generated samples and the real one into ``sample_data/``.

Run it after changing ``napari_promise/data/samples.py``:
``python scripts/make_samples.py``. A test compares what is written with what is made.
"""

from __future__ import annotations

import shutil
from pathlib import Path

import imageio.v3 as iio
import numpy as np
import skimage.data
import tifffile

from napari_promise.data import samples
from napari_promise.data.samples import endoscopy_scene, nodule_stack

FOLDER = Path(__file__).resolve().parents[1] / "sample_data"


def main() -> None:
    """Write every sample, and say where."""
    image, mask = endoscopy_scene()
    iio.imwrite(FOLDER / "endoscopy.png", image, optimize=True)
    iio.imwrite(FOLDER / "endoscopy_mask.png", mask.astype(np.uint8) * 255)
    volume, labels, scale = nodule_stack()
    for name, stack in (("nodules", volume), ("nodules_labels", labels)):
        tifffile.imwrite(
            FOLDER / f"{name}.tif",
            stack,
            imagej=True,
            resolution=(1 / scale[2], 1 / scale[1]),
            metadata={"axes": "ZYX", "spacing": scale[0], "unit": "mm"},
        )
    shutil.copyfile(
        Path(skimage.data.__file__).with_name("retina.jpg"), FOLDER / "retina.jpg"
    )
    for name in ("nuclei.png", "nuclei_labels.png"):
        shutil.copyfile(Path(samples.__file__).with_name(name), FOLDER / name)
    for file in sorted(FOLDER.iterdir()):
        print(f"{file.relative_to(FOLDER.parent)}  {file.stat().st_size / 1e3:.0f} kB")


if __name__ == "__main__":
    main()
