"""Files as people have them come out right: every experiment of docs/files.md."""

from __future__ import annotations

import pytest

from scripts.checks.file_experiments import EXPERIMENTS

#: Not right yet.
WRONG: set[str] = set()
#: These run the command line, or train.
SLOW = {"14", "23", "28a", "29a", "29b", "29c", "29d", "30", "35c"}
LONG = {"31"}


@pytest.mark.parametrize(
    "number",
    [
        pytest.param(
            number,
            id=f"{number} {title}",
            marks=[
                *([pytest.mark.slow] if number in SLOW else []),
                *([pytest.mark.long] if number in LONG else []),
                *([pytest.mark.xfail(strict=False)] if number in WRONG else []),
            ],
        )
        for number, (title, _) in EXPERIMENTS.items()
    ],
)
@pytest.mark.filterwarnings("ignore")
def test_a_file_comes_out_right(number, tmp_path):
    _, experiment = EXPERIMENTS[number]
    told, right = experiment(tmp_path)
    assert right, told
