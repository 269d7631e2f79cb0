"""One image becomes a mask, its prompts and its provenance."""

from __future__ import annotations

import json

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_promise.data.export import load_prompts, save_prompts
from napari_promise.data.images import read_mask
from napari_promise.prompts import Prompts
from napari_promise.segmenter import Segmenter
from tests.cli.running import one_line, run


def test_a_click_becomes_a_mask_its_prompts_and_its_provenance(
    picture, encoded, tmp_path, capsys
) -> None:
    out = tmp_path / "out"
    assert run("segment", picture, "-o", out, "--points", "20,30,1;2,2,0") == 0
    assert sorted(path.name for path in out.iterdir()) == [
        "frame.png",
        "frame.png.provenance.json",
        "frame.prompts.json",
    ]
    mask = np.asarray(Image.open(out / "frame.png"))
    assert mask.shape == (40, 60)
    assert set(np.unique(mask)) <= {0, 1}  # ids, as the window writes them
    saved = load_prompts(out / "frame.prompts.json")
    assert saved.objects[0].prompts.points.tolist() == [[20, 30], [2, 2]]
    assert saved.objects[0].prompts.labels.tolist() == [1, 0]
    assert saved.objects[0].sources == ("user", "user")
    assert len(saved.image["digest"][""]) == 32
    made = json.loads((out / "frame.png.provenance.json").read_text())
    assert made["model"] == {"name": "micro", "sha256": "0" * 64}
    assert "1 segmented, 0 skipped, 0 failed" in capsys.readouterr().out


def test_the_mask_is_the_one_that_python_gives(
    picture, encoded, micro_sam, tmp_path
) -> None:
    run("segment", picture, "-o", tmp_path / "out", "--box", "10,20,30,40")
    segmenter = Segmenter(micro_sam)
    embedding = segmenter.encode(np.asarray(Image.open(picture)))
    expected = segmenter.segment(embedding, Prompts(boxes=[(10, 20, 30, 40)])).mask
    assert np.array_equal(read_mask(tmp_path / "out" / "frame.png") > 0, expected)


def test_a_point_outside_the_image_fails_that_image(
    picture, encoded, tmp_path, capsys
) -> None:
    out = tmp_path / "out"
    assert run("segment", picture, "-o", out, "--points", "20,300") == 1
    assert "outside the image of 40 rows and 60 columns" in one_line(capsys)
    assert not list(out.glob("frame*"))


def test_an_adapter_proposes_the_prompts(
    picture, encoded, adapter, tmp_path, monkeypatch
) -> None:
    proposed = Prompts(points=[(20, 30), (3, 3)], labels=[1, 0], scores=[0.9, 0.2])
    monkeypatch.setattr(Segmenter, "propose", lambda self, embedding: proposed)
    out = tmp_path / "out"
    assert run("segment", picture, "-o", out, "--adapter", adapter) == 0
    saved = load_prompts(out / "frame.prompts.json")
    (record,) = saved.objects
    assert record.prompts == proposed
    assert record.sources == ("auto", "auto")
    assert record.class_name == "disc"
    assert saved.provenance["adapter"]["name"] == "toy"
    assert len(saved.provenance["adapter"]["sha256"]) == 64
    assert str(tmp_path) not in (out / "frame.prompts.json").read_text()


def test_a_real_proposal_is_segmented_and_recorded(
    picture, encoded, adapter, tmp_path
) -> None:
    out = tmp_path / "out"
    assert run("segment", picture, "-o", out, "--adapter", adapter) == 0
    (record,) = load_prompts(out / "frame.prompts.json").objects
    assert record.prompts.logits is not None
    again = tmp_path / "again"
    replay = ("--prompts", out / "frame.prompts.json", "--adapter", adapter)
    assert run("segment", picture, "-o", again, *replay) == 0
    assert (out / "frame.png").read_bytes() == (again / "frame.png").read_bytes()


def test_where_nothing_is_found_the_mask_is_empty_and_that_is_said(
    picture, encoded, adapter, tmp_path, monkeypatch, capsys
) -> None:
    nothing = Prompts(points=[(1, 1)], labels=[0])
    monkeypatch.setattr(Segmenter, "propose", lambda self, embedding: nothing)
    assert run("segment", picture, "-o", tmp_path / "out", "-a", adapter) == 0
    assert "nothing was found" in one_line(capsys)
    assert not read_mask(tmp_path / "out" / "frame.png").any()


