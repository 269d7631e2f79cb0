"""A window that propagates an object through a folder's stack until it is killed.

    python -m tests.widgets.volumes.window_to_kill FOLDER SAVED

Makes the file SAVED once the first planes are found and on the disk; the propagation
waits there, in the middle of its way.
"""

from __future__ import annotations

import functools
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from napari_promise.jobs.propagating import Propagate
from tests.widgets.volumes.discs import CENTRE, PLANES, Discs, as_prompt

#: Planes that are found before it waits.
ENOUGH = 4
START = PLANES // 2


class Waiting(Discs):
    """Finds a few planes, and no more."""

    def go(self, z_range: Any, labels: Any) -> Iterator[Any]:
        for number, result in enumerate(super().go(z_range, labels), 1):
            yield result
            if number == ENOUGH:
                Discs.may_go.clear()


def main(folder: Path, saved: Path) -> None:
    """Open the folder, click, press P, and go on until the end."""
    import napari
    from qtpy.QtWidgets import QApplication

    from napari_promise.data.embeddings import EmbeddingCache
    from napari_promise.session import Session, Settings
    from napari_promise.widgets.dispatch import GuiDispatcher
    from napari_promise.widgets.folder.dock import FolderWidget
    from napari_promise.widgets.prompting.dock import PromiseWidget
    from napari_promise.widgets.volumes import controller
    from tests.widgets.conftest import DiscSegmenter

    controller.Propagate = functools.partial(  # type: ignore[assignment, misc]
        Propagate, make=Waiting, as_prompt=as_prompt
    )
    Discs.may_go.set()
    viewer, model = napari.Viewer(show=False), DiscSegmenter()
    session = Session(
        dispatch=GuiDispatcher(),
        settings=Settings(adapter=""),
        cache=EmbeddingCache(None),
        loader=lambda _name, **_options: model,
    )
    dock = PromiseWidget(viewer, session)
    viewer.window.add_dock_widget(dock)
    widget = FolderWidget(viewer)
    viewer.window.add_dock_widget(widget)

    def until(condition: Callable[[], bool]) -> None:
        while not condition():
            QApplication.processEvents()
            time.sleep(0.001)

    widget.open_project(folder)
    until(lambda: widget.work is not None and widget.work.key is not None)
    until(lambda: session.status.state == "ready")
    viewer.dims.set_current_step(0, START)
    until(lambda: session.status.state == "ready" and dock.bridge.plane == (START,))
    document = dock.bridge.work.document
    dock.bridge.work.points.layer.add((START, *CENTRE))
    until(lambda: len(document) == 1 and document.objects[0].region is not None)
    dock.desk.propagation.toggle()
    until(lambda: len(document) == 1 + ENOUGH)
    until(lambda: widget.saved.text() == "saved")
    saved.touch()
    until(lambda: False)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
