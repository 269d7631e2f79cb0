"""Read and write the user's preferences, a small JSON file.

Knows files only: not what the preferences mean, nor who asks for them.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import platformdirs

__all__ = ["default_path", "read_preferences", "write_preferences"]


def default_path() -> Path:
    """Return where the user's preferences are kept (the file may not exist).

    The environment variable ``NAPARI_PROMISE_PREFERENCES`` overrides it.
    """
    named = os.environ.get("NAPARI_PROMISE_PREFERENCES")
    if named:
        return Path(named).expanduser()
    return Path(platformdirs.user_config_dir("napari-promise")) / "preferences.json"


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
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def write_preferences(path: Path, values: Mapping[str, Any]) -> None:
    """Write preferences, whole or not at all.

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
    text = json.dumps(dict(values), indent=2, sort_keys=True) + "\n"
    handle, temporary = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(temporary, path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
