"""Images find their masks, and both are read whatever they were saved as."""

from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_promise.data.pairs import (
    Pair,
    find_images,
    find_pairs,
    read_image,
    read_mask,
    read_pairs,
    stem_of,
    unpaired_images,
)


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def disc() -> np.ndarray:
    rows, columns = np.indices((60, 80))
    return (rows - 30) ** 2 + (columns - 40) ** 2 < 20**2


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


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.png", "a"), ("a.b.jpg", "a.b"), ("x/a.nii.gz", "a"), ("a.OME.TIF", "a")],
)
def test_the_stem_is_the_name_without_its_whole_suffix(name, stem):
    assert stem_of(name) == stem


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


# Reading images


@pytest.mark.parametrize(
    ("name", "shape", "dtype"),
    [
        ("grey.png", (6, 8), np.uint8),
        ("rgb.png", (6, 8, 3), np.uint8),
        ("rgba.png", (6, 8, 4), np.uint8),
        ("deep.png", (6, 8), np.uint16),
        ("rgb.bmp", (6, 8, 3), np.uint8),
        ("deep.tif", (6, 8), np.uint16),
        ("real.tif", (6, 8), np.float32),
        ("stack.tif", (5, 6, 8), np.uint16),
        ("rgb.tif", (6, 8, 3), np.uint8),
        ("real.npy", (6, 8), np.float64),
    ],
)
def test_images_are_read_as_they_were_saved(tmp_path, rng, name, shape, dtype):
    image = (rng.random(shape) * 250).astype(dtype)
    path = tmp_path / name
    if name.endswith("npy"):
        np.save(path, image)
    elif name.endswith("tif"):
        kind = "rgb" if shape[-1] == 3 else "minisblack"
        tifffile.imwrite(path, image, photometric=kind)
    else:
        Image.fromarray(image).save(path)
    back = read_image(path)
    assert back.dtype == dtype
    assert np.array_equal(back, image)


def test_rgb_stored_plane_after_plane_gets_its_channels_last(tmp_path, rng):
    image = rng.integers(0, 255, (3, 6, 8), np.uint8)
    tifffile.imwrite(
        tmp_path / "i.tif", image, photometric="rgb", planarconfig="separate"
    )
    assert np.array_equal(read_image(tmp_path / "i.tif"), np.moveaxis(image, 0, -1))


@pytest.mark.parametrize("mode", ["P", "LA", "CMYK", "YCbCr"])
def test_odd_colour_modes_become_rgb(tmp_path, rng, mode):
    picture = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).convert(mode)
    path = tmp_path / ("i.png" if mode in ("P", "LA") else "i.jpg")
    picture.save(path)
    assert read_image(path).shape in ((6, 8, 3), (6, 8, 4))


def test_nifti_volumes_are_read_plane_row_column(tmp_path, rng):
    volume = rng.random((7, 6, 5)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "v.nii.gz")
    assert np.array_equal(read_image(tmp_path / "v.nii.gz"), volume.T)
    slab = volume[..., :1]
    nibabel.save(nibabel.Nifti1Image(slab, np.eye(4)), tmp_path / "s.nii")
    assert np.array_equal(read_image(tmp_path / "s.nii"), slab[..., 0].T)


@pytest.mark.parametrize("read", [read_image, read_mask])
@pytest.mark.parametrize(
    "name", ["i.png", "i.jpg", "i.tif", "i.npy", "i.nii", "i.nii.gz", "i.xyz"]
)
def test_broken_files_are_named_in_one_line(tmp_path, read, name):
    path = tmp_path / name
    path.write_bytes(b"\x89PNG nothing of the kind")
    with pytest.raises(ValueError, match="cannot be read") as error:
        read(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


def test_a_truncated_picture_is_refused_not_half_read(tmp_path, rng):
    path = tmp_path / "i.png"
    Image.fromarray(rng.integers(0, 255, (99, 99, 3), np.uint8)).save(path)
    path.write_bytes(path.read_bytes()[:-5000])
    with pytest.raises(ValueError, match="cannot be read"):
        read_image(path)


def test_pickles_are_never_opened(tmp_path):
    np.save(tmp_path / "i.npy", np.array([{}], dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="cannot be read"):
        read_image(tmp_path / "i.npy")


def test_missing_files_folders_and_lists_of_numbers_are_no_images(tmp_path):
    with pytest.raises(FileNotFoundError, match="does not exist"):
        read_image(tmp_path / "i.png")
    with pytest.raises(FileNotFoundError, match="is a folder"):
        read_mask(tmp_path)
    np.save(tmp_path / "i.npy", np.zeros(5))
    with pytest.raises(ValueError, match="rows and columns"):
        read_image(tmp_path / "i.npy")


# Reading masks


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(lambda m: m, id="one bit"),
        pytest.param(lambda m: m.astype(np.uint8) * 255, id="0 and 255"),
        pytest.param(lambda m: m.astype(np.uint8), id="0 and 1"),
        pytest.param(lambda m: m.astype(np.uint16) * 65535, id="16 bit"),
        pytest.param(
            lambda m: np.repeat(m[..., None], 3, 2).astype("u1") * 255, id="rgb"
        ),
        pytest.param(
            lambda m: np.dstack(
                [m.astype("u1") * 255] * 3 + [np.full(m.shape, 255, "u1")]
            ),
            id="rgba",
        ),
        pytest.param(
            lambda m: np.where(m[..., None], np.uint8([255, 0, 0]), np.uint8(0)),
            id="red",
        ),
    ],
)
def test_one_object_is_one_object_however_it_is_saved(tmp_path, disc, values):
    Image.fromarray(values(disc)).save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png")
    assert mask.dtype.kind in "ui"
    assert len(np.unique(mask)) == 2
    assert np.array_equal(mask != 0, disc)


