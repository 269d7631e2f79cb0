"""Reports side by side."""

from __future__ import annotations

from scripts.base.compare_bases import table


def report(**scores):
    return {"scores": scores}


def test_models_stand_side_by_side_with_counts_and_means():
    one = {"click_1": 0.5, "box": 0.8, "images": 4, "objects": 12}
    old = report(busi=one, ph2=one | {"click_1": 0.3})
    boxed = report(
        busi={"box": 0.9, "images": 4, "objects": 12},
        ph2={"box": 0.7, "images": 4, "objects": 12},
    )
    lines = table([old, boxed], ["click_1", "box"]).splitlines()
    rows = {line.split(" | ")[0].strip("|* "): line for line in lines}
    assert "| held-out part | .50 / – | .80 / .90 | 4 / 12 |" in rows["busi"]
    assert "stranger" in rows["ph2"]
    assert "2 sets | .40 / – | .80 / .80" in rows["mean"]


def test_intervals_are_those_of_the_last_report_and_thin_sets_are_not_in_the_mean():
    scores = {
        "box": 0.8,
        "images": 2,
        "objects": 3,
        "intervals": {"box": [0.7, 0.9]},
    }
    lines = table(
        [report(busi=scores)], ["box"], intervals=True, least_objects=10
    ).splitlines()
    assert ".80 (.70–.90)" in lines[2]
    assert lines[-1].startswith("| **mean** | 0 sets | –")
