"""Exports the objects of an image to a file, and loads prompts from one."""

from __future__ import annotations

import threading
from pathlib import Path

from napari.utils.notifications import show_error, show_info
from qtpy.QtWidgets import QFileDialog, QWidget

from napari_promise.widgets.actions import Actions, Snapshot
from napari_promise.widgets.background import Dispatch, later
from napari_promise.widgets.prompting import exporting
from napari_promise.widgets.prompting.export_dialog import ExportDialog, ExportRequest


class Files:
    """Asks for files; remembers the folder that was used last.

    Parameters
    ----------
    actions : Actions
    dispatch : callable
        Brings a call into the window's thread.
    parent : QWidget
        What dialogs open above.
    """

    def __init__(self, actions: Actions, dispatch: Dispatch, parent: QWidget) -> None:
        self._actions, self._dispatch, self._parent = actions, dispatch, parent
        self._folder = Path.cwd()

    def export(self) -> None:
        """Ask what to write and where, and write it in the background."""
        snapshot = self._actions.snapshot()
        if snapshot is None:
            return
        dialog = ExportDialog(
            Path(snapshot.image_name).stem or "objects",
            self._folder,
            snapshot.labels.ndim > 2,
            {record.label: record.class_name for record in snapshot.objects},
            len(
                {
                    record.label
                    for record in snapshot.objects
                    if not record.committed and not record.is_blank
                }
            ),
            self._parent,
        )
        if dialog.exec() and dialog.request is not None:
            self._folder = dialog.request.path.parent
            self.write(dialog.request, snapshot)

    def write(self, request: ExportRequest, snapshot: Snapshot) -> threading.Thread:
        """Write an export in the background and say how it went.

        Returns
        -------
        threading.Thread
            Running already.
        """
        return later(
            lambda: exporting.write(request, snapshot),
            lambda path: show_info(f"Written: {path}"),
            lambda line: show_error(f"Nothing was written: {line}"),
            dispatch=self._dispatch,
            finish=True,
        )

    def load_prompts(self) -> None:
        """Ask for a prompts file and replay it."""
        name, _ = QFileDialog.getOpenFileName(
            self._parent, "Load prompts", str(self._folder), "Prompts (*.json)"
        )
        if name:
            self._folder = Path(name).parent
            self._actions.load(Path(name))
