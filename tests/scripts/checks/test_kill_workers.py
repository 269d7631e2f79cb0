from __future__ import annotations

import sys

import pytest

pytest.importorskip("distributed", reason="the extra 'remote' is not installed")
pytest.importorskip("cryptography", reason="the extra 'remote' is not installed")

from scripts.checks import kill_workers


@pytest.mark.long
@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_a_folder_outlives_its_workers(capsys) -> None:
    asked = ["--images", "6", "--workers", "1", "--kills", "1"]
    assert kill_workers.main(asked) == 0
    assert capsys.readouterr().out.splitlines()[1].split() == ["6", "1", "1", "0", "0"]
