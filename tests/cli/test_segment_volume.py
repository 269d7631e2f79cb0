"""A stack is segmented from the prompts of one of its planes."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import numpy as np
import pytest

from napari_promise.data.export import SavedObject, save_prompts
from napari_promise.document import Region
from napari_promise.prompts import Prompts
from napari_promise.proposing import ProposedObject
from tests.cli.running import one_line, run

AFFINE = np.diag([2.0, 2.0, 3.0, 1.0])


@pytest.fixture
def ball() -> np.ndarray:
    """Return a bright ball, (columns, rows, planes) as NIfTI has it."""
    c, r, z = np.ogrid[:40, :32, :9]
    return (c - 22) ** 2 + (r - 15) ** 2 + (4 * (z - 4)) ** 2 <= 11**2


@pytest.fixture
def volume(tmp_path: Path, ball: np.ndarray) -> Path:
    noise = np.random.default_rng(0).normal(0, 5, ball.shape)
    path = tmp_path / "ball.nii.gz"
    nibabel.save(
        nibabel.Nifti1Image((60 + 120 * ball + noise).astype(np.int16), AFFINE), path
    )
    return path


@pytest.fixture
def prompts(tmp_path: Path) -> Path:
    box = Prompts(boxes=[(3.5, 10.5, 26.5, 33.5)])
    record = SavedObject(1, box, plane=(4,), label=7)
    return save_prompts(tmp_path / "ball.json", [record])


def test_prompts_of_one_plane_become_the_whole_object(
    volume, prompts, ball, tmp_path
) -> None:
    out = tmp_path / "out.nii.gz"
    command = ("segment", volume, "-o", out, "--prompts", prompts, "--propagate")
    assert run(*command, "--no-cache") == 0
    written = nibabel.load(out)
    found = np.asarray(written.dataobj)
    assert np.array_equal(written.affine, AFFINE)
    assert set(np.unique(found)) == {0, 7}
    assert 2 * ((found == 7) & ball).sum() / ((found == 7).sum() + ball.sum()) > 0.8
    told = json.loads((tmp_path / "out.prompts.json").read_text())
    planes = told["provenance"]["propagation"]
    assert {p["source"] for p in planes} == {"prompted", "propagated"}
    assert all(0 <= p["confidence"] <= 1 for p in planes)


def test_the_range_bounds_the_planes(volume, prompts, tmp_path) -> None:
    out = tmp_path / "out.nii.gz"
    command = ("segment", volume, "-o", out, "--prompts", prompts, "--propagate")
    assert run(*command, "--z-range", "4,5", "--no-cache") == 0
    found = np.asarray(nibabel.load(out).dataobj)
    assert set(np.flatnonzero(found.any((0, 1)))) <= {4, 5}
    assert found[..., 4].any()


def test_what_an_adapter_proposes_on_some_planes_becomes_one_object(
    volume, ball, tmp_path, encoded, adapter, monkeypatch
) -> None:
    asked = []

    def propose(_segmenter, _embedding, plane, **_options):
        asked.append(plane[-1])
        mask = ball[:, :, plane[-1]].T
        if plane[-1] == 5:  # here it sees something else
            mask = np.zeros_like(mask)
            mask[2:8, 2:8] = True
        region = Region.from_mask(mask) if mask.any() else None
        return (ProposedObject(Prompts(points=[(15, 22)]), region, 0.8),)

    monkeypatch.setattr("napari_promise.proposing.propose", propose)
    out = tmp_path / "out.nii.gz"
    command = ("segment", volume, "-o", out, "--adapter", adapter, "--propagate")
    assert run(*command, "--every", "1", "--no-cache") == 0
    assert asked == list(range(9))
    found = np.asarray(nibabel.load(out).dataobj) == 1
    assert 2 * (found & ball).sum() / (found.sum() + ball.sum()) > 0.8
    told = json.loads((tmp_path / "out.prompts.json").read_text())
    said = {p["plane"][0]: p["source"] for p in told["provenance"]["propagation"]}
    assert [plane for plane in said if said[plane] == "proposed"] == [2, 3, 4, 6]
    assert said[5] == "interpolated"


@pytest.mark.parametrize(
    ("arguments", "remedy"),
    [
        (("--points", "3,3", "--propagate"), "--prompts FILE"),
        (("--points", "3,3", "--z-range", "1,2"), "belongs to --propagate"),
        (("--points", "3,3", "--every", "2"), "belongs to --propagate"),
    ],
)
def test_bad_arguments_are_refused_in_one_line(
    volume, tmp_path, capsys, arguments, remedy
) -> None:
    assert run("segment", volume, "-o", tmp_path / "o", *arguments) == 2
    assert remedy in one_line(capsys)


def test_a_range_that_is_none_is_refused(volume, prompts, tmp_path, capsys) -> None:
    command = ("segment", volume, "-o", tmp_path / "o", "--prompts", prompts)
    assert run(*command, "--propagate", "--z-range", "5") == 2
    assert "first,last" in one_line(capsys)
