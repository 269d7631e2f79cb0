"""Opens both docks and ends as a script does: nothing is closed, the model loads.

Its argument is a folder of pictures.
"""

from __future__ import annotations

import faulthandler
import sys

import napari
from qtpy.QtWidgets import QApplication

from napari_promise.widgets.folder.dock import FolderWidget
from napari_promise.widgets.prompting.dock import PromiseWidget

faulthandler.enable()
viewer = napari.Viewer()
prompting = PromiseWidget(viewer)
viewer.window.add_dock_widget(prompting, name="ProMISe", area="right")
folder = FolderWidget(viewer)
viewer.window.add_dock_widget(folder, name="folder", area="left")
folder.open_project(sys.argv[1])
for _ in range(10):
    QApplication.processEvents()
