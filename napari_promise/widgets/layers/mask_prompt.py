"""The command *Use as mask prompt* of napari's layer menus."""

from __future__ import annotations

from napari import Viewer
from napari.utils.notifications import show_info, show_warning

from napari_promise.widgets.layers import edits
from napari_promise.widgets.layers.geometry import plane_on_display
from napari_promise.widgets.layers.lookup import selected_label_mask
from napari_promise.widgets.layers.work import Work


def use_as_mask_prompt(viewer: Viewer) -> None:
    """Prompt the active object with the selected label of the selected Labels layer.

    Parameters
    ----------
    viewer : napari.Viewer
        One in which ProMISe is open; where it is not, the user is told so.
    """
    work = _work_in(viewer)
    if work is None:
        show_warning(
            "There is no image to prompt on: open ProMISe from the Plugins menu first."
        )
        return
    plane = plane_on_display(work.image, viewer.dims)
    try:
        words, mask = selected_label_mask(
            viewer.layers, viewer.layers.selection, work, plane
        )
        edits.take_mask(work.document, plane, mask)
    except ValueError as error:
        show_warning(str(error))
        return
    show_info(f"The mask prompt is {words}.")


def _work_in(viewer: Viewer) -> Work | None:
    """Return the work on display: only its prompt layers are in the viewer."""
    for layer in viewer.layers:
        work = Work.of(layer)
        if work is not None and layer is work.points.layer:
            return work
    return None
