from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from napari_promise.training.curves import KINDS, Row, draw_curves, write_curves

ROWS: list[Row] = [
    {"epoch": 1, "phase": "apm", "loss": 0.9, "map": 0.5},
    {"epoch": 2, "phase": "apm", "loss": 0.6, "map": 0.7},
    {
        "epoch": 1,
        "phase": "ips",
        "loss": 0.4,
        "automatic": 0.75,
        "frozen_automatic": 0.2,
        "positives_on_object": 0.9,
    },
]


def test_the_table_has_a_row_for_each_pass(tmp_path: Path) -> None:
    write_curves(tmp_path / "new", ROWS)
    lines = (tmp_path / "new" / "curves.csv").read_text().splitlines()
    assert lines[0] == (
        "epoch,phase,loss,map,automatic,corrected,refined,gt_prompted,"
        "frozen_automatic,frozen_corrected,frozen_refined,frozen_gt_prompted"
    )
    assert lines[2] == "2,apm,0.6000,0.7000" + 8 * ","
    assert lines[3] == "1,ips,0.4000,,0.7500,,,,0.2000,,,"
    assert sorted(p.name for p in (tmp_path / "new").iterdir()) == [
        "curves.csv",
        "curves.png",
    ]
    with Image.open(tmp_path / "new" / "curves.png") as picture:
        assert picture.size == (1000, 420)


def test_curves_are_drawn_where_their_values_are() -> None:
    pixels = np.asarray(draw_curves(ROWS))
    right = pixels[60:, 500:]  # below the legend
    rows = np.flatnonzero((right == KINDS["map"]).all(2).any(1))
    # .5 to .7 of an axis that is 300 pixels high and ends 50 above the border
    assert abs(rows.min() + 60 - (420 - 50 - 0.7 * 300)) <= 4
    assert abs(rows.max() + 60 - (420 - 50 - 0.5 * 300)) <= 4


def test_frozen_levels_are_dashed_and_nothing_is_drawn_of_nothing() -> None:
    level = round(420 - 50 - 0.2 * 300)
    row = (np.asarray(draw_curves(ROWS))[level, 500:] == KINDS["automatic"]).all(1)
    assert 0.3 < row[60:420].mean() < 0.8
    empty = np.asarray(draw_curves([]))
    assert not (empty == KINDS["automatic"]).all(2).any()
