"""The fixed parts of the image sets."""

from __future__ import annotations

from pathlib import Path

import pytest

from scripts.study import datasets
from scripts.study.datasets import Pair, group_of, load_parts, split


def _pairs(count: int, per_group: int) -> list[Pair]:
    return [
        Pair(Path(f"{i}.png"), Path(f"{i}.png"), f"group-{i // per_group}")
        for i in range(count)
    ]


def test_no_group_is_divided_between_parts():
    parts = split(_pairs(200, 8), "any")
    groups = [
        p.group
        for pairs in parts.values()
        for p in {q.group: q for q in pairs}.values()
    ]
    assert len(groups) == len(set(groups)) == 25


def test_parts_hold_every_pair_once_whatever_the_order():
    pairs = _pairs(200, 1)
    parts = split(pairs, "any")
    assert sorted(map(str, sum(parts.values(), []))) == sorted(map(str, pairs))
    assert split(pairs[::-1], "any") == parts
    assert [len(parts[p]) for p in ("train", "val", "test")] == [140, 20, 40]


def test_frames_of_one_clinicdb_sequence_are_one_group():
    assert group_of("cvc-clinicdb", "1") == group_of("cvc-clinicdb", "25")
    assert group_of("cvc-clinicdb", "25") != group_of("cvc-clinicdb", "26")
    assert group_of("cvc-clinicdb", "612") == "sequence-29"


def test_an_unknown_or_missing_set_is_refused(tmp_path, monkeypatch):
    with pytest.raises(ValueError, match="unknown image set"):
        load_parts("cats")
    monkeypatch.setenv("PROMISE_DATA", str(tmp_path))
    with pytest.raises(ValueError, match="PROMISE_DATA"):
        load_parts("ph2")


@pytest.mark.skipif(not datasets.has("ph2"), reason="the image sets are not here")
@pytest.mark.parametrize("name", datasets.MEASURED_SETS)
def test_every_set_has_objects_to_measure(name):
    parts = load_parts(name)
    assert all(len(part) >= 10 for part in parts.values())
    assert any(datasets.objects(name, pair) for pair in parts["val"][:5])
