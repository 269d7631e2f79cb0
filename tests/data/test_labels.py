"""Label images come back exactly, where they were in space, or the file stays."""

import errno
import json
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_promise.data import labels as labels_module
from napari_promise.data.images import read_mask
from napari_promise.data.labels import save_labels, sidecar, world_matrix
from napari_promise.data.provenance import provenance
from tests.folders import left_in

SUFFIXES = [".tif", ".png", ".npy", ".nii", ".nii.gz"]


def read(path: Path) -> np.ndarray:
    """Return the labels of a file as any other program would read them."""
    if path.name.endswith((".nii", ".nii.gz")):
        data = np.asarray(nibabel.load(path).dataobj).T
        return data[0] if data.shape[0] == 1 else data
    if path.suffix == ".png":
        return np.asarray(Image.open(path))
    if path.suffix == ".npy":
        return np.load(path)
    return tifffile.imread(path)


@pytest.mark.parametrize("suffix", [*SUFFIXES, ".tiff", ".TIF", ".ome.tif"])
def test_labels_come_back_from_every_format(tmp_path, labels, suffix):
    path = save_labels(tmp_path / f"labels{suffix}", labels)
    back = read(path.rename(path.with_name(path.name.lower())))
    assert np.array_equal(back, labels)
    assert back.dtype == np.uint8


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".nii.gz"])
@pytest.mark.parametrize("shape", [(5, 20, 30), (2, 5, 20, 30)])
def test_stacks_come_back_from_every_format_that_holds_them(
    tmp_path, rng, suffix, shape
):
    stack = rng.integers(0, 300, shape)
    back = read(save_labels(tmp_path / f"stack{suffix}", stack))
    assert np.array_equal(back, stack)
    assert back.dtype == np.uint16


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".nii", ".nii.gz"])
@pytest.mark.parametrize(
    "greatest", [1, 255, 256, 65535, 65536, 2**24 + 1, 2**31, 2**32 - 1, 2**53 + 1]
)
def test_no_id_is_lost(tmp_path, suffix, greatest):
    values = np.zeros((4, 5), np.int64)
    values[1, 2], values[3, 3] = greatest, greatest - 1
    back = read(save_labels(tmp_path / f"labels{suffix}", values))
    assert back[1, 2] == greatest
    assert back[3, 3] == greatest - 1


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".nii"])
def test_negative_ids_are_kept(tmp_path, suffix):
    values = np.array([[-1, 0, 1], [2, -300, 3]])
    assert np.array_equal(read(save_labels(tmp_path / f"l{suffix}", values)), values)


def test_png_holds_65535_ids_and_refuses_more_with_a_remedy(tmp_path):
    values = np.zeros((4, 5), np.int64)
    values[0, 0] = 65535
    assert read(save_labels(tmp_path / "labels.png", values))[0, 0] == 65535
    values[0, 0] = 65536
    with pytest.raises(ValueError, match=r"up to 65535|0 to 65535.*\.tif"):
        save_labels(tmp_path / "more.png", values)
    assert left_in(tmp_path) == ["labels.png"]


def test_png_refuses_a_stack_with_a_remedy(tmp_path):
    with pytest.raises(ValueError, match=r"one plane.*\.tif"):
        save_labels(tmp_path / "labels.png", np.zeros((3, 4, 5), np.uint8))
    assert left_in(tmp_path) == []


@pytest.mark.parametrize(
    ("name", "values", "message"),
    [
        ("labels.jpg", np.zeros((4, 5), int), "no label format: end it in .tif"),
        ("labels", np.zeros((4, 5), int), "no label format"),
        ("labels.tif", np.zeros((4, 5)), "must be integers"),
        ("labels.tif", np.zeros(5, int), "rows and columns"),
        ("labels.nii", np.zeros((1, 1, 1, 1, 1), int), "up to 4 axes"),
        ("labels.nii", np.zeros((1, 40000), int), "up to 4 axes of up to 32767"),
    ],
)
def test_what_no_file_can_hold_is_refused(tmp_path, name, values, message):
    with pytest.raises(ValueError, match=message):
        save_labels(tmp_path / name, values)
    assert left_in(tmp_path) == []


