"""Adapters come, are shown, handed on, renamed and removed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.cli.running import one_line, run


@pytest.fixture
def own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("NAPARI_PROMISE_ADAPTERS", str(tmp_path / "own"))
    return tmp_path / "own"


def test_an_adapter_is_imported_listed_shown_verified_and_removed(
    adapter, own, capsys
) -> None:
    assert run("adapters", "import", adapter) == 0
    assert (own / "toy" / "adapter.json").is_file()
    capsys.readouterr()
    assert run("adapters") == 0
    assert "toy\tmicro\tdisc\t6 points\tyes" in capsys.readouterr().out
    assert run("adapters", "info", "toy") == 0
    assert json.loads(capsys.readouterr().out)["class_name"] == "disc"
    assert run("adapters", "verify", "toy") == 0
    assert "is right" in capsys.readouterr().out
    assert run("adapters", "remove", "toy", "--yes") == 0
    assert not (own / "toy").exists()


def test_an_adapter_is_exported_as_one_file_renamed_and_imported_again(
    adapter, own, tmp_path, capsys
) -> None:
    run("adapters", "import", adapter)
    file = tmp_path / "toy.promise-adapter"
    assert run("adapters", "export", "toy", "-o", file) == 0
    assert file.is_file()
    capsys.readouterr()
    assert run("adapters", "export", "toy", "-o", file) == 2
    assert "exists already" in one_line(capsys)
    assert run("adapters", "rename", "toy", "other") == 0
    assert not (own / "toy").exists()
    assert (own / "other" / "adapter.json").is_file()
    assert run("adapters", "import", file) == 0
    assert (own / "toy" / "adapter.json").is_file()
    capsys.readouterr()
    assert run("adapters", "rename", "polyp", "mine") == 2
    assert "bundled" in one_line(capsys)


def test_an_adapter_of_the_same_name_is_replaced_only_when_forced(
    adapter, own, capsys
) -> None:
    run("adapters", "import", adapter)
    capsys.readouterr()
    assert run("adapters", "import", adapter) == 2
    assert "add --force" in one_line(capsys)
    assert run("adapters", "import", adapter, "--force") == 0


def test_removing_asks_first(adapter, own, capsys, monkeypatch) -> None:
    run("adapters", "import", adapter)
    monkeypatch.setattr("sys.stdin", open("/dev/null"))
    assert run("adapters", "remove", "toy") == 1
    assert "was kept" in capsys.readouterr().err
    assert (own / "toy").is_dir()


def test_a_damaged_adapter_does_not_pass(adapter, capsys) -> None:
    (adapter / "adapter.safetensors").write_bytes(b"damaged")
    assert run("adapters", "verify", adapter) == 1
    assert "damaged" in one_line(capsys)
