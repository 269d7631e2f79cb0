"""Stacks are segmented, trained on and measured plane by plane."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from napari_promise.data.images import read_image
from tests.cli.running import run
from tests.data.stacks import SHAPE, save_dicom, save_nifti, scan


@pytest.fixture
def stacks(tmp_path: Path) -> tuple[Path, Path]:
    """Folders of three NIfTI stacks and a DICOM file, and of their masks."""
    images, masks = tmp_path / "images", tmp_path / "masks"
    for number in range(3):
        pixels, labels = scan(number)
        save_nifti(images / f"{number}.nii.gz", pixels)
        save_nifti(masks / f"{number}.nii.gz", labels)
    pixels, labels = scan(3)
    save_dicom(images / "x.dcm", pixels.clip(0))
    save_nifti(masks / "x.nii.gz", labels)
    return images, masks


def test_train_takes_the_planes_of_stacks(
    stacks, micro_sam, tmp_path, capsys, monkeypatch
) -> None:
    from napari_promise.training import trainer

    monkeypatch.setattr(trainer, "load_sam", lambda *_, **__: micro_sam)
    out = tmp_path / "mine"
    command = ("train", "--images", stacks[0], "--masks", stacks[1], "-o", out)
    few = ("--epochs", 1, "--ips-epochs", 1, "--views", 1, "--points", 6)
    assert run(*command, *few, "--cache", tmp_path / "views") == 0
    captured = capsys.readouterr()
    assert "12 planes of 4 stacks are samples" in captured.err
    assert ".nii.gz" not in captured.err  # none is left out
    assert (out / "adapter.json").is_file()


def test_evaluate_measures_the_planes_of_stacks(
    stacks, encoded, tmp_path, capsys
) -> None:
    report, page = tmp_path / "scores.json", tmp_path / "page"
    command = ("evaluate", "--images", stacks[0], "--masks", stacks[1])
    more = ("--prompts", "box", "--json", report, "--overlays", page)
    assert run(*command, *more) == 0
    data = json.loads(report.read_text())
    names = [Path(score["image"]).name for score in data["scores"]]
    assert names[:2] == ["0.nii.gz, plane 1", "0.nii.gz, plane 2"]
    assert data["summary"]["images"] == 12
    assert data["bootstrap"]["by"] == "group"
    assert (page / "overlays.html").is_file()
    assert "resamples of the groups" in " ".join(capsys.readouterr().err.split())


def test_every_plane_of_a_stack_has_the_contrast_of_the_stack(
    stacks: tuple[Path, Path], encoded: list[np.ndarray], tmp_path: Path
) -> None:
    path = stacks[0] / "0.nii.gz"
    assert run("segment", path, "-o", tmp_path / "out", "--box", "5,5,30,40") == 0
    image = read_image(path)
    for index, pixels in enumerate(encoded):
        assert np.array_equal(pixels, image.rgb8((index,)))


def test_a_dicom_file_is_segmented_and_keeps_its_spacing(
    stacks: tuple[Path, Path], encoded: Any, tmp_path: Path
) -> None:
    command = ("segment", stacks[0] / "x.dcm", "--box", "5,5,30,40")
    assert run(*command, "-o", tmp_path / "out", "--format", "nii.gz") == 0
    result = nibabel.load(tmp_path / "out" / "x.nii.gz")
    assert result.shape == SHAPE[::-1]
    assert np.allclose(result.header.get_zooms(), (1.5, 2.0, 1.0))
    assert result.header.get_xyzt_units()[0] == "mm"
