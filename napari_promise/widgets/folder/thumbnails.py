"""Reads thumbnails in a thread of its own, the one asked for last first."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable
from typing import Any

import numpy as np
from qtpy.QtGui import QImage, QPixmap

#: More requests than rows fit on a screen were scrolled past.
_REQUESTS_KEPT = 60


class Thumbnails:
    """Reads small pictures in the background.

    Parameters
    ----------
    read : callable
        Returns the picture of a key, (h, w, 3) uint8; may be slow.
    dispatch : callable
        Has a function called in the window's thread.
    show : callable
        Given a key and its `QPixmap`, or None where there is no picture.
    forget : callable
        Given a key whose picture will not come, because it was scrolled past.
    """

    def __init__(
        self,
        read: Callable[[str], np.ndarray],
        dispatch: Callable[[Callable[[], Any]], None],
        show: Callable[[str, QPixmap | None], None],
        forget: Callable[[str], None],
    ) -> None:
        self._read, self._dispatch = read, dispatch
        self._show, self._forget = show, forget
        self._requests: deque[str] = deque()
        self._wake = threading.Condition()
        self._open = True
        self._thread: threading.Thread | None = None

    def want(self, key: str) -> None:
        """Ask for a picture; returns at once. In the window's thread."""
        with self._wake:
            self._requests.append(key)
            dropped = self._requests.popleft() if self._is_full() else None
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._work, name="napari-promise thumbnails", daemon=True
                )
                self._thread.start()
            self._wake.notify()
        if dropped is not None:
            self._forget(dropped)

    def close(self) -> None:
        """Stop; does not wait."""
        with self._wake:
            self._open = False
            self._requests.clear()
            self._wake.notify()

    def _is_full(self) -> bool:
        return len(self._requests) > _REQUESTS_KEPT

    def _work(self) -> None:
        while True:
            with self._wake:
                while self._open and not self._requests:
                    self._wake.wait()
                if not self._open:
                    return
                key = self._requests.pop()
            try:
                picture = np.ascontiguousarray(self._read(key))
            except (OSError, ValueError):
                self._dispatch(lambda key=key: self._show(key, None))  # type: ignore[misc]
                continue
            self._dispatch(
                lambda key=key, p=picture: self._show(key, _pixmap(p))  # type: ignore[misc]
            )


def _pixmap(picture: np.ndarray) -> QPixmap:
    height, width = picture.shape[:2]
    image = QImage(
        picture.tobytes(), width, height, 3 * width, QImage.Format.Format_RGB888
    )
    return QPixmap.fromImage(image)
