"""The measurement of the bundled model: baselines, selection and the promises."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from skimage.io import imsave

from napari_promise.document import Region
from napari_promise.segmentation import Segmentation
from napari_promise.training.metrics import dice
from napari_promise.training.simulated_prompts import bounding_box
from scripts.base import evaluate_base
from scripts.base.evaluate_base import (
    RADII,
    disc_dices,
    ellipse,
    interval,
    select,
    shortcomings,
)
from scripts.study.datasets import Pair


def _disc(side: int, centre: tuple[int, int], radius: float) -> np.ndarray:
    rows, columns = np.indices((side, side))
    return np.hypot(rows - centre[0], columns - centre[1]) <= radius


def test_the_disc_of_the_right_radius_scores_one():
    truth = _disc(200, (90, 110), RADII[25] * 200)
    scores = disc_dices(truth, (90, 110))
    assert np.argmax(scores) == 25
    assert scores[25] == pytest.approx(1)


def test_every_disc_agrees_with_one_drawn_by_hand():
    truth = np.zeros((60, 80), bool)
    truth[20:40, 30:60] = True
    rows, columns = np.indices(truth.shape)
    distance = np.hypot(rows - 30, columns - 45)
    by_hand = [dice(distance <= r * 80, truth) for r in RADII]
    assert disc_dices(truth, (30, 45)) == pytest.approx(by_hand)


def test_the_ellipse_fills_its_box():
    drawn = ellipse((50, 50), (9.5, 4.5, 39.5, 24.5))
    rows, columns = np.nonzero(drawn)
    assert (rows.min(), columns.min(), rows.max(), columns.max()) == (10, 5, 39, 24)
    assert drawn.sum() == pytest.approx(np.pi * 15 * 10, rel=0.02)


def test_fragments_are_left_out_and_a_crowd_is_thinned():
    masks = [np.ones((8, 8), bool)] * 20 + [np.eye(8, dtype=bool)]
    chosen = select(masks, seed=0)
    assert len(chosen) == evaluate_base.MOST_OBJECTS
    assert all(mask.all() for mask in chosen)
    assert select([masks[-1]], seed=0) == []


class Colour:
    """A segmenter that looks: the connected bright pixels, whatever the prompt."""

    model_id = "colour"
    prompt_kinds = ("points", "boxes", "masks")

    def encode(self, image, *, region=None):
        return Picture(image[..., 0] > 128)

    def segment(self, emb, prompts, *, multimask=None, local=None):
        return Picture(emb.image)


class Picture:
    """An embedding and a segmentation in one, as `dataclasses.replace` needs it."""

    __dataclass_fields__ = {}

    def __init__(self, image):
        self.image = self.mask = image
        self.logits = np.zeros((1, 4, 4), np.float32)


def test_the_swap_test_tells_a_model_that_looks(tmp_path: Path, monkeypatch):
    monkeypatch.setattr(
        evaluate_base,
        "replace",
        lambda emb, image=None, **_: emb if image is None else Picture(image),
    )
    pairs = []
    for index, centre in enumerate([(20, 20), (44, 44), (20, 44)]):
        path = tmp_path / f"{index}.png"
        imsave(path, _disc(64, centre, 9).astype(np.uint8) * 255, check_contrast=False)
        pairs.append(Pair(path, path, str(index)))
    scores = evaluate_base.measure(Colour(), "ph2", pairs)
    assert scores["click_1"] == scores["box"] == 1
    assert scores["swap_margin"] == 1
    assert scores["disc"] > 0.9
    assert scores["images"] == scores["objects"] == 3


def test_a_promise_that_is_not_kept_is_named():
    good = {
        "click_1": 0.8,
        "click_5": 0.95,
        "disc": 0.6,
        "box": 0.9,
        "ellipse": 0.85,
        "swap_margin": 0.3,
    }
    assert shortcomings({"ph2": good, "busi": good}) == []
    poor = good | {"click_1": 0.5, "swap_margin": 0.1, "click_5": 0.6}
    assert len(shortcomings({"ph2": good, "busi": poor})) == 3
    falling = good | {"click_10": 0.7, "gained_from_click_1": -0.1}
    assert shortcomings({"busi": falling}) == [
        "busi: click_10 0.7 is worse than one 0.8"
    ]
    locally = good | {"gained_locally": -0.1}
    assert len(shortcomings({"busi": locally})) == 1
    boxed = good | {"box": 0.5}
    assert shortcomings({"ph2": boxed, "busi": good}) == []
    assert len(shortcomings({"ph2": boxed, "busi": boxed})) == 1


def test_an_interval_is_drawn_over_pictures_not_over_objects():
    alike = np.array([0.9] * 50 + [0.1])
    low, high = interval(alike, np.array([0] * 50 + [1]))
    assert low == pytest.approx(0.1)
    assert high == pytest.approx(0.9)
    assert interval(alike, np.zeros(51, int)) is None
    some = interval(np.array([0.5, np.nan, 0.5]), np.array([0, 1, 2]))
    assert some == [0.0, 0.5] or some == [0.5, 0.5]


def test_a_model_that_knows_boxes_only_is_measured_with_boxes_only(tmp_path):
    path = tmp_path / "0.png"
    imsave(path, _disc(64, (30, 30), 9).astype(np.uint8) * 255, check_contrast=False)
    model = Colour()
    model.prompt_kinds = ("boxes",)
    scores = evaluate_base.measure(model, "ph2", [Pair(path, path, "0")] * 3, enough=2)
    assert scores["box"] == 1
    assert "click_1" not in scores
    assert scores["objects"] == 2


class Near:
    """A model that draws a small disc sharply only where it looks at a part."""

    prompt_kinds = ("points", "boxes")

    def segment(self, emb, prompts, *, ips=True, local=None):
        mask = _disc(400, (200, 200), 9 if emb is not None else 13)
        low = np.zeros((1, 4, 4), np.float32)
        return Segmentation((400, 400), Region.from_mask(mask), 0.9, low, tile=emb)


def test_boxes_and_clicks_are_measured_as_the_window_answers_them():
    truth = _disc(400, (200, 200), 9)
    found = evaluate_base.closer_figures(
        Near(), lambda region: region, truth, bounding_box(truth), (200, 200)
    )
    assert found["closer_box"] == found["closer_1"] == 1
    assert found["looked_closer_box"] == found["looked_closer_1"] == 1
    assert 0.5 < found["click_1"] < 0.9


class Local(Colour):
    """A model whose whole answers are empty, and whose local ones say what came."""

    def __init__(self):
        self.asked = []

    def segment(self, emb, prompts, *, multimask=None, local=None):
        if local:
            self.asked.append(prompts)
        drawn = Picture(emb.image if local else np.zeros_like(emb.image))
        drawn.mask = drawn.image & (np.arange(64) < 20 + 5 * len(prompts.points))
        return drawn


def test_local_answers_are_measured_beside_whole_ones(tmp_path: Path):
    path = tmp_path / "0.png"
    imsave(path, _disc(64, (30, 30), 9).astype(np.uint8) * 255, check_contrast=False)
    model = Local()
    scores = evaluate_base.measure(model, "ph2", [Pair(path, path, "0")], clicks=5)
    assert scores["click_5"] == 0
    assert scores["local_3"] < scores["local_5"] == 1
    assert "local_10" not in scores
    first, second, third = model.asked[:3]
    assert first.added is None
    assert second.added.tolist() == [False, True]
    assert third.added.tolist() == [False, False, True]
