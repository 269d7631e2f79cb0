"""Images and their masks are found wherever people keep them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from napari_promise.project import finding
from tests.project.people import write_image, write_mask


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
        for found in finding.find(folder).images
    }


# Finding


def test_images_of_all_kinds_are_found_in_all_folders_but_hidden_ones(tmp_path):
    names = ["a.png", "b.JPG", "c.tif", "d/e.nii.gz", "d/f/g.dcm"]
    for name in [*names, ".hidden/h.png", ".i.png", "notes.txt"]:
        touch(tmp_path / name)
    assert [found.key for found in finding.find(tmp_path).images] == names


def test_numbers_in_names_are_in_their_order(tmp_path):
    for name in ("b10.png", "b2.png", "a10/x.png", "a9/x.png"):
        touch(tmp_path / name)
    keys = [found.key for found in finding.find(tmp_path).images]
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
    listing = finding.find(tmp_path / "set")
    assert [found.mask for found in listing.images] == [None, None]
    assert len(listing.notes) == 1
    assert "a.jpg, a.png have the same stem" in listing.notes[0]


def test_a_link_to_a_folder_above_ends(tmp_path):
    touch(tmp_path / "a.png")
    os.symlink(tmp_path, tmp_path / "again", target_is_directory=True)
    assert [found.key for found in finding.find(tmp_path).images] == ["a.png"]


def test_a_list_is_taken_in_its_order_with_its_masks(tmp_path):
    for name in ("a.png", "b.png", "c.png", "masks/c.png"):
        touch(tmp_path / name)
    listing = finding.find_listed([tmp_path / "c.png", tmp_path / "a.png"], tmp_path)
    assert [found.key for found in listing.images] == ["c.png", "a.png"]
    assert listing.images[0].mask == tmp_path / "masks" / "c.png"
    with pytest.raises(ValueError, match="1 of 2 images do not exist"):
        finding.find_listed([tmp_path / "z.png", tmp_path / "a.png"], tmp_path)


def test_a_table_names_masks_and_groups(tmp_path):
    for name in ("a.png", "b.png", "truth.png"):
        touch(tmp_path / name)
    table = tmp_path / "set.csv"
    table.write_text(
        "image,mask,group\nb.png,truth.png,patient 1\na.png,,\nz.png,,\na.png,,\n"
    )
    listing = finding.find_tabled(table)
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
        finding.find_tabled(table)


def test_the_mask_of_a_folder_can_be_read_by_the_project(tmp_path):
    write_image(tmp_path / "set" / "a.png")
    path = write_mask(tmp_path / "set" / "masks" / "a.png")
    assert finding.find(tmp_path / "set").images[0].mask == path


def test_pairing_never_lists_label_volumes_of_nnu_net_as_images(tmp_path):
    for name in (
        "imagesTr/case_1_0000.nii.gz",
        "imagesTs/case_2_0000.nii.gz",
        "labelsTr/case_1.nii.gz",
    ):
        touch(tmp_path / "Dataset" / name)
    assert masks(tmp_path / "Dataset") == {
        "imagesTr/case_1_0000.nii.gz": "Dataset/labelsTr/case_1.nii.gz",
        "imagesTs/case_2_0000.nii.gz": None,
    }
    assert masks(tmp_path / "Dataset" / "imagesTr") == {
        "case_1_0000.nii.gz": "labelsTr/case_1.nii.gz"
    }


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("IMG.PNG", "IMG_MASK.PNG"),
        ("b.png", "mask_b.png"),
        ("c.jpg", "c.jpg.png"),
        ("d.png", "d-mask.png"),
        ("e.png", "e_seg.png"),
        ("f.png", "f_cp_masks.png"),
        ("h.png", "h_Annotation.png"),
    ],
)
def test_pairing_is_the_same_beside_an_image_and_in_a_folder_of_masks(
    tmp_path, image, mask
):
    touch(tmp_path / "beside" / image)
    touch(tmp_path / "beside" / mask)
    touch(tmp_path / "apart" / image)
    touch(tmp_path / "apart" / "masks" / mask)
    assert masks(tmp_path / "beside") == {image: f"beside/{mask}"}
    assert masks(tmp_path / "apart") == {image: f"apart/masks/{mask}"}
