"""The state of a training run on disk, so that a killed run can go on.

One file beside the adapter, written whole under a temporary name and then renamed: a
reader finds the state after some pass, or none. It belongs to one run, told by a
fingerprint of everything that decides where the run ends.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch

from napari_promise.files import check_version, one_line, whole_file, written_by
from napari_promise.training.config import TrainConfig
from napari_promise.training.view_cache import file_digest

NAME = "training.state"
FORMAT = 1
#: Share of the time that writing the state may take.
SAVING = 0.05
#: Settings that do not decide where a run ends: where it runs and writes, and what is
#: said about it. Images and the base model are in the digests of the views.
_UNDECIDING = {
    *("pairs", "held_out", "output", "device", "resume", "note", "version"),
    *("cache", "keep_cache", "cache_quota", "class_name", "trained_on"),
    *("name", "licence", "model", "start"),
}


def fingerprint(config: TrainConfig, digests: Sequence[str]) -> str:
    """Digest of everything that decides where a run ends.

    Parameters
    ----------
    config : TrainConfig
    digests : sequence of str
        Of the views that are used, in order, see `embedder.Embedder`.

    Returns
    -------
    str
        Hexadecimal.
    """
    decides = {
        name: value for name, value in vars(config).items() if name not in _UNDECIDING
    }
    if config.start is not None:
        earlier = sorted(Path(config.start).glob("*.safetensors"))
        decides["start"] = [file_digest(path) for path in earlier]
    text = json.dumps([decides, list(digests)], sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()


class RunState:
    """The file in which one run says where it stands.

    Parameters
    ----------
    folder : pathlib.Path
        Made where missing.
    fingerprint : str
        Of the run.
    """

    def __init__(self, folder: Path, fingerprint: str) -> None:
        self.folder = folder
        self.fingerprint = fingerprint
        self._saved_at, self._saving_took = time.monotonic(), 0.0

    @property
    def is_due(self) -> bool:
        """Whether writing now takes no more than `SAVING` of the time."""
        return time.monotonic() - self._saved_at >= self._saving_took / SAVING

    def save(self, state: dict[str, Any]) -> None:
        """Write a state, in place of an earlier one.

        Parameters
        ----------
        state : dict
            Tensors, numbers, strings, lists and dicts of these.
        """
        started = time.monotonic()
        self.folder.mkdir(parents=True, exist_ok=True)
        whole = {
            "format": FORMAT,
            "written_by": written_by(),
            "fingerprint": self.fingerprint,
            "state": state,
        }
        with whole_file(self.folder / NAME, overwrite=True) as temporary:
            torch.save(whole, temporary)
        self._saved_at = time.monotonic()
        self._saving_took = self._saved_at - started

    def load(self) -> dict[str, Any] | None:
        """Read the state; None where there is none.

        Raises
        ------
        ValueError
            If it belongs to another run, or cannot be read.
        """
        path = self.folder / NAME
        if not path.is_file():
            return None
        try:
            whole = torch.load(path, map_location="cpu", weights_only=True)
            found, state = whole["fingerprint"], whole["state"]
        except MemoryError:
            raise
        except Exception as error:  # every kind of damage raises one of its own
            line = one_line(error)
            raise ValueError(
                f"{path} cannot be read ({line}): remove it, or train without resuming"
            ) from error
        check_version(whole, FORMAT, path, key="format")
        if found != self.fingerprint:
            raise ValueError(
                f"{path} belongs to a run with other images, settings or base model: "
                "repeat that run's arguments, or train without resuming"
            )
        return dict(state)

    def drop(self) -> None:
        """Remove the state of a run that is done, and what died while writing it."""
        for path in (self.folder / NAME, *self.folder.glob(f".writing-*-{NAME}")):
            path.unlink(missing_ok=True)