def test_a_mask_is_written_as_0_and_1(tmp_path, labels):
    back = read(save_labels(tmp_path / "mask.png", labels > 3))
    assert np.array_equal(back, (labels > 3).astype(np.uint8))


# Pixel size and place in the world


def test_tiff_holds_the_pixel_size_for_imagej(tmp_path, rng):
    stack = rng.integers(0, 9, (3, 20, 30))
    path = save_labels(tmp_path / "l.tif", stack, scale=(2.5, 0.5, 0.25), unit="um")
    with tifffile.TiffFile(path) as file:
        assert file.imagej_metadata["spacing"] == 2.5
        assert file.imagej_metadata["unit"] == "um"
        assert file.series[0].axes == "ZYX"
        x, y = (
            file.pages[0].tags[name].value for name in ("XResolution", "YResolution")
        )
        assert x[0] / x[1] == pytest.approx(4)
        assert y[0] / y[1] == pytest.approx(2)


def test_tiff_of_many_ids_holds_the_pixel_size_for_ome(tmp_path, rng):
    stack = rng.integers(0, 2**20, (3, 20, 30))
    path = save_labels(
        tmp_path / "l.tif", stack, scale=(2.5, 0.5, 0.25), unit="micrometer"
    )
    with tifffile.TiffFile(path) as file:
        assert file.is_ome
        pixels = tifffile.xml2dict(file.ome_metadata)["OME"]["Image"]["Pixels"]
    sizes = [pixels[f"PhysicalSize{axis}"] for axis in "XYZ"]
    assert sizes == [0.25, 0.5, 2.5]
    assert pixels["PhysicalSizeXUnit"] == "µm"


def test_tiff_pixel_size_follows_the_affine_too(tmp_path, labels):
    affine = np.diag([3.0, 2.0, 1.0])
    path = save_labels(tmp_path / "l.tif", labels, scale=(2, 1), affine=affine)
    with tifffile.TiffFile(path) as file:
        y = file.pages[0].tags["YResolution"].value
    assert y[1] / y[0] == pytest.approx(6)


def turn(axis: int, degrees: float) -> np.ndarray:
    """Rotate about one of three axes."""
    a, b = (i for i in range(3) if i != axis)
    angle = np.deg2rad(degrees)
    matrix = np.eye(3)
    matrix[a, a] = matrix[b, b] = np.cos(angle)
    matrix[a, b], matrix[b, a] = -np.sin(angle), np.sin(angle)
    return matrix


TRANSFORMS_3D = {
    "anisotropic scale": {"scale": (3, 0.5, 0.7)},
    "translate": {"scale": (3, 0.5, 0.7), "translate": (-10, 20.5, 3)},
    "rotate": {
        "scale": (3, 0.5, 0.7),
        "translate": (-10, 20.5, 3),
        "rotate": turn(0, 30) @ turn(1, -50) @ turn(2, 110),
    },
    "shear": {"scale": (3, 0.5, 0.7), "shear": (0.1, 0.2, -0.3)},
    "affine": {
        "scale": (3, 0.5, 0.7),
        "translate": (1, 2, 3),
        "rotate": turn(2, 20),
        "affine": np.array(
            [[1.2, 0.1, 0, 5], [0, 0.9, 0.3, -6], [0.2, 0, 1.1, 7], [0, 0, 0, 1]]
        ),
    },
    "mirror": {"scale": (3, -0.5, 0.7)},
}


@pytest.mark.parametrize("name", TRANSFORMS_3D)
@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_nifti_puts_every_voxel_where_napari_shows_it(tmp_path, rng, name, suffix):
    from napari.layers import Labels

    transform = TRANSFORMS_3D[name]
    stack = rng.integers(0, 9, (4, 5, 6))
    layer = Labels(stack, **transform)
    path = save_labels(
        tmp_path / f"labels{suffix}",
        layer.data,
        scale=layer.scale,
        translate=layer.translate,
        rotate=layer.rotate,
        shear=layer.shear,
        affine=layer.affine.affine_matrix,
    )
    file = nibabel.load(path)
    voxels = np.asarray(file.dataobj)
    for index in [(0, 0, 0), (3, 0, 0), (0, 4, 0), (0, 0, 5), (2, 3, 1)]:
        shown_at = np.array(layer.data_to_world(index))  # (plane, row, column)
        x, y, z = (file.affine @ [*index[::-1], 1])[:3]
        assert (z, y, x) == pytest.approx(tuple(shown_at), abs=1e-4)
        assert voxels[index[::-1]] == stack[index]


