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
