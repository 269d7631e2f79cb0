"""Folders on several workers: the same files, and only what is broken fails."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.running import draw, one_line, run

pytest.importorskip("distributed", reason="the extra 'remote' is not installed")
pytest.importorskip("cryptography", reason="the extra 'remote' is not installed")


def written(folder: Path) -> dict[str, bytes]:
    """Return every file without the time at which it was written."""
    import re

    return {
        path.name: re.sub(rb'"created": "[^"]*"', b"", path.read_bytes())
        for path in folder.iterdir()
    }


@pytest.mark.slow
def test_however_many_encode_the_same_bytes_come_out_and_only_what_is_broken_fails(
    tmp_path: Path, rng, capsys
) -> None:
    images = tmp_path / "in"
    images.mkdir()
    for name in ("a", "c", "d", "e"):
        draw(images / f"{name}.png", rng)
    (images / "b.png").write_bytes(b"no picture")
    command = ("segment", images, "--points", "20,30,1", "--no-cache")
    here, there = tmp_path / "here", tmp_path / "there"
    assert run(*command, "-o", here) == 1
    assert "4 segmented, 0 skipped, 1 failed" in capsys.readouterr().out
    # What is done already is not done again.
    there.mkdir()
    for path in here.glob("c*"):
        (there / path.name).write_bytes(path.read_bytes())
    assert run(*command, "-o", there, "--workers", 2) == 1
    captured = capsys.readouterr()
    assert "3 segmented, 1 skipped, 1 failed" in captured.out
    assert "b.png" in captured.err
    assert written(there) == written(here)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--scheduler", "tcp://192.0.2.1:8786"), "without encryption"),
        (("--scheduler", "tls://127.0.0.1:1"), "wants a certificate"),
        (("--scheduler", "nonsense://x"), "tls://"),
        (("--scheduler", "tls://h", "--workers", "1"), "leave one out"),
        (("--scheduler", "tls://h", "--certificate", "none.pem"), "cannot be read"),
    ],
)
def test_where_it_may_not_encode_it_says_so_in_one_line(
    options, said, picture, tmp_path, capsys
) -> None:
    command = ("segment", picture, "--points", "20,30,1", "-o", tmp_path / "out")
    assert run(*command, *options) in (1, 2)
    assert said in one_line(capsys)
    assert not (tmp_path / "out").exists()


def test_a_plain_server_listens_to_no_other_computer(capsys) -> None:
    assert run("serve", "--plain", "--host", "192.0.2.1") == 2
    assert "SSH tunnel" in one_line(capsys)
