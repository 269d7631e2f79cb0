"""Images and their masks are found wherever people keep them, and read as they are."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_promise.project import images
from tests.project.people import write_image, write_mask

AFFINE = np.array(
    [[0.0, -1.5, 0.0, 3.0], [2.0, 0.0, 0.0, 4.0], [0.0, 0.0, 3.0, 5.0], [0, 0, 0, 1]]
)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


def masks(folder: Path) -> dict[str, str | None]:
    """Return the mask of each image, relative to the folder's parent."""
    return {
        found.key: None
        if found.mask is None
        else found.mask.relative_to(folder.parent).as_posix()
        for found in images.find(folder).images
    }


# Finding


def test_images_of_all_kinds_are_found_in_all_folders_but_hidden_ones(tmp_path):
    names = ["a.png", "b.JPG", "c.tif", "d/e.nii.gz", "d/f/g.dcm"]
    for name in [*names, ".hidden/h.png", ".i.png", "notes.txt"]:
        touch(tmp_path / name)
    assert [found.key for found in images.find(tmp_path).images] == names


def test_numbers_in_names_are_in_their_order(tmp_path):
    for name in ("b10.png", "b2.png", "a10/x.png", "a9/x.png"):
        touch(tmp_path / name)
    keys = [found.key for found in images.find(tmp_path).images]
    assert keys == ["a9/x.png", "a10/x.png", "b2.png", "b10.png"]


@pytest.mark.parametrize("name", ["masks", "labels", "Masks"])
def test_masks_lie_in_a_folder_inside(tmp_path, name):
    touch(tmp_path / "set" / "a.jpg")
    touch(tmp_path / "set" / name / "a.png")
    assert masks(tmp_path / "set") == {"a.jpg": f"set/{name}/a.png"}


def test_masks_lie_in_a_folder_beside_that_of_the_images(tmp_path):
    touch(tmp_path / "images" / "a.jpg")
    touch(tmp_path / "images" / "b.jpg")
    touch(tmp_path / "masks" / "a.png")
    assert masks(tmp_path / "images") == {"a.jpg": "masks/a.png", "b.jpg": None}
    assert masks(tmp_path)["images/a.jpg"] == f"{tmp_path.name}/masks/a.png"


def test_masks_follow_the_images_through_subfolders(tmp_path):
    for place in ("images/x", "images/y", "masks/x", "masks/y"):
        touch(tmp_path / place / "scan.png")
    assert masks(tmp_path / "images") == {
        "x/scan.png": "masks/x/scan.png",
        "y/scan.png": "masks/y/scan.png",
    }


def test_a_file_named_like_the_mask_of_its_neighbour_is_its_mask(tmp_path):
    folder = tmp_path / "set"
    for name in ("a.png", "a_mask.png", "b.png", "face_mask.png"):
        touch(folder / name)
    assert masks(folder) == {
        "a.png": "set/a_mask.png",
        "b.png": None,
        "face_mask.png": None,
    }


def test_images_of_one_stem_are_taken_without_the_mask_that_may_be_of_either(tmp_path):
    for name in ("a.jpg", "a.png", "masks/a.png"):
        touch(tmp_path / "set" / name)
    listing = images.find(tmp_path / "set")
    assert [found.mask for found in listing.images] == [None, None]
    assert len(listing.notes) == 1
    assert "a.jpg, a.png have the same stem" in listing.notes[0]


def test_a_link_to_a_folder_above_ends(tmp_path):
    touch(tmp_path / "a.png")
    os.symlink(tmp_path, tmp_path / "again", target_is_directory=True)
    assert [found.key for found in images.find(tmp_path).images] == ["a.png"]


def test_a_list_is_taken_in_its_order_with_its_masks(tmp_path):
    for name in ("a.png", "b.png", "c.png", "masks/c.png"):
        touch(tmp_path / name)
    listing = images.find_listed([tmp_path / "c.png", tmp_path / "a.png"], tmp_path)
    assert [found.key for found in listing.images] == ["c.png", "a.png"]
    assert listing.images[0].mask == tmp_path / "masks" / "c.png"
    with pytest.raises(ValueError, match="1 of 2 images do not exist"):
        images.find_listed([tmp_path / "z.png", tmp_path / "a.png"], tmp_path)


def test_a_table_names_masks_and_groups(tmp_path):
    for name in ("a.png", "b.png", "truth.png"):
        touch(tmp_path / name)
    table = tmp_path / "set.csv"
    table.write_text(
        "image,mask,group\nb.png,truth.png,patient 1\na.png,,\nz.png,,\na.png,,\n"
    )
    listing = images.find_tabled(table)
    assert [(f.key, f.mask and f.mask.name, f.group) for f in listing.images] == [
        ("b.png", "truth.png", "patient 1"),
        ("a.png", None, None),
    ]
    assert "line 4: z.png does not exist" in listing.notes[0]
    assert "line 5: a.png comes twice" in listing.notes[1]


def test_a_table_without_images_is_refused(tmp_path):
    table = tmp_path / "set.csv"
    table.write_text("picture\na.png\n")
    with pytest.raises(ValueError, match="no column image"):
        images.find_tabled(table)


# Reading


def test_colours_and_stacks_are_told_apart(tmp_path):
    write_image(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((5, 20, 30), np.uint16))
    assert images.read(tmp_path / "a.png").rgb
    stack = images.read(tmp_path / "s.tif")
    assert (stack.rgb, stack.shape) == (False, (5, 20, 30))


