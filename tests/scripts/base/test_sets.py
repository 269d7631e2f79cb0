"""Which sets a base may see, how they are divided, what an object of one is."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image

from scripts.base import sets
from scripts.base.sets import LEFT_OUT, MIXTURE, OPEN, SETS


def test_weights_that_are_shipped_see_only_sets_whose_terms_allow_it():
    drawn = set(MIXTURE) - {"scenes", "vessels"}
    assert drawn == {name for name, one in SETS.items() if one.trainable}
    assert all(SETS[name].terms in OPEN for name in drawn)
    for stranger in ("kvasir-seg", "cvc-clinicdb", "ph2", *LEFT_OUT):
        assert stranger not in drawn
    assert len(LEFT_OUT) >= 3


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A root with one set of pictures of five patients."""
    monkeypatch.setenv("PROMISE_DATA", str(tmp_path))
    for kind in ("images", "labels"):
        place = tmp_path / "ct_heart_chd" / kind
        place.mkdir(parents=True)
        for patient in range(5):
            for index in range(3):
                picture = Image.fromarray(np.full((8, 8), patient, np.uint8))
                picture.save(place / f"{patient}_{index}.png")
    return tmp_path


def test_a_patient_lies_in_one_part_only(folder):
    parts = sets.parts("ct_heart_chd")
    groups = [{pair.group for pair in part} for part in parts.values()]
    assert sum(len(part) for part in parts.values()) == 15
    assert len(set.union(*groups)) == sum(map(len, groups)) == 5
    assert parts["train"]
    assert parts["test"]


def test_a_set_that_is_never_trained_on_is_measured_whole(folder):
    (folder / "ct_heart_chd").rename(folder / "ct_abdomen_curvas")
    parts = sets.parts("ct_abdomen_curvas")
    assert (len(parts["train"]), len(parts["test"])) == (0, 15)


def test_a_missing_set_is_named(folder):
    with pytest.raises(ValueError, match="he_rings"):
        sets.parts("he_rings")
    with pytest.raises(ValueError, match="unknown image set"):
        sets.parts("no such set")


def test_every_connected_part_of_a_class_is_an_object_and_specks_are_none():
    labels = np.zeros((40, 40), np.int32)
    labels[2:12, 2:12] = labels[20:30, 2:12] = 3
    labels[35, 35] = 3
    labels[2:8, 20:30] = 5
    masks = sets.objects("ct_heart_chd", labels)
    assert sorted(int(mask.sum()) for mask in masks) == [60, 100, 100]
    assert [int(m.sum()) for m in sets.class_masks("ct_heart_chd", labels)] == [201, 60]


def test_a_disc_is_rim_and_cup_and_the_cup_is_one_too():
    labels = np.zeros((20, 20), np.int32)
    labels[5:15, 5:15] = 1
    labels[8:12, 8:12] = 2
    found = sets.objects("fundus_drishti", labels)
    assert sorted(int(mask.sum()) for mask in found) == [16, 100]


def test_ids_are_objects_and_a_mask_is_one():
    labels = np.zeros((10, 10), np.int32)
    labels[:3, :3], labels[7:, 7:] = 1, 2
    assert len(sets.objects("dsb2018", labels)) == 2
    assert len(sets.objects("busi", labels)) == 1
    assert sets.objects("busi", labels, least=50) == []


def test_planes_are_cut_across_the_coarsest_axis_unless_all_are_alike():
    assert sets.axes_of((1.5, 1.5, 10.0)) == (2,)
    assert sets.axes_of((0.8, 3.0, 0.8)) == (1,)
    assert sets.axes_of((1.0, 1.0, 1.25)) == (0, 1, 2)


def test_oblong_pixels_are_made_square():
    plane = sets.Plane(np.ones((10, 10), np.int16), np.eye(10, dtype=np.int32), (3, 1))
    square = sets.square_pixels(plane)
    assert square.image.shape == square.labels.shape == (30, 10)
    assert sets.square_pixels(square) is square


def test_a_mask_of_another_shape_is_left_out_where_a_set_has_such(folder):
    (folder / "ct_heart_chd").rename(folder / "fundus_drishti")
    odd = folder / "fundus_drishti" / "labels" / "0_0.png"
    Image.fromarray(np.zeros((8, 9), np.uint8)).save(odd)
    assert sum(map(len, sets.parts("fundus_drishti").values())) == 14
