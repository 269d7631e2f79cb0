"""The samples: made as committed, with truths that belong to them."""

from __future__ import annotations

from pathlib import Path

import imageio.v3 as iio
import numpy as np
import pytest
import tifffile
from scipy import ndimage
from skimage.morphology import dilation, disk

from napari_promise.data import samples

COMMITTED = Path(__file__).resolve().parents[2] / "sample_data"

# The last bit of a sine differs between processors: a grey level or an edge pixel may.
SAME = {"share": 1e-3, "levels": 2}


@pytest.fixture(scope="module")
def scene() -> tuple[np.ndarray, np.ndarray]:
    return samples.endoscopy_scene()


def test_the_committed_scene_is_what_the_code_makes(scene) -> None:
    image, mask = scene
    committed = iio.imread(COMMITTED / "endoscopy.png")
    assert committed.shape == image.shape == (512, 640, 3)
    far = np.abs(committed.astype(int) - image) > SAME["levels"]
    assert far.mean() < SAME["share"]
    other = iio.imread(COMMITTED / "endoscopy_mask.png") > 127
    assert (other != mask).mean() < SAME["share"]


def test_the_committed_stack_is_what_the_code_makes() -> None:
    volume, labels, scale = samples.nodule_stack()
    with tifffile.TiffFile(COMMITTED / "nodules.tif") as file:
        committed = file.asarray()
        assert file.imagej_metadata["spacing"] == scale[0]
    assert committed.dtype == volume.dtype == np.uint16
    far = np.abs(committed.astype(int) - volume.astype(int)) > SAME["levels"]
    assert far.mean() < SAME["share"]
    other = tifffile.imread(COMMITTED / "nodules_labels.tif")
    assert (other != labels).mean() < SAME["share"]


def test_the_scene_holds_one_polyp_in_view_that_differs_from_its_surroundings(
    scene,
) -> None:
    image, mask = scene
    assert ndimage.label(mask)[1] == 1
    assert 0.03 < mask.mean() < 0.20
    assert not image[0, 0].any(), "outside the field of view it is black"
    assert image[mask].min(axis=-1).mean() > 20, "the polyp is lit"
    ring = dilation(mask, disk(15)) & ~mask
    red, green = image[..., 0] + 1.0, image[..., 1] + 1.0
    assert (red / green)[mask].mean() > 1.05 * (red / green)[ring].mean()


def test_another_seed_gives_another_picture_of_the_same_polyp(scene) -> None:
    image, mask = samples.endoscopy_scene(seed=8)
    assert (image != scene[0]).mean() > 0.5
    np.testing.assert_array_equal(mask, scene[1])


def test_the_stack_has_six_nodules_each_in_several_planes_and_brighter() -> None:
    volume, labels, scale = samples.nodule_stack()
    assert scale[0] > scale[1] == scale[2], "planes are thicker than pixels"
    assert set(np.unique(labels)) == set(range(7))
    body = np.median(volume[(labels == 0) & (volume > 500)])
    for nodule in range(1, 7):
        inside = labels == nodule
        assert inside.any(axis=(1, 2)).sum() >= 3
        assert volume[inside].mean() > body + 300


@pytest.mark.slow
def test_every_sample_comes_as_layer_data_with_its_truth_hidden() -> None:
    makers = samples.endoscopy_layers, samples.stack_layers, samples.nuclei_layers
    for layers in (make() for make in makers):
        (image, image_options, kind), (truth, truth_options, truth_kind) = layers
        assert (kind, truth_kind) == ("image", "labels")
        assert truth.dtype == np.uint8
        assert truth.shape == image.shape[: truth.ndim]
        assert truth_options["visible"] is False
        assert truth_options.get("scale") == image_options.get("scale")
    ((retina, options, kind),) = samples.retina_layers()
    assert (retina.shape, options["rgb"], kind) == ((1411, 1411, 3), True, "image")
