"""The bundled adapter of many objects, from the command line."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_promise.data.images import read_mask
from tests.cli.running import run


@pytest.fixture
def nuclei(tmp_path: Path) -> tuple[Path, Path]:
    """Write an image of bright discs on black, and its labels."""
    y, x = np.mgrid[:200, :256]
    labels = np.zeros((200, 256), np.uint16)
    for number, (row, column) in enumerate(
        [(30, 40), (80, 120), (150, 60), (140, 200), (50, 210)], start=1
    ):
        labels[(y - row) ** 2 + (x - column) ** 2 < 14**2] = number
    rng = np.random.default_rng(0)
    grey = (8 + 90 * (labels > 0) + rng.integers(0, 8, labels.shape)).astype(np.uint8)
    folders = tmp_path / "images", tmp_path / "labels"
    for folder, values in zip(folders, (grey, labels), strict=True):
        folder.mkdir()
        Image.fromarray(values).save(folder / "a.png")
    return folders


def test_every_nucleus_gets_a_number_and_its_prompts_give_the_same_again(
    nuclei: tuple[Path, Path], tmp_path: Path
) -> None:
    command = ("segment", nuclei[0] / "a.png", "--adapter", "cells")
    assert run(*command, "-o", tmp_path / "out") == 0
    found = next(p for p in (tmp_path / "out").iterdir() if p.suffix != ".json")
    labels = read_mask(found)
    truth = read_mask(nuclei[1] / "a.png")
    hit = {int(labels[truth == number].max()) for number in range(1, 6)}
    assert len(hit - {0}) == 5
    prompts = next((tmp_path / "out").glob("*.json"))
    saved = json.loads(prompts.read_text())["objects"]
    assert len(saved) == len(np.unique(labels)) - 1
    again = ("-o", tmp_path / "again", "--prompts", prompts)
    assert run(*command, *again) == 0
    same = read_mask(tmp_path / "again" / found.name)
    assert np.array_equal(same, labels)


def test_objects_are_scored_one_by_one(
    nuclei: tuple[Path, Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ("evaluate", "--images", nuclei[0], "--masks", nuclei[1])
    command += ("--adapter", "cells", "--prompts", "auto")
    assert run(*command, "--json", tmp_path / "scores.json") == 0
    assert "panoptic quality" in capsys.readouterr().out
    report = json.loads((tmp_path / "scores.json").read_text())
    assert report["scored"] == "instances"
    assert report["scores"][0]["truth"] == 5
    assert report["summary"]["ap50"] > 0.5
    assert run(*command[:-1], "auto+click:1") == 2
    assert "of many objects" in capsys.readouterr().err
