"""An open project with everything that hangs on it in the window."""

from __future__ import annotations

from dataclasses import dataclass

from napari_promise.project import Project
from napari_promise.widgets.folder.runs import FolderRuns
from napari_promise.widgets.folder.suggesting import Suggestions
from napari_promise.widgets.folder.thumbnails import Thumbnails
from napari_promise.widgets.folder.work import FolderWork


@dataclass(frozen=True, eq=False)
class OpenFolder:
    """What is opened and closed together.

    Attributes
    ----------
    project : Project
    work : FolderWork
        The image that is open.
    runs : FolderRuns
        What runs over all images.
    thumbnails : Thumbnails
    suggestions : Suggestions
        What the images that are done suggest for the next.
    """

    project: Project
    work: FolderWork
    runs: FolderRuns
    thumbnails: Thumbnails
    suggestions: Suggestions

    def close(self, *, layers: bool) -> None:
        """End what runs, save, and close the project.

        Parameters
        ----------
        layers : bool
            Whether to take the image's layers out of the viewer; off where the viewer
            is going as well.
        """
        self.thumbnails.close()
        self.suggestions.close()
        self.runs.close()
        self.work.close(layers=layers)
