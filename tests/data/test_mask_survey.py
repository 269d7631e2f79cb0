"""Masks: what was decided is said in a line a set; what looks wrong is warned of."""

import numpy as np
import pytest
from PIL import Image

from napari_promise.data.mask_survey import MaskSurvey, survey_masks
from napari_promise.data.masks import ReadMask, understand_mask
from napari_promise.data.pairs import Pair


def disc(value=1, radius=20, size=100, dtype=np.uint8):
    row, column = np.mgrid[:size, :size] - size // 2
    return np.where(np.hypot(row, column) < radius, value, 0).astype(dtype)


def rule_of(tmp_path, array, mode=None):
    Image.fromarray(array, mode).save(tmp_path / "m.png")
    return understand_mask(tmp_path / "m.png").rule


def test_masks_say_by_which_rule_they_were_read(tmp_path):
    assert rule_of(tmp_path, disc()) == "ids as they are"
    ring = np.where(disc(1, 30) > 0, 255, 0).astype(np.uint8)
    ring[disc(1, 20) > 0] = 15
    assert "255 left out" in rule_of(tmp_path, ring)
    colours = np.zeros((100, 100, 3), np.uint8)
    colours[disc() > 0] = 200, 0, 0
    assert rule_of(tmp_path, colours) == "colours, numbered from 1"
    alpha = np.dstack([np.zeros((100, 100, 3), np.uint8), disc(255)])
    assert "alpha" in rule_of(tmp_path, alpha)
    soft = Image.fromarray(disc(255)).resize((171, 171), Image.Resampling.LANCZOS)
    assert "cut above 127" in rule_of(tmp_path, np.asarray(soft))


def test_masks_tell_ids_and_share_of_foreground():
    mask = ReadMask(np.array([[0, 3], [3, 7]]), "ids as they are")
    assert mask.ids == (3, 7)
    assert mask.foreground == 0.75
    assert mask.sizes == {3: 2, 7: 1}


def survey_of(*arrays):
    found = MaskSurvey()
    for number, array in enumerate(arrays):
        found.add(f"{number}.png", ReadMask(array, "ids as they are"))
    return found


def test_masks_of_a_set_are_told_in_a_line():
    line = survey_of(disc(1), disc(4, 10), disc(0)).line()
    assert line.startswith("3 masks read as ids as they are: ids 1 to 4, at most 1")
    assert line.endswith("; 1 empty")
    assert survey_of(disc(1)).warnings() == []


@pytest.mark.parametrize(
    ("array", "words"),
    [
        (disc(0), "every mask is empty"),
        (1 - disc(1), "foreground for more than 80%"),
        (np.arange(10_000).reshape(100, 100) // 4, "full of tiny ids"),
        (np.pad([[1, 1]], ((0, 2000), (0, 2000))), "model's grid"),
    ],
)
def test_masks_that_look_wrong_are_warned_of(array, words):
    assert any(words in line for line in survey_of(array).warnings())


def test_masks_of_many_real_objects_are_no_reason_to_warn():
    nuclei = np.kron(np.arange(400).reshape(20, 20), np.ones((8, 8), int))
    assert not survey_of(np.where(nuclei % 2, nuclei, 0)).warnings()


def test_masks_of_a_stack_are_read_once_for_all_planes(tmp_path):
    np.save(tmp_path / "m.npy", np.ones((3, 4, 5), np.uint8))
    pair = Pair(tmp_path / "i.npy", tmp_path / "m.npy")
    broken = Pair(tmp_path / "i.npy", tmp_path / "gone.npy")
    found = survey_masks([pair, pair, broken])
    assert (len(found.shares), found.unreadable) == (1, 1)


def test_same_pixels_turned_images_of_a_set_are_warned_of_once(tmp_path):
    pairs = []
    for name in "ab":
        picture = Image.new("RGB", (20, 20))
        exif = picture.getexif()
        exif[0x0112] = 3
        picture.save(tmp_path / f"{name}.jpg", exif=exif)
        np.save(tmp_path / f"{name}.npy", np.eye(20, dtype=np.uint8))
        pairs.append(Pair(tmp_path / f"{name}.jpg", tmp_path / f"{name}.npy"))
    (line,) = survey_masks(pairs).warnings()
    assert line.startswith("a.jpg and 1 more: its EXIF orientation is 3")
