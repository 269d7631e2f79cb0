"""A stack is worked on in another direction, and exported in its file's own."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
from napari.layers import Image

from napari_promise.data.readers import image_reader
from napari_promise.jobs.propagating import Propagate
from napari_promise.widgets.prompting import exporting
from napari_promise.widgets.prompting.export_dialog import FORMATS, ExportRequest
from napari_promise.widgets.volumes.turning import across_columns, across_rows, turned
from tests.widgets.volumes.discs import END, Discs, as_prompt

SHAPE = (40, 50, 60)


@pytest.fixture
def desk(make_desk: Any, monkeypatch: pytest.MonkeyPatch) -> Any:
    Discs.may_go.set()
    Discs.made.clear()
    monkeypatch.setattr(
        "napari_promise.widgets.volumes.controller.Propagate",
        functools.partial(Propagate, make=Discs, as_prompt=as_prompt),
    )
    return make_desk(adapter="")


@pytest.mark.parametrize(("turn", "axis"), [(across_rows, 1), (across_columns, 2)])
def test_an_object_across_another_axis_lies_right_in_the_file(
    desk: Any, tmp_path: Path, turn: Any, axis: int
) -> None:
    pixels = np.random.default_rng(0).integers(0, 900, SHAPE, np.int16)
    source = tmp_path / "scan.nii.gz"
    image = nibabel.Nifti1Image(pixels.T, np.diag([2.0, 3.0, 5.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, source)
    (layer,) = image_reader(str(source))(str(source))
    opened = desk.open(layer[0], **layer[1])
    desk.viewer.layers.selection = {opened}
    turn(desk.viewer)
    shown = desk.viewer.layers[-1]
    assert shown.name.startswith(f"{opened.name}, across")
    assert np.shares_memory(shown.data, opened.data)
    desk.bridge.open(shown)
    desk.viewer.dims.set_current_step(0, 4)
    desk.until(lambda: desk.widget.session.status.state == "ready")
    desk.click(4, 20, 25)
    desk.press("P")
    desk.until(lambda: not desk.widget.desk.propagation.is_running)
    assert len(desk.document.of_label(1)) == END
    assert Discs.made[0].spacing == {1: (3, 5, 2), 2: (2, 5, 3)}[axis]
    desk.press("C")
    expected = np.moveaxis(np.asarray(desk.labels.data) == 1, 0, axis)
    snapshot = desk.widget.actions.snapshot()
    (kind,) = [one for one in FORMATS if one.key == "nifti"]
    request = ExportRequest(kind, tmp_path / "out.nii.gz", False, {1: "liver"})
    saved = nibabel.load(exporting.write(request, snapshot))
    assert np.allclose(saved.affine, image.affine)
    again = image_reader(str(tmp_path / "out.nii.gz"))(str(tmp_path / "out.nii.gz"))
    assert np.array_equal(again[0][0] == 1, expected)


def test_a_stack_turned_twice_knows_its_files_axes() -> None:
    from napari_promise.data.place import Place

    image = Image(
        np.zeros((3, 4, 5)), scale=(7, 1, 2), metadata={"place": Place((7, 1, 2))}
    )
    twice = turned(turned(image, -2, "once"), -1, "twice")
    place = twice.metadata["place"]
    assert twice.data.shape == (5, 4, 3)
    assert place.scale == tuple(twice.scale) == (2, 1, 7)
    labels, placement = place.labels_as_in_file(np.zeros((5, 4, 3), np.uint8))
    assert labels.shape == (3, 4, 5)
    assert placement["scale"] == (7, 1, 2)


@pytest.mark.parametrize(
    ("image", "said"),
    [
        (Image(np.zeros((4, 5)), name="flat"), "open a stack"),
        (Image(np.zeros((3, 4, 5)), rotate=30, name="tilted"), "rotated"),
    ],
)
def test_what_cannot_be_turned_is_refused_in_a_line(image: Image, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        turned(image, -1, "turned")
