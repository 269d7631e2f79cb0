"""The layering of the package, as pyproject.toml states it for import-linter."""

from __future__ import annotations

from pathlib import Path

from importlinter.cli import lint_imports

ROOT = Path(__file__).resolve().parents[1]


def test_every_module_imports_only_what_its_layer_may(capsys, monkeypatch) -> None:
    # Which is also: napari and Qt in the widgets only, torch never there.
    monkeypatch.chdir(ROOT)
    status = lint_imports(str(ROOT / "pyproject.toml"), no_cache=True)
    assert status == 0, capsys.readouterr().out
