"""What the user sets for a project; saved with it."""

from __future__ import annotations

import getpass
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Literal, get_args

from psygnal import SignalGroupDescriptor

from napari_promise.files import (
    NewerFileError,
    check_version,
    parse_json,
    save_json,
    written_by,
)

__all__ = ["Order", "ProjectSettings"]

#: Version 0.1 wrote no number into its files, which are of version 1 too.
_VERSION = 1

#: The folder's order, or the weakest first.
Order = Literal["folder", "confidence"]


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError, ImportError):  # a container without accounts
        return ""


@dataclass
class ProjectSettings:
    """Settings of one project.

    Attributes
    ----------
    class_name : str
        The class of new objects.
    retrain_every : int
        Train again whenever so many more images are done; 0 for never.
    adapter : str
        The adapter that proposes; empty for none.
    order : {"folder", "confidence"}
    suggest : bool
        Whether the next image opens with a suggestion, learnt from those that are done.
    suggester : str
        The trained adapter that was found better at it, where one was; else empty.
    user : str
        Who works here; the account's name to begin with.
    """

    class_name: str = ""
    retrain_every: int = 0
    adapter: str = ""
    order: Order = "folder"
    suggest: bool = True
    suggester: str = ""
    user: str = ""

    events: ClassVar[SignalGroupDescriptor] = SignalGroupDescriptor()

    def save(self, path: Path) -> None:
        """Write the settings, whole or not at all."""
        stamp = {"version": _VERSION, "written_by": written_by()}
        save_json(path, {**stamp, **asdict(self)}, overwrite=True)

    @classmethod
    def load(cls, path: Path) -> ProjectSettings:
        """Read settings; what is missing or makes no sense is as in a new project.

        Raises
        ------
        NewerFileError
            If a later version of the program wrote them.
        """
        found: dict[str, Any] = {}
        try:
            data = parse_json(path.read_text(encoding="utf-8"))
            check_version({"version": _VERSION, **data}, _VERSION, path)
            for field in fields(cls):
                value = data.get(field.name)
                if type(value) is type(field.default):
                    found[field.name] = value
        except NewerFileError:
            raise
        except (OSError, ValueError, AttributeError, TypeError):
            pass
        if found.get("order") not in get_args(Order):
            found.pop("order", None)
        if found.get("retrain_every", 0) < 0:
            found.pop("retrain_every")
        found["user"] = found.get("user") or _user()
        return cls(**found)
