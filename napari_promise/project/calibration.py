"""What the confidence of proposals was worth so far in one project.

Learnt from images that the user finished after a proposal, and from what a file in the
project says of other images, such as those that were held out of a training.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from napari_promise.files import parse_json
from napari_promise.project.confidence import Calibration
from napari_promise.project.items import Entry

__all__ = ["CalibrationStore"]


class _Unknown:
    """Stands for a calibration that nobody asked for yet; None is one of none."""


_UNKNOWN = _Unknown()


class CalibrationStore:
    """Fits a calibration when it is asked for, and forgets it when more is known.

    Not safe between threads by itself: the ledger holds its lock around every call.

    Parameters
    ----------
    path : Path
        JSON with pairs of raw confidence and Dice as ``held_out``; need not exist.
    entries : callable
        Returns all entries of the project.
    """

    def __init__(self, path: Path, entries: Callable[[], Iterable[Entry]]) -> None:
        self._path = path
        self._entries = entries
        self._held_out = _read(path)
        self._calibration: Calibration | None | _Unknown = _UNKNOWN

    @property
    def calibration(self) -> Calibration | None:
        """What a raw confidence is worth; None where too little is known."""
        found = self._calibration
        if isinstance(found, _Unknown):
            pairs = [_pair_of(entry) for entry in self._entries()]
            known = [pair for pair in pairs if pair is not None]
            found = self._calibration = Calibration.fit([*self._held_out, *known])
        return found

    def learn(self, before: Entry | None, after: Entry) -> bool:
        """Take notice of an entry that replaced another.

        Returns
        -------
        bool
            Whether what was said of confidence may be different now.
        """
        if _pair_of(before) == _pair_of(after):
            return False
        was, self._calibration = self._calibration, _UNKNOWN
        return was is not None or self.calibration is not None


def _pair_of(entry: Entry | None) -> tuple[float, float] | None:
    if entry is None or entry.raw is None or entry.dice is None:
        return None
    return entry.raw, entry.dice


def _read(path: Path) -> list[tuple[float, float]]:
    try:
        found = parse_json(path.read_text(encoding="utf-8"))["held_out"]
        return [(float(raw), float(dice)) for raw, dice in found]
    except (OSError, ValueError, KeyError, TypeError, OverflowError):
        return []
