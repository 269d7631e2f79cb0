"""Prompts: conversion, validation, the flip to (x, y), and the round trip."""

from __future__ import annotations

import dataclasses
import json

import numpy as np
import pytest

from napari_promise.prompts import Before, Prompts, round_logits


def test_lists_become_arrays_and_missing_labels_mean_include() -> None:
    prompts = Prompts(points=[(1, 2), (3, 4)], boxes=[(9, 8, 1, 2)])
    assert prompts.points.dtype == np.float64
    assert prompts.labels.tolist() == [1, 1]
    assert prompts.boxes.tolist() == [[1, 2, 9, 8]], "corners are sorted"


def test_flipping_to_xy_swaps_rows_and_columns() -> None:
    prompts = Prompts(points=[(1, 2)], labels=[0], boxes=[(1, 2, 3, 4)])
    assert prompts.points_xy().tolist() == [[2, 1]]
    assert prompts.boxes_xy().tolist() == [[2, 1, 4, 3]]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"points": [(1, 2, 3)]}, r"points has shape \(1, 3\)"),
        ({"points": [(1, np.nan)]}, "finite"),
        ({"points": [("a", 2)]}, "numbers"),
        ({"points": [(1, 2)], "labels": []}, "0 labels for 1 points"),
        ({"points": [(1, 2)], "labels": [2]}, "include"),
        ({"boxes": [(1, 2, 3)]}, "boxes has shape"),
        ({"mask": np.zeros((2, 2, 2), bool)}, "single plane"),
        ({"points": [(1, 2)], "scores": [0.1, 0.2]}, "2 scores for 1 points"),
        (
            {"before": Before(np.zeros((1, 2, 2)), answered=[True])},
            "1 answered flags for 0 points",
        ),
        (
            {"points": [(1, 2)], "before": Before(np.zeros((1, 2, 2)), added=[1, 1])},
            "2 added flags for 1 points",
        ),
    ],
)
def test_bad_prompts_are_refused_with_the_remedy(arguments, message) -> None:
    with pytest.raises(ValueError, match=message):
        Prompts(**arguments)


@pytest.mark.parametrize(
    ("logits", "message"),
    [
        (np.zeros((4, 4)), r"\(1, h, w\)"),
        (np.full((1, 4, 4), np.nan), "NaN"),
    ],
)
def test_bad_logits_are_refused_with_the_remedy(logits, message) -> None:
    with pytest.raises(ValueError, match=message):
        Before(logits)


def test_what_the_caller_does_to_its_arrays_afterwards_changes_nothing() -> None:
    mask = np.zeros((4, 4), bool)
    points = np.array([[1.0, 2.0]])
    prompts = Prompts(points=points, mask=mask)
    mask[:] = True
    points[:] = 0
    assert not prompts.mask.any()
    assert prompts.points.tolist() == [[1, 2]]
    with pytest.raises(ValueError, match="read-only"):
        prompts.points[0, 0] = 5


def test_replacing_one_attribute_shares_the_others() -> None:
    prompts = Prompts(points=[(1, 2)], mask=np.ones((4, 4), bool))
    moved = prompts.replace(points=[(3, 4)])
    assert moved.mask is prompts.mask
    assert moved != prompts
    assert prompts.replace(points=[(1, 2)]) == prompts


def test_answered_points_are_kept_but_not_sent() -> None:
    prompts = Prompts(
        points=[(1, 2), (3, 4), (5, 6)],
        labels=[1, 0, 1],
        boxes=[(0, 0, 9, 9)],
        before=Before(
            np.ones((1, 4, 4)),
            answered=[True, False, True],
            added=[False, True, False],
        ),
        scores=[0.5, 0.25, np.nan],
    )
    sent = prompts.to_send()
    assert sent == Prompts(
        points=[(3, 4)],
        labels=[0],
        boxes=[(0, 0, 9, 9)],
        before=Before(np.ones((1, 4, 4)), added=[True]),
        scores=[0.25],
    )
    assert sent.to_send() is sent
    for name in ("answered", "added"):
        nothing = dataclasses.replace(prompts.before, **{name: None})
        none_of_them = dataclasses.replace(prompts.before, **{name: [False] * 3})
        assert none_of_them == nothing != prompts.before
        assert prompts != prompts.replace(before=nothing)


def test_logits_are_rounded_to_float16_before_anybody_uses_them() -> None:
    logits = np.random.default_rng(0).normal(0, 9, (1, 8, 8))
    prompts = Prompts(before=Before(logits))
    assert prompts.logits.dtype == np.float32
    np.testing.assert_array_equal(
        prompts.logits, logits.astype(np.float32).astype(np.float16).astype(np.float32)
    )
    assert np.isfinite(round_logits([[1e9, -1e9]])).all()


def test_prompts_survive_json_exactly() -> None:
    rng = np.random.default_rng(1)
    prompts = Prompts(
        points=rng.uniform(0, 99, (3, 2)),
        labels=[1, 0, 1],
        boxes=[(0.1, 0.2, 30.7, 40.3)],
        mask=rng.random((13, 7)) > 0.5,
        before=Before(
            rng.normal(0, 20, (1, 16, 16)),
            answered=[True, False, False],
            added=[False, False, True],
            tile=(0, 0, 512, 512),
        ),
        scores=[0.25, np.nan, 0.75],
    )
    saved = json.loads(json.dumps(prompts.to_json()))
    assert Prompts.from_json(saved) == prompts
    del saved["answered"], saved["added"], saved["tile"]  # as files of earlier versions
    assert Prompts.from_json(saved) == prompts.replace(before=Before(prompts.logits))
    assert Prompts.from_json(json.loads(json.dumps(Prompts().to_json()))) == Prompts()


@pytest.mark.parametrize(
    "data",
    [
        {"logits": {"shape": [1, 2, 2]}},
        {"logits": {"shape": [1, 2, 2], "float16": "???"}},
        {"logits": {"shape": [1, 2, 2], "float16": "AAAA"}},
        {"mask": {"shape": [2, 2], "bits": 3}},
        {"points": [[1, 2]], "labels": [7]},
        [],
    ],
)
def test_unreadable_json_is_refused(data) -> None:
    with pytest.raises(ValueError, match=r"prompts cannot be read|labels"):
        Prompts.from_json(data)


def test_prompts_without_any_statement_are_empty() -> None:
    assert Prompts().is_empty
    assert not Prompts(points=[(0, 0)]).is_empty
    assert not Prompts(before=Before(np.zeros((1, 2, 2)))).is_empty


def test_same_pixels_a_box_over_the_edge_is_cut():
    cut = Prompts(boxes=[(-50, 10, 20, 9999)]).within((30, 40))
    assert cut.boxes.tolist() == [[-0.5, 10, 20, 39.5]]
    inside = Prompts(boxes=[(1, 1, 5, 5)])
    assert inside.within((30, 40)) is inside


@pytest.mark.parametrize(
    ("prompts", "words"),
    [
        (Prompts(boxes=[(5, 8, 5, 20)]), "has no area"),
        (Prompts(boxes=[(50, 8, 60, 20)]), "outside the image of 30 rows"),
        (Prompts(points=[(31, 2)]), "row 31, column 2 lies outside"),
    ],
)
def test_same_pixels_prompts_beside_the_image_are_refused_by_name(prompts, words):
    with pytest.raises(ValueError, match=words):
        prompts.within((30, 40))


def test_same_pixels_points_to_exclude_alone_are_no_target():
    assert not Prompts(points=[(1, 1)], labels=[0]).has_target
    assert Prompts(points=[(1, 1)]).has_target
