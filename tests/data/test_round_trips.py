"""Geometry: what comes out lies where what came in lies, to independent readers.

NIfTI is compared with nibabel and SimpleITK, TIFF with tifffile.
"""

import nibabel
import numpy as np
import pytest
import tifffile

from napari_promise.data.images import read_image, shape_of
from napari_promise.data.labels import save_labels
from napari_promise.data.writers import write_nifti


def affine(turned=0.3, sizes=(1.5, 2.0, 4.0), shift=(-30.0, 12.0, 5.0)):
    matrix = np.eye(4)
    cos, sin = np.cos(turned), np.sin(turned)
    matrix[:3, :3] = np.array([[cos, -sin, 0], [sin, cos, 0], [0, 0, 1]]) @ np.diag(
        sizes
    )
    matrix[:3, 3] = shift
    return matrix


def save_scan(path, shape, qform=None, sform=None, codes=(1, 2), cls=None):
    data = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    file = (cls or nibabel.Nifti1Image)(data, affine())
    file.set_qform(affine(0.0) if qform is None else qform, code=codes[0])
    file.set_sform(affine() if sform is None else sform, code=codes[1])
    file.header.set_xyzt_units("mm", "sec")
    if len(shape) > 3:
        file.header.set_zooms((*file.header.get_zooms()[:3], 2.2))
    nibabel.save(file, path)
    return path


def labels_of(image):
    return np.random.default_rng(0).integers(0, 4, image.shape).astype(np.uint8)


def round_trip(tmp_path, source, name="out.nii.gz"):
    """Save labels of an image as folder export and command line do."""
    image = read_image(source)
    labels, placement = image.place.labels_as_in_file(labels_of(image))
    return image, save_labels(tmp_path / name, labels, **placement)


@pytest.mark.parametrize(
    "shape", [(5, 6, 7), (5, 6, 1), (1, 6, 7), (5, 1, 7), (5, 6), (5, 6, 7, 3)]
)
@pytest.mark.parametrize("codes", [(1, 2), (1, 0), (0, 3), (0, 0)])
def test_geometry_of_nifti_in_is_nifti_out(tmp_path, shape, codes):
    source = save_scan(tmp_path / "in.nii.gz", shape, codes=codes)
    image, saved = round_trip(tmp_path, source)
    before, after = nibabel.load(source), nibabel.load(saved)
    assert after.shape == before.shape
    assert np.array_equal(after.affine, before.affine)
    for name in ("get_qform", "get_sform"):
        theirs, ours = (getattr(f.header, name)(coded=True) for f in (before, after))
        assert ours[1] == theirs[1]
        if theirs[0] is not None:
            assert np.allclose(ours[0], theirs[0])
    assert after.header.get_zooms() == before.header.get_zooms()
    assert after.header.get_xyzt_units() == before.header.get_xyzt_units()
    data = np.asarray(after.dataobj)
    assert np.array_equal(data.T.reshape(image.shape), labels_of(image))


@pytest.mark.parametrize("shape", [(5, 6, 7), (5, 6, 1), (1, 6, 7)])
def test_geometry_of_nifti_is_the_same_to_itk(tmp_path, shape):
    sitk = pytest.importorskip("SimpleITK")
    source = save_scan(tmp_path / "in.nii.gz", shape, qform=affine(), codes=(1, 1))
    _, saved = round_trip(tmp_path, source)
    before, after = (sitk.ReadImage(str(path)) for path in (source, saved))
    for what in ("GetSize", "GetSpacing", "GetOrigin", "GetDirection"):
        assert np.allclose(getattr(after, what)(), getattr(before, what)())


def test_geometry_of_a_layer_that_nobody_moved_is_that_of_its_file(tmp_path):
    source = save_scan(tmp_path / "in.nii", (5, 6, 7))
    image = read_image(source)
    attributes = dict(image.layer_options)
    write_nifti(str(tmp_path / "out.nii"), labels_of(image), attributes)
    before, after = (nibabel.load(tmp_path / f"{n}.nii") for n in ("in", "out"))
    assert np.allclose(after.get_qform(), before.get_qform())
    assert np.array_equal(after.affine, before.affine)
    assert int(after.header["qform_code"]) == 1


def test_geometry_of_nifti_2_and_scaled_values_is_kept(tmp_path):
    source = save_scan(tmp_path / "in.nii", (5, 6, 7), cls=nibabel.Nifti2Image)
    file = nibabel.load(source)
    file.header.set_slope_inter(0.5, 3)
    nibabel.save(file, source)
    _, saved = round_trip(tmp_path, source)
    after = nibabel.load(saved)
    assert np.allclose(after.affine, nibabel.load(source).affine)
    assert np.unique(np.asarray(after.dataobj)).tolist() == [0, 1, 2, 3]


@pytest.mark.parametrize("bad", ["zero", "nan"])
def test_geometry_that_is_degenerate_is_told_and_replaced_by_the_zooms(tmp_path, bad):
    sitk = pytest.importorskip("SimpleITK")
    source = save_scan(tmp_path / "in.nii", (5, 6, 7), codes=(0, 2))
    file = nibabel.load(source)
    header, data = file.header, np.asarray(file.dataobj)
    header["srow_x"] = 0 if bad == "zero" else np.nan
    nibabel.save(nibabel.Nifti1Image(data, None, header), source)
    image, saved = round_trip(tmp_path, source)
    assert "flat along an axis" in image.notes[0]
    assert image.place.scale == pytest.approx((4.0, 2.0, 1.5))
    after = nibabel.load(saved)
    assert np.allclose(np.abs(after.affine[:3, :3]), np.diag([1.5, 2, 4]))
    assert sitk.ReadImage(str(saved)).GetSpacing() == pytest.approx((1.5, 2, 4))