def test_a_scan_is_a_stack_with_its_voxel_size_and_its_place_in_the_world(tmp_path):
    volume = np.arange(30 * 20 * 6, dtype=np.float32).reshape(30, 20, 6)
    file = nibabel.Nifti1Image(volume, AFFINE)
    file.header.set_xyzt_units("mm")
    nibabel.save(file, tmp_path / "scan.nii.gz")
    image = images.read(tmp_path / "scan.nii.gz")
    assert np.array_equal(image.array, volume.T)
    assert image.placement == {"scale": (3.0, 1.5, 2.0)}
    assert image.unit == "mm"
    x, y, z = 7, 3, 2
    expected = AFFINE @ [x, y, z, 1]
    assert np.allclose((image.world @ [z, y, x, 1])[:3], expected[:3][::-1])


def test_axes_of_length_one_are_left_out_of_the_place_too(tmp_path):
    file = nibabel.Nifti1Image(np.zeros((30, 20, 1, 4), np.float32), AFFINE)
    nibabel.save(file, tmp_path / "series.nii")
    image = images.read(tmp_path / "series.nii")
    assert image.shape == (4, 20, 30)
    assert image.world.shape == (4, 4)
    assert len(image.placement["scale"]) == 3


def test_without_its_reader_a_dicom_file_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ValueError, match="install pydicom"):
        images.read(touch(tmp_path / "a.dcm"))


@pytest.fixture
def dicom(tmp_path, monkeypatch):
    """Read a DICOM file with these pixels and fields by a reader that is not there."""

    def read(pixels: np.ndarray, **fields: object) -> images.OpenedImage:
        colours = np.array([[0, 0, 0], [255, 0, 65535]], np.uint16)
        reader = ModuleType("pydicom")
        reader.dcmread = lambda _path: fields
        decoder = ModuleType("pydicom.pixels")
        decoder.pixel_array = lambda _data: pixels
        decoder.apply_color_lut = lambda array, _data: colours[array]
        monkeypatch.setitem(sys.modules, "pydicom", reader)
        monkeypatch.setitem(sys.modules, "pydicom.pixels", decoder)
        return images.read(touch(tmp_path / "a.dcm"))

    return read


def test_a_dicom_file_is_read_in_its_own_units(dicom):
    image = dicom(
        np.array([[0, 100], [200, 300]], np.uint16),
        PhotometricInterpretation="MONOCHROME2",
        RescaleSlope=2,
        RescaleIntercept=-100,
        PixelSpacing=[0.5, 0.25],
    )
    assert image.array.tolist() == [[-100, 100], [300, 500]]
    assert image.placement == {"scale": (0.5, 0.25)}
    assert image.unit == "mm"


def test_a_dicom_file_whose_least_value_is_white_is_turned_round(dicom):
    pixels = np.array([[10, 30], [20, 10]], np.uint16)
    image = dicom(pixels, PhotometricInterpretation="MONOCHROME1")
    assert image.array.tolist() == [[30, 10], [20, 30]]


def test_frames_and_colours_of_a_dicom_file_are_told_apart(dicom):
    fields = {"PixelSpacing": [0.5, 0.25], "SliceThickness": 2}
    frames = dicom(np.zeros((4, 5, 6), np.uint8), **fields)
    assert (frames.rgb, frames.shape) == (False, (4, 5, 6))
    assert frames.placement == {"scale": (2.0, 0.5, 0.25)}
    colour = dicom(np.zeros((5, 6, 3), np.uint8), SamplesPerPixel=3, **fields)
    assert (colour.rgb, colour.shape) == (True, (5, 6))
    assert colour.placement == {"scale": (0.5, 0.25)}
    palette = dicom(
        np.array([[0, 1]], np.uint8), PhotometricInterpretation="PALETTE COLOR"
    )
    assert palette.rgb
    assert palette.array.tolist() == [[[0, 0, 0], [0, 0, 255]]]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.nii.gz", "a.npy"])
def test_a_damaged_image_is_named_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"no image at all")
    for read in (images.read, lambda path: images.thumbnail(path, 48)):
        with pytest.raises(ValueError, match=name) as raised:
            read(tmp_path / name)
        assert "\n" not in str(raised.value)


# Thumbnails


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.nii.gz", "a.npy"])
def test_a_thumbnail_shows_the_image_small(tmp_path, name):
    grey = np.zeros((200, 400), np.uint8)
    grey[:, 200:] = 255
    stack = np.stack([np.zeros_like(grey), grey, np.zeros_like(grey)])
    path = tmp_path / name
    if name.endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(stack.T, np.eye(4)), path)
    elif name.endswith(".tif"):
        tifffile.imwrite(path, stack, photometric="minisblack")
    elif name.endswith(".npy"):
        np.save(path, grey.astype(np.float32))
    else:
        Image.fromarray(grey).save(path)
    small = images.thumbnail(path, 48)
    assert small.shape == (24, 48, 3)
    assert small.dtype == np.uint8
    assert small[:, :20].max() < 20
    assert small[:, 28:].min() > 235


def test_the_mask_of_a_folder_can_be_read_by_the_project(tmp_path):
    write_image(tmp_path / "set" / "a.png")
    path = write_mask(tmp_path / "set" / "masks" / "a.png")
    assert images.find(tmp_path / "set").images[0].mask == path
