from __future__ import annotations

import pytest

from napari_promise.training.scores import Score
from napari_promise.training.validation import dice, dice_by_domain, judged

GT, AUTO = "gt:6", "auto+click:3+local"


def _score(value: float, frozen: float | None = None, **more: object) -> Score:
    return Score("a", None, value, value, frozen, frozen, **more)  # type: ignore[arg-type]


def test_each_kind_of_prompt_has_a_name_of_its_own() -> None:
    found = dice(
        {
            GT: [_score(0.5, 0.25), _score(0.75, 0.5)],
            # nobody had to click a second time
            AUTO: [_score(0.9, 0.8, steps=(0.25, 0.75), frozen_steps=(0.5, 0.5))],
        }
    )
    assert found["gt_prompted"] == pytest.approx(0.625)
    assert found["frozen_gt_prompted"] == pytest.approx(0.375)
    assert [found[k] for k in ("automatic", "corrected", "refined")] == [
        0.25,
        0.75,
        0.75,
    ]
    assert found["frozen_automatic"] == 0.5


def test_what_prompts_by_itself_is_judged_by_what_it_is_used_for() -> None:
    scores = {"automatic": 0.5, "corrected": 0.0, "refined": 0.75, "gt_prompted": 1.0}
    assert judged(scores) == 0.625
    assert judged({"gt_prompted": 0.75, "frozen_gt_prompted": 0.5}, "frozen_") == 0.5


def test_sets_told_apart_by_their_groups_are_scored_alone() -> None:
    found = dice_by_domain(
        {
            GT: [_score(0.5, group="b"), _score(1.0, group="a"), _score(0.0)],
            AUTO: [_score(0.0, group="a", steps=(0.5,))],
        }
    )
    assert list(found) == ["a", "b"]
    assert found["b"] == {"gt_prompted": 0.5}
    assert found["a"]["gt_prompted"] == 1.0
    assert found["a"]["automatic"] == 0.5
