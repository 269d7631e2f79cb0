"""The tables and figures of volumes, from a record."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from scripts.study import volumes


def row(question: str, dice: float, **more: Any) -> dict[str, Any]:
    about = {"set": "ct-organs", "stack": "ct", "object": "liver"}
    return {**about, "question": question, "dice": dice, **more}


@pytest.fixture
def record() -> dict[str, Any]:
    clicked = {
        "copy": 0.4,
        "box": 0.5,
        "logits": 0.3,
        "clicks": 4,
        "start_refined": 0.95,
        "ends_within_2": [1.0, 0.0],
        "overrun": [0, 1],
        "underrun": [0, 3],
        "by_distance": {"0": 0.9, "2": 0.7},
    }
    rows = [
        row("1 true", 0.8, interpolation=0.6, by_distance={"0": 1.0, "1": 0.9}),
        row("clicked", 0.7, **clicked),
        {**row("clicked", 0.9, **clicked), "object": "spleen"},
    ]
    return {"kind": "volumes", "model": "promise-tiny", "rows": rows}


def test_every_question_stands_beside_the_simpler_ways(record) -> None:
    page = volumes.section(record)
    one = "| one true plane, ends known | 1 | 0.800 | 0.600 | – | – | – | – | – |"
    assert one in page
    assert "| 2 | 0.800 | – | 0.400 | 0.500 | 0.300 | 4.0 | – |" in page
    assert "Of 4 ends inside the volumes 50% were found" in page
    assert "| spleen | – | 0.900 | 0.950 |" in page


def test_dice_by_distance_is_the_mean_over_the_objects(record) -> None:
    assert volumes.by_distance(record["rows"], "clicked") == {
        0: pytest.approx(0.9),
        2: pytest.approx(0.7),
    }


def test_the_figure_is_a_picture_that_can_be_read(record) -> None:
    drawn = ElementTree.fromstring(volumes.figure(record, "ct-organs"))
    words = [each.text for each in drawn.iter() if each.tag.endswith("text")]
    assert "CT organs, 2 objects" in words
    assert "0.80" in words


def test_the_effort_of_both_ways_is_told_per_set() -> None:
    rows = [
        {
            "set": "mr-organs",
            "way": way,
            "reached": dice >= 0.9,
            "dice": dice,
            "clicks": clicks,
            "planes": 3,
            "seconds": 2 * clicks,
        }
        for way, dice, clicks in (
            ("plane_by_plane", 0.91, 80),
            ("propagate_and_correct", 0.88, 20),
        )
    ]
    about = {"aim": 0.9, "click": 2.0, "plane": 2.0, "model": "promise-tiny"}
    page = volumes.effort({**about, "rows": rows})
    assert "| MR organs | plane by plane | 1 of 1 | 0.910 | 80 | 3 | 160 |" in page
    assert (
        "| MR organs | propagate and correct | 0 of 1 | 0.880 | 20 | 3 | 40 |" in page
    )