def test_jpeg_artefacts_are_no_objects(tmp_path, disc):
    Image.fromarray(disc.astype(np.uint8) * 255).save(tmp_path / "m.jpg", quality=70)
    mask = read_mask(tmp_path / "m.jpg")
    assert np.unique(mask).tolist() == [0, 1]
    assert (mask.astype(bool) != disc).mean() < 0.005


def test_soft_edges_are_no_objects(tmp_path, disc):
    picture = Image.fromarray(disc.astype(np.uint8) * 255).resize((160, 120))
    assert len(np.unique(np.asarray(picture))) > 2
    picture.save(tmp_path / "m.png")
    assert np.unique(read_mask(tmp_path / "m.png")).tolist() == [0, 1]


@pytest.mark.parametrize(("dtype", "count"), [(np.uint8, 255), (np.uint16, 3000)])
def test_instance_ids_are_kept(tmp_path, rng, dtype, count):
    ids = rng.permutation(np.arange(count + 1)).astype(dtype)
    labels = np.repeat(ids[:, None], 4, axis=1)
    Image.fromarray(labels).save(tmp_path / "m.png")
    tifffile.imwrite(tmp_path / "m.tif", labels)
    assert np.array_equal(read_mask(tmp_path / "m.png"), labels)
    assert np.array_equal(read_mask(tmp_path / "m.tif"), labels)


def test_every_colour_is_an_object_and_black_is_background(tmp_path):
    colours = np.uint8([[0, 0, 0], [255, 0, 0], [0, 255, 0], [255, 0, 0]])
    Image.fromarray(np.tile(colours, (5, 1, 1))).save(tmp_path / "m.png")
    mask = read_mask(tmp_path / "m.png")
    assert mask[0, 0] == 0
    assert mask[0, 1] == mask[0, 3] != mask[0, 2]
    assert sorted(np.unique(mask)) == [0, 1, 2]


def test_a_palettes_indices_are_the_ids(tmp_path):
    picture = Image.fromarray(np.uint8([[0, 1, 2], [2, 15, 0]])).convert("P")
    picture.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0] + [9] * 759)
    picture.putdata([0, 1, 2, 2, 15, 0])
    picture.save(tmp_path / "m.png")
    assert read_mask(tmp_path / "m.png").tolist() == [[0, 1, 2], [2, 15, 0]]


def test_nifti_labels_are_ids_even_in_float(tmp_path):
    labels = np.zeros((7, 6, 5))
    labels[2:4, 1:3, 2], labels[5, 5, 4] = 1, 2
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), tmp_path / "m.nii.gz")
    mask = read_mask(tmp_path / "m.nii.gz")
    assert mask.dtype.kind == "i"
    assert np.array_equal(mask, labels.T)


def test_a_nifti_of_three_columns_is_not_taken_for_colours(tmp_path):
    labels = np.arange(3 * 4 * 5, dtype=np.int16).reshape(3, 4, 5)
    nibabel.save(nibabel.Nifti1Image(labels, np.eye(4)), tmp_path / "m.nii")
    assert np.array_equal(read_mask(tmp_path / "m.nii"), labels.T)


def test_probabilities_are_cut_at_one_half_and_other_fractions_refused(tmp_path):
    np.save(tmp_path / "p.npy", np.array([[0.0, 0.4, 0.6, 1.0, np.nan]]))
    assert read_mask(tmp_path / "p.npy").tolist() == [[0, 0, 1, 1, 0]]
    np.save(tmp_path / "f.npy", np.array([[0.0, 1.5, 3.7]]))
    with pytest.raises(ValueError, match="neither whole nor within") as error:
        read_mask(tmp_path / "f.npy")
    assert "f.npy" in str(error.value)
