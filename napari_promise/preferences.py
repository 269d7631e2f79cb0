"""Read and write the user's preferences, a small JSON file.

The file has no version that could be refused: nobody should be kept from working by
it. What one version of the program does not know it leaves there for the others.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from napari_promise.files import parse_json, user_folder, write_whole, written_by

__all__ = ["default_path", "read_preferences", "write_preferences"]


def default_path() -> Path:
    """Return where the user's preferences are kept (the file may not exist).

    The environment variable ``NAPARI_PROMISE_PREFERENCES`` overrides it.
    """
    named = os.environ.get("NAPARI_PROMISE_PREFERENCES")
    if named:
        return Path(named).expanduser()
    return user_folder("config") / "preferences.json"


def read_preferences(path: Path) -> dict[str, Any]:
    """Read preferences; a file that is missing or damaged holds none.

    Preferences are a convenience: nobody should be kept from working by a file that
    cannot be read.

    Parameters
    ----------
    path : pathlib.Path

    Returns
    -------
    dict
    """
    try:
        found = parse_json(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    if not isinstance(found, dict):
        return {}
    found.pop("written_by", None)
    return found


def write_preferences(path: Path, values: Mapping[str, Any]) -> None:
    """Write preferences, whole or not at all; others that are in the file stay.

    Parameters
    ----------
    path : pathlib.Path
        Its folder is made where missing.
    values : mapping
        What JSON can hold.

    Raises
    ------
    OSError
        If the file cannot be written; the earlier one is left as it was.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    whole = {**read_preferences(path), **values, "written_by": written_by()}
    text = json.dumps(whole, indent=2, sort_keys=True) + "\n"
    write_whole(path, text.encode())
