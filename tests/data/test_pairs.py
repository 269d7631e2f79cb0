"""Images find their masks, and both are read whatever they were saved as."""

from pathlib import Path

import pytest

from napari_promise.data.pairs import (
    Pair,
    find_images,
    find_pairs,
    read_pairs,
    unpaired_images,
)


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
