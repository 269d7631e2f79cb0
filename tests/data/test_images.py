"""Every image is read as it is, with its place and one contrast for all planes."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image

from napari_promise.data.images import (
    OpenedImage,
    dicom_series_in,
    notes_on,
    place_of,
    read_image,
    read_mask,
    read_series,
    shape_of,
    stem_of,
    thumbnail,
)
from napari_promise.data.labels import save_labels
from tests.data.stacks import save_dicom

AFFINE = np.array(
    [[0.0, -1.5, 0.0, 3.0], [2.0, 0.0, 0.0, 4.0], [0.0, 0.0, 3.0, 5.0], [0, 0, 0, 1]]
)


def touch(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    return path


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.mark.parametrize(
    ("name", "stem"),
    [("a.png", "a"), ("a.b.jpg", "a.b"), ("x/a.nii.gz", "a"), ("a.OME.TIF", "a")],
)
def test_the_stem_is_the_name_without_its_whole_suffix(name, stem):
    assert stem_of(name) == stem


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
    back = read_image(path).array
    assert back.dtype == dtype
    assert np.array_equal(back, image)


def test_rgb_stored_plane_after_plane_gets_its_channels_last(tmp_path, rng):
    image = rng.integers(0, 255, (3, 6, 8), np.uint8)
    tifffile.imwrite(
        tmp_path / "i.tif", image, photometric="rgb", planarconfig="separate"
    )
    assert np.array_equal(
        read_image(tmp_path / "i.tif").array, np.moveaxis(image, 0, -1)
    )


@pytest.mark.parametrize("mode", ["P", "LA", "CMYK", "YCbCr"])
def test_odd_colour_modes_become_rgb(tmp_path, rng, mode):
    picture = Image.fromarray(rng.integers(0, 255, (6, 8, 3), np.uint8)).convert(mode)
    path = tmp_path / ("i.png" if mode in ("P", "LA") else "i.jpg")
    picture.save(path)
    assert read_image(path).array.shape in ((6, 8, 3), (6, 8, 4))


def test_nifti_volumes_are_read_plane_row_column(tmp_path, rng):
    volume = rng.random((7, 6, 5)).astype(np.float32)
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "v.nii.gz")
    assert np.array_equal(read_image(tmp_path / "v.nii.gz").array, volume.T)
    slab = volume[..., :1]
    nibabel.save(nibabel.Nifti1Image(slab, np.eye(4)), tmp_path / "s.nii")
    assert np.array_equal(read_image(tmp_path / "s.nii").array, slab[..., 0].T)


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


# Reading


def test_colours_and_stacks_are_told_apart(tmp_path):
    Image.fromarray(np.zeros((4, 5, 3), np.uint8)).save(tmp_path / "a.png")
    tifffile.imwrite(tmp_path / "s.tif", np.zeros((5, 20, 30), np.uint16))
    assert read_image(tmp_path / "a.png").rgb
    stack = read_image(tmp_path / "s.tif")
    assert (stack.rgb, stack.shape) == (False, (5, 20, 30))


def test_a_scan_is_a_stack_with_its_voxel_size_and_its_place_in_the_world(tmp_path):
    volume = np.arange(30 * 20 * 6, dtype=np.float32).reshape(30, 20, 6)
    file = nibabel.Nifti1Image(volume, AFFINE)
    file.header.set_xyzt_units("mm")
    nibabel.save(file, tmp_path / "scan.nii.gz")
    image = read_image(tmp_path / "scan.nii.gz")
    assert np.array_equal(image.array, volume.T)
    assert image.placement == {"scale": (3.0, 1.5, 2.0)}
    assert image.unit == "mm"
    x, y, z = 7, 3, 2
    expected = AFFINE @ [x, y, z, 1]
    assert np.allclose((image.world @ [z, y, x, 1])[:3], expected[:3][::-1])


def test_axes_of_length_one_are_left_out_of_the_place_too(tmp_path):
    file = nibabel.Nifti1Image(np.zeros((30, 20, 1, 4), np.float32), AFFINE)
    nibabel.save(file, tmp_path / "series.nii")
    image = read_image(tmp_path / "series.nii")
    assert image.shape == (4, 20, 30)
    assert image.world.shape == (4, 4)
    assert len(image.placement["scale"]) == 3


def test_without_its_reader_a_dicom_file_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pydicom", None)
    with pytest.raises(ValueError, match="install pydicom"):
        read_image(touch(tmp_path / "a.dcm"))


class FakeDataset(dict[str, object]):
    """Fields of a file, as far as they are asked for."""

    @property
    def file_meta(self) -> dict[str, str]:
        return {"TransferSyntaxUID": "1.2.840.10008.1.2.1"}

    def __getattr__(self, name: str) -> object:
        return self[name]


@pytest.fixture
def dicom(tmp_path, monkeypatch):
    """Read a DICOM file with these pixels and fields by a reader that is not there."""

    def read(pixels: np.ndarray, **fields: object) -> OpenedImage:
        colours = np.array([[0, 0, 0], [255, 0, 65535]], np.uint16)
        reader = ModuleType("pydicom")
        size = {"Rows": pixels.shape[-2], "Columns": pixels.shape[-1]}
        reader.dcmread = lambda _path, **_how: FakeDataset(size | fields)
        decoder = ModuleType("pydicom.pixels")
        decoder.pixel_array = lambda _data: pixels
        decoder.apply_color_lut = lambda array, _data: colours[array]
        monkeypatch.setitem(sys.modules, "pydicom", reader)
        monkeypatch.setitem(sys.modules, "pydicom.pixels", decoder)
        return read_image(touch(tmp_path / "a.dcm"))

    return read


def test_a_dicom_file_is_read_in_its_own_units(dicom):
    image = dicom(
        np.array([[0, 100], [200, 300]], np.uint16),
        PhotometricInterpretation="MONOCHROME2",
        RescaleSlope=2,
        RescaleIntercept=-100,
        PixelSpacing=[0.5, 0.25],
    )
    assert image.array.tolist() == [[-100, 100], [300, 500]]
    assert image.placement == {"scale": (0.5, 0.25)}
    assert image.unit == "mm"


def test_a_dicom_file_whose_least_value_is_white_is_turned_round(dicom):
    pixels = np.array([[10, 30], [20, 10]], np.uint16)
    image = dicom(pixels, PhotometricInterpretation="MONOCHROME1")
    assert image.array.tolist() == [[30, 10], [20, 30]]


def test_frames_and_colours_of_a_dicom_file_are_told_apart(dicom):
    fields = {"PixelSpacing": [0.5, 0.25], "SliceThickness": 2}
    frames = dicom(np.zeros((4, 5, 6), np.uint8), NumberOfFrames=4, **fields)
    assert (frames.rgb, frames.shape) == (False, (4, 5, 6))
    assert frames.placement == {"scale": (2.0, 0.5, 0.25)}
    colour = dicom(np.zeros((5, 6, 3), np.uint8), SamplesPerPixel=3, **fields)
    assert (colour.rgb, colour.shape) == (True, (5, 6))
    assert colour.placement == {"scale": (0.5, 0.25)}
    palette = dicom(
        np.array([[0, 1]], np.uint8), PhotometricInterpretation="PALETTE COLOR"
    )
    assert palette.rgb
    assert palette.array.tolist() == [[[0, 0, 0], [0, 0, 255]]]


@pytest.mark.parametrize("name", ["a.png", "a.jpg", "a.tif", "a.nii.gz", "a.npy"])
def test_a_damaged_image_is_named_in_one_line(tmp_path, name):
    (tmp_path / name).write_bytes(b"no image at all")
    for read in (read_image, lambda path: thumbnail(path, 48)):
        with pytest.raises(ValueError, match=name) as raised:
            read(tmp_path / name)
        assert "\n" not in str(raised.value)


# Thumbnails


@pytest.mark.parametrize("name", ["a.jpg", "a.png", "a.tif", "a.nii.gz", "a.npy"])
def test_a_thumbnail_shows_the_image_small(tmp_path, name):
    grey = np.zeros((200, 400), np.uint8)
    grey[:, 200:] = 255
    stack = np.stack([np.zeros_like(grey), grey, np.zeros_like(grey)])
    path = tmp_path / name
    if name.endswith(".nii.gz"):
        nibabel.save(nibabel.Nifti1Image(stack.T, np.eye(4)), path)
    elif name.endswith(".tif"):
        tifffile.imwrite(path, stack, photometric="minisblack")
    elif name.endswith(".npy"):
        np.save(path, grey.astype(np.float32))
    else:
        Image.fromarray(grey).save(path)
    small = thumbnail(path, 48)
    assert small.shape == (24, 48, 3)
    assert small.dtype == np.uint8
    assert small[:, :20].max() < 20
    assert small[:, 28:].min() > 235


def test_a_dicom_file_of_frames_is_a_stack_with_its_spacing(tmp_path):
    pixels = np.arange(3 * 4 * 5).reshape(3, 4, 5)
    path = save_dicom(
        tmp_path / "a.dcm", pixels, SliceThickness=5, SpacingBetweenSlices=2.5
    )
    image = read_image(path)
    assert np.array_equal(image.array, pixels)
    assert image.placement == {"scale": (2.5, 2.0, 1.5)}
    assert shape_of(path) == (3, 4, 5)
    assert place_of(path).scale == image.place.scale


def test_what_all_frames_of_an_enhanced_dicom_file_share_is_read(tmp_path):
    from pydicom.dataset import Dataset

    measures, values, shared = Dataset(), Dataset(), Dataset()
    measures.PixelSpacing, measures.SpacingBetweenSlices = [0.5, 0.25], 3
    values.RescaleSlope, values.RescaleIntercept = 2, -100
    shared.PixelMeasuresSequence = [measures]
    shared.PixelValueTransformationSequence = [values]
    path = save_dicom(
        tmp_path / "a.dcm",
        np.full((3, 4, 5), 60),
        PixelSpacing=None,
        SharedFunctionalGroupsSequence=[shared],
    )
    image = read_image(path)
    assert image.array.max() == 20
    assert image.placement == {"scale": (3.0, 0.5, 0.25)}


def test_the_spacing_on_the_detector_is_better_than_none(tmp_path):
    path = save_dicom(
        tmp_path / "a.dcm",
        np.zeros((4, 5)),
        PixelSpacing=None,
        ImagerPixelSpacing=[0.2, 0.1],
    )
    assert read_image(path).placement == {"scale": (0.2, 0.1)}


def test_a_dicom_series_is_stacked_in_order_of_position(tmp_path):
    turned = [1, 0, 0, 0, 0, -1]  # coronal: planes follow each other along y
    for name, y in (("c", 0.0), ("a", 9.0), ("b", 3.0), ("d", 6.0)):
        save_dicom(
            tmp_path / f"{name}.dcm",
            np.full((4, 5), int(y)),
            ImagePositionPatient=[7, y, 1],
            ImageOrientationPatient=turned,
        )
    save_dicom(tmp_path / "x.dcm", np.zeros((4, 5)), SeriesInstanceUID="9.9")
    touch(tmp_path / "notes.txt")
    first, second = dicom_series_in(tmp_path)
    assert [path.name for path in first] == ["c.dcm", "b.dcm", "d.dcm", "a.dcm"]
    assert [path.name for path in second] == ["x.dcm"]
    image = read_series(sorted(first))
    assert image.array[:, 0, 0].tolist() == [0, 3, 6, 9]
    assert image.placement == {"scale": (3.0, 2.0, 1.5)}


def test_files_of_a_series_that_differ_in_size_are_refused_by_name(tmp_path):
    paths = [
        save_dicom(tmp_path / f"{n}.dcm", np.zeros((4, n)), InstanceNumber=n)
        for n in (5, 6)
    ]
    with pytest.raises(ValueError, match=r"6\.dcm has the shape"):
        read_series(paths)


@pytest.mark.parametrize(
    ("name", "shape"),
    [
        ("a.png", (6, 8)),
        ("rgb.png", (6, 8, 3)),
        ("s.tif", (5, 6, 8)),
        ("rgb.tif", (6, 8, 3)),
        ("a.npy", (5, 6, 8, 3)),
        ("s.nii.gz", (5, 6, 8)),
        ("slice.nii", (1, 6, 8)),
    ],
)
def test_the_shape_is_known_from_the_header(tmp_path, name, shape):
    array, path = np.zeros(shape, np.uint8), tmp_path / name
    if name.endswith(".npy"):
        np.save(path, array)
    elif name.endswith(".tif"):
        kind = "rgb" if shape[-1] == 3 else "minisblack"
        tifffile.imwrite(path, array, photometric=kind)
    elif ".nii" in name:
        nibabel.save(nibabel.Nifti1Image(array.T, np.eye(4)), path)
    else:
        Image.fromarray(array).save(path)
    assert shape_of(path) == read_image(path).shape


# What a TIFF states about its colours and its pixels


@pytest.fixture
def colours(rng) -> np.ndarray:
    return rng.integers(0, 255, (6, 8, 3), np.uint8)


def test_cmyk_is_the_picture_that_was_saved(tmp_path, colours):
    Image.fromarray(colours).convert("CMYK").save(tmp_path / "c.tif")
    image = read_image(tmp_path / "c.tif")
    assert image.rgb
    assert np.abs(image.array.astype(int) - colours).max() <= 1


def test_where_white_is_zero_the_picture_is_turned_round(tmp_path):
    grey = np.arange(48, dtype=np.uint8).reshape(6, 8)
    tifffile.imwrite(tmp_path / "w.tif", grey, photometric="miniswhite")
    assert np.array_equal(read_image(tmp_path / "w.tif").array, 255 - grey)
    assert np.array_equal(read_mask(tmp_path / "w.tif"), grey)  # ids stay ids


def test_a_palette_is_colours_in_an_image_and_ids_in_a_mask(tmp_path):
    ids = np.arange(48, dtype=np.uint8).reshape(6, 8) % 4
    picture = Image.fromarray(ids, "P")
    picture.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0, 0, 0, 255] + [0] * 756)
    picture.save(tmp_path / "p.tif")
    image = read_image(tmp_path / "p.tif")
    assert image.array[0, :4].tolist() == [
        [0] * 3,
        [255, 0, 0],
        [0, 255, 0],
        [0, 0, 255],
    ]
    assert np.array_equal(read_mask(tmp_path / "p.tif"), ids)


@pytest.mark.parametrize(
    ("extra", "channels"), [("unassalpha", 4), ("assocalpha", 3), ("unspecified", 3)]
)
def test_a_fourth_sample_is_alpha_only_where_the_file_says_so(
    tmp_path, rng, extra, channels
):
    array = rng.integers(0, 255, (6, 8, 4), np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(path, array, photometric="rgb", extrasamples=[extra])
    image = read_image(path)
    assert np.array_equal(image.array, array[..., :channels])
    assert image.shape == shape_of(path) == (6, 8)


def test_grey_with_alpha_is_grey(tmp_path, rng):
    array = rng.integers(0, 255, (6, 8, 2), np.uint8)
    path = tmp_path / "a.tif"
    tifffile.imwrite(
        path, array, photometric="minisblack", planarconfig="contig", extrasamples=[2]
    )
    assert np.array_equal(read_image(path).array, array[..., 0])
    assert shape_of(path) == (6, 8)


def test_colours_that_cannot_be_converted_are_refused_by_name(tmp_path, colours):
    path = tmp_path / "lab.tif"
    tifffile.imwrite(path, colours, photometric="cielab")
    with pytest.raises(ValueError, match=r"lab\.tif holds colours that are no RGB"):
        read_image(path)


def test_the_pixel_size_of_imagej_and_ome_is_read_and_comes_back(tmp_path):
    stack = np.zeros((5, 6, 8), np.uint16)
    fiji, ome = tmp_path / "fiji.tif", tmp_path / "a.ome.tif"
    tifffile.imwrite(
        fiji,
        stack,
        imagej=True,
        resolution=(5, 4),
        metadata={"axes": "ZYX", "unit": "um", "spacing": 0.5},
    )
    sizes = {"axes": "ZYX", "PhysicalSizeX": 200, "PhysicalSizeXUnit": "nm"}
    sizes |= {"PhysicalSizeY": 250, "PhysicalSizeYUnit": "nm"}
    sizes |= {"PhysicalSizeZ": 0.5, "PhysicalSizeZUnit": "µm"}
    tifffile.imwrite(ome, stack, metadata=sizes)
    for path in (fiji, ome):
        place = read_image(path).place
        assert place.unit == "um"
        assert place.scale == pytest.approx((0.5, 0.25, 0.2))
        assert place_of(path).scale == place.scale
        labels, placement = place.labels_as_in_file(stack)
        save_labels(tmp_path / "out.tif", labels, **placement, overwrite=True)
        assert place_of(tmp_path / "out.tif").scale == pytest.approx(place.scale)


def test_the_dots_per_inch_of_a_picture_are_no_pixel_size(tmp_path, colours):
    Image.fromarray(colours).save(tmp_path / "a.tif", dpi=(72, 72))
    assert read_image(tmp_path / "a.tif").place.scale is None


# Contrast


def test_one_hot_pixel_does_not_darken_a_grey_image() -> None:
    pixels = np.random.default_rng(0).integers(0, 1000, (100, 100)).astype(np.uint16)
    pixels[0, 0] = 65535
    image = OpenedImage(pixels, False, "hot")
    limits = image.contrast_limits
    assert limits is not None
    assert limits[1] < 1001


def test_an_even_image_has_limits_that_a_layer_can_show() -> None:
    image = OpenedImage(np.full((5, 5), 7, np.uint16), False, "even")
    assert image.contrast_limits == (7.0, 8.0)


def test_big_pictures_over_the_limit_of_pillow_open(tmp_path, monkeypatch):
    Image.new("1", (40, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)
    assert read_image(tmp_path / "a.png").shape == (30, 40)
    assert Image.MAX_IMAGE_PIXELS == 100


def test_big_pictures_that_are_too_big_are_refused_by_their_size(tmp_path, monkeypatch):
    Image.new("1", (40, 30)).save(tmp_path / "a.png")
    monkeypatch.setattr("napari_promise.data.formats.pictures.MOST_PIXELS", 1000)
    with pytest.raises(ValueError, match="30 x 40 pixels.*cut it into parts"):
        read_image(tmp_path / "a.png")


def test_same_pixels_an_exif_orientation_is_told(tmp_path):
    picture = Image.new("RGB", (40, 30))
    exif = picture.getexif()
    exif[0x0112] = 3
    picture.save(tmp_path / "a.jpg", exif=exif)
    picture.save(tmp_path / "b.jpg")
    (note,) = read_image(tmp_path / "a.jpg").notes
    assert "EXIF orientation is 3" in note
    assert notes_on(tmp_path / "a.jpg") == (note,)
    assert read_image(tmp_path / "b.jpg").notes == ()
