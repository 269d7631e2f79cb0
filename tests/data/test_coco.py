"""COCO files give exactly the same masks to the library that defines the format."""

import json
from pathlib import Path

import numpy as np
import pytest
from pycocotools.coco import COCO

from napari_promise.data.coco import save_coco


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


def numbers_in(path):
    coco = json.loads(path.read_text())
    return {each["name"]: each["id"] for each in coco["categories"]}


def test_export_of_coco_keeps_the_number_of_a_class(tmp_path):
    one, two = np.eye(4, dtype=int), np.eye(4, dtype=int)
    two[0, 3] = 2
    first = save_coco(tmp_path / "a.json", one, classes={1: "lesion"})
    second = save_coco(tmp_path / "b.json", two, classes={1: "lesion", 2: "cyst"})
    third = save_coco(tmp_path / "c.json", one, classes={1: "cyst"})
    assert numbers_in(first) == {"lesion": 1}
    assert numbers_in(second) == numbers_in(third) == {"lesion": 1, "cyst": 2}


def test_export_of_coco_numbers_classes_alike_in_another_folder(tmp_path):
    labels = np.array([[1, 2], [0, 0]])
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    one = save_coco(tmp_path / "a" / "x.json", labels == 1, classes={1: "lesion"})
    two = save_coco(tmp_path / "b" / "x.json", labels, classes={1: "lesion", 2: "cyst"})
    assert numbers_in(one).items() <= numbers_in(two).items()


def test_export_of_coco_takes_numbers_that_somebody_set(tmp_path):
    (tmp_path / "categories.json").write_text('{"cyst": 7}')
    saved = save_coco(tmp_path / "a.json", np.eye(3, dtype=int), classes={1: "cyst"})
    assert numbers_in(saved) == {"cyst": 7}


@pytest.mark.parametrize("size", [1, 2, 3, 30])
def test_export_of_coco_as_polygons_is_the_same_area(tmp_path, size):
    labels = np.zeros((60, 70), int)
    labels[10 : 10 + size, 20 : 20 + size] = 5
    labels[50:55, 1:30] = 9
    saved = save_coco(tmp_path / "a.json", labels, polygons=True)
    coco = COCO(saved)
    for annotation in coco.anns.values():
        truth = labels == annotation["object_id"]
        mask = coco.annToMask(annotation) > 0
        assert (mask & truth).sum() / (mask | truth).sum() > 0.9
