"""What the modules of an adapter are taught with."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from napari_promise.training import objectives

GRID = 32


@pytest.fixture
def shift(monkeypatch):
    """A shift whose points and masks are arranged: a square, its half drawn."""
    objective = object.__new__(objectives.ShiftObjective)
    objective.grid = GRID
    objective.sam = SimpleNamespace(device=torch.device("cpu"))
    truth = torch.zeros(1, GRID, GRID)
    truth[:, 4:28, 4:28] = 1
    objective.store = SimpleNamespace(
        embedding=lambda at, device: SimpleNamespace(input_size=(64, 64)),
        target_and_inside=lambda at, grid: (truth, torch.ones(1, GRID, GRID)),
    )
    drawn = torch.full((1, 1, GRID, GRID), -5.0)
    drawn[..., 4:28, 4:14] = 5.0
    monkeypatch.setattr(objective, "_token_one", lambda views: drawn)
    monkeypatch.setattr(objectives, "ROUNDS", (0.0, 1.0))
    points = np.array([[50.0, 30.0], [20.0, 30.0], [12.0, 12.0], [60.0, 60.0]])
    labels = np.array([1, 1, 1, 0])

    def arrange(automatic: bool):
        given = points, labels, None, automatic
        monkeypatch.setattr(objective, "_prompts", lambda *_: given)
        return objective._prompted(0, np.random.default_rng(0))

    arrange.objective = objective
    return arrange


def test_a_correction_is_taught_with_what_a_click_sends(shift):
    view = shift(automatic=True)
    # of the automatic points the first that lies on the mask, and the click
    assert view.labels.tolist() == [1, 1]
    assert view.points[0].tolist() == [20.0, 30.0]
    column, row = view.points[1] / 2
    assert 14 <= column < 28
    assert 4 <= row < 28
    assert view.logits is not None


def test_a_later_correction_is_taught_on_a_mask_that_was_corrected_locally(
    shift, monkeypatch
):
    objective = shift.objective

    def square(*columns: tuple[int, int, float]) -> torch.Tensor:
        drawn = torch.full((1, 1, GRID, GRID), -5.0)
        for first, last, height in columns:
            drawn[..., 4:28, first:last] = height
        return drawn

    # the click at the right brings two columns there (smoothed), and one is lost left
    answers = [square((4, 25, 5.0)), square((5, 27, 7.0))]
    monkeypatch.setattr(objective, "_token_one", lambda views: answers.pop(0))
    monkeypatch.setattr(objectives, "ROUNDS", (0.0, 0.0, 1.0))
    view = shift(automatic=False)
    assert not answers
    assert view.labels.tolist() == [1, 1, 1, 0, 1, 1]
    assert view.logits[0, 0, 10, 26] == pytest.approx(3.3945, abs=1e-3), "brought"
    assert view.logits[0, 0, 10, 23] == 7, "the answer's, where it joins what was there"
    assert view.logits[0, 0, 10, 4] == 5, "what was right is still there"
    assert int(view.points[-1][0] / 2) == 27, "only the last column is missing"


def test_points_from_the_truth_are_a_users_and_are_all_sent_again(shift):
    view = shift(automatic=False)
    assert view.labels.tolist() == [1, 1, 1, 0, 1]
