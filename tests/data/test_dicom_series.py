"""Slices of a DICOM series in a folder are one image, for everybody who looks."""

import nibabel
import numpy as np
import pytest

from napari_promise.data.formats import dicom_series
from napari_promise.data.images import (
    exists,
    notes_on,
    place_of,
    read_image,
    read_mask,
    shape_of,
    status_of,
    thumbnail,
)
from napari_promise.data.pairs import SampleReader, find_images, find_pairs, planes_of
from napari_promise.data.readers import image_reader
from napari_promise.project import Project
from napari_promise.project.exporting import export_project
from napari_promise.project.finding import find
from napari_promise.project.items import Entry
from tests.data.stacks import save_dicom
from tests.data.test_dicom import pixels, save_series  # noqa: F401

pydicom = pytest.importorskip("pydicom")


def test_slices_without_a_suffix_are_one_image_in_order_of_position(tmp_path, pixels):  # noqa: F811
    folder = save_series(tmp_path / "scans" / "CT", pixels)
    (found,) = find(tmp_path / "scans").images
    assert found.key == "CT/CT.series"
    assert find_images([folder]) == find_images([folder.parent]) == [found.path]
    image = read_image(found.path)
    assert np.array_equal(image.array, pixels)
    assert image.name == "CT"
    (layer,) = image_reader(str(folder))(str(folder))
    assert np.array_equal(layer[0], image.array)
    assert layer[1]["scale"] == image.place.scale == (2.5, 2.0, 1.5)
    assert np.array_equal(place_of(found.path).world, image.place.world)
    assert shape_of(found.path) == pixels.shape
    assert thumbnail(found.path, 8).shape[2] == 3


def test_series_in_one_folder_are_told_apart_by_their_numbers(tmp_path, pixels):  # noqa: F811
    save_series(tmp_path / "CT", pixels)
    for at in range(2):
        save_dicom(
            tmp_path / "CT" / f"other{at}",
            pixels[at],
            SeriesInstanceUID="1.9",
            SeriesNumber=7,
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[0, 0, at],
        )
    save_dicom(tmp_path / "CT" / "scout", pixels[0], SeriesInstanceUID="1.9")
    keys = [found.key for found in find(tmp_path).images]
    assert keys == ["CT/CT 3.series", "CT/CT 7.series", "CT/scout"]
    assert np.array_equal(read_image(tmp_path / keys[1]).array, pixels[:2])


def save_other(folder, slices, *, number):
    """Lay another series, of two slices, into a folder."""
    for at in range(2):
        save_dicom(
            folder / f"other{number}-{at}",
            slices[at],
            SeriesInstanceUID=f"1.{number}",
            SeriesNumber=number,
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            ImagePositionPatient=[0, 0, at],
        )


def test_work_on_a_series_stays_its_own(tmp_path, pixels):  # noqa: F811
    folder = save_series(tmp_path / "CT", pixels)
    with Project.open(tmp_path) as project:
        project.ledger.set_states(["CT/CT.series"], "done")
    save_other(folder, pixels, number=1)
    with Project.open(tmp_path) as project:
        assert sorted(project.keys) == ["CT/CT 1.series", "CT/CT.series"]
        assert project.item("CT/CT.series").state == "done"
        assert project.item("CT/CT 1.series").state == "new"
        found = project.ledger.found("CT/CT.series")
        assert shape_of(found.path) == pixels.shape
    # alone, the other is called as the first was; its work is not the first's
    for one in folder.iterdir():
        if not one.name.startswith("other"):
            one.unlink()
    with Project.open(tmp_path) as project:
        (key,) = project.keys
        assert key != "CT/CT.series"
        assert project.item(key).state == "new"


def test_radiographs_of_one_series_stay_images_of_their_own(tmp_path):
    for view in range(2):
        save_dicom(
            tmp_path / f"view{view}",
            np.full((4, 5), view),
            Modality="DX",
            InstanceNumber=view,
        )
    assert [path.name for path in find_images([tmp_path])] == ["view0", "view1"]


def test_a_series_that_lost_its_slices_is_gone(tmp_path, pixels):  # noqa: F811
    folder = save_series(tmp_path / "CT", pixels)
    path = folder / "CT.series"
    before = status_of(path)
    (folder / "IM0001").unlink()
    assert status_of(path) != before
    for slice_ in folder.iterdir():
        slice_.unlink()
    assert not exists(path)
    with pytest.raises(FileNotFoundError, match="no series of DICOM slices"):
        read_image(path)


def test_a_folder_of_slices_is_trained_on_with_its_mask(tmp_path, pixels):  # noqa: F811
    save_series(tmp_path / "images" / "p1", pixels)
    labels = np.zeros(pixels.shape, np.uint8)
    labels[1, 2:5, 3:9] = 1
    (tmp_path / "masks").mkdir()
    nibabel.save(
        nibabel.Nifti1Image(labels.T, np.eye(4)), tmp_path / "masks" / "p1.nii.gz"
    )
    (pair,) = planes_of(find_pairs(tmp_path / "images", tmp_path / "masks"))
    assert pair.plane == (1,)
    sample = SampleReader().read(pair)
    assert np.array_equal(sample.mask, labels[1])
    (found,) = find(tmp_path / "images").images
    assert found.mask == tmp_path / "masks" / "p1.nii.gz"


