"""napari opens scans and prompts through this plugin, and saves labels through it."""

from __future__ import annotations

import json
from pathlib import Path

import nibabel
import npe2
import numpy as np
import pytest
from napari.components import ViewerModel
from PIL import Image

from napari_promise.data.export import SavedObject, save_prompts
from napari_promise.prompts import Prompts
from tests.data.stacks import save_dicom, save_nifti, scan

PLUGIN = "napari-promise"
TURNED = np.array(
    [[0.0, -1.5, 0.0, 3.0], [2.0, 0.0, 0.0, 4.0], [0.0, 0.0, 3.0, 5.0], [0, 0, 0, 1]]
)


@pytest.fixture(autouse=True)
def manager(npe2pm: npe2.PluginManager) -> npe2.PluginManager:
    """Return a plugin manager that knows this plugin alone."""
    npe2pm.register(npe2.PluginManifest.from_distribution(PLUGIN))
    return npe2pm


def test_a_scan_opens_with_its_scale_and_unit(tmp_path: Path) -> None:
    pixels, _ = scan()
    path = save_nifti(tmp_path / "scan.nii.gz", pixels)
    (layer,) = ViewerModel().open(path, plugin=PLUGIN)
    assert layer.name == "scan"
    assert layer._type_string == "image"
    assert np.array_equal(layer.data, pixels)
    assert layer.scale.tolist() == [4, 2, 1.5]
    assert {str(unit) for unit in layer.units} == {"millimeter"}


def test_labels_beside_a_scan_open_as_labels_and_are_saved_where_they_lay(
    tmp_path: Path,
) -> None:
    _, labels = scan()
    path = tmp_path / "scan_labels.nii.gz"
    nibabel.save(nibabel.Nifti1Image(labels.T, TURNED), path)
    (layer,) = ViewerModel().open(path, plugin=PLUGIN)
    assert layer._type_string == "labels"
    layer.data[0, 0, 0] = 9
    (written,) = layer.save(str(tmp_path / "new.nii.gz"), plugin=PLUGIN)
    saved = nibabel.load(written)
    assert np.array_equal(np.asarray(saved.dataobj), layer.data.T)
    assert np.allclose(saved.affine, TURNED)


def test_other_labels_are_saved_with_the_transform_of_their_layer(
    tmp_path: Path,
) -> None:
    viewer = ViewerModel()
    labels = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    layer = viewer.add_labels(labels, scale=(4, 2, 1.5), translate=(8, 0, 3))
    (written,) = layer.save(str(tmp_path / "new.nii"), plugin=PLUGIN)
    affine = nibabel.load(written).affine
    assert np.allclose(
        affine, [[1.5, 0, 0, 3], [0, 2, 0, 0], [0, 0, 4, 8], [0] * 3 + [1]]
    )


def test_labels_are_saved_as_coco(tmp_path: Path) -> None:
    layer = ViewerModel().add_labels(np.eye(5, dtype=int), name="cells")
    (written,) = layer.save(str(tmp_path / "cells.json"), plugin=PLUGIN)
    data = json.loads(Path(written).read_text())
    assert data["images"][0]["file_name"] == "cells.png"
    assert data["annotations"][0]["area"] == 5


def test_a_dicom_file_opens_alone_and_a_folder_as_its_series(tmp_path: Path) -> None:
    for z in (3, 1, 2):
        save_dicom(
            tmp_path / f"slice{3 - z}.dcm",
            np.full((4, 5), z),
            ImagePositionPatient=[0, 0, 2.5 * z],
        )
    (alone,) = ViewerModel().open(tmp_path / "slice0.dcm", plugin=PLUGIN)
    assert alone.data.shape == (4, 5)
    (series,) = ViewerModel().open(tmp_path, plugin=PLUGIN)
    assert series.name == tmp_path.name
    assert series.data[:, 0, 0].tolist() == [1, 2, 3]
    assert series.scale.tolist() == [2.5, 2.0, 1.5]
    paths = sorted(tmp_path.glob("*.dcm"))
    (stacked,) = ViewerModel().open(paths, stack=True, plugin=PLUGIN)
    assert np.array_equal(stacked.data, series.data)


def test_a_folder_without_dicom_and_pictures_are_left_to_napari(
    manager: npe2.PluginManager, tmp_path: Path
) -> None:
    from napari_promise.data.readers import image_reader

    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "a.png")
    assert image_reader(str(tmp_path)) is None
    for name in ("a.png", "a.jpg", "a.tif", "a.npy"):
        assert not list(manager.iter_compatible_readers([str(tmp_path / name)]))


def test_prompts_open_as_points_and_boxes(tmp_path: Path) -> None:
    prompts = Prompts(points=[(3, 4), (5, 6)], labels=[1, 0], boxes=[(1, 2, 7, 8)])
    saved = SavedObject(4, prompts, (2,), "cyst", ("user", "auto"))
    path = tmp_path / "a.prompts.json"
    save_prompts(path, [saved], image={"name": "scan"})
    points, boxes = ViewerModel().open(path, plugin=PLUGIN)
    assert points.name == "scan prompts"
    assert points.data.tolist() == [[2, 3, 4], [2, 5, 6]]
    assert points.features["polarity"].tolist() == ["include", "exclude"]
    assert points.features["object"].tolist() == [4, 4]
    assert boxes.name == "scan boxes"
    assert boxes.data[0].tolist() == [[2, 1, 2], [2, 1, 8], [2, 7, 8], [2, 7, 2]]
    assert boxes.features["class"].tolist() == ["cyst"]


def test_a_prompts_file_that_is_none_is_named(tmp_path: Path) -> None:
    path = tmp_path / "a.prompts.json"
    path.write_text("{}")
    with pytest.raises(Exception, match=r"a\.prompts\.json is no prompts file"):
        ViewerModel().open(path, plugin=PLUGIN)
