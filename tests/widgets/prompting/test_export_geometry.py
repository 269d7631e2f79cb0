"""What the window exports lies where the image that was opened lies."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import nibabel
import numpy as np
import pytest
from napari.layers import Image

from napari_promise.data.readers import image_reader
from napari_promise.widgets.actions import Actions
from napari_promise.widgets.prompting.export_dialog import FORMATS, ExportRequest
from napari_promise.widgets.prompting.exporting import write
from tests.data.test_round_trips import save_scan


def opened(path) -> Image:
    """Open a file as ``napari scan.nii.gz`` does."""
    reader = image_reader(str(path))
    assert reader is not None
    ((data, options, kind),) = reader(str(path))
    assert kind == "image"
    return Image(data, **options)


def exported(image: Image, labels: np.ndarray, key: str, path) -> Any:
    """Export labels of a layer as the dialog does."""
    work = SimpleNamespace(
        image=image,
        result=SimpleNamespace(labels=labels),
        document=SimpleNamespace(objects=()),
    )
    desk: Any = SimpleNamespace(
        _bridge=SimpleNamespace(work=work),
        _session=SimpleNamespace(provenance=dict),
        _tell=print,
    )
    snapshot = Actions.snapshot(desk)
    assert snapshot is not None
    chosen = next(each for each in FORMATS if each.key == key)
    return write(ExportRequest(chosen, path, False, {1: "polyp"}), snapshot)


@pytest.mark.parametrize(
    "shape", [(5, 6, 7), (5, 6, 1), (1, 6, 7), (5, 6), (5, 6, 7, 3)]
)
@pytest.mark.parametrize("codes", [(1, 2), (1, 0), (0, 0)])
def test_a_nifti_header_comes_out_as_it_went_in(tmp_path, shape, codes) -> None:
    source = save_scan(tmp_path / "in.nii.gz", shape, codes=codes)
    image = opened(source)
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 4, image.data.shape).astype(np.uint16)
    saved = exported(image, labels, "nifti", tmp_path / "out.nii.gz")
    before, after = nibabel.load(source), nibabel.load(saved)
    assert after.shape == before.shape
    assert np.array_equal(after.affine, before.affine)
    for name in ("get_qform", "get_sform"):
        theirs, ours = (getattr(f.header, name)(coded=True) for f in (before, after))
        assert ours[1] == theirs[1]
        if theirs[0] is not None:
            assert np.allclose(ours[0], theirs[0])
    assert after.header.get_zooms() == before.header.get_zooms()
    assert after.header.get_xyzt_units() == before.header.get_xyzt_units()
    data = np.asarray(after.dataobj)
    assert np.array_equal(data.T.reshape(labels.shape), labels)


def test_a_layer_that_was_moved_is_exported_where_it_lies_now(tmp_path) -> None:
    image = opened(save_scan(tmp_path / "in.nii.gz", (5, 6, 7)))
    image.translate = (1, 2, 3)
    labels = np.ones(image.data.shape, np.uint16)
    saved = exported(image, labels, "nifti", tmp_path / "out.nii.gz")
    assert not np.allclose(
        nibabel.load(saved).affine, nibabel.load(tmp_path / "in.nii.gz").affine
    )


def test_a_dicom_series_is_exported_as_segmentation_over_its_slices(tmp_path) -> None:
    pydicom = pytest.importorskip("pydicom")
    highdicom = pytest.importorskip("highdicom")
    from tests.data.test_dicom import save_series

    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 1000, (4, 16, 20), dtype=np.uint16)
    image = opened(save_series(tmp_path / "CT", pixels))
    labels = np.zeros(pixels.shape, np.uint16)
    labels[2, 2:5, 3:9], labels[0, 8:12, 3:9] = 1, 2
    saved = exported(image, labels, "dicom", tmp_path / "out.dcm")
    read = highdicom.seg.segread(saved)
    at = {
        float(file.ImagePositionPatient[2]): file.SOPInstanceUID
        for file in map(pydicom.dcmread, (tmp_path / "CT").iterdir())
    }
    uids = [at[height] for height in sorted(at)]
    back = read.get_pixels_by_source_instance(uids, combine_segments=True)
    assert np.array_equal(back, labels)
    assert read.get_segment_description(1).segment_label
