"""What the numbers of a mask file mean."""

from __future__ import annotations

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_promise.data.images import read_mask


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def disc() -> np.ndarray:
    rows, columns = np.indices((60, 80))
    return (rows - 30) ** 2 + (columns - 40) ** 2 < 20**2


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


# Decided on the numbers that are there


def circle(radius: float, shape: tuple[int, int] = (120, 160)) -> np.ndarray:
    row, column = np.indices(shape)
    return (row - 60) ** 2 + (column - 80) ** 2 < radius**2


def read_back(tmp_path, array: np.ndarray) -> np.ndarray:
    Image.fromarray(array).save(tmp_path / "m.png")
    return read_mask(tmp_path / "m.png")


@pytest.mark.parametrize("radius", [8, 22])
def test_a_void_ring_of_255_is_neither_an_object_nor_the_end_of_one(tmp_path, radius):
    mask = np.where(circle(radius + 4), np.uint8(255), np.uint8(0))
    mask[circle(radius)] = 15
    assert np.array_equal(read_back(tmp_path, mask), circle(radius) * 15)


def test_void_beside_many_ids_is_background(tmp_path):
    mask = np.repeat(np.arange(20, dtype=np.uint8), 8)[:, None].repeat(99, axis=1)
    mask[:, 50:] = 255
    assert read_back(tmp_path, mask).max() == 19


def test_a_middle_class_is_a_class(tmp_path):
    mask = circle(30).astype(np.uint8) * 127
    mask[circle(15)] = 255
    assert np.array_equal(read_back(tmp_path, mask), mask)


def test_where_255_seems_to_be_the_background_that_is_refused(tmp_path):
    mask = np.full((120, 160), 255, np.uint8)
    mask[circle(30)], mask[circle(15)] = 128, 0
    with pytest.raises(ValueError, match="255 were the background"):
        read_back(tmp_path, mask)


def test_wide_soft_edges_are_no_objects(tmp_path):
    from scipy import ndimage

    mask = ndimage.gaussian_filter(circle(30) * 255.0, 5).astype(np.uint8)
    mask[circle(20)] = 255
    assert np.unique(read_back(tmp_path, mask)).tolist() == [0, 1]


def test_what_is_transparent_is_background(tmp_path):
    array = np.full((120, 160, 4), 255, np.uint8)
    array[..., 3] = 0
    array[circle(22)] = (255, 0, 0, 255)
    assert np.array_equal(read_back(tmp_path, array) > 0, circle(22))


def test_a_mask_that_is_in_alpha_alone_is_read_from_there(tmp_path):
    array = np.zeros((120, 160, 4), np.uint8)
    array[circle(22), 3] = 255
    assert np.array_equal(read_back(tmp_path, array) > 0, circle(22))


def test_colours_on_a_background_that_is_not_black_are_refused_by_name(tmp_path):
    array = np.full((120, 160, 3), 255, np.uint8)
    array[circle(22)] = (255, 0, 0)
    with pytest.raises(ValueError, match=r"m\.png has no black pixel.*255, 255, 255"):
        read_back(tmp_path, array)


def test_a_palette_of_black_and_white_is_read_by_its_colours(tmp_path):
    picture = Image.fromarray((~circle(22)).astype(np.uint8), "P")
    picture.putpalette([255, 255, 255, 0, 0, 0] + [0] * 762)
    picture.save(tmp_path / "m.png")
    assert np.array_equal(read_mask(tmp_path / "m.png") > 0, circle(22))


def test_colours_that_blend_at_an_edge_are_no_objects(tmp_path):
    array = np.zeros((120, 160, 3), np.uint8)
    array[circle(30)], array[circle(12)] = (255, 0, 0), (0, 255, 0)
    picture = Image.fromarray(array).resize((333, 251), Image.Resampling.LANCZOS)
    assert len(np.unique(np.asarray(picture).reshape(-1, 3), axis=0)) > 50
    picture.save(tmp_path / "m.png")
    assert np.unique(read_mask(tmp_path / "m.png")).tolist() == [0, 1, 2]


def test_floats_that_are_almost_whole_are_ids(tmp_path):
    np.save(tmp_path / "m.npy", np.array([[0.0, 0.9999999, 1.9999998, 3.0000457]]))
    assert read_mask(tmp_path / "m.npy").tolist() == [[0, 1, 2, 3]]


def test_ids_that_were_scaled_are_refused_instead_of_read_as_nothing(tmp_path):
    np.save(tmp_path / "m.npy", np.array([[0.0, 0.1, 0.2, 0.2]]))
    with pytest.raises(ValueError, match=r"m\.npy holds numbers up to 0\.2.*scaled"):
        read_mask(tmp_path / "m.npy")


def test_soft_edges_of_three_greys_are_no_objects_either(tmp_path):
    picture = Image.fromarray(circle(30).astype(np.uint8) * 255)
    halved = np.asarray(picture.resize((80, 60), Image.Resampling.BOX))
    assert len(np.unique(halved)) == 5
    assert np.array_equal(read_back(tmp_path, halved), halved > 127)


@pytest.mark.parametrize("void", [255, 65_535])
def test_a_void_ring_in_16_bits_is_left_out(tmp_path, void):
    array = np.zeros((40, 50), np.uint16)
    array[8:32, 8:32] = void
    array[10:30, 10:30] = 3
    Image.fromarray(array).save(tmp_path / "m.png")
    assert np.unique(read_mask(tmp_path / "m.png")).tolist() == [0, 3]


def test_many_ids_of_16_bits_are_kept_with_255_and_65535_among_them(tmp_path):
    ids = np.arange(300, dtype=np.uint16).reshape(15, 20)
    array = np.kron(ids, np.ones((4, 4), np.uint16))
    for greatest in (255, 65_535):
        array[array >= 255] = greatest
        np.save(tmp_path / "m.npy", array)
        assert np.array_equal(read_mask(tmp_path / "m.npy"), array)


def test_soft_edges_of_16_bits_are_one_object(tmp_path):
    ramp = np.clip(np.arange(80) - 30, 0, 9) / 9 * 65_535
    array = np.tile(ramp.astype(np.uint16), (60, 1)) + np.arange(60)[:, None] % 2
    array = np.minimum(array, 65_535).astype(np.uint16)
    array[:, 39:] = 65_535
    np.save(tmp_path / "m.npy", array)
    assert np.unique(read_mask(tmp_path / "m.npy")).tolist() == [0, 1]


def test_minus_one_beside_a_background_is_ignored(tmp_path):
    array = np.zeros((20, 30), np.int16)
    array[5:9, 5:9], array[:2] = 4, -1
    np.save(tmp_path / "m.npy", array)
    assert np.unique(read_mask(tmp_path / "m.npy")).tolist() == [0, 4]


@pytest.mark.parametrize("values", [(-1, 1), (-5, 0)])
def test_other_negative_numbers_are_refused(tmp_path, values):
    array = np.full((20, 30), values[0], np.int16)
    array[5:9, 5:9] = values[1]
    np.save(tmp_path / "m.npy", array)
    with pytest.raises(ValueError, match="negative numbers"):
        read_mask(tmp_path / "m.npy")
