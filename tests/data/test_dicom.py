"""DICOM as it lies on a disk: found, read in its own units, and given back."""

import numpy as np
import pytest

from napari_promise.data.images import (
    dicom_series_in,
    is_image,
    place_of,
    read_image,
    read_series,
)
from napari_promise.data.labels import save_labels
from napari_promise.data.pairs import find_images
from napari_promise.project.finding import find
from tests.data.stacks import save_dicom

pydicom = pytest.importorskip("pydicom")
STUDY = {
    "PatientID": "p",
    "PatientName": "A^B",
    "PatientBirthDate": "",
    "PatientSex": "",
    "StudyDate": "20200101",
    "StudyTime": "000000",
    "StudyID": "1",
    "AccessionNumber": "",
    "ReferringPhysicianName": "",
    "StudyInstanceUID": "1.2.840.1",
    "SeriesInstanceUID": "1.2.840.1.1",
    "FrameOfReferenceUID": "1.2.840.1.2",
    "Modality": "CT",
    "SeriesNumber": 3,
}


@pytest.fixture
def pixels(rng):
    return rng.integers(100, 1000, (4, 16, 20)).astype(np.uint16)


def save_series(folder, pixels, normal=2.5, order=(2, 0, 3, 1), turned=None, **fields):
    """Write a series whose files are numbered in another order than they lie."""
    turned = turned or [1, 0, 0, 0, 1, 0]
    along = np.cross(turned[:3], turned[3:])
    for number, at in enumerate(order):
        save_dicom(
            folder / f"IM{number:04d}",
            pixels[at],
            **{
                **STUDY,
                "InstanceNumber": number + 1,
                "ImageOrientationPatient": turned,
                "ImagePositionPatient": [
                    float(v) for v in np.array([-10.0, 5, 30]) + along * normal * at
                ],
                "SliceThickness": 5.0,
                **fields,
            },
        )
    return folder


def test_dicom_files_without_a_suffix_are_found(tmp_path, pixels):
    save_dicom(tmp_path / "IM0001", pixels[0])
    save_dicom(tmp_path / "1.2.840.113", pixels[1])
    (tmp_path / "README").write_text("nothing")
    (tmp_path / "DICOMDIR").write_bytes((tmp_path / "IM0001").read_bytes())
    names = ["1.2.840.113", "IM0001"]
    assert [path.name for path in find_images([tmp_path])] == names
    assert [found.key for found in find(tmp_path).images] == names
    assert np.array_equal(read_image(tmp_path / "IM0001").array, pixels[0])


@pytest.mark.parametrize("implicit", [True, False])
def test_dicom_files_without_a_preamble_are_found_and_read(tmp_path, pixels, implicit):
    data = pydicom.dcmread(save_dicom(tmp_path / "whole.dcm", pixels[0]))
    syntax = "1.2.840.10008.1.2" + ("" if implicit else ".1")
    data.file_meta.TransferSyntaxUID = syntax
    data.save_as(tmp_path / "IM1", implicit_vr=implicit, little_endian=True)
    raw = (tmp_path / "IM1").read_bytes()
    start = raw.find(b"\x08\x00\x16\x00")
    (tmp_path / "IM1").write_bytes(raw[start:])
    assert is_image(tmp_path / "IM1")
    assert np.array_equal(read_image(tmp_path / "IM1").array, pixels[0])


def test_dicom_series_is_stacked_by_position_with_the_distance_between_planes(
    tmp_path, pixels
):
    (series,) = dicom_series_in(save_series(tmp_path / "s", pixels))
    image = read_series(series)
    assert np.array_equal(image.array, pixels)
    assert image.place.scale == (2.5, 2.0, 1.5)


@pytest.mark.parametrize("turned", [[1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1]])
def test_dicom_series_lies_in_the_world_as_itk_says(tmp_path, pixels, turned):
    sitk = pytest.importorskip("SimpleITK")
    (series,) = dicom_series_in(save_series(tmp_path / "s", pixels, turned=turned))
    image = read_series(series)
    labels, placement = image.place.labels_as_in_file((image.array > 500).astype("u1"))
    placement["header"] = None
    save_labels(tmp_path / "out.nii", labels, **placement)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(
        reader.GetGDCMSeriesFileNames(str(tmp_path / "s"), STUDY["SeriesInstanceUID"])
    )
    theirs, ours = reader.Execute(), sitk.ReadImage(str(tmp_path / "out.nii"))
    assert np.array_equal(
        sitk.GetArrayFromImage(theirs) > 500, sitk.GetArrayFromImage(ours) > 0
    )
    for what in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert getattr(ours, what)() == pytest.approx(getattr(theirs, what)())


def test_dicom_window_is_the_contrast_in_rescaled_units(tmp_path, pixels):
    path = save_dicom(
        tmp_path / "a.dcm",
        pixels[0],
        RescaleSlope=2.0,
        RescaleIntercept=-1024.0,
        WindowCenter=[0.0, 99.0],
        WindowWidth=[400.0, 1.0],
    )
    image = read_image(path)
    assert image.contrast_limits == (-200, 200)
    assert np.array_equal(image.array, pixels[0] * 2.0 - 1024)


