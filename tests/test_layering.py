"""The layering of the package, as pyproject.toml states it for import-linter."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]


def test_every_module_imports_only_what_its_layer_may() -> None:
    # Which is also: napari and Qt in the widgets only, torch never there.
    # A process of its own: import-linter sets up logging, which would silence the
    # loggers that other tests listen to.
    lint = (
        "from importlinter.cli import lint_imports\n"
        "raise SystemExit(lint_imports(no_cache=True))"
    )
    done = subprocess.run(
        [sys.executable, "-c", lint], cwd=ROOT, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr
