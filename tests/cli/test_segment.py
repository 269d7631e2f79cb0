"""Many images, as a person or a script has them segmented: what is done, what fails."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from napari_promise.data.images import read_mask
from napari_promise.model.weights import model_file
from tests.cli.running import draw, one_line, run


def test_what_is_done_is_skipped_unless_forced(
    picture, encoded, tmp_path, capsys
) -> None:
    command = ("segment", picture, "-o", tmp_path / "out", "--no-cache", "--points")
    run(*command, "20,30")
    first = (tmp_path / "out" / "frame.prompts.json").read_bytes()
    assert run(*command, "5,5") == 0
    assert "0 segmented, 1 skipped" in capsys.readouterr().out
    assert len(encoded) == 1
    assert (tmp_path / "out" / "frame.prompts.json").read_bytes() == first
    assert run(*command, "5,5", "--force") == 0
    assert len(encoded) == 2
    assert (tmp_path / "out" / "frame.prompts.json").read_bytes() != first


def test_a_broken_file_does_not_stop_the_rest_and_is_named(
    picture, encoded, rng, tmp_path, capsys
) -> None:
    broken = picture.with_name("a_broken.png")
    broken.write_bytes(b"not a picture")
    draw(picture.with_name("z_last.png"), rng)
    out = tmp_path / "out"
    assert run("segment", picture.parent, "-o", out, "--points", "20,30") == 1
    captured = capsys.readouterr()
    assert str(broken) in captured.err
    assert captured.err.count("\n") == 1
    assert "2 segmented, 0 skipped, 1 failed" in captured.out
    assert (out / "frame.png").exists()
    assert (out / "z_last.png").exists()
    assert not list(out.glob("a_broken*"))


def test_an_image_is_encoded_once_for_all_runs(picture, encoded, tmp_path) -> None:
    for number in range(3):
        out = tmp_path / str(number)
        assert run("segment", picture, "-o", out, "--points", f"{20 + number},30") == 0
    assert len(encoded) == 1


def test_a_cached_embedding_gives_the_same_mask(picture, encoded, tmp_path) -> None:
    for name, option in [("a", "--cache"), ("b", "--cache"), ("c", "--no-cache")]:
        run("segment", picture, "-o", tmp_path / name, option, "--points", "20,30")
    a, b, c = ((tmp_path / n / "frame.png").read_bytes() for n in "abc")
    assert a == b == c
    assert len(encoded) == 2


def test_an_adapter_of_another_model_is_refused_with_both_names(
    picture, encoded, adapter, micro_sam, tmp_path, capsys
) -> None:
    micro_sam.model_id, micro_sam.sha256 = "vit_b", "f" * 64
    assert run("segment", picture, "-o", tmp_path / "out", "-a", adapter) == 2
    message = one_line(capsys)
    assert "micro" in message
    assert "vit_b" in message


def test_an_adapter_that_proposes_nothing_needs_other_prompts(
    picture, encoded, tmp_path, capsys
) -> None:
    from napari_promise.model.adapters import Adapter, AdapterInfo, save_adapter
    from napari_promise.model.pattern_shift import PatternEmbedding

    info = AdapterInfo("shift", "micro", "0" * 64, apm="none")
    folder = save_adapter(Adapter(info, None, PatternEmbedding(32)), tmp_path / "shift")
    command = ("segment", picture, "-o", tmp_path / "out", "--adapter", folder)
    assert run(*command) == 2
    assert "proposes no points" in one_line(capsys)
    assert run(*command, "--box", "5,5,30,40") == 0


def test_an_output_folder_that_cannot_be_made_is_said_in_one_line(
    picture, encoded, tmp_path, capsys
) -> None:
    (tmp_path / "file").write_text("")
    command = ("segment", picture, "--box", "5,5,30,40", "-o")
    assert run(*command, tmp_path / "file") == 2
    assert "is a file: give a folder" in one_line(capsys)
    assert run(*command, tmp_path / "file" / "out") == 1
    assert "file" in one_line(capsys)


@pytest.mark.slow
def test_the_bundled_model_segments_a_picture_as_a_user_runs_it(rng, tmp_path) -> None:
    if model_file("promise-tiny") is None:
        pytest.skip("the bundled weights are not in this checkout")
    picture = draw(tmp_path / "frame.png", rng, (240, 320))
    image = np.asarray(Image.open(picture)).copy()
    rows, columns = np.indices(image.shape[:2])
    disc = (rows - 120) ** 2 + (columns - 160) ** 2 < 60**2
    image[disc] = 220
    Image.fromarray(image).save(picture)
    command = [sys.executable, "-m", "napari_promise.cli", "segment", str(picture)]
    done = subprocess.run(
        [*command, "-o", str(tmp_path / "out"), "--points", "120,160,1"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    mask = read_mask(tmp_path / "out" / "frame.png") > 0
    dice = 2 * (mask & disc).sum() / (mask.sum() + disc.sum())
    assert dice > 0.8


@pytest.mark.slow
def test_the_bundled_adapter_prompts_itself_on_the_sample(tmp_path) -> None:
    from napari_promise.model.adapters import list_adapters

    names = [item.info.name for item in list_adapters() if item.bundled]
    if model_file("promise-tiny") is None or "polyp" not in names:
        pytest.skip("the bundled weights are not in this checkout")
    from napari_promise.data import samples

    image, truth = samples.endoscopy_scene()
    Image.fromarray(image).save(tmp_path / "scene.png")
    out = tmp_path / "out"
    assert run("segment", tmp_path / "scene.png", "-o", out, "-a", "polyp") == 0
    mask = read_mask(out / "scene.png") > 0
    dice = 2 * (mask & truth).sum() / (mask.sum() + truth.sum())
    assert dice > 0.7
