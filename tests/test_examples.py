"""The examples run as they stand, and the pages link to what is there."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from skimage import io

from napari_promise.data.samples import endoscopy_layers

ROOT = Path(__file__).resolve().parents[1]
EXAMPLES = ROOT / "examples"
REPOSITORY = "https://github.com/napari-promise/napari-promise/blob/main/"
RAW = "https://raw.githubusercontent.com/napari-promise/napari-promise/main/"


pytestmark = pytest.mark.slow


def _run(folder: Path, *words: str | Path) -> str:
    done = subprocess.run(
        [sys.executable, *map(str, words)],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.fixture
def labelled(tmp_path: Path) -> tuple[Path, Path]:
    (image, _, _), (mask, _, _) = endoscopy_layers()
    folders = tmp_path / "images", tmp_path / "masks"
    for folder in folders:
        folder.mkdir()
    for number in range(6):
        io.imsave(folders[0] / f"{number}.png", np.roll(image, 20 * number, axis=1))
        rolled = np.roll(mask, 20 * number, axis=1).astype(np.uint8) * 255
        io.imsave(folders[1] / f"{number}.png", rolled, check_contrast=False)
    return folders


@pytest.mark.slow
def test_the_example_of_one_image_writes_its_picture(tmp_path: Path) -> None:
    assert "one click" in _run(tmp_path, EXAMPLES / "segment.py")
    assert io.imread(tmp_path / "segment.png").shape[2] == 3


@pytest.mark.slow
def test_the_example_of_a_folder_writes_masks_and_scores(
    tmp_path: Path, labelled: tuple[Path, Path]
) -> None:
    out = tmp_path / "out"
    assert "6 images" in _run(tmp_path, EXAMPLES / "batch.py", labelled[0], out)
    assert len((out / "scores.csv").read_text(encoding="utf-8").splitlines()) == 7


@pytest.mark.slow
def test_the_example_of_training_makes_an_adapter_that_loads(
    tmp_path: Path, labelled: tuple[Path, Path]
) -> None:
    words = _run(tmp_path, EXAMPLES / "train.py", *labelled, tmp_path / "mine")
    assert "mine is ready" in words


@pytest.mark.slow
def test_the_notebook_runs_from_top_to_bottom(tmp_path: Path) -> None:
    cells = json.loads((EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8"))
    code = ["".join(c["source"]) for c in cells["cells"] if c["cell_type"] == "code"]
    script = tmp_path / "notebook.py"
    script.write_text("\n".join(code), encoding="utf-8")
    assert "Dice" in _run(tmp_path, script)


def test_the_readme_is_short_and_links_to_files_that_exist() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert len(text.splitlines()) <= 120
    linked = re.findall(r"\]\(([^)\s]+)\)", text)
    relative = [link for link in linked if not link.startswith("https://")]
    assert not relative, "the package index shows no relative link or picture"
    for start in (REPOSITORY, RAW):
        for link in linked:
            if link.startswith(start):
                assert (ROOT / link.removeprefix(start)).is_file(), link
