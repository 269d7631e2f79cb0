"""The state of a training run on disk, so that a killed run can go on.

One file beside the adapter, written whole under a temporary name and then renamed: a
reader finds the state after some pass, or none. It belongs to one run, told by a
fingerprint of everything that decides it. The module knows no models or training.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

from napari_promise.files import one_line, whole_file

NAME = "training.state"
FORMAT = 1


def save_state(folder: Path, fingerprint: str, state: dict[str, Any]) -> None:
    """Write a state, in place of an earlier one.

    Parameters
    ----------
    folder : pathlib.Path
        Made where missing.
    fingerprint : str
        Of the run.
    state : dict
        Tensors, numbers, strings, lists and dicts of these.
    """
    folder.mkdir(parents=True, exist_ok=True)
    whole = {"format": FORMAT, "fingerprint": fingerprint, "state": state}
    with whole_file(folder / NAME, overwrite=True) as temporary:
        torch.save(whole, temporary)


def load_state(folder: Path, fingerprint: str) -> dict[str, Any] | None:
    """Read the state of a run; None where there is none.

    Parameters
    ----------
    folder : pathlib.Path
    fingerprint : str
        Of the run that wants to go on.

    Raises
    ------
    ValueError
        If the state belongs to another run, or cannot be read.
    """
    path = folder / NAME
    if not path.is_file():
        return None
    try:
        whole = torch.load(path, map_location="cpu", weights_only=True)
        kind, found, state = (whole[k] for k in ("format", "fingerprint", "state"))
    except MemoryError:
        raise
    except Exception as error:  # every kind of damage raises one of its own
        line = one_line(error)
        raise ValueError(
            f"{path} cannot be read ({line}): remove it, or train without resuming"
        ) from error
    if kind != FORMAT or found != fingerprint:
        raise ValueError(
            f"{path} belongs to a run with other images, settings or base model: "
            "repeat that run's arguments, or train without resuming"
        )
    return dict(state)


def drop_state(folder: Path) -> None:
    """Remove the state of a run that is done, and what died while it was written."""
    for path in (folder / NAME, *folder.glob(f".{NAME}-*")):
        path.unlink(missing_ok=True)