def test_nifti_of_one_plane_keeps_scale_translate_and_rotation(tmp_path, labels):
    from napari.layers import Labels

    layer = Labels(labels, scale=(0.5, 2), translate=(10, -3), rotate=35)
    path = save_labels(
        tmp_path / "labels.nii.gz",
        layer.data,
        scale=layer.scale,
        translate=layer.translate,
        rotate=layer.rotate,
    )
    file = nibabel.load(path)
    assert file.shape == (30, 20, 1)
    x, y, z, _ = file.affine @ [7, 4, 0, 1]
    assert (y, x) == pytest.approx(tuple(layer.data_to_world((4, 7))), abs=1e-4)
    assert z == 0
    assert file.header.get_zooms() == pytest.approx((2, 0.5, 1))


def test_nifti_with_a_rotation_has_an_equal_qform(tmp_path, rng):
    stack = rng.integers(0, 9, (4, 5, 6))
    path = save_labels(tmp_path / "l.nii", stack, **TRANSFORMS_3D["rotate"], unit="mm")
    header = nibabel.load(path).header
    assert np.allclose(header.get_qform(), header.get_sform(), atol=1e-4)
    assert header.get_xyzt_units()[0] == "mm"


def test_nifti_with_shear_has_only_an_sform(tmp_path, rng):
    stack = rng.integers(0, 9, (4, 5, 6))
    path = save_labels(tmp_path / "l.nii", stack, **TRANSFORMS_3D["shear"])
    header = nibabel.load(path).header
    assert header["qform_code"] == 0
    assert header["sform_code"] > 0


def test_nifti_of_a_time_series_keeps_the_spatial_transform(tmp_path, rng):
    stack = rng.integers(0, 9, (2, 3, 4, 5))
    path = save_labels(tmp_path / "l.nii", stack, scale=(10, 3, 0.5, 0.7))
    file = nibabel.load(path)
    assert file.shape == (5, 4, 3, 2)
    assert file.header.get_zooms() == pytest.approx((0.7, 0.5, 3, 10))
    assert np.array_equal(np.asarray(file.dataobj).T, stack)


def test_a_nifti_volume_that_was_opened_with_reversed_axes_returns_to_its_space(
    tmp_path, rng
):
    original = nibabel.Nifti1Image(
        rng.integers(0, 3, (6, 5, 4)).astype(np.uint8),
        np.array(
            [[-2, 0, 0, 90], [0, 1.5, 0.2, -126], [0, -0.2, 3, -72], [0, 0, 0, 1]]
        ),
    )
    opened = np.asarray(original.dataobj).T
    matrix = np.eye(4)
    matrix[:3, :3] = original.affine[:3, :3][::-1, ::-1]
    matrix[:3, 3] = original.affine[:3, 3][::-1]
    path = save_labels(tmp_path / "l.nii.gz", opened, affine=matrix)
    assert np.allclose(nibabel.load(path).affine, original.affine, atol=1e-5)
    assert np.array_equal(nibabel.load(path).dataobj, original.dataobj)


@pytest.mark.parametrize("suffix", [".tif", ".npy", ".nii.gz"])
def test_an_extreme_scale_never_resamples_the_labels(tmp_path, rng, suffix):
    stack = rng.integers(0, 9, (3, 20, 30))
    path = save_labels(tmp_path / f"l{suffix}", stack, scale=(4000, 2e-4, 2e-4))
    assert np.array_equal(read(path), stack)
    assert path.stat().st_size < 20_000


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        ({"scale": (1, 2, 3)}, "scale must have one number for each of the 2 axes"),
        ({"scale": (0, 1)}, "scale other than zero"),
        ({"translate": (np.nan, 1)}, "not finite"),
        ({"rotate": np.eye(3)}, "rotate must be a matrix of 2 by 2"),
        ({"shear": (1, 2, 3)}, "shear must be"),
        ({"affine": np.eye(4)}, "affine must be a matrix of 3 by 3"),
    ],
)
def test_a_transform_that_does_not_fit_is_refused(transform, message):
    with pytest.raises(ValueError, match=message):
        world_matrix(2, **transform)