def test_dicom_window_beside_all_values_is_left_alone(tmp_path, pixels):
    path = save_dicom(tmp_path / "a.dcm", pixels[0], WindowCenter=1e6, WindowWidth=10.0)
    assert read_image(path).contrast_limits[1] <= 1000


def test_dicom_padding_does_not_eat_the_contrast(tmp_path, pixels):
    padded = pixels[0].copy()
    padded[:, :8] = 63536  # -2000, as it is stored
    path = save_dicom(
        tmp_path / "a.dcm", padded, PixelRepresentation=1, PixelPaddingValue=-2000
    )
    low, high = read_image(path).contrast_limits
    assert low >= 100
    assert high <= 1000


def test_dicom_of_which_the_least_value_is_white_turns_window_and_padding(
    tmp_path, pixels
):
    padded = pixels[0].copy()
    padded[0] = 0
    path = save_dicom(
        tmp_path / "a.dcm",
        padded,
        PhotometricInterpretation="MONOCHROME1",
        PixelPaddingValue=0,
        WindowCenter=300.0,
        WindowWidth=200.0,
    )
    image = read_image(path)
    shown = image.rgb8()[..., 0]
    assert (shown[0] == 0).all()
    assert (shown[1:][pixels[0][1:] <= 200] == 255).all()
    assert (shown[1:][pixels[0][1:] >= 400] == 0).all()


def test_dicom_frames_take_their_own_rescale_and_lie_in_order(tmp_path, pixels):
    from pydicom.dataset import Dataset
    from pydicom.sequence import Sequence

    groups = []
    for at, (z, slope) in enumerate([(5.0, 1.0), (0.0, 2.0), (10.0, 3.0)]):
        group, position, rescale = Dataset(), Dataset(), Dataset()
        position.ImagePositionPatient = [0.0, 0.0, z]
        rescale.RescaleSlope, rescale.RescaleIntercept = slope, float(at)
        group.PlanePositionSequence = Sequence([position])
        group.PixelValueTransformationSequence = Sequence([rescale])
        groups.append(group)
    path = save_dicom(
        tmp_path / "a.dcm",
        pixels[:3],
        PerFrameFunctionalGroupsSequence=Sequence(groups),
    )
    image = read_image(path)
    expected = [pixels[1] * 2.0 + 1, pixels[0] * 1.0, pixels[2] * 3.0 + 2]
    assert np.array_equal(image.array, np.array(expected, np.float32))
    assert image.place.scale == (5.0, 2.0, 1.5)
    assert place_of(path).scale == (5.0, 2.0, 1.5)


def test_dicom_spacing_on_the_detector_comes_with_a_word(tmp_path, pixels):
    path = save_dicom(
        tmp_path / "a.dcm", pixels[0], PixelSpacing=None, ImagerPixelSpacing=[0.2, 0.2]
    )
    image = read_image(path)
    assert image.place.scale == (0.2, 0.2)
    assert "on the detector" in image.notes[0]


def test_dicom_without_an_image_says_what_it_is(tmp_path):
    path = save_dicom(tmp_path / "a.dcm", np.zeros((4, 4), int), Modality="RTSTRUCT")
    data = pydicom.dcmread(path)
    del data.Rows, data.PixelData
    data.save_as(path)
    with pytest.raises(ValueError, match=r"without an image \(RTSTRUCT\)"):
        read_image(path)


@pytest.mark.parametrize("planes", [1, 4])
def test_dicom_segmentation_comes_out_over_its_images(tmp_path, pixels, planes):
    highdicom = pytest.importorskip("highdicom")
    folder = save_series(
        tmp_path / "s", pixels, order=(2, 0, 3, 1) if planes == 4 else (0,)
    )
    (series,) = dicom_series_in(folder)
    image = read_series(series)
    labels = np.zeros(image.shape, np.uint16)
    labels[..., 2:6, 3:9], labels[..., 10:12, 1:4] = 7, 300
    _, placement = image.place.labels_as_in_file(labels)
    saved = save_labels(
        tmp_path / "seg.dcm",
        labels,
        header=placement["header"],
        classes={7: "lesion", 300: "cyst"},
    )
    read = highdicom.seg.segread(saved)
    assert [part.SegmentLabel for part in read.SegmentSequence] == [
        "lesion 7",
        "cyst 300",
    ]
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in placement["header"]]
    found = read.get_pixels_by_source_instance(uids, combine_segments=False)
    back = found[..., 0] * 7 + found[..., 1].astype(int) * 300
    assert np.array_equal(back.reshape(labels.shape), labels)


def test_dicom_segmentation_of_another_image_is_refused(tmp_path):
    with pytest.raises(ValueError, match="lies over a DICOM image"):
        save_labels(tmp_path / "a.dcm", np.ones((4, 4), int))


def test_dicom_series_is_found_beside_a_damaged_file(tmp_path, pixels) -> None:
    folder = save_series(tmp_path / "s", pixels)
    whole = sorted(folder.iterdir())
    (folder / "z.dcm").write_bytes(whole[0].read_bytes()[:150] + b"\xff" * 40)
    (series,) = dicom_series_in(folder)
    assert sorted(series) == whole
