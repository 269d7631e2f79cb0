"""The demonstration is started as it was asked for."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from tests.cli.running import run


def test_the_demo_is_handed_its_options(tmp_path, monkeypatch) -> None:
    from napari_promise import demo

    asked = []

    def fake(
        auto: bool | None = None, out: Any = "demo", sample: str = "endoscopy"
    ) -> int:
        asked.append((auto, out, sample))
        return len(asked) - 1

    monkeypatch.setattr(demo, "main", fake)
    assert run("demo") == 0
    assert run("demo", "--auto", "-o", tmp_path) == 1
    assert run("demo", "--sample", "cells") == 2
    assert asked == [
        (None, Path("demo"), "endoscopy"),
        (True, tmp_path, "endoscopy"),
        (None, Path("demo"), "cells"),
    ]


def test_a_sample_that_is_not_there_is_named_with_those_that_are(capsys) -> None:
    from napari_promise import demo

    assert demo.main(sample="unicorns") == 1
    assert "there are endoscopy, volume, cells" in capsys.readouterr().err
