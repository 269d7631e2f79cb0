"""Train a toy adapter in so many processes; each of them runs this file.

python team_run.py FOLDER PROCESSES
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import numpy as np
from PIL import Image


def main(folder: Path, processes: int) -> None:
    from napari_promise.training.config import TrainConfig
    from napari_promise.training.team import form_team
    from napari_promise.training.trainer import train

    shared = Path(__file__).parents[1] / "conftest.py"
    spec = importlib.util.spec_from_file_location("shared", shared)
    assert spec is not None
    assert spec.loader is not None
    tests = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(tests)
    pairs = [draw(folder / "images", number) for number in range(10)]
    config = TrainConfig(
        pairs=tuple(pairs),
        name="toy",
        model="micro",
        output=folder / str(processes),
        cache=folder / "views",
        points=4,
        views=1,
        apm_epochs=2,
        apm_batch=4,
        ips_epochs=1,
        ips_images=4,
        seed=3,
    )
    team = form_team(processes, "cpu")
    for _ in train(config, tests.build_micro_sam(), team=team):
        pass


def draw(folder: Path, number: int) -> object:
    """Write a picture of a disc and its mask, always the same, where there is none."""
    from napari_promise.data.pairs import Pair

    folder.mkdir(parents=True, exist_ok=True)
    pair = Pair(folder / f"{number}.png", folder / f"{number}-mask.png")
    if pair.mask.exists():
        return pair
    rng = np.random.default_rng(number)
    rows, columns = np.indices((64, 64))
    row, column = rng.integers(16, 48, 2)
    disc = (rows - row) ** 2 + (columns - column) ** 2 < 144
    image = rng.integers(80, 120, (64, 64, 3))
    image[disc] += 100
    Image.fromarray(image.astype(np.uint8)).save(pair.image)
    Image.fromarray(disc.astype(np.uint8) * 255).save(pair.mask)
    return pair


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