def test_slices_that_were_labelled_one_by_one_stay_so(tmp_path, pixels):  # noqa: F811
    from PIL import Image

    save_series(tmp_path / "images", pixels)
    (tmp_path / "masks").mkdir()
    for slice_ in (tmp_path / "images").iterdir():
        Image.new("L", (20, 16), 1).save(tmp_path / "masks" / f"{slice_.name}.png")
    assert len(find_pairs(tmp_path / "images", tmp_path / "masks")) == 4
    assert [found.mask is not None for found in find(tmp_path / "images").images] == [
        True
    ] * 4


def test_a_project_that_began_with_the_slices_goes_on_with_them(tmp_path, pixels):  # noqa: F811
    save_series(tmp_path, pixels)
    with Project.open(tmp_path) as project:
        (key,) = project.keys
        project.ledger.put({"IM0002": Entry(state="skipped")})
    with Project.open(tmp_path) as project:
        assert sorted(project.keys) == ["IM0000", "IM0001", "IM0002", "IM0003"]
    assert key.endswith(".series")


def test_a_series_is_exported_as_dicom_over_its_own_slices(tmp_path, pixels):  # noqa: F811
    highdicom = pytest.importorskip("highdicom")
    folder = save_series(tmp_path / "CT", pixels)
    labels = np.zeros(pixels.shape, np.uint8)
    labels[2, 2:5, 3:9] = 1
    (tmp_path / "masks").mkdir()
    nibabel.save(
        nibabel.Nifti1Image(labels.T, np.eye(4)), tmp_path / "masks" / "CT.nii.gz"
    )
    with Project.open(tmp_path) as project:
        written = export_project(project, tmp_path / "out", ("dicom", "nifti"))
    (saved,) = [path for path in written if path.suffix == ".dcm"]
    read = highdicom.seg.segread(saved)
    slices = dicom_series.slices_of(folder / "CT.series")
    uids = [pydicom.dcmread(path).SOPInstanceUID for path in slices]
    back = read.get_pixels_by_source_instance(uids, combine_segments=True)
    assert np.array_equal(back, labels)


def lay_slices(folder, slices, heights, **fields):
    for at, height in enumerate(heights):
        save_dicom(
            folder / f"s{at}.dcm",
            slices[at],
            SeriesInstanceUID="1.5",
            ImagePositionPatient=[0, 0, height],
            ImageOrientationPatient=[1, 0, 0, 0, 1, 0],
            PixelSpacing=[0.5, 0.5],
            InstanceNumber=9 - at,
            **fields,
        )
    return folder / f"{folder.name}.series"


@pytest.mark.parametrize(
    ("heights", "distance", "told"),
    [
        ((0, 2, 4, 8), 2.0, "2 to 4 mm apart"),
        ((0, 0, 2, 2), 2.0, "same position"),
        ((6, 4, 2, 0), 2.0, ""),
    ],
)
def test_slices_that_are_missing_or_double_are_told_of(
    tmp_path,
    pixels,  # noqa: F811
    heights,
    distance,
    told,
):
    path = lay_slices(tmp_path, pixels, heights)
    image = read_image(path)
    assert image.place.scale == (distance, 0.5, 0.5)
    assert told in " ".join(image.notes)
    assert bool(image.notes) is bool(told)
    assert tuple(notes_on(path)) == image.notes


def test_of_slices_at_one_position_the_instance_numbers_decide(tmp_path, pixels):  # noqa: F811
    path = lay_slices(tmp_path, pixels, (2, 0, 2, 0))
    # at 0 the fourth file has the lower number, at 2 the third
    assert np.array_equal(read_image(path).array, pixels[[3, 1, 2, 0]])


def test_thickness_taken_for_the_distance_of_frames_is_told(tmp_path, pixels):  # noqa: F811
    save_dicom(tmp_path / "a.dcm", pixels, PixelSpacing=[1, 1], SliceThickness=5)
    image = read_image(tmp_path / "a.dcm")
    assert image.place.scale == (5.0, 1.0, 1.0)
    assert image.notes == (
        "it does not say how far its slices lie apart: their thickness is taken.",
    )


@pytest.mark.parametrize("image", ["p1.nii.gz", "p1"])
def test_a_series_among_masks_is_one_mask(tmp_path, pixels, image):  # noqa: F811
    if image == "p1":
        save_series(tmp_path / "images" / "p1", pixels)
    else:
        (tmp_path / "images").mkdir()
        scan = nibabel.Nifti1Image(pixels.T.astype(np.int16), np.eye(4))
        nibabel.save(scan, tmp_path / "images" / image)
    save_series(tmp_path / "masks" / "p1", np.where(pixels > 500, 2, 0))
    (found,) = find(tmp_path).images
    assert found.mask == tmp_path / "masks" / "p1" / "p1.series"
    assert np.unique(read_mask(found.mask)).tolist() == [0, 2]
