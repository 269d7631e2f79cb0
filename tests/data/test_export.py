"""What is exported can be read again by the programs it is meant for."""

import contextlib
import errno
import json
from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import tifffile
from PIL import Image
from pycocotools.coco import COCO

from napari_promise.data import export
from napari_promise.data import labels as labels_module
from napari_promise.data.export import (
    SavedObject,
    load_prompts,
    provenance,
    save_coco,
    save_labels,
    save_prompts,
    sidecar,
    whole_file,
    world_matrix,
)
from napari_promise.prompts import Before, Prompts

SUFFIXES = [".tif", ".png", ".npy", ".nii", ".nii.gz"]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


@pytest.fixture
def labels(rng) -> np.ndarray:
    return rng.integers(0, 7, (20, 30)).astype(np.int32)


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


def left_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


# Labels


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


# COCO


def check_coco(path: Path, stack: np.ndarray) -> COCO:
    """Compare every annotation's mask with the labels, pixel by pixel."""
    coco = COCO(str(path))
    planes = stack.reshape(-1, *stack.shape[-2:])
    for image, plane in zip(coco.loadImgs(coco.getImgIds()), planes, strict=True):
        annotations = coco.loadAnns(coco.getAnnIds(imgIds=image["id"]))
        assert {a["object_id"] for a in annotations} == set(np.unique(plane)) - {0}
        for annotation in annotations:
            mask = coco.annToMask(annotation)
            truth = plane == annotation["object_id"]
            assert np.array_equal(mask, truth)
            rows, columns = np.nonzero(truth)
            x, y, width, height = annotation["bbox"]
            assert (x, y) == (columns.min(), rows.min())
            assert (x + width, y + height) == (columns.max() + 1, rows.max() + 1)
            assert annotation["area"] == truth.sum()
    return coco


def test_pycocotools_gives_exactly_the_same_masks(tmp_path, rng):
    labels = rng.integers(0, 4, (37, 53))
    labels[5:20, 10:30] = 7
    check_coco(save_coco(tmp_path / "coco.json", labels), labels)


@pytest.mark.parametrize(
    "corner",
    [(0, 0), (-1, -1), (0, -1), (-1, 0), (slice(None), slice(None)), (slice(None), 0)],
)
def test_masks_at_the_border_are_exact(tmp_path, corner):
    labels = np.zeros((11, 13), int)
    labels[corner] = 9
    check_coco(save_coco(tmp_path / "coco.json", labels), labels)


def test_ids_that_are_large_and_sparse_are_exact(tmp_path):
    labels = np.zeros((20, 20), np.int64)
    labels[2:5, 3:9], labels[10:, 10:] = 2**31 + 5, 70000
    check_coco(save_coco(tmp_path / "coco.json", labels), labels)


def test_an_empty_plane_is_an_image_without_annotations(tmp_path):
    coco = check_coco(
        save_coco(tmp_path / "coco.json", np.zeros((5, 6), int)), np.zeros((5, 6), int)
    )
    assert len(coco.imgs) == 1
    assert coco.anns == {}


def test_every_plane_of_a_stack_is_an_image(tmp_path, rng):
    stack = rng.integers(0, 4, (3, 12, 14))
    path = save_coco(tmp_path / "coco.json", stack, file_name="scan.tif")
    coco = check_coco(path, stack)
    assert [image["file_name"] for image in coco.dataset["images"]] == [
        "scan_0000.tif",
        "scan_0001.tif",
        "scan_0002.tif",
    ]
    assert coco.dataset["images"][2]["plane"] == [2]
    named = save_coco(tmp_path / "named.json", stack, file_name=["a", "b", "c"])
    assert COCO(str(named)).imgs[2]["file_name"] == "b"


def test_too_few_names_for_the_planes_are_refused(tmp_path):
    with pytest.raises(ValueError, match="2 file names for 3 planes"):
        save_coco(
            tmp_path / "c.json", np.zeros((3, 4, 5), int), file_name=["a.png", "b.png"]
        )


def test_classes_become_categories_and_scores_are_kept(tmp_path, labels):
    path = save_coco(
        tmp_path / "coco.json",
        labels,
        classes={1: "polyp", 2: "polyp", 3: "instrument", 4: ""},
        scores={1: 0.75},
        file_name="frame_012.png",
    )
    coco = COCO(str(path))
    names = {c["id"]: c["name"] for c in coco.loadCats(coco.getCatIds())}
    assert sorted(names.values()) == ["instrument", "object", "polyp"]
    by_object = {a["object_id"]: a for a in coco.dataset["annotations"]}
    assert names[by_object[2]["category_id"]] == "polyp"
    assert names[by_object[3]["category_id"]] == "instrument"
    assert names[by_object[4]["category_id"]] == "object"
    assert by_object[1]["score"] == 0.75
    assert "score" not in by_object[2]
    assert coco.imgs[1]["file_name"] == "frame_012.png"