def test_a_stack_is_segmented_plane_by_plane_into_one_tiff(
    encoded, rng, tmp_path
) -> None:
    stack = rng.integers(0, 4000, (3, 40, 60)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "scan.tif", stack, photometric="minisblack")
    out = tmp_path / "out"
    assert run("segment", tmp_path / "scan.tif", "-o", out, "--box", "5,5,30,40") == 0
    assert tifffile.imread(out / "scan.tif").shape == (3, 40, 60)
    planes = [o.plane for o in load_prompts(out / "scan.prompts.json").objects]
    assert planes == [(0,), (1,), (2,)]
    assert len(encoded) == 3


def test_prompts_of_one_plane_touch_no_other(encoded, rng, tmp_path) -> None:
    from napari_promise.data.export import SavedObject

    stack = rng.integers(0, 4000, (3, 40, 60)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "scan.tif", stack, photometric="minisblack")
    record = SavedObject(2, Prompts(boxes=[(5, 5, 30, 40)]), plane=(1,))
    save_prompts(tmp_path / "p.json", [record])
    out = tmp_path / "out"
    command = ("segment", tmp_path / "scan.tif", "-o", out)
    assert run(*command, "--prompts", tmp_path / "p.json") == 0
    labels = tifffile.imread(out / "scan.tif")
    assert not labels[[0, 2]].any()
    assert len(encoded) == 1


def test_prompts_of_a_plane_that_is_not_there_are_refused(
    picture, encoded, tmp_path, capsys
) -> None:
    from napari_promise.data.export import SavedObject

    record = SavedObject(2, Prompts(boxes=[(5, 5, 30, 40)]), plane=(7,))
    save_prompts(tmp_path / "p.json", [record])
    command = ("segment", picture, "-o", tmp_path / "out")
    assert run(*command, "--prompts", tmp_path / "p.json") == 1
    assert "has no plane (7,)" in one_line(capsys)


def test_a_nifti_result_lies_where_its_image_lies(encoded, rng, tmp_path) -> None:
    affine = np.array(
        [[-2, 0, 0, 90], [0, 1.5, 0.2, -126], [0, -0.2, 3, -72], [0, 0, 0, 1]]
    )
    for name, shape in [("volume", (60, 40, 2)), ("slice", (60, 40, 1))]:
        volume = rng.random(shape).astype(np.float32)
        path = tmp_path / f"{name}.nii.gz"
        nibabel.save(nibabel.Nifti1Image(volume, affine), path)
        out = tmp_path / "out"
        assert run("segment", path, "-o", out, "--box", "5,5,30,40") == 0
        result = nibabel.load(out / f"{name}.nii.gz")
        assert result.shape == shape
        assert np.allclose(result.affine, affine, atol=1e-5)


def test_contrast_limits_decide_what_is_encoded(encoded, rng, tmp_path) -> None:
    values = rng.integers(0, 4000, (40, 60)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", values)
    command = ("segment", tmp_path / "deep.tif", "-o", tmp_path / "out")
    run(*command, "--box", "5,5,30,40", "--contrast-limits", "1000,2000")
    expected = np.clip((values - 1000.0) / 1000, 0, 1) * 255
    assert np.abs(encoded[0][..., 0] - expected).max() <= 0.51


def test_same_pixels_a_box_over_the_edge_is_cut_as_elsewhere(
    picture, encoded, tmp_path
) -> None:
    for name, box in (("a", "10,20,30,9999"), ("b", "10,20,30,59.5")):
        assert run("segment", picture, "-o", tmp_path / name, "--box", box) == 0
    one, other = (read_mask(tmp_path / name / "frame.png") for name in "ab")
    assert np.array_equal(one, other)


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        (("--box", "10,15,10,30"), "has no area"),
        (("--box", "100,15,120,30"), "outside the image of 40 rows"),
        (("--points", "10,10,0"), "every point is to be excluded"),
    ],
)
def test_same_pixels_prompts_that_mean_nothing_are_refused_by_name(
    picture, encoded, tmp_path, capsys, prompt, words
) -> None:
    assert run("segment", picture, "-o", tmp_path / "out", *prompt) == 1
    assert words in one_line(capsys)
