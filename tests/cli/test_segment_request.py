"""Prompts that were saved are replayed, and what is not as it was is said."""

from __future__ import annotations

import numpy as np
import pytest
import tifffile

from napari_promise.cli.segment_request import read_request
from napari_promise.data.export import load_prompts, save_prompts
from napari_promise.data.images import read_mask
from napari_promise.prompts import Prompts
from tests.cli.running import draw, one_line, run


def test_saved_prompts_replay_to_the_same_mask(picture, encoded, tmp_path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    run("segment", picture, "-o", first, "--points", "20,30;25,35,0")
    run("segment", picture, "-o", second, "--prompts", first / "frame.prompts.json")
    assert (first / "frame.png").read_bytes() == (second / "frame.png").read_bytes()


def test_a_replay_says_when_model_or_adapter_is_another(
    picture, encoded, adapter, micro_sam, tmp_path, capsys
) -> None:
    first = tmp_path / "first"
    run("segment", picture, "-o", first, "--box", "5,5,30,40", "--adapter", adapter)
    replay = ("segment", picture, "--prompts", first / "frame.prompts.json", "-o")
    assert run(*replay, tmp_path / "same", "--adapter", adapter) == 0
    assert capsys.readouterr().err == ""
    assert run(*replay, tmp_path / "other") == 0
    assert "adapter toy then and none now" in one_line(capsys)
    assert run(*replay, tmp_path / "no-ips", "--adapter", adapter, "--no-ips") == 0
    assert "IPS True then and False now" in one_line(capsys)
    assert run(*replay, tmp_path / "whole", "--adapter", adapter, "--no-local") == 0
    assert "local corrections True then and False now" in one_line(capsys)


def test_a_replay_on_another_image_is_done_and_said(
    picture, encoded, rng, tmp_path, capsys
) -> None:
    run("segment", picture, "-o", tmp_path / "first", "--box", "5,5,30,40")
    prompts = tmp_path / "first" / "frame.prompts.json"
    other = draw(tmp_path / "other.png", rng)
    command = ("segment", picture, other, "-o", tmp_path / "again")
    assert run(*command, "--prompts", prompts) == 0
    message = one_line(capsys)
    assert "other.png" in message
    assert "not the pixels" in message


def test_a_replay_sees_the_contrast_that_the_prompts_were_made_on(
    encoded, rng, tmp_path
) -> None:
    values = rng.integers(0, 4000, (40, 60)).astype(np.uint16)
    tifffile.imwrite(tmp_path / "deep.tif", values)
    first, again = tmp_path / "first", tmp_path / "again"
    command = ("segment", tmp_path / "deep.tif", "-o")
    limits = ("--contrast-limits", "1000,2000")
    run(*command, first, "--box", "5,5,30,40", *limits)
    run(*command, again, "--prompts", first / "deep.prompts.json", "--no-cache")
    assert len(encoded) == 2
    assert np.array_equal(encoded[0], encoded[1])


def test_several_replayed_objects_keep_their_ids_and_classes(
    picture, encoded, tmp_path
) -> None:
    from napari_promise.data.export import SavedObject

    objects = [
        SavedObject(4, Prompts(boxes=[(2, 2, 15, 15)]), class_name="a"),
        SavedObject(300, Prompts(boxes=[(20, 30, 38, 58)]), class_name="b"),
    ]
    save_prompts(tmp_path / "p.json", objects)
    out = tmp_path / "out"
    assert run("segment", picture, "-o", out, "--prompts", tmp_path / "p.json") == 0
    assert set(np.unique(read_mask(out / "frame.png"))) <= {0, 4, 300}
    back = load_prompts(out / "frame.prompts.json").objects
    assert [(o.id, o.class_name) for o in back] == [(4, "a"), (300, "b")]


def test_contrast_limits_are_a_window_of_ct_by_its_name() -> None:
    request = read_request(["3,4"], None, None, "lung", None)
    assert request.contrast_limits == (-1350, 150)
    with pytest.raises(ValueError, match=r"--contrast-limits 'kidney' is no window"):
        read_request(["3,4"], None, None, "kidney", None)
