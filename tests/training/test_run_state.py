from __future__ import annotations

from pathlib import Path

import pytest
import torch

from napari_promise.training import run_state
from napari_promise.training.run_state import NAME, RunState


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {"weights": {"a": torch.randn(3)}, "curves": [{"loss": 0.25}], "epoch": 3}
    RunState(tmp_path / "new", "run").save(state)
    found = RunState(tmp_path / "new", "run").load()
    assert found is not None
    assert torch.equal(found["weights"]["a"], state["weights"]["a"])
    assert (found["curves"], found["epoch"]) == ([{"loss": 0.25}], 3)
    assert RunState(tmp_path, "run").load() is None


def test_the_state_of_another_run_is_refused(tmp_path: Path) -> None:
    RunState(tmp_path, "run").save({})
    with pytest.raises(ValueError, match="other images, settings or base model"):
        RunState(tmp_path, "other").load()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file", b"\x80\x02."])
def test_a_damaged_state_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(ValueError, match="training.state cannot be read"):
        RunState(tmp_path, "run").load()


def test_a_write_that_dies_leaves_the_state_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    RunState(tmp_path, "run").save({"epoch": 1})

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", dies)
        with pytest.raises(KeyboardInterrupt):
            RunState(tmp_path, "run").save({"epoch": 2})
    assert RunState(tmp_path, "run").load() == {"epoch": 1}
    RunState(tmp_path, "run").drop()
    assert not list(tmp_path.iterdir())


def test_a_run_that_is_done_leaves_no_state_and_no_leftover(tmp_path: Path) -> None:
    """A process killed while writing leaves its temporary file."""
    RunState(tmp_path, "run").save({})
    (tmp_path / NAME).rename(tmp_path / f".writing-0123abcd-{NAME}")
    RunState(tmp_path, "run").save({})
    (tmp_path / "adapter.json").write_text("{}")
    RunState(tmp_path, "run").drop()
    assert [path.name for path in tmp_path.iterdir()] == ["adapter.json"]


def test_a_state_that_takes_long_to_write_is_written_seldom(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 100.0
    monkeypatch.setattr(run_state.time, "monotonic", lambda: now)
    state = RunState(tmp_path, "run")
    assert state.is_due

    def slow(*_: object) -> None:
        nonlocal now
        now += 2

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", slow)
        state.save({})
    now += 39
    assert not state.is_due
    now += 1
    assert state.is_due