def test_geometry_takes_the_qform_where_the_sform_is_degenerate(tmp_path):
    source = save_scan(tmp_path / "in.nii", (5, 6, 7))
    file = nibabel.load(source)
    file.header["srow_x"] = 0
    nibabel.save(
        nibabel.Nifti1Image(np.asarray(file.dataobj), None, file.header), source
    )
    image, _ = round_trip(tmp_path, source)
    assert image.notes == ()
    assert np.allclose(image.world[:3, :3], affine(0.0)[:3, :3][::-1, ::-1])


# TIFF


def imagej(path, array, axes, **metadata):
    tifffile.imwrite(
        path,
        array,
        imagej=True,
        resolution=(5.0, 4.0),
        metadata={"axes": axes, "unit": "um", **metadata},
    )


def test_geometry_of_imagej_tiff_in_is_tiff_out(tmp_path, rng):
    stack = rng.integers(0, 999, (4, 20, 30)).astype(np.uint16)
    imagej(tmp_path / "in.tif", stack, "ZYX", spacing=0.5)
    _, saved = round_trip(tmp_path, tmp_path / "in.tif", "out.tif")
    with tifffile.TiffFile(saved) as file:
        assert file.series[0].axes == "ZYX"
        assert file.pages[0].resolution == pytest.approx((5, 4))
        assert file.imagej_metadata["unit"] == "um"
        assert file.imagej_metadata["spacing"] == 0.5


def test_geometry_of_ome_tiff_in_is_tiff_out(tmp_path, rng):
    stack = rng.integers(0, 999, (4, 20, 30)).astype(np.uint16)
    metadata = {"axes": "ZYX"}
    for axis, size in (("X", 0.2), ("Y", 0.25), ("Z", 500)):
        metadata[f"PhysicalSize{axis}"] = size
        metadata[f"PhysicalSize{axis}Unit"] = "µm" if axis != "Z" else "nm"
    tifffile.imwrite(tmp_path / "in.ome.tif", stack, metadata=metadata)
    image, saved = round_trip(tmp_path, tmp_path / "in.ome.tif", "out.tif")
    assert image.place.scale == pytest.approx((0.5, 0.25, 0.2))
    with tifffile.TiffFile(saved) as file:
        assert file.pages[0].resolution == pytest.approx((5, 4))
        assert file.imagej_metadata["spacing"] == pytest.approx(0.5)


def test_geometry_of_tiff_in_centimetres_is_kept(tmp_path, rng):
    image = rng.integers(0, 255, (20, 30)).astype(np.uint8)
    tifffile.imwrite(
        tmp_path / "in.tif", image, resolution=(20000, 10000), resolutionunit=3
    )
    opened, saved = round_trip(tmp_path, tmp_path / "in.tif", "out.tif")
    assert (opened.place.scale, opened.unit) == ((1.0, 0.5), "um")
    with tifffile.TiffFile(saved) as file:
        assert file.pages[0].resolution == pytest.approx((2, 1))
        assert file.imagej_metadata["unit"] == "um"


@pytest.mark.parametrize("kind", ["imagej", "ome"])
@pytest.mark.parametrize("axes", ["CYX", "ZCYX"])
def test_geometry_has_no_channels_among_its_planes(tmp_path, rng, kind, axes):
    shape = {"CYX": (3, 20, 30), "ZCYX": (4, 3, 20, 30)}[axes]
    array = rng.integers(0, 999, shape).astype(np.uint16)
    path = tmp_path / ("in.tif" if kind == "imagej" else "in.ome.tif")
    if kind == "imagej":
        imagej(path, array, axes, spacing=0.5)
    else:
        tifffile.imwrite(
            path,
            array,
            metadata={"axes": axes, "PhysicalSizeX": 0.2, "PhysicalSizeY": 0.25},
        )
    image, saved = round_trip(tmp_path, path, "out.tif")
    assert image.rgb
    assert image.shape == shape_of(path) == (*shape[: axes.index("C")], 20, 30)
    assert image.place.scale[-2:] == pytest.approx((0.25, 0.2))
    assert "3 channels are blended" in image.notes[0]
    with tifffile.TiffFile(saved) as file:
        assert file.series[0].shape == image.shape


def test_geometry_of_two_dim_channels_leaves_both_to_be_seen(tmp_path):
    array = np.zeros((2, 20, 30), np.uint16)
    array[0, 5:9, 5:9], array[1, 12:15, 12:15] = 50, 60000
    imagej(tmp_path / "in.tif", array, "CYX")
    shown = read_image(tmp_path / "in.tif").rgb8()
    assert shown[6, 6].tolist() == [0, 255, 0]
    assert shown[13, 13].tolist() == [255, 0, 255]


def test_geometry_of_a_time_series_stays_planes(tmp_path, rng):
    imagej(tmp_path / "in.tif", rng.integers(0, 9, (4, 20, 30)).astype("u2"), "TYX")
    assert read_image(tmp_path / "in.tif").shape == (4, 20, 30)
