"""Files that are wrong end in one clear line, or open; what is in them is never run."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from scripts.checks import fuzz
from scripts.checks.fuzz import Case
from scripts.checks.fuzz_cases import KINDS, make_samples, spoil

linux = pytest.mark.skipif(
    not sys.platform.startswith("linux"), reason="asks the system for memory in use"
)


@pytest.fixture(scope="module")
def samples(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("fuzz") / "samples"
    make_samples(folder)
    return folder


@pytest.mark.slow
@linux
def test_wrong_files_end_in_one_clear_line(tmp_path):
    quick = [kind for kind in KINDS if kind != "command line"]
    cases = fuzz.run(3 * len(quick), 1, tmp_path, kinds=quick, processes=1)
    assert len(cases) == 3 * len(quick)
    # Seconds are not judged here: other work may share the machine.
    bad = [case for case in cases if case.outcome in set(fuzz.BAD) - {"too slow"}]
    assert bad == []


def test_the_same_seed_spoils_alike(samples, tmp_path):
    contents = []
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        path, how = spoil("image png", samples, tmp_path / name, "7")
        contents.append((path.read_bytes(), how))
    assert contents[0] == contents[1]


def test_an_error_that_does_not_name_its_file_is_not_clear(tmp_path):
    with pytest.raises(fuzz._Uncaught, match="does not name the file"):
        fuzz._check_line(ValueError("bad magic"), tmp_path / "folder" / "a.png")
    with pytest.raises(fuzz._Uncaught, match="no one line"):
        fuzz._check_line(ValueError("a.png:\nis bad"), tmp_path / "a.png")


def test_the_table_counts_kinds_and_outcomes():
    cases = [
        Case("image png", 0, outcome="opened", seconds=0.2),
        Case("image png", 1, outcome="one line", seconds=1.5, megabytes=20),
    ]
    *_, row, total = fuzz.table(cases).splitlines()
    assert row.startswith("| image png | 2 | 1 | 1 | 0 |")
    assert "1.5 s" in row
    assert "20 MB" in row
    assert total.startswith("| **all** | 2 |")
