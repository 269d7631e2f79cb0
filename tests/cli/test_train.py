"""A training is given what was asked for, and its run is told."""

from __future__ import annotations

from typing import Any

import pytest

from tests.cli.running import one_line, run


class Step:
    """What a training run says of one step."""

    def __init__(self, phase: str, step: int, **more: Any) -> None:
        self.phase, self.step, self.total = phase, step, 2
        self.loss = more.get("loss")
        self.message = more.get("message", "")
        self.held_out = more.get("held_out", {})
        self.eta = more.get("eta")


def test_train_passes_its_arguments_on_and_tells_the_scores(
    pairs, tmp_path, capsys, monkeypatch
) -> None:
    from napari_promise.training import trainer

    configs = []

    def fake(config: Any, *_: Any, **__: Any) -> Any:
        configs.append(config)
        yield Step("embed", 1, message="one image was left out")
        yield Step("apm", 2, loss=0.5, held_out={"automatic": 0.75})

    monkeypatch.setattr(trainer, "train", fake)
    out = tmp_path / "my-adapter"
    command = ("train", "--images", pairs[0], "--masks", pairs[1], "-o", out)
    options = ("--points", 6, "--no-ips", "--epochs", 3, "--seed", 7, "--group", "^(.)")
    assert run(*command, *options, "--class-name", "polyp", "--held-out", 0.3) == 0
    (config,) = configs
    assert (config.name, config.output, config.points) == ("my-adapter", out, 6)
    assert (config.ips, config.apm_epochs, config.seed) == (False, 3, 7)
    assert (config.class_name, config.held_out_share) == ("polyp", 0.3)
    assert [pair.group for pair in config.pairs] == ["a", "b", "c"]
    captured = capsys.readouterr()
    assert "automatic Dice, held out: 0.750" in captured.out
    assert "one image was left out" in captured.err


def test_train_takes_pairs_from_a_table_and_goes_on_where_it_stopped(
    pairs, tmp_path, capsys, monkeypatch
) -> None:
    from napari_promise.training import trainer

    configs = []

    def fake(config: Any, *_: Any, **__: Any) -> Any:
        configs.append(config)
        yield Step("embed", 1, eta=90.0)

    monkeypatch.setattr(trainer, "train", fake)
    table = tmp_path / "table.csv"
    lines = [f"{pairs[0] / n}.png,{pairs[1] / n}.png,set/{n}" for n in "abc"]
    table.write_text("\n".join(["image,mask,group", *lines]))
    out = tmp_path / "my-adapter"
    out.mkdir()
    (out / "adapter.json").write_text("{}")
    command = ("train", "--pairs", table, "-o", out)
    assert run(*command) == 2
    assert "--resume" in one_line(capsys)
    options = ("--resume", "--cache", tmp_path / "views", "--cache-quota", "1.5")
    assert run(*command, *options, "--no-keep-cache", "--auxiliary", "0") == 0
    (config,) = configs
    assert [pair.group for pair in config.pairs] == ["set/a", "set/b", "set/c"]
    assert (config.resume, config.keep_cache) == (True, False)
    assert (config.cache, config.cache_quota) == (tmp_path / "views", 1500000000)
    assert (config.auxiliary, config.trained_on) == (0.0, "table")


def test_train_wants_two_folders_or_a_table(pairs, tmp_path, capsys) -> None:
    out = ("-o", tmp_path / "o")
    assert run("train", "--images", pairs[0], *out) == 2
    assert "--images and --masks, or a table" in one_line(capsys)
    assert run("train", "--images", pairs[0], "--pairs", "p.csv", *out) == 2
    assert "not both" in one_line(capsys)


def test_train_names_the_images_that_have_no_mask(
    pairs, tmp_path, capsys, monkeypatch
) -> None:
    from napari_promise.training import trainer

    monkeypatch.setattr(
        trainer, "train", lambda *_, **__: (s for s in [Step("done", 1)])
    )
    (pairs[1] / "b.png").unlink()
    command = ("train", "--images", pairs[0], "--masks", pairs[1], "-o", tmp_path / "o")
    assert run(*command) == 2
    assert "--skip-unpaired" in one_line(capsys)
    assert run(*command, "--skip-unpaired") == 0
    assert "1 images have no mask: b.png" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--apm", "transformer"), "transformer"),
        (("--points", "0"), "points must be 1 to 64"),
        (("--apm", "none", "--no-ips"), "nothing to train"),
        (("--epochs", "0"), "at least 1"),
        (("--held-out", "0.9"), "0.05 to 0.5"),
        (("--name", "a/b"), "adapter name"),
    ],
)
def test_train_refuses_bad_values_before_it_begins(
    options, message, pairs, tmp_path, capsys
) -> None:
    command = ("train", "--images", pairs[0], "--masks", pairs[1], "-o", tmp_path / "o")
    assert run(*command, *options) == 2
    assert message in one_line(capsys)
    assert not (tmp_path / "o").exists()


def test_train_keeps_an_earlier_adapter_unless_forced(pairs, adapter, capsys) -> None:
    command = ("train", "--images", pairs[0], "--masks", pairs[1], "-o", adapter)
    assert run(*command) == 2
    assert "holds an adapter already" in one_line(capsys)


def test_a_failed_training_is_one_line_and_status_1(
    pairs, tmp_path, capsys, monkeypatch
) -> None:
    from napari_promise.training import trainer

    def fails(config: Any, *_: Any, **__: Any) -> Any:
        raise ValueError("every mask is empty: check that foreground is above zero")
        yield

    monkeypatch.setattr(trainer, "train", fails)
    command = ("train", "--images", pairs[0], "--masks", pairs[1], "-o", tmp_path / "o")
    assert run(*command) == 1
    masks, failure = capsys.readouterr().err.splitlines()
    assert " masks read as " in masks  # how the set was understood
    assert "every mask is empty" in failure


def test_stopping_a_training_says_what_was_kept(
    pairs, tmp_path, capsys, monkeypatch
) -> None:
    from napari_promise.training import trainer

    closed = []

    def interrupted(config: Any, *_: Any, **__: Any) -> Any:
        try:
            yield Step("apm", 1)
            raise KeyboardInterrupt
        finally:
            closed.append(True)

    monkeypatch.setattr(trainer, "train", interrupted)
    command = ("train", "--images", pairs[0], "--masks", pairs[1], "-o", tmp_path / "o")
    assert run(*command) == 1
    assert "stopped; nothing was kept" in capsys.readouterr().err.splitlines()[-1]
    assert closed