def test_coco_is_quick_on_a_large_plane_with_many_objects(tmp_path):
    rows, columns = np.indices((1024, 1024)) // 32
    labels = rows * 32 + columns
    path = save_coco(tmp_path / "coco.json", labels)
    coco = COCO(str(path))
    assert len(coco.anns) == 1023
    last = coco.dataset["annotations"][-1]
    assert np.array_equal(coco.annToMask(last), labels == last["object_id"])


# Prompts


@pytest.fixture
def objects(rng) -> list[SavedObject]:
    logits = rng.normal(size=(1, 64, 64)).astype(np.float32) * 10
    auto = Prompts(
        points=[(10.25, 20.0), (30, 5), (1, 2)],
        labels=[1, 0, 1],
        boxes=[(0, 0, 40.5, 50)],
        before=Before(logits, answered=[False, True, False]),
        scores=[0.9, 0.1, np.nan],
    )
    drawn = Prompts(mask=rng.random((33, 47)) > 0.5)
    return [
        SavedObject(
            3, auto, (2,), "polyp", ("auto", "auto", "user"), 0.93, True, logits / 2
        ),
        SavedObject(7, drawn, (0,)),
    ]


def test_prompts_come_back_exactly(tmp_path, objects):
    path = save_prompts(
        tmp_path / "prompts.json",
        objects,
        image={"name": "frame_012", "digest": "ab" * 16},
        metadata={"model": {"name": "promise-tiny"}},
    )
    loaded = load_prompts(path)
    assert loaded.image == {"name": "frame_012", "digest": "ab" * 16}
    assert loaded.provenance["model"]["name"] == "promise-tiny"
    for before, after in zip(objects, loaded.objects, strict=True):
        assert after.prompts == before.prompts
        for name in ("id", "plane", "class_name", "sources", "score", "committed"):
            assert getattr(after, name) == getattr(before, name)
    used = Before(objects[0].coarse).logits
    assert np.array_equal(loaded.objects[0].coarse, used)
    assert loaded.objects[1].coarse is None


def test_a_prompts_file_of_0_1_is_read():
    path = Path(__file__).parent / "files" / "prompts_0.1.json"
    loaded = load_prompts(path)
    first, second, third = loaded.objects
    assert [o.id for o in loaded.objects] == [o.label for o in loaded.objects]
    assert first.sources == ("auto", "auto", "auto", "user")
    assert first.prompts.answered.tolist() == [False, True, True, False]
    assert first.prompts.added.tolist() == [False, False, False, True]
    assert first.prompts.before.tile is None
    assert first.coarse.shape == first.prompts.logits.shape == (1, 8, 8)
    assert (second.plane, second.prompts.boxes.tolist()) == ((1,), [[2, 2, 9, 9.5]])
    assert second.prompts.mask.sum() == 25
    assert third.prompts.points.tolist() == [[12, 20], [13, 21]]
    # What is written of them today, 0.1 can read.
    data = [Prompts.to_json(o.prompts) for o in loaded.objects]
    assert data == [o["prompts"] for o in json.loads(path.read_text())["objects"]]


def test_labels_tiles_and_sources_of_their_own_come_back(tmp_path, objects):
    path = save_prompts(tmp_path / "plain.json", objects)
    assert json.loads(path.read_text())["version"] == 1
    tiled = Before(np.zeros((1, 4, 4)), tile=(0, 0, 9, 9))
    shared = [
        replace(objects[1], label=3),
        replace(objects[0], sources=("propagated",) * 3),
        replace(objects[1], prompts=Prompts(before=tiled)),
    ]
    for number, record in enumerate(shared):
        path = save_prompts(tmp_path / f"{number}.json", [record])
        assert json.loads(path.read_text())["version"] == 2
        (loaded,) = load_prompts(path).objects
        assert (loaded.id, loaded.label) == (record.id, record.label)
        assert loaded.sources == record.sources
        assert loaded.prompts == record.prompts


def test_a_later_prompts_file_is_refused_with_the_version_that_wrote_it(tmp_path):
    path = save_prompts(tmp_path / "p.json", [])
    later = {**json.loads(path.read_text()), "version": 3, "written_by": "0.9"}
    path.write_text(json.dumps(later))
    with pytest.raises(ValueError, match=r"p\.json.*written by napari-promise 0\.9"):
        load_prompts(path)


