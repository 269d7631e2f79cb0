"""Images find their masks, and both are read whatever they were saved as."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from napari_promise.data import images
from napari_promise.data.images import read_image
from napari_promise.data.pairs import (
    Pair,
    SampleReader,
    find_images,
    find_pairs,
    planes_of,
    read_pairs,
    unpaired_images,
)
from tests.data.stacks import SHAPE as STACK
from tests.data.stacks import save_nifti, scan


def touch(folder, *names):
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).write_bytes(b"")
    return folder


# Finding


def test_pairs_are_matched_by_stem_whatever_the_suffix(tmp_path):
    images = touch(tmp_path / "i", "b.jpg", "a.png", "c.nii.gz", "notes.txt", ".d.png")
    masks = touch(tmp_path / "m", "a.tif", "b.png", "c.nii", "unused.png")
    assert find_pairs(images, masks) == [
        Pair(images / "a.png", masks / "a.tif"),
        Pair(images / "b.jpg", masks / "b.png"),
        Pair(images / "c.nii.gz", masks / "c.nii"),
    ]


def test_the_usual_endings_of_masks_are_understood(tmp_path):
    images = touch(tmp_path / "i", "ISIC_1.jpg", "b.png")
    masks = touch(tmp_path / "m", "ISIC_1_segmentation.png", "b_mask.png")
    assert [pair.mask.name for pair in find_pairs(images, masks)] == [
        "ISIC_1_segmentation.png",
        "b_mask.png",
    ]


def test_images_and_masks_may_share_a_folder(tmp_path):
    folder = touch(tmp_path / "both", "a.png", "a_mask.png", "b.png", "b_mask.png")
    assert [(p.image.name, p.mask.name) for p in find_pairs(folder, folder)] == [
        ("a.png", "a_mask.png"),
        ("b.png", "b_mask.png"),
    ]


def test_images_without_a_mask_are_named(tmp_path):
    images = touch(tmp_path / "i", *(f"{i}.png" for i in range(9)))
    masks = touch(tmp_path / "m", "0.png")
    with pytest.raises(ValueError, match="8 of 9 images") as error:
        find_pairs(images, masks)
    assert "1.png, 2.png, 3.png, 4.png, 5.png and 3 more" in str(error.value)
    assert len(find_pairs(images, masks, skip_unpaired=True)) == 1


def test_images_that_are_skipped_can_be_told(tmp_path):
    images = touch(tmp_path / "i", "a.png", "b.png", "c.png")
    masks = touch(tmp_path / "m", "b.png")
    assert len(find_pairs(images, masks, skip_unpaired=True)) == 1
    assert [p.name for p in unpaired_images(images, masks)] == ["a.png", "c.png"]


def test_a_table_names_pairs_and_groups(tmp_path):
    table = tmp_path / "pairs.csv"
    table.write_text(
        "image,mask,centre,group\n"
        "i/a-1.png,m/a.png,x,set/one\n"
        "/far/b-2.png,/far/b.tif,y,\n"
    )
    assert read_pairs(table, group=r"-(\d)") == [
        Pair(tmp_path / "i" / "a-1.png", tmp_path / "m" / "a.png", "set/one"),
        Pair(Path("/far/b-2.png"), Path("/far/b.tif"), "2"),
    ]
    assert read_pairs(table)[1].group is None


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("image,labels\na,b\n", "no column mask"),
        ("", "no column image and no column mask"),
        ("image,mask\n", "holds no pairs"),
        ("image,mask\na.png,b.png\nc.png,\n", "line 3: an image and its mask"),
        ("image,mask\na.png,b.png\na.png,b.png\n", "line 3: a.png .* twice"),
        ("image,mask\n\xff,b.png\n", "cannot be read as CSV"),
    ],
)
def test_a_table_with_a_mistake_is_refused_by_line(tmp_path, text, message):
    table = tmp_path / "pairs.csv"
    table.write_bytes(text.encode("latin-1"))
    with pytest.raises(ValueError, match=f"pairs.csv.*{message}"):
        read_pairs(table)


def test_skipping_never_leaves_nothing_without_a_word(tmp_path):
    images, masks = touch(tmp_path / "i", "a.png"), touch(tmp_path / "m", "b.png")
    with pytest.raises(ValueError, match="1 of 1 images"):
        find_pairs(images, masks, skip_unpaired=True)


def test_two_files_of_one_stem_are_refused_by_name(tmp_path):
    images = touch(tmp_path / "i", "a.png", "a.jpg")
    with pytest.raises(ValueError, match=r"a\.jpg and a\.png have the same stem"):
        find_pairs(images, touch(tmp_path / "m", "a.png"))


def test_missing_and_empty_folders_are_named(tmp_path):
    images = touch(tmp_path / "i")
    with pytest.raises(ValueError, match="nowhere is no folder"):
        find_pairs(images, tmp_path / "nowhere")
    with pytest.raises(ValueError, match="i holds no image"):
        find_pairs(images, images)


def test_groups_come_from_a_pattern_in_the_name(tmp_path):
    names = ["p01_a.png", "p01_b.png", "p02_a.png", "other.png"]
    folder, masks = touch(tmp_path / "i", *names), touch(tmp_path / "m", *names)
    pairs = find_pairs(folder, masks, group=r"^(p\d+)_")
    assert [pair.group for pair in pairs] == [None, "p01", "p01", "p02"]
    with pytest.raises(ValueError, match="no regular expression"):
        find_pairs(folder, masks, group="(")


def test_files_folders_and_patterns_are_expanded_once_each(tmp_path):
    folder = touch(tmp_path / "i", "b.png", "a.jpg", "c.txt")
    found = find_images([folder / "b.png", folder, f"{folder}/*.jpg", "missing.png"])
    assert [path.name for path in found] == ["b.png", "a.jpg", "missing.png"]


def test_what_expands_to_nothing_is_refused(tmp_path):
    with pytest.raises(ValueError, match="holds no image"):
        find_images([touch(tmp_path / "i", "c.txt")])
    with pytest.raises(ValueError, match="No file matches"):
        find_images([tmp_path / "*.png"])


def test_a_file_whose_name_looks_like_a_pattern_is_that_file(tmp_path):
    folder = touch(tmp_path / "i", "a[1].png")
    assert find_images([folder / "a[1].png"]) == [folder / "a[1].png"]


# Planes


def _stacks(folder: Path, count: int) -> list[Pair]:
    pairs = []
    for number in range(count):
        pixels, labels = scan(number)
        image = save_nifti(folder / str(number) / "scan.nii.gz", pixels)
        pairs.append(Pair(image, save_nifti(image.with_name("mask.nii.gz"), labels)))
    return pairs


def test_the_planes_of_a_stack_that_hold_an_object_are_samples(tmp_path):
    taken = list(planes_of(_stacks(tmp_path, 2)))
    assert [pair.plane for pair in taken] == [(1,), (2,), (3,)] * 2
    assert taken[0].name == "scan.nii.gz, plane 1"


def test_planes_of_one_stack_share_a_group_that_no_other_stack_has(tmp_path):
    groups = [pair.group for pair in planes_of(_stacks(tmp_path, 2))]
    assert len(set(groups)) == 2
    assert groups[:3] == groups[:1] * 3
    assert not any("/" in group for group in groups)  # that would name a data set


def test_a_group_that_was_given_stays_for_every_plane(tmp_path):
    pairs = [replace(pair, group="set/patient") for pair in _stacks(tmp_path, 2)]
    assert {pair.group for pair in planes_of(pairs)} == {"set/patient"}


def test_where_one_stack_is_all_there_is_its_planes_can_be_divided(tmp_path):
    groups = [pair.group for pair in planes_of(_stacks(tmp_path, 1))]
    assert len(set(groups)) == 3


def test_of_a_stack_without_any_object_the_middle_plane_says_so(tmp_path):
    (pair,) = _stacks(tmp_path, 1)
    save_nifti(pair.mask, np.zeros(STACK, np.uint8))
    assert [taken.plane for taken in planes_of([pair])] == [(2,)]


def test_images_of_one_plane_and_planes_already_taken_come_as_they_are(tmp_path):
    touch(tmp_path, "broken.png")
    Image.fromarray(np.zeros((4, 5), np.uint8)).save(tmp_path / "a.png")
    pairs = [
        Pair(tmp_path / "a.png", tmp_path / "a.png"),
        Pair(tmp_path / "broken.png", tmp_path / "gone.png"),
        Pair(tmp_path / "s.nii", tmp_path / "m.nii", "g", (3,)),
    ]
    assert list(planes_of(pairs)) == pairs


def test_a_plane_is_read_with_the_contrast_of_its_stack(tmp_path):
    (pair,) = _stacks(tmp_path, 1)
    first = SampleReader().read(replace(pair, plane=(0,)))
    # Nothing but noise lies in plane 0: alone it would be stretched to 0..255.
    assert first.rgb8.std() < 15
    assert first.rgb8.shape == (*STACK[1:], 3)
    assert not first.mask.any()


def test_a_stack_is_read_once_for_planes_that_follow_each_other(tmp_path, monkeypatch):
    reads = []
    monkeypatch.setattr(
        images, "read_image", lambda path: reads.append(path) or read_image(path)
    )
    reader = SampleReader()
    for pair in planes_of(_stacks(tmp_path, 2)):
        reader.read(pair)
    assert len(reads) == 2


def test_shapes_that_differ_and_planes_that_are_not_named_are_refused(tmp_path):
    (pair,) = _stacks(tmp_path, 1)
    with pytest.raises(ValueError, match="name the planes"):
        SampleReader().read(pair)
    save_nifti(pair.mask, np.zeros((2, 3, 4), np.uint8))
    with pytest.raises(ValueError, match="5 x 40 x 48 pixels, its mask .* 2 x 3 x 4"):
        SampleReader().read(pair)
