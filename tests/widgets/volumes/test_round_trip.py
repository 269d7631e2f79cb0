"""A three-dimensional object leaves as NIfTI and as DICOM, and lies where it lay."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest

from napari_promise.data.formats import dicom_series
from napari_promise.data.readers import image_reader
from napari_promise.document import FoundPlane, Region
from napari_promise.widgets.prompting import exporting
from napari_promise.widgets.prompting.export_dialog import FORMATS, ExportRequest
from tests.data.test_dicom import save_series

PLANES, SHAPE = 4, (90, 120)


def annotated(desk: Any, path: Path) -> np.ndarray:
    """Open a file, prompt an object on plane 1, and have it on planes 1 to 3."""
    read = image_reader(str(path))
    assert read is not None
    (layer,) = read(str(path))
    desk.open(layer[0], **layer[1])
    desk.viewer.dims.set_current_step(0, 1)
    desk.until(lambda: desk.widget.session.status.state == "ready")
    desk.click(1, 40, 50)
    document = desk.document
    expected = np.zeros(layer[0].shape, bool)
    expected[1] = document.objects[0].region.mask
    for plane in (2, 3):
        mask = np.roll(expected[1], 5 * plane, axis=1)
        mask[: 30 + plane] = False
        found = FoundPlane((plane,), Region.from_mask(mask), 0.8)
        document.put_propagated(1, [found], run=object())
        expected[plane] = mask
    document.set_class(1, "liver")
    desk.press("C")
    return expected


def written(desk: Any, key: str, path: Path) -> Path:
    snapshot = desk.widget.actions.snapshot()
    classes = {record.label: record.class_name for record in snapshot.objects}
    (kind,) = [one for one in FORMATS if one.key == key]
    return exporting.write(ExportRequest(kind, path, False, classes), snapshot)


def test_nifti_comes_back_voxel_for_voxel_with_its_affine(make_desk, tmp_path) -> None:
    desk = make_desk()
    pixels = np.random.default_rng(0).integers(0, 900, (PLANES, *SHAPE), np.int16)
    # Rows run backwards and the volume is turned: the file's axes are not napari's.
    affine = np.array([[-2.0, 0, 0, 90], [0, 0, 3.0, 4], [0, -1.5, 0, 7], [0, 0, 0, 1]])
    source = tmp_path / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(pixels.T, affine), source)
    expected = annotated(desk, source)
    saved = nibabel.load(written(desk, "nifti", tmp_path / "liver.nii.gz"))
    assert np.allclose(saved.affine, affine)
    # The same voxels of the file are set as were seen over its image.
    image = desk.bridge.work.image.data
    found = np.asarray(saved.dataobj) == 1
    assert found.sum() == expected.sum()
    assert sorted(pixels.T[found]) == sorted(image[expected])
    again = image_reader(str(tmp_path / "liver.nii.gz"))(str(tmp_path / "liver.nii.gz"))
    assert np.array_equal(again[0][0] == 1, expected)


def test_dicom_comes_back_plane_by_plane_over_its_slices(make_desk, tmp_path) -> None:
    highdicom = pytest.importorskip("highdicom")
    pydicom = pytest.importorskip("pydicom")
    desk = make_desk()
    pixels = np.random.default_rng(0).integers(0, 900, (PLANES, *SHAPE), np.uint16)
    folder = save_series(tmp_path / "CT", pixels)
    expected = annotated(desk, folder)
    read = highdicom.seg.segread(written(desk, "dicom", tmp_path / "liver.dcm"))
    slices = dicom_series.slices_of(folder / "CT.series")
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in slices]
    back = read.get_pixels_by_source_instance(uids, combine_segments=True)
    assert np.array_equal(back == 1, expected)
    (segment,) = read.SegmentSequence
    assert segment.SegmentLabel == "liver 1"


def test_the_table_of_measurements_has_one_row_for_the_object(
    make_desk, tmp_path
) -> None:
    desk = make_desk()
    pixels = np.random.default_rng(0).integers(0, 900, (PLANES, *SHAPE), np.int16)
    image = nibabel.Nifti1Image(pixels.T, np.diag([2.0, 2.0, 5.0, 1.0]))
    image.header.set_xyzt_units("mm")
    nibabel.save(image, tmp_path / "scan.nii.gz")
    expected = annotated(desk, tmp_path / "scan.nii.gz")
    table = written(desk, "csv", tmp_path / "sizes.csv").read_text().splitlines()
    assert len(table) == 2
    row = dict(zip(table[0].split(","), table[1].split(","), strict=True))
    assert (row["class"], row["planes"]) == ("liver", "3")
    assert float(row["volume_ml"]) == pytest.approx(expected.sum() * 20 / 1000)
