"""A window that somebody walks through: waiting for it, and taking its picture."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

#: So long messages of napari take to fade, in seconds.
_FADED = 5.5


class Walking:
    """What every walk does with its window.

    Parameters
    ----------
    viewer : napari.Viewer
    out : Path
        Folder of the pictures.
    patience : float
        Seconds that something may take.

    Attributes
    ----------
    failures : list of str
        The walk ends at the first.
    """

    def __init__(self, viewer: Any, out: Path, patience: float) -> None:
        self.viewer = viewer
        self.failures: list[str] = []
        self._out, self._patience = out, patience

    def until(self, condition: Callable[[], bool]) -> None:
        """Let the window work until something is so."""
        from qtpy.QtWidgets import QApplication

        end = time.monotonic() + self._patience
        while not condition():
            QApplication.processEvents()
            time.sleep(0.005)
            if self.failures:
                raise SystemExit(self.failures[0])
            if time.monotonic() > end:
                raise SystemExit(f"nothing happened for {self._patience:.0f} s")

    def rest(self, seconds: float) -> None:
        """Let the window paint."""
        end = time.monotonic() + seconds
        self.until(lambda: time.monotonic() > end)

    def take(self, name: str, widget: Any = None) -> None:
        """Take a picture of the whole window, or of one of its own windows."""
        self.rest(_FADED)
        path = str(self._out / f"{name}.png")
        if widget is None:
            self.viewer.screenshot(path, canvas_only=False, flash=False)
        else:
            widget.grab().save(path)
        print(path, flush=True)