def test_a_documents_records_can_be_saved_as_they_are(tmp_path):
    from napari_promise.document import Document

    document = Document()
    number = document.new_object((1,), class_name="polyp")
    number = getattr(number, "id", number)
    document.set_prompts(number, Prompts(points=[(3, 4)], labels=[1]), ["user"])
    loaded = load_prompts(save_prompts(tmp_path / "p.json", document.objects))
    (record,) = loaded.objects
    assert record.prompts.points.tolist() == [[3, 4]]
    assert (record.id, record.plane, record.class_name) == (number, (1,), "polyp")
    assert record.sources == ("user",)


def test_the_prompts_file_is_plain_json_for_other_programs(tmp_path, objects):
    path = save_prompts(tmp_path / "prompts.json", objects)
    data = json.loads(path.read_text())
    assert data["schema"] == "napari-promise/prompts"
    assert data["version"] == 1
    assert data["objects"][0]["prompts"]["points"][0] == [10.25, 20.0]
    assert data["objects"][0]["class"] == "polyp"


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("not json", "cannot be read as JSON"),
        (b"\xff\xfe\x00", "cannot be read as JSON"),
        ("[1, 2]", "is no prompts file"),
        ('{"images": [], "annotations": []}', "is no prompts file"),
        ('{"schema": "napari-promise/prompts", "version": 3}', "update napari-promise"),
        ('{"schema": "napari-promise/prompts", "version": 1}', "is damaged"),
        (
            '{"schema": "napari-promise/prompts", "version": 1, "objects": '
            '[{"id": 1, "prompts": {"points": [[1, 2, 3]]}}]}',
            "is damaged",
        ),
    ],
)
def test_what_is_no_prompts_file_is_refused_by_name(tmp_path, content, message):
    path = tmp_path / "prompts.json"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError, match=message) as error:
        load_prompts(path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)


# Provenance


def test_provenance_says_what_made_the_result_and_nothing_of_the_machine():
    record = provenance(
        model="promise-tiny",
        model_sha256="ab" * 32,
        adapter={"name": "polyp", "version": 1, "path": Path("/home/someone/polyp")},
        adapter_sha256="cd" * 32,
        ips=True,
        image={"name": "frame"},
        overlap="keep",
    )
    assert record["model"] == {"name": "promise-tiny", "sha256": "ab" * 32}
    assert record["adapter"] == {"name": "polyp", "version": 1, "sha256": "cd" * 32}
    assert record["settings"] == {"overlap": "keep", "ips": True}
    assert record["software"].keys() >= {"napari-promise", "torch", "numpy"}
    assert record["created"].endswith("+00:00")
    assert "someone" not in json.dumps(record)


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


# Whole or not at all


def writers(tmp_path, labels):
    for suffix in SUFFIXES:
        path = tmp_path / f"labels{suffix}"
        yield path, lambda p=path, **k: save_labels(p, labels, **k)
    path = tmp_path / "coco.json"
    yield path, lambda p=path, **k: save_coco(p, labels, **k)
    path = tmp_path / "prompts.json"
    yield path, lambda p=path, **k: save_prompts(p, [], **k)


def test_an_existing_file_is_replaced_only_when_allowed(tmp_path, labels):
    for path, write in writers(tmp_path, labels):
        path.write_text("earlier")
        with pytest.raises(FileExistsError, match="exists already") as error:
            write()
        assert str(path) in str(error.value)
        assert path.read_text() == "earlier"
        write(overwrite=True)
        assert path.read_bytes() != b"earlier"
        path.unlink()
    assert left_in(tmp_path) == []


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


def test_what_json_cannot_hold_leaves_no_file(tmp_path):
    with pytest.raises((ValueError, TypeError)):
        export.save_json(tmp_path / "a.json", {"score": float("nan")})
    with pytest.raises(TypeError, match="cannot be written as JSON"):
        export.save_json(tmp_path / "a.json", {"thing": object()})
    assert left_in(tmp_path) == []


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


def test_a_file_that_appears_meanwhile_is_not_overwritten(tmp_path):
    path = tmp_path / "a.txt"
    with contextlib.ExitStack() as stack:
        temporary = stack.enter_context(whole_file(path))
        temporary.write_text("mine")
        path.write_text("theirs")
        with pytest.raises(FileExistsError):
            stack.close()
    assert path.read_text() == "theirs"
    assert left_in(tmp_path) == ["a.txt"]


def test_a_link_keeps_pointing_at_the_file_that_is_replaced(tmp_path):
    (tmp_path / "target.txt").write_text("earlier")
    (tmp_path / "link.txt").symlink_to(tmp_path / "target.txt")
    with whole_file(tmp_path / "link.txt", overwrite=True) as temporary:
        temporary.write_text("later")
    assert (tmp_path / "link.txt").is_symlink()
    assert (tmp_path / "target.txt").read_text() == "later"