def test_labels_have_a_sidecar_with_provenance_and_transform(tmp_path, labels):
    path = save_labels(
        tmp_path / "labels.png",
        labels,
        scale=(2, 3),
        classes={1: "polyp"},
        metadata=provenance(model="promise-tiny", model_sha256="ab"),
        image={"name": "frame"},
    )
    assert sidecar(path).name == "labels.png.provenance.json"
    record = json.loads(sidecar(path).read_text())
    assert record["model"]["name"] == "promise-tiny"
    assert record["image"] == {"name": "frame"}
    assert record["labels"]["classes"] == {"1": "polyp"}
    assert record["labels"]["objects"] == 6
    assert record["labels"]["data_to_world"] == [[2, 0, 0], [0, 3, 0], [0, 0, 1]]


def test_no_sidecar_without_anything_to_say(tmp_path, labels):
    save_labels(tmp_path / "labels.png", labels)
    assert left_in(tmp_path) == ["labels.png"]


@pytest.mark.parametrize("suffix", SUFFIXES)
def test_the_earlier_file_survives_a_writer_that_fails_midway(
    tmp_path, labels, suffix, monkeypatch
):
    path = tmp_path / f"labels{suffix}"
    save_labels(path, labels)
    before = path.read_bytes()

    def fails_midway(temporary, *args):
        temporary.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setitem(labels_module._WRITERS, suffix, fails_midway)
    with pytest.raises(OSError, match="No space left on device.*free disk space"):
        save_labels(path, labels + 1, overwrite=True)
    assert path.read_bytes() == before
    assert left_in(tmp_path) == [path.name]


def test_the_earlier_file_survives_a_failing_sidecar(tmp_path, labels, monkeypatch):
    path = save_labels(tmp_path / "labels.png", labels, metadata={"a": 1})
    before = path.read_bytes(), sidecar(path).read_bytes()

    def fails(*args, **kwargs):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(labels_module, "save_json", fails)
    with pytest.raises(OSError, match="No space left"):
        save_labels(path, labels + 1, metadata={"a": 2}, overwrite=True)
    assert (path.read_bytes(), sidecar(path).read_bytes()) == before
    assert len(left_in(tmp_path)) == 2


def test_a_missing_folder_is_said_in_one_line_with_the_remedy(tmp_path, labels):
    with pytest.raises(OSError, match="choose a folder that exists") as error:
        save_labels(tmp_path / "missing" / "labels.tif", labels)
    assert "\n" not in str(error.value)
    assert "missing" in str(error.value)


def test_an_unwritable_folder_is_said_in_one_line(tmp_path, labels, monkeypatch):
    def denied(self, *args, **kwargs):
        raise PermissionError(errno.EACCES, "Permission denied", str(self))

    monkeypatch.setattr(Path, "touch", denied)
    with pytest.raises(PermissionError, match="Permission denied.*choose a folder"):
        save_labels(tmp_path / "labels.tif", labels)


def test_a_folder_in_the_place_of_the_file_is_named(tmp_path, labels):
    (tmp_path / "labels.tif").mkdir()
    with pytest.raises(IsADirectoryError, match="is a folder"):
        save_labels(tmp_path / "labels.tif", labels, overwrite=True)


def test_export_of_png_has_ids_and_colours_for_the_eye(tmp_path):
    labels = np.array([[0, 1], [2, 254]])
    with Image.open(save_labels(tmp_path / "a.png", labels)) as picture:
        assert np.array_equal(np.asarray(picture), labels)
        shown = np.asarray(picture.convert("RGB")).reshape(-1, 3)
    assert shown[0].tolist() == [0, 0, 0]
    assert shown[1:].max(axis=1).min() > 150
    assert len(np.unique(shown, axis=0)) == 4
    assert np.array_equal(read_mask(tmp_path / "a.png"), labels)


@pytest.mark.parametrize("suffix", [".png", ".tif", ".npy", ".nii.gz"])
def test_export_of_object_255_is_never_taken_for_what_is_ignored(tmp_path, suffix):
    labels = np.array([[0, 1], [2, 255]])
    saved = save_labels(tmp_path / f"a{suffix}", labels)
    assert np.array_equal(read_mask(saved).squeeze(), labels)
