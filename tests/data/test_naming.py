"""Pairing: images and masks find each other by the schemes that people use."""

import pytest

from napari_promise.data.naming import (
    is_image_folder,
    is_mask_folder,
    match,
    names_a_mask,
    places_of_masks,
    stem_of,
)


@pytest.mark.parametrize(
    ("image", "mask"),
    [
        ("a.jpg", "a.tif"),
        ("case_001_0000.nii.gz", "case_001.nii.gz"),
        ("IMG.PNG", "IMG_MASK.PNG"),
        ("IMG1.JPG", "img1.png"),
        ("b.png", "mask_b.png"),
        ("b.png", "label-b.png"),
        ("c.jpg", "c.jpg.png"),
        ("c.jpg", "c.jpg_mask.png"),
        ("d.png", "d-mask.png"),
        ("e.png", "e_seg.png"),
        ("e.png", "e.seg.png"),
        ("f.tif", "f_cp_masks.tif"),
        ("f.tif", "f_bin_mask.tif"),
        ("f.tif", "f_seg_mask.tif"),
        ("f.tif", "f-instance-masks.tif"),
        ("f.nii", "f_label_map.nii"),
        ("21_training.tif", "21_manual1.gif"),
        ("01_test.tif", "01_manual1.gif"),
        ("BraTS_001_flair.nii.gz", "BraTS_001_seg.nii.gz"),
        ("sub-01_T1w.nii.gz", "sub-01_label.nii.gz"),
        ("h_HC.png", "h_HC_Annotation.png"),
        ("001_img.png", "001_masks.png"),
        ("001_img.png", "001.png"),
        ("img_7.png", "mask_7.png"),
        ("img7.png", "label7.png"),
        ("volume-0.nii", "segmentation-0.nii"),
        ("imaging.nii.gz", "segmentation.nii.gz"),
        ("x.png", "x_GT.png"),
        ("x.png", "x_ground_truth.png"),
        ("ISIC_1.jpg", "ISIC_1_Segmentation.png"),
    ],
)
def test_pairing_finds_the_mask_by_its_usual_names(image, mask):
    assert match([image], ["other.png", mask, "other_mask.png"]).masks == {image: mask}


@pytest.mark.parametrize(
    ("image", "mask"),
    [("a.png", "ab.png"), ("a.png", "a_1.png"), ("cell_1.png", "cell_10_mask.png")],
)
def test_pairing_never_takes_the_mask_of_a_name_that_begins_alike(image, mask):
    assert match([image], [mask]).masks == {}


def test_pairing_gives_a_mask_to_the_nearest_name():
    images = ["b.png", "b_0001.png", "img_b.png"]
    assert match(images, ["b.png"]).masks == {"b.png": "b.png"}


def test_pairing_tells_capitals_apart_where_both_are_there():
    assert match(["a.png", "A.png"], ["A.tif", "a.tif"]).masks == {
        "a.png": "a.tif",
        "A.png": "A.tif",
    }
    assert match(["a.png"], ["A.tif", "A.png"]).unclear == {"a.png": ["A.png", "A.tif"]}


def test_pairing_lets_channels_of_a_case_share_its_mask_and_stay_together():
    found = match(["p_0000.nii", "p_0001.nii"], ["p.nii"])
    assert found.masks == {"p_0000.nii": "p.nii", "p_0001.nii": "p.nii"}
    assert found.shared == {"p_0000.nii": "p", "p_0001.nii": "p"}


def test_pairing_lets_the_sequences_of_a_case_share_its_mask():
    found = match(["p_t1ce.nii", "p_flair.nii"], ["p_seg.nii"])
    assert found.masks == {"p_t1ce.nii": "p_seg.nii", "p_flair.nii": "p_seg.nii"}
    assert set(found.shared) == {"p_t1ce.nii", "p_flair.nii"}


def test_pairing_prefers_a_mask_of_the_sequence_itself():
    masks = ["p_t1_seg.nii", "p_seg.nii"]
    found = match(["p_t1.nii", "p_t2.nii"], masks)
    assert found.masks == {"p_t1.nii": "p_t1_seg.nii", "p_t2.nii": "p_seg.nii"}


def test_pairing_takes_frames_with_masks_of_their_own_as_they_are():
    frames = ["f_0001.png", "f_0002.png"]
    assert match(frames, frames).masks == {name: name for name in frames}


def test_pairing_says_which_files_fit_equally_well():
    found = match(["a.png"], ["a_mask.png", "a_mask_1.png"])
    assert found.unclear == {"a.png": ["a_mask.png", "a_mask_1.png"]}
    assert found.masks == {}


def test_pairing_in_one_folder_asks_a_mask_to_say_that_it_is_one():
    names = ["a.png", "a_seg.png", "b.jpg", "b.jpg.png", "face_mask.png", "a.tif"]
    found = match(names, names, same_folder=True)
    assert found.masks["b.jpg"] == "b.jpg.png"
    assert found.fitting == {"a_seg.png", "b.jpg.png"}


@pytest.mark.parametrize(
    ("name", "image", "mask"),
    [
        ("imagesTr", True, False),
        ("labelsTr", False, True),
        ("Masks", False, True),
        ("SegmentationClass", False, True),
        ("JPEGImages", True, False),
        ("Ground Truth", False, True),
        ("1st_manual", False, True),
        ("binary_masks", False, True),
        ("train_images", False, False),
        ("labelled", False, False),
        ("patients", False, False),
    ],
)
def test_pairing_knows_folders_of_images_and_of_masks(name, image, mask):
    assert (is_image_folder(name), is_mask_folder(name)) == (image, mask)


def test_pairing_keeps_the_parts_of_a_set_apart():
    folders = ["labelsTr", "labelsTs", "masks"]
    assert places_of_masks("imagesTr", folders) == ["labelsTr"]
    assert places_of_masks("images", folders) == ["masks"]
    assert places_of_masks("images_train", ["masks_tr", "masks_test"]) == ["masks_tr"]


def test_pairing_strips_suffixes_of_two_parts():
    assert stem_of("x/brain.01.nii.gz") == "brain.01"
    assert stem_of("A.OME.TIF") == "A"
    assert names_a_mask("a_seg")
    assert not names_a_mask("amask")
