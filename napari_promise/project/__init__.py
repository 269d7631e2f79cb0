"""A folder of images to annotate, and all that is kept of it. No torch, no windows."""

from napari_promise.data.images import OpenedImage
from napari_promise.project.autosave import Autosaver, AutosaverEvents
from napari_promise.project.confidence import Calibration
from napari_promise.project.effort import Effort
from napari_promise.project.exporting import FORMATS, Format, export_project
from napari_promise.project.items import Item, State, Stored
from napari_promise.project.lock import ProjectInUseError
from napari_promise.project.project import Project, ProjectEvents
from napari_promise.project.settings import ProjectSettings

__all__ = [
    "Autosaver",
    "AutosaverEvents",
    "Calibration",
    "Effort",
    "FORMATS",
    "Format",
    "Item",
    "OpenedImage",
    "Project",
    "ProjectEvents",
    "ProjectInUseError",
    "ProjectSettings",
    "State",
    "Stored",
    "export_project",
]
