"""What tests ask of a folder."""

from __future__ import annotations

from pathlib import Path


def left_in(folder: Path) -> list[str]:
    """Names of everything that lies in a folder, sorted."""
    return sorted(path.name for path in folder.iterdir())
