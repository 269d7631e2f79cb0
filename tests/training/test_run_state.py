from __future__ import annotations

from pathlib import Path

import pytest
import torch

from napari_promise.training.run_state import (
    NAME,
    drop_state,
    load_state,
    save_state,
)


def test_a_state_comes_back_as_it_was(tmp_path: Path) -> None:
    state = {"weights": {"a": torch.randn(3)}, "curves": [{"loss": 0.25}], "epoch": 3}
    save_state(tmp_path / "new", "run", state)
    found = load_state(tmp_path / "new", "run")
    assert found is not None
    assert torch.equal(found["weights"]["a"], state["weights"]["a"])
    assert (found["curves"], found["epoch"]) == ([{"loss": 0.25}], 3)
    assert load_state(tmp_path, "run") is None


def test_the_state_of_another_run_is_refused(tmp_path: Path) -> None:
    save_state(tmp_path, "run", {})
    with pytest.raises(ValueError, match="other images, settings or base model"):
        load_state(tmp_path, "other")


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 half a file", b"\x80\x02."])
def test_a_damaged_state_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / NAME).write_bytes(content)
    with pytest.raises(ValueError, match="training.state cannot be read"):
        load_state(tmp_path, "run")


def test_a_write_that_dies_leaves_the_state_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save_state(tmp_path, "run", {"epoch": 1})

    def dies(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(torch, "save", dies)
        with pytest.raises(KeyboardInterrupt):
            save_state(tmp_path, "run", {"epoch": 2})
    assert load_state(tmp_path, "run") == {"epoch": 1}
    drop_state(tmp_path)
    assert not list(tmp_path.iterdir())
