"""Every image becomes a file of its own, and never another's."""

from __future__ import annotations

import numpy as np

from tests.cli.running import draw, one_line, run


def test_folders_patterns_and_files_become_one_result_each(
    picture, encoded, rng, tmp_path, capsys
) -> None:
    draw(picture.with_name("other.jpg"), rng)
    more = draw(tmp_path / "more.png", rng)
    out = tmp_path / "out"
    pattern = f"{picture.parent}/*.jpg"
    assert (
        run("segment", picture.parent, pattern, more, "-o", out, "--box", "1,1,9,9")
        == 0
    )
    assert sorted(path.name for path in out.glob("*.png")) == [
        "frame.png",
        "more.png",
        "other.png",
    ]
    assert "3 segmented" in capsys.readouterr().out


def test_one_image_may_become_a_named_file_of_any_format(
    picture, encoded, tmp_path, capsys
) -> None:
    for suffix in (".tif", ".npy", ".nii.gz", ".png"):
        target = tmp_path / f"mine{suffix}"
        assert run("segment", picture, "-o", target, "--box", "5,5,30,40") == 0
        assert target.is_file()
    command = ("segment", picture, "-o", tmp_path / "all", "--box", "5,5,30,40")
    assert run(*command, "--format", "npy") == 0
    assert np.load(tmp_path / "all" / "frame.npy").max() <= 1
    capsys.readouterr()
    two = ("segment", picture, picture.parent, "-o", tmp_path / "one.tif")
    draw(picture.with_name("b.png"), np.random.default_rng(1))
    assert run(*two, "--box", "5,5,30,40") == 2
    assert "one file for 2 images" in one_line(capsys)


def test_two_images_that_would_become_one_file_are_refused(
    picture, encoded, rng, tmp_path, capsys
) -> None:
    draw(picture.with_suffix(".jpg"), rng)
    command = ("segment", picture.parent, "-o", tmp_path / "out", "--box", "5,5,30,40")
    assert run(*command) == 2
    assert "would both become" in one_line(capsys)


def test_an_image_is_never_replaced_by_its_own_mask(picture, encoded, capsys) -> None:
    before = picture.read_bytes()
    command = ("segment", picture, "-o", picture.parent, "--box", "5,5,30,40")
    assert run(*command, "--force") == 2
    assert "replaced by its own result" in one_line(capsys)
    assert picture.read_bytes() == before
