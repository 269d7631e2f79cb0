"""Rules are compared on the same objects, each set counting as much as another."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from napari_promise.segmenter import Segmenter
from scripts.base.evaluate_base import REPORTED
from scripts.base.measure_rules import Found, first_answers, measure


def test_every_set_counts_alike_whatever_its_objects():
    found = Found(["a", "a", "a", "b"], {"three": [0.2, 0.4, 0.6, 1.0]})
    table = found.table()
    assert table["a"] == {"three": pytest.approx(0.4), "objects": 3}
    assert table["b"] == {"three": 1.0, "objects": 1}
    assert table["mean of sets"] == {"three": pytest.approx(0.7)}


@pytest.fixture
def view(micro_sam: Any):
    segmenter = Segmenter(micro_sam)
    image = np.zeros((48, 64, 3), np.uint8)
    image[10:30, 20:44] = 200
    return segmenter, segmenter.encode(image), image[..., 0] > 0


@pytest.mark.parametrize("boxed", [False, True])
def test_the_best_there_is_is_never_behind_a_choice_among_masks(view, boxed):
    figures = first_answers(*view, boxed=boxed)
    chosen = [figures[name] for name in ("single", "three", "four")]
    assert figures["oracle"] >= max(chosen)
    assert all(0 <= value <= 1 for value in figures.values())


def test_every_way_to_answer_is_measured_after_the_same_clicks(view):
    segmenter, emb, truth = view
    views = iter([("squares", emb, [truth])])
    (found,) = measure(segmenter, views, [0.8, 0.0], most=2)
    ways = {name.partition(",")[0] for name in found.rows if "," in name}
    assert ways == {"whole", "local 0.8", "local 0.0"}
    for way in ways:
        assert found.rows[f"{way}, 1"] == found.rows["whole, 1"]
        assert all(f"{way}, {k}" in found.rows for k in REPORTED)
    assert found.sources == ["squares"]
