"""Scores on images with masks: shown, kept, and nothing measured in vain."""

from __future__ import annotations

import json

import numpy as np
import pytest
from PIL import Image

from tests.cli.running import one_line, run


@pytest.mark.parametrize("prompts", ["click:2", "box", "gt:6"])
def test_evaluate_writes_every_score_as_json(
    prompts, pairs, encoded, tmp_path, capsys
) -> None:
    report = tmp_path / "scores.json"
    command = ("evaluate", "--images", pairs[0], "--masks", pairs[1])
    assert run(*command, "--prompts", prompts, "--json", report) == 0
    data = json.loads(report.read_text())
    assert data["prompts"] == prompts
    assert data["summary"]["images"] == 3
    assert len(data["scores"]) == 3
    captured = capsys.readouterr()
    header, kind, *rows = captured.out.splitlines()
    assert header.split("\t") == ["measure", prompts]
    assert kind.split("\t") == ["prompts are", "prompted from the truth"]
    assert "Dice\t0." in "\n".join(rows)
    assert "bootstrap" in captured.err
    assert set(data["summary"]) >= set(data["intervals"])


def test_evaluate_takes_several_ways_of_prompting_and_leaves_what_it_is_asked_for(
    pairs, encoded, adapter, tmp_path, capsys
) -> None:
    files = {name: tmp_path / "out" / name for name in ("a.json", "a.csv", "page")}
    files["a.csv"].parent.mkdir()
    command = ("evaluate", "--images", pairs[0], "--masks", pairs[1])
    command += ("--adapter", adapter, "--prompts", "auto,gt:6", "--prompts", "box")
    command += ("--json", files["a.json"], "--csv", files["a.csv"])
    command += ("--overlays", files["page"], "--group", "[ab]")
    assert run(*command) == 0
    out = capsys.readouterr().out
    assert out.splitlines()[0].split("\t") == ["measure", "auto", "gt:6", "box"]
    reports = json.loads(files["a.json"].read_text())["reports"]
    assert [report["prompts"] for report in reports] == ["auto", "gt:6", "box"]
    assert reports[0]["bootstrap"]["by"] == "group"
    assert {score["group"] for score in reports[0]["scores"]} == {"a", "b", None}
    assert len(files["a.csv"].read_text().splitlines()) == 4
    assert (files["page"] / "overlays.html").stat().st_size > 1000
    encoded.clear()
    for kept in ("--json", "--csv", "--overlays"):
        at = command.index(kept)
        assert run(*command[:at], *command[at + 2 :]) == 2
        assert "exists already" in one_line(capsys)
    assert run(*command) == 2
    assert encoded == []


def test_evaluate_without_monai_says_so_and_goes_on(
    pairs, encoded, capsys, monkeypatch
) -> None:
    from napari_promise.training import metrics

    monkeypatch.setattr(metrics, "has_monai", lambda: False)
    command = ("evaluate", "--images", pairs[0], "--masks", pairs[1])
    assert run(*command, "--prompts", "box", "--limit", "1") == 0
    captured = capsys.readouterr()
    assert "napari-promise[metrics]" in captured.err
    assert "HD95" not in captured.out


@pytest.mark.parametrize("prompts", ["box,box", "box,nothing"])
def test_ways_of_prompting_given_twice_or_unknown_are_refused(
    prompts, pairs, encoded, capsys
) -> None:
    command = ("evaluate", "--images", pairs[0], "--masks", pairs[1])
    assert run(*command, "--prompts", prompts) == 2
    assert "--prompts box" in one_line(capsys) or prompts.endswith("nothing")
    assert encoded == []


def test_automatic_scores_need_an_adapter_and_have_their_own_column(
    pairs, encoded, adapter, capsys
) -> None:
    command = ("evaluate", "--images", pairs[0], "--masks", pairs[1], "--json", "-")
    assert run(*command, "--prompts", "auto", "--adapter", adapter) == 0
    summary = json.loads(capsys.readouterr().out)["summary"]
    assert "automatic_dice" in summary
    assert "frozen_automatic_dice" in summary
    assert "gt_prompted_dice" not in summary


def test_an_earlier_report_is_kept_and_said_before_anything_is_measured(
    pairs, encoded, tmp_path, capsys
) -> None:
    report = tmp_path / "scores.json"
    report.write_text("earlier")
    command = ("evaluate", "--images", pairs[0], "--masks", pairs[1], "--json", report)
    assert run(*command, "--prompts", "box") == 2
    assert "exists already" in one_line(capsys)
    assert report.read_text() == "earlier"
    assert encoded == []
    assert run(*command, "--prompts", "box", "--force") == 0


def test_evaluate_measures_the_rest_and_names_a_broken_file(
    pairs, encoded, tmp_path, capsys
) -> None:
    (pairs[0] / "b.png").write_bytes(b"broken")
    command = ("evaluate", "--images", pairs[0], "--masks", pairs[1], "--json", "-")
    assert run(*command, "--prompts", "box") == 1
    captured = capsys.readouterr()
    assert json.loads(captured.out)["summary"]["images"] == 2
    assert "b.png" in captured.err


def test_an_image_without_an_object_is_left_out_and_is_no_failure(
    pairs, encoded, capsys
) -> None:
    Image.fromarray(np.zeros((40, 60), np.uint8)).save(pairs[1] / "b.png")
    command = ("evaluate", "--images", pairs[0], "--masks", pairs[1])
    assert run(*command, "--prompts", "box") == 0
    assert "its mask is empty" in capsys.readouterr().err


def test_images_without_masks_are_named_or_left_out(pairs, encoded, capsys) -> None:
    (pairs[1] / "b.png").unlink()
    command = (
        "evaluate",
        "--images",
        pairs[0],
        "--masks",
        pairs[1],
        "--prompts",
        "box",
    )
    assert run(*command) == 2
    assert "b.png" in one_line(capsys)
    assert run(*command, "--skip-unpaired", "--limit", "1") == 0
