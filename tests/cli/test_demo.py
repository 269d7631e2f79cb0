"""The demonstration is started as it was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cli.running import run


def test_the_demo_is_handed_its_options(tmp_path, monkeypatch) -> None:
    from napari_promise import demo

    asked = []

    def fake(auto: bool | None = None, out: Any = "demo") -> int:
        asked.append((auto, out))
        return len(asked) - 1

    monkeypatch.setattr(demo, "main", fake)
    assert run("demo") == 0
    assert run("demo", "--auto", "-o", tmp_path) == 1
    assert asked == [(None, Path("demo")), (True, tmp_path)]
